"""Which page is due when; response, update and review deadlines: pure functions of saved history.

Nothing is scheduled. A level is due when the current unbroken stay in its severities began, plus its delay; it fires
when that moment has passed and no page of this opening says so already. Acknowledging stops the response clock and no
other: the runbook says "not resolved". Readings of the runbook: its severity table, its matrix, its review.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import time

from monitor.core.action import CUSTOMER_IMPACT
from monitor.core.calendar import Calendar
from monitor.core.incident import Incident, Notice, NoticeKind, Page, State, Taken
from monitor.core.level import ProbeState
from monitor.core.runbook import Runbook, Scenario, Severity
from monitor.core.severity import Verdict, truth

PARENT_PATIENCE_SECONDS = 2.0
"""How long a first page waits at most while something that a parent's rule names may be failing too."""

URGENT = frozenset({Severity.P1, Severity.P2})
"""The severities at which people are paged; of others they are only reminded, in business hours."""

SECOND_CALL, DECLARED_CALL = 2, 3
"""The attempts of L1 beside the first: nobody has answered in time; it was declared after the first was told."""

REVIEW_REMINDERS_DAYS = 30
"""For how long people are reminded of a review that nobody holds."""


@dataclass(frozen=True, slots=True)
class Due:
    """One step of the matrix: who is told of an incident, and when that is, or was, due (wall seconds)."""

    level: str
    to: str
    at: float
    vendor: str = "none"
    attempt: int = 1


# --- pages -----------------------------------------------------------------------------------------------------------


def steps_of(book: Runbook, incident: Incident, pages: Iterable[Page], *, recorded: bool) -> list[Due]:
    """Every step of the matrix that is before this incident, or behind it, in the order of their times.

    `recorded`: whether a way to acknowledge is in use, so that no answer means that nobody answered.
    """
    ours = [page for page in pages if page.incident == incident.key and page.opening == incident.opening]
    steps = [step for level in book.escalation if (step := _level_step(book, incident, level)) is not None]
    calls = (_second_call(book, incident, ours, recorded=recorded), _declared_call(book, incident, ours))
    steps += [call for call in calls if call is not None]
    return sorted(steps, key=lambda step: (step.at, step.level))


def due_pages(
    book: Runbook,
    incident: Incident,
    pages: Iterable[Page],
    now: float,
    *,
    recorded: bool,
    parent_coming: bool,
    vendor_unsure: bool = False,
) -> list[Page]:
    """The pages that are due now and were not fired in this opening. Their labels are not filled in yet.

    `vendor_unsure`: it is not known whether what the vendor answers for fails, so its page waits; its clock runs.
    What was fired at this severity or a worse one is not fired again: a step down tells nobody, and a step up tells
    everybody once more who has been told before.
    """
    if not _speaks(incident):
        return []
    if parent_coming and now < incident.opened_at + PARENT_PATIENCE_SECONDS:
        return []
    ours = [page for page in pages if page.incident == incident.key and page.opening == incident.opening]
    taken_at = incident.stays[-1].at if incident.stays else incident.opened_at
    return [
        Page(
            incident.key, incident.opening, incident.severity, step.level, step.vendor, step.attempt,
            due_at=max(step.at, taken_at), fired_at=now,
        )
        for step in steps_of(book, incident, ours, recorded=recorded)
        if step.at <= now and not _fired(step, incident, ours) and not (vendor_unsure and step.level == "L4")
    ]  # fmt: skip


def upcoming(book: Runbook, incident: Incident, pages: Iterable[Page], *, recorded: bool) -> list[Due]:
    """The steps that have not been taken yet: what happens next unless it is resolved."""
    if not _speaks(incident):
        return []
    ours = [page for page in pages if page.incident == incident.key and page.opening == incident.opening]
    return [step for step in steps_of(book, incident, ours, recorded=recorded) if not _fired(step, incident, ours)]


