"""The month in numbers: times, promises kept and broken, reviews, and what a spreadsheet gets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace

import pytest

from monitor.core.calendar import Calendar
from monitor.core.incident import Ack, Event, Incident, Origin, State, Taken
from monitor.core.report import Response, ReviewStatus, Row, csv_text, row, rows, totals
from monitor.core.runbook import EscalationRow, Runbook, Severity, SeverityRow

P1, P2, P3, P4 = Severity
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
T = 1_795_453_200.0  # Monday 2026-11-23 17:00 UTC
DUE = T + 1 * HOUR + 3 * DAY  # of what was resolved on that Monday: Thursday 18:00

BOOK = Runbook(
    {
        P1: SeverityRow("Critical", 15 * MINUTE, 30 * MINUTE),
        P2: SeverityRow("High", HOUR, HOUR),
        P3: SeverityRow("Medium", 4 * HOUR, 4 * HOUR),
        P4: SeverityRow("Low", DAY, DAY),
    },
    {"L1": EscalationRow("On-call engineer")},
    {},
)


def incident(*taken: tuple[Severity, float] | tuple[Severity, float, int], **more: object) -> Incident:
    """One that was detected at T, two minutes after it began; `taken` in minutes after T."""
    stays = tuple(Taken(stay[0], T + stay[1] * MINUTE, *stay[2:]) for stay in taken)
    worst = min(stay.severity for stay in stays)
    made = Incident(
        "redis-20261123-1658", "redis", State.INVESTIGATING, stays[-1].severity, worst, T - 2 * MINUTE, stays[0].at,
        taken=stays, detected_at=T, opening=stays[-1].opening,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def timeline(*events: tuple[str, float]) -> list[Event]:
    """Events by kind and minutes after T."""
    return [
        Event("redis-20261123-1658", number, T + at * MINUTE, kind, kind) for number, (kind, at) in enumerate(events, 1)
    ]


def resolved(minutes: float) -> dict[str, object]:
    return {"state": State.RESOLVED, "resolved_at": T + minutes * MINUTE}


def judge(item: Incident, events: Sequence[Event], minutes: float, *, recorded: bool = True) -> Row:
    return row(item, events, BOOK, Calendar(), T + minutes * MINUTE, recorded=recorded)


PAGED = ("paged", 0.0)


@pytest.mark.parametrize(
    ("item", "events", "now", "expected"),
    [
        (incident((P1, 0)), [PAGED], 14, Response.AWAITED),
        (incident((P1, 0)), [PAGED], 16, Response.LATE),
        (incident((P1, 0)), [PAGED, ("ack", 14)], 99, Response.IN_TIME),
        (incident((P1, 0)), [PAGED, ("ack", 16)], 99, Response.LATE),
        (incident((P1, 0), **resolved(10)), [PAGED, ("resolved", 10)], 99, Response.NONE_NEEDED),
        (incident((P1, 0), **resolved(20)), [PAGED, ("resolved", 20)], 99, Response.LATE),
        # The acknowledgement is worth as much as the severity that was seen.
        (incident((P3, 0), (P1, 30)), [PAGED, ("ack", 5)], 44, Response.AWAITED),
        (incident((P3, 0), (P1, 30)), [PAGED, ("ack", 5)], 46, Response.LATE),
        (incident((P3, 0), (P1, 30)), [PAGED, ("ack", 5), ("ack", 44)], 99, Response.IN_TIME),
        (incident((P1, 0), (P2, 30)), [PAGED, ("ack", 5)], 999, Response.IN_TIME),
        # An upgrade never puts the deadline off, a downgrade neither.
        (incident((P2, 0), (P1, 50)), [PAGED, ("ack", 61)], 99, Response.LATE),
        (incident((P1, 0), (P3, 10)), [PAGED, ("ack", 16)], 99, Response.LATE),
        # Each opening is answered for by itself.
        (
            incident((P2, 0), (P2, 80, 2)),
            [PAGED, ("ack", 5), ("resolved", 60), ("reopened", 80), ("paged", 80)],
            141,
            Response.LATE,
        ),
        (
            incident((P2, 0), (P2, 80, 2)),
            [PAGED, ("resolved", 50), ("reopened", 80), ("paged", 80), ("ack", 90)],
            150,
            Response.IN_TIME,
        ),
        # What was told late is to be answered from then on.
        (incident((P1, 0)), [("linked", 0.0), ("unlinked", 40), ("paged", 40), ("ack", 54)], 99, Response.IN_TIME),
        (incident((P1, 0)), [("linked", 0.0), ("unlinked", 40), ("paged", 40), ("ack", 56)], 99, Response.LATE),
        # A symptom that told nobody owes nobody an answer.
        (incident((P2, 0)), [("linked", 0.0)], 999, Response.NONE_NEEDED),
    ],
)
def test_the_response_is_judged_at_each_severity(
    item: Incident, events: Sequence[tuple[str, float]], now: float, expected: Response
) -> None:
    judged = judge(item, timeline(*events), now)
    assert judged.response is expected
    assert judged.response_breached is (expected is Response.LATE)


def test_a_severity_is_to_be_answered_from_when_it_was_told() -> None:
    told = [
        replace(event, text=f"L1 On-call engineer at {severity}")
        for event, severity in zip(timeline(PAGED, ("paged", 50)), (P2, P1), strict=True)
    ]
    item = incident((P2, 0), (P1, 20))
    assert judge(item, [*told, *timeline(("ack", 59))], 99).response is Response.IN_TIME
    assert judge(item, [*told, *timeline(("ack", 61))], 99).response is Response.LATE
    assert judge(incident((P1, 0), (P2, 20), **resolved(90)), told[:1], 99).response is Response.LATE


def test_where_no_answer_can_be_recorded_none_is_missed() -> None:
    judged = judge(incident((P1, 0)), timeline(PAGED), 999, recorded=False)
    assert (judged.response, judged.response_breached) == (Response.NOT_RECORDED, False)


def test_an_acknowledgement_counts_though_its_event_is_no_longer_kept() -> None:
    ack = Ack(T + 300, "ann", P1)
    judged = judge(incident((P1, 0), ack=ack, first_ack=ack), timeline(PAGED), 99)
    assert (judged.response, judged.acknowledge_seconds) == (Response.IN_TIME, 300)


def test_times_count_from_detection_and_are_never_negative() -> None:
    ack = Ack(T + 4 * MINUTE, "ann", P2)
    item = incident((P2, 0), first_ack=ack, ack=ack, **resolved(40))
    judged = judge(item, timeline(PAGED, ("ack", 4)), 99)
    assert (judged.detect_seconds, judged.acknowledge_seconds, judged.resolve_seconds) == (120, 240, 2400)
    stepped = replace(item, started_at=T + 9)
    assert judge(stepped, timeline(PAGED), 99).detect_seconds == 0
    assert judge(replace(item, detected_at=None), timeline(PAGED), 99).detect_seconds is None


@pytest.mark.parametrize(
    ("item", "now", "expected", "breached"),
    [
        (incident((P2, 0)), T + HOUR, ReviewStatus.PENDING, False),
        (incident((P2, 0), **resolved(30)), DUE - 1, ReviewStatus.DUE, False),
        (incident((P2, 0), **resolved(30)), DUE + 1, ReviewStatus.OVERDUE, True),
        (incident((P2, 0), **resolved(30), reviewed_at=DUE - 1), DUE + DAY, ReviewStatus.DONE, False),
        (incident((P2, 0), **resolved(30), reviewed_at=DUE + 1), DUE + DAY, ReviewStatus.DONE, True),
        (incident((P2, 0), **resolved(30), false_alarm="a test"), DUE + DAY, ReviewStatus.WAIVED, False),
        (incident((P3, 0), **resolved(30)), DUE + DAY, ReviewStatus.NONE, False),
        (incident((P1, 0), (P3, 9), **resolved(30)), DUE - 1, ReviewStatus.DUE, False),  # by its peak
    ],
)
def test_the_review_is_judged_by_the_peak(item: Incident, now: float, expected: ReviewStatus, breached: bool) -> None:
    judged = row(item, timeline(PAGED), BOOK, Calendar(), now, recorded=True)
    assert (judged.review, judged.review_breached) == (expected, breached)


def test_a_symptom_that_told_nobody_owes_no_review() -> None:
    judged = row(incident((P1, 0), **resolved(30)), timeline(("linked", 0)), BOOK, Calendar(), DUE + DAY, recorded=True)
    assert (judged.review, judged.review_due_at, judged.review_breached) == (ReviewStatus.NONE, None, False)


def test_totals_leave_false_alarms_out_and_count_them() -> None:
    items = [
        incident((P2, 0), **resolved(30)),
        replace(incident((P2, 0), **resolved(50)), key="b"),
        replace(incident((P2, 0), **resolved(999)), key="c", false_alarm="a rehearsal"),
        replace(incident((P3, 0), **resolved(10)), key="d"),
    ]
    events = {item.key: timeline(PAGED) for item in items}
    found = totals(rows(items, events, BOOK, Calendar(), DUE + 1, recorded=False))
    assert list(found) == [P2, P3]
    assert (found[P2].incidents, found[P2].false_alarms, found[P2].reviews_open) == (3, 1, 2)
    assert (found[P2].resolve_seconds, found[P2].acknowledge_seconds) == (40 * MINUTE, None)
    assert (found[P3].reviews_breached, found[P2].reviews_breached) == (0, 2)


def test_a_spreadsheet_gets_names_times_and_numbers_and_runs_nothing() -> None:
    ack = Ack(T + 4 * MINUTE, "ann", P1)
    item = incident(
        (P2, 0), (P1, 5), **resolved(40), first_ack=ack, ack=ack, origin=Origin.CUSTOMER,
        false_alarm='=HYPERLINK("http://example.com"), "quoted"\nand more',
    )  # fmt: skip
    text = csv_text([judge(item, timeline(PAGED, ("ack", 4)), 99)])
    (line,) = csv.DictReader(io.StringIO(text))
    assert line == {
        "incident": "redis-20261123-1658",
        "scenario": "redis",
        "severity": "P1",
        "peak": "P1",
        "origin": "customer",
        "started_at": "2026-11-23T16:58:00Z",
        "detected_at": "2026-11-23T17:00:00Z",
        "acknowledged_at": "2026-11-23T17:04:00Z",
        "resolved_at": "2026-11-23T17:40:00Z",
        "detect_seconds": "120",
        "acknowledge_seconds": "240",
        "resolve_seconds": "2400",
        "response": "in time",
        "response_breached": "no",
        "openings": "1",
        "relapses": "0",
        "false_alarm": '\'=HYPERLINK("http://example.com"), "quoted"\nand more',
        "review": "waived",
        "review_due_at": "",
        "reviewed_at": "",
        "review_breached": "no",
    }


def test_rows_stand_in_the_order_in_which_incidents_began() -> None:
    late = replace(incident((P2, 60)), key="a", started_at=T + HOUR)
    found = rows([late, incident((P2, 0))], {}, BOOK, Calendar(), T, recorded=True)
    assert [each.incident for each in found] == ["redis-20261123-1658", "a"]
