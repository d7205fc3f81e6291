"""What a silence in Alertmanager means: on a page to those on call it is an answer; what it covers is not delivered.

It holds nothing back here: the runbook's clocks run on until the incident is resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from monitor.alerting.alertmanager import SKEW_TOLERATED_SECONDS, Held, Silence
from monitor.alerting.ledger import fingerprint
from monitor.core.action import Acknowledge
from monitor.core.incident import Incident, Page
from monitor.core.snapshot import Silenced

ON_CALL = "L1"


@dataclass(frozen=True, slots=True)
class Answer:
    """Somebody has seen an incident, and said so by a silence."""

    incident: str
    by: str
    action: Acknowledge


def answers(incidents: Iterable[Incident], pages: Iterable[Page], held: Iterable[Held]) -> list[Answer]:
    """The incidents that a silence acknowledges now, each by the first of them.

    Only one that was set, or changed, after the page was fired: what was there before it has seen nothing.
    """
    silences = _by_page(pages, held)
    found = []
    for incident in incidents:
        if not incident.open or incident.acknowledged:
            continue
        fresh = [
            silence
            for page, on_page in silences
            if (page.incident, page.opening, page.escalation_level) == (incident.key, incident.opening, ON_CALL)
            and page.severity <= incident.severity
            for silence in on_page
            if silence.id not in incident.silences and silence.updated_at >= page.fired_at - SKEW_TOLERATED_SECONDS
        ]
        if fresh:
            first = min(fresh, key=lambda silence: (silence.updated_at, silence.id))
            said = f"a silence in Alertmanager: {first.comment}" if first.comment else "a silence in Alertmanager"
            action = Acknowledge(said, opening=incident.opening, silence=first.id)
            found.append(Answer(incident.key, _creator(first), action))
    return found


def silenced(pages: Iterable[Page], held: Iterable[Held]) -> dict[tuple[object, ...], Silenced]:
    """The open pages that are not delivered, by their identity: by whose silence, and until when at the latest."""
    found = {}
    for page, on_page in _by_page(pages, held):
        if on_page:
            last = max(on_page, key=lambda silence: (silence.ends_at, silence.id))
            found[page.identity] = Silenced(_creator(last), last.ends_at, last.comment)
    return found


def _by_page(pages: Iterable[Page], held: Iterable[Held]) -> list[tuple[Page, tuple[Silence, ...]]]:
    known: Mapping[object, Held] = {one.fingerprint: one for one in held}
    alerts = [(page, known.get(fingerprint(page.labels))) for page in pages if page.ended_at is None]
    return [(page, alert.silences) for page, alert in alerts if alert is not None]


def _creator(silence: Silence) -> str:
    return silence.created_by or "somebody, by a silence"