def vendor_since(
    scenario: Scenario,
    incident: Incident,
    probes: Mapping[str, ProbeState],
    verdicts: Mapping[str, Verdict],
    now: float,
    *,
    maintained: Collection[str] = (),
) -> float | None:
    """Since when what the vendor answers for has failed. While that is not known, and through a relapse, it stays."""
    if scenario.vendor is None or not incident.open:
        return None
    failing = vendor_failing(scenario, incident, probes, verdicts, maintained)
    if failing:
        return now if incident.vendor_since is None else incident.vendor_since
    return incident.vendor_since if failing is None or incident.state is State.MONITORING else None


def vendor_failing(
    scenario: Scenario,
    incident: Incident,
    probes: Mapping[str, ProbeState],
    verdicts: Mapping[str, Verdict],
    maintained: Collection[str] = (),
) -> bool | None:
    """Whether what the vendor answers for fails; None where that cannot be told, or is under maintenance."""
    verdict = verdicts[scenario.name]
    if scenario.vendor is None or not scenario.vendor.when:
        failing = verdict.severity is not None or incident.by_hand
        return True if failing else None if verdict.unknown else False
    everything = f"scenario:{scenario.name}" in maintained
    terms = [
        None if held and (everything or term.name in maintained) else held
        for term in scenario.vendor.when
        for held in [truth(term, probes, verdicts)]
    ]
    return True if True in terms else None if None in terms else False


def _speaks(incident: Incident) -> bool:
    """Whether new levels may be told of it: not while a cause speaks for it, nor while it is clear."""
    return incident.state in {State.INVESTIGATING, State.IDENTIFIED} and incident.parent is None


def _level_step(book: Runbook, incident: Incident, level: str) -> Due | None:
    row, scenario = book.escalation[level], book.scenarios.get(incident.scenario)
    if level == "L4":
        if scenario is None or scenario.vendor is None or incident.vendor_since is None:
            return None
        at = incident.vendor_since + scenario.vendor.unresolved
        return Due(level, row.to, max(at, incident.opened_at), scenario.vendor.name)
    moments = []
    if not row.severity or incident.severity in row.severity:
        moments.append(_stay_began(incident, row.severity) + row.unresolved)
    if row.or_declared == CUSTOMER_IMPACT and incident.customer_impact_at is not None:
        moments.append(incident.customer_impact_at)
    declared = scenario.declared if scenario else None
    if declared is not None and level in declared.escalate_now and incident.declared_at is not None:
        moments.append(incident.declared_at)
    return Due(level, row.to, min(moments)) if moments else None


def _second_call(book: Runbook, incident: Incident, pages: Iterable[Page], *, recorded: bool) -> Due | None:
    """L1 once more: where the response time of a P1 or P2 has passed without an answer, to the second on call."""
    pages = list(pages)
    due = response_due(book, incident, pages) if recorded else None
    if due is None or incident.severity not in URGENT:
        return None
    if any(page.attempt == SECOND_CALL and page.severity > incident.severity for page in pages):
        asked = asked_at(incident.stays[-1], _tellings(incident, pages))
        if asked is None:
            return None
        due = asked + book.severities[incident.severity].respond
    return Due("L1", book.escalation["L1"].to + call_of(SECOND_CALL), due, attempt=SECOND_CALL)


def _declared_call(book: Runbook, incident: Incident, pages: Iterable[Page]) -> Due | None:
    """L1 once more: where it was declared after all had been told, since its audience has not been told.

    Beside the second call and never in its place: who answers, and whether anybody does, is another question.
    """
    declared_at = incident.declared_at
    if declared_at is None or not any(
        (page.escalation_level, page.attempt) == ("L1", 1)
        and page.fired_at < declared_at
        and page.severity <= incident.severity
        for page in pages
    ):
        return None
    return Due("L1", book.escalation["L1"].to + call_of(DECLARED_CALL), declared_at, attempt=DECLARED_CALL)


def call_of(attempt: int) -> str:
    """How a page that is not the first of its level is called, after whom it is to."""
    return {SECOND_CALL: ", second call", DECLARED_CALL: ", as declared"}.get(attempt, "")


