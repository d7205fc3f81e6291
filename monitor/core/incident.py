"""The lifecycle of an incident: which event leads where. One open incident per scenario.

What the rules derive moves an incident by `advance`; what people do, by `monitor.core.action`. Acknowledgement, severity
and parent are facts beside the state. Times are wall seconds; when the wall clock takes a step, every saved time takes
it too (`shift`), so that a difference of two of them is always time that really passed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain, count

from monitor.core.runbook import Lifecycle, Severity
from monitor.core.severity import Verdict

RELAPSES_OF_A_FLAPPER = 3
STEADY_SECONDS = 3600.0
"""An incident that relapsed three times within an hour is resolved only after an hour without a failure."""


class State(StrEnum):
    """The runbook's status words. Only a person says `identified`."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


class Origin(StrEnum):
    """Who noticed first: the runbook's three ways to detect."""

    ALERT = "alert"
    CUSTOMER = "customer"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Taken:
    """A severity that an incident took, when, and who said so. The clocks of the matrix start here."""

    severity: Severity
    at: float
    opening: int = 1
    by: str = "monitor"


@dataclass(frozen=True, slots=True)
class Ack:
    """Somebody has seen it. It is worth as much as the severity that was seen: it lapses when things get worse."""

    at: float
    by: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Incident:
    """One scenario gone wrong, from opening to resolution. Times are wall seconds."""

    key: str  # redis-20261123-1702: scenario and UTC minute of its start; kept for its life, also through a reopening
    scenario: str
    state: State
    severity: Severity
    peak: Severity
    started_at: float  # the first failing sample, or since when it was reported; for people, it drives nothing
    opened_at: float  # when this opening began
    opening: int = 1  # 2 after the first reopening
    origin: Origin = Origin.ALERT
    by_hand: bool = False  # a person opened it, so a person ends it
    parent: str | None = None  # the scenario that causes it, while that one is open
    why: tuple[str, ...] = ()  # the terms that hold of the worst rules that do; where none does, that did last
    flags: tuple[str, ...] = ()  # of the rules that held: data_loss
    links: tuple[str, ...] = ()  # of the rules that held
    taken: tuple[Taken, ...] = ()  # every severity it took, oldest first
    detected_at: float | None = None  # when the first opening began
    last_good_at: float | None = None  # the last good run of what failed, before it began
    ack: Ack | None = None  # of this opening, the newest
    first_ack: Ack | None = None  # of its whole life
    waived: Severity | None = None  # the derived severity when a person set another: that one holds until it is worse
    overridden: Severity | None = None  # the derived severity at which a person resolved it all the same
    customer_impact_at: float | None = None  # in this opening
    declared_at: float | None = None  # in this opening: a person said that it is what the scenario declares
    vendor_since: float | None = None  # since when what its vendor answers for has failed
    impact: str = ""  # a person's words in the place of the scenario's
    cause: str = ""  # what a person has identified
    identified_at: float | None = None  # in this opening
    mitigated_at: float | None = None  # since when all its rules have been clear
    resolved_at: float | None = None
    relapsed_at: tuple[float, ...] = ()
    doing: str = ""  # what is being done, in the words of a person's newest update
    evidence: bool = False  # must be kept: it was declared as something whose evidence is held
    silences: tuple[str, ...] = ()  # of Alertmanager, each of which has acknowledged it once
    updates: int = 0  # status updates so far
    updated_at: float | None = None  # when what people are told last changed
    false_alarm: str = ""  # why it was none; waives the review, and is counted
    reviewed_at: float | None = None
    reviewed_by: str = ""

    @property
    def open(self) -> bool:
        return self.state is not State.RESOLVED

    @property
    def relapses(self) -> int:
        return len(self.relapsed_at)

    @property
    def acknowledged(self) -> bool:
        """Whether somebody has seen it as bad as it is now."""
        return self.ack is not None and self.ack.severity <= self.severity

    @property
    def stays(self) -> tuple[Taken, ...]:
        """The severities of this opening, oldest first."""
        return tuple(taken for taken in self.taken if taken.opening == self.opening)

    def takes(self, severity: Severity, now: float, by: str = "monitor") -> Incident:
        """The same incident at this severity from now on."""
        taken = (*self.taken, Taken(severity, now, self.opening, by))
        return replace(self, severity=severity, peak=min(self.peak, severity), taken=taken)


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
    fell_back_at: float | None = None  # when it was told by the fallback, because no Alertmanager took it
    delivered_at: float | None = None  # when the first Alertmanager took it

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from every other page."""
        return self.incident, self.opening, self.severity, self.escalation_level, self.vendor, self.attempt

    @property
    def told(self) -> bool:
        """Whether it has got out of this house at all."""
        return self.delivered_at is not None or self.fell_back_at is not None


class NoticeKind(StrEnum):
    """What is told beside the pages."""

    UPDATE = "update"
    REMINDER = "reminder"


@dataclass(frozen=True, slots=True)
class Notice:
    """A status update or a reminder: an alert of its own, told once. `key` is the update's number, or the reason."""

    incident: str
    kind: NoticeKind
    key: str  # "3", or "response", "update", "review", "undo"
    number: int  # of the update; of a reminder, the how-manieth for this reason
    labels: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)  # annotations as they were when it was told
    due_at: float = 0.0
    fired_at: float = 0.0
    ended_at: float | None = None  # ten minutes after every Alertmanager that can be reached had taken it

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from every other notice."""
        return self.incident, self.kind, self.key, self.number


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an incident's timeline: when, who, what, why. Never changed, never removed."""

    incident: str
    number: int  # 1, 2, 3 ... within the incident
    at: float
    kind: str  # opened, severity, mitigated, relapsed, resolved, reopened, paged, adopted, ack, note, fix ...
    text: str
    by: str = "monitor"


