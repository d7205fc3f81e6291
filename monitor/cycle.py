"""The one data path: Result -> level -> severity -> incident -> store -> what is told.

The order carries meaning: nothing is sent that is not saved. A moment is settled in `_settle`; everything it decides
is a pure function of `monitor.core`, and everything it changes is one transaction.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from types import MappingProxyType

import structlog
from pydantic import SecretStr

from monitor.alerting.diagnosis import found, names_of
from monitor.alerting.facts import Facts
from monitor.alerting.pages import notice_labels, notice_words, page_labels
from monitor.clock import STEP_SECONDS, Clock, StepWatch, step_between
from monitor.core import action, escalation, evidence, history, incident, level, maintenance, severity
from monitor.core.action import Action, Open, Refused
from monitor.core.config import Config, ProbeConfig
from monitor.core.evidence import Measured
from monitor.core.history import News, Past
from monitor.core.incident import Began, Event, Incident, Notice, NoticeKind, Page, Step
from monitor.core.level import ProbeState
from monitor.core.maintenance import Window
from monitor.core.probe import Json, Outcome, Quiet, Result, Value
from monitor.core.quantity import format_duration
from monitor.core.runbook import Level, Runbook, Severity
from monitor.core.severity import RuleKey, Verdict
from monitor.core.snapshot import DURATION_EDGES, ProbeView, ScenarioView, Tally
from monitor.store import Changes, Saved, SavedProbe, Store, record

log = structlog.get_logger()

DISK_PATIENCE_SECONDS = 2.0  # how long a transition waits for the disk; then it is told from memory
FORGET_SECONDS = 31 * 86400.0  # how long a resolved incident is kept at hand
UNSURE_SECONDS = 2 * 3600.0  # after a step of the clock: as long as two of the longest windows of a log
LATE_SECONDS = 30.0  # a page that much after its time says so
FRESH_SECONDS = 1.0  # a probe that ran that lately is not woken when an incident opens
SIGHT_SECONDS = 60.0  # after a start: how long an incident of before waits for its probes before it goes further


@dataclass(frozen=True, slots=True)
class Told:
    """What the world may know after a moment was settled: incidents and pages, all of them saved."""

    incidents: tuple[Incident, ...]
    pages: tuple[Page, ...]  # open, or ended lately
    notices: tuple[Notice, ...]  # likewise
    changed: bool  # an incident or page is not as it was


@dataclass(slots=True)
class _Probe:
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


@dataclass(slots=True)
class _Turn:
    """What one moment changes, while it is being found out."""

    now: float
    incidents: dict[str, Incident] = field(default_factory=dict)  # the newest of its scenario
    older: list[Incident] = field(default_factory=list)  # not the newest any more
    events: list[Event] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    updates: set[str] = field(default_factory=set)  # scenarios of which people are to be told anew
    taking: set[tuple[str, Severity]] = field(default_factory=set)  # severities that scenarios took


class Cycle:
    """Holds the present state and moves it by one result, or by the passing of time."""

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
        self._link_secret = link_secret
        self._began_mono = clock.monotonic()
        self._lock = asyncio.Lock()
        self._unsure_until = 0.0  # monotonic: until then a quiet log is no proof that all is well
        self._steps = StepWatch(clock)
        self._probes: dict[str, _Probe] = {}
        self._rules: dict[RuleKey, float] = dict(saved.rules)
        self._incidents: dict[str, Incident] = {}  # the newest of each scenario
        self._past: dict[str, Incident] = {item.key: item for item in saved.incidents}
        self._pages: list[Page] = list(saved.pages)
        self._notices: list[Notice] = list(saved.notices)
        self._windows: dict[str, Window] = {window.key: window for window in saved.windows}
        self._active: tuple[Window, ...] = ()  # maintenance that is on
        self._maintained: frozenset[str] = frozenset()  # what it is of
        self._windows_change_at: float | None = -math.inf  # when another set of them is (wall time)
        self._remind_at = -math.inf  # wall time before which nobody has to be reminded of anything
        self._opened: dict[tuple[str, Severity], int] = dict(saved.opened)
        self._numbers: dict[str, int] = dict(saved.numbers)
        self._verdicts: dict[str, Verdict] = {}
        for item in saved.incidents:
            newest = self._incidents.get(item.scenario)
            if newest is None or (item.open, item.opened_at) >= (newest.open, newest.opened_at):
                self._incidents[item.scenario] = item
        self._configure(config, saved.probes)

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
            probe = self._probes.get(result.probe)
            if probe is None or probe.config.target != config.target:
                return False  # gone, or another target by now
            await self._look_at_clock()
            result = self._by_this_clock(result)
            if result.quiet is Quiet.CLEAR and self._clock.monotonic() < self._unsure_until:
                result = replace(result, quiet=Quiet.HOLD)
            touched = self._judge(probe, result)
            await self._settle(touched)
            return probe.state.changing

    async def tick(self) -> None:
        """Time has passed."""
        async with self._lock:
            await self._look_at_clock()
            await self._settle({})

    def next_change(self) -> float | None:
        """When (wall seconds) a hold ends, an incident resolves, a page or a reminder is due, maintenance is over."""
        now = self._clock.now()
        moments = [severity.next_change(self._verdicts), self._remind_at, self._windows_change_at]
        for item in self._incidents.values():
            if not item.open:
                continue
            moments.append(incident.next_change(item, self.runbook.lifecycle))
            steps = escalation.upcoming(self.runbook, item, self._pages, recorded=self.recorded)
            moments += [step.at for step in steps]
            moments.append(item.opened_at + escalation.PARENT_PATIENCE_SECONDS)
        sight = SIGHT_SECONDS - (self._clock.monotonic() - self._began_mono)
        moments.append(now + sight if sight > 0 and any(item.open for item in self._incidents.values()) else None)
        # What was due earlier was settled then, and found nothing to do.
        return min((at for at in moments if at is not None and at > now and math.isfinite(at)), default=None)

    def skip(self, name: str, runs: int) -> None:
        """Count runs that were due while the one before was still going."""
        probe = self._probes.get(name)
        if probe is not None and runs:
            probe.tally = replace(probe.tally, skipped=probe.tally.skipped + runs)

    def cursor(self, name: str) -> Json:
        """What the probe must remember."""
        return self._probes[name].cursor if name in self._probes else None

    def measured(self, config: ProbeConfig) -> Measured:
        """What the probes that this one reads have measured lately."""
        read = [self._probes[name] for name in evidence.sources(config) if name in self._probes]
        return evidence.measured(((probe.config, probe.result) for probe in read), self._clock.now())

    async def reconfigure(self, config: Config, runbook: Runbook) -> None:
        """Swap the configuration. A changed target drops state and cursor; thresholds are judged at the next run."""
        async with self._lock:
            await self._look_at_clock()
            self._remind_at = -math.inf
            before = {name: probe.row() for name, probe in self._probes.items()}
            gone = tuple(name for name in before if name not in config.probes)
            self.runbook = runbook
            self._remind_at = -math.inf  # another calendar
            self._configure(config, before)
            wanted = {(name, rule.key) for name, item in runbook.scenarios.items() for rule in item.rules}
            dropped: dict[RuleKey, float | None] = {key: None for key in self._rules if key not in wanted}
            self._rules = {key: since for key, since in self._rules.items() if key in wanted}
            touched = {name: probe.row() for name, probe in self._probes.items()}
            await self._settle(touched, force=True, gone=gone, dropped=dropped)

    async def adopt(self, held: Iterable[tuple[Mapping[str, str], float]]) -> None:
        """Take over pages (labels, start) that Alertmanager still holds although the store knows nothing."""
        async with self._lock:
            await self._look_at_clock()
            pages = [
                page
                for labels, since in held
                if (page := _adopted(labels, since, self.runbook, self.config.labels)) is not None
            ]
            by_incident: dict[str, list[Page]] = {}
            for page in pages:
                by_incident.setdefault(page.incident, []).append(page)
            for key, ours in by_incident.items():
                scenario = ours[0].labels["scenario"]
                if scenario in self._incidents:
                    continue
                began = min(page.fired_at for page in ours)
                worst = min(page.severity for page in ours)
                item = Incident(key, scenario, incident.State.INVESTIGATING, worst, worst, began, began)
                item = replace(item, detected_at=began, updated_at=began).takes(worst, began)
                self._incidents[scenario] = self._past[key] = item
                self._pages += ours
                event = self._event(key, "adopted", "Alertmanager still held its pages; the store knew nothing")
                await self._store.save(Changes(incidents=(item,), pages=tuple(ours), events=(event,)))
            await self._settle({}, force=bool(pages))

    # --- what people do -----------------------------------------------------------------------------------------------

    async def act(self, key: str, what: Action, by: str) -> Incident:
        """Somebody does something to an incident. Refused if it does not allow it. Returns what became of it."""
        async with self._lock:
            await self._look_at_clock()
            item = self._past.get(key) or await self._long_over(key)
            if item is None:
                raise Refused(f'there is no incident "{key}"')
            scenario, verdict = self.runbook.scenarios.get(item.scenario), self._verdicts.get(item.scenario)
            step = action.act(item, what, self._clock.now(), by, scenario=scenario, verdict=verdict)
            await self._settle({}, by_hand=(step, by))
            return self._past.get(key, step.incident or item)

    async def _long_over(self, key: str) -> Incident | None:
        """An incident that is not at hand any more: its review may be held late, and a note is never too late."""
        kept = await asyncio.to_thread(record, self._store.path, key)
        return kept.incident if kept else None

    async def open(self, what: Open, by: str) -> Incident:
        """Somebody reports an incident. Refused if one is open, or if there is no such scenario."""
        async with self._lock:
            await self._look_at_clock()
            last = self._incidents.get(what.scenario)
            step = action.open_by_hand(what, last, self.runbook, self._clock.now(), by, known=self._numbers)
            await self._settle({}, by_hand=(step, by))
            return self._incidents[what.scenario]

    async def begin_maintenance(self, of: Iterable[str], seconds: float, reason: str, by: str) -> Window:
        """Hold incidents of these probes and scenarios (`scenario:redis`) for so long. Refused if one is not known."""
        async with self._lock:
            await self._look_at_clock()
            now, of = self._clock.now(), tuple(of)
            for name in of:
                known = name in self.config.probes or name.removeprefix("scenario:") in self.runbook.scenarios
                if not known:
                    raise Refused(f'there is no probe and no scenario "{name}"')
            if not of or seconds <= 0:
                raise Refused("say of what, and for how long")
            subjects = tuple(name if name in self.config.probes else f"scenario:{_bare(name)}" for name in of)
            key = incident.incident_key("maintenance", now, self._windows)
            window = Window(key, subjects, now, now + seconds, reason, by)
            self._windows[key] = window
            await self._settle({}, windows=(window,))
            return window

    async def end_maintenance(self, key: str) -> Window:
        """Maintenance is over before its time. What still fails opens now."""
        async with self._lock:
            await self._look_at_clock()
            now, window = self._clock.now(), self._windows.get(key)
            if window is None or not window.covers(now):
                raise Refused(f'no maintenance "{key}" is under way')
            window = self._windows[key] = replace(window, ends_at=now)
            await self._settle({}, windows=(window,))
            return window

    async def close_notices(self, over: Callable[[Notice], bool]) -> None:
        """End the updates and reminders of which everybody has been told for long enough."""
        async with self._lock:
            await self._look_at_clock()
            now = self._clock.now()
            ended = [replace(item, ended_at=now) for item in self._notices if item.ended_at is None and over(item)]
            if not ended:
                return
            self._replace_notices(ended)
            await asyncio.wait({self._store.save(Changes(notices=tuple(ended)))}, timeout=DISK_PATIENCE_SECONDS)
            self._tell(self.told())

    async def fell_back(self, pages: Iterable[Page]) -> None:
        """The fallback has carried these pages."""
        async with self._lock:
            await self._look_at_clock()
            now, carried = self._clock.now(), {page.identity for page in pages}
            moved = [replace(page, fell_back_at=now) for page in self._pages if page.identity in carried]
            events = tuple(self._event(page.incident, "fallback", self._carried(page)) for page in moved)
            await self._keep_pages(moved, events)

    async def delivered(self, at: Mapping[tuple[object, ...], float]) -> None:
        """The first Alertmanager took these pages (by identity) at these wall times."""
        async with self._lock:
            pages = [page for page in self._pages if page.delivered_at is None and page.identity in at]
            await self._keep_pages([replace(page, delivered_at=at[page.identity]) for page in pages])

    # --- what can be seen ---------------------------------------------------------------------------------------------

    def probe_views(self) -> Mapping[str, ProbeView]:
        """Every probe of the configuration, also the disabled ones."""
        views = {name: ProbeView(config) for name, config in self.config.probes.items()}
        return MappingProxyType(views | {name: _view(probe) for name, probe in self._probes.items()})

    def scenario_views(self) -> Mapping[str, ScenarioView]:
        """Every scenario of the runbook."""
        return MappingProxyType({name: self._scenario_view(name) for name in self.runbook.scenarios})

    def verdicts(self) -> Mapping[str, Verdict]:
        """What the rules say, by scenario."""
        return MappingProxyType(self._verdicts)

    def incidents(self) -> tuple[Incident, ...]:
        """Open ones first (worst first), then those resolved lately (newest first)."""
        open_ = sorted((item for item in self._past.values() if item.open), key=lambda item: (item.severity, item.key))
        over = sorted(
            (item for item in self._past.values() if not item.open), key=lambda item: -(item.resolved_at or 0)
        )
        return tuple(open_ + over)

    def pages(self) -> tuple[Page, ...]:
        """Open ones."""
        return tuple(page for page in self._pages if page.ended_at is None)

    def told(self) -> Told:
        """All that anybody may know."""
        return Told(self.incidents(), tuple(self._pages), tuple(self._notices), changed=True)

    def windows(self) -> tuple[Window, ...]:
        """Maintenance that is on now."""
        return self._active

    @property
    def recorded(self) -> bool:
        """Whether a way to acknowledge is in use, so that no answer means that nobody answered."""
        return self.config.web.linked or any(item.first_ack is not None for item in self._past.values())

    def facts(self) -> Facts:
        """What words are made from."""
        return Facts(
            self.runbook, self.probe_views(), self.config, self._clock.now(), tuple(self._pages), self._store.error,
            recorded=self.recorded, link_secret=self._link_secret,
        )  # fmt: skip

    def _scenario_view(self, name: str) -> ScenarioView:
        verdict = self._verdicts.get(name)
        item = self._incidents.get(name)
        open_ = item if item is not None and item.open else None
        paged = [page for page in self.pages() if open_ is not None and page.incident == open_.key]
        return ScenarioView(
            name,
            derived=verdict.severity if verdict else None,
            unknown=verdict.unknown if verdict else True,
            incident=open_,
            escalation_level=max((int(page.escalation_level[1]) for page in paged if page.vendor == "none"), default=0),
            opened_total={level_: count for (scenario, level_), count in self._opened.items() if scenario == name},
            response_overdue=open_ is not None
            and escalation.response_overdue(self.runbook, open_, self._clock.now(), recorded=self.recorded),
        )

    # --- a run --------------------------------------------------------------------------------------------------------

    def _judge(self, probe: _Probe, result: Result) -> dict[str, SavedProbe]:
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

    def _show(self, probe: _Probe, now: float) -> None:
        probe.state = level.show(probe.state, self._needs(probe.config), now)

    def _needs(self, config: ProbeConfig) -> dict[str, ProbeState]:
        return {name: self._probes[name].state for name in config.needs if name in self._probes}

    def _dependents(self, name: str) -> list[str]:
        """Everything that needs this probe, directly or not, each after what it needs itself."""
        return self._dependents_of.get(name, [])

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
        now = self._clock.now()
        states = {name: probe.state if probe.fresh else ProbeState() for name, probe in self._probes.items()}
        self._look_at_windows(now, anew=force or bool(windows))
        self._verdicts = severity.evaluate(self.runbook, states, self._rules, now, self._maintained)
        rules = self._move_rules() | dict(dropped)
        turn = _Turn(now)
        if by_hand is not None:
            self._take(turn, *by_hand)
        self._move_incidents(turn)
        self._note_findings(turn)
        self._link_parents(turn)
        self._follow_vendors(turn, states)
        self._move_pages(turn, states)
        self._move_notices(turn)
        for item in turn.incidents.values():
            self._incidents[item.scenario] = self._past[item.key] = item
        changes = Changes(
            touched, gone, rules, (*turn.incidents.values(), *turn.older), tuple(turn.pages), tuple(turn.notices),
            tuple(turn.events), windows, self._count_openings(turn),
        )  # fmt: skip
        saved = self._store.save(changes)
        saved.add_done_callback(lambda done: self._committed(touched, done))
        if changes.transition:
            await asyncio.wait({saved}, timeout=DISK_PATIENCE_SECONDS)  # a disk that hangs must not keep pages back
        self.changes += 1
        self.settled_mono = self._clock.monotonic()
        for event in turn.events:
            log.info("incident", incident=event.incident, kind=event.kind, text=event.text, by=event.by)
        if changes.transition or force:
            self._forget_the_old(now)
            self._tell(self.told())
        self._look_closer(turn)

    def _committed(self, rows: Mapping[str, SavedProbe], done: asyncio.Future[bool]) -> None:
        """What was counted may be shown now: an exported counter is never taken back by a crash."""
        if done.cancelled() or not done.result():
            return
        for name, row in rows.items():
            if name in self._probes:
                self._probes[name].counted = row.tally
        self.changes += 1

    def _forget_the_old(self, now: float) -> None:
        """Keep at hand what may still matter; the store keeps all."""
        gone = {key for key, item in self._past.items() if (item.resolved_at or now) < now - FORGET_SECONDS}
        self._past = {key: item for key, item in self._past.items() if key not in gone}
        self._pages = [page for page in self._pages if page.incident not in gone]
        self._notices = [notice for notice in self._notices if notice.incident not in gone]
        self._windows = {key: window for key, window in self._windows.items() if window.ends_at > now}

    def _look_at_windows(self, now: float, *, anew: bool) -> None:
        """Which maintenance is on, and until when that is so: a cron expression is not read again at every run."""
        if anew or (self._windows_change_at is not None and now >= self._windows_change_at):
            plans, windows = self.config.maintenance, self._windows.values()
            self._active = tuple(maintenance.active(plans, windows, now))
            self._maintained = frozenset(name for window in self._active for name in window.of)
            self._windows_change_at = maintenance.next_change(plans, windows, now)

    def _move_rules(self) -> dict[RuleKey, float | None]:
        held = severity.held_since(self._verdicts)
        moved: dict[RuleKey, float | None] = {
            key: since for key, since in held.items() if self._rules.get(key) != since
        }
        moved |= {key: None for key in self._rules if key not in held}
        self._rules = held
        return moved

    def _take(self, turn: _Turn, step: Step, by: str) -> None:
        """What a moment, or a person, made of an incident."""
        if step.incident is None:
            return
        known = self._past.get(step.incident.key)
        if known is not step.incident and known != step.incident:
            if (
                self._incidents.get(step.incident.scenario, step.incident).key == step.incident.key
                or step.incident.open
            ):
                turn.incidents[step.incident.scenario] = step.incident
            else:
                turn.older.append(step.incident)
                self._past[step.incident.key] = step.incident
        turn.events += [self._event(step.incident.key, kind, text, by) for kind, text in step.events]
        turn.taking |= _taking(known, step.incident)
        if step.update:
            turn.updates.add(step.incident.scenario)

    def _move_incidents(self, turn: _Turn) -> None:
        known = {**self._verdicts}
        for name, last in self._incidents.items():
            if last.open and name not in known:  # its scenario left the runbook: nothing can hold it open
                known[name] = Verdict(name, None, ())
        for name, verdict in known.items():
            last_or_none = turn.incidents.get(name, self._incidents.get(name))
            step = incident.advance(
                last_or_none, verdict, self.runbook.lifecycle, turn.now, self._began(name), known=self._numbers
            )
            if step.incident is not None and step.incident != last_or_none:
                self._take(turn, step, "monitor")

    def _note_findings(self, turn: _Turn) -> None:
        """Write down what failed, in which order and by how much, whenever that made things worse: values are fleeting."""
        worse = {"opened", "reopened", "severity", "relapsed"}
        for key in dict.fromkeys(each.incident for each in turn.events if each.kind in worse and each.by == "monitor"):
            scenario = self.runbook.scenarios.get(self._scenario_of(key, turn))
            asked = names_of(scenario) if scenario else []
            failing = [
                (probe.state.failing_since, _view(probe))
                for name, probe in self._probes.items()
                if probe.state.level in {Level.FAIL, Level.WARN}
                or (name in asked and probe.fresh and probe.state.level is Level.UNKNOWN)
            ]
            if failing:
                turn.events.append(self._event(key, "found", found(failing, turn.now)))

    def _look_closer(self, turn: _Turn) -> None:
        """Wake the probes behind an incident that has just opened, so that the first words have fresh values."""
        opened = {event.incident for event in turn.events if event.kind in {"opened", "reopened"}}
        for item in turn.incidents.values():
            scenario = self.runbook.scenarios.get(item.scenario)
            for name in names_of(scenario) if scenario and item.key in opened else ():
                last = self._probes[name].result if name in self._probes else None
                if last is None or turn.now - last.at > FRESH_SECONDS:
                    self._wake(name, f"{item.key} opened")

    def _count_openings(self, turn: _Turn) -> dict[tuple[str, Severity], int]:
        """Count each severity that an incident took, in each of its openings."""
        counted = {}
        for key in turn.taking:
            counted[key] = self._opened[key] = self._opened.get(key, 0) + 1
        return counted

    def _link_parents(self, turn: _Turn) -> None:
        """Name the cause of each open incident, or that it has none any more."""
        newest = {**self._incidents, **turn.incidents}
        for name, item in newest.items():
            if not item.open or name not in self.runbook.scenarios:
                continue
            parent = None if item.declared_at else escalation.silenced_by(self.runbook, item, newest)
            if parent != item.parent:
                turn.incidents[name] = replace(item, parent=parent)
                text = f"A symptom of {newest[parent].key}" if parent else "Its cause is over, it is not"
                turn.events.append(self._event(item.key, "linked" if parent else "unlinked", text))

    def _follow_vendors(self, turn: _Turn, states: Mapping[str, ProbeState]) -> None:
        """Note since when what a vendor answers for has failed: the clock of its page."""
        for name, item in {**self._incidents, **turn.incidents}.items():
            scenario = self.runbook.scenarios.get(name)
            if not item.open or scenario is None or scenario.vendor is None:
                continue
            since = escalation.vendor_since(
                scenario, item, states, self._verdicts, turn.now, maintained=self._maintained
            )
            if since != item.vendor_since:
                turn.incidents[name] = replace(item, vendor_since=since)

    def _move_pages(self, turn: _Turn, states: Mapping[str, ProbeState]) -> None:
        """Fire what is due, end what is over. Labels are filled in once, here."""
        for name, item in ({**self._incidents, **turn.incidents}).items():
            ours = [page for page in self._pages if page.incident == item.key]
            if not item.open:
                turn.pages += [replace(page, ended_at=turn.now) for page in ours if page.ended_at is None]
                continue
            scenario = self.runbook.scenarios.get(name)
            if scenario is None or not self._in_sight(item):
                continue
            coming = not item.by_hand and escalation.parent_coming(
                self.runbook, name, states, self._verdicts, item.opened_at + escalation.PARENT_PATIENCE_SECONDS
            )
            failing = escalation.vendor_failing(scenario, item, states, self._verdicts, self._maintained)
            for page in escalation.due_pages(
                self.runbook, item, ours, turn.now,
                recorded=self.recorded, parent_coming=coming, vendor_unsure=failing is None,
            ):  # fmt: skip
                labels = page_labels(scenario, item, page, self.config.labels)
                turn.pages.append(replace(page, labels=labels))
                turn.events.append(self._event(item.key, "paged", self._paged(page)))
        self._replace_pages(turn.pages)

    async def _keep_pages(self, moved: list[Page], events: tuple[Event, ...] = ()) -> None:
        """Save what became of pages; what is told of them changes with it."""
        if not moved:
            return
        self._replace_pages(moved)
        changes = Changes(pages=tuple(moved), events=events)
        await asyncio.wait({self._store.save(changes)}, timeout=DISK_PATIENCE_SECONDS)
        self.changes += 1
        self._tell(self.told())

    def _carried(self, page: Page) -> str:
        waited = format_duration(max(0.0, round(self._clock.now() - page.fired_at)))
        return f"No Alertmanager took the page to {self._whom(page)} for {waited}; the fallback carried it"

    def _whom(self, page: Page) -> str:
        row = self.runbook.escalation.get(page.escalation_level)
        who = page.escalation_level if row is None else f"{page.escalation_level} {row.to}"
        who += f" ({page.vendor})" if page.vendor != "none" else ""
        return who + (", second call" if page.attempt > 1 else "")

    def _paged(self, page: Page) -> str:
        who = f"{self._whom(page)} at {page.severity}"
        late = page.fired_at - page.due_at
        return who + (f", {format_duration(round(late))} late" if late >= LATE_SECONDS else "")

    def _in_sight(self, item: Incident) -> bool:
        """Whether its probes have been seen in this process, so that nothing goes further on old news."""
        if item.opened_at > self._clock.now() - (self._clock.monotonic() - self._began_mono):
            return True  # it opened in this process
        scenario = self.runbook.scenarios.get(item.scenario)
        names = {term.name for rule in scenario.rules for term in rule.terms} if scenario else set()
        seen = all(self._probes[name].fresh for name in names if name in self._probes)
        return seen or self._clock.monotonic() - self._began_mono >= SIGHT_SECONDS

    def _move_notices(self, turn: _Turn) -> None:
        """Status updates to those who have been paged before, and reminders."""
        paged = {page.incident for page in turn.pages if page.ended_at is None and page.fired_at == turn.now}
        for name in sorted(turn.updates & set(turn.incidents)):
            item = turn.incidents[name]
            known = any(page.incident == item.key and page.opening == item.opening for page in self._pages)
            if known and item.key not in paged and item.parent is None:
                item = turn.incidents[name] = escalation.numbered(item)
                turn.notices.append(escalation.update_notice(item, turn.now))
        if turn.incidents or turn.older or turn.now >= self._remind_at:
            self._remind(turn)
        newest = {item.key: item for item in turn.incidents.values()}
        for index, notice in enumerate(turn.notices):
            item = newest.get(notice.incident) or self._past[notice.incident]
            scenario = self.runbook.scenarios.get(item.scenario)
            labels = notice_labels(scenario, item, notice, self.config.labels)
            words = notice_words(item, notice, self.facts())
            turn.notices[index] = replace(notice, labels=labels, words=words)
            update = notice.kind is NoticeKind.UPDATE
            said = ("told", f"Status update {notice.key}") if update else ("reminded", words["summary"])
            turn.events.append(self._event(item.key, *said))
        self._replace_notices(turn.notices)

    def _remind(self, turn: _Turn) -> None:
        now, ours = turn.now, {**self._past, **{item.key: item for item in turn.incidents.values()}}
        told = {page.incident for page in self._pages}
        calendar, recorded = self.config.calendar, self.recorded
        next_: list[float | None] = []
        for item in ours.values():
            if item.key not in told:
                continue
            notices = escalation.due_reminders(self.runbook, calendar, item, self._notices, now, recorded=recorded)
            if item.open and not self._in_sight(item):
                next_.append(now)  # what is due waits, and is looked at again at the next moment
                continue
            turn.notices += notices
            next_.append(escalation.next_reminder(self.runbook, calendar, item, now, recorded=recorded))
        self._remind_at = min((at for at in next_ if at is not None), default=math.inf)

    def _replace_pages(self, moved: Iterable[Page]) -> None:
        by_identity = {page.identity: page for page in self._pages} | {page.identity: page for page in moved}
        self._pages = list(by_identity.values())

    def _replace_notices(self, moved: Iterable[Notice]) -> None:
        by_identity = {item.identity: item for item in self._notices}
        self._notices = list((by_identity | {item.identity: item for item in moved}).values())

    def _began(self, scenario: str) -> Began:
        """When what makes the scenario's verdict began to fail, and when it was last well."""
        verdict = self._verdicts.get(scenario)
        terms = [term for rule in verdict.rules for term in rule.rule.terms if rule.matured] if verdict else []
        states = [
            (self._probes[term.name].state, term)
            for term in terms
            if term.kind == "probe" and term.name in self._probes and verdict and term.text in verdict.because
        ]
        begun = [at for state, term in states if (at := state.begun(term.why, term.at)) is not None]
        started = min(begun, default=None)
        good = [at for state, _ in states if (at := state.last_success_at) is not None]
        good = [at for at in good if started is not None and at <= started]
        return Began(started, max(good, default=None))

    def _scenario_of(self, key: str, turn: _Turn) -> str:
        newest = (item.scenario for item in turn.incidents.values() if item.key == key)
        return next(newest, "") or (self._past[key].scenario if key in self._past else "")

    def _event(self, key: str, kind: str, text: str, by: str = "monitor") -> Event:
        self._numbers[key] = self._numbers.get(key, 0) + 1
        return Event(key, self._numbers[key], self._clock.now(), kind, text, by)

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
        for probe in self._probes.values():
            probe.state = level.shift(probe.state, seconds)
        self._rules = {key: since + seconds for key, since in self._rules.items()}
        self._past = {key: incident.shift(item, seconds) for key, item in self._past.items()}
        self._incidents = {name: incident.shift(item, seconds) for name, item in self._incidents.items()}
        self._pages = [incident.shift_page(page, seconds) for page in self._pages]
        self._notices = [incident.shift_notice(notice, seconds) for notice in self._notices]
        self._windows = {key: maintenance.shift(window, seconds) for key, window in self._windows.items()}
        self._remind_at = self._windows_change_at = -math.inf
        text = f"The clock was set by {seconds:+.0f} s; earlier times are shown by the new clock"
        events = tuple(self._event(item.key, "clock", text) for item in self._incidents.values() if item.open)
        self._unsure_until = self._clock.monotonic() + UNSURE_SECONDS
        rows = {name: probe.row() for name, probe in self._probes.items()}
        incidents = tuple(self._past.values())
        changes = Changes(
            rows, (), dict(self._rules), incidents, tuple(self._pages), tuple(self._notices), events,
            tuple(self._windows.values()), shift_seconds=seconds,
        )  # fmt: skip
        await asyncio.wait({self._store.save(changes)}, timeout=DISK_PATIENCE_SECONDS)
        self._tell(self.told())

    # --- configuration ------------------------------------------------------------------------------------------------

    def _configure(self, config: Config, rows: Mapping[str, SavedProbe]) -> None:
        fresh = {name for name, probe in self._probes.items() if probe.fresh}
        self.config = config
        probes: dict[str, _Probe] = {}
        for item in config.enabled():
            row = rows.get(item.name)
            if row is None or row.target != _digest(item.target):
                probes[item.name] = _Probe(item, tally=row.tally if row else Tally())
            elif item.name in fresh:
                probes[item.name] = _Probe(item, row.state, row.cursor, row.tally, row.result, fresh=True)
            else:
                state = level.forget_monotonic(row.state)
                probes[item.name] = _Probe(item, state, row.cursor, row.tally, row.result)
            if row is not None:
                probes[item.name].past = history.resume(row.past, item)
        self._probes = probes
        self._dependents_of = {name: _dependents(name, config) for name in probes}