def _stay_began(incident: Incident, severities: tuple[Severity, ...]) -> float:
    """When the current unbroken stay in these severities began (none: in any)."""
    began = incident.opened_at
    for taken in reversed(incident.stays):
        if severities and taken.severity not in severities:
            break
        began = taken.at
    return began


def _fired(step: Due, incident: Incident, pages: Iterable[Page]) -> bool:
    return any(
        (page.escalation_level, page.vendor, page.attempt) == (step.level, step.vendor, step.attempt)
        and page.severity <= incident.severity
        for page in pages
    )


# --- deadlines -------------------------------------------------------------------------------------------------------


def response_due(book: Runbook, incident: Incident, pages: Iterable[Page]) -> float | None:
    """When somebody must have answered: the earliest deadline over the severities held; None once somebody has.

    Nobody can answer what nobody was told of: a severity's clock begins when it is paged.
    """
    if incident.acknowledged or not incident.open:
        return None
    ack, told = incident.ack, _tellings(incident, pages)
    dues = [
        asked + book.severities[taken.severity].respond
        for taken in incident.stays
        if (ack is None or (taken.severity < ack.severity and taken.at >= ack.at))  # what was answered stays answered
        and (asked := asked_at(taken, told)) is not None
    ]
    return min(dues, default=None)


def asked_at(taken: Taken, told: Iterable[tuple[float, Severity]]) -> float | None:
    """Since when an answer to this severity is owed; None as long as nobody was told that it is as bad.

    `told`: (when, severity) of each page of the opening.
    """
    first = min((at for at, severity in told if severity <= taken.severity), default=None)
    return None if first is None else max(first, taken.at)


def _tellings(incident: Incident, pages: Iterable[Page]) -> list[tuple[float, Severity]]:
    return [
        (page.fired_at, page.severity)
        for page in pages
        if page.incident == incident.key and page.opening == incident.opening
    ]


def response_overdue(book: Runbook, incident: Incident, pages: Iterable[Page], now: float, *, recorded: bool) -> bool:
    """Whether the response time has passed without an answer, where answers are recorded at all."""
    due = response_due(book, incident, pages)
    return recorded and due is not None and now >= due and incident.parent is None


def next_update(book: Runbook, incident: Incident) -> float | None:
    """When the next status update is due; None when it is resolved."""
    if not incident.open:
        return None
    told = incident.updated_at if incident.updated_at is not None else incident.opened_at
    return told + book.severities[incident.severity].update_every


def review_due(book: Runbook, calendar: Calendar, incident: Incident) -> float | None:
    """When the post-incident review is due, by the worst severity it had; None where none is owed (any more)."""
    if incident.resolved_at is None or incident.peak not in book.review.severity or incident.false_alarm:
        return None
    by = time.fromisoformat(book.review.by)
    return calendar.within_business_days(incident.resolved_at, book.review.within_business_days, by)


# --- reminders -------------------------------------------------------------------------------------------------------


def due_reminders(
    book: Runbook,
    calendar: Calendar,
    incident: Incident,
    pages: Iterable[Page],
    now: float,
    *,
    notices: Iterable[Notice],
    recorded: bool,
) -> list[Notice]:
    """What people must be reminded of now and have not been: each reason at most once, however late it is."""
    told: dict[str, list[Notice]] = {}
    for notice in notices:
        if notice.incident == incident.key and notice.kind is NoticeKind.REMINDER:
            told.setdefault(notice.key, []).append(notice)
    found = []
    for reason, moments in _reminders(book, calendar, incident, pages, now, recorded=recorded).items():
        last = max((notice.due_at for notice in told.get(reason, [])), default=-math.inf)
        dues = [due for due in moments if last < due <= now]
        if dues:
            number = len(told.get(reason, [])) + 1
            found.append(Notice(incident.key, NoticeKind.REMINDER, reason, number, due_at=max(dues), fired_at=now))
    return found


def next_reminder(
    book: Runbook, calendar: Calendar, incident: Incident, pages: Iterable[Page], now: float, *, recorded: bool
) -> float | None:
    """When the next reminder of this incident is due, unless something happens before."""
    moments = _reminders(book, calendar, incident, pages, now, recorded=recorded).values()
    return min((due for dues in moments for due in dues if due > now), default=None)


