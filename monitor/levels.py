"""Every probe that runs: its level, what it remembers, what was counted of it, and what it needs.

One result at a time; whoever holds it sees to that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from types import MappingProxyType

import structlog

from monitor.clock import Clock
from monitor.core import evidence, history, level
from monitor.core.config import Config, ProbeConfig
from monitor.core.evidence import Measured
from monitor.core.history import News, Past
from monitor.core.level import ProbeState
from monitor.core.probe import Json, Outcome, Result, Value
from monitor.core.runbook import Level
from monitor.core.snapshot import DURATION_EDGES, ProbeView, Tally
from monitor.store import SavedProbe

log = structlog.get_logger()


@dataclass(slots=True)
class Watched:
    """One probe at run time. `fresh`: it has run in this process, so that its level is of today."""

    config: ProbeConfig
    state: ProbeState = field(default_factory=ProbeState)
    cursor: Json = None
    tally: Tally = field(default_factory=Tally)
    result: Result | None = None
    fresh: bool = False
    past: Past = field(default_factory=Past)
    counted: Tally = field(default_factory=Tally)  # the tally as far as it is saved
    shown: tuple[tuple[object, ...], ProbeView] | None = None  # what it was made of, and the view

    def __post_init__(self) -> None:
        self.counted = self.tally

    def row(self, news: News | None = None) -> SavedProbe:
        target = _digest(self.config.target)
        return SavedProbe(target, self.state, self.cursor, self.tally, self.result, self.past, news)


class Levels:
    """The probes by name, in the order of the configuration."""

    def __init__(
        self, config: Config, rows: Mapping[str, SavedProbe], clock: Clock, wake: Callable[[str, str], None]
    ) -> None:
        self._clock, self._wake = clock, wake
        self._probes: dict[str, Watched] = {}
        self.configure(config, rows)

    def configure(self, config: Config, rows: Mapping[str, SavedProbe]) -> None:
        """Take what was saved of the probes that run. A changed target drops state and cursor."""
        fresh = {name for name, probe in self._probes.items() if probe.fresh}
        self.config = config
        probes: dict[str, Watched] = {}
        for item in config.enabled():
            row = rows.get(item.name)
            if row is None or row.target != _digest(item.target):
                probes[item.name] = Watched(item, tally=row.tally if row else Tally())
            elif item.name in fresh:
                probes[item.name] = Watched(item, row.state, row.cursor, row.tally, row.result, fresh=True)
            else:
                state = level.forget_monotonic(row.state)
                probes[item.name] = Watched(item, state, row.cursor, row.tally, row.result)
            if row is not None:
                probes[item.name].past = history.resume(row.past, item)
        self._probes = probes
        self._dependents_of = {name: _dependents(name, config) for name in probes}

    def __contains__(self, name: str) -> bool:
        return name in self._probes

    def __getitem__(self, name: str) -> Watched:
        return self._probes[name]

    def get(self, name: str) -> Watched | None:
        """None if no such probe runs."""
        return self._probes.get(name)

    def __iter__(self) -> Iterator[Watched]:
        return iter(self._probes.values())

    @property
    def states(self) -> dict[str, ProbeState]:
        """What the rules may go by: a probe that was not seen in this process is not known."""
        return {name: probe.state if probe.fresh else ProbeState() for name, probe in self._probes.items()}

    def rows(self) -> dict[str, SavedProbe]:
        """All that is to be saved."""
        return {name: probe.row() for name, probe in self._probes.items()}

    def views(self) -> Mapping[str, ProbeView]:
        """Every probe of the configuration, also the disabled ones."""
        views = {name: ProbeView(config) for name, config in self.config.probes.items()}
        return MappingProxyType(views | {name: view(probe) for name, probe in self._probes.items()})

    def measured(self, config: ProbeConfig) -> Measured:
        """What the probes that this one reads have measured lately."""
        read = [self._probes[name] for name in evidence.sources(config) if name in self._probes]
        return evidence.measured(((probe.config, probe.result) for probe in read), self._clock.now())

    def shift(self, seconds: float) -> None:
        """The wall clock was set forward by so many seconds."""
        for probe in self._probes.values():
            probe.state = level.shift(probe.state, seconds)

    def judge(self, probe: Watched, result: Result) -> dict[str, SavedProbe]:
        """Move the probe's level, and that of all that need it. Returns the rows that changed."""
        before = probe.state
        probe.state = level.judge(probe.config, before, result)
        probe.cursor, probe.result = result.cursor, result
        # After a restart a first good run is no proof yet that what was failing still fails: nothing ripens on it.
        probe.fresh = probe.fresh or not probe.state.recovering
        probe.tally = _count(probe.tally, result)
        probe.past, news = history.take(probe.past, probe.config, result, before, probe.state)
        now = self._clock.now()
        self._show(probe, now)
        dependents = [self._probes[name] for name in self._dependents(probe.config.name)]
        if probe.state.clean and not before.clean:
            blamed = before.level in {Level.FAIL, Level.UNKNOWN}
            for other in dependents:
                if not other.state.clean:
                    other.state = level.void(other.state, self._clock.monotonic(), all_evidence=blamed)
                    self._wake(other.config.name, "its need is well again")
        for other in dependents:
            self._show(other, now)
        for name in level.pending_needs(probe.config, probe.state, self._needs(probe.config)):
            self._wake(name, f"{probe.config.name} fails and needs it")
        if probe.state.level is not before.level:
            log.info(
                "level_changed",
                probe=probe.config.name,
                level=probe.state.level.value,
                before=before.level.value,
                reason=probe.state.reason,
                detail=result.detail,
            )
        return {probe.config.name: probe.row(news)} | {item.config.name: item.row() for item in dependents}

    def _show(self, probe: Watched, now: float) -> None:
        probe.state = level.show(probe.state, self._needs(probe.config), now)

    def _needs(self, config: ProbeConfig) -> dict[str, ProbeState]:
        return {name: self._probes[name].state for name in config.needs if name in self._probes}

    def _dependents(self, name: str) -> list[str]:
        """Everything that needs this probe, directly or not, each after what it needs itself."""
        return self._dependents_of.get(name, [])


