"""Anything in any order, through the real cycle and store, beside a model that knows nothing of either.

After every single moment exactly those pages have been fired that the model calls for: none early, none twice, none
missing, none of what is resolved, monitored or silent. Restarts, steps of the clock and late looks are among the moves.
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from monitor.core.action import (
    Acknowledge,
    Action,
    Declare,
    Identify,
    Note,
    Open,
    Refused,
    Resolve,
    SetSeverity,
    Update,
)
from monitor.core.incident import Notice, NoticeKind
from monitor.core.probe import Outcome
from monitor.core.runbook import Rule, Severity, Vendor
from tests.lifecycle import BLIND, FAIL, MEMORY, OK, Life, check_timelines, config
from tests.model import HOUR, MINUTE, PROBES, RULES, VENDORS, Call, Case, Model
from tests.runbook_rows import BOOK, term


def _book() -> Any:
    """The scenarios of the model, in the words of the monitor."""
    scenarios = {}
    for name, rules in RULES.items():
        real = tuple(Rule(Severity(severity), (term(probe),), "any", hold) for severity, probe, hold in rules)
        vendor = None
        if name in VENDORS:
            probe, after = VENDORS[name]
            vendor = Vendor(name, (term(probe),) if probe else (), after)
        scenarios[name] = replace(BOOK.scenarios[name], rules=real, vendor=vendor)
    return replace(BOOK, scenarios=scenarios)


WORDS = {OK: "ok", FAIL: "fail", BLIND: "blind"}
MOMENT = 0.37  # seconds between two moves, so that nothing ever happens at the very moment at which something is due

# One scenario is met more often than all others together: long histories find more than many short ones.
probes = st.sampled_from([*PROBES, *[probe for _, probe, _ in RULES["redis"]] * 2])
scenarios = st.sampled_from([*RULES, *["redis"] * 6])
subjects = st.sampled_from([*PROBES, *(f"scenario:{name}" for name in RULES)])
severities = st.sampled_from(list(Severity))
minutes = st.sampled_from([0.2, 1, 4, 6, 10, 14, 16, 20, 29, 31, 45, 61, 130])
steps = st.sampled_from([HOUR, -HOUR, 40.0, -40.0, 26 * HOUR, -26 * HOUR])


class Anything(RuleBasedStateMachine):
    """The moves."""

    moments = 0  # settled and compared, over all examples
    calls = 0

    @initialize()
    def begin(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._folder = tempfile.TemporaryDirectory(prefix="portal-monitor-model-", dir=MEMORY)
        self._model = Model()
        self._ordinals: dict[str, tuple[str, int]] = {}
        self._notices: dict[tuple[object, ...], Notice] = {}
        self._life = Life(config(*PROBES), _book(), Path(self._folder.name), observer=self)
        self._model.began = self._now
        self._run(self._life.start())

    def teardown(self) -> None:
        if not hasattr(self, "_life"):
            return
        try:
            check_timelines(self._life, self._life.cycle.incidents())
            self._check_notices()
            type(self).calls += sum(len(case.calls) for cases in self._model.cases.values() for case in cases)
        finally:
            self._life.stop()
            self._loop.close()
            self._folder.cleanup()

    # --- moves --------------------------------------------------------------------------------------------------------

    @rule(probe=probes, how=st.sampled_from([OK, FAIL, FAIL, FAIL, BLIND]))
    def a_probe_becomes(self, probe: str, how: Outcome) -> None:
        self._pass_moment()
        self._run(self._life.becomes(probe, how))

    @rule(probe=probes, lasts=minutes, pause=minutes)
    def an_outage_comes_and_goes(self, probe: str, lasts: float, pause: float) -> None:
        """Into `monitoring`, and as far as the pause goes; the next one makes a relapse or a reopening of it."""
        for how, minutes in ((FAIL, lasts), (OK, pause)):
            self._pass_moment()
            self._run(self._life.becomes(probe, how))
            self._run(self._life.wait(minutes * MINUTE + MOMENT))

    @rule(scenario=scenarios)
    def all_is_well_with(self, scenario: str) -> None:
        self._pass_moment()
        for _, probe, _ in RULES[scenario]:
            self._run(self._life.becomes(probe, OK))

    @rule(minutes=minutes)
    def time_passes(self, minutes: float) -> None:
        self._run(self._life.wait(minutes * MINUTE + MOMENT))

    @rule(minutes=minutes)
    def nobody_looks_for(self, minutes: float) -> None:
        """The loop hangs, the machine swaps: one late look for all that was due."""
        self._life.clock.advance_to(self._now + minutes * MINUTE + MOMENT)
        self._run(self._life.tick())

    @rule(seconds=steps)
    def the_clock_is_set(self, seconds: float) -> None:
        self._life.clock.step(seconds)

    @rule(
        down=st.sampled_from([0.5, 20.0, 10 * MINUTE, 2 * HOUR]),
        step=st.sampled_from([0.0, 0.0, 0.0, HOUR, -HOUR]),
        meanwhile=st.lists(st.tuples(probes, st.sampled_from([OK, FAIL])), max_size=3),
        run=st.booleans(),
    )
    def the_daemon_restarts(self, down: float, step: float, meanwhile: list[tuple[str, Outcome]], run: bool) -> None:
        before = self._life.cycle.told()
        self._run(self._life.restart(down=down, step=step, probes=False))
        after = self._life.cycle.told()
        assert {item.key for item in after.incidents} == {item.key for item in before.incidents}
        assert {page.identity for page in after.pages} == set(self._life.told)
        for probe, how in meanwhile:
            self._run(self._life.becomes(probe, how))
        if run:
            self._run(self._life.probe(*PROBES))

    @rule()
    def every_probe_runs(self) -> None:
        self._pass_moment()
        self._run(self._life.probe(*PROBES))

    @rule()
    def the_files_are_read_again(self) -> None:
        self._pass_moment()
        self._run(self._life.cycle.reconfigure(self._life.config, self._life.runbook))
        self.looked()

    @rule(scenario=scenarios)
    def somebody_acknowledges(self, scenario: str) -> None:
        case = self._model.newest(scenario)
        if self._does(scenario, Acknowledge(), refused=case is None or case.state == "resolved" or case.acked):
            assert case is not None
            case.ack = (self._now, case.severity)
            self._model.look(self._now)
            self._compare()

    @rule(scenario=scenarios)
    def somebody_identifies(self, scenario: str) -> None:
        case = self._model.open(scenario)
        if self._does(scenario, Identify("a leak"), refused=case is None or case.state == "monitoring"):
            assert case is not None
            case.state, case.identified, case.news = "identified", True, True
            self._model.look(self._now)
            self._compare()

    @rule(scenario=scenarios, force=st.booleans())
    def somebody_resolves(self, scenario: str, force: bool) -> None:
        case, derived = self._model.open(scenario), self._model.derived[scenario]
        refused = case is None or (derived is not None and not force)
        if self._does(scenario, Resolve(force="it is known" if force else ""), refused=refused):
            assert case is not None
            overridden = self._model.gone_against(scenario) if force else None
            case.state, case.over, case.overridden = "resolved", self._now, overridden
            self._model.look(self._now)
            self._compare()

    @rule(scenario=scenarios, severity=severities)
    def somebody_sets_the_severity(self, scenario: str, severity: Severity) -> None:
        case = self._model.open(scenario)
        if self._does(scenario, SetSeverity(severity, "x"), refused=case is None or case.severity == severity):
            assert case is not None
            case.waived = self._model.gone_against(scenario)
            case.stays.append((self._now, int(severity)))
            case.news = True
            self._model.look(self._now)
            self._compare()

    @rule(scenario=scenarios)
    def customers_are_affected(self, scenario: str) -> None:
        case = self._model.open(scenario)
        if self._does(scenario, Declare("customer_impact", "x"), refused=case is None or case.impact is not None):
            assert case is not None
            case.impact, case.news = self._now, True
            self._model.look(self._now)
            self._compare()

    @rule()
    def somebody_declares_a_security_incident(self) -> None:
        case = self._model.open("security")
        if self._does("security", Declare("security", "x"), refused=case is None or case.declared is not None):
            assert case is not None
            case.declared, case.by_hand, case.news = self._now, True, True
            if case.state == "monitoring":
                case.state, case.clear_since = "investigating", None
            if case.severity > 1:
                case.stays.append((self._now, 1))
            self._model.look(self._now)
            self._compare()

    @rule(scenario=scenarios, what=st.sampled_from([Note("x"), Note("x", fix=True), Update("x")]))
    def somebody_says_something(self, scenario: str, what: Action) -> None:
        refused = self._model.newest(scenario) is None if isinstance(what, Note) else self._model.open(scenario) is None
        if self._does(scenario, what, refused=refused):
            case = self._model.open(scenario)
            if case is not None and isinstance(what, Update):
                case.news = True
            self._model.look(self._now)
            self._compare()

    @rule(scenario=scenarios, severity=severities)
    def somebody_reports(self, scenario: str, severity: Severity) -> None:
        self._pass_moment()
        refused = self._model.open(scenario) is not None
        try:
            self._run(self._life.report(Open(scenario, "somebody called", severity)))
        except Refused:
            assert refused
            return
        assert not refused
        self._model.cases[scenario].append(Case(self._now, self._now, [(self._now, int(severity))], by_hand=True))
        self._model.look(self._now)
        self._compare()

    @rule(of=subjects, minutes=minutes)
    def maintenance_begins(self, of: str, minutes: float) -> None:
        self._pass_moment()
        self._run(self._life.cycle.begin_maintenance([of], minutes * MINUTE, "a new disk", "ann"))
        self._model.windows.append((of, self._now, self._now + minutes * MINUTE))
        self._model.look(self._now)
        self._compare()

    @rule()
    def maintenance_ends(self) -> None:
        self._pass_moment()
        self._run(self._life.tick())
        for window in self._life.cycle.windows():
            self._run(self._life.cycle.end_maintenance(window.key))
        self._model.windows = [window for window in self._model.windows if window[2] <= self._now]
        self._model.look(self._now)
        self._compare()

    # --- an observer of every moment ----------------------------------------------------------------------------------

    def ran(self, probe: str, outcome: Outcome) -> None:
        self._model.ran(probe, WORDS[outcome], self._now)
        self._compare()

    def looked(self) -> None:
        self._model.look(self._now)
        self._compare()

    def restarted(self) -> None:
        self._model.restart(self._now)
        self._compare()

    # --- comparing ----------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> float:
        return self._life.clock.mono

    def _pass_moment(self) -> None:
        self._life.clock.advance_to(self._now + MOMENT)

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        self._loop.run_until_complete(work)

    def _does(self, scenario: str, what: Action, *, refused: bool) -> bool:
        """Whether it was done; it must be refused exactly where the model refuses it."""
        self._pass_moment()
        if self._model.newest(scenario) is None:
            return False
        try:
            self._run(self._life.act(scenario, what))
        except Refused:
            assert refused, (scenario, what)
            return False
        assert not refused, (scenario, what)
        return True

    def _compare(self) -> None:
        """The same incidents in the same states, and the same pages."""
        type(self).moments += 1
        told = self._life.cycle.told()
        for item in sorted(told.incidents, key=lambda item: item.opened_at):
            if item.key not in self._ordinals:
                number = sum(scenario == item.scenario for scenario, _ in self._ordinals.values())
                self._ordinals[item.key] = (item.scenario, number)
        real: dict[tuple[str, int], list[Call]] = {ordinal: [] for ordinal in self._ordinals.values()}
        for page in told.pages:
            call = (page.opening, int(page.severity), page.escalation_level, page.vendor, page.attempt)
            real[self._ordinals[page.incident]].append(call)
            item = next(one for one in told.incidents if one.key == page.incident)
            if page.ended_at is None:
                assert item.open
                assert page.opening == item.opening
        wanted = {
            (scenario, number): case.calls
            for scenario, cases in self._model.cases.items()
            for number, case in enumerate(cases)
        }
        assert {key: sorted(calls) for key, calls in real.items()} == {
            key: sorted(calls) for key, calls in wanted.items()
        }
        states = {
            self._ordinals[item.key]: (item.state.value, int(item.severity), item.acknowledged, item.updates)
            for item in told.incidents
        }
        assert states == {
            (scenario, number): (case.state, case.severity, case.acked, case.updates)
            for scenario, cases in self._model.cases.items()
            for number, case in enumerate(cases)
        }
        for notice in told.notices:
            key = (notice.incident, notice.kind, notice.key, notice.number)
            if key not in self._notices:
                self._notices[key] = notice
                self._check_reminder(notice)

    def _check_reminder(self, notice: Notice) -> None:
        """A reminder to answer is never early, nor sent of what is answered, silent or over."""
        if notice.kind is NoticeKind.REMINDER and notice.key == "response":
            scenario, _ = self._ordinals[notice.incident]
            case = self._model.open(scenario)
            assert case is not None
            due = case.response_due()
            assert due is not None
            assert due <= self._now
            assert not case.silent

    def _check_notices(self) -> None:
        for item in self._life.cycle.incidents():
            ours = [notice for key, notice in self._notices.items() if key[0] == item.key]
            for kind in {(notice.kind, notice.key if notice.kind is NoticeKind.REMINDER else "") for notice in ours}:
                numbers = [n.number for n in ours if n.kind is kind[0] and (not kind[1] or n.key == kind[1])]
                assert numbers == list(range(1, len(numbers) + 1)), (item.key, kind, numbers)
            kinds = [event.kind for event in self._life.store.events(item.key)]
            assert kinds.count("told") + kinds.count("reminded") == len(ours), item.key


def run(number: int, *, examples: int, moves: int) -> None:
    """So many lives of so many moves each, the same for the same number."""
    Anything.moments = Anything.calls = 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        _run(number, examples, moves)
    finally:
        structlog.reset_defaults()
    print(f"seed {number}: {examples} lives, {Anything.moments} moments, {Anything.calls} pages")


def _run(number: int, examples: int, moves: int) -> None:
    run_state_machine_as_test(
        seed(number)(Anything),
        settings=settings(
            max_examples=examples,
            stateful_step_count=moves,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )


@pytest.mark.parametrize("number", [1, 2])
def test_anything_in_any_order(number: int) -> None:
    run(number, examples=45, moves=50)
    assert Anything.calls > 100


@pytest.mark.soak
@pytest.mark.parametrize("number", [random.randrange(2**32) for _ in range(4)])
def test_anything_in_any_order_for_longer(number: int) -> None:
    run(number, examples=400, moves=80)
