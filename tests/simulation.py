"""A portal in fast-forward: the real cycle and the real store, with time, schedule and targets made up.

Runs are events in order of time: a run begins, takes a while, and is judged by `Cycle.take` as the daemon would do it.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monitor.clock import Moment
from monitor.core.config import Config, ProbeConfig
from monitor.core.probe import Outcome, Result
from monitor.core.runbook import Runbook
from monitor.cycle import Cycle, Told
from monitor.store import Store

Verdict = tuple[Outcome, str]
"""How a run ends: (outcome, reason)."""

GOOD: Verdict = (Outcome.SUCCESS, "")
DOWN: Verdict = (Outcome.FAILURE, "unreachable")


@dataclass
class FakeClock:
    """Time that stands still until it is set. `step` sets the wall clock alone."""

    wall: float = 1_795_453_200.0  # 2026-11-23 17:00 UTC
    mono: float = 1000.0
    boot: str = "one"

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing in a simulation waits")

    def moment(self) -> Moment:
        return self.boot, self.mono, self.wall

    def advance_to(self, mono: float) -> None:
        self.wall += mono - self.mono
        self.mono = mono

    def step(self, seconds: float) -> None:
        self.wall += seconds


@dataclass
class Simulation:
    """Runs the probes of a configuration against `world(probe, mono) -> how the run ends`."""

    config: Config
    runbook: Runbook
    folder: Path
    world: Callable[[str, float], Verdict]
    offsets: Mapping[str, float] = field(default_factory=dict)  # when each probe first runs, after the start
    duration: Callable[[str, float], float] = lambda name, mono: 0.01
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.told: list[Told] = []
        self.levels: list[tuple[float, str, str]] = []  # (seconds after the start, probe, level), when it changed
        self.result: Callable[[str, float, float], Result] = self._plain_result  # (probe, wall, mono); may be replaced
        self._begin = self.clock.mono
        self._order = itertools.count()
        self.open()

    def open(self) -> None:
        """Start the daemon's part, from what the store holds."""
        self.store = Store(self.folder / "state.db", self.clock)
        saved = self.store.load()
        self.cycle = Cycle(
            self.config, self.runbook, self.clock, self.store, saved,
            tell=self.told.append, wake=self._wake,
        )  # fmt: skip
        self._saved = saved
        self._queue: list[tuple[float, int, str]] = []
        self._due: dict[str, float] = {}
        for item in self.config.enabled():
            self._schedule(item.name, self.clock.mono + self.offsets.get(item.name, 0.0))

    async def start(self) -> None:
        await self.cycle.start(self._saved)

    async def restart(self) -> None:
        """The daemon ends without a word and another takes over."""
        self.store.close()
        self.open()
        await self.start()

    async def run(self, seconds: float) -> None:
        """Let so much time pass, from the last event on."""
        end = self.clock.mono + seconds
        while self._queue and self._queue[0][0] <= end:
            due, _, name = heapq.heappop(self._queue)
            if self._due.get(name) != due:
                continue  # it was woken before
            await self._pass_time(due)
            await self._run_probe(self.config.probes[name], due)
        await self._pass_time(end)
        await self.cycle.tick()

    def close(self) -> None:
        self.store.close()

    @property
    def elapsed(self) -> float:
        return self.clock.mono - self._begin

    def pages(self) -> list[tuple[str, str]]:
        """(scenario, severity) of every page ever fired, in order."""
        fired: dict[tuple[str, ...], tuple[str, str]] = {}
        for told in self.told:
            for page in sorted(told.pages, key=lambda page: page.fired_at):
                key = (page.incident, str(page.opening), str(page.severity), page.escalation_level)
                fired.setdefault(key, (page.labels["scenario"], str(page.severity)))
        return list(fired.values())

    def _plain_result(self, name: str, at: float, begun: float) -> Result:
        outcome, reason = self.world(name, begun)
        took = self.duration(name, begun)
        return Result(name, self.config.probes[name].type.name, at, begun, took, outcome, reason)

    async def _run_probe(self, config: ProbeConfig, begun: float) -> None:
        at = self.clock.wall
        result = self.result(config.name, at, begun)
        await self._pass_time(begun + result.duration_seconds)
        del self._due[config.name]
        changing = await self.cycle.take(result, config)
        now = self.clock.mono
        wait = config.interval if not changing else min(config.interval, config.retry_interval)
        if config.name not in self._due or self._due[config.name] > now + wait:
            self._schedule(config.name, now + wait)
        view = self.cycle.probe_views()[config.name]
        last = next((level for _, name, level in reversed(self.levels) if name == config.name), None)
        if view.level.value != last:
            self.levels.append((self.elapsed, config.name, view.level.value))

    async def _pass_time(self, until: float) -> None:
        """Tick at each moment at which something is due; a run settles the moment of its own end."""
        while (due := self.cycle.next_change()) is not None:
            mono = self.clock.mono + max(0.0, due - self.clock.wall)
            if mono >= until:
                break
            self.clock.advance_to(mono + 1e-6)
            await self.cycle.tick()
        self.clock.advance_to(max(until, self.clock.mono))

    def _schedule(self, name: str, due: float) -> None:
        self._due[name] = due
        heapq.heappush(self._queue, (due, next(self._order), name))

    def _wake(self, name: str, word: str) -> None:
        if name in self._due and self._due[name] > self.clock.mono:
            self._schedule(name, self.clock.mono)
