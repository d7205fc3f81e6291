"""The matrix, row by row and clock by clock: which page is due when; deadlines and reminders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.core import action, escalation, incident
from monitor.core.calendar import Calendar
from monitor.core.incident import Ack, Incident, Notice, Page, State
from monitor.core.runbook import Level, Lifecycle, Severity
from tests.runbook_rows import BOOK, HOUR, MINUTE, NOON, P1, P2, P3, P4, probe, verdict

Change = Callable[[Incident, float], Incident]
Fired = tuple[int, str, str]
"""(minutes after opening, level, severity); a second call is `L1/2`, a vendor's page `L4 whmcs`."""


def opened(severity: Severity, scenario: str = "redis", at: float = NOON, **more: Any) -> Incident:
    fresh = Incident(f"{scenario}-1", scenario, State.INVESTIGATING, severity, severity, at, at, **more)
    return replace(fresh, detected_at=at, updated_at=at).takes(severity, at)


def first_page(item: Incident) -> Page:
    """Everybody is told, at its opening, that it is as bad as can be."""
    return Page(item.key, item.opening, P1, "L1", due_at=item.opened_at, fired_at=item.opened_at)


TOLD = [first_page(opened(P1))]


def play(item: Incident, changes: Mapping[int, Change], *, minutes: int = 240, recorded: bool = False) -> list[Fired]:
    """Every page of an incident's life, looked at once a minute from its opening on."""
    pages: list[Page] = []
    for minute in range(minutes + 1):
        now = NOON + minute * MINUTE
        item = changes.get(minute, same)(item, now)
        pages += escalation.due_pages(BOOK, item, pages, now, recorded=recorded, parent_coming=False)
    return [told(page) for page in pages]


def same(item: Incident, now: float) -> Incident:
    return item


