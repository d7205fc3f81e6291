"""The lifecycle of an incident: which event leads where. One open incident per scenario.

Times are wall seconds. When the wall clock takes a step, every saved time takes it too (`shift`), so that a
difference of two of them is always time that really passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from monitor.core.runbook import Lifecycle, Severity
from monitor.core.severity import Verdict


class State(StrEnum):
    """The runbook's status words. Only a person says `identified`."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Incident:
    """One scenario gone wrong, from opening to resolution. Times are wall seconds."""

    key: str  # redis-20261123-1702: scenario and UTC minute of its start; kept for its life, also through a reopening
    scenario: str
    state: State
    severity: Severity
    peak: Severity
    started_at: float  # the first failing sample, for people; it drives nothing
    opened_at: float  # when this opening began
    opening: int = 1  # 2 after the first reopening
    parent: str | None = None  # the scenario that causes it, while that one is open
    why: tuple[str, ...] = ()  # the rule's terms that held when the severity was last taken
    mitigated_at: float | None = None  # since when all its rules have been clear
    resolved_at: float | None = None
    relapses: int = 0

    @property
    def open(self) -> bool:
        return self.state is not State.RESOLVED


@dataclass(frozen=True, slots=True)
class Page:
    """One alert that says: this incident, at this severity, has reached this level. Its labels never change."""

    incident: str
    opening: int
    severity: Severity
    escalation_level: str
    vendor: str = "none"
    attempt: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)  # complete; stored and sent unchanged to its end
    due_at: float = 0.0
    fired_at: float = 0.0
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an incident's timeline: when, who, what, why. Never changed, never removed."""

    incident: str
    number: int  # 1, 2, 3 ... within the incident
    at: float
    kind: str  # opened, severity, mitigated, relapsed, resolved, reopened, paged, adopted
    text: str
    by: str = "monitor"


@dataclass(frozen=True, slots=True)
class Step:
    """What a moment made of an incident: the incident as it is now, and what is to be written on its timeline."""

    incident: Incident | None
    events: tuple[tuple[str, str], ...] = ()  # (kind, text)


def advance(last: Incident | None, verdict: Verdict, lifecycle: Lifecycle, now: float, started: float | None) -> Step:
    """What this moment makes of a scenario whose newest incident is `last`.

    `started` is the wall time of the first failing sample of the probes behind the verdict, where it is known.
    """
    if last is None or not last.open:
        return _open(last, verdict, lifecycle, now, started)
    if verdict.severity is not None:
        return _still_failing(last, verdict, verdict.severity)
    if verdict.unknown:
        return Step(last)
    if last.state is not State.MONITORING:
        mitigated = replace(last, state=State.MONITORING, mitigated_at=now)
        return Step(mitigated, (("mitigated", "All its rules are clear; watching for a recurrence"),))
    over = now - (last.mitigated_at or now) >= lifecycle.monitor
    if over and not verdict.ripens_before(now + lifecycle.monitor):
        return Step(
            replace(last, state=State.RESOLVED, resolved_at=now, parent=None),
            (("resolved", f"Clear for {lifecycle.monitor:g} s"),),
        )
    return Step(last)


def next_change(incident: Incident, lifecycle: Lifecycle) -> float | None:
    """When an incident resolves, if its rules stay clear."""
    if incident.state is not State.MONITORING or incident.mitigated_at is None:
        return None
    return incident.mitigated_at + lifecycle.monitor


def incident_key(scenario: str, started: float) -> str:
    """`redis-20261123-1702`: the scenario and the UTC minute of its start."""
    return f"{scenario}-{datetime.fromtimestamp(started, UTC):%Y%m%d-%H%M}"


def _open(last: Incident | None, verdict: Verdict, lifecycle: Lifecycle, now: float, started: float | None) -> Step:
    severity = verdict.severity
    if severity is None:
        return Step(last)
    because = ", ".join(verdict.because)
    if last and last.resolved_at is not None and now - last.resolved_at < lifecycle.reopen_within:
        reopened = replace(
            last,
            state=State.INVESTIGATING,
            severity=severity,
            peak=min(last.peak, severity),
            opened_at=now,
            opening=last.opening + 1,
            why=verdict.because,
            mitigated_at=None,
            resolved_at=None,
        )
        return Step(reopened, (("reopened", f"{severity}: {because}"),))
    began = now if started is None else min(started, now)
    key = incident_key(verdict.scenario, began)
    if last and last.key.startswith(key):  # several within a minute, where nothing is reopened: -2, -3 ...
        key = f"{key}-{int(last.key[len(key) + 1 :] or 1) + 1}"
    incident = Incident(key, verdict.scenario, State.INVESTIGATING, severity, severity, began, now, why=verdict.because)
    return Step(incident, (("opened", f"{severity}: {because}"),))


def _still_failing(last: Incident, verdict: Verdict, severity: Severity) -> Step:
    incident, events = last, []
    if last.state is State.MONITORING:
        incident = replace(incident, state=State.INVESTIGATING, mitigated_at=None, relapses=last.relapses + 1)
        events.append(("relapsed", f"{severity}: {', '.join(verdict.because)}"))
    if severity < last.severity:
        incident = replace(incident, severity=severity, peak=min(last.peak, severity), why=verdict.because)
        events.append(("severity", f"{last.severity} to {severity}: {', '.join(verdict.because)}"))
    return Step(incident, tuple(events))


def shift(incident: Incident, seconds: float) -> Incident:
    """The same incident by a wall clock that was set forward by so many seconds (back, if negative)."""
    return replace(
        incident,
        started_at=incident.started_at + seconds,
        opened_at=incident.opened_at + seconds,
        mitigated_at=None if incident.mitigated_at is None else incident.mitigated_at + seconds,
        resolved_at=None if incident.resolved_at is None else incident.resolved_at + seconds,
    )


def shift_page(page: Page, seconds: float) -> Page:
    """The same page by a wall clock that was set forward by so many seconds. Its labels stay."""
    return replace(
        page,
        due_at=page.due_at + seconds,
        fired_at=page.fired_at + seconds,
        ended_at=None if page.ended_at is None else page.ended_at + seconds,
    )