@dataclass(frozen=True, slots=True)
class Step:
    """What a moment made of an incident: the incident as it is now, and what is to be written on its timeline."""

    incident: Incident | None
    events: tuple[tuple[str, str], ...] = ()  # (kind, text)
    update: bool = False  # whether everybody who knows of it is to be told


@dataclass(frozen=True, slots=True)
class Began:
    """When what makes a verdict began, as far as it is known (wall seconds)."""

    started_at: float | None = None  # the first failing sample
    last_good_at: float | None = None  # the last good run before it


UNTOLD = Began()


def advance(
    last: Incident | None,
    verdict: Verdict,
    lifecycle: Lifecycle,
    now: float,
    began: Began = UNTOLD,
    *,
    known: Collection[str] = (),
) -> Step:
    """What this moment makes of a scenario whose newest incident is `last`. `known`: the keys that are taken."""
    if last is None or not last.open:
        return _open(last, verdict, lifecycle, now, began, known=known)
    if verdict.severity is not None:
        return _still_failing(last, verdict, verdict.severity, now)
    if verdict.unknown or last.by_hand:
        return Step(last)
    if last.state is not State.MONITORING:
        mitigated = replace(last, state=State.MONITORING, mitigated_at=now, updated_at=now)
        return Step(mitigated, (("mitigated", "All its rules are clear; watching for a recurrence"),), update=True)
    patience = monitoring_seconds(last, lifecycle)
    over = now - (last.mitigated_at or now) >= patience
    if over and not verdict.ripens_before(now + patience):
        return Step(resolved(last, now), (("resolved", f"Clear for {patience:g} s"),))
    return Step(last)


def resolved(incident: Incident, now: float) -> Incident:
    """The incident, over."""
    return replace(incident, state=State.RESOLVED, resolved_at=now, updated_at=now, parent=None)


def monitoring_seconds(incident: Incident, lifecycle: Lifecycle) -> float:
    """How long it stays in `monitoring`: longer once it has relapsed again and again within an hour."""
    lately = incident.relapsed_at[-RELAPSES_OF_A_FLAPPER:]
    flaps = len(lately) == RELAPSES_OF_A_FLAPPER and lately[-1] - lately[0] < STEADY_SECONDS
    # An hour instead of the usual quarter of one; where the usual is another, in proportion.
    return lifecycle.monitor * 4 if flaps else lifecycle.monitor


def next_change(incident: Incident, lifecycle: Lifecycle) -> float | None:
    """When an incident resolves, if its rules stay clear."""
    if incident.state is not State.MONITORING or incident.mitigated_at is None:
        return None
    return incident.mitigated_at + monitoring_seconds(incident, lifecycle)


def incident_key(scenario: str, started: float, known: Collection[str]) -> str:
    """`redis-20261123-1702`: the scenario and the UTC minute of its start; -2, -3 ... if that one is taken."""
    plain = f"{scenario}-{datetime.fromtimestamp(started, UTC):%Y%m%d-%H%M}"
    numbered = (f"{plain}-{number}" for number in count(2))
    return next(key for key in chain([plain], numbered) if key not in known)


