"""Builds the parts and wires them: one task per probe, one for time, one per Alertmanager, the web; signals, reload."""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import SecretStr

from monitor import __version__
from monitor.alerting import links
from monitor.alerting.alertmanager import PAGE_LEASE_SECONDS, WATCHDOG_LEASE_SECONDS, Alert, AlertmanagerError, Notifier
from monitor.alerting.fallback import Fallback, Message, message
from monitor.alerting.heartbeat import Heartbeat
from monitor.alerting.ledger import fingerprint
from monitor.alerting.notices import Attention
from monitor.alerting.pages import page_words, still_told, vendor_words
from monitor.alerting.silences import answers, silenced
from monitor.clock import Clock, SystemClock
from monitor.core import history
from monitor.core.action import Action, Open, Refused
from monitor.core.config import ProbeConfig
from monitor.core.history import Bucket, Past
from monitor.core.incident import Event, Incident, Notice, Page
from monitor.core.loading import Loaded
from monitor.core.maintenance import Window
from monitor.core.request import Maintenance
from monitor.core.schedule import first_delay, missed, next_run
from monitor.core.snapshot import MonitorView, Silenced, Snapshot
from monitor.core.source import ConfigError
from monitor.cycle import Cycle, Told
from monitor.runner import Runner
from monitor.store import Record, Store, incidents_since, pages_since, record, timelines_since
from monitor.systemd import ALIVE, READY, STOPPING, Systemd
from monitor.web import ReloadReport

log = structlog.get_logger()

TICK_SECONDS = 1.0
ALIVE_SECONDS = 15.0  # a moment is settled every second at least
WORDS_SECONDS = 60.0  # how old the words of an open page may grow
ANSWER_SECONDS = 0.5  # what answers that soon after an incident opened is in its first words
ADOPTION_SECONDS = 3.0
SILENCES_SECONDS = 15.0  # how often Alertmanager is asked for silences, while a page is open
DRAIN_SECONDS = 2.0
SWITCH_SECONDS = 0.0005  # for so long another thread holds the interpreter while the event loop waits for it
WATCHDOG_LABELS = {"alertname": "PortalMonitorWatchdog", "kind": "watchdog", "source": "push"}

T = TypeVar("T")
Load = Callable[[], Loaded]
"""Reads the configuration files anew; raises ConfigError."""


