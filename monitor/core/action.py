"""What people do to an incident, and what becomes of it: acknowledge, note, identify, resolve ...

Each is a value that the command line, the API and the console make alike; `act` is the one place that knows which of
them an incident allows. What it refuses, it refuses with the reason (`Refused`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from monitor.core.incident import Ack, Incident, Origin, State, Step, incident_key, resolved
from monitor.core.quantity import format_duration
from monitor.core.runbook import Runbook, Scenario, Severity
from monitor.core.severity import Verdict

CUSTOMER_IMPACT = "customer_impact"
"""What `or_declared` of the matrix speaks of."""


class Refused(Exception):
    """The incident does not allow it; the text is the reason, for whoever asked."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Somebody has seen it and takes care.

    `opening`: only if it is still this opening (of a link in a page). `silence`: the id of a silence in Alertmanager,
    which acknowledges once and not again when things get worse.
    """

    text: str = ""
    opening: int | None = None
    silence: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A line on the timeline. `fix`: what was done about it; it lands in the review."""

    text: str
    fix: bool = False


@dataclass(frozen=True, slots=True)
class Identify:
    """The cause is known, says a person."""

    text: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """It is over, says a person. `force`: why, though a probe still fails. `false_alarm`: why it was none."""

    text: str = ""
    force: str = ""
    false_alarm: str = ""


@dataclass(frozen=True, slots=True)
class SetSeverity:
    """A person knows better how bad it is."""

    severity: Severity
    why: str


@dataclass(frozen=True, slots=True)
class SetImpact:
    """What customers feel, in a person's words. `customers`: also declare that they feel it."""

    text: str
    customers: bool = False


@dataclass(frozen=True, slots=True)
class Declare:
    """Something that no probe can know: customer impact, or that it is what the scenario declares (`security`)."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Update:
    """A status update now, in a person's words, which stand under the current actions."""

    text: str


@dataclass(frozen=True, slots=True)
class Review:
    """The post-incident review was held. `text`: where it is, or what came of it."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """An incident that somebody reports. `since`: wall seconds; none: now. `severity`: none is the scenario's worst."""

    scenario: str
    why: str
    severity: Severity | None = None
    origin: Origin = Origin.INTERNAL
    since: float | None = None
    declare: bool = False


Action = Acknowledge | Note | Identify | Resolve | SetSeverity | SetImpact | Declare | Update | Review

VERBS: Mapping[str, type[Action]] = {
    "ack": Acknowledge,
    "note": Note,
    "identify": Identify,
    "resolve": Resolve,
    "severity": SetSeverity,
    "impact": SetImpact,
    "declare": Declare,
    "update": Update,
    "review": Review,
}
"""By the words of the command line and the API."""


def open_by_hand(
    action: Open, last: Incident | None, runbook: Runbook, now: float, by: str, *, known: Collection[str] = ()
) -> Step:
    """A person opens an incident. A probe that fails later joins it; only a person ends it. `known`: taken keys."""
    scenario = runbook.scenarios.get(action.scenario)
    if scenario is None:
        raise Refused(f'there is no scenario "{action.scenario}"; there are {", ".join(runbook.scenarios)}')
    if last is not None and last.open:
        raise Refused(f"{last.key} is open already; add a note to it, or raise its severity")
    if action.declare and scenario.declared is None:
        raise Refused(f"the runbook declares nothing for {scenario.name}")
    if action.since is not None and action.since > now:
        raise Refused("it cannot have begun in the future")
    declared = scenario.declared if action.declare else None
    worst = min(scenario.severities, default=Severity.P3)
    severity = declared.severity if declared else action.severity or worst
    started = now if action.since is None else action.since
    incident = Incident(
        incident_key(scenario.name, started, {*known, last.key} if last else known),
        scenario.name,
        State.INVESTIGATING,
        severity,
        severity,
        started,
        now,
        origin=action.origin,
        by_hand=True,
        detected_at=now,
        declared_at=now if declared else None,
        evidence=bool(declared and declared.evidence_hold),
        updated_at=now,
    ).takes(severity, now, by)
    told = "declared" if declared else f"reported ({action.origin})"
    return Step(incident, (("opened", f"{severity}, {told}: {action.why}"),))


def act(
    incident: Incident, action: Action, now: float, by: str, *, scenario: Scenario | None, verdict: Verdict | None
) -> Step:
    """What the action makes of the incident. `scenario` and `verdict` are None where the runbook has it no more."""
    match action:
        case Acknowledge():
            return _acknowledge(incident, action, now, by)
        case Note():
            return Step(incident, (("fix" if action.fix else "note", _said(action.text, "a note")),))
        case Review():
            return _review(incident, action, now, by)
    if not incident.open:
        raise Refused(f"{incident.key} is resolved")
    match action:
        case Identify():
            return _identify(incident, action, now)
        case Resolve():
            return _resolve(incident, action, verdict, now)
        case SetSeverity():
            return _set_severity(incident, action, verdict, now, by)
        case SetImpact():
            said = replace(incident, impact=_said(action.text, "the impact"), updated_at=now)
            step = Step(said, (("impact", action.text),), update=True)
            return _customer_impact(step, action.text, now) if action.customers else step
        case Declare():
            return _declare(incident, action, scenario, now, by)
        case Update():
            told = replace(incident, doing=_said(action.text, "what is being done"), updated_at=now)
            return Step(told, (("update", action.text),), update=True)
    raise AssertionError(action)