def _dependents(name: str, config: Config) -> list[str]:
    """Who needs this probe, directly or not, in an order in which each comes after what it needs."""
    found: list[str] = []
    ring = [name]
    while ring:
        ring = [item.name for item in config.enabled() if set(item.needs) & set(ring)]
        found = [other for other in found if other not in ring] + ring
    return found


def view(probe: Watched) -> ProbeView:
    """The probe as it is shown; the same object as long as nothing of it changes."""
    of = (probe.config, probe.state, probe.result, probe.counted, probe.past)
    if probe.shown is None or any(one is not other for one, other in zip(probe.shown[0], of, strict=True)):
        probe.shown = of, _new_view(probe)
    return probe.shown[1]


def _new_view(probe: Watched) -> ProbeView:
    state = probe.state
    return ProbeView(
        probe.config,
        level=state.level,
        reason=state.reason or ("quiet" if probe.result is not None and probe.result.quiet is not None else ""),
        since=state.since,
        whys=MappingProxyType({name: why.shown for name, why in state.whys.items()}),
        unconfirmed=state.unconfirmed,
        result=probe.result,
        last_success_at=state.last_success_at,
        tally=probe.counted,
        past=probe.past,
    )


def _count(tally: Tally, result: Result) -> Tally:
    buckets = list(tally.buckets)
    buckets[bisect_left(DURATION_EDGES, result.duration_seconds)] += 1
    counted = replace(tally, buckets=tuple(buckets), seconds=tally.seconds + result.duration_seconds)
    if result.outcome is Outcome.FAILURE:
        failures = {**tally.failures, result.reason: tally.failures.get(result.reason, 0) + 1}
        return replace(counted, failures=failures)
    return replace(counted, errors=counted.errors + 1) if result.outcome is Outcome.ERROR else counted


def target_digest(config: ProbeConfig) -> str:
    """What the store keeps of a probe's target: when it is another, what was saved of the probe is of no use."""
    return _digest(config.target)


def _digest(target: str) -> str:
    """The target, unreadable: it may hold a password, and the store is a file."""
    return blake2b(target.encode(), digest_size=16).hexdigest()


def flat(measurements: Mapping[str, Value]) -> dict[str, float]:
    """Measurements with their parts spelled out: `latency_mean_seconds[whmcs]`."""
    numbers: dict[str, float] = {}
    for name, value in measurements.items():
        if isinstance(value, Mapping):
            numbers |= {f"{name}[{part}]" if part else name: number for part, number in value.items()}
        else:
            numbers[name] = value
    return numbers
