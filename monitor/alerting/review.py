"""The draft of the post-incident review, in the runbook's template: what is known, and blanks for what only people know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from monitor.alerting.facts import WITHHELD, Facts, clock, utc
from monitor.alerting.messages import impact, started
from monitor.core.escalation import SECOND_CALL, call_of
from monitor.core.incident import Event, Incident, Origin, Page
from monitor.core.phrasing import phrase
from monitor.core.quantity import format_duration
from monitor.core.report import Promise, Response, promises, row
from monitor.core.runbook import Severity
from monitor.core.words import LONGEST

MOST_EVENTS = 120  # of the timeline; the rest is in `incident show`
MOST_PREVIOUS = 3

_KINDS = {
    "opened": "Opened",
    "severity": "Severity",
    "joined": "Joined",
    "linked": "Linked",
    "unlinked": "Unlinked",
    "paged": "Paged",
    "adopted": "Adopted",
    "ack": "Acknowledged",
    "identified": "Identified",
    "impact": "Impact",
    "declared": "Declared",
    "update": "Update",
    "note": "Note",
    "fix": "Fix",
    "mitigated": "Clear",
    "relapsed": "Relapsed",
    "resolved": "Resolved",
    "reopened": "Reopened",
    "reminded": "Reminder",
    "clock": "Clock",
    "reviewed": "Reviewed",
}
_UNSAID = frozenset({"told", "found"})  # no milestones; what was found is evidence
_MARKDOWN = re.compile(r"([\\`*\[\]<])")

_DETECTED = {
    Origin.ALERT: "an alert of the monitor",
    Origin.CUSTOMER: "a customer's report",
    Origin.INTERNAL: "a colleague",
}


def review(
    incident: Incident, events: Sequence[Event], pages: Sequence[Page], previous: Sequence[Incident], facts: Facts
) -> str:
    """The draft, in Markdown. `events` and `pages` are this incident's; `previous`: others of its scenario."""
    draft = _Draft(incident, sorted(events, key=lambda event: event.number), pages, facts)
    words = {
        "title": markdown(facts.title(incident)),
        "incident": incident.key,
        "severity": str(incident.peak),
        "written": utc(facts.now),
        "due": draft.due(),
        "summary": list(draft.summary()),
        "started": started(incident),
        "ended": draft.ended(),
        "severities": list(draft.severities()),
        "impact": markdown(impact(incident, facts)),
        "detection": draft.detection(),
        "response": draft.response(),
        "resolution": draft.resolution(),
        "escalated": list(draft.escalated()),
        "timeline": list(draft.timeline()),
        "cause": draft.said(incident.cause),
        "evidence": list(draft.evidence()) or ["nothing that a probe saw"],
        "fixes": [draft.line(event) for event in draft.of("fix")] or ["**[FILL IN: nothing was noted as a fix]**"],
        "undo": draft.undo(),
        "monitoring": [*draft.gaps(), "**[FILL IN: what would have shown it sooner?]**"],
        "previous": list(_previous(incident, previous, facts)) or ["none that the monitor remembers"],
    }
    return phrase("review", facts.runbook.wording, words) + "\n"


def markdown(text: str) -> str:
    """A text from outside, as text: nothing in it is markup."""
    return _MARKDOWN.sub(r"\\\1", text)


