"""Pages as alerts: constant labels, annotations from the facts. No number ever stands in a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr

from monitor.alerting import links
from monitor.core import escalation
from monitor.core.config import Config
from monitor.core.incident import Incident, Notice, NoticeKind, Page
from monitor.core.probe import Value
from monitor.core.runbook import Level, Runbook, Scenario
from monitor.core.snapshot import ProbeView
from monitor.core.wording import fill
from monitor.core.words import advice, quantity


def page_labels(scenario: Scenario, incident: Incident, page: Page, extra: Mapping[str, str]) -> dict[str, str]:
    """The complete labels of a page; they are stored with it and never change."""
    declared = scenario.declared if incident.declared_at is not None else None
    return {
        **extra,
        "alertname": scenario.alertname,
        "scenario": scenario.name,
        "incident": page.incident,
        "severity": str(page.severity),
        "escalation_level": page.escalation_level,
        "vendor": page.vendor,
        "attempt": str(page.attempt),
        "audience": (declared.audience if declared else None) or "oncall",
        "kind": "page",
        "source": "push",
    }


def notice_labels(
    scenario: Scenario | None, incident: Incident, notice: Notice, extra: Mapping[str, str]
) -> dict[str, str]:
    """The complete labels of a status update (`update="3"`) or a reminder (`reason="review"`)."""
    of = "update" if notice.kind is NoticeKind.UPDATE else "reason"
    return {
        **extra,
        "alertname": scenario.alertname if scenario else "Other",
        "scenario": incident.scenario,
        "incident": incident.key,
        "severity": str(incident.severity),
        "kind": notice.kind.value,
        of: notice.key,
        "source": "push",
    }


@dataclass(frozen=True, slots=True)
class Facts:
    """What the words of a page are made from, at one moment (`now`, wall seconds)."""

    runbook: Runbook
    probes: Mapping[str, ProbeView]
    config: Config
    now: float
    pages: Sequence[Page] = ()  # of any incident
    store_error: str = ""
    recorded: bool = False  # a way to acknowledge is in use
    link_secret: SecretStr | None = None  # what acknowledge links are signed with

    def pages_of(self, incident: Incident) -> list[Page]:
        """Those of this opening, oldest first."""
        ours = [page for page in self.pages if page.incident == incident.key and page.opening == incident.opening]
        return sorted(ours, key=lambda page: (page.fired_at, page.escalation_level))


def page_words(incident: Incident, facts: Facts) -> dict[str, str]:
    """The words of an incident's pages, the same on all of them."""
    scenario = facts.runbook.scenarios.get(incident.scenario)
    title = scenario.title if scenario else incident.scenario
    url = facts.config.web.external_url
    words = {
        "title": f"[{incident.severity}] {title}",
        "summary": f"{title} ({incident.key})",
        "status_update": status_update(incident, facts),
        "severity_now": str(incident.severity),
        "diagnosis": diagnosis(incident, facts),
        "console_url": f"{url}/incidents/{incident.key}" if url else "",
        "ack_url": links.make(facts.link_secret, url, incident) if url and facts.link_secret and incident.open else "",
        "runbook_url": next((link for link in scenario.links if "://" in link), "") if scenario else "",
    }
    return {name: text for name, text in words.items() if text}


def notice_words(incident: Incident, notice: Notice, facts: Facts) -> dict[str, str]:
    """The words of an update or a reminder, as they are at this moment; they are kept with it."""
    words = page_words(incident, facts)
    if notice.kind is NoticeKind.UPDATE:
        return words
    return {**words, "summary": reminder(incident, notice, facts)}


def reminder(incident: Incident, notice: Notice, facts: Facts) -> str:
    """What is to be done, by whom, and since when it is due."""
    scenario = facts.runbook.scenarios.get(incident.scenario)
    due = utc(notice.due_at)
    if notice.key == "response":
        return f"{incident.key}: nobody has acknowledged it; a response was due {due}"
    if notice.key == "update":
        return f"{incident.key}: a status update was due {due}"
    if notice.key == "undo":
        steps = "; ".join(step.do for step in scenario.steps if step.remind) if scenario else ""
        return f"{incident.key} is resolved. Was any of this done for a time? Then undo it: {steps}"
    review = escalation.review_due(facts.runbook, facts.config.calendar, incident)
    return f"{incident.key}: the post-incident review is due {utc(review or notice.due_at)}"


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
    """The scenario's impact with its live values; never invented."""
    return fill(scenario.impact, facts.probes) if scenario.impact else "Under assessment"


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
    if view.level is not Level.OK and (said := advice(view)):
        lines.append(f"  {said}")
    if result is not None:
        limits = dict.fromkeys(condition.name for condition in (*view.config.fail, *view.config.warn))
        lines += [
            f"  {name}: {_number(name, result.measurements[name])}" for name in limits if name in result.measurements
        ]
        lines += [f"  {name}: {'ok' if good else 'fail'}" for name, good in result.checks.items()]
    return lines


def _number(name: str, value: Value) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{part or 'all'} {quantity(name, number)}" for part, number in value.items())
    return quantity(name, value)
