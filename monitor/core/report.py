"""The month in numbers: how fast each incident was detected, acknowledged and resolved, and what was missed.

Acknowledging and resolving count from detection, where the runbook's clocks start; detecting, from the first failing
sample or from when it was reported to have begun. All times are wall seconds.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from statistics import median

from monitor.core import escalation
from monitor.core.calendar import Calendar
from monitor.core.incident import Event, Incident, Origin
from monitor.core.runbook import Runbook, Severity

_PAGES = frozenset({"paged", "adopted"})  # events of somebody being told
_AT_SEVERITY = re.compile(r" at P([1-4])\b")


class Response(StrEnum):
    """Whether somebody answered in time, at every severity that it took."""

    IN_TIME = "in time"
    LATE = "late"  # a breach: answered after the response time, or not at all
    AWAITED = "awaited"  # open, and the response time has not passed
    NONE_NEEDED = "none needed"  # over before the response time had passed, or nobody was paged
    NOT_RECORDED = "not recorded"  # no way to acknowledge was in use


class ReviewStatus(StrEnum):
    """What has become of the post-incident review."""

    NONE = "none"  # not bad enough
    PENDING = "pending"  # owed once it is resolved
    DUE = "due"
    OVERDUE = "overdue"
    DONE = "done"
    WAIVED = "waived"  # a false alarm


@dataclass(frozen=True, slots=True)
class Promise:
    """One response that the runbook promises, for one severity that an incident took."""

    severity: Severity
    taken_at: float
    due_at: float
    answered_at: float | None  # the first acknowledgement that covers it
    over_at: float | None  # when it ended: nobody had to answer any more

    def kept(self, now: float) -> bool | None:
        """None while there is still time, or where it was over before its time had passed."""
        if self.answered_at is not None:
            return self.answered_at <= self.due_at
        if min(now, self.over_at if self.over_at is not None else now) < self.due_at:
            return None
        return False


@dataclass(frozen=True, slots=True)
class Row:
    """One incident of the month. The names are the columns of the CSV."""

    incident: str
    scenario: str
    severity: Severity  # the last one
    peak: Severity
    origin: Origin
    started_at: float
    detected_at: float | None
    acknowledged_at: float | None  # first
    resolved_at: float | None
    detect_seconds: float | None
    acknowledge_seconds: float | None
    resolve_seconds: float | None
    response: Response
    response_breached: bool
    openings: int
    relapses: int
    false_alarm: str  # why it was none; empty if it was one
    review: ReviewStatus
    review_due_at: float | None
    reviewed_at: float | None
    review_breached: bool  # overdue, or done after it was due


@dataclass(frozen=True, slots=True)
class Totals:
    """The incidents of one peak severity together. Times are medians in seconds, false alarms left out; None: no case."""

    incidents: int
    false_alarms: int
    responses_breached: int
    reviews_breached: int
    reviews_open: int  # due or overdue
    detect_seconds: float | None
    acknowledge_seconds: float | None
    resolve_seconds: float | None


def row(
    incident: Incident, events: Sequence[Event], book: Runbook, calendar: Calendar, now: float, *, recorded: bool
) -> Row:
    """One incident in numbers. `events` are its timeline; `recorded`: whether a way to acknowledge is in use."""
    detected, acked = incident.detected_at, incident.first_ack.at if incident.first_ack else None
    response = _response(promises(incident, events, book), now, recorded=recorded or acked is not None)
    due = escalation.review_due(book, calendar, incident) if _paged(events) else None
    review = review_status(incident, events, book, due, now)
    return Row(
        incident.key,
        incident.scenario,
        incident.severity,
        incident.peak,
        incident.origin,
        incident.started_at,
        detected,
        acked,
        incident.resolved_at,
        _between(incident.started_at, detected),
        _between(detected, acked),
        _between(detected, incident.resolved_at),
        response,
        response is Response.LATE,
        incident.opening,
        incident.relapses,
        incident.false_alarm,
        review,
        due,
        incident.reviewed_at,
        due is not None and (incident.reviewed_at if incident.reviewed_at is not None else now) > due,
    )


def rows(
    incidents: Iterable[Incident],
    events: Mapping[str, Sequence[Event]],
    book: Runbook,
    calendar: Calendar,
    now: float,
    *,
    recorded: bool,
) -> list[Row]:
    """All of them, in the order in which they began. `events`: the timelines by incident."""
    found = [row(item, events.get(item.key, ()), book, calendar, now, recorded=recorded) for item in incidents]
    return sorted(found, key=lambda each: (each.started_at, each.incident))


def totals(of: Iterable[Row]) -> dict[Severity, Totals]:
    """By peak severity, worst first; a severity without incidents is not there."""
    by_peak: dict[Severity, list[Row]] = {}
    for each in of:
        by_peak.setdefault(each.peak, []).append(each)
    return {peak: _totals(by_peak[peak]) for peak in sorted(by_peak)}


def csv_text(of: Iterable[Row]) -> str:
    """The rows for a spreadsheet: a line of names, times in UTC, seconds as whole numbers, nothing where unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [each.name for each in fields(Row)]
    writer.writerow(names)
    for each in of:
        writer.writerow([_cell(name, getattr(each, name)) for name in names])
    return text.getvalue()


