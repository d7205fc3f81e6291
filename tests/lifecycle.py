"""One incident's life by hand: the real cycle and store, a clock that stands still, and probes that do as they are told.

A moment is settled exactly when a test says so, or when `Cycle.next_change` asks for it, as in the daemon.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from monitor.core.action import Action, Open
from monitor.core.config import Config, FailAfter, ProbeConfig, WebConfig
from monitor.core.incident import Event, Incident, Page
from monitor.core.probe import Fault, Options, Outcome, ProbeType, Reading, Reason, Result
from monitor.core.runbook import Runbook
from monitor.cycle import Cycle, Told
from monitor.store import Store
from tests.simulation import FakeClock

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where files may lie whose disk is not what is tested."""

RUNS = 4  # of each kind in a row, so that nothing is ever taken for flapping
OK, FAIL, BLIND = Outcome.SUCCESS, Outcome.FAILURE, Outcome.ERROR
REASONS = {OK: "", FAIL: "unreachable", BLIND: "no_access"}


async def _never(options: object, context: object) -> Reading:
    raise AssertionError("the results are made up")


TYPE = ProbeType(
    "made-up", "For tests of what comes after", Options, {},
    {"unreachable": Reason(Fault.TARGET, "Look."), "no_access": Reason(Fault.ACCESS, "Let it in.")}, _never, frozenset(),
)  # fmt: skip


def config(*names: str, linked: bool = True) -> Config:
    """Probes that confirm with one run, and a console that can be reached from a phone (`linked`)."""
    probes = {name: ProbeConfig(name, TYPE, Options(), 15, 5, FailAfter(1, 1), 1, 1) for name in names}
    web = WebConfig(external_url="https://monitor.example.com" if linked else "")
    return Config(probes, "runbook.yaml", "state.db", web)


class SteadyClock(FakeClock):
    """The same without the rounding errors of many small steps."""

    def advance_to(self, mono: float) -> None:
        base = getattr(self, "_base", None)
        if base is None or base[2] != self.wall:
            base = (self.wall, self.mono)
        self.wall = base[0] + (mono - base[1])
        self.mono = mono
        self._base = (*base[:2], self.wall)


class Observer(Protocol):
    """Is told of every moment that was settled, and of what was known then."""

    def ran(self, probe: str, outcome: Outcome) -> None: ...

    def looked(self) -> None: ...

    def restarted(self) -> None: ...