def _open(
    last: Incident | None,
    verdict: Verdict,
    lifecycle: Lifecycle,
    now: float,
    began: Began,
    *,
    known: Collection[str],
) -> Step:
    severity = verdict.severity
    if last is not None and last.overridden is not None:
        if verdict.clear:
            return Step(replace(last, overridden=None))
        if severity is not None and severity >= last.overridden:
            return Step(last)  # a person resolved it as it is
    if severity is None:
        return Step(last)
    because = ", ".join(verdict.because)
    if last and last.resolved_at is not None and now - last.resolved_at < lifecycle.reopen_within:
        reopened = replace(
            last,
            state=State.INVESTIGATING,
            opened_at=now,
            opening=last.opening + 1,
            by_hand=False,
            why=verdict.because,
            flags=verdict.flags,
            links=verdict.links,
            ack=None,
            waived=None,
            overridden=None,
            customer_impact_at=None,
            declared_at=None,
            vendor_since=None,
            identified_at=None,
            mitigated_at=None,
            resolved_at=None,
            updated_at=now,
            false_alarm="",
            reviewed_at=None,
            reviewed_by="",
        ).takes(severity, now)
        return Step(reopened, (("reopened", f"{severity}: {because}"),))
    started = now if began.started_at is None else min(began.started_at, now)
    incident = Incident(
        incident_key(verdict.scenario, started, {*known, last.key} if last else known),
        verdict.scenario,
        State.INVESTIGATING,
        severity,
        severity,
        started,
        now,
        why=verdict.because,
        flags=verdict.flags,
        links=verdict.links,
        detected_at=now,
        last_good_at=began.last_good_at,
        updated_at=now,
    ).takes(severity, now)
    return Step(incident, (("opened", f"{severity}: {because}"),))


def _still_failing(last: Incident, verdict: Verdict, severity: Severity, now: float) -> Step:
    incident, events, update = replace(last, why=verdict.because), [], False
    because = ", ".join(verdict.because)
    if last.state is State.MONITORING:
        back = State.INVESTIGATING if last.identified_at is None else State.IDENTIFIED
        relapsed_at = (*last.relapsed_at, now)
        incident = replace(incident, state=back, mitigated_at=None, relapsed_at=relapsed_at, updated_at=now)
        events.append(("relapsed", f"{severity}: {because}"))
        update = True
    if last.by_hand and not last.why:
        events.append(("joined", f"A probe fails too: {because}"))
    if severity < last.severity and (last.waived is None or severity < last.waived):
        flags = tuple(dict.fromkeys((*last.flags, *verdict.flags)))
        incident = replace(incident, flags=flags, links=verdict.links or last.links, waived=None, updated_at=now)
        incident = incident.takes(severity, now)
        events.append(("severity", f"{last.severity} to {severity}: {because}"))
        update = True
    return Step(incident, tuple(events), update)


def shift(incident: Incident, seconds: float) -> Incident:
    """The same incident by a wall clock that was set forward by so many seconds (back, if negative)."""
    moved: dict[str, object] = {}
    for each in fields(incident):
        value = getattr(incident, each.name)
        if each.name.endswith(("_at", "_since")) and isinstance(value, int | float):
            moved[each.name] = value + seconds
    taken = tuple(replace(each, at=each.at + seconds) for each in incident.taken)
    acks = [replace(ack, at=ack.at + seconds) if ack else None for ack in (incident.ack, incident.first_ack)]
    relapsed_at = tuple(at + seconds for at in incident.relapsed_at)
    return replace(incident, **moved, taken=taken, ack=acks[0], first_ack=acks[1], relapsed_at=relapsed_at)  # type: ignore[arg-type]


def shift_page(page: Page, seconds: float) -> Page:
    """The same page by a wall clock that was set forward by so many seconds. Its labels stay."""
    return replace(
        page,
        due_at=page.due_at + seconds,
        fired_at=page.fired_at + seconds,
        ended_at=None if page.ended_at is None else page.ended_at + seconds,
        fell_back_at=None if page.fell_back_at is None else page.fell_back_at + seconds,
        delivered_at=None if page.delivered_at is None else page.delivered_at + seconds,
    )


def shift_notice(notice: Notice, seconds: float) -> Notice:
    """The same notice by a wall clock that was set forward by so many seconds."""
    return replace(
        notice,
        due_at=notice.due_at + seconds,
        fired_at=notice.fired_at + seconds,
        ended_at=None if notice.ended_at is None else notice.ended_at + seconds,
    )
