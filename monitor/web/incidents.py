"""The JSON of incidents, maintenance and explanations: pure functions from what is known to plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from enum import StrEnum
from typing import Literal, cast

from typing_extensions import TypedDict

from monitor.core import explanation, report
from monitor.core.explanation import Deadlines, Explanation, Moment, RuleNow
from monitor.core.incident import Ack, Event, Incident, Notice, Page
from monitor.core.maintenance import Window
from monitor.core.report import Row
from monitor.core.runbook import Runbook, Severity
from monitor.core.snapshot import Silenced, Snapshot
from monitor.core.words import iso
from monitor.web.words import impact, title


class PageJson(TypedDict):
    """One page of an incident: who was told when. `to` is the role.

    `delivered_at` is when the first Alertmanager took it, `fell_back_at` when the fallback carried it. While a silence
    holds it in Alertmanager it is not delivered to people: `silenced_by` is who set that.
    """

    severity: str
    escalation_level: str
    to: str
    vendor: str
    attempt: int
    opening: int
    due_at: str
    fired_at: str
    ended_at: str | None
    delivered_at: str | None
    fell_back_at: str | None
    silenced_by: str | None
    silenced_until: str | None


class AckJson(TypedDict):
    """Who has seen it, when, and at which severity."""

    at: str
    by: str
    severity: str


class StepJson(TypedDict):
    """A level of the matrix that is still to come: who is paged, and when, unless it is resolved before."""

    escalation_level: str
    to: str
    at: str
    vendor: str
    attempt: int


class DeadlinesJson(TypedDict):
    """What an incident has still before it. A deadline that has passed is not gone: it is overdue.

    `response`: "unanswered" is that it ended before somebody answered, "not recorded" that no way to answer is in use,
    "not owed" that nobody is told of it (yet), as of a symptom.
    `held`: what keeps it from being resolved although none of its rules holds. `review`: "none": none is owed (yet).
    """

    response: Literal["not recorded", "not owed", "due", "overdue", "answered", "unanswered"]
    response_due_at: str | None
    steps: list[StepJson]
    next_update_at: str | None
    resolves_at: str | None
    held: str
    review: Literal["none", "due", "overdue", "done", "waived"]
    review_due_at: str | None


class IncidentJson(TypedDict):
    """One incident, open or resolved. `started_at` is the first failing sample, `opened_at` this opening.

    `impact` is in a person's words, if somebody wrote some; `ack` is of this opening, and `acknowledged` whether it
    still counts; `why` are the terms of the worst rules that hold, or that held last; `pages` are all, oldest first.
    """

    key: str
    scenario: str
    title: str
    impact: str
    state: str
    severity: str
    peak: str
    started_at: str
    opened_at: str
    detected_at: str | None
    last_good_at: str | None
    opening: int
    origin: str
    by_hand: bool
    parent: str | None
    why: list[str]
    flags: list[str]
    mitigated_at: str | None
    resolved_at: str | None
    relapses: int
    acknowledged: bool
    ack: AckJson | None
    first_ack: AckJson | None
    cause: str
    doing: str
    customer_impact_at: str | None
    declared_at: str | None
    updates: int
    updated_at: str | None
    false_alarm: str
    reviewed_at: str | None
    reviewed_by: str
    escalation_level: int
    pages: list[PageJson]
    deadlines: DeadlinesJson


class EventJson(TypedDict):
    """One line of the timeline."""

    number: int
    at: str
    kind: str
    text: str
    by: str


class NoticeJson(TypedDict):
    """A status update or a reminder that was sent, with its words as they were then."""

    kind: str
    key: str
    number: int
    due_at: str
    fired_at: str
    ended_at: str | None
    words: dict[str, str]


class MomentJson(TypedDict):
    """Something that comes, in words. `overdue`: it should have happened."""

    at: str
    what: str
    overdue: bool


class IncidentDetailJson(IncidentJson):
    """One incident with its whole history. `timeline_error`: why the timeline could not be read; else empty."""

    events: list[EventJson]
    notices: list[NoticeJson]
    coming: list[MomentJson]
    timeline_error: str


class MessagesJson(TypedDict):
    """What can be said of an incident now, ready to paste; where it is null, the reason says why."""

    status_update: str
    customer: str | None
    customer_reason: str
    vendor: str | None
    vendor_report: str | None
    vendor_reason: str


class WindowJson(TypedDict):
    """Maintenance: of which probes and scenarios (`scenario:redis`), from when until when, why and by whom."""

    key: str
    of: list[str]
    starts_at: str
    ends_at: str
    reason: str
    by: str


class TermJson(TypedDict):
    """One thing that a rule speaks of; `holds` is null where it is not known, or kept back by maintenance."""

    text: str
    holds: bool | None
    seen: str


class RuleJson(TypedDict):
    """One rule of a scenario. "ripens" is that it holds, but not for long enough: it does at `due_at`."""

    severity: str
    text: str
    hold_seconds: float
    standing: Literal["holds", "ripens", "clear", "unknown", "maintained"]
    since: str | None
    due_at: str | None
    terms: list[TermJson]


class RowJson(TypedDict):
    """One incident of the month in numbers. `origin` is who noticed first, `false_alarm` why it was none."""

    incident: str
    scenario: str
    severity: str
    peak: str
    origin: str
    started_at: str
    detected_at: str | None
    acknowledged_at: str | None
    resolved_at: str | None
    detect_seconds: float | None
    acknowledge_seconds: float | None
    resolve_seconds: float | None
    response: str
    response_breached: bool
    openings: int
    relapses: int
    false_alarm: str
    review: str
    review_due_at: str | None
    reviewed_at: str | None
    review_breached: bool


class TotalsJson(TypedDict):
    """The incidents of one peak severity together; times are medians in seconds."""

    severity: str
    incidents: int
    false_alarms: int
    responses_breached: int
    reviews_breached: int
    reviews_open: int
    detect_seconds: float | None
    acknowledge_seconds: float | None
    resolve_seconds: float | None


class ReportJson(TypedDict):
    """The month: a row for each incident that was open since then, oldest first, and the sums by severity."""

    since: str
    at: str
    rows: list[RowJson]
    totals: list[TotalsJson]


class ExplainJson(TypedDict):
    """Why a scenario is as bad as it is: sentences, every rule, what is not known, and what comes next."""

    at: str
    scenario: str
    title: str
    derived: str | None
    incident: IncidentJson | None
    because: list[str]
    rules: list[RuleJson]
    unknown: list[TermJson]
    maintenance: list[WindowJson]
    coming: list[MomentJson]


def incident_json(incident: Incident, snapshot: Snapshot, pages: Sequence[Page] | None = None) -> IncidentJson:
    """One incident, its texts with their live values; `pages` where the snapshot does not have them."""
    book = snapshot.runbook
    pages = explanation.pages_of(incident, snapshot) if pages is None else pages
    return {
        "key": incident.key,
        "scenario": incident.scenario,
        "title": title(incident, snapshot),
        "impact": impact(incident, snapshot),
        "state": str(incident.state),
        "severity": str(incident.severity),
        "peak": str(incident.peak),
        "started_at": iso(incident.started_at),
        "opened_at": iso(incident.opened_at),
        "detected_at": when(incident.detected_at),
        "last_good_at": when(incident.last_good_at),
        "opening": incident.opening,
        "origin": str(incident.origin),
        "by_hand": incident.by_hand,
        "parent": incident.parent,
        "why": list(incident.why),
        "flags": list(incident.flags),
        "mitigated_at": when(incident.mitigated_at),
        "resolved_at": when(incident.resolved_at),
        "relapses": incident.relapses,
        "acknowledged": incident.acknowledged,
        "ack": _ack(incident.ack),
        "first_ack": _ack(incident.first_ack),
        "cause": incident.cause,
        "doing": incident.doing,
        "customer_impact_at": when(incident.customer_impact_at),
        "declared_at": when(incident.declared_at),
        "updates": incident.updates,
        "updated_at": when(incident.updated_at),
        "false_alarm": incident.false_alarm,
        "reviewed_at": when(incident.reviewed_at),
        "reviewed_by": incident.reviewed_by,
        "escalation_level": _level(incident, pages),
        "pages": [_page(page, book, snapshot.silenced.get(page.identity)) for page in pages],
        "deadlines": deadlines_json(explanation.deadlines(incident, pages, snapshot)),
    }


def incidents_json(incidents: Iterable[Incident], snapshot: Snapshot, kept: Iterable[Page] = ()) -> list[IncidentJson]:
    """Incidents with their pages; `kept` are those of incidents that are not at hand any more."""
    pages = explanation.by_incident((*kept, *snapshot.ended_pages, *snapshot.pages))
    return [incident_json(incident, snapshot, pages.get(incident.key, ())) for incident in incidents]


def incident_detail_json(
    incident: Incident,
    snapshot: Snapshot,
    pages: Sequence[Page],
    notices: Iterable[Notice],
    events: Iterable[Event],
    *,
    timeline_error: str = "",
) -> IncidentDetailJson:
    """One incident with its whole history: pages, notices and events are its own."""
    found = explanation.coming(incident, explanation.deadlines(incident, pages, snapshot))
    plain = incident_json(incident, snapshot, pages)
    return {
        **plain,
        "events": [event_json(event) for event in events],
        "notices": [_notice(notice) for notice in notices],
        "coming": [moment_json(moment, snapshot.at) for moment in found],
        "timeline_error": timeline_error,
    }


def deadlines_json(found: Deadlines) -> DeadlinesJson:
    """What an incident has still before it."""
    return {
        "response": found.response,
        "response_due_at": when(found.response_due_at),
        "steps": [
            {
                "escalation_level": step.level,
                "to": step.to,
                "at": iso(step.at),
                "vendor": step.vendor,
                "attempt": step.attempt,
            }
            for step in found.steps
        ],
        "next_update_at": when(found.next_update_at),
        "resolves_at": when(found.resolves_at),
        "held": found.held,
        "review": found.review,
        "review_due_at": when(found.review_due_at),
    }


def explain_json(found: Explanation, snapshot: Snapshot, pages: Sequence[Page] | None = None) -> ExplainJson:
    """Why a scenario is as bad as it is; `pages` are the incident's, where the snapshot has them not."""
    scenario = snapshot.runbook.scenarios.get(found.scenario)
    rules = [_rule(rule) for rule in found.rules]
    unknown = {term["text"]: term for rule in rules for term in rule["terms"] if term["holds"] is None}
    return {
        "at": iso(snapshot.at),
        "scenario": found.scenario,
        "title": scenario.title if scenario else found.scenario,
        "derived": str(found.derived) if found.derived else None,
        "incident": incident_json(found.incident, snapshot, pages) if found.incident else None,
        "because": list(found.because),
        "rules": rules,
        "unknown": list(unknown.values()),
        "maintenance": [window_json(window) for window in found.windows],
        "coming": [moment_json(moment, snapshot.at) for moment in found.coming],
    }


