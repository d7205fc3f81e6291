"""What the console shows of incidents: a card of each with what must be done, and the maintenance that is on or planned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monitor.alerting.diagnosis import shown
from monitor.alerting.facts import Facts
from monitor.core.explanation import Deadlines, deadlines, pages_of
from monitor.core.incident import Event, Incident, Page
from monitor.core.quantity import format_duration
from monitor.core.runbook import Step
from monitor.core.snapshot import Snapshot
from monitor.core.wording import fill
from monitor.core.words import advice
from monitor.web.rows import gauges_of, rank
from monitor.web.words import impact, title

PLANNED_SECONDS = 7 * 86400.0  # how far ahead planned maintenance is shown


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the runbook; without an address it is shown as text."""

    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of the playbook, and what it looks at as it is now."""

    do: str
    value: str = ""
    level: str = ""
    remind: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A probe that the incident's scenario speaks of, as it is now."""

    probe: str
    level: str
    said: str


@dataclass(frozen=True, slots=True)
class WindowRow:
    """Maintenance that is on, or planned."""

    of: tuple[str, ...]
    starts_at: float
    ends_at: float
    reason: str
    by: str
    on: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One incident."""

    incident: Incident
    title: str
    impact: str
    service: str
    severity_name: str
    respond: str
    parent: str
    why: tuple[tuple[str, str], ...]  # a term of the rule and the probe it speaks of, if there is one
    pages: tuple[Page, ...]
    steps: tuple[StepRow, ...]
    diagnosis: tuple[str, ...]
    links: tuple[Link, ...]
    flags: tuple[str, ...]  # what must not be overlooked
    deadlines: Deadlines
    findings: tuple[Finding, ...]
    declares: str  # what a person may declare of it; "" if nothing (any more)


@dataclass(frozen=True, slots=True)
class Message:
    """Something that can be said of an incident, ready to paste; without a text, why there is none."""

    id: str
    title: str
    text: str | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """One incident with its whole history: pages and events are its own. `trouble`: why the events are missing."""

    incident: Incident
    pages: tuple[Page, ...]
    events: tuple[Event, ...] = ()
    messages: tuple[Message, ...] = ()
    trouble: str = ""


def cards(snapshot: Snapshot) -> tuple[tuple[Card, ...], tuple[Card, ...]]:
    """Open incidents, causes before their symptoms and the worse before the better; and those resolved lately."""
    cards = [card_of(incident, snapshot) for incident in snapshot.incidents]
    opened = sorted(
        (card for card in cards if card.incident.open),
        key=lambda card: (card.incident.parent is not None, card.incident.severity, card.incident.opened_at),
    )
    return tuple(opened), tuple(card for card in cards if not card.incident.open)


def scenarios(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """What a person can report: those of which no incident is open."""
    busy = {incident.scenario for incident in snapshot.incidents if incident.open}
    book = snapshot.runbook.scenarios
    return tuple((name, fill(book[name].title, snapshot.probes)) for name in book if name not in busy)


def card_of(incident: Incident, snapshot: Snapshot, pages: Sequence[Page] | None = None) -> Card:
    """One incident as the console shows it; `pages` are its own, where the snapshot does not hold them."""
    scenario = snapshot.runbook.scenarios.get(incident.scenario)
    severity = snapshot.runbook.severities.get(incident.severity)
    parent = snapshot.runbook.scenarios.get(incident.parent or "")
    told = pages_of(incident, snapshot) if pages is None else pages
    declared = scenario.declared if scenario and incident.declared_at is None else None
    facts = facts_of(snapshot, told)
    return Card(
        incident=incident,
        title=title(incident, snapshot),
        impact=impact(incident, snapshot),
        service=scenario.service if scenario else "",
        severity_name=severity.name if severity else "",
        respond=format_duration(severity.respond) if severity else "",
        parent=fill(parent.title, snapshot.probes) if parent else incident.parent or "",
        why=tuple((term, _probe_of(term, snapshot)) for term in incident.why),
        pages=tuple(told),
        steps=tuple(_step(step, snapshot, facts) for step in scenario.steps) if scenario else (),
        diagnosis=tuple(fill(line, snapshot.probes) for line in scenario.diagnosis) if scenario else (),
        links=tuple(map(_link, facts.links(incident))),
        flags=tuple(facts.flags(incident)),
        deadlines=deadlines(incident, told, snapshot),
        findings=tuple(_findings(incident, snapshot)) if incident.open else (),
        declares=incident.scenario if declared else "",
    )


def _step(step: Step, snapshot: Snapshot, facts: Facts) -> StepRow:
    """A step with the live value of what it looks at."""
    view = snapshot.probes.get((step.show or "").partition(".")[0])
    level = str(view.level) if view and view.config.enabled else ""
    return StepRow(fill(step.do, snapshot.probes), shown(step, facts), level, step.remind)


def _findings(incident: Incident, snapshot: Snapshot) -> Iterator[Finding]:
    """Every probe of the scenario that is not ok, and those that are, in few words."""
    scenario = snapshot.runbook.scenarios.get(incident.scenario)
    terms = [term for rule in scenario.rules for term in rule.terms if term.kind == "probe"] if scenario else []
    names = dict.fromkeys([*(_probe_of(term, snapshot) for term in incident.why), *(term.name for term in terms)])
    views = [
        snapshot.probes[name] for name in names if name in snapshot.probes and snapshot.probes[name].config.enabled
    ]
    for view in sorted(views, key=rank):
        worst = next(iter(gauges_of(view)), None)
        said = advice(view) or (f"{worst.name} {worst.value}" if worst else "")
        yield Finding(view.config.name, str(view.level), said)


def facts_of(snapshot: Snapshot, pages: Sequence[Page]) -> Facts:
    """What the texts of an incident are made from; `pages` are its own."""
    return Facts(
        snapshot.runbook,
        snapshot.probes,
        snapshot.config,
        snapshot.at,
        pages,
        snapshot.monitor.store_error,
        recorded=snapshot.recorded,
    )


def windows(snapshot: Snapshot) -> Iterator[WindowRow]:
    """Maintenance that is on, and what is planned next."""
    for window in snapshot.windows:
        yield WindowRow(window.of, window.starts_at, window.ends_at, window.reason, window.by, on=True)
    for plan in snapshot.config.maintenance:
        window_ = plan.next_window(snapshot.at)
        if window_ is not None and window_.starts_at - snapshot.at < PLANNED_SECONDS:
            yield WindowRow(window_.of, window_.starts_at, window_.ends_at, window_.reason, window_.by, on=False)


def _probe_of(term: str, snapshot: Snapshot) -> str:
    name = term.partition("@")[0].partition("/")[0]
    return name if name in snapshot.probes else ""


def _link(text: str) -> Link:
    return Link(text, text if text.startswith(("https://", "http://")) else "")
