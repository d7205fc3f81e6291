"""Why a scenario is as bad as it is, or is not; what is not known, and why; which deadline comes next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from monitor.core import escalation
from monitor.core.escalation import Due
from monitor.core.incident import Incident, Page, State, next_change
from monitor.core.maintenance import Window
from monitor.core.quantity import format_duration
from monitor.core.runbook import Level, Rule, Severity, Term
from monitor.core.severity import RuleVerdict, Verdict
from monitor.core.snapshot import Snapshot
from monitor.core.words import advice

Response = Literal["not recorded", "not owed", "due", "overdue", "answered", "unanswered"]
Reviewed = Literal["none", "due", "overdue", "done", "waived"]
Standing = Literal["holds", "ripens", "clear", "unknown", "maintained"]
BY_MONITOR = "monitor"
_ANSWERS = {True: "yes", False: "no", None: "not known"}  # whether a term holds


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What an incident has still before it. Times are wall seconds; a deadline that has passed is before now.

    `response`: whether somebody has answered in time; "unanswered": it ended first; "not recorded": no way to answer is
    in use, so that nothing is known; "not owed": nobody is told of it. `steps`: the levels that are still to come.
    """

    response: Response
    response_due_at: float | None = None
    steps: tuple[Due, ...] = ()
    next_update_at: float | None = None
    resolves_at: float | None = None  # if its rules stay clear
    held: str = ""  # why it is not resolved although none of its rules holds
    review: Reviewed = "none"
    review_due_at: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that comes: when (wall seconds), and what, in words."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class TermNow:
    """One thing that a rule speaks of: whether it holds (None: not known, or kept back), and what is seen there."""

    term: Term
    holds: bool | None
    seen: str


