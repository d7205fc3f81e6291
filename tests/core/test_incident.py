"""The transition table, as far as the rules drive it: what opens, relapses, resolves and reopens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core import incident
from monitor.core.incident import Ack, Began, Incident, Notice, NoticeKind, Page, State, Step, Taken
from monitor.core.runbook import Lifecycle, Severity
from monitor.core.severity import Verdict
from tests.runbook_rows import HOUR, MINUTE, NOON, P1, P2, P3, verdict

LIFECYCLE = Lifecycle(monitor=15 * MINUTE, reopen_within=30 * MINUTE)
INVESTIGATING, IDENTIFIED, MONITORING, RESOLVED = State
LATER = NOON + 5 * MINUTE


def opened(severity: Severity = P2, **facts: Any) -> Incident:
    step = incident.advance(None, verdict(severity), LIFECYCLE, NOON, Began(NOON - 90, NOON - 100))
    assert step.incident is not None
    return replace(step.incident, **facts)


def monitored(**facts: Any) -> Incident:
    return opened(state=MONITORING, mitigated_at=LATER, **facts)


def over(**facts: Any) -> Incident:
    return opened(state=RESOLVED, resolved_at=LATER, **facts)


def kinds(step: Step) -> list[str]:
    return [kind for kind, _ in step.events]


CLEAR, UNKNOWN = verdict(None), verdict(None, unknown=True)

TABLE: list[tuple[str, Incident | None, Verdict, float, State | None, list[str], bool]] = [
    # what, from, verdict, when, state after, events, whether those who know are told
    ("a severity opens", None, verdict(P2), NOON, INVESTIGATING, ["opened"], False),
    ("clear opens nothing", None, CLEAR, NOON, None, [], False),
    ("unknown opens nothing", None, UNKNOWN, NOON, None, [], False),
    ("still failing stays", opened(), verdict(P2), LATER, INVESTIGATING, [], False),
    ("identified stays so", opened(state=IDENTIFIED), verdict(P2), LATER, IDENTIFIED, [], False),
    ("unknown stays as it is", opened(), UNKNOWN, LATER, INVESTIGATING, [], False),
    ("unknown stays identified", opened(state=IDENTIFIED), UNKNOWN, LATER, IDENTIFIED, [], False),
    ("all clear is monitored", opened(), CLEAR, LATER, MONITORING, ["mitigated"], True),
    ("identified and all clear too", opened(state=IDENTIFIED), CLEAR, LATER, MONITORING, ["mitigated"], True),
    ("worse takes the severity", opened(P3), verdict(P1), LATER, INVESTIGATING, ["severity"], True),
    ("milder ratchets nothing down", opened(P1), verdict(P3), LATER, INVESTIGATING, [], False),
    ("monitored and clear waits", monitored(), CLEAR, LATER + 14 * MINUTE, MONITORING, [], False),
    ("monitored and unknown waits", monitored(), UNKNOWN, LATER + 2 * HOUR, MONITORING, [], False),
    ("15 minutes clear is over", monitored(), CLEAR, LATER + 15 * MINUTE, RESOLVED, ["resolved"], False),
    ("a relapse goes back", monitored(), verdict(P2), LATER + MINUTE, INVESTIGATING, ["relapsed"], True),
    (
        "a relapse goes back to identified", monitored(identified_at=NOON, cause="a leak"), verdict(P2), LATER + MINUTE,
        IDENTIFIED, ["relapsed"], True,
    ),
    (
        "a worse relapse", monitored(), verdict(P1), LATER + MINUTE, INVESTIGATING, ["relapsed", "severity"], True,
    ),
    ("resolved and clear stays", over(), CLEAR, LATER + MINUTE, RESOLVED, [], False),
    ("resolved and unknown stays", over(), UNKNOWN, LATER + MINUTE, RESOLVED, [], False),
    ("within 30 minutes it reopens", over(), verdict(P3), LATER + 29 * MINUTE, INVESTIGATING, ["reopened"], False),
    ("after 30 minutes it is another", over(), verdict(P3), LATER + 30 * MINUTE, INVESTIGATING, ["opened"], False),
    ("opened by hand, probes green: stays", opened(by_hand=True), CLEAR, LATER, INVESTIGATING, [], False),
    (
        "opened by hand, a probe joins", opened(by_hand=True, why=()), verdict(P2), LATER, INVESTIGATING, ["joined"],
        False,
    ),
    (
        "opened by hand, a worse probe joins", opened(P3, by_hand=True, why=()), verdict(P1), LATER, INVESTIGATING,
        ["joined", "severity"], True,
    ),
    (
        "by hand, no worse than when it was set: holds", opened(P1).takes(P3, LATER), verdict(P1), LATER + 1,
        INVESTIGATING, ["severity"], True,
    ),
    (
        "by hand at P1, still P1: holds", replace(opened(P1).takes(P3, LATER), waived=P1), verdict(P1), LATER + 1,
        INVESTIGATING, [], False,
    ),
    (
        "by hand at P2, then P1: takes it", replace(opened(P2).takes(P3, LATER), waived=P2), verdict(P1), LATER + 1,
        INVESTIGATING, ["severity"], True,
    ),
    ("resolved although it fails: stays", over(overridden=P2), verdict(P2), LATER + 1, RESOLVED, [], False),
    ("resolved although it fails, milder: stays", over(overridden=P2), verdict(P3), LATER + 1, RESOLVED, [], False),
    ("resolved although it fails, worse: reopens", over(overridden=P2), verdict(P1), LATER + 1, INVESTIGATING, ["reopened"], False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("last", "said", "now", "state", "events", "update"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_transition_table(  # noqa: PLR0917 (the columns of the table)
    last: Incident | None, said: Verdict, now: float, state: State | None, events: list[str], update: bool
) -> None:
    step = incident.advance(last, said, LIFECYCLE, now)
    assert (step.incident.state if step.incident else None, kinds(step), step.update) == (state, events, update)


def test_what_an_opening_knows() -> None:
    item = opened()
    assert (item.key, item.started_at, item.last_good_at) == ("redis-20261125-1158", NOON - 90, NOON - 100)
    assert (item.opened_at, item.detected_at, item.peak) == (NOON, NOON, P2)
    assert item.stays == (Taken(P2, NOON),)


def test_why_is_what_holds_now_and_nobody_is_told_of_another_why() -> None:
    def of(severity: Severity, *terms: str) -> Verdict:
        said = verdict(severity)
        return replace(said, rules=(replace(said.rules[0], because=terms),))

    healed = monitored(why=("latency",))
    relapsed = incident.advance(healed, of(P2, "errors"), LIFECYCLE, LATER + 1).incident
    assert relapsed is not None
    assert relapsed.why == ("errors",)
    for said in (of(P2, "errors", "memory"), of(P3, "memory")):
        step = incident.advance(relapsed, said, LIFECYCLE, LATER + 2)
        assert step == Step(replace(relapsed, why=said.because))
    clear = incident.advance(relapsed, CLEAR, LIFECYCLE, LATER + 2).incident
    assert clear is not None
    assert clear.why == ("errors",)


def test_a_severity_taken_is_kept_with_its_time_and_the_peak_stays() -> None:
    worse = incident.advance(opened(P3), verdict(P1), LIFECYCLE, LATER).incident
    assert worse is not None
    milder = worse.takes(P3, LATER + 60, "ann")
    assert [(taken.severity, taken.at, taken.by) for taken in milder.stays] == [
        (P3, NOON, "monitor"),
        (P1, LATER, "monitor"),
        (P3, LATER + 60, "ann"),
    ]
    assert milder.peak is P1


def test_a_resolve_by_hand_although_it_fails_counts_until_it_was_clear_once() -> None:
    forced = over(overridden=P2)
    cleared = incident.advance(forced, CLEAR, LIFECYCLE, LATER + 60).incident
    assert cleared is not None
    assert cleared.overridden is None
    assert kinds(incident.advance(cleared, verdict(P2), LIFECYCLE, LATER + 120)) == ["reopened"]
    unknown = incident.advance(forced, UNKNOWN, LIFECYCLE, LATER + 60).incident
    assert unknown == forced


def test_a_reopening_forgets_what_was_of_the_opening_before_and_keeps_what_is_of_the_incident() -> None:
    ack = Ack(NOON, "ann", P2)
    before = over(
        ack=ack, first_ack=ack, cause="a leak", identified_at=NOON, customer_impact_at=NOON, declared_at=NOON,
        vendor_since=NOON, waived=P1, mitigated_at=NOON, false_alarm="a test", reviewed_at=LATER, reviewed_by="bob",
        by_hand=True, relapsed_at=(NOON,), evidence=True, updates=4,
    )  # fmt: skip
    again = incident.advance(before, verdict(P3), LIFECYCLE, LATER + MINUTE).incident
    assert again is not None
    gone = [
        "ack", "identified_at", "customer_impact_at", "declared_at", "vendor_since", "waived", "mitigated_at",
        "resolved_at", "reviewed_at", "overridden",
    ]  # fmt: skip
    assert {name: getattr(again, name) for name in gone} == dict.fromkeys(gone)
    assert (again.false_alarm, again.reviewed_by, again.by_hand) == ("", "", False)
    kept = ["key", "started_at", "detected_at", "first_ack", "relapsed_at", "evidence", "updates", "peak"]
    assert [getattr(again, name) for name in kept] == [getattr(before, name) for name in kept]
    assert (again.opening, again.opened_at, again.stays) == (2, LATER + MINUTE, (Taken(P3, LATER + MINUTE, 2),))


def test_a_relapse_after_a_reopening_goes_back_to_where_this_opening_was() -> None:
    before = over(cause="a leak", identified_at=NOON)
    item = incident.advance(before, verdict(P2), LIFECYCLE, LATER + 1).incident
    for second, said in ((2, CLEAR), (3, verdict(P2))):
        item = incident.advance(item, said, LIFECYCLE, LATER + second).incident
    assert item is not None
    assert item.state is INVESTIGATING


def test_three_relapses_within_an_hour_are_watched_for_an_hour() -> None:
    item = monitored(relapsed_at=(NOON, NOON + 20 * MINUTE, NOON + 59 * MINUTE))
    assert incident.next_change(item, LIFECYCLE) == LATER + HOUR
    assert incident.advance(item, CLEAR, LIFECYCLE, LATER + 59 * MINUTE).incident == item
    assert kinds(incident.advance(item, CLEAR, LIFECYCLE, LATER + 60 * MINUTE)) == ["resolved"]
    slow = monitored(relapsed_at=(NOON, NOON + 20 * MINUTE, NOON + 60 * MINUTE))
    assert incident.next_change(slow, LIFECYCLE) == LATER + 15 * MINUTE


def test_no_key_is_given_twice_also_when_the_clock_goes_back_or_an_old_time_is_reported() -> None:
    taken = {"redis-20261125-1200", "redis-20261125-1200-2"}
    item = incident.advance(None, verdict(P2), LIFECYCLE, NOON, known=taken).incident
    assert item is not None
    assert item.key == "redis-20261125-1200-3"
    last = over(key="redis-20261125-1201")
    later = incident.advance(last, verdict(P2), Lifecycle(0, 0), LATER + 60, Began(NOON + 60), known=taken)
    assert later.incident is not None
    assert later.incident.key == "redis-20261125-1201-2"


def test_a_start_later_than_the_opening_is_not_believed() -> None:
    item = incident.advance(None, verdict(P2), LIFECYCLE, NOON, Began(NOON + HOUR, None)).incident
    assert item is not None
    assert item.started_at == NOON


# --- steps of the clock ----------------------------------------------------------------------------------------------

ABOUT_NOON: dict[str, Any] = {
    each.name: NOON + number
    for number, each in enumerate(fields(Incident))
    if each.name.endswith(("_at", "_since")) and each.name != "relapsed_at"
}
FULL = replace(
    opened().takes(P1, LATER),
    **ABOUT_NOON,
    ack=Ack(NOON, "ann", P2),
    first_ack=Ack(NOON, "ann", P2),
    relapsed_at=(NOON, LATER),
)
PAGE = Page(FULL.key, 1, P2, "L1", due_at=NOON, fired_at=NOON, ended_at=LATER, fell_back_at=LATER)
NOTICE = Notice(FULL.key, NoticeKind.UPDATE, "1", 1, due_at=NOON, fired_at=NOON, ended_at=LATER)


def times(thing: object) -> list[float]:
    """Every wall time in it: all times here are about noon, and nothing else is that large."""
    if isinstance(thing, float | int) and not isinstance(thing, Severity):
        return [float(thing)] if thing > 1e9 else []
    if isinstance(thing, tuple):
        return [at for each in thing for at in times(each)]
    if hasattr(thing, "__dataclass_fields__"):
        return [at for name in thing.__dataclass_fields__ for at in times(getattr(thing, name))]
    return []


@pytest.mark.parametrize(
    ("shift", "thing"),
    [(incident.shift, FULL), (incident.shift_page, PAGE), (incident.shift_notice, NOTICE)],
    ids=["incident", "page", "notice"],
)
@given(seconds=st.floats(-86400, 86400))
def test_a_step_of_the_clock_moves_every_time_and_nothing_else(
    shift: Callable[[Any, float], Any], thing: Any, seconds: float
) -> None:
    moved = shift(thing, seconds)
    assert len(times(thing)) >= 3
    assert times(moved) == [at + seconds for at in times(thing)]
    back = shift(moved, -seconds)
    assert times(back) == pytest.approx(times(thing))
    assert replace(back, **{each.name: getattr(thing, each.name) for each in fields(thing)}) == thing
    assert incident_without_times(moved) == incident_without_times(thing)


def incident_without_times(thing: Any) -> list[object]:
    return [value for each in fields(thing) if not times(value := getattr(thing, each.name))]