class _Draft:
    """The parts of one draft."""

    def __init__(self, incident: Incident, events: Sequence[Event], pages: Sequence[Page], facts: Facts) -> None:
        self.incident, self.events, self.facts = incident, events, facts
        self.pages = sorted(
            (page for page in pages if page.incident == incident.key), key=lambda page: (page.fired_at, page.due_at)
        )
        self.row = row(incident, events, facts.runbook, facts.config.calendar, facts.now, recorded=facts.recorded)
        self.begun = incident.started_at

    def of(self, *kinds: str) -> list[Event]:
        return [event for event in self.events if event.kind in kinds]

    def said(self, text: str) -> str:
        """What a person wrote, or that it is withheld."""
        if text and self.facts.redacted(self.incident):
            return WITHHELD
        return markdown(self.facts.said(text))

    def at(self, at: float) -> str:
        return clock(at, self.begun)

    def line(self, event: Event) -> str:
        """`17:04:10 UTC Fix: restarted Redis (ann)`"""
        withheld = event.by != "monitor" and self.facts.redacted(self.incident)
        text = WITHHELD if withheld else markdown(self.facts.said(event.text))
        by = "" if event.by == "monitor" else f" ({markdown(self.facts.said(event.by, 60))})"
        kind = _KINDS.get(event.kind, event.kind.capitalize())
        return f"{self.at(event.at)} {text}{by}" if text.startswith(kind) else f"{self.at(event.at)} {kind}: {text}{by}"

    # summary

    def due(self) -> str:
        incident, due = self.incident, self.row.review_due_at
        if incident.false_alarm:
            return f"Waived, as a false alarm: {self.said(incident.false_alarm)}."
        if incident.reviewed_at is not None:
            return f"Reviewed {utc(incident.reviewed_at)} by {markdown(self.facts.said(incident.reviewed_by, 60))}."
        if due is None:
            return "No review is owed." if incident.resolved_at is not None else "The incident is still open."
        return f"{'Overdue since' if self.facts.now > due else 'Due'} {self.facts.local(due)}."

    def summary(self) -> Iterator[str]:
        incident, scenario = self.incident, self.facts.scenario(self.incident)
        yield f"Detected by: {_DETECTED[incident.origin]}"
        if scenario is not None and scenario.service:
            yield f"Service: {markdown(self.facts.filled(scenario.service, incident))}"
        if incident.customer_impact_at is not None:
            yield f"Customer impact was declared {self.at(incident.customer_impact_at)}"
        for event in self.found()[:3]:
            yield f"Measured {self.at(event.at)}: {markdown(self.facts.said(event.text, LONGEST))}"
        if incident.relapses:
            yield f"Relapses: {incident.relapses}"
        if incident.opening > 1:
            yield f"Reopened: {incident.opening - 1}"
        for flag in incident.flags:
            yield f"Flag: {markdown(flag)}"

    def found(self) -> list[Event]:
        """What was measured when things became worse; of a declared incident that is withheld, as in its diagnosis."""
        return [] if self.facts.redacted(self.incident) else self.of("found")

    def ended(self) -> str:
        incident = self.incident
        if incident.resolved_at is None:
            return "not yet; it is open"
        lasted = format_duration(round(max(0.0, incident.resolved_at - self.begun)))
        told = f"{utc(incident.resolved_at)}, {lasted} after it started"
        if incident.mitigated_at is None:
            return told
        failed = format_duration(round(max(0.0, incident.mitigated_at - self.begun)))
        return f"{told}; clear since {self.at(incident.mitigated_at)}, after {failed}"

    def severities(self) -> Iterator[str]:
        last: Severity | None = None
        for taken in self.incident.taken:
            by = "" if taken.by == "monitor" else f" ({markdown(self.facts.said(taken.by, 60))})"
            again = ", reopened" if last is not None and taken.opening > 1 and taken.severity is last else ""
            yield f"{taken.severity} from {self.at(taken.at)}{again}{by}"
            last = taken.severity

    # timeline

    def detection(self) -> str:
        """With the honest gap: a probe looks now and then, so the truth lies between two of its runs."""
        incident, detected = self.incident, self.incident.detected_at
        if detected is None:
            return "not known"
        took = format_duration(round(self.row.detect_seconds or 0.0))
        if incident.origin is not Origin.ALERT:
            return f"reported {self.at(detected)}, {took} after it is said to have begun"
        good = "" if incident.last_good_at is None else f", last good {self.at(incident.last_good_at)}"
        return f"failing since ≤ {self.at(self.begun)}{good}; detected {self.at(detected)}, {took} later"

    def response(self) -> str:
        first, found = self.incident.first_ack, self.row.response
        if found is Response.NOT_RECORDED:
            return "not recorded: no way to acknowledge was in use"
        if found is Response.NONE_NEEDED and first is None:
            return "over before one was due" if self.pages else "nobody was paged"
        promised = promises(self.incident, self.events, self.facts.runbook)
        told = "nobody has acknowledged it"
        if first is not None:
            took = format_duration(round(self.row.acknowledge_seconds or 0.0))
            told = f"acknowledged {self.at(first.at)} by {markdown(self.facts.said(first.by, 60))}, after {took}"
        return "; ".join([told, *(self._promise(each) for each in promised)])

    def _promise(self, promise: Promise) -> str:
        respond = self.facts.runbook.severities[promise.severity].respond
        target = f"target of {promise.severity} {format_duration(respond)}"
        kept = promise.kept(self.facts.now)
        if kept is None:
            return (
                f"{target}: over before"
                if promise.over_at is not None
                else f"{target}: until {self.at(promise.due_at)}"
            )
        if kept:
            return f"{target}: kept"
        late = (
            "" if promise.answered_at is None else f" by {format_duration(round(promise.answered_at - promise.due_at))}"
        )
        return f"{target}: **BREACHED**{late}"

    def resolution(self) -> str:
        if self.incident.resolved_at is None:
            return "still open"
        took = format_duration(round(self.row.resolve_seconds or 0.0)) if self.row.resolve_seconds is not None else ""
        told = f"resolved {self.at(self.incident.resolved_at)}" + (f", {took} after detection" if took else "")
        if self.incident.mitigated_at is None or self.incident.detected_at is None:
            return told
        clear = format_duration(round(max(0.0, self.incident.mitigated_at - self.incident.detected_at)))
        watched = format_duration(round(self.incident.resolved_at - self.incident.mitigated_at))
        return f"{told}: clear after {clear}, then watched for {watched}"

    def escalated(self) -> Iterator[str]:
        """The matrix has no target for resolving but one: the levels that it tells when that takes long."""
        told: set[tuple[str, str]] = set()
        for page in self.pages:
            table = self.facts.runbook.escalation.get(page.escalation_level)
            if page.escalation_level == "L1" and page.attempt == 1:
                continue
            if (page.escalation_level, page.vendor) in told and page.attempt == 1:
                continue
            told.add((page.escalation_level, page.vendor))
            who = f"{page.escalation_level} {table.to}" if table else page.escalation_level
            who += f" ({page.vendor})" if page.vendor != "none" else ""
            who += call_of(page.attempt) + (": nobody had answered" if page.attempt == SECOND_CALL else "")
            late = page.fired_at - page.due_at
            after = f", {format_duration(round(late))} late" if late >= 30 else ""
            yield f"Escalated {self.at(page.fired_at)} to {who}{after}"

    def timeline(self) -> Iterator[str]:
        shown = [event for event in self.events if event.kind not in _UNSAID]
        half = MOST_EVENTS // 2
        for index, event in enumerate(shown):
            if len(shown) <= MOST_EVENTS or index < half or index >= len(shown) - half:
                yield self.line(event)
            elif index == half:
                yield f"… {len(shown) - 2 * half} more, in `portal-monitor incident show {self.incident.key}`"

    # cause and actions

    def evidence(self) -> Iterator[str]:
        """What failed when things became worse; in each line, the first to fail stands first."""
        if self.facts.redacted(self.incident):
            yield WITHHELD
            return
        for event in self.events:
            if event.kind in {"opened", "severity", "joined", "reopened"} and event.by == "monitor":
                yield f"{self.at(event.at)} rule: {markdown(self.facts.said(event.text))}"
            elif event.kind == "found":
                for number, each in enumerate(event.text.split("; "), 1):
                    yield f"{self.at(event.at)} {number}. {markdown(self.facts.said(each))}"

    def undo(self) -> list[str]:
        scenario = self.facts.scenario(self.incident)
        return [markdown(step.do) for step in scenario.steps if step.remind] if scenario else []

    def gaps(self) -> Iterator[str]:
        """What the monitor itself did badly, as far as it can tell."""
        incident, number = self.incident, self.row
        respond = self.facts.runbook.severities[incident.peak].respond
        if incident.origin is not Origin.ALERT:
            joined = self.of("joined")
            saw = f"a probe saw it {format_duration(round(joined[0].at - incident.opened_at))} later" if joined else ""
            yield f"{_DETECTED[incident.origin].capitalize()} came first; {saw or 'no probe saw it'}"
        if (
            incident.origin is Origin.ALERT
            and number.detect_seconds is not None
            and number.detect_seconds > respond / 3
        ):
            took = format_duration(round(number.detect_seconds))
            yield f"Detection took {took} of a response time of {format_duration(respond)}: shorter interval or hold?"
        if number.response is Response.LATE:
            yield "The response was late: does the page reach the person on call?"
        if fell := [page for page in self.pages if page.fell_back_at is not None]:
            yield f"No Alertmanager took {len(fell)} of {len(self.pages)} pages in time; the fallback carried them"
        unknown = {
            name
            for event in self.found()
            for each in event.text.split("; ")
            if (name := each.partition(" unknown")[0]) != each and " unknown, needs " not in each
        }
        if unknown:
            yield f"Could not be judged at the time: {', '.join(sorted(unknown))}"
        if incident.relapses or incident.opening > 1:
            patience = format_duration(self.facts.runbook.lifecycle.monitor)
            yield f"It came back: are {patience} of watching enough, and was the cause found?"
        if incident.false_alarm:
            yield "It was a false alarm: which limit or hold would have kept it back?"


def _previous(incident: Incident, others: Iterable[Incident], facts: Facts) -> Iterator[str]:
    same = [each for each in others if each.scenario == incident.scenario and each.key != incident.key]
    same = [each for each in same if each.opened_at <= incident.opened_at]
    for each in sorted(same, key=lambda one: -one.opened_at)[:MOST_PREVIOUS]:
        ended = "" if each.resolved_at is None else f", {format_duration(round(each.resolved_at - each.started_at))}"
        said = WITHHELD if facts.redacted(each) else markdown(facts.said(each.cause))
        cause = f": {said}" if each.cause else ": a false alarm" if each.false_alarm else ""
        reviewed = "" if each.reviewed_at is None else ", reviewed"
        yield f"{each.key}, {each.peak}{ended}{reviewed}{cause}"
