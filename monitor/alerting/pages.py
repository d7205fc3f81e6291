"""Pages as alerts: constant labels, annotations from the facts. No number ever stands in a label."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from monitor.alerting import links
from monitor.alerting.diagnosis import diagnosis
from monitor.alerting.facts import Facts
from monitor.alerting.ledger import PAGE_LEASE_SECONDS, RESOLVE_SECONDS
from monitor.alerting.messages import reminder, status_update, vendor_report
from monitor.core.incident import Incident, Notice, NoticeKind, Page
from monitor.core.runbook import Scenario

log = structlog.get_logger()

__all__ = ["Facts", "notice_labels", "notice_words", "page_labels", "page_words", "still_told", "vendor_words"]


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


def still_told(ended_at: float | None, now: float, up_seconds: float) -> bool:
    """Whether Alertmanager is to be told of what ended then (wall times; None: it has not).

    For a quarter of an hour after its end. For that long after a start, also of what ended while a lease given before
    may still run: it may have ended while no daemon ran, or no Alertmanager, and what was owed then is forgotten.
    """
    if ended_at is None:
        return True
    return now - ended_at < (PAGE_LEASE_SECONDS if up_seconds < RESOLVE_SECONDS else RESOLVE_SECONDS)


def page_words(incident: Incident, facts: Facts) -> dict[str, str]:
    """The words of an incident's pages, the same on all of them.

    Whatever is wrong with a word: the page goes out with those that need nothing, and no other page waits for it.
    """
    try:
        return _page_words(incident, facts)
    except Exception:
        log.exception("page_words_failed", incident=incident.key)
        title = f"[{incident.severity}] {incident.scenario}"
        return {"title": title, "summary": f"{title} ({incident.key})", "severity_now": str(incident.severity)}


def _page_words(incident: Incident, facts: Facts) -> dict[str, str]:
    title = facts.title(incident)
    url = facts.config.web.external_url
    words = {
        "title": f"[{incident.severity}] {title}",
        "summary": f"{title} ({incident.key})",
        "status_update": status_update(incident, facts),
        "severity_now": str(incident.severity),
        "diagnosis": diagnosis(incident, facts),
        "console_url": f"{url}/incidents/{incident.key}" if url else "",
        "runbook_url": next((link for link in facts.links(incident) if "://" in link), ""),
        "ack_url": links.make(facts.link_secret, url, incident) if url and facts.link_secret and incident.open else "",
    }
    return {name: text for name, text in words.items() if text}


def vendor_words(page: Page, incident: Incident, facts: Facts) -> dict[str, str]:
    """What a page to a vendor says beside that: the report; nothing on any other page."""
    if page.vendor == "none":
        return {}
    try:
        report = vendor_report(incident, page.vendor, facts)
    except Exception:  # as above
        log.exception("vendor_report_failed", incident=incident.key)
        report = ""
    return {"vendor_report": report} if report else {}


def notice_words(incident: Incident, notice: Notice, facts: Facts) -> dict[str, str]:
    """The words of an update or a reminder, as they are at this moment; they are kept with it."""
    words = page_words(incident, facts)
    if notice.kind is NoticeKind.UPDATE:
        return words
    return {**words, "summary": reminder(incident, notice, facts)}