@dataclass
class Life:
    """A daemon without probes and without Alertmanager: what it decides, saves and would tell."""

    config: Config
    runbook: Runbook
    folder: Path
    clock: FakeClock = field(default_factory=SteadyClock)
    observer: Observer | None = None

    def __post_init__(self) -> None:
        self.told: dict[tuple[object, ...], Page] = {}  # every page that anybody was told of, as it was first told
        self.world = dict.fromkeys(self.config.probes, OK)
        self._begin = self.clock.mono
        self._count = itertools.count()
        self._open()

    def _open(self) -> None:
        self.store = Store(self.folder / "state.db", self.clock)
        self._saved = self.store.load()
        self.cycle = Cycle(
            self.config, self.runbook, self.clock, self.store, self._saved, tell=self._tell, wake=lambda name, why: None
        )

    def _tell(self, told: Told) -> None:
        for page in told.pages:
            self.told.setdefault(page.identity, page)

    async def start(self) -> None:
        await self.cycle.start(self._saved)
        if self.observer:
            self.observer.restarted()
        await self.probe(*self.world)

    async def tick(self) -> None:
        await self.cycle.tick()
        if self.observer:
            self.observer.looked()

    async def probe(self, *names: str) -> None:
        """Run these probes once; nothing waits, so the time is the same afterwards."""
        for name in names:
            outcome = self.world[name]
            result = Result(name, TYPE.name, self.clock.wall, self.clock.mono, 0.001, outcome, REASONS[outcome])
            await self.cycle.take(result, self.config.probes[name])
            if self.observer:
                self.observer.ran(name, outcome)

    async def becomes(self, name: str, outcome: Outcome) -> None:
        """From now on the probe's runs end like this."""
        self.world[name] = outcome
        await self.probe(*[name] * RUNS)

    async def fail(self, *names: str) -> None:
        for name in names:
            await self.becomes(name, FAIL)

    async def mend(self, *names: str) -> None:
        for name in names:
            await self.becomes(name, OK)

    async def blind(self, *names: str) -> None:
        for name in names:
            await self.becomes(name, BLIND)

    async def wait(self, seconds: float) -> None:
        """Let time pass as the daemon does: look once, then whenever something is due, and at the end."""
        end = self.clock.mono + seconds
        self.clock.advance_to(self.clock.mono + min(1.0, seconds))
        await self.tick()
        while (due := self.cycle.next_change()) is not None:
            mono = self.clock.mono + max(0.0, due - self.clock.wall) + 0.001
            if mono >= end:
                break
            self.clock.advance_to(mono)
            await self.tick()
        self.clock.advance_to(max(end, self.clock.mono))
        await self.tick()

    async def to(self, minute: float) -> None:
        """Let time pass until so many minutes after the beginning."""
        await self.wait(self._begin + minute * 60 - self.clock.mono)

    async def act(self, scenario: str, what: Action, by: str = "ann") -> Incident:
        return await self.cycle.act(self.newest(scenario).key, what, by)

    async def report(self, what: Open) -> Incident:
        return await self.cycle.open(what, "ann")

    def stop(self) -> None:
        """The daemon ends without a word."""
        self.store.close()

    async def restart(self, *, down: float = 0.0, step: float = 0.0, probes: bool = True, boot: str = "") -> None:
        """Another takes over, `down` seconds later, perhaps on another boot; meanwhile the clock was set by `step`."""
        self.stop()
        self.clock.boot = boot or self.clock.boot
        self.clock.advance_to(self.clock.mono + down)
        if step:
            self.clock.step(step)
        self._open()
        await self.cycle.start(self._saved)
        if self.observer:
            self.observer.restarted()
        self.clock.advance_to(self.clock.mono + 0.01)
        if probes:
            await self.probe(*self.world)

    # --- what is seen -------------------------------------------------------------------------------------------------

    def newest(self, scenario: str) -> Incident:
        ours = [item for item in self.cycle.incidents() if item.scenario == scenario]
        return max(ours, key=lambda item: (item.open, item.opened_at))

    def pages(self, *scenarios: str) -> list[tuple[int, str]]:
        """(minute after the beginning, "redis L1 P2") of every page that was told, in order."""
        now = self.clock.wall - self.clock.mono + self._begin
        chosen = [page for page in self.cycle.told().pages if not scenarios or page.labels["scenario"] in scenarios]
        return [
            (round((page.fired_at - now) / 60), name_of(page))
            for page in sorted(chosen, key=lambda page: (page.fired_at, page.labels["scenario"], page.escalation_level))
        ]

    def events(self, scenario: str) -> list[Event]:
        return self.store.events(self.newest(scenario).key)

    def kinds(self, scenario: str) -> list[str]:
        """What happened, less what was found at those moments."""
        return [event.kind for event in self.events(scenario) if event.kind != "found"]


def name_of(page: Page) -> str:
    """`redis L1 P2`, `redis L1/2 P2` (a second call), `whmcs L4 P2 whmcs` (a vendor)."""
    level = page.escalation_level + (f"/{page.attempt}" if page.attempt > 1 else "")
    return " ".join(
        [page.labels["scenario"], level, str(page.severity), *([page.vendor] if page.vendor != "none" else [])]
    )


def check_timelines(life: Life, incidents: Iterable[Incident]) -> None:
    """Numbers without a gap, times in their order, every page on it once, pages that end together."""
    pages = life.cycle.told().pages
    for item in incidents:
        events = life.store.events(item.key)
        assert [event.number for event in events] == list(range(1, len(events) + 1)), item.key
        assert all(a.at <= b.at + 0.001 for a, b in itertools.pairwise(events)), (item.key, events)
        ours = [page for page in pages if page.incident == item.key]
        assert sum(event.kind == "paged" for event in events) == len(ours), (item.key, events, ours)
        for opening in {page.opening for page in ours}:
            ends = {page.ended_at for page in ours if page.opening == opening}
            assert len(ends) == 1, (item.key, opening, ends)
            assert (ends == {None}) == (item.open and opening == item.opening), (item, ends)
