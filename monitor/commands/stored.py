"""Incidents while no daemon runs: what its store knows, and what people do to them if they get its lock.

Whatever is done goes through the same cycle as in the daemon, without probes: nothing of it is told to anybody before
the daemon runs again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from monitor import __version__
from monitor.alerting import links
from monitor.clock import Clock, SystemClock
from monitor.core import maintenance, severity
from monitor.core.action import Action, Open
from monitor.core.incident import Event, Incident, Page
from monitor.core.level import ProbeState
from monitor.core.loading import Loaded
from monitor.core.maintenance import Window
from monitor.core.request import Maintenance
from monitor.core.snapshot import MonitorView, ProbeView, Snapshot
from monitor.cycle import Cycle
from monitor.levels import target_digest
from monitor.store import Record, Saved, Store, StoreError, incidents_since, pages_since, read, record, timelines_since

T = TypeVar("T")


class Stored:
    """A store, looked into without its lock; each change takes it for as long as it lasts."""

    def __init__(self, loaded: Loaded, clock: Clock | None = None) -> None:
        """StoreError if there is none, or if it cannot be read."""
        self.path = Path(loaded.config.store)
        self._loaded, self._clock = loaded, clock or SystemClock()
        self._look()

    def _look(self) -> None:
        saved, _ = read(self.path)
        self.written_at = saved.seen[2] if saved.seen else None
        self._snapshot = snapshot_of(self._loaded, saved, self._clock.now())

    def now(self) -> float:
        """Wall seconds."""
        return self._clock.now()

    def snapshot(self) -> Snapshot:
        """What was known when it was last written; deadlines are judged by the present time."""
        return self._snapshot

    def record(self, key: str) -> Record | None:
        """All that is kept of one incident; None if there is none."""
        return record(self.path, key)

    def incidents_since(self, since: float) -> tuple[Incident, ...]:
        """Every incident that is open or was resolved after `since`; oldest first."""
        return incidents_since(self.path, since)

    def pages_since(self, since: float) -> Sequence[Page]:
        """The pages of those."""
        return pages_since(self.path, since)

    def timelines_since(self, since: float) -> Mapping[str, Sequence[Event]]:
        """The timelines of those."""
        return timelines_since(self.path, since)

    async def act(self, key: str, what: Action, by: str) -> Incident:
        """Somebody does something to an incident. Refused, or StoreError if a daemon holds the store."""
        return await self._change(lambda cycle: cycle.act(key, what, by))

    async def open(self, what: Open, by: str) -> Incident:
        """Somebody reports an incident. Likewise."""
        return await self._change(lambda cycle: cycle.open(what, by))

    async def begin_maintenance(self, what: Maintenance, by: str) -> Window:
        """Hold incidents for a while. Likewise."""
        return await self._change(lambda cycle: cycle.begin_maintenance(what.of, what.seconds, what.reason, by))

    async def end_maintenance(self, key: str) -> Window:
        """Maintenance is over before its time. Likewise."""
        return await self._change(lambda cycle: cycle.end_maintenance(key))

    async def _change(self, change: Callable[[Cycle], Awaitable[T]]) -> T:
        store = Store(self.path, self._clock)
        try:
            saved = store.load()
            cycle = Cycle(
                self._loaded.config, self._loaded.runbook, self._clock, store, saved,
                tell=lambda told: None, wake=lambda name, word: None,
                link_secret=links.kept_secret(self.path.with_name("link-secret")),
            )  # fmt: skip
            await cycle.start(saved)
            changed = await change(cycle)
        finally:
            store.close()
        if store.error:  # in the daemon it would be kept and tried again; here nobody is left to try
            raise StoreError(f"it could not be saved: {store.error}")
        self._look()
        return changed


def snapshot_of(loaded: Loaded, saved: Saved, now: float) -> Snapshot:
    """What a store holds, as the daemon would show it. Probes are as their last run in the daemon left them."""
    config, runbook = loaded.config, loaded.runbook
    rows = {
        name: saved.probes[name]
        for name, item in config.probes.items()
        if name in saved.probes and saved.probes[name].target == target_digest(item)
    }
    views = {name: ProbeView(item) for name, item in config.probes.items()}
    for name, row in rows.items():
        state = row.state
        views[name] = ProbeView(
            config.probes[name], state.level, state.reason, state.since,
            MappingProxyType({why: of.shown for why, of in state.whys.items()}),
            state.unconfirmed, row.result, state.last_success_at, row.tally,
        )  # fmt: skip
    seen = saved.seen[2] if saved.seen else now
    windows = tuple(maintenance.active(config.maintenance, saved.windows, now))
    states = {item.name: rows[item.name].state if item.name in rows else ProbeState() for item in config.enabled()}
    verdicts = severity.evaluate(runbook, states, saved.rules, seen, {name for window in windows for name in window.of})
    newest_first = sorted(saved.incidents, key=lambda item: (not item.open, item.severity if item.open else 0))
    over = sorted((item for item in newest_first if not item.open), key=lambda item: -(item.resolved_at or 0))
    return Snapshot(
        now, config, runbook, MonitorView(__version__, seen, seen), views,
        incidents=(*(item for item in newest_first if item.open), *over),
        pages=tuple(page for page in saved.pages if page.ended_at is None),
        ended_pages=tuple(page for page in saved.pages if page.ended_at is not None),
        notices=saved.notices,
        verdicts=verdicts,
        windows=windows,
        recorded=config.web.linked or any(item.first_ack is not None for item in saved.incidents),
    )  # fmt: skip