def _reminders(
    book: Runbook, calendar: Calendar, incident: Incident, pages: Iterable[Page], now: float, *, recorded: bool
) -> dict[str, list[float]]:
    """The moments at which each reminder was due lately, and is due next."""
    found: dict[str, list[float]] = {}
    if _speaks(incident):
        response, update = response_due(book, incident, pages), next_update(book, incident)
        if recorded and response is not None:
            found["response"] = [_when(calendar, incident, response)]
        if update is not None:
            every = book.severities[incident.severity].update_every
            missed = int(max(0.0, now - update) // every)
            found["update"] = [_when(calendar, incident, update + each * every) for each in (missed, missed + 1)]
    scenario = book.scenarios.get(incident.scenario)
    if incident.resolved_at is not None and scenario and any(step.remind for step in scenario.steps):
        found["undo"] = [incident.resolved_at]
    due = review_due(book, calendar, incident)
    if due is not None and incident.reviewed_at is None:
        found["review"] = calendar.mornings(due - 86400.0, due + REVIEW_REMINDERS_DAYS * 86400.0)
    return found


def _when(calendar: Calendar, incident: Incident, due: float) -> float:
    return due if incident.severity in URGENT else calendar.in_hours(due)


def update_notice(incident: Incident, now: float) -> Notice:
    """The status update that the incident has come to."""
    return Notice(incident.key, NoticeKind.UPDATE, str(incident.updates), incident.updates, due_at=now, fired_at=now)


def numbered(incident: Incident) -> Incident:
    """The incident with one more status update."""
    return replace(incident, updates=incident.updates + 1)


# --- causes ----------------------------------------------------------------------------------------------------------


def silenced_by(runbook: Runbook, incident: Incident, incidents: Mapping[str, Incident]) -> str | None:
    """The scenario whose open incident is the cause of this one, so that this one tells nobody.

    A parent at P3 or P4 is a warning: it does not silence a child that is worse than itself. One that has been clear
    since before the child began did not cause it.
    """
    for name in runbook.parents(incident.scenario):
        parent = incidents.get(name)
        if parent and parent.mitigated_at is not None and incident.started_at > parent.mitigated_at:
            continue
        if parent and parent.open and (parent.severity <= Severity.P2 or parent.severity <= incident.severity):
            return name
    return None


def parent_coming(
    runbook: Runbook, scenario: str, probes: Mapping[str, ProbeState], verdicts: Mapping[str, Verdict], horizon: float
) -> bool:
    """Whether a parent of this scenario may be about to open, by `horizon` at the latest.

    That is so while a rule of it ripens, or names another probe that is failing unconfirmed, or another
    scenario one of whose rules ripens.
    """
    own = {term.name for rule in runbook.scenarios[scenario].rules for term in rule.terms}
    for name in runbook.parents(scenario):
        verdict = verdicts[name]
        if verdict.severity is None and verdict.ripens_before(horizon):
            return True
        terms = [term for rule in runbook.scenarios[name].rules for term in rule.terms]
        for term in terms:
            if truth(term, probes, verdicts):
                continue
            if term.kind == "probe" and term.name not in own and term.name in probes and probes[term.name].unconfirmed:
                return True
            if (
                term.kind == "scenario"
                and term.name != scenario
                and _stirs(runbook, term.name, probes, verdicts, horizon)
            ):
                return True
    return False


def _stirs(
    runbook: Runbook, scenario: str, probes: Mapping[str, ProbeState], verdicts: Mapping[str, Verdict], horizon: float
) -> bool:
    """Whether a scenario may reach a severity soon: a rule ripens, or a probe it names is failing unconfirmed."""
    names = {term.name for rule in runbook.scenarios[scenario].rules for term in rule.terms if term.kind == "probe"}
    unconfirmed = any(name in probes and probes[name].unconfirmed for name in names)
    return unconfirmed or verdicts[scenario].ripens_before(horizon)
