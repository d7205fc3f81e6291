"""Severities, incidents and first pages: rules, holds, unknowns, parents, reopening."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core import escalation, incident, severity
from monitor.core.incident import Began, Incident, Page, State
from monitor.core.level import RUN, ProbeState, WhyState
from monitor.core.runbook import (
    EscalationRow,
    Level,
    Lifecycle,
    Rule,
    Runbook,
    Scenario,
    Severity,
    SeverityRow,
    Term,
)
from monitor.core.severity import Verdict

P1, P2, P3 = Severity.P1, Severity.P2, Severity.P3
LIFECYCLE = Lifecycle(monitor=900, reopen_within=1800)


def probe(level: Level, **whys: Level) -> ProbeState:
    states = {RUN: level, **whys}
    return ProbeState(
        whys={name: WhyState(confirmed=shown, shown=shown) for name, shown in states.items()}, level=level
    )


def term(text: str) -> Term:
    """`redis`, `redis@warn`, `bff/cache`, `scenario:redis@P2`."""
    head, _, at = text.partition("@")
    if head.startswith("scenario:"):
        return Term(text, "scenario", head.removeprefix("scenario:"), severity=Severity[at])
    name, _, why = head.partition("/")
    return Term(text, "probe", name, why or None, Level(at or "fail"))


def rule(level: Severity, *terms: str, mode: str = "any", hold: float = 0.0) -> Rule:
    return Rule(level, tuple(map(term, terms)), mode, hold)  # type: ignore[arg-type]


def runbook(*scenarios: Scenario) -> Runbook:
    rows = {level: SeverityRow(level.name, 900, 1800) for level in Severity}
    return Runbook(rows, {"L1": EscalationRow("On-call engineer")}, {item.name: item for item in scenarios})


REDIS = Scenario("redis", "Redis", (rule(P3, "redis@warn", hold=300), rule(P2, "redis", "bff/cache", hold=30)))
DATABASE = Scenario("database", "Database", (rule(P1, "postgres", hold=30),))
PERFORMANCE = Scenario("performance", "Slow", (rule(P3, "errors@warn"),))
PORTAL = Scenario(
    "portal-unreachable",
    "Portal",
    (rule(P1, "portal"), rule(P1, "scenario:redis@P2", "scenario:database@P1", mode="all")),
    parent_of=("redis", "database", "performance"),
)
BOOK = runbook(replace(REDIS, parent_of=("performance",)), DATABASE, PERFORMANCE, PORTAL)
WELL = {name: probe(Level.OK) for name in ("redis", "bff", "postgres", "errors", "portal")}


def at(now: float, since: dict[severity.RuleKey, float] | None = None, **states: ProbeState) -> dict[str, Verdict]:
    return severity.evaluate(BOOK, {**WELL, **states}, since or {}, now)


def test_a_rule_takes_effect_only_after_its_hold() -> None:
    early = at(0, redis=probe(Level.FAIL))
    assert early["redis"].severity is None
    since = severity.held_since(early)
    assert at(29, since, redis=probe(Level.FAIL))["redis"].severity is None
    assert at(30, since, redis=probe(Level.FAIL))["redis"].severity is P2


def test_the_worst_rule_wins() -> None:
    since = severity.held_since(at(0, redis=probe(Level.FAIL)))
    assert at(400, since, redis=probe(Level.FAIL))["redis"].severity is P2


def test_a_hold_begins_anew_once_the_rule_is_false_and_survives_an_unknown() -> None:
    since = severity.held_since(at(0, redis=probe(Level.FAIL)))
    blind = at(10, since, redis=probe(Level.UNKNOWN))
    assert blind["redis"].unknown
    assert at(31, severity.held_since(blind), redis=probe(Level.FAIL))["redis"].severity is P2
    well = at(10, since)
    assert at(31, severity.held_since(well), redis=probe(Level.FAIL))["redis"].severity is None


def test_one_why_of_a_probe_decides_without_the_probe() -> None:
    since = severity.held_since(at(0, bff=probe(Level.FAIL, cache=Level.FAIL)))
    verdict = at(30, since, bff=probe(Level.FAIL, cache=Level.FAIL))["redis"]
    assert (verdict.severity, verdict.because) == (P2, ("bff/cache",))
    assert at(0, bff=probe(Level.FAIL))["redis"].clear


def test_an_unknown_probe_makes_its_rules_unknown_and_is_not_ok() -> None:
    verdict = at(0, redis=probe(Level.UNKNOWN))["redis"]
    assert verdict.unknown
    assert not verdict.clear


def test_a_composite_needs_both_of_its_scenarios() -> None:
    both: dict[str, Any] = {"redis": probe(Level.FAIL), "postgres": probe(Level.FAIL)}
    since = severity.held_since(at(0, **both))
    assert at(31, since, **both)["portal-unreachable"].severity is P1
    assert at(31, since, redis=probe(Level.FAIL))["portal-unreachable"].severity is None


def test_a_disabled_probe_holds_nothing_and_hides_nothing() -> None:
    states = {name: state for name, state in WELL.items() if name != "redis"}
    assert severity.evaluate(BOOK, states, {}, 0)["redis"].clear


def test_what_a_failing_need_explains_is_no_blindness() -> None:
    blind = term("queues@unknown")
    assert severity.truth(blind, {"queues": probe(Level.UNKNOWN)}, {}) is True
    assert severity.truth(blind, {"queues": replace(probe(Level.UNKNOWN), blamed="redis")}, {}) is False


# --- the life of an incident -----------------------------------------------------------------------------------------


def verdict(level: Severity | None, *, unknown: bool = False) -> Verdict:
    rules = (severity.RuleVerdict(rule(P2, "redis"), None, None, None, matured=False),) if unknown else ()
    return Verdict("redis", level, rules)


def opened(now: float = 1000.0, level: Severity = P2) -> Incident:
    made = incident.advance(None, verdict(level), LIFECYCLE, now, Began(now - 10)).incident
    assert made is not None
    return made


def test_an_incident_is_named_by_the_utc_minute_of_its_first_failing_sample() -> None:
    began = 1795453342.0  # 2026-11-23 17:02:22 UTC
    made = incident.advance(None, verdict(P2), LIFECYCLE, began + 40, Began(began)).incident
    assert made is not None
    assert (made.key, made.started_at, made.opened_at) == ("redis-20261123-1702", began, began + 40)


def test_clear_rules_lead_to_monitoring_and_then_to_resolved() -> None:
    watching = incident.advance(opened(), verdict(None), LIFECYCLE, 2000).incident
    assert watching is not None
    assert watching.state is State.MONITORING
    assert incident.advance(watching, verdict(None), LIFECYCLE, 2899).incident == watching
    over = incident.advance(watching, verdict(None), LIFECYCLE, 2900).incident
    assert over is not None
    assert over.state is State.RESOLVED


def test_an_unknown_moves_nothing() -> None:
    assert incident.advance(opened(), verdict(None, unknown=True), LIFECYCLE, 9000).incident == opened()
    assert incident.advance(None, verdict(None, unknown=True), LIFECYCLE, 9000).incident is None


def test_a_relapse_goes_back_and_is_counted() -> None:
    watching = incident.advance(opened(), verdict(None), LIFECYCLE, 2000).incident
    step = incident.advance(watching, verdict(P2), LIFECYCLE, 2100)
    assert step.incident is not None
    assert (step.incident.state, step.incident.relapses, step.incident.mitigated_at) == (State.INVESTIGATING, 1, None)


def test_severity_only_rises_by_itself() -> None:
    worse = incident.advance(opened(), verdict(P1), LIFECYCLE, 1100).incident
    assert worse is not None
    assert worse.severity is P1
    better = incident.advance(worse, verdict(P3), LIFECYCLE, 1200).incident
    assert better is not None
    assert better.severity is P1


def test_a_failure_soon_after_resolving_reopens_the_same_incident() -> None:
    over = replace(opened(), state=State.RESOLVED, resolved_at=3000.0)
    again = incident.advance(over, verdict(P2), LIFECYCLE, 4799, Began(4790)).incident
    assert again is not None
    assert (again.key, again.opening, again.state) == (over.key, 2, State.INVESTIGATING)
    later = incident.advance(over, verdict(P2), LIFECYCLE, 4800, Began(4790)).incident
    assert later is not None
    assert later.key != over.key


def test_several_incidents_within_a_minute_have_names_of_their_own() -> None:
    keys: list[str] = []
    last = None
    for second in (0, 10, 20):
        last = incident.advance(last, verdict(P2), Lifecycle(0, 0), 1795453320.0 + second, known=set(keys)).incident
        assert last is not None
        keys.append(last.key)
        last = replace(last, state=State.RESOLVED, resolved_at=last.opened_at)
    assert keys == ["redis-20261123-1702", "redis-20261123-1702-2", "redis-20261123-1702-3"]


def test_an_incident_does_not_resolve_while_a_rule_of_it_ripens() -> None:
    watching = replace(opened(), state=State.MONITORING, mitigated_at=2000.0)
    ripening = severity.RuleVerdict(rule(P2, "redis", hold=30), True, 2890.0, 2920.0, matured=False)
    assert incident.advance(watching, Verdict("redis", None, (ripening,)), LIFECYCLE, 2901).incident == watching


@given(st.lists(st.sampled_from([P1, P2, P3, None, "unknown"]), max_size=40))
def test_an_incident_resolves_only_from_monitoring_and_never_gets_less_severe(moments: list[Any]) -> None:
    last: Incident | None = None
    for number, moment in enumerate(moments):
        said = verdict(None, unknown=True) if moment == "unknown" else verdict(moment)
        step = incident.advance(last, said, Lifecycle(monitor=2, reopen_within=0), number)
        if step.incident is not None and not step.incident.open and (last is None or last.open):
            assert last is not None
            assert last.state is State.MONITORING
        if last is not None and last.open and step.incident is not None and step.incident.key == last.key:
            assert step.incident.severity <= last.severity
        last = step.incident


# --- first pages -----------------------------------------------------------------------------------------------------


def due(item: Incident, pages: list[Page], now: float, *, parent_coming: bool) -> list[Page]:
    return escalation.due_pages(BOOK, item, pages, now, recorded=False, parent_coming=parent_coming)


def page(item: Incident, level: Severity = P2) -> Page:
    return Page(item.key, item.opening, level, "L1")


def test_one_first_page_for_each_severity_of_an_opening() -> None:
    item = opened()
    assert [each.severity for each in due(item, [], 1000, parent_coming=False)] == [P2]
    assert due(item, [page(item)], 1001, parent_coming=False) == []
    worse = replace(item, severity=P1)
    assert [each.severity for each in due(worse, [page(item)], 1001, parent_coming=False)] == [P1]
    again = replace(item, opening=2)
    assert len(due(again, [page(item)], 1001, parent_coming=False)) == 1


@pytest.mark.parametrize("change", [{"parent": "portal-unreachable"}, {"state": State.MONITORING}])
def test_a_symptom_or_an_incident_that_is_clear_pages_nobody(change: dict[str, Any]) -> None:
    assert due(replace(opened(), **change), [], 1001, parent_coming=False) == []


def test_a_first_page_waits_two_seconds_at_most_for_a_parent() -> None:
    item = opened()
    assert due(item, [], 1001.9, parent_coming=True) == []
    assert len(due(item, [], 1002, parent_coming=True)) == 1


def test_a_parent_may_be_coming_while_another_probe_of_it_is_failing_unconfirmed() -> None:
    failing = replace(probe(Level.OK), whys={RUN: WhyState(Level.OK, history="f", shown=Level.OK)})
    states = {**WELL, "redis": probe(Level.FAIL)}
    since = severity.held_since(severity.evaluate(BOOK, states, {}, 0))
    calm = severity.evaluate(BOOK, states, since, 30)
    assert not escalation.parent_coming(BOOK, "redis", states, calm, 32)
    states["postgres"] = failing
    assert escalation.parent_coming(BOOK, "redis", states, severity.evaluate(BOOK, states, since, 30), 32)


def test_a_parent_may_be_coming_while_its_other_scenario_ripens() -> None:
    states = {**WELL, "redis": probe(Level.FAIL)}
    since = severity.held_since(severity.evaluate(BOOK, states, {}, 0))
    states["postgres"] = probe(Level.FAIL)
    verdicts = severity.evaluate(
        BOOK, states, {**since, ("database", BOOK.scenarios["database"].rules[0].key): 1.0}, 30
    )
    assert escalation.parent_coming(BOOK, "redis", states, verdicts, 32)
    assert not escalation.parent_coming(BOOK, "redis", states, verdicts, 31)


def test_an_open_cause_silences_its_symptom_unless_the_cause_is_only_a_warning() -> None:
    slow = Incident("performance-1", "performance", State.INVESTIGATING, P1, P1, 0, 0)
    redis = Incident("redis-1", "redis", State.MONITORING, P2, P2, 0, 0)
    assert escalation.silenced_by(BOOK, slow, {"redis": redis}) == "redis"
    assert escalation.silenced_by(BOOK, slow, {"redis": replace(redis, severity=P3)}) is None
    assert escalation.silenced_by(BOOK, slow, {"redis": replace(redis, state=State.RESOLVED)}) is None