def promises(incident: Incident, events: Sequence[Event], book: Runbook) -> list[Promise]:
    """Each response that was promised: one for each severity that was paged and nobody had seen as bad before."""
    acks = sorted({*_acks(incident, events)})
    found = []
    for opening, begun, ended in openings(incident, events):
        told = list(_told(events, begun, ended))
        for taken in incident.taken:
            if taken.opening != opening:
                continue
            within = [(at, seen) for at, seen in acks if begun <= at <= (ended if ended is not None else at)]
            if any(at < taken.at and seen <= taken.severity for at, seen in within):
                continue
            asked = escalation.asked_at(taken, told)
            if asked is None:
                continue  # a symptom: its cause was answered for
            due = asked + book.severities[taken.severity].respond
            answered = min((at for at, _ in within if at >= taken.at), default=None)
            found.append(Promise(taken.severity, taken.at, due, answered, ended))
    return found


def openings(incident: Incident, events: Sequence[Event]) -> list[tuple[int, float, float | None]]:
    """(number, began, ended) of each opening; the last one has not ended while it is open."""
    begins: dict[int, float] = {}
    for taken in incident.taken:
        begins.setdefault(taken.opening, taken.at)
    resolved = [event.at for event in events if event.kind == "resolved"]
    found: list[tuple[int, float, float | None]] = []
    numbers = sorted(begins)
    for index, number in enumerate(numbers):
        if number == incident.opening:
            found.append((number, begins[number], incident.resolved_at))
            continue
        after = begins[numbers[index + 1]] if index + 1 < len(numbers) else None
        ended = max((at for at in resolved if begins[number] <= at and (after is None or at <= after)), default=after)
        found.append((number, begins[number], ended))
    return found


def review_status(
    incident: Incident, events: Sequence[Event], book: Runbook, due: float | None, now: float
) -> ReviewStatus:
    """What has become of the review that is due then."""
    if incident.false_alarm:
        return ReviewStatus.WAIVED
    if incident.reviewed_at is not None:
        return ReviewStatus.DONE
    if incident.peak not in book.review.severity or not _paged(events):
        return ReviewStatus.NONE
    if due is None:
        return ReviewStatus.PENDING
    return ReviewStatus.OVERDUE if now > due else ReviewStatus.DUE


def _response(promised: Sequence[Promise], now: float, *, recorded: bool) -> Response:
    if not promised:
        return Response.NONE_NEEDED
    if not recorded:
        return Response.NOT_RECORDED
    kept = [promise.kept(now) for promise in promised]
    if False in kept:
        return Response.LATE
    if any(promise.answered_at is None and promise.over_at is None for promise in promised):
        return Response.AWAITED
    return Response.IN_TIME if True in kept else Response.NONE_NEEDED


def _acks(incident: Incident, events: Iterable[Event]) -> Iterable[tuple[float, Severity]]:
    """(when, the severity that was seen) of each acknowledgement."""
    for event in events:
        if event.kind == "ack":
            held = [taken.severity for taken in incident.taken if taken.at <= event.at]
            yield event.at, held[-1] if held else incident.severity
    for ack in (incident.first_ack, incident.ack):
        if ack is not None:
            yield ack.at, ack.severity


def _paged(events: Iterable[Event]) -> bool:
    """Whether anybody was paged: of a symptom of something else nobody may have been."""
    return any(event.kind in _PAGES for event in events)


def _told(events: Iterable[Event], begun: float, ended: float | None) -> Iterable[tuple[float, Severity]]:
    """(when, how bad) of each page between then and then; of one that does not say, as bad as can be."""
    for event in events:
        if event.kind in _PAGES and event.at >= begun and (ended is None or event.at <= ended):
            said = _AT_SEVERITY.search(event.text)
            yield event.at, Severity(int(said[1])) if said else min(Severity)


def _totals(of: Sequence[Row]) -> Totals:
    true = [each for each in of if not each.false_alarm]
    return Totals(
        len(of),
        len(of) - len(true),
        sum(each.response_breached for each in true),
        sum(each.review_breached for each in true),
        sum(each.review in {ReviewStatus.DUE, ReviewStatus.OVERDUE} for each in true),
        _median(each.detect_seconds for each in true),
        _median(each.acknowledge_seconds for each in true),
        _median(each.resolve_seconds for each in true),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _between(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else max(0.0, second - first)


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_at") and isinstance(value, float | int):
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, float):
        return f"{value:.0f}"
    text = str(value)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text  # or a spreadsheet would run it
