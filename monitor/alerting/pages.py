"""Pages as alerts: constant labels, annotations from the facts. No number ever stands in a label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from monitor.core.incident import Incident, Page
from monitor.core.probe import Value
from monitor.core.runbook import Level, Runbook, Scenario
from monitor.core.snapshot import ProbeView

_ENVIRONMENT = ImmutableSandboxedEnvironment(autoescape=False)  # plain text: it goes to chat, mail and pagers


def page_labels(scenario: Scenario, page: Page, extra: Mapping[str, str]) -> dict[str, str]:
    """The complete labels of a page; they are stored with it and never change."""
    return {
        **extra,
        "alertname": scenario.alertname,
        "scenario": scenario.name,
        "incident": page.incident,
        "severity": str(page.severity),
        "escalation_level": page.escalation_level,
        "vendor": page.vendor,
        "attempt": str(page.attempt),
        "audience": "oncall",
        "kind": "page",
        "source": "push",
    }


@dataclass(frozen=True, slots=True)
class Facts:
    """What the words of a page are made from: the runbook, the probes now, and the address of the console."""

    runbook: Runbook
    probes: Mapping[str, ProbeView]
    external_url: str
    store_error: str = ""


def page_words(incident: Incident, facts: Facts) -> dict[str, str]:
    """The words of an incident's pages, the same on all of them."""
    scenario = facts.runbook.scenarios.get(incident.scenario)
    title = scenario.title if scenario else incident.scenario
    words = {
        "title": f"[{incident.severity}] {title}",
        "summary": f"{title} ({incident.key})",
        "status_update": status_update(incident, facts),
        "severity_now": str(incident.severity),
        "diagnosis": diagnosis(incident, facts),
        "console_url": f"{facts.external_url}/incidents/{incident.key}" if facts.external_url else "",
        "runbook_url": next((link for link in scenario.links if "://" in link), "") if scenario else "",
    }
    return {name: text for name, text in words.items() if text}


def status_update(incident: Incident, facts: Facts) -> str:
    """The runbook's internal status update, in its fields."""
    scenario = facts.runbook.scenarios.get(incident.scenario)
    row = facts.runbook.severities[incident.severity]
    changed = max(at for at in (incident.opened_at, incident.mitigated_at, incident.resolved_at) if at is not None)
    level = facts.runbook.escalation.get("L1")
    lines = [
        f"INCIDENT UPDATE - {incident.severity} - {scenario.title if scenario else incident.scenario}",
        "",
        f"Status: {incident.state.value.capitalize()}",
        f"Impact: {impact(scenario, facts) if scenario else 'Under assessment'}",
        f"Started: {utc(incident.started_at)}",
        f"Last Update: {utc(changed)}",
        "",
        "Current Actions:",
        f"- {level.to if level else 'On-call'} paged {utc(incident.opened_at)}",
        "",
        f"Next Update: {utc(changed + row.update_every)}",
    ]
    if facts.store_error:
        lines.append(f"Note: the monitor cannot save what it knows: {facts.store_error}")
    return "\n".join(lines)


def impact(scenario: Scenario, facts: Facts) -> str:
    """The scenario's impact with its live values; `Under assessment` where one is not known. Never invented."""
    if not scenario.impact:
        return "Under assessment"
    try:
        return _ENVIRONMENT.from_string(scenario.impact).render(probe=_Probes(facts.probes))
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        return f"Under assessment (the wording of {scenario.name} cannot be rendered: {type(error).__name__})"


def diagnosis(incident: Incident, facts: Facts) -> str:
    """The diagnosis already run: every probe of the scenario with its level, reason, advice and numbers."""
    scenario = facts.runbook.scenarios.get(incident.scenario)
    if scenario is None:
        return ""
    names = dict.fromkeys(term.name for rule in scenario.rules for term in rule.terms if term.kind == "probe")
    lines = [line for name in names if name in facts.probes for line in _finding(facts.probes[name])]
    lines += [f"Step {number}. {step.do}" for number, step in enumerate(scenario.steps, 1)]
    return "\n".join(lines)


def utc(at: float) -> str:
    """`2026-11-23 17:02:10 UTC`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _finding(view: ProbeView) -> list[str]:
    result = view.result
    head = f"{view.config.name}: {view.level.value}"
    if view.reason:
        head += f", {view.reason}"
    if result is not None and result.detail:
        head += f" ({result.detail})"
    lines = [head]
    if view.level in {Level.FAIL, Level.WARN} and view.reason in view.config.type.reasons:
        lines.append(f"  {view.config.type.reasons[view.reason].advice}")
    if result is not None:
        limits = [condition.name for condition in (*view.config.fail, *view.config.warn)]
        numbers = {name: result.measurements[name] for name in dict.fromkeys(limits) if name in result.measurements}
        lines += [f"  {name} = {readable(name, value)}" for name, value in numbers.items()]
        lines += [f"  {name}: {'ok' if good else 'fail'}" for name, good in result.checks.items()]
    return lines


def readable(name: str, value: Value) -> str:
    """A number as people read it, by the unit in its name: `1.25 s`, `83.1 %`, `512.0 MiB`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{part or 'all'} {readable(name, number)}" for part, number in value.items())
    if name.endswith("_seconds"):
        return f"{value * 1000:.0f} ms" if abs(value) < 1 else f"{value:,.1f} s"
    if name.endswith("_ratio"):
        return f"{value:.1%}".replace("%", " %")
    if name.endswith("_bytes"):
        return f"{value / 2**20:,.1f} MiB"
    return f"{value:,.3g}" if value % 1 else f"{value:,.0f}"


class _Number(float):
    """A measurement in a text: printed as people read it, still a number to compare."""

    name: str

    def __new__(cls, name: str, value: float) -> Self:
        number = super().__new__(cls, value)
        number.name = name
        return number

    def __str__(self) -> str:
        return readable(self.name, float(self))


class _Measured:
    """`probe["latency"]` in a text; what was not measured reads `unknown`."""

    def __init__(self, view: ProbeView | None) -> None:
        self._values = view.result.measurements if view is not None and view.result is not None else {}

    def __getitem__(self, name: str) -> object:
        return self._read(name)

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._read(name)

    def _read(self, name: str) -> object:
        value = self._values.get(name)
        if isinstance(value, Mapping):
            return _Number(name, value[""]) if "" in value else {part: _Number(name, n) for part, n in value.items()}
        return "unknown" if value is None else _Number(name, value)


class _Probes:
    """`probe` in a text."""

    def __init__(self, views: Mapping[str, ProbeView]) -> None:
        self._views = views

    def __getitem__(self, name: str) -> _Measured:
        return _Measured(self._views.get(name))
