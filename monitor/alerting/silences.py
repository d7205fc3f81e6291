"""What a silence in Alertmanager means: on a page to those on call it is an answer; what it covers is not delivered.

It holds nothing back here: the runbook's clocks run on until the incident is resolved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from monitor.alerting.alertmanager import SKEW_TOLERATED_SECONDS, Held, Silence
from monitor.alerting.ledger import fingerprint
from monitor.core.action import Acknowledge
from monitor.core.incident import Incident, Page
from monitor.core.request import LONGEST_NAME
from monitor.core.snapshot import Silenced
from monitor.core.words import clean

ON_CALL = "L1"
LONGEST_COMMENT = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """Somebody has seen an incident, and said so by a silence."""

    incident: str
    by: str
    action: Acknowledge


def answers(
    incidents: Iterable[Incident], pages: Iterable[Page], held: Iterable[Held], secrets: Collection[str] = ()
) -> list[Answer]:
    """The incidents that a silence acknowledges now, each by the first of them.

    Only one that was set, or changed, after the page was fired: what was there before it has seen nothing. What people
    wrote into it is kept on the timeline, so it is made safe first; `secrets` are scrubbed from it.
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
            comment = _line(first.comment, LONGEST_COMMENT, secrets)
            said = f"a silence in Alertmanager: {comment}" if comment else "a silence in Alertmanager"
            action = Acknowledge(said, opening=incident.opening, silence=first.id)
            found.append(Answer(incident.key, _creator(first, secrets), action))
    return found


def silenced(
    pages: Iterable[Page], held: Iterable[Held], secrets: Collection[str] = ()
) -> dict[tuple[object, ...], Silenced]:
    """The open pages that are not delivered, by their identity: by whose silence, and until when at the latest."""
    found = {}
    for page, on_page in _by_page(pages, held):
        if on_page:
            last = max(on_page, key=lambda silence: (silence.ends_at, silence.id))
            comment = _line(last.comment, LONGEST_COMMENT, secrets)
            found[page.identity] = Silenced(_creator(last, secrets), last.ends_at, comment)
    return found


def _by_page(pages: Iterable[Page], held: Iterable[Held]) -> list[tuple[Page, tuple[Silence, ...]]]:
    known: Mapping[object, Held] = {one.fingerprint: one for one in held}
    alerts = [(page, known.get(fingerprint(page.labels))) for page in pages if page.ended_at is None]
    return [(page, alert.silences) for page, alert in alerts if alert is not None]


def _creator(silence: Silence, secrets: Collection[str]) -> str:
    return _line(silence.created_by, LONGEST_NAME, secrets) or "somebody, by a silence"


def _line(text: str, longest: int, secrets: Collection[str]) -> str:
    line = " ".join(clean(text, secrets).split())
    return line if len(line) <= longest else f"{line[:longest]}…"