class Daemon:
    """The running monitor. It is the `Source` of the web."""

    def __init__(
        self, loaded: Loaded, load: Load, *, web_config_file: Path | None = None, clock: Clock | None = None,
        systemd: Systemd | None = None,
    ) -> None:  # fmt: skip
        self._clock, self._systemd = clock or SystemClock(), systemd or Systemd()
        self._load, self._loaded, self._web_config_file = load, loaded, web_config_file
        config = loaded.config
        self._store = Store(Path(config.store), self._clock)
        self._saved = self._store.load()
        self.link_secret = links.kept_secret(Path(config.store).with_name("link-secret"))
        self._runner = Runner(self._clock, keeper=self._store, wake=self._wake, secrets=config.secrets)
        self._cycle = Cycle(
            config, loaded.runbook, self._clock, self._store, self._saved,
            tell=self._tell, wake=self._wake, link_secret=self.link_secret,
        )  # fmt: skip
        self._notifier = Notifier(config.alertmanagers, self._clock)
        self._fallback = Fallback(
            config.fallback, self._clock, pages=self._cycle.pages, compose=self._compose, carried=self._carried
        )
        self._heartbeat = Heartbeat(config.heartbeat, self._clock, lambda: self._monitor.ticking and self._alive())
        self._began_mono = self._clock.monotonic()
        self._silenced: dict[tuple[object, ...], Silenced] = {}
        self._monitor = MonitorView(__version__, self._clock.now(), self._clock.now())
        self._told = Told((), (), ())
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._woken: dict[str, asyncio.Event] = {}
        self._openings: frozenset[tuple[str, int]] = frozenset()  # of the incidents that are open
        self._opened = asyncio.Event()
        self._stir = asyncio.Event()
        self._news = asyncio.Event()
        self._snapshot: Snapshot | None = None
        self._snapshot_of = (-1, False)
        self._schedule_lag = 0.0
        self._group: asyncio.TaskGroup | None = None
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    async def run(self, started: Callable[[str], None] = lambda address: None) -> None:
        """Watch until SIGTERM or SIGINT. `started` is told the address of the console."""
        from monitor.web.server import serve

        token = write_token(Path(self._loaded.config.store).parent / "token")
        self._listen_to_signals()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                tasks = [group.create_task(self._runner.watch.run(), name="loop watch")]
                tasks.append(group.create_task(self._notifier.run(), name="notifier"))
                await self._reloading.acquire()  # until everything runs
                await self._adopt()
                await self._cycle.start(self._saved)
                async with serve(
                    self, self._loaded.config.web, token, web_config_file=self._web_config_file, clock=self._clock
                ) as served:
                    tasks += [group.create_task(self._pass_time(), name="time"), group.create_task(self._reword())]
                    tasks.append(group.create_task(self._reword_soon(), name="first words"))
                    tasks += [group.create_task(self._follow_deliveries()), group.create_task(self._watch_silences())]
                    tasks += [group.create_task(self._fallback.run()), group.create_task(self._heartbeat.run())]
                    _leave_measurements_alone()
                    self._start_probes(self._loaded.config.enabled())
                    self._monitor = replace(self._monitor, ticking=True)
                    log.info("started", version=__version__, probes=len(self._loops), address=served.url)
                    self._systemd.tell(READY, f"STATUS=Watching, console at {served.url}")
                    started(served.url)
                    self._reloading.release()
                    await self._stop.wait()
                    log.info("stopping")
                    self._systemd.tell(STOPPING)
                    await self._reloading.acquire()  # a reload under way ends first, and none comes after
                    self._monitor = replace(self._monitor, ticking=False)
                    await self._stop_probes(list(self._loops))
                    await self._notifier.drain(DRAIN_SECONDS)
                    for task in [*tasks, *self._reloads]:
                        task.cancel()
        finally:
            await self._runner.close()
            self._store.close()

    @property
    def secrets(self) -> frozenset[str]:
        """Every secret of the configuration in force; no log line may hold one."""
        return self._loaded.config.secrets

    # --- what the web needs -------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What is known right now; the same object until something is known anew."""
        of = (self._cycle.changes, self._alive())
        if self._snapshot is None or self._snapshot_of != of:
            self._snapshot, self._snapshot_of = self._take_snapshot(), of
        return self._snapshot

    def _alive(self) -> bool:
        """Whether moments are still settled. If not, readiness ends and the watchdog falls silent."""
        return self._clock.monotonic() - self._cycle.settled_mono < ALIVE_SECONDS

    async def changed(self) -> None:
        """Return when the next snapshot is there."""
        await self._news.wait()

    async def history(self, probe: str, since: float) -> list[Bucket]:
        """The buckets of a probe from a wall time on, oldest first; minutes where the time is short enough."""
        seconds = history.resolution(self._clock.now() - since)
        kept = await asyncio.to_thread(self._store.buckets, probe, seconds, since)
        view = self.snapshot().probes.get(probe)
        return history.with_open(kept, view.past if view else Past(), seconds)

    async def reload(self) -> ReloadReport:
        """Read the configuration again: validate, diff, swap. A bad file changes nothing."""
        async with self._reloading:
            self._systemd.reloading(self._clock.monotonic())
            try:
                loaded = await asyncio.to_thread(self._load)
            except ConfigError as error:
                log.error("reload_failed", problems=[str(problem) for problem in error.problems])
                self._monitor = replace(self._monitor, reload_ok=False)
                self._cycle.changes += 1
                self._systemd.tell(READY)
                return ReloadReport(error="\n".join(str(problem) for problem in error.problems))
            report = _difference(self._loaded, loaded)
            await self._swap(loaded)
            self._systemd.tell(READY)
            log.info("reloaded", added=report.added, changed=report.changed, removed=report.removed)
            return report

    def record(self, key: str) -> Record | None:
        """All that is kept of one incident, however old; None if there is none. Reads the disk. StoreError if it cannot."""
        return record(self._store.path, key)

    def incidents_since(self, since: float) -> tuple[Incident, ...]:
        """Every incident that is open or was resolved after `since`; oldest first. Reads the disk, likewise."""
        return incidents_since(self._store.path, since)

    def pages_since(self, since: float) -> Sequence[Page]:
        """The pages of those. Reads the disk, likewise."""
        return pages_since(self._store.path, since)

    def timelines_since(self, since: float) -> Mapping[str, Sequence[Event]]:
        """The timelines of those. Reads the disk, likewise."""
        return timelines_since(self._store.path, since)

    async def act(self, key: str, what: Action, by: str) -> Incident:
        """Somebody does something to an incident; what became of it. Refused if it does not allow it."""
        return self._after(await self._cycle.act(key, what, by))

    async def open(self, what: Open, by: str) -> Incident:
        """Somebody reports an incident. Refused if one is open, or if there is no such scenario."""
        return self._after(await self._cycle.open(what, by))

    async def begin_maintenance(self, what: Maintenance, by: str) -> Window:
        """Hold incidents for a while. Refused if it is not known of what."""
        return self._after(await self._cycle.begin_maintenance(what.of, what.seconds, what.reason, by))

    async def end_maintenance(self, key: str) -> Window:
        """Maintenance is over before its time. Refused if none of this key is on."""
        return self._after(await self._cycle.end_maintenance(key))

    def _after(self, what: T) -> T:
        self._tell_news()
        return what

    # --- loops --------------------------------------------------------------------------------------------------------

    async def _keep_probing(self, config: ProbeConfig) -> None:
        """One probe's life: wait, run, judge, schedule the next."""
        name, clock = config.name, self._clock
        woken = self._woken.setdefault(name, asyncio.Event())
        due = clock.monotonic() + first_delay(name, config.interval, len(self._loops))
        while True:
            on_time = await _wait(woken, due - clock.monotonic())
            woken.clear()
            if on_time:
                self._schedule_lag = max(clock.monotonic() - due, self._schedule_lag * 0.9)
            result = await self._runner.run(config, self._cycle.cursor(name), self._cycle.measured(config))
            changing = await self._cycle.take(result, config)
            now = clock.monotonic()
            self._cycle.skip(name, missed(name, config.interval, max(due, result.mono), now))
            due = next_run(name, config.interval, config.retry_interval, now, changing=changing)
            self._tell_news()

    async def _pass_time(self) -> None:
        """Holds end, incidents resolve, the clock may be set: look at each moment that matters, at least every second."""
        while True:
            due = self._cycle.next_change()
            wait = TICK_SECONDS if due is None else min(TICK_SECONDS, max(0.0, due - self._clock.now()))
            if await _wait(self._stir, wait):
                await self._cycle.tick()
                self._tell_news()
            self._stir.clear()
            if self._alive():  # where results come faster than the tick, it is they that settle every moment
                self._systemd.tell(ALIVE)

    async def _reword(self) -> None:
        """Refresh the words of open pages, and the watchdog with them."""
        while True:
            self._notifier.set(self._alerts())
            await self._clock.sleep(WORDS_SECONDS)

    async def _reword_soon(self) -> None:
        """Refresh the words of what has just opened, once its probes have had time to answer."""
        while True:
            await self._opened.wait()
            self._opened.clear()
            await self._clock.sleep(ANSWER_SECONDS)
            self._notifier.set(self._alerts())

    def _start_probes(self, configs: Iterable[ProbeConfig]) -> None:
        assert self._group is not None
        for config in configs:
            self._loops[config.name] = self._group.create_task(self._keep_probing(config), name=f"probe {config.name}")

    async def _stop_probes(self, names: Iterable[str]) -> None:
        tasks = [self._loops.pop(name) for name in names if name in self._loops]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _wake(self, name: str, word: str) -> None:
        if name in self._woken:
            log.debug("woken", probe=name, why=word)
            self._woken[name].set()

    def _tell_news(self) -> None:
        self._stir.set()
        self._news.set()
        self._news = asyncio.Event()

    # --- reload -------------------------------------------------------------------------------------------------------

    async def _swap(self, loaded: Loaded) -> None:
        before, after = self._loaded.config, loaded.config
        stopped = [name for name, config in before.probes.items() if after.probes.get(name) != config]
        await self._stop_probes(stopped)
        self._loaded = loaded
        self._runner.secrets = before.secrets | after.secrets  # what was said before may still be shown
        await self._cycle.reconfigure(after, loaded.runbook)
        self._notifier.reconfigure(after.alertmanagers)
        self._fallback.reconfigure(after.fallback)
        self._heartbeat.reconfigure(after.heartbeat)
        await self._runner.retain(after.enabled())
        self._start_probes(config for config in after.enabled() if config.name not in self._loops)
        now = self._clock.now()
        self._monitor = replace(self._monitor, reload_ok=True, reloaded_at=now)
        self._cycle.changes += 1
        self._tell_news()

    # --- telling ------------------------------------------------------------------------------------------------------

    def _tell(self, told: Told) -> None:
        self._told = told
        self._notifier.set(self._alerts())
        openings = frozenset((item.key, item.opening) for item in told.incidents if item.open)
        if openings - self._openings:
            self._opened.set()
        self._openings = openings

    def _alerts(self) -> list[Alert]:
        """Everything that Alertmanager should know right now: open pages, pages that ended lately, the watchdog."""
        now, up = self._clock.now(), self._clock.monotonic() - self._began_mono
        external = self._cycle.config.web.external_url
        facts = self._cycle.facts()
        pages = [page for page in self._told.pages if still_told(page.ended_at, now, up)]
        told = {page.incident for page in pages}
        incidents = {item.key: item for item in self._told.incidents if item.key in told}
        words = {key: page_words(item, facts) for key, item in incidents.items()}
        alerts = [
            Alert(
                labels=page.labels,
                annotations=words[page.incident] | vendor_words(page, incidents[page.incident], facts),
                starts_at=page.fired_at,
                ends_at=page.ended_at,
                lease_seconds=PAGE_LEASE_SECONDS,
                generator_url=f"{external}/incidents/{page.incident}" if external else "",
            )
            for page in pages
            if page.incident in words
        ]
        alerts += [
            Alert(notice.labels, notice.words, notice.fired_at, notice.ended_at, PAGE_LEASE_SECONDS, external)
            for notice in self._told.notices
            if still_told(notice.ended_at, now, up)
        ]
        watchdog = {**self._cycle.config.labels, **WATCHDOG_LABELS}
        summary = {"title": "portal-monitor is alive", "summary": "Always firing: its absence is the alarm"}
        if self._alive():
            since = min(self._monitor.started_at, now)  # the clock may have been set back since
            alerts.append(Alert(watchdog, summary, since, None, WATCHDOG_LEASE_SECONDS, external))
        return alerts

    async def _follow_deliveries(self) -> None:
        """Keep when pages were taken, and end the updates and reminders that everybody has been told."""
        attention = Attention()
        while True:
            await self._clock.sleep(TICK_SECONDS)
            at = {page.identity: self._notifier.delivered(fingerprint(page.labels)) for page in self._undelivered()}
            if taken := {identity: when for identity, when in at.items() if when is not None}:
                await self._cycle.delivered(taken)
            over = attention.over(self._told.notices, self._is_everywhere, self._clock.monotonic())
            if over:
                await self._cycle.close_notices(lambda notice, over=over: notice.identity in over)  # type: ignore[misc]

    def _undelivered(self) -> list[Page]:
        return [page for page in self._cycle.pages() if page.delivered_at is None]

    def _is_everywhere(self, notice: Notice) -> bool:
        if not self._cycle.config.alertmanagers:
            return True  # nobody is to be told
        return self._notifier.delivered_everywhere(fingerprint(notice.labels))

    async def _watch_silences(self) -> None:
        """While a page is open: a silence on it is an answer, and what it covers is not delivered."""
        while True:
            await self._clock.sleep(SILENCES_SECONDS)
            await self._look_at_silences()

    async def _look_at_silences(self) -> None:
        pages = self._cycle.pages()
        try:
            held = await self._notifier.held('kind="page"') if pages and self._cycle.config.alertmanagers else []
        except AlertmanagerError:
            return  # what was known of silences is the best that is known
        for answer in answers(self._cycle.incidents(), pages, held, self.secrets):
            with suppress(Refused):  # somebody was quicker
                await self._cycle.act(answer.incident, answer.action, answer.by)
        found = silenced(pages, held, self.secrets)
        if found != self._silenced:
            self._silenced = found
            self._cycle.changes += 1
            self._tell_news()

    def _compose(self, page: Page) -> Message:
        """What the fallback carries of a page."""
        incident = next(item for item in self._told.incidents if item.key == page.incident)
        row = self._cycle.runbook.escalation.get(page.escalation_level)
        words = page_words(incident, self._cycle.facts())
        return message(page, words, row.to if row else "", self._clock.now())

    async def _carried(self, page: Page) -> None:
        await self._cycle.fell_back([page])

    async def _adopt(self) -> None:
        """With an empty store, take over the pages that Alertmanager still holds: somebody was told of them."""
        if not self._saved.empty or not self._loaded.config.alertmanagers:
            return
        with suppress(TimeoutError, AlertmanagerError):
            async with asyncio.timeout(ADOPTION_SECONDS):
                held = await self._notifier.held()
                await self._cycle.adopt((alert.labels, alert.starts_at) for alert in held)

    def _take_snapshot(self) -> Snapshot:
        monitor = replace(
            self._monitor,
            ticking=self._monitor.ticking and self._alive(),
            loop_lag_seconds=self._runner.watch.lag_seconds,
            schedule_lag_seconds=self._schedule_lag,
            store_error=self._store.error,
        )
        told = self._cycle.told()
        return Snapshot(
            self._clock.now(),
            self._cycle.config,
            self._cycle.runbook,
            monitor,
            self._cycle.probe_views(),
            self._cycle.scenario_views(),
            told.incidents,
            self._cycle.pages(),
            (
                *self._runner.families(),
                *self._notifier.families(),
                *self._fallback.families(),
                *self._heartbeat.families(),
            ),
            tuple(page for page in told.pages if page.ended_at is not None),
            told.notices,
            self._cycle.verdicts(),
            self._cycle.windows(),
            self._cycle.recorded,
            self._silenced,
        )

    # --- signals ------------------------------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)

    def _reload_soon(self) -> None:
        assert self._group is not None
        task = self._group.create_task(self._reload_and_forget(), name="reload")
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_and_forget(self) -> None:
        await self.reload()