def _dependents(name: str, config: Config) -> list[str]:
    """Who needs this probe, directly or not, in an order in which each comes after what it needs."""
    found: list[str] = []
    ring = [name]
    while ring:
        ring = [item.name for item in config.enabled() if set(item.needs) & set(ring)]
        found = [other for other in found if other not in ring] + ring
    return found


def _view(probe: _Probe) -> ProbeView:
    """The probe as it is shown; the same object as long as nothing of it changes."""
    of = (probe.config, probe.state, probe.result, probe.counted, probe.past)
    if probe.shown is None or any(one is not other for one, other in zip(probe.shown[0], of, strict=True)):
        probe.shown = of, _new_view(probe)
    return probe.shown[1]


def _new_view(probe: _Probe) -> ProbeView:
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


def _taking(before: Incident | None, after: Incident) -> set[tuple[str, Severity]]:
    """The severities that it newly took, but for those that it had in this opening before."""
    had = before.taken if before else ()
    known = {taken.severity for taken in had if taken.opening == after.opening}
    return {(after.scenario, taken.severity) for taken in after.taken[len(had) :] if taken.severity not in known}


def _bare(name: str) -> str:
    return name.removeprefix("scenario:")


def _adopted(labels: Mapping[str, str], since: float, runbook: Runbook, own: Mapping[str, str]) -> Page | None:
    """The page that these labels are; None for another kind of alert, another monitor's, or an unknown scenario."""
    if labels.get("kind") != "page" or labels.get("scenario") not in runbook.scenarios:
        return None
    if any(labels.get(name) != value for name, value in own.items()):
        return None
    try:
        return Page(
            labels["incident"], 1, Severity[labels["severity"]], labels["escalation_level"], labels["vendor"],
            int(labels["attempt"]), dict(labels), since, since, delivered_at=since,
        )  # fmt: skip
    except (KeyError, ValueError):
        return None


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
