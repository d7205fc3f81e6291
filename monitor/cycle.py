"""The one data path: Result -> level -> severity -> incident -> store -> what is told.

The order carries meaning: nothing is sent that is not saved. A moment is settled in `_settle`: what it makes of the
incidents is the casebook's to say, and everything it changes is one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import structlog
from pydantic import SecretStr

from monitor.alerting.diagnosis import names_of
from monitor.alerting.facts import Facts
from monitor.casebook import Casebook, Turn
from monitor.clock import STEP_SECONDS, Clock, StepWatch, step_between
from monitor.core.action import Action, Open, Refused
from monitor.core.config import Config, ProbeConfig
from monitor.core.evidence import Measured
from monitor.core.incident import Incident, Notice, Page, Step
from monitor.core.maintenance import Window
from monitor.core.probe import Json, Quiet, Result
from monitor.core.runbook import Runbook
from monitor.core.severity import RuleKey, Verdict
from monitor.core.snapshot import ProbeView, ScenarioView
from monitor.levels import Levels
from monitor.store import Changes, Saved, SavedProbe, Store, record

log = structlog.get_logger()

DISK_PATIENCE_SECONDS = 2.0  # how long a transition waits for the disk; then it is told from memory
UNSURE_SECONDS = 2 * 3600.0  # after a step of the clock: as long as two of the longest windows of a log
FRESH_SECONDS = 1.0  # a run that recent need not be asked for again


@dataclass(frozen=True, slots=True)
class Told:
    """What the world may know after a moment was settled: incidents and pages, all of them saved."""

    incidents: tuple[Incident, ...]
    pages: tuple[Page, ...]  # open, or ended lately
    notices: tuple[Notice, ...]  # likewise


class Cycle:
    """Holds the present state and moves it by one result, by what people do, or by the passing of time."""

    def __init__(
        self,
        config: Config,
        runbook: Runbook,
        clock: Clock,
        store: Store,
        saved: Saved,
        *,
        tell: Callable[[Told], None],
        wake: Callable[[str, str], None],
        link_secret: SecretStr | None = None,
    ) -> None:
        self.config, self.runbook = config, runbook
        self.changes = 0  # grows with every change; a snapshot is of one number
        self.settled_mono = clock.monotonic()  # when a moment was last settled
        self._clock, self._store = clock, store
        self._tell, self._wake = tell, wake
        self._levels = Levels(config, saved.probes, clock, wake)
        self._book = Casebook(
            config, runbook, clock, self._levels, saved, store_error=lambda: store.error, link_secret=link_secret
        )
        self._lock = asyncio.Lock()
        self._unsure_until = 0.0  # monotonic: until then a quiet log is no proof that all is well
        self._steps = StepWatch(clock)

    # --- what comes in ------------------------------------------------------------------------------------------------

    async def start(self, saved: Saved) -> None:
        """Look at what was saved; a step that the wall clock took while nobody watched is subtracted first."""
        async with self._lock:
            since_then, lately = step_between(saved.seen, self._clock.moment()), self._steps.step()
            await self._take_step(since_then or lately)
            await self._settle({}, force=True)

    async def take(self, result: Result, config: ProbeConfig) -> bool:
        """One run's result, made with this configuration. Returns whether a change of level is under way."""
        async with self._lock:
            probe = self._levels.get(result.probe)
            if probe is None or probe.config.target != config.target:
                return False  # gone, or another target by now
            await self._look_at_clock()
            result = self._by_this_clock(result)
            if result.quiet is Quiet.CLEAR and self._clock.monotonic() < self._unsure_until:
                result = replace(result, quiet=Quiet.HOLD)
            await self._settle(self._levels.judge(probe, result))
            return probe.state.changing

    async def tick(self) -> None:
        """Time has passed."""
        async with self._lock:
            await self._look_at_clock()
            await self._settle({})

    def next_change(self) -> float | None:
        """When (wall seconds) something will have to be done although nothing happens."""
        return self._book.next_change()

    def skip(self, name: str, runs: int) -> None:
        """Count runs that were due while the one before was still going."""
        probe = self._levels.get(name)
        if probe is not None and runs:
            probe.tally = replace(probe.tally, skipped=probe.tally.skipped + runs)

    def cursor(self, name: str) -> Json:
        """What the probe must remember."""
        return self._levels[name].cursor if name in self._levels else None

    def measured(self, config: ProbeConfig) -> Measured:
        """What the probes that this one reads have measured lately."""
        return self._levels.measured(config)

    async def reconfigure(self, config: Config, runbook: Runbook) -> None:
        """Swap the configuration. A changed target drops state and cursor; thresholds are judged at the next run."""
        async with self._lock:
            await self._look_at_clock()
            before = self._levels.rows()
            gone = tuple(name for name in before if name not in config.probes)
            self.config, self.runbook = config, runbook
            self._levels.configure(config, before)
            dropped = self._book.reconfigure(config, runbook)
            await self._settle(self._levels.rows(), force=True, gone=gone, dropped=dropped)

    async def adopt(self, held: Iterable[tuple[Mapping[str, str], float]]) -> None:
        """Take over pages (labels, start) that Alertmanager still holds although the store knows nothing."""
        async with self._lock:
            await self._look_at_clock()
            turn = self._book.adopt(held)
            if turn.incidents:
                await self._store.save(_changes(turn))
            await self._settle({}, force=bool(turn.incidents))

    # --- what people do -----------------------------------------------------------------------------------------------

    async def act(self, key: str, what: Action, by: str) -> Incident:
        """Somebody does something to an incident. Refused if it does not allow it. Returns what became of it."""
        async with self._lock:
            await self._look_at_clock()
            item = self._book.get(key) or await self._long_over(key)
            if item is None:
                raise Refused(f'there is no incident "{key}"')
            step = self._book.act(item, what, by)
            await self._settle({}, by_hand=(step, by))
            return self._book.get(key) or step.incident or item

    async def _long_over(self, key: str) -> Incident | None:
        """An incident that is not at hand any more: its review may be held late, and a note is never too late."""
        kept = await asyncio.to_thread(record, self._store.path, key)
        return kept.incident if kept else None

    async def open(self, what: Open, by: str) -> Incident:
        """Somebody reports an incident. Refused if one is open, or if there is no such scenario."""
        async with self._lock:
            await self._look_at_clock()
            step = self._book.open(what, by)
            await self._settle({}, by_hand=(step, by))
            opened = self._book.newest(what.scenario)
            assert opened is not None
            return opened

    async def begin_maintenance(self, of: Iterable[str], seconds: float, reason: str, by: str) -> Window:
        """Hold incidents of these probes and scenarios (`scenario:redis`) for so long. Refused if one is not known."""
        async with self._lock:
            await self._look_at_clock()
            window = self._book.begin_maintenance(of, seconds, reason, by)
            await self._settle({}, windows=(window,))
            return window

    async def end_maintenance(self, key: str) -> Window:
        """Maintenance is over before its time. What still fails opens now."""
        async with self._lock:
            await self._look_at_clock()
            window = self._book.end_maintenance(key)
            await self._settle({}, windows=(window,))
            return window

    # --- what became of what was told ---------------------------------------------------------------------------------

    async def close_notices(self, over: Callable[[Notice], bool]) -> None:
        """End the updates and reminders of which everybody has been told for long enough."""
        async with self._lock:
            await self._look_at_clock()
            await self._keep(self._book.close_notices(over))

    async def fell_back(self, pages: Iterable[Page]) -> None:
        """The fallback has carried these pages."""
        async with self._lock:
            await self._look_at_clock()
            await self._keep(self._book.fell_back(pages))

    async def delivered(self, at: Mapping[tuple[object, ...], float]) -> None:
        """The first Alertmanager took these pages (by identity) at these wall times."""
        async with self._lock:
            await self._keep(self._book.delivered(at))

    async def _keep(self, turn: Turn) -> None:
        """Save what became of pages and notices; what is told of them changes with it."""
        changes = _changes(turn)
        if not changes.transition:
            return
        await asyncio.wait({self._store.save(changes)}, timeout=DISK_PATIENCE_SECONDS)
        self.changes += 1
        self._tell(self.told())

    # --- what can be seen ---------------------------------------------------------------------------------------------

    def probe_views(self) -> Mapping[str, ProbeView]:
        """Every probe of the configuration, also the disabled ones."""
        return self._levels.views()

    def scenario_views(self) -> Mapping[str, ScenarioView]:
        """Every scenario of the runbook."""
        return self._book.scenario_views()

    def verdicts(self) -> Mapping[str, Verdict]:
        """What the rules say, by scenario."""
        return MappingProxyType(dict(self._book.verdicts))

    def incidents(self) -> tuple[Incident, ...]:
        """Open ones first (worst first), then those resolved lately (newest first)."""
        return self._book.incidents()

    def pages(self) -> tuple[Page, ...]:
        """Open ones."""
        return self._book.pages()

    def told(self) -> Told:
        """All that anybody may know."""
        return Told(self._book.incidents(), self._book.all_pages, self._book.notices)

    def windows(self) -> tuple[Window, ...]:
        """Maintenance that is on now."""
        return self._book.windows()

    @property
    def recorded(self) -> bool:
        """Whether a way to acknowledge is in use, so that no answer means that nobody answered."""
        return self._book.recorded

    def facts(self) -> Facts:
        """What words are made from."""
        return self._book.facts()

    # --- a moment -----------------------------------------------------------------------------------------------------

    async def _settle(
        self,
        touched: Mapping[str, SavedProbe],
        *,
        force: bool = False,
        gone: tuple[str, ...] = (),
        dropped: Mapping[RuleKey, float | None] = MappingProxyType({}),
        by_hand: tuple[Step, str] | None = None,
        windows: tuple[Window, ...] = (),
    ) -> None:
        turn = self._book.turn(by_hand=by_hand, anew=force or bool(windows))
        turn.windows += windows
        turn.rules |= dropped
        changes = replace(_changes(turn), probes=touched, gone=gone)
        saved = self._store.save(changes)
        saved.add_done_callback(lambda done: self._committed(touched, done))
        if changes.transition:
            await asyncio.wait({saved}, timeout=DISK_PATIENCE_SECONDS)  # a disk that hangs must not keep pages back
        self.changes += 1
        self.settled_mono = self._clock.monotonic()
        for event in turn.events:
            log.info("incident", incident=event.incident, kind=event.kind, text=event.text, by=event.by)
        if changes.transition or force:
            self._book.forget_the_old()
            self._tell(self.told())
        self._look_closer(turn)

    def _committed(self, rows: Mapping[str, SavedProbe], done: asyncio.Future[bool]) -> None:
        """What was counted may be shown now: an exported counter is never taken back by a crash."""
        if done.cancelled() or not done.result():
            return
        for name, row in rows.items():
            if name in self._levels:
                self._levels[name].counted = row.tally
        self.changes += 1

    def _look_closer(self, turn: Turn) -> None:
        """Wake the probes behind an incident that has just opened, so that the first words have fresh values."""
        for item in turn.opening:
            scenario = self.runbook.scenarios.get(item.scenario)
            for name in names_of(scenario) if scenario else ():
                last = self._levels[name].result if name in self._levels else None
                if last is None or turn.now - last.at > FRESH_SECONDS:
                    self._wake(name, f"{item.key} opened")

    # --- the clock ----------------------------------------------------------------------------------------------------

    async def _look_at_clock(self) -> None:
        """Before anything is done by the wall clock: whether it has been set."""
        await self._take_step(self._steps.step())

    def _by_this_clock(self, result: Result) -> Result:
        """The result with the time of its beginning by the wall clock as it is now: it may have been set in the run."""
        at = self._clock.now() - (self._clock.monotonic() - result.mono)
        return replace(result, at=at) if abs(at - result.at) > STEP_SECONDS else result

    async def _take_step(self, seconds: float) -> None:
        """The wall clock was set: move every saved time with it, so that differences stay time that really passed."""
        if not seconds:
            return
        log.warning("clock_step", seconds=round(seconds, 3))
        self._levels.shift(seconds)
        self._unsure_until = self._clock.monotonic() + UNSURE_SECONDS
        changes = replace(_changes(self._book.shift(seconds)), probes=self._levels.rows(), shift_seconds=seconds)
        await asyncio.wait({self._store.save(changes)}, timeout=DISK_PATIENCE_SECONDS)
        self._tell(self.told())


def _changes(turn: Turn) -> Changes:
    """What is to be saved of it, together."""
    return Changes(
        rules=turn.rules,
        incidents=(*turn.incidents.values(), *turn.older),
        pages=tuple(turn.pages),
        notices=tuple(turn.notices),
        events=tuple(turn.events),
        windows=tuple(turn.windows),
        opened=turn.opened,
    )
