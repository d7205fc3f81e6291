"""What every text is made from, at one moment, and how times, people's words and lengths stand in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr

from monitor.core.calendar import Calendar
from monitor.core.config import Config
from monitor.core.incident import Incident, Page
from monitor.core.runbook import Runbook, Scenario
from monitor.core.snapshot import ProbeView
from monitor.core.wording import fill, fill_later
from monitor.core.words import clean

LONGEST_BYTES = 4096
"""Of one annotation: receivers break first."""

LONGEST_SAID = 500
"""Characters of what a person wrote, where it stands among other things."""

WITHHELD = "withheld"
"""What stands in the place of the details of an incident whose scenario redacts them."""

SETTINGS = "settings"  # the probe type that shows the portal's environment


@dataclass(frozen=True, slots=True)
class Facts:
    """What words are made from, at one moment (`now`, wall seconds)."""

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

    def scenario(self, incident: Incident) -> Scenario | None:
        """None where the runbook no longer has it."""
        return self.runbook.scenarios.get(incident.scenario)

    def title(self, incident: Incident) -> str:
        """The scenario's title, or its name."""
        scenario = self.scenario(incident)
        return self.filled(scenario.title, incident) if scenario else incident.scenario

    def filled(self, template: str, incident: Incident) -> str:
        """A text of the runbook with live values; about an incident that is over, without today's."""
        return fill(template, self.probes) if incident.open else fill_later(template)

    def redacted(self, incident: Incident) -> bool:
        """Whether texts must be free of details: it was declared as something of which they are withheld.

        Once declared, it stays so, also through a reopening, which `evidence` outlives.
        """
        scenario = self.scenario(incident)
        declared = scenario.declared if scenario else None
        return bool(declared and declared.redact and (incident.declared_at is not None or incident.evidence))

    def said(self, text: str, longest: int = LONGEST_SAID) -> str:
        """What a person wrote: one line, without secrets, calling nobody's channel, not endless."""
        line = " ".join(clean(text, self.config.secrets).split()).replace("<!", "< !").replace("<@", "< @")
        return line if len(line) <= longest else f"{line[:longest]}…"

    def local(self, at: float) -> str:
        """`2026-11-23 17:32:10 UTC (Tue 02:32 JST)`: as people there read it too, where that is not UTC."""
        there = self.config.calendar.local(at)
        return utc(at) if not there.utcoffset() else f"{utc(at)} ({there:%a %H:%M} {_zone(self.config.calendar, at)})"

    def setting(self, name: str) -> str | None:
        """What the portal's environment has under this name, as far as it is visible from here."""
        for view in self.probes.values():
            if view.config.type.name == SETTINGS and view.result is not None and name in view.result.details:
                return view.result.details[name]
        return None

    def flags(self, incident: Incident) -> list[str]:
        """What must not be overlooked: `data_loss`, `security_exposure: AUTH_BLACKLIST_FAIL_CLOSED=false`."""
        scenario, found = self.scenario(incident), list(incident.flags)
        if scenario is not None and scenario.notes is not None:
            for name, value in scenario.notes.if_env.items():
                if (held := self.setting(name)) is not None and held.strip().lower() == value.strip().lower():
                    found.append(f"{scenario.notes.flag}: {name}={value}")
        return found

    def links(self, incident: Incident) -> list[str]:
        """What to read: by the rules that hold, then by the scenario."""
        scenario = self.scenario(incident)
        return list(dict.fromkeys((*incident.links, *(scenario.links if scenario else ()))))


def utc(at: float) -> str:
    """`2026-11-23 17:02:10 UTC`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(at: float, beside: float) -> str:
    """`17:02:10 UTC`, beside a time of the same day; else with its date."""
    moment = datetime.fromtimestamp(at, UTC)
    if moment.date() != datetime.fromtimestamp(beside, UTC).date():
        return utc(at)
    return f"{moment:%H:%M:%S} UTC"


def capped(text: str, longest_bytes: int = LONGEST_BYTES) -> str:
    """The text, cut after a line where it has more bytes than that; and it says so."""
    text = text.encode("utf-8", "replace").decode()  # half a character, out of a log or a file, is none
    if len(text.encode()) <= longest_bytes:
        return text
    end = "\n… (cut)"
    room = longest_bytes - len(end.encode())
    cut = text.encode()[:room].decode(errors="ignore")
    head = cut.rpartition("\n")[0]
    return (head if len(head.encode()) > room // 2 else cut) + end


def in_words(seconds: float) -> str:
    """`30 minutes`, `1 hour`: for customers."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{seconds:g} seconds"


def _zone(calendar: Calendar, at: float) -> str:
    there = calendar.local(at)
    return there.tzname() or f"{there:%z}"