def _acknowledge(incident: Incident, action: Acknowledge, now: float, by: str) -> Step:
    if not incident.open:
        raise Refused(f"{incident.key} is resolved; there is nothing to acknowledge any more")
    if action.opening not in {None, incident.opening}:
        raise Refused(f"that page was of an earlier opening of {incident.key}; it has been paged anew since")
    if action.silence in incident.silences:
        raise Refused(f"this silence has acknowledged {incident.key} once")
    if incident.acknowledged and incident.ack is not None:
        raise Refused(f"{incident.ack.by} has acknowledged it already")
    ack = Ack(now, by, incident.severity)
    silences = (*incident.silences, action.silence) if action.silence else incident.silences
    acked = replace(incident, ack=ack, first_ack=incident.first_ack or ack, silences=silences)
    waited = format_duration(max(0.0, round(now - incident.opened_at)))
    text = f"Acknowledged at {incident.severity}, {waited} after it opened"
    return Step(acked, (("ack", f"{text}: {action.text}" if action.text else text),))


def _identify(incident: Incident, action: Identify, now: float) -> Step:
    if incident.state is State.MONITORING:
        raise Refused(f"{incident.key} is being monitored already; write a note")
    cause = _said(action.text, "what was identified")
    identified = replace(incident, state=State.IDENTIFIED, cause=cause, identified_at=now, updated_at=now)
    return Step(identified, (("identified", action.text),), update=True)


def _resolve(incident: Incident, action: Resolve, verdict: Verdict | None, now: float) -> Step:
    failing = verdict is not None and verdict.severity is not None
    if failing and verdict is not None and not (action.force or action.false_alarm):
        raise Refused(
            f"{', '.join(verdict.because)} still fails; it resolves by itself once that is well, "
            "or say why not: --force WHY"
        )
    overridden = _derived(incident, verdict) if failing or action.force or action.false_alarm else None
    over = replace(
        resolved(incident, now),
        overridden=overridden,
        false_alarm=action.false_alarm,
    )
    texts = [action.text, action.force and f"although probes fail: {action.force}"]
    texts.append(action.false_alarm and f"a false alarm: {action.false_alarm}")
    said = "; ".join(text for text in texts if text)
    return Step(over, (("resolved", f"Resolved by hand: {said}" if said else "Resolved by hand"),))


def _set_severity(incident: Incident, action: SetSeverity, verdict: Verdict | None, now: float, by: str) -> Step:
    why = _said(action.why, "why")
    if action.severity is incident.severity:
        raise Refused(f"{incident.key} is at {incident.severity} already")
    moved = replace(incident, waived=_derived(incident, verdict), updated_at=now).takes(action.severity, now, by)
    return Step(moved, (("severity", f"{incident.severity} to {action.severity} by hand: {why}"),), update=True)


def _derived(incident: Incident, verdict: Verdict | None) -> Severity | None:
    """The severity that a person goes against. While nothing is known it is the last that was: no daemon may run."""
    if verdict is None or not verdict.unknown:
        return None if verdict is None else verdict.severity
    if incident.by_hand or incident.state is State.MONITORING:
        return None  # no rule made it what it is, or all were clear
    return incident.severity if incident.waived is None else incident.waived


def _declare(incident: Incident, action: Declare, scenario: Scenario | None, now: float, by: str) -> Step:
    why = _said(action.why, "why")
    if action.what == CUSTOMER_IMPACT:
        return _customer_impact(Step(replace(incident, updated_at=now), (), update=True), why, now)
    declared = scenario.declared if scenario else None
    if action.what != incident.scenario or declared is None:
        known = [CUSTOMER_IMPACT, *([incident.scenario] if declared else [])]
        raise Refused(f'"{action.what}" cannot be declared of {incident.key}; write {" or ".join(known)}')
    if incident.declared_at is not None:
        raise Refused(f"{incident.key} is declared already")
    moved = replace(incident, declared_at=now, by_hand=True, evidence=declared.evidence_hold, updated_at=now)
    if incident.state is State.MONITORING:  # that its rules are clear proves nothing any more
        moved = replace(moved, state=State.INVESTIGATING, mitigated_at=None)
    if declared.severity < incident.severity:
        moved = moved.takes(declared.severity, now, by)
    return Step(moved, (("declared", f"{moved.severity}: {why}"),), update=True)


def _customer_impact(step: Step, why: str, now: float) -> Step:
    incident = step.incident
    assert incident is not None
    if incident.customer_impact_at is not None:
        if step.events:
            return step
        raise Refused(f"customer impact of {incident.key} is declared already")
    declared = replace(incident, customer_impact_at=now)
    return replace(step, incident=declared, events=(*step.events, ("declared", f"Customers are affected: {why}")))


def _review(incident: Incident, action: Review, now: float, by: str) -> Step:
    if incident.open:
        raise Refused(f"{incident.key} is still open; it is reviewed after it is resolved")
    if incident.reviewed_at is not None:
        raise Refused(f"{incident.reviewed_by} has reviewed it already")
    reviewed = replace(incident, reviewed_at=now, reviewed_by=by)
    return Step(reviewed, (("reviewed", action.text or "The review is done"),))


def _said(text: str, what: str) -> str:
    if not text.strip():
        raise Refused(f"say {what}")
    return text
