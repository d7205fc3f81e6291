"""What the daemon shows to the world over HTTP: metrics, health, a JSON API and the console.

Light to import: the server and the framework are imported when there is something to serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from monitor.core.history import Bucket
from monitor.core.snapshot import Snapshot


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


class Source(Protocol):
    """What the web needs of the daemon."""

    def snapshot(self) -> Snapshot:
        """What is known right now; the same object until something is known anew."""

    async def changed(self) -> None:
        """Return when the next snapshot is there. Any number may wait, and may give up waiting."""

    async def history(self, probe: str, since: float) -> list[Bucket]:
        """The buckets of a probe from a wall time on, oldest first, in the resolution that fits."""

    async def reload(self) -> ReloadReport:
        """Read the configuration again and take it, or change nothing and say why."""
