"""The data path in fast-forward: what opens, what pages, what stays silent, what a restart changes (nothing)."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest
from pydantic import SecretStr

from monitor.alerting import fallback, links
from monitor.alerting.pages import page_words
from monitor.core.action import CUSTOMER_IMPACT, Acknowledge, Declare, SetSeverity
from monitor.core.config import Config, FailAfter, ProbeConfig, WebConfig
from monitor.core.incident import State
from monitor.core.level import RUN
from monitor.core.maintenance import Plan
from monitor.core.probe import Fault, Options, Outcome, ProbeType, Reading, Reason, Reference
from monitor.core.recurrence import Cron, Once
from monitor.core.runbook import (
    EscalationRow,
    Level,
    Lifecycle,
    Rule,
    Runbook,
    Scenario,
    Severity,
    SeverityRow,
    Step,
    Term,
)
from monitor.store import Changes
from tests.simulation import DOWN, GOOD, FakeClock, Simulation, Verdict


async def _never(options: object, context: object) -> Reading:
    raise AssertionError("a simulation makes the results up")


TYPE = ProbeType(
    "made-up", "For simulations", Options, {}, {"unreachable": Reason(Fault.TARGET, "Look.")}, _never, frozenset()
)


def probe(name: str, *needs: str, interval: float = 15, fail_after: int = 3, recover_after: int = 2) -> ProbeConfig:
    times = FailAfter(fail_after, fail_after)
    return ProbeConfig(name, TYPE, Options(), interval, 5, times, recover_after, 1, needs=needs)


def term(text: str) -> Term:
    head, _, at = text.partition("@")
    if head.startswith("scenario:"):
        return Term(text, "scenario", head.removeprefix("scenario:"), severity=Severity[at])
    return Term(text, "probe", head, at=Level(at or "fail"))


def scenario(
    name: str, severity: Severity, *terms: str, hold: float = 0.0, mode: str = "any", **more: object
) -> Scenario:
    return Scenario(name, name, (Rule(severity, tuple(map(term, terms)), mode, hold),), **more)  # type: ignore[arg-type]


def runbook(*scenarios: Scenario, lifecycle: Lifecycle = Lifecycle()) -> Runbook:  # noqa: B008
    rows = {level: SeverityRow(level.name, 900, 1800) for level in Severity}
    return Runbook(rows, {"L1": EscalationRow("x")}, {item.name: item for item in scenarios}, lifecycle=lifecycle)


def config(*probes: ProbeConfig) -> Config:
    return Config({item.name: item for item in probes}, "runbook.yaml", "state.db")


Simulate = Callable[..., Awaitable[Simulation]]

REDIS = scenario("redis", Severity.P2, "redis", hold=30, parent_of=("performance",))
DATABASE = scenario("database", Severity.P1, "postgres", hold=30)
PERFORMANCE = scenario("performance", Severity.P3, "errors", hold=60)
BOTH = scenario(
    "portal-unreachable", Severity.P1, "scenario:redis@P2", "scenario:database@P1", mode="all",
    parent_of=("redis", "database", "performance"),
)  # fmt: skip
BOOK = runbook(REDIS, DATABASE, PERFORMANCE, BOTH)
PROBES = config(probe("redis"), probe("postgres"), probe("errors"))


def down(*names: str, since: float, until: float = float("inf")) -> Callable[[str, float], Verdict]:
    return lambda name, mono: DOWN if name in names and since <= mono - 1000 < until else GOOD


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Simulate]:
    made: list[Simulation] = []

    async def start(
        config: Config, book: Runbook, world: Callable[[str, float], Verdict], **more: object
    ) -> Simulation:
        folder = tmp_path / str(len(made))
        made.append(Simulation(config, book, folder, world, **more))  # type: ignore[arg-type]
        await made[-1].start()
        return made[-1]

    yield start
    for simulation in made:
        simulation.close()


async def test_an_outage_opens_one_incident_pages_once_and_resolves_once(simulate: Simulate) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100, until=400))
    await run.run(1500)
    assert run.pages() == [("redis", "P2")]
    (item,) = run.cycle.incidents()
    assert item.state is State.RESOLVED
    kinds = [event.kind for event in run.store.events(item.key)]
    assert kinds == ["opened", "found", "paged", "mitigated", "told", "resolved"]


async def test_an_incident_that_opens_wakes_what_its_diagnosis_shows_and_writes_down_what_failed_first(
    simulate: Simulate,
) -> None:
    steps = (Step("Look", show="disk"), Step("Look closer", show="postgres.connections"), Step("Ask", show="bff_env.X"))
    book = runbook(scenario("redis", Severity.P2, "redis", hold=30, steps=steps))
    world = down("redis", since=100)
    run = await simulate(
        config(probe("redis"), *(probe(name, interval=900) for name in ("disk", "postgres", "far"))), book, world
    )
    woken: list[tuple[str, str]] = []
    run.cycle._wake = lambda name, why: woken.append((name, why))
    await run.run(300)
    (item,) = run.cycle.incidents()
    assert woken == [(name, f"{item.key} opened") for name in ("redis", "disk", "postgres")]
    (found,) = [event.text for event in run.store.events(item.key) if event.kind == "found"]
    assert found == "redis fail, unreachable, for 32s"  # two retries to confirm, and the hold
    assert run.told[-1].pages  # and nothing waited for them


async def test_an_outage_shorter_than_the_hold_pages_nobody(simulate: Simulate) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100, until=120))
    await run.run(600)
    assert (run.pages(), run.cycle.incidents()) == ([], ())


@pytest.mark.parametrize("seed", range(20))
async def test_two_causes_within_a_second_make_one_first_page(simulate: Simulate, seed: int) -> None:
    dice = random.Random(seed)
    starts = {"redis": 100.0, "postgres": 100 + dice.random()}

    def world(name: str, mono: float) -> Verdict:
        return DOWN if mono - 1000 >= starts.get(name, float("inf")) else GOOD

    offsets = {name: dice.random() * 15 for name in PROBES.probes}
    run = await simulate(PROBES, BOOK, world, offsets=offsets)
    for name, start in starts.items():  # each held connection is closed by the dying server: look now
        await run.run(start - run.elapsed + 0.05)
        run._wake(name, "closed")
    await run.run(200)
    assert run.pages() == [("portal-unreachable", "P1")]
    assert {item.scenario: item.parent for item in run.cycle.incidents()} == {
        "portal-unreachable": None,
        "redis": "portal-unreachable",
        "database": "portal-unreachable",
    }


async def test_a_symptom_stays_silent_and_resolves_with_its_cause(simulate: Simulate) -> None:
    run = await simulate(PROBES, BOOK, down("redis", "errors", since=100, until=500))
    await run.run(1600)
    assert run.pages() == [("redis", "P2")]
    assert all(not item.open for item in run.cycle.incidents())


async def test_a_symptom_that_outlives_its_cause_pages_then(simulate: Simulate) -> None:
    def world(name: str, mono: float) -> Verdict:
        end = {"redis": 400.0, "errors": 5000.0}.get(name, 0.0)
        return DOWN if 100 <= mono - 1000 < end else GOOD

    run = await simulate(PROBES, BOOK, world)
    await run.run(3000)
    assert run.pages() == [("redis", "P2"), ("performance", "P3")]


VENDORS = [probe(f"vendor-{number}", "egress", interval=30 + 10 * number) for number in range(4)]
VENDOR_BOOK = runbook(
    *(scenario(f"vendor-{number}", Severity.P2, f"vendor-{number}") for number in range(4)),
    scenario("monitoring-blind", Severity.P3, "egress", hold=300),
)


@pytest.mark.parametrize("batch", range(10))
async def test_no_vendor_is_blamed_for_our_own_network_whatever_the_phases(simulate: Simulate, batch: int) -> None:
    """Twenty random phases a batch, 200 in all: cut at one instant, for a random time, come back at one instant."""
    for seed in range(batch * 20, batch * 20 + 20):
        dice = random.Random(seed)
        cut, back = 100 + dice.random() * 60, 200 + dice.random() * 250
        names = [item.name for item in VENDORS] + ["egress"]
        run = await simulate(
            config(*VENDORS, probe("egress", interval=15)),
            VENDOR_BOOK,
            down(*names, since=cut, until=back),
            offsets={name: dice.random() * 30 for name in names},
            duration=lambda name, mono, dice=dice: dice.choice([0.01, 0.3, 2.0, 4.9]),
        )
        await run.run(700)
        blamed = [page for page in run.pages() if page[0].startswith("vendor")]
        failing = [change for change in run.levels if change[1].startswith("vendor") and change[2] == "fail"]
        assert (seed, blamed, failing) == (seed, [], [])
        assert any(name == "egress" and level == "fail" for _, name, level in run.levels)


async def test_a_vendor_that_is_really_down_is_blamed_though_it_needs_the_network(simulate: Simulate) -> None:
    run = await simulate(config(*VENDORS, probe("egress")), VENDOR_BOOK, down("vendor-2", since=100))
    await run.run(300)
    assert run.pages() == [("vendor-2", "P2")]


@pytest.mark.parametrize("fail_after", [1, 3])
async def test_what_comes_and_goes_is_told_but_not_sixty_times(simulate: Simulate, fail_after: int) -> None:
    pattern = [GOOD, DOWN] if fail_after == 1 else [DOWN, DOWN, GOOD]
    count = iter(range(10**6))
    run = await simulate(
        config(probe("redis", fail_after=fail_after, recover_after=1)),
        runbook(scenario("redis", Severity.P2, "redis"), lifecycle=Lifecycle(monitor=0.0, reopen_within=1800)),
        lambda name, mono: pattern[next(count) % len(pattern)],
    )
    await run.run(15 * 60)
    assert next(count) > 60
    assert 1 <= len(run.pages()) <= 5


async def test_a_restart_in_the_middle_of_an_incident_tells_nobody_anything(simulate: Simulate) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100))
    await run.run(200)
    before = run.cycle.incidents()
    await run.restart()
    await run.run(600)
    assert run.pages() == [("redis", "P2")]
    assert [item.key for item in run.cycle.incidents()] == [item.key for item in before]
    assert all(item.state is State.INVESTIGATING for item in run.cycle.incidents())


async def test_an_incident_that_ended_while_the_daemon_was_down_resolves_after_the_first_good_runs(
    simulate: Simulate,
) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100, until=210))
    await run.run(200)
    run.store.close()
    run.clock.advance_to(run.clock.mono + 3600)
    run.open()
    await run.start()
    assert run.cycle.incidents()[0].state is State.INVESTIGATING
    await run.run(1000)
    assert run.pages() == [("redis", "P2")]
    assert run.cycle.incidents()[0].state is State.RESOLVED


async def test_a_hold_goes_on_over_a_restart(simulate: Simulate) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100))
    await run.run(125)
    assert run.pages() == []
    await run.restart()
    await run.run(30)
    assert run.pages() == [("redis", "P2")]


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
async def test_a_clock_that_is_set_ends_no_hold_and_no_monitoring(simulate: Simulate, seconds: float) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100, until=400))
    await run.run(115)
    run.clock.step(seconds)
    await run.run(5)
    assert run.pages() == []
    await run.run(300)
    assert run.pages() == [("redis", "P2")]
    run.clock.step(seconds)
    await run.run(600)
    assert run.cycle.incidents()[0].state is State.MONITORING
    await run.run(600)
    assert run.cycle.incidents()[0].state is State.RESOLVED
    events = run.store.events(run.cycle.incidents()[0].key)
    assert [event.kind for event in events].count("clock") == 1
    assert [event.at for event in events] == sorted(event.at for event in events)


async def test_pages_that_alertmanager_still_holds_are_adopted_by_an_empty_store(
    simulate: Simulate, tmp_path: Path
) -> None:
    first = await simulate(PROBES, BOOK, down("redis", since=100))
    await first.run(200)
    (page,) = first.cycle.pages()
    second = await simulate(PROBES, BOOK, down("redis", since=0), clock=FakeClock(mono=first.clock.mono))
    await second.cycle.adopt([(page.labels, page.fired_at)])
    await second.run(300)
    assert [item.key for item in second.cycle.incidents()] == [page.incident]
    assert [dict(open_page.labels) for open_page in second.cycle.pages()] == [dict(page.labels)]


async def test_a_reload_that_changes_the_target_drops_the_state_and_one_that_does_not_keeps_it(
    simulate: Simulate,
) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=0))
    await run.run(10)
    assert run.cycle.probe_views()["redis"].level is Level.FAIL
    slower = config(replace(probe("redis"), interval=60), probe("postgres"), probe("errors"))
    await run.cycle.reconfigure(slower, BOOK)
    assert run.cycle.probe_views()["redis"].level is Level.FAIL
    other_type = replace(TYPE, name="other-type")
    await run.cycle.reconfigure(config(replace(probe("redis"), type=other_type)), BOOK)
    assert run.cycle.probe_views()["redis"].level is Level.UNKNOWN


async def test_an_incident_whose_rule_left_the_runbook_ends_and_one_whose_rule_stays_does_not(
    simulate: Simulate,
) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100))
    await run.run(200)
    await run.cycle.reconfigure(PROBES, BOOK)
    assert run.cycle.incidents()[0].state is State.INVESTIGATING
    await run.cycle.reconfigure(PROBES, runbook(DATABASE))
    assert run.cycle.incidents()[0].state is State.MONITORING


async def test_a_probe_is_handed_what_those_it_reads_have_measured_and_of_no_others(simulate: Simulate) -> None:
    reads = replace(TYPE, reads=lambda options: {"evidence": Reference("postgres", "connections")})
    reader = replace(probe("replay"), type=reads)
    run = await simulate(config(probe("redis"), probe("postgres"), reader), BOOK, down("postgres", since=100))
    assert run.cycle.measured(reader) == {}
    await run.run(60)
    assert set(run.cycle.measured(reader)) == {"postgres"}
    await run.run(100)
    assert run.cycle.measured(reader) == {}  # a run that fails is no evidence


async def test_counters_are_shown_only_once_they_are_saved(simulate: Simulate) -> None:
    run = await simulate(PROBES, BOOK, lambda name, mono: (Outcome.FAILURE, "unreachable"))
    await run.run(300)
    await run.store.save(Changes(resources={"nothing": b""}))
    shown = run.cycle.probe_views()["redis"].tally.failures["unreachable"]
    run.store.close()
    run.open()
    assert run.cycle.probe_views()["redis"].tally.failures["unreachable"] >= shown > 10
    assert RUN in run.cycle.probe_views()["redis"].whys


async def test_a_hold_that_ripened_while_nobody_watched_pages_nobody_if_the_first_runs_are_good(
    simulate: Simulate,
) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100, until=130))
    await run.run(125)
    assert run.pages() == []
    run.store.close()
    run.clock.advance_to(run.clock.mono + 3600)
    run.open()
    await run.start()
    await run.run(300)
    assert run.pages() == []


async def test_a_cause_that_is_over_does_not_silence_what_begins_later(simulate: Simulate) -> None:
    def world(name: str, mono: float) -> Verdict:
        begun, ended = {"redis": (100.0, 300.0), "errors": (400.0, 5000.0)}.get(name, (1e9, 1e9))
        return DOWN if begun <= mono - 1000 < ended else GOOD

    run = await simulate(PROBES, BOOK, world)
    await run.run(800)
    assert run.pages() == [("redis", "P2"), ("performance", "P3")]


@pytest.mark.parametrize(("level", "adopted"), [("L1", 1), ("", 0), ("L9", 0)])
async def test_a_page_of_a_level_that_the_runbook_has_not_is_not_adopted(
    simulate: Simulate, level: str, adopted: int
) -> None:
    ours = await simulate(PROBES, BOOK, down("redis", since=1e9))
    labels = {"kind": "page", "scenario": "redis", "incident": "redis-1", "severity": "P1", "escalation_level": level,
              "vendor": "none", "attempt": "1"}  # fmt: skip
    await ours.cycle.adopt([(labels, ours.clock.wall)])
    assert len(ours.cycle.incidents()) == adopted
    assert ours.cycle.scenario_views()["redis"].escalation_level == adopted


async def test_another_monitors_pages_are_not_adopted(simulate: Simulate) -> None:
    ours = await simulate(replace(PROBES, labels={"site": "staging"}), BOOK, down("redis", since=1e9))
    labels = {"kind": "page", "scenario": "redis", "incident": "redis-1", "severity": "P1", "escalation_level": "L1",
              "vendor": "none", "attempt": "1", "site": "production"}  # fmt: skip
    await ours.cycle.adopt([(labels, ours.clock.wall)])
    assert ours.cycle.incidents() == ()


async def test_a_store_that_is_gone_keeps_no_page_back(simulate: Simulate) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100))
    await run.run(90)
    run.store._db.execute("PRAGMA query_only = ON")
    await run.run(120)
    assert run.pages() == [("redis", "P2")]
    assert run.store.error


async def test_a_row_that_contradicts_the_store_does_not_hold_up_the_others(simulate: Simulate) -> None:
    run = await simulate(PROBES, BOOK, down("redis", since=100))
    await run.run(200)
    (item,) = run.cycle.incidents()
    assert not await run.store.save(Changes(incidents=(replace(item, key="another-one"),)))
    assert await run.store.save(Changes(resources={"log": b"position"}))


# --- what becomes of a page --------------------------------------------------------------------------------------------


MATRIX = {
    "L1": EscalationRow("x"),
    "L2": EscalationRow("y", (Severity.P1, Severity.P2), 1800.0),
    "L3": EscalationRow("z", (Severity.P1,), 3600.0),
}
WORST = replace(runbook(scenario("redis", Severity.P1, "redis")), escalation=MATRIX)


async def test_a_page_that_was_delivered_stays_so_over_a_restart_and_over_a_clock_that_is_set(
    simulate: Simulate,
) -> None:
    run = await simulate(PROBES, WORST, down("redis", since=100))
    await run.run(200)
    (page,) = run.cycle.pages()
    assert page.delivered_at is None
    told = len(run.told)
    await run.cycle.delivered({page.identity: run.clock.wall, ("another",): 0.0})
    await run.cycle.delivered({page.identity: run.clock.wall + 50})
    assert len(run.told) == told + 1  # the second says nothing new
    delivered = run.clock.wall
    await run.restart()
    assert [one.delivered_at for one in run.cycle.pages()] == [delivered]
    run.clock.step(3600.0)
    await run.run(5)
    assert [one.delivered_at for one in run.cycle.pages()] == [delivered + 3600.0]


async def test_with_alertmanager_away_for_an_hour_the_fallback_carries_each_p1_page_once_and_nothing_resolves(
    simulate: Simulate,
) -> None:
    """Restarts in between: killed before what was carried is saved, a page may come twice, with the same id."""
    run = await simulate(PROBES, WORST, down("redis", since=100))
    carried: list[tuple[object, ...]] = []
    began = run.clock.wall
    for minute in range(65):
        await run.run(60)
        if minute % 20 == 10:
            await run.restart()
            began = run.clock.wall
        for page in fallback.due(run.cycle.pages(), 60.0, run.clock.wall, began):
            carried.append(page.identity[2:])
            await run.cycle.fell_back([page])
    assert carried == [(Severity.P1, level, "none", 1) for level in ("L1", "L2", "L3")]
    assert [page.ended_at for page in run.cycle.pages()] == [None] * 3
    (item,) = run.cycle.incidents()
    assert item.open
    kinds = [event.kind for event in run.store.events(item.key)]
    assert kinds.count("fallback") == 3
    (event,) = [event for event in run.store.events(item.key) if event.kind == "fallback"][:1]
    assert event.text.startswith("No Alertmanager took the page to L1 x for ")


async def test_a_page_that_does_not_arrive_is_named_in_what_others_are_told(simulate: Simulate) -> None:
    run = await simulate(PROBES, WORST, down("redis", since=100))
    await run.run(130)
    (page,) = run.cycle.pages()
    (item,) = run.cycle.incidents()
    assert "not delivered" not in page_words(item, run.cycle.facts())["status_update"]
    await run.run(60)
    note = f"Note: not delivered: L1 of {item.key} at P1, due "
    assert note in page_words(item, run.cycle.facts())["status_update"]
    await run.cycle.fell_back([page])
    assert ", but by the fallback 17:" in page_words(item, run.cycle.facts())["status_update"]
    await run.cycle.delivered({page.identity: run.clock.wall})
    assert "not delivered" not in page_words(item, run.cycle.facts())["status_update"]


async def test_the_response_is_overdue_where_answers_are_recorded_until_somebody_answers(simulate: Simulate) -> None:
    linked = replace(PROBES, web=WebConfig(external_url="https://monitor.example.com"))
    run = await simulate(linked, WORST, down("redis", since=100))
    await run.run(900)
    assert not run.cycle.scenario_views()["redis"].response_overdue
    await run.run(200)
    view = run.cycle.scenario_views()["redis"]
    assert view.response_overdue
    (item,) = run.cycle.incidents()
    await run.cycle.act(item.key, Acknowledge(), "ann")
    assert not run.cycle.scenario_views()["redis"].response_overdue

    quiet = await simulate(PROBES, WORST, down("redis", since=100))
    await quiet.run(1100)
    assert not quiet.cycle.scenario_views()["redis"].response_overdue  # nobody can answer, so nobody is late


async def test_an_incident_counts_once_for_each_severity_of_an_opening(simulate: Simulate) -> None:
    run = await simulate(PROBES, WORST, down("redis", since=100))
    await run.run(200)
    (item,) = run.cycle.incidents()
    await run.cycle.act(item.key, Declare(CUSTOMER_IMPACT, "they call"), "ann")
    for severity in (Severity.P2, Severity.P1, Severity.P2):
        await run.cycle.act(item.key, SetSeverity(severity, "as it looks"), "ann")
    counted = run.cycle.scenario_views()["redis"].opened_total
    assert counted == {Severity.P1: 1, Severity.P2: 1}


async def test_a_page_has_a_link_that_acknowledges_this_opening_where_people_can_reach_it(simulate: Simulate) -> None:
    run = await simulate(PROBES, WORST, down("redis", since=100))
    await run.run(200)
    (item,) = run.cycle.incidents()
    secret = SecretStr("s" * 43)
    facts = replace(run.cycle.facts(), link_secret=secret)
    assert "ack_url" not in page_words(item, facts)
    there = replace(facts, config=replace(PROBES, web=WebConfig(external_url="https://monitor.example.com")))
    url = page_words(item, there)["ack_url"]
    assert url == links.make(secret, "https://monitor.example.com", item)
    assert "ack_url" not in page_words(replace(item, state=State.RESOLVED), there)


async def test_a_notice_ends_once_and_stays_ended_over_a_restart(simulate: Simulate) -> None:
    run = await simulate(PROBES, WORST, down("redis", since=100, until=400))
    await run.run(700)
    (update,) = run.cycle.told().notices
    assert update.ended_at is None
    told = len(run.told)
    await run.cycle.close_notices(lambda notice: False)
    assert len(run.told) == told
    await run.cycle.close_notices(lambda notice: notice.identity == update.identity)
    ended = run.clock.wall
    assert [notice.ended_at for notice in run.told[-1].notices] == [ended]
    await run.run(60)
    await run.cycle.close_notices(lambda notice: True)
    await run.restart()
    assert [notice.ended_at for notice in run.cycle.told().notices] == [ended]


@pytest.mark.parametrize("of", ["redis", "scenario:redis"])
async def test_planned_maintenance_opens_nothing_reads_as_ok_to_nobody_and_ends(simulate: Simulate, of: str) -> None:
    begins = FakeClock().wall + 90
    planned = replace(PROBES, maintenance=(Plan("plan-1", (of,), 600.0, "a new disk", Once(begins)),))
    run = await simulate(planned, WORST, down("redis", since=100))
    await run.run(400)
    assert (run.pages(), run.cycle.incidents()) == ([], ())
    assert run.cycle.probe_views()["redis"].level is Level.FAIL
    assert [window.reason for window in run.cycle.windows()] == ["a new disk"]
    await run.restart()
    await run.run(285)
    assert run.pages() == []
    await run.run(10)
    (item,) = run.cycle.incidents()
    assert run.pages() == [("redis", "P1")]
    assert item.started_at < begins + 30  # when it really began
    assert item.opened_at >= begins + 600
    assert run.cycle.windows() == ()


async def test_maintenance_that_comes_again_is_on_again_and_a_reload_may_end_it(simulate: Simulate) -> None:
    hourly = Plan("plan-1", ("redis",), 600.0, "a flush", Cron("5 * * * *", UTC))  # the simulation begins at 17:00
    slow = config(probe("redis", interval=120))
    run = await simulate(replace(slow, maintenance=(hourly,)), WORST, lambda name, mono: GOOD)
    on = []
    for _ in range(13):
        await run.run(600)
        on.append(bool(run.cycle.windows()))
    assert [number for number, is_on in enumerate(on, 1) if is_on] == [1, 7, 13]  # 17:10, 18:10, 19:10
    await run.cycle.reconfigure(slow, WORST)
    assert not run.cycle.windows()