def _leave_measurements_alone() -> None:
    """Keep what the interpreter does for itself out of what probes measure, which is milliseconds (`bench/beside.py`).

    A thread that renders metrics gives way ten times as soon as it would. And what start-up made is not garbage: to
    look through all of it again, at each full collection, would stop every probe for 60 ms.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set or the time has passed; True if it was the time."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return True
    return False


def _difference(before: Loaded, after: Loaded) -> ReloadReport:
    """Which probes and scenarios a new configuration adds, changes and removes, and what else it changes."""
    old = {**before.config.probes, **{f"scenario:{name}": item for name, item in before.runbook.scenarios.items()}}
    new = {**after.config.probes, **{f"scenario:{name}": item for name, item in after.runbook.scenarios.items()}}
    fixed = {"store": (before.config.store, after.config.store), "web": (before.config.web, after.config.web)}
    later = tuple(f"{name} (takes effect at the next start)" for name, (was, is_) in fixed.items() if was != is_)
    keys = ("alertmanagers", "labels", "calendar", "maintenance", "fallback", "heartbeat")
    other = tuple(key for key in keys if getattr(before.config, key) != getattr(after.config, key))
    return ReloadReport(
        added=tuple(name for name in new if name not in old),
        changed=(*(name for name in new if name in old and old[name] != new[name]), *other, *later),
        removed=tuple(name for name in old if name not in new),
    )


def write_token(path: Path) -> SecretStr:
    """A new token for changes over HTTP, in a file that only this user can read."""
    token = secrets.token_urlsafe(32)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(token + "\n")
    return SecretStr(token)