def told(page: Page) -> Fired:
    level = page.escalation_level
    level += f"/{page.attempt}" if page.attempt > 1 else ""
    level += f" {page.vendor}" if page.vendor != "none" else ""
    return int((page.fired_at - NOON) // MINUTE), level, str(page.severity)


def to(severity: Severity) -> Change:
    return lambda item, now: item.takes(severity, now)


def acked(item: Incident, now: float) -> Incident:
    return replace(item, ack=Ack(now, "ann", item.severity))


def turned(**facts: Any) -> Change:
    return lambda item, now: replace(item, **facts)


def customers(item: Incident, now: float) -> Incident:
    return replace(item, customer_impact_at=now)


ROWS: list[tuple[str, Severity, dict[int, Change], bool, list[Fired]]] = [
    ("L1 all incidents, P4 too", P4, {}, False, [(0, "L1", "P4")]),
    ("P3 goes no further by itself", P3, {}, False, [(0, "L1", "P3")]),
    ("L2 of a P2 after 30 minutes, and no L3", P2, {}, False, [(0, "L1", "P2"), (30, "L2", "P2")]),
    ("L2 and L3 of a P1", P1, {}, False, [(0, "L1", "P1"), (30, "L2", "P1"), (60, "L3", "P1")]),
    (
        "an acknowledgement stops neither L2 nor L3",
        P1, {5: acked}, True, [(0, "L1", "P1"), (30, "L2", "P1"), (60, "L3", "P1")],
    ),
    (
        "P2 that becomes P1 at +20: L1 once more, L2 at +30, L3 at +80",
        P2, {20: to(P1)}, False, [(0, "L1", "P2"), (20, "L1", "P1"), (30, "L2", "P1"), (80, "L3", "P1")],
    ),
    (
        "P3 for 90 minutes and then P1: L2 at +120, not at once",
        P3, {90: to(P1)}, False, [(0, "L1", "P3"), (90, "L1", "P1"), (120, "L2", "P1"), (150, "L3", "P1")],
    ),
    (
        "an upgrade pages levels that were reached once more",
        P2, {40: to(P1)}, False,
        [(0, "L1", "P2"), (30, "L2", "P2"), (40, "L1", "P1"), (40, "L2", "P1"), (100, "L3", "P1")],
    ),
    (
        "a step down tells nobody, and cancels what has not fired",
        P1, {10: to(P3)}, False, [(0, "L1", "P1")],
    ),
    (
        "a step down within a level's severities does not reset its clock",
        P1, {10: to(P2)}, False, [(0, "L1", "P1"), (30, "L2", "P2")],
    ),
    (
        "down and up again begins the clocks anew, and pages nobody twice",
        P1, {10: to(P3), 20: to(P1)}, False, [(0, "L1", "P1"), (50, "L2", "P1"), (80, "L3", "P1")],
    ),
    (
        "customer impact: L3 at once, also of a P2",
        P2, {12: customers}, False, [(0, "L1", "P2"), (12, "L3", "P2"), (30, "L2", "P2")],
    ),
    (
        "customer impact, and then P1: L3 once more at once",
        P2, {12: customers, 20: to(P1)}, False,
        [(0, "L1", "P2"), (12, "L3", "P2"), (20, "L1", "P1"), (20, "L3", "P1"), (30, "L2", "P1")],
    ),
    (
        "nobody answers a P1 within 15 minutes: the second call",
        P1, {}, True, [(0, "L1", "P1"), (15, "L1/2", "P1"), (30, "L2", "P1"), (60, "L3", "P1")],
    ),
    (
        "nobody answers a P2 within the hour: the second call",
        P2, {}, True, [(0, "L1", "P2"), (30, "L2", "P2"), (60, "L1/2", "P2")],
    ),
    ("no second call of a P3", P3, {}, True, [(0, "L1", "P3")]),
    ("no second call of a P4", P4, {}, True, [(0, "L1", "P4")]),
    (
        "an acknowledgement in time: no second call",
        P1, {14: acked}, True, [(0, "L1", "P1"), (30, "L2", "P1"), (60, "L3", "P1")],
    ),
    (
        "an upgrade never postpones the response: P2 unanswered for 50 minutes, then P1",
        P2, {50: to(P1)}, True,
        [(0, "L1", "P2"), (30, "L2", "P2"), (50, "L1", "P1"), (50, "L2", "P1"), (60, "L1/2", "P1"), (110, "L3", "P1")],
    ),
    (
        "an acknowledgement lapses when it gets worse: 15 minutes from then",
        P3, {5: acked, 20: to(P1)}, True,
        [(0, "L1", "P3"), (20, "L1", "P1"), (35, "L1/2", "P1"), (50, "L2", "P1"), (80, "L3", "P1")],
    ),
    (
        "what was answered stays answered: the P1 before the acknowledgement is not held against it",
        P1, {5: to(P2), 10: acked, 70: to(P1)}, True,
        [(0, "L1", "P1"), (30, "L2", "P2"), (70, "L2", "P1"), (85, "L1/2", "P1"), (130, "L3", "P1")],
    ),
    (
        "a second call at P2 is made once more where P1 is not answered either",
        P2, {70: to(P1)}, True,
        [(0, "L1", "P2"), (30, "L2", "P2"), (60, "L1/2", "P2"), (70, "L1", "P1"), (70, "L2", "P1"), (85, "L1/2", "P1"),
         (130, "L3", "P1")],
    ),
    (
        "nothing new while it is being monitored; on a relapse at +46 L2 comes at once, and the same clocks go on",
        P1, {20: turned(state=State.MONITORING), 46: turned(state=State.INVESTIGATING)}, False,
        [(0, "L1", "P1"), (46, "L2", "P1"), (60, "L3", "P1")],
    ),
    ("nothing after it is resolved", P1, {20: turned(state=State.RESOLVED)}, True, [(0, "L1", "P1"), (15, "L1/2", "P1")]),
    ("a symptom is silent", P1, {0: turned(parent="portal")}, True, []),
    (
        "a symptom that is told late is to be answered from then on, and its other clocks are its own",
        P1, {0: turned(parent="portal"), 40: turned(parent=None)}, True,
        [(40, "L1", "P1"), (40, "L2", "P1"), (55, "L1/2", "P1"), (60, "L3", "P1")],
    ),
    (
        "a symptom that got worse in silence is to be answered from when that was told",
        P2, {5: acked, 10: turned(parent="portal"), 20: to(P1), 80: turned(parent=None)}, True,
        [(0, "L1", "P2"), (80, "L1", "P1"), (80, "L2", "P1"), (80, "L3", "P1"), (95, "L1/2", "P1")],
    ),
    (
        "a symptom that outlives its cause resumes its own clocks",
        P1, {10: turned(parent="portal"), 40: turned(parent=None)}, False,
        [(0, "L1", "P1"), (40, "L2", "P1"), (60, "L3", "P1")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("severity", "changes", "recorded", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_the_matrix(severity: Severity, changes: dict[int, Change], recorded: bool, expected: list[Fired]) -> None:
    assert play(opened(severity), changes, recorded=recorded) == expected


def test_a_second_call_is_made_only_where_answers_are_recorded() -> None:
    assert [level for _, level, _ in play(opened(P1), {}, recorded=False)] == ["L1", "L2", "L3"]


def test_a_declared_security_incident_is_told_to_all_levels_at_once() -> None:
    step = action.open_by_hand(action.Open("security", "a dump is for sale", declare=True), None, BOOK, NOON, "ann")
    assert step.incident is not None
    assert play(step.incident, {}) == [(0, "L1", "P1"), (0, "L2", "P1"), (0, "L3", "P1")]


def test_a_declaration_after_the_first_page_is_told_to_its_own_audience_too() -> None:
    """The page's audience is a label, and labels never change: a page of its own tells the security team."""
    declared: dict[int, Change] = {5: lambda item, now: replace(item, declared_at=now)}
    five = [(5, "L1/3", "P1"), (5, "L2", "P1"), (5, "L3", "P1")]
    assert play(opened(P1, "security"), declared) == [(0, "L1", "P1"), *five]
    assert play(opened(P4, "security"), {5: lambda item, now: replace(item, declared_at=now).takes(P1, now)}) == [
        (0, "L1", "P4"), (5, "L1", "P1"), (5, "L2", "P1"), (5, "L3", "P1"),
    ]  # fmt: skip


@pytest.mark.parametrize("minute", [5, 70])
def test_a_declaration_and_the_second_call_are_both_told(minute: int) -> None:
    """Whichever comes first: neither has told the audience of the other."""
    declared: dict[int, Change] = {minute: lambda item, now: replace(item, declared_at=now)}
    told = play(opened(P1, "security"), declared, recorded=True)
    assert [at for at, level, _ in told if level == "L1/2"] == [15]
    assert [at for at, level, _ in told if level == "L1/3"] == [minute]


def test_a_reopening_pages_the_first_level_anew_and_restarts_the_clocks() -> None:
    over = incident.resolved(opened(P1), NOON + 10 * MINUTE)
    again = incident.advance(over, verdict(P2), BOOK_LIFECYCLE, NOON + 39 * MINUTE).incident
    assert again is not None
    assert (again.key, again.opening, again.severity, again.peak) == (over.key, 2, P2, P1)
    pages = [Page(over.key, 1, P1, level) for level in ("L1", "L2")]
    dues = [
        escalation.due_pages(BOOK, again, pages, NOON + minute * MINUTE, recorded=False, parent_coming=False)
        for minute in (39, 68, 69)
    ]
    assert [[page.escalation_level for page in due] for due in dues] == [["L1"], ["L1"], ["L1", "L2"]]


BOOK_LIFECYCLE = Lifecycle()


def test_a_page_says_when_it_was_due_however_late_it_is() -> None:
    pages = escalation.due_pages(BOOK, opened(P1), [], NOON + 2 * HOUR, recorded=False, parent_coming=False)
    assert [(page.escalation_level, page.due_at - NOON) for page in pages] == [("L1", 0), ("L2", 1800), ("L3", 3600)]


def test_what_an_upgrade_pages_again_was_not_due_before_the_upgrade() -> None:
    item = opened(P2).takes(P1, NOON + 40 * MINUTE)
    told = [Page(item.key, 1, P2, "L1"), Page(item.key, 1, P2, "L2")]
    pages = escalation.due_pages(BOOK, item, told, NOON + 50 * MINUTE, recorded=False, parent_coming=False)
    assert {page.due_at for page in pages} == {NOON + 40 * MINUTE}


def test_what_comes_next_is_what_has_not_been_told() -> None:
    item = opened(P1)
    pages = escalation.due_pages(BOOK, item, [], NOON, recorded=True, parent_coming=False)
    steps = escalation.upcoming(BOOK, item, pages, recorded=True)
    minutes = [(step.level, step.attempt, (step.at - NOON) / MINUTE) for step in steps]
    assert minutes == [("L1", 2, 15), ("L2", 1, 30), ("L3", 1, 60)]
    assert escalation.upcoming(BOOK, replace(item, parent="portal"), pages, recorded=True) == []


# --- vendors ---------------------------------------------------------------------------------------------------------

WHMCS, SALESFORCE = BOOK.scenarios["whmcs"], BOOK.scenarios["salesforce"]
SERVER_FAILS = {"whmcs-server": probe(Level.FAIL)}
SERVER_UNKNOWN = {"whmcs-server": probe(Level.UNKNOWN)}
SERVER_OK = {"whmcs-server": probe(Level.OK)}
WHMCS_FAILS = {"whmcs": verdict(P2, "whmcs")}


def since(item: Incident, probes: Any, verdicts: Any = WHMCS_FAILS, maintained: tuple[str, ...] = ()) -> float | None:
    return escalation.vendor_since(
        BOOK.scenarios[item.scenario], item, probes, verdicts, NOON + 100, maintained=maintained
    )


def test_a_vendors_clock_begins_when_what_it_answers_for_fails_and_not_when_the_incident_does() -> None:
    item = opened(P2, "whmcs")
    assert since(item, SERVER_OK) is None
    assert since(item, SERVER_FAILS) == NOON + 100
    assert since(replace(item, vendor_since=NOON + 50), SERVER_FAILS) == NOON + 50


def test_a_vendors_clock_stays_while_unknown_and_while_monitored_and_stops_when_it_is_well() -> None:
    item = opened(P2, "whmcs", vendor_since=NOON + 50)
    assert since(item, SERVER_UNKNOWN) == NOON + 50
    assert since(replace(item, state=State.MONITORING), SERVER_OK) == NOON + 50
    assert since(item, SERVER_OK) is None
    assert since(incident.resolved(item, NOON), SERVER_FAILS) is None


def test_what_is_under_maintenance_begins_no_vendors_clock() -> None:
    item = opened(P2, "whmcs")
    assert since(item, SERVER_FAILS, maintained=("whmcs-server",)) is None
    assert since(item, SERVER_FAILS, maintained=("scenario:whmcs",)) is None
    assert since(replace(item, vendor_since=NOON), SERVER_FAILS, maintained=("whmcs-server",)) == NOON


def test_a_vendor_without_terms_answers_for_the_whole_scenario() -> None:
    item = opened(P3, "salesforce")
    assert since(item, {}, {"salesforce": verdict(P3, "salesforce")}) == NOON + 100
    assert since(item, {}, {"salesforce": verdict(None, "salesforce")}) is None
    by_hand = replace(item, by_hand=True)
    assert since(by_hand, {}, {"salesforce": verdict(None, "salesforce")}) == NOON + 100


def vendor_pages(item: Incident, minute: float, *, unsure: bool = False) -> list[str]:
    pages = escalation.due_pages(
        BOOK, item, [], NOON + minute * MINUTE, recorded=False, parent_coming=False, vendor_unsure=unsure
    )
    return [f"{page.escalation_level} {page.vendor}" for page in pages if page.vendor != "none"]


def test_a_vendors_page_is_due_by_its_own_clock_and_waits_while_nothing_is_known() -> None:
    item = opened(P3, "salesforce", vendor_since=NOON + 10 * MINUTE)
    assert vendor_pages(item, 39.9) == []
    assert vendor_pages(item, 40) == ["L4 salesforce"]
    assert vendor_pages(item, 50, unsure=True) == []
    assert vendor_pages(opened(P3, "salesforce"), 500) == []
    assert vendor_pages(opened(P2, "redis", vendor_since=NOON), 500) == []  # the scenario names none


# --- deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "minutes"), [(P1, 15), (P2, 60), (P3, 240), (P4, 1440)])
def test_the_response_time_of_each_severity(severity: Severity, minutes: int) -> None:
    assert escalation.response_due(BOOK, opened(severity), TOLD) == NOON + minutes * MINUTE


def test_the_response_is_due_at_the_earliest_over_the_severities_held() -> None:
    item = opened(P2)
    assert escalation.response_due(BOOK, item.takes(P1, NOON + 20 * MINUTE), TOLD) == NOON + 35 * MINUTE
    assert escalation.response_due(BOOK, item.takes(P1, NOON + 55 * MINUTE), TOLD) == NOON + 60 * MINUTE
    assert escalation.response_due(BOOK, opened(P1).takes(P4, NOON + 5 * MINUTE), TOLD) == NOON + 15 * MINUTE


def test_no_response_is_due_of_what_is_acknowledged_or_over() -> None:
    assert escalation.response_due(BOOK, acked(opened(P1), NOON + 60), TOLD) is None
    assert escalation.response_due(BOOK, incident.resolved(opened(P1), NOON), TOLD) is None
    lapsed = acked(opened(P3), NOON + 60).takes(P1, NOON + 60)  # at the very same moment
    assert escalation.response_due(BOOK, lapsed, TOLD) == NOON + 60 + 15 * MINUTE


def test_no_response_is_due_of_what_nobody_was_told_of() -> None:
    item = opened(P2)
    assert escalation.response_due(BOOK, item, []) is None
    late = replace(first_page(item), severity=P2, fired_at=NOON + HOUR)
    assert escalation.response_due(BOOK, item, [late]) == NOON + 2 * HOUR
    assert escalation.response_due(BOOK, item.takes(P1, NOON + 90 * MINUTE), [late]) == NOON + 2 * HOUR
    assert escalation.response_due(BOOK, item, [replace(late, opening=2)]) is None


def test_a_response_is_overdue_only_where_answers_are_recorded_and_no_cause_speaks_for_it() -> None:
    late = NOON + 15 * MINUTE
    assert escalation.response_overdue(BOOK, opened(P1), TOLD, late, recorded=True)
    assert not escalation.response_overdue(BOOK, opened(P1), TOLD, late - 1, recorded=True)
    assert not escalation.response_overdue(BOOK, opened(P1), TOLD, late, recorded=False)
    assert not escalation.response_overdue(BOOK, replace(opened(P1), parent="portal"), TOLD, late, recorded=True)


@pytest.mark.parametrize(("severity", "minutes"), [(P1, 30), (P2, 60), (P3, 240), (P4, 1440)])
def test_the_next_update_of_each_severity(severity: Severity, minutes: int) -> None:
    item = replace(opened(severity), updated_at=NOON + 60)
    assert escalation.next_update(BOOK, item) == NOON + 60 + minutes * MINUTE
    assert escalation.next_update(BOOK, incident.resolved(item, NOON)) is None


TOKYO = Calendar(ZoneInfo("Asia/Tokyo"))


def at(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


@pytest.mark.parametrize(
    ("calendar", "resolved", "due"),
    [
        (Calendar(UTC), "2026-11-23 16:00", "2026-11-26 18:00"),  # Monday: Tuesday, Wednesday, Thursday
        (Calendar(UTC), "2026-11-27 16:00", "2026-12-02 18:00"),  # Friday: over the week-end
        (Calendar(UTC), "2026-11-28 16:00", "2026-12-02 18:00"),  # Saturday
        (TOKYO, "2026-11-27 16:00", "2026-12-02 09:00"),  # Friday in UTC is Saturday in Tokyo
        (TOKYO, "2026-11-30 16:00", "2026-12-04 09:00"),  # Monday in UTC is Tuesday in Tokyo: Friday
        (Calendar(ZoneInfo("Europe/Berlin")), "2027-03-26 10:00", "2027-03-31 16:00"),  # the clocks go forward between
        (Calendar(ZoneInfo("Europe/Berlin")), "2026-10-23 10:00", "2026-10-28 17:00"),  # and back
        (Calendar(UTC, holidays=frozenset({date(2026, 11, 25)})), "2026-11-23 16:00", "2026-11-27 18:00"),
        (
            Calendar(UTC, workdays=frozenset({6, 0, 1, 2, 3})),
            "2026-11-26 16:00",
            "2026-12-01 18:00",
        ),  # Sunday to Thursday
    ],
)
def test_a_review_is_due_three_business_days_after_the_day_of_resolving(
    calendar: Calendar, resolved: str, due: str
) -> None:
    over = incident.resolved(opened(P1, at=at(resolved) - HOUR), at(resolved))
    assert escalation.review_due(BOOK, calendar, over) == at(due)


def test_a_review_is_owed_by_peak_severity_and_not_for_a_false_alarm() -> None:
    calendar, later = Calendar(UTC), NOON + HOUR
    assert escalation.review_due(BOOK, calendar, incident.resolved(opened(P3).takes(P2, NOON).takes(P4, NOON), later))
    assert escalation.review_due(BOOK, calendar, incident.resolved(opened(P3), later)) is None
    assert escalation.review_due(BOOK, calendar, opened(P1)) is None
    false = replace(incident.resolved(opened(P1), later), false_alarm="a test")
    assert escalation.review_due(BOOK, calendar, false) is None


# --- reminders -------------------------------------------------------------------------------------------------------


def reminders(
    item: Incident,
    changes: Mapping[int, Change],
    *,
    hours: int,
    calendar: Calendar | None = None,
    recorded: bool = True,
) -> list[tuple[str, str]]:
    """(reason, UTC) of every reminder, looked at once a minute from the opening on."""
    calendar, told = calendar or Calendar(UTC), list[Notice]()
    for minute in range(hours * 60 + 1):
        now = item.opened_at + minute * MINUTE
        item = changes.get(minute, same)(item, now)
        told += escalation.due_reminders(BOOK, calendar, item, [first_page(item)], now, notices=told, recorded=recorded)
    return [(notice.key, f"{datetime.fromtimestamp(notice.fired_at, UTC):%a %H:%M}") for notice in told]


def test_reminders_of_a_p1_that_nobody_answers() -> None:
    assert reminders(opened(P1), {}, hours=2) == [
        ("response", "Wed 12:15"),
        *(("update", f"Wed {when}") for when in ("12:30", "13:00", "13:30", "14:00")),
    ]


def test_an_update_puts_the_next_reminder_off() -> None:
    told: dict[int, Change] = {minute: lambda item, now: replace(item, updated_at=now) for minute in (29, 58)}
    told[10] = acked
    assert reminders(opened(P1), told, hours=1) == []


def test_a_response_is_not_reminded_of_where_it_is_not_recorded() -> None:
    assert {reason for reason, _ in reminders(opened(P1), {}, hours=1, recorded=False)} == {"update"}


@pytest.mark.parametrize("facts", [{"parent": "portal"}, {"state": State.MONITORING}])
def test_nobody_is_reminded_of_what_is_silent(facts: dict[str, Any]) -> None:
    assert reminders(replace(opened(P1), **facts), {}, hours=3) == []


@pytest.mark.parametrize("severity", [P3, P4])
def test_reminders_that_can_wait_come_in_business_hours(severity: Severity) -> None:
    friday = opened(severity, at=at("2026-11-27 15:00"))
    came = reminders(friday, {}, hours=80)
    assert came[0][1] == "Mon 09:00"
    assert [reason for reason, when in came if when == "Mon 09:00"] == ["response", "update"]
    assert all(when.startswith("Mon") for _, when in came)


def test_reminders_of_a_p1_do_not_wait_for_the_morning() -> None:
    assert reminders(opened(P1, at=at("2026-11-28 03:00")), {}, hours=1)[0] == ("response", "Sat 03:15")


def test_a_reminder_that_was_missed_comes_once_however_late() -> None:
    item = acked(opened(P1), NOON)
    (late,) = escalation.due_reminders(BOOK, Calendar(UTC), item, [], NOON + 5 * HOUR + 60, notices=[], recorded=True)
    assert (late.key, late.due_at) == ("update", NOON + 5 * HOUR)
    assert (
        escalation.due_reminders(BOOK, Calendar(UTC), item, [], NOON + 5 * HOUR + 120, notices=[late], recorded=True)
        == []
    )


def test_a_review_is_reminded_of_each_business_morning_until_it_is_held() -> None:
    over = incident.resolved(opened(P2, "whmcs"), NOON)  # Wednesday; due on Monday 18:00
    done = {7 * 24 * 60: lambda item, now: replace(item, reviewed_at=now)}
    mornings = [("review", f"{day} 09:00") for day in ("Mon", "Tue", "Wed")]
    assert reminders(over, done, hours=14 * 24) == mornings


def test_what_was_done_for_a_time_is_reminded_of_once_when_it_is_resolved() -> None:
    over = incident.resolved(opened(P3), NOON)
    assert reminders(over, {}, hours=100) == [("undo", "Wed 12:00")]
    again = replace(over, resolved_at=NOON + HOUR)
    told = escalation.due_reminders(BOOK, Calendar(UTC), over, [], NOON, notices=[], recorded=False)
    assert len(escalation.due_reminders(BOOK, Calendar(UTC), again, [], NOON + HOUR, notices=told, recorded=False)) == 1


def test_the_next_reminder_is_found_over_ten_days_of_holidays() -> None:
    """New Year in Japan and the like: nobody else may change anything until then, so it has to be known."""
    holidays = frozenset(date(2026, 12, 24) + timedelta(days=number) for number in range(14))
    calendar = Calendar(UTC, holidays=holidays, opens=time(9))
    over = incident.resolved(opened(P1, "whmcs", at=at("2026-12-22 12:00")), at("2026-12-22 13:00"))
    due = escalation.next_reminder(BOOK, calendar, over, [], at("2026-12-22 13:00"), recorded=True)
    assert due == at("2027-01-08 09:00")


def test_the_next_reminder_is_the_next_of_all() -> None:
    item = opened(P1)
    calendar = Calendar(UTC)
    next_ = [
        escalation.next_reminder(BOOK, calendar, item, TOLD, NOON + minute * MINUTE, recorded=True)
        for minute in (0, 15, 30)
    ]
    assert next_ == [NOON + minute * MINUTE for minute in (15, 30, 60)]


# --- causes ----------------------------------------------------------------------------------------------------------


def test_a_cause_silences_its_symptom_while_it_is_open() -> None:
    child, parent = opened(P2), opened(P1, "portal")
    assert escalation.silenced_by(BOOK, child, {"portal": parent}) == "portal"
    assert escalation.silenced_by(BOOK, child, {"portal": incident.resolved(parent, NOON)}) is None
    assert escalation.silenced_by(BOOK, child, {}) is None


def test_a_cause_that_was_clear_before_the_symptom_began_is_none() -> None:
    parent = replace(opened(P1, "portal"), state=State.MONITORING, mitigated_at=NOON + 60)
    assert escalation.silenced_by(BOOK, opened(P2, at=NOON + 61), {"portal": parent}) is None
    assert escalation.silenced_by(BOOK, opened(P2, at=NOON + 59), {"portal": parent}) == "portal"


def test_a_milder_cause_silences_nothing_worse_than_itself() -> None:
    child = opened(P2)
    assert escalation.silenced_by(BOOK, child, {"portal": opened(P3, "portal")}) is None
    assert escalation.silenced_by(BOOK, opened(P3), {"portal": opened(P3, "portal")}) == "portal"