def report_json(rows: Sequence[Row], since: float, now: float) -> ReportJson:
    """The month in numbers."""
    sums = [
        cast("TotalsJson", {"severity": str(severity), **asdict(sums)})
        for severity, sums in report.totals(rows).items()
    ]
    plain = [
        cast("RowJson", {each.name: _plain(each.name, getattr(row, each.name)) for each in fields(Row)}) for row in rows
    ]
    return {"since": iso(since), "at": iso(now), "rows": plain, "totals": sums}


def window_json(window: Window) -> WindowJson:
    """One stretch of maintenance."""
    return {
        "key": window.key,
        "of": list(window.of),
        "starts_at": iso(window.starts_at),
        "ends_at": iso(window.ends_at),
        "reason": window.reason,
        "by": window.by,
    }


def event_json(event: Event) -> EventJson:
    """One line of the timeline."""
    return {"number": event.number, "at": iso(event.at), "kind": event.kind, "text": event.text, "by": event.by}


def moment_json(moment: Moment, now: float) -> MomentJson:
    """Something that comes."""
    return {"at": iso(moment.at), "what": moment.what, "overdue": moment.at <= now}


def when(at: float | None) -> str | None:
    """RFC 3339, or null."""
    return None if at is None else iso(at)


def _plain(name: str, value: object) -> object:
    if name.endswith("_at") and isinstance(value, int | float):
        return iso(value)
    return str(value) if isinstance(value, Severity | StrEnum) else value


