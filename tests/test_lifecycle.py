"""The nasty cases, each through the real cycle and store with a clock that stands still until it is told."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.core.action import (
    Acknowledge,
    Declare,
    Identify,
    Note,
    Open,
    Refused,
    Resolve,
    Review,
    SetSeverity,
)
from monitor.core.incident import NoticeKind, State
from monitor.core.probe import Result
from monitor.core.runbook import Runbook
from monitor.store import Locked, Store
from tests.lifecycle import FAIL, MEMORY, TYPE, Life, check_timelines, config
from tests.runbook_rows import BOOK, HOUR, MINUTE, P1, P2, P3, P4, SEVERITIES

NAMES = ("portal", "evictions", "memory", "redis", "both", "whmcs", "whmcs-server", "salesforce", "logins")

Begin = Callable[..., Awaitable[Life]]


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    """Start a life in which all is well; its timelines are checked at its end."""
    lives: list[Life] = []
    with tempfile.TemporaryDirectory(prefix="portal-monitor-life-", dir=MEMORY) as folder:

        async def start(book: Runbook = BOOK, *, linked: bool = True) -> Life:
            lives.append(Life(config(*NAMES, linked=linked), book, Path(folder) / str(len(lives))))
            await lives[-1].start()
            return lives[-1]

        yield start
        for life in lives:
            await life.tick()
            check_timelines(life, life.cycle.incidents())
            life.stop()


P1_ALONE = [(0, "redis L1 P1"), (15, "redis L1/2 P1"), (30, "redis L2 P1"), (60, "redis L3 P1")]

# --- the matrix, through everything ----------------------------------------------------------------------------------


async def test_the_whole_life_of_a_p1_that_nobody_answers(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    await life.to(89)
    await life.mend("both")
    await life.to(200)
    assert life.pages() == P1_ALONE
    assert life.kinds("redis") == [
        "opened", "paged", "paged", "reminded", "paged", "reminded", "paged", "reminded", "mitigated", "told",
        "resolved", "reminded",
    ]  # fmt: skip


async def test_a_p2_that_becomes_a_p1_keeps_the_clock_of_l2_and_begins_that_of_l3(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.act("redis", Acknowledge())
    await life.to(20)
    await life.fail("both")
    await life.act("redis", Acknowledge())
    await life.to(100)
    assert life.pages() == [
        (0, "redis L1 P2"), (20, "redis L1 P1"), (30, "redis L2 P1"), (80, "redis L3 P1"),
    ]  # fmt: skip


async def test_customer_impact_is_told_to_management_at_once(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.act("redis", Acknowledge())
    await life.to(5)
    await life.act("redis", Declare("customer_impact", "nobody can sign in"))
    assert life.pages() == [(0, "redis L1 P2"), (5, "redis L3 P2")]


async def test_a_declared_security_incident_tells_everybody_and_the_security_team(begin: Begin) -> None:
    life = await begin()
    await life.report(Open("security", "a dump is for sale", declare=True))
    assert life.pages() == [(0, "security L1 P1"), (0, "security L2 P1"), (0, "security L3 P1")]
    assert {page.labels["audience"] for page in life.cycle.pages()} == {"security"}


async def test_a_hint_that_is_declared_while_it_is_monitored_is_no_longer_over(begin: Begin) -> None:
    life = await begin()
    await life.fail("logins")
    await life.mend("logins")
    assert life.newest("security").state is State.MONITORING
    await life.to(5)
    await life.act("security", Declare("security", "they were not ours"))
    await life.to(10)
    assert life.pages() == [
        (0, "security L1 P4"), (5, "security L1 P1"), (5, "security L2 P1"), (5, "security L3 P1"),
    ]  # fmt: skip
    await life.to(600)
    assert life.newest("security").state is State.INVESTIGATING


async def test_a_vendor_is_told_by_its_own_clock(begin: Begin) -> None:
    life = await begin()
    await life.fail("salesforce")
    await life.to(10)
    await life.fail("whmcs")
    await life.to(20)
    await life.fail("whmcs-server")
    await life.to(31)
    assert life.pages() == [
        (0, "salesforce L1 P3"), (10, "whmcs L1 P2"), (20, "whmcs L4 P2 whmcs"), (30, "salesforce L4 P3 salesforce"),
    ]  # fmt: skip


async def test_a_vendor_waits_while_nothing_is_known_and_its_clock_runs(begin: Begin) -> None:
    life = await begin()
    await life.fail("salesforce")
    await life.to(10)
    await life.blind("salesforce")
    await life.to(40)
    assert life.pages() == [(0, "salesforce L1 P3")]
    await life.fail("salesforce")
    assert life.pages() == [(0, "salesforce L1 P3"), (40, "salesforce L4 P3 salesforce")]


async def test_an_incident_that_nothing_is_known_of_goes_on_with_its_clocks(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    await life.blind(*(name for name in NAMES if name in {"evictions", "memory", "redis", "both"}))
    await life.to(200)
    assert life.pages() == P1_ALONE


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minute", [0, 10, 29.99, 30.01, 45, 59])
async def test_a_restart_changes_nothing(begin: Begin, minute: float) -> None:
    life = await begin()
    await life.fail("both")
    await life.to(minute)
    await life.restart(down=1)
    await life.to(120)
    assert life.pages() == P1_ALONE
    assert len(life.told) == 4


async def test_many_restarts_change_nothing(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    for minute in range(1, 80):
        await life.restart(down=0.5)
        await life.to(minute)
    assert life.pages() == P1_ALONE


async def test_after_two_hours_away_each_level_is_told_once_with_how_late_it_is(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    await life.restart(down=2 * HOUR)
    await life.wait(60)
    assert life.pages() == [
        (0, "redis L1 P1"), (120, "redis L1/2 P1"), (120, "redis L2 P1"), (120, "redis L3 P1"),
    ]  # fmt: skip
    said = [event.text for event in life.events("redis") if event.kind == "paged"]
    assert [text.rpartition(", ")[2] for text in said[1:]] == ["1h 45m late", "1h 30m late", "1h late"]


async def test_after_two_hours_away_nobody_is_told_of_what_is_well_by_then(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    life.world["both"] = life.world["redis"]
    await life.restart(down=2 * HOUR)
    await life.to(300)
    assert life.pages() == [(0, "redis L1 P1")]
    assert life.newest("redis").state is State.RESOLVED


async def test_what_is_due_waits_a_minute_at_most_for_probes_that_do_not_come(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    await life.restart(down=40 * MINUTE, probes=False)
    await life.wait(50)
    assert life.pages() == [(0, "redis L1 P1")]
    await life.wait(15)
    assert life.pages() == [(0, "redis L1 P1"), (41, "redis L1/2 P1"), (41, "redis L2 P1")]


async def test_a_reminder_that_waits_for_the_probes_after_a_start_is_not_forgotten(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.act("redis", Acknowledge())
    await life.restart(down=65 * MINUTE, probes=False)
    assert "reminded" not in life.kinds("redis")
    await life.wait(90)
    assert life.kinds("redis").count("reminded") == 1


async def test_a_start_survives_an_open_incident_whose_scenario_left_the_runbook(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    await life.report(Open("security", "somebody called"))
    life.runbook = replace(BOOK, scenarios={"portal": BOOK.scenarios["portal"]})
    await life.restart(down=HOUR)
    await life.wait(30 * MINUTE)
    assert life.newest("redis").state is State.RESOLVED
    assert life.newest("security").state is State.INVESTIGATING  # only a person ends it
    await life.act("security", Resolve("it was nothing"))
    assert life.cycle.pages() == ()


async def test_a_second_daemon_on_the_same_store_does_nothing(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    with pytest.raises(Locked, match="another portal-monitor is running on this store"):
        Store(life.folder / "state.db", life.clock)
    await life.to(120)
    assert life.pages() == P1_ALONE


# --- the clock -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 31.0, -86400.0])
@pytest.mark.parametrize("how", ["running", "restart", "before the restart"])
async def test_a_step_of_the_clock_moves_no_page(begin: Begin, seconds: float, how: str) -> None:
    life = await begin()
    await life.fail("both")
    await life.to(10)
    if how != "restart":
        life.clock.step(seconds)
    if how != "running":
        await life.restart(down=5, step=seconds if how == "restart" else 0.0)
    await life.to(120)
    assert life.pages() == P1_ALONE
    assert life.kinds("redis").count("clock") == 1
    assert life.newest("redis").opened_at == pytest.approx(life.clock.wall - 120 * MINUTE, abs=0.01)


@pytest.mark.parametrize("behind", [HOUR, 20000 * 86400.0])
async def test_a_machine_that_boots_with_its_clock_behind_until_it_is_set_moves_no_page(
    begin: Begin, behind: float
) -> None:
    life = await begin()
    await life.fail("both")
    await life.to(10)
    await life.probe("redis")  # the last that was saved
    await life.restart(down=1, step=-behind, boot="two")
    await life.to(20)
    life.clock.step(behind)
    await life.to(120)
    assert life.pages() == P1_ALONE


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_step_of_the_clock_in_the_middle_of_a_start_counts_once(begin: Begin, seconds: float) -> None:
    life = await begin()
    await life.fail("both")
    await life.to(10)
    life.stop()
    life._open()
    life.clock.step(seconds)
    await life.cycle.start(life._saved)
    await life.probe(*NAMES)
    await life.to(120)
    assert life.pages() == P1_ALONE


async def test_time_that_passed_between_two_boots_has_passed(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    await life.restart(down=35 * MINUTE, boot="two")
    await life.wait(60)
    assert life.pages() == [(0, "redis L1 P1"), (35, "redis L1/2 P1"), (35, "redis L2 P1")]


async def test_a_clock_that_is_set_and_set_back_moves_no_page(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    for minute in range(1, 100, 3):
        life.clock.step(HOUR if minute % 2 else -HOUR)
        await life.to(minute)
    assert life.pages() == P1_ALONE


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_what_somebody_does_right_after_a_step_is_saved_by_the_new_clock(begin: Begin, seconds: float) -> None:
    life = await begin()
    await life.fail("redis")
    await life.to(20)
    life.clock.step(seconds)
    item = await life.act("redis", SetSeverity(P1, "everybody is out"))
    await life.to(21)
    await life.act("redis", Acknowledge())
    assert item.stays[-1].at == pytest.approx(item.opened_at + 20 * MINUTE, abs=0.01)
    await life.to(100)
    assert life.pages() == [
        (0, "redis L1 P2"), (20, "redis L1 P1"), (30, "redis L2 P1"), (80, "redis L3 P1"),
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_step_of_the_clock_repeats_no_reminder_and_leaves_none_out(begin: Begin, seconds: float) -> None:
    life = await begin()
    await life.fail("both")
    await life.to(65)
    assert reasons(life, "redis") == ["response", "update", "update"]
    life.clock.step(seconds)
    await life.to(89)
    assert reasons(life, "redis") == ["response", "update", "update"]
    await life.to(91)
    assert reasons(life, "redis") == ["response", "update", "update", "update"]


async def test_a_run_that_began_before_a_step_is_dated_by_the_new_clock(begin: Begin) -> None:
    life = await begin()
    began, mono = life.clock.wall, life.clock.mono
    life.clock.step(HOUR)
    life.clock.advance_to(mono + 2)
    result = Result("redis", TYPE.name, began, mono, 2.0, FAIL, "unreachable")
    await life.cycle.take(result, life.config.probes["redis"])
    assert life.newest("redis").started_at == pytest.approx(life.clock.wall - 2, abs=0.01)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_maintenance_is_as_long_as_it_was_meant_to_be_over_a_restart_with_another_clock(
    begin: Begin, seconds: float
) -> None:
    life = await begin()
    await life.cycle.begin_maintenance(["redis"], 30 * MINUTE, "a new disk", "ann")
    await life.fail("redis")
    await life.to(10)
    await life.restart(step=seconds)
    await life.to(29)
    assert life.pages() == []
    await life.to(31)
    assert life.pages() == [(30, "redis L1 P2")]


async def test_a_clock_set_back_gives_no_key_twice(begin: Begin) -> None:
    life = await begin()
    for _ in range(4):
        await life.fail("redis")
        await life.mend("redis")
        await life.wait(15 * MINUTE + 31 * MINUTE)
        life.clock.step(-46 * MINUTE)
        await life.wait(5)
    keys = [item.key for item in life.cycle.incidents()]
    assert len(keys) == len(set(keys)) == 4


# --- coming back -----------------------------------------------------------------------------------------------------


async def test_nothing_new_while_monitored_and_a_relapse_tells_what_is_overdue_at_once(begin: Begin) -> None:
    life = await begin(replace(BOOK, lifecycle=replace(BOOK.lifecycle, monitor=30 * MINUTE)))
    await life.fail("both")
    await life.act("redis", Acknowledge())
    await life.to(20)
    await life.mend("both")
    await life.to(46)
    assert life.pages() == [(0, "redis L1 P1")]
    await life.fail("both")
    await life.to(61)
    assert life.pages() == [(0, "redis L1 P1"), (46, "redis L2 P1"), (60, "redis L3 P1")]


async def test_a_reopening_pages_anew_and_restarts_the_clocks(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    await life.act("redis", Acknowledge())
    await life.to(10)
    await life.mend("both")
    await life.to(26)
    key, state = life.newest("redis").key, life.newest("redis").state
    assert state is State.RESOLVED
    await life.to(50)
    await life.fail("both")
    await life.to(81)
    assert life.newest("redis").key == key
    assert life.pages() == [
        (0, "redis L1 P1"), (50, "redis L1 P1"), (65, "redis L1/2 P1"), (80, "redis L2 P1"),
    ]  # fmt: skip


async def test_after_half_an_hour_it_is_another_incident(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.mend("redis")
    await life.to(46)
    await life.fail("redis")
    assert len(life.cycle.incidents()) == 2
    assert life.pages() == [(0, "redis L1 P2"), (46, "redis L1 P2")]


async def test_what_comes_and_goes_is_one_incident_that_ends_after_an_hour_of_quiet(begin: Begin) -> None:
    life = await begin()
    for minute in (10, 20, 30, 40):
        await life.fail("redis")
        await life.to(minute - 5)
        await life.mend("redis")
        await life.to(minute)
    assert life.newest("redis").relapses == 3
    await life.to(94)
    assert life.newest("redis").state is State.MONITORING
    await life.to(96)
    assert life.newest("redis").state is State.RESOLVED
    assert [page for page in life.pages() if "/2" not in page[1]] == [(0, "redis L1 P2"), (30, "redis L2 P2")]


# --- causes and symptoms ---------------------------------------------------------------------------------------------


async def test_a_symptom_is_silent_and_resumes_its_own_clocks_when_its_cause_is_over(begin: Begin) -> None:
    life = await begin()
    await life.fail("portal")
    await life.act("portal", Acknowledge())
    await life.to(5)
    await life.fail("redis")
    await life.to(25)
    await life.mend("portal")
    await life.to(39)
    assert life.pages("redis") == []
    await life.to(70)
    assert life.pages("redis") == [(40, "redis L1 P2"), (40, "redis L2 P2")]
    await life.to(110)
    assert life.pages("redis")[2:] == [(100, "redis L1/2 P2")]  # an hour after somebody could answer


async def test_a_symptom_that_was_told_goes_no_further_while_its_cause_is_open(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.to(10)
    await life.fail("portal")
    await life.to(70)
    assert life.pages("redis") == [(0, "redis L1 P2")]
    assert life.pages("portal") == [
        (10, "portal L1 P1"), (25, "portal L1/2 P1"), (40, "portal L2 P1"), (70, "portal L3 P1"),
    ]  # fmt: skip


# --- what people say -------------------------------------------------------------------------------------------------


async def test_a_severity_by_hand_holds_while_it_is_no_worse_than_when_it_was_set(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.act("redis", SetSeverity(P4, "there is a way around"))
    await life.to(40)
    await life.fail("memory")
    assert life.newest("redis").severity is P4
    assert life.pages() == [(0, "redis L1 P2")]
    await life.fail("both")
    assert life.newest("redis").severity is P1
    await life.to(71)
    assert life.pages() == [
        (0, "redis L1 P2"), (40, "redis L1 P1"), (55, "redis L1/2 P1"), (70, "redis L2 P1"),
    ]  # fmt: skip


async def test_what_is_resolved_although_it_fails_stays_so_until_it_is_worse(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    with pytest.raises(Refused, match="redis still fails"):
        await life.act("redis", Resolve("done"))
    await life.act("redis", Resolve(force="the probe is wrong"))
    await life.restart(down=60)
    await life.to(25)
    assert life.cycle.pages() == ()
    await life.fail("both")
    assert life.pages() == [(0, "redis L1 P2"), (25, "redis L1 P1")]


async def test_what_is_resolved_although_it_fails_reopens_after_it_was_clear_once(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.act("redis", Resolve(force="the probe is wrong"))
    await life.to(10)
    await life.mend("redis")
    await life.to(20)
    await life.fail("redis")
    assert life.pages() == [(0, "redis L1 P2"), (20, "redis L1 P2")]


async def test_what_a_person_opened_a_probe_joins_and_only_a_person_ends(begin: Begin) -> None:
    life = await begin()
    await life.report(Open("redis", "customers cannot sign in", P3))
    await life.act("redis", Acknowledge())
    await life.to(10)
    await life.fail("redis")
    await life.to(20)
    await life.mend("redis")
    await life.to(300)
    assert (life.newest("redis").state, len(life.cycle.incidents())) == (State.INVESTIGATING, 1)
    assert life.kinds("redis")[:4] == ["opened", "paged", "ack", "joined"]
    await life.act("redis", Resolve("a cable"))
    assert life.newest("redis").state is State.RESOLVED


async def test_an_incident_reported_for_an_earlier_time_leaves_the_earlier_one_alone(begin: Begin) -> None:
    life = await begin()
    start = life.clock.wall
    await life.fail("redis")
    await life.mend("redis")
    await life.to(50)
    await life.fail("redis")
    await life.mend("redis")
    await life.to(100)
    before = {item.key: item for item in life.cycle.incidents()}
    item = await life.report(Open("redis", "somebody called then", since=start))
    assert item.key not in before
    life.stop()
    life._open()
    saved = {each.key: each for each in life._saved.incidents}
    assert {key: saved[key] for key in before} == before
    await life.cycle.start(life._saved)


async def test_a_false_alarm_owes_no_review(begin: Begin) -> None:
    life = await begin()
    await life.fail("both", "whmcs")
    await life.act("redis", Resolve(false_alarm="a test of ours"))
    await life.mend("whmcs")
    await life.to(8 * 24 * 60)
    assert "review" not in reasons(life, "redis")
    assert "review" in reasons(life, "whmcs")


async def test_a_review_is_reminded_of_until_it_is_held_also_after_a_restart(begin: Begin) -> None:
    life = await begin()
    await life.fail("whmcs")
    await life.mend("whmcs")  # Monday 17:00 UTC: due on Thursday at 18:00
    await life.to(3.8 * 24 * 60)
    first = reasons(life, "whmcs").count("review")
    assert first == 2  # Thursday and Friday in the morning
    await life.restart()
    await life.act("whmcs", Review("wiki/42"))
    await life.to(9 * 24 * 60)
    assert reasons(life, "whmcs").count("review") == first


def reasons(life: Life, scenario: str) -> list[str]:
    key = life.newest(scenario).key
    notices = life.cycle.told().notices
    return [item.key for item in notices if item.incident == key and item.kind is NoticeKind.REMINDER]


async def test_an_acknowledgement_that_comes_after_the_end_changes_nothing(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.mend("redis")
    await life.to(16)
    before = life.newest("redis")
    with pytest.raises(Refused, match="is resolved; there is nothing to acknowledge"):
        await life.act("redis", Acknowledge())
    assert life.newest("redis") == before


async def test_the_link_of_an_earlier_page_acknowledges_no_later_opening(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.mend("redis")
    await life.to(20)
    await life.fail("redis")
    with pytest.raises(Refused, match="an earlier opening"):
        await life.act("redis", Acknowledge(opening=1))
    await life.act("redis", Acknowledge(opening=2))


async def test_a_note_on_what_is_long_over_goes_onto_its_own_timeline(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.mend("redis")
    await life.to(60)
    old = life.newest("redis").key
    await life.fail("redis")
    await life.cycle.act(old, Note("a longer cable", fix=True), "ann")
    await life.cycle.act(old, Review(), "ann")
    assert [event.kind for event in life.store.events(old)][-2:] == ["fix", "reviewed"]
    assert life.kinds("redis") == ["opened", "paged"]


async def test_a_review_that_is_held_after_months_is_written_down(begin: Begin) -> None:
    life = await begin()
    await life.fail("whmcs")
    await life.mend("whmcs")
    await life.to(16)
    old = life.newest("whmcs").key
    await life.to(60 * 24 * 60)
    assert old not in [item.key for item in life.cycle.incidents()]
    counted = life.cycle.scenario_views()["whmcs"].opened_total
    await life.cycle.act(old, Review("wiki/42"), "ann")
    assert life.cycle.scenario_views()["whmcs"].opened_total == counted
    with pytest.raises(Refused, match="ann has reviewed it already"):
        await life.cycle.act(old, Review(), "ann")
    with pytest.raises(Refused, match=f"{old} is resolved"):
        await life.cycle.act(old, Identify("a cable"), "ann")
    assert life.store.events(old)[-1].text == "wiki/42"
    await life.fail("whmcs")
    assert life.kinds("whmcs") == ["opened", "paged"]
    with pytest.raises(Refused, match='there is no incident "whmcs-1"'):
        await life.cycle.act("whmcs-1", Note("x"), "ann")


async def test_updates_are_numbered_through_the_whole_life(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.act("redis", Identify("a cable"))
    await life.restart()
    await life.mend("redis")
    await life.to(16)
    await life.fail("redis")
    await life.mend("redis")
    updates = [item.number for item in life.cycle.told().notices if item.kind is NoticeKind.UPDATE]
    assert updates == [1, 2, 3]


# --- maintenance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["redis", "scenario:redis"])
async def test_maintenance_holds_opening_and_what_fails_at_its_end_opens_with_its_true_start(
    begin: Begin, of: str
) -> None:
    life = await begin()
    start = life.clock.wall
    await life.to(1)
    await life.cycle.begin_maintenance([of], HOUR, "a new disk", "ann")
    await life.to(11)
    await life.fail("redis")
    view = life.cycle.scenario_views()["redis"]
    assert (view.derived, view.unknown) == (None, True)  # never read as ok
    assert life.cycle.probe_views()["redis"].level.value == "fail"
    await life.to(60)
    assert life.cycle.incidents() == ()
    await life.to(62)
    assert life.newest("redis").started_at == pytest.approx(start + 11 * MINUTE, abs=1)
    assert life.pages() == [(61, "redis L1 P2")]


async def test_maintenance_that_ends_early_opens_what_fails_and_nothing_that_is_well(begin: Begin) -> None:
    life = await begin()
    window = await life.cycle.begin_maintenance(["scenario:redis", "whmcs"], HOUR, "a new disk", "ann")
    await life.fail("redis", "whmcs")
    await life.mend("whmcs")
    await life.to(10)
    await life.cycle.end_maintenance(window.key)
    assert life.pages() == [(10, "redis L1 P2")]
    with pytest.raises(Refused, match="no maintenance"):
        await life.cycle.end_maintenance(window.key)


async def test_maintenance_resolves_nothing_that_is_open(begin: Begin) -> None:
    life = await begin()
    await life.fail("both")
    await life.cycle.begin_maintenance(["scenario:redis"], 2 * HOUR, "a new disk", "ann")
    await life.to(100)
    assert life.newest("redis").state is State.INVESTIGATING
    assert life.pages() == P1_ALONE


async def test_nobody_blames_a_vendor_for_what_is_under_maintenance(begin: Begin) -> None:
    life = await begin()
    await life.cycle.begin_maintenance(["whmcs-server"], HOUR, "they told us", "ann")
    await life.fail("whmcs", "whmcs-server")
    await life.to(59)
    assert life.pages("whmcs") == [(0, "whmcs L1 P2"), (30, "whmcs L2 P2")]
    await life.to(61)
    assert (60, "whmcs L4 P2 whmcs") in life.pages("whmcs")


# --- reload ----------------------------------------------------------------------------------------------------------


async def test_a_reload_moves_the_reminders_with_the_times_they_come_from(begin: Begin) -> None:
    life = await begin()
    await life.fail("redis")
    await life.act("redis", Acknowledge())
    sooner = {**SEVERITIES, P2: replace(SEVERITIES[P2], update_every=20 * MINUTE)}
    await life.cycle.reconfigure(life.config, replace(BOOK, severities=sooner))
    await life.to(21)
    assert reasons(life, "redis") == ["update"]
