"""The state of everything in one sentence, and an incident's title and impact in the runbook's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from monitor.core.config import ProbeConfig
from monitor.core.incident import Incident
from monitor.core.runbook import Level
from monitor.core.snapshot import Snapshot
from monitor.core.wording import fill, fill_later

Tone = Literal["fail", "warn", "unknown", "ok"]


@dataclass(frozen=True, slots=True)
class State:
    """The state of everything: how bad, in one sentence, and what else there is to say."""

    tone: Tone
    sentence: str
    more: str = ""
    since: float | None = None


def overall(snapshot: Snapshot) -> State:
    """The state of everything. Incidents come before levels, and what cannot be judged is never called well."""
    more = " ".join(_about_the_monitor(snapshot))
    roots = [incident for incident in snapshot.incidents if incident.open and not incident.parent]
    symptoms = sum(incident.open for incident in snapshot.incidents) - len(roots)
    if roots:
        worst = min(roots, key=lambda incident: incident.severity)
        others = [f"{len(roots) - 1} more open"] * (len(roots) > 1)
        follow = [f"{symptoms} {_plural(symptoms, 'symptom')}"] * bool(symptoms)
        tail = f" ({', '.join(others + follow)})" if others + follow else ""
        tone: Tone = "fail" if worst.severity <= 2 else "warn"
        return State(tone, f"{worst.severity}: {title(worst, snapshot)}{tail}.", more, worst.started_at)
    return _by_levels(snapshot, more)


def _by_levels(snapshot: Snapshot, more: str) -> State:
    views = [view for view in snapshot.probes.values() if view.config.enabled]
    names = {level: [view.config.name for view in views if view.level is level] for level in Level}
    clauses = [
        f"{_some(names[level])} {_plural(len(names[level]), one, many)}"
        for level, one, many in (
            (Level.FAIL, "fails", "fail"),
            (Level.UNKNOWN, "cannot be judged", "cannot be judged"),
            (Level.WARN, "is near a limit", "are near a limit"),
        )
        if names[level]
    ]
    if not views:
        return State("unknown", "Nothing is watched: no probe is enabled.", more)
    if all(view.result is None for view in views):
        return State("unknown", f"Just started: none of {len(views)} {_plural(len(views), 'probe')} has run yet.", more)
    if clauses:
        tone: Tone = "fail" if names[Level.FAIL] else "unknown" if names[Level.UNKNOWN] else "warn"
        return State(tone, f"No incident is open, but {'; '.join(clauses)}.", more)
    return State("ok", f"All is well: {len(views)} {_plural(len(views), 'probe is', 'probes are')} ok.", more)


def _about_the_monitor(snapshot: Snapshot) -> Iterable[str]:
    monitor = snapshot.monitor
    if monitor.store_error:
        yield f"The monitor cannot save what happens: {monitor.store_error}."
    if not monitor.ticking:
        yield "The monitor is not ready: its scheduler does not run on time."
    if not monitor.reload_ok:
        yield "The last reload failed; the configuration before it is still in force."


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} probes"


def _plural(count: int, one: str, many: str = "") -> str:
    return one if count == 1 else many or f"{one}s"


_SYSTEMS_BY_WORD: Mapping[str, str] = {
    "redis": "Redis", "queues": "Redis", "postgres": "PostgreSQL", "db": "PostgreSQL", "salesforce": "Salesforce",
    "sf": "Salesforce", "whmcs": "WHMCS", "freebit": "Freebit", "bff": "BFF", "portal": "Portal",
}  # fmt: skip
_SYSTEMS_BY_TYPE: Mapping[str, str] = {
    "redis": "Redis", "bullmq": "Redis", "postgres": "PostgreSQL", "salesforce": "Salesforce", "replay": "Salesforce",
    "whmcs": "WHMCS", "freebit": "Freebit", "sftp": "Freebit", "process": "BFF", "settings": "BFF", "log": "BFF",
    "http": "Portal", "tcp": "Network",
}  # fmt: skip


def system_of(config: ProbeConfig) -> str:
    """Which system a probe speaks of: its label `system`, else what its name begins with, else what its type watches."""
    word = config.name.partition("-")[0].lower()
    known = _SYSTEMS_BY_WORD.get(word) or _SYSTEMS_BY_TYPE.get(config.type.name, "Other")
    return config.labels.get("system") or known


def title(incident: Incident, snapshot: Snapshot) -> str:
    """The scenario's title, or its name where the runbook no longer has it."""
    scenario = snapshot.runbook.scenarios.get(incident.scenario)
    return _filled(scenario.title, incident, snapshot) if scenario else incident.scenario


def impact(incident: Incident, snapshot: Snapshot) -> str:
    """What customers feel: in a person's words, else in the runbook's; empty where it has none."""
    if incident.impact:
        return incident.impact
    scenario = snapshot.runbook.scenarios.get(incident.scenario)
    return _filled(scenario.impact, incident, snapshot) if scenario else ""


def _filled(template: str, incident: Incident, snapshot: Snapshot) -> str:
    return fill(template, snapshot.probes) if incident.open else fill_later(template)
