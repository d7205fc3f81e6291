"""What the daemon shows to the world over HTTP: metrics, health, a JSON API and the console.

Light to import: the server and the framework are imported when there is something to serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from monitor.core.action import Action, Open
from monitor.core.history import Bucket
from monitor.core.incident import Event, Incident, Page
from monitor.core.maintenance import Window
from monitor.core.request import Maintenance
from monitor.core.snapshot import Snapshot

if TYPE_CHECKING:
    from pydantic import SecretStr

    from monitor.store import Record


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What became of a reload: the names of probes and scenarios, or why nothing was changed."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    error: str = ""  # every problem, one a line; empty if it went well

    @property
    def ok(self) -> bool:
        return not self.error


class Incidents(Protocol):
    """What is known of incidents, and what people may do to them: of a running daemon, or of the store of one."""

    def snapshot(self) -> Snapshot:
        """What is known right now; the same object until something is known anew."""

    def record(self, key: str) -> Record | None:
        """All that is kept of one incident, however old; None if there is none. Reads the disk. StoreError if it cannot."""

    def incidents_since(self, since: float) -> tuple[Incident, ...]:
        """Every incident that is open or was resolved after `since`; oldest first. Reads the disk, likewise."""

    def pages_since(self, since: float) -> Sequence[Page]:
        """The pages of those. Reads the disk, likewise."""

    def timelines_since(self, since: float) -> Mapping[str, Sequence[Event]]:
        """The timelines of those. Reads the disk, likewise."""

    async def act(self, key: str, what: Action, by: str) -> Incident:
        """Somebody does something to an incident; what became of it. Refused if it does not allow it."""

    async def open(self, what: Open, by: str) -> Incident:
        """Somebody reports an incident. Refused if one is open, or if there is no such scenario."""

    async def begin_maintenance(self, what: Maintenance, by: str) -> Window:
        """Hold incidents for a while. Refused if it is not known of what."""

    async def end_maintenance(self, key: str) -> Window:
        """Maintenance is over before its time. Refused if none of this key is on."""


class Source(Incidents, Protocol):
    """What the web needs of the daemon."""

    @property
    def link_secret(self) -> SecretStr:
        """What the acknowledge links of pages are signed with."""

    async def changed(self) -> None:
        """Return when the next snapshot is there. Any number may wait, and may give up waiting."""

    async def history(self, probe: str, since: float) -> list[Bucket]:
        """The buckets of a probe from a wall time on, oldest first, in the resolution that fits. StoreError if it cannot be read."""

    async def reload(self) -> ReloadReport:
        """Read the configuration again and take it, or change nothing and say why."""