def _ack(ack: Ack | None) -> AckJson | None:
    return None if ack is None else {"at": iso(ack.at), "by": ack.by, "severity": str(ack.severity)}


def _level(incident: Incident, pages: Iterable[Page]) -> int:
    """Of L1-L3, the highest that was paged in this opening; 0 when it is resolved."""
    ours = [page for page in pages if page.opening == incident.opening and page.vendor == "none"]
    return max((int(page.escalation_level[1]) for page in ours), default=0) if incident.open else 0


def _page(page: Page, book: Runbook, silenced: Silenced | None) -> PageJson:
    row = book.escalation.get(page.escalation_level)
    return {
        "severity": str(page.severity),
        "escalation_level": page.escalation_level,
        "to": row.to if row else "",
        "vendor": page.vendor,
        "attempt": page.attempt,
        "opening": page.opening,
        "due_at": iso(page.due_at),
        "fired_at": iso(page.fired_at),
        "ended_at": when(page.ended_at),
        "delivered_at": when(page.delivered_at),
        "fell_back_at": when(page.fell_back_at),
        "silenced_by": silenced.by if silenced else None,
        "silenced_until": when(silenced.until) if silenced else None,
    }


def _notice(notice: Notice) -> NoticeJson:
    # The acknowledge link is a credential, for whoever the notice goes to and not for whoever may look.
    words = {name: text for name, text in notice.words.items() if name != "ack_url"}
    return {
        "kind": notice.kind.value,
        "key": notice.key,
        "number": notice.number,
        "due_at": iso(notice.due_at),
        "fired_at": iso(notice.fired_at),
        "ended_at": when(notice.ended_at),
        "words": words,
    }


def _rule(found: RuleNow) -> RuleJson:
    return {
        "severity": str(found.rule.severity),
        "text": explanation.said(found.rule),
        "hold_seconds": found.rule.hold,
        "standing": found.standing,
        "since": when(found.since),
        "due_at": when(found.due),
        "terms": [{"text": term.term.text, "holds": term.holds, "seen": term.seen} for term in found.terms],
    }