@dataclass(frozen=True, slots=True)
class RuleNow:
    """One rule: `ripens` is that it holds, but not for long enough; `maintained` that maintenance keeps it back."""

    rule: Rule
    standing: Standing
    since: float | None
    due: float | None
    terms: tuple[TermNow, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One scenario at one moment. `because` are sentences, the most important one first."""

    scenario: str
    incident: Incident | None  # its open one, or the one asked for
    derived: Severity | None
    because: tuple[str, ...]
    rules: tuple[RuleNow, ...]
    coming: tuple[Moment, ...]  # soonest first; some may be overdue
    windows: tuple[Window, ...] = ()


def pages_of(incident: Incident, snapshot: Snapshot) -> list[Page]:
    """Every page of an incident, oldest first."""
    ours = [page for page in (*snapshot.ended_pages, *snapshot.pages) if page.incident == incident.key]
    return sorted(ours, key=lambda page: (page.fired_at, page.escalation_level))


def by_incident(pages: Iterable[Page]) -> dict[str, list[Page]]:
    """Pages by the incident that they are of, each oldest first."""
    found: dict[str, list[Page]] = {}
    for page in sorted(pages, key=lambda page: (page.fired_at, page.escalation_level)):
        found.setdefault(page.incident, []).append(page)
    return found


def deadlines(incident: Incident, pages: Iterable[Page], snapshot: Snapshot) -> Deadlines:
    """What this incident has still before it."""
    book, now, recorded = snapshot.runbook, snapshot.at, snapshot.recorded
    pages = list(pages)
    # While a cause speaks for it, that one is answered.
    response_due_at = escalation.response_due(book, incident, pages) if incident.parent is None else None
    # Of a symptom that nobody was told of, the cause is reviewed.
    review_due_at = escalation.review_due(book, snapshot.config.calendar, incident) if pages else None
    known = incident.severity in book.severities
    resolves_at = next_change(incident, book.lifecycle)
    held = _held(incident, snapshot.verdicts.get(incident.scenario), resolves_at, now)
    return Deadlines(
        _response(incident, pages, response_due_at, now, recorded=recorded),
        response_due_at if recorded else None,
        tuple(escalation.upcoming(book, incident, pages, recorded=recorded)) if known else (),
        escalation.next_update(book, incident) if known else None,
        None if held else resolves_at,
        held,
        _reviewed(incident, review_due_at, now),
        review_due_at,
    )


def coming(incident: Incident, found: Deadlines) -> list[Moment]:
    """The deadlines of an incident in words, soonest first."""
    moments = []
    for step in found.steps:
        whom = f"{step.level} {step.to}" + (f" ({step.vendor})" if step.vendor != "none" else "")
        moments.append(Moment(step.at, f"{whom} is paged, unless it is resolved before"))
    if found.response_due_at is not None:
        moments.append(Moment(found.response_due_at, "somebody must have acknowledged it"))
    if found.next_update_at is not None:
        moments.append(Moment(found.next_update_at, "the next status update is due"))
    if found.resolves_at is not None:
        moments.append(Moment(found.resolves_at, "it is resolved, if its rules stay clear"))
    if found.review_due_at is not None and incident.reviewed_at is None:
        moments.append(Moment(found.review_due_at, "the post-incident review is due"))
    return sorted(moments, key=lambda moment: moment.at)


def explain(
    scenario: str, snapshot: Snapshot, incident: Incident | None = None, pages: Sequence[Page] | None = None
) -> Explanation:
    """One scenario, and its open incident or this one of it; `pages` are its own, where the snapshot has them not."""
    incident = incident or next((item for item in snapshot.incidents if item.open and item.scenario == scenario), None)
    verdict = snapshot.verdicts.get(scenario, Verdict(scenario, None, ()))
    rules = tuple(_rule(rule, scenario, snapshot) for rule in verdict.rules)
    windows = tuple(window for window in snapshot.windows if _concerns(window, scenario, rules))
    moments = []
    if incident is not None:
        pages = pages_of(incident, snapshot) if pages is None else pages
        moments = coming(incident, deadlines(incident, pages, snapshot))
    moments += [
        Moment(rule.due, f"{rule.rule.severity}, if this still holds: {said(rule.rule)}")
        for rule in rules
        if rule.standing == "ripens" and rule.due is not None and _worse(rule, incident)
    ]
    end = "maintenance ends" if incident is not None and incident.open else "maintenance ends; what still fails opens"
    moments += [Moment(window.ends_at, end) for window in windows]
    because = tuple(_because(scenario, incident, verdict, rules, snapshot))
    return Explanation(
        scenario, incident, verdict.severity, because, rules, tuple(sorted(moments, key=lambda one: one.at)), windows
    )


def said(rule: Rule) -> str:
    """`any of redis, bff/cache for 45s`."""
    names = ", ".join(term.text for term in rule.terms)
    many = f"{rule.mode} of {names}" if len(rule.terms) > 1 else names
    return f"{many} for {format_duration(rule.hold)}" if rule.hold else many


def _response(incident: Incident, pages: Iterable[Page], due: float | None, now: float, *, recorded: bool) -> Response:
    if incident.acknowledged or (not incident.open and incident.ack is not None):
        return "answered"
    if not recorded:
        return "not recorded"
    if not incident.open:
        told = any(page.incident == incident.key and page.opening == incident.opening for page in pages)
        return "unanswered" if told else "not owed"
    return "not owed" if due is None else "overdue" if now >= due else "due"


def _held(incident: Incident, verdict: Verdict | None, resolves_at: float | None, now: float) -> str:
    """What keeps an incident open that is being watched, in words; empty if nothing does but the time it takes."""
    if resolves_at is None or verdict is None:
        return ""
    if incident.by_hand:
        return "only a person ends it"
    if verdict.unknown and verdict.maintained:
        return "maintenance keeps back what fails"
    if verdict.unknown:
        return f"{_terms(rule for rule in verdict.rules if rule.holds is None)} cannot be judged"
    ripening = [rule for rule in verdict.rules if rule.holds and not rule.matured]
    return f"{_terms(ripening)} fails again" if ripening and now >= resolves_at else ""


def _terms(rules: Iterable[RuleVerdict]) -> str:
    """The terms for which these rules are not clear."""
    return ", ".join(dict.fromkeys(text for rule in rules for text, held in rule.terms.items() if held is rule.holds))


def _reviewed(incident: Incident, due: float | None, now: float) -> Reviewed:
    if incident.reviewed_at is not None:
        return "done"
    if incident.false_alarm:
        return "waived"
    if due is None:
        return "none"
    return "overdue" if now >= due else "due"


def _concerns(window: Window, scenario: str, rules: Iterable[RuleNow]) -> bool:
    names = {term.term.name for rule in rules for term in rule.terms if term.term.kind == "probe"}
    return bool({f"scenario:{scenario}", *names} & set(window.of))


def _worse(rule: RuleNow, incident: Incident | None) -> bool:
    """Whether the rule would make it worse than it is."""
    return incident is None or not incident.open or rule.rule.severity < incident.severity


def _rule(found: RuleVerdict, scenario: str, snapshot: Snapshot) -> RuleNow:
    terms = tuple(
        TermNow(term, found.terms.get(term.text), _seen(term, found.terms.get(term.text), scenario, snapshot))
        for term in found.rule.terms
    )
    standing: Standing = "unknown"
    if found.maintained:
        standing = "maintained"
    elif found.holds is not None:
        standing = "holds" if found.matured else "ripens" if found.holds else "clear"
    return RuleNow(found.rule, standing, found.since, found.due, terms)


def _seen(term: Term, holds: bool | None, scenario: str, snapshot: Snapshot) -> str:
    """What is seen where a term looks, in words; and where it asks for more than a failing probe, its answer."""
    said_ = _seen_there(term, holds, scenario, snapshot)
    return said_ if term.text == term.name else f"{term.text}: {_ANSWERS[holds]}, {said_}"


def _seen_there(term: Term, holds: bool | None, scenario: str, snapshot: Snapshot) -> str:
    if term.kind == "scenario":
        verdict = snapshot.verdicts.get(term.name)
        if verdict is None or verdict.unknown:
            return f"{term.name} cannot be judged"
        return f"{term.name} is at {verdict.severity}" if verdict.severity else f"{term.name} is clear"
    view = snapshot.probes.get(term.name)
    if view is None or not view.config.enabled:
        return f"{term.name} is switched off"
    level = f"{term.name} is {view.level}" + (f" ({view.reason})" if view.reason else "")
    if holds is False and term.at is Level.UNKNOWN and view.level is Level.UNKNOWN:
        return f"{level}, for which its need is to blame"
    if holds is not None:
        return level
    if any({term.name, f"scenario:{scenario}"} & set(window.of) for window in snapshot.windows):
        return f"{level}; it is under maintenance"
    said_ = advice(view)
    if view.level is not Level.UNKNOWN and term.why is None:
        return f"{level}, from before the monitor started; not seen since"
    return f"{level}. {said_}" if said_ else level


def _because(
    scenario: str, incident: Incident | None, verdict: Verdict, rules: Sequence[RuleNow], snapshot: Snapshot
) -> Iterable[str]:
    """Why it is as it is, in sentences."""
    if scenario not in snapshot.runbook.scenarios:
        yield "The runbook does not have this scenario any more; nothing holds it open."
    holding = [rule for rule in rules if rule.standing == "holds" and rule.rule.severity is verdict.severity]
    if incident is not None and incident.open:
        resolves_at = next_change(incident, snapshot.runbook.lifecycle)
        yield from _why_open(incident, verdict, _held(incident, verdict, resolves_at, snapshot.at))
    elif incident is not None:
        yield "It is resolved." + (" It was a false alarm, said a person." if incident.false_alarm else "")
    if holding and not (incident is not None and incident.open and _taken_by_rules(incident)):
        yield f"The rules make it {verdict.severity}: {said(holding[0].rule)}."
    if incident is None or not incident.open:
        yield from _why_closed(incident, verdict, rules)
    unknown = sum(rule.standing == "unknown" for rule in rules)
    if unknown and not verdict.unknown:
        yield f"{unknown} {'rule' if unknown == 1 else 'rules'} cannot be judged."


def _taken_by_rules(incident: Incident) -> bool:
    return not incident.stays or incident.stays[-1].by == BY_MONITOR


def _why_open(incident: Incident, verdict: Verdict, held: str) -> Iterable[str]:
    why = ", ".join(incident.why)
    if not _taken_by_rules(incident):
        how = "reported" if incident.by_hand and len(incident.stays) == 1 else "set"
        yield f"It is {incident.severity}, {how} by {incident.stays[-1].by}."
    else:
        milder = verdict.severity is not None and verdict.severity > incident.severity
        yield f"It is {incident.severity}" + (f" because of {why}." if why and not milder else ".")
    if incident.declared_at is not None:
        yield "It was declared by a person."
    if incident.customer_impact_at is not None:
        yield "Customers are affected, says a person."
    if held:
        yield f"It was clear and is watched for a recurrence; it is not resolved, as {held}."
    elif incident.state is State.MONITORING:
        yield "All its rules are clear; it is watched for a recurrence."
    elif incident.by_hand and verdict.severity is None:
        yield "No probe sees it; only a person ends it."
    elif verdict.maintained:
        yield "Maintenance keeps back what fails, so it stays as it is."
    elif verdict.unknown:
        yield "Nothing holds now, but not everything can be judged, so it stays open."
    elif verdict.severity is not None and verdict.severity is not incident.severity:
        yield _why_not_derived(incident, verdict.severity)
    if incident.parent is not None:
        yield f"It is a symptom of {incident.parent}, so nobody is told of it by itself."


def _why_not_derived(incident: Incident, derived: Severity) -> str:
    if incident.waived is not None:
        return f"The rules say {derived}; a person knew better, until they say worse than {incident.waived}."
    why = f", because of {', '.join(incident.why)}" if incident.why and _taken_by_rules(incident) else ""
    return f"The rules say {derived} now{why}; by itself it does not become less severe."


def _why_closed(incident: Incident | None, verdict: Verdict, rules: Sequence[RuleNow]) -> Iterable[str]:
    if verdict.severity is not None and incident is not None and incident.overridden is not None:
        yield "A person resolved it all the same; it opens again when it is worse, or was well in between."
    ripening = [rule for rule in rules if rule.standing == "ripens"]
    if verdict.severity is None and ripening:
        yield "No incident is open yet: what is wrong has not lasted for long enough."
    elif verdict.maintained:
        yield "No incident is open: maintenance keeps back what fails."
    elif verdict.unknown:
        yield "No incident is open, and whether all is well is not known."
    elif verdict.clear:
        yield "No incident is open: every rule was judged, and none holds."
