"""Every incident at hand and what was told of it: what one moment makes of them all.

What is decided is pure (`monitor.core`); here it is brought together in an order that carries meaning: a person's act,
incidents, causes, vendors, pages, and at last what is told beside the pages. Nothing is saved or sent here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from pydantic import SecretStr

from monitor.alerting.diagnosis import found, names_of
from monitor.alerting.facts import Facts
from monitor.alerting.pages import notice_labels, notice_words, page_labels
from monitor.clock import Clock
from monitor.core import action, escalation, incident, maintenance, severity
from monitor.core.action import Action, Open, Refused
from monitor.core.config import Config
from monitor.core.explanation import by_incident
from monitor.core.incident import Began, Event, Incident, Notice, NoticeKind, Page, Step
from monitor.core.level import ProbeState
from monitor.core.maintenance import Window
from monitor.core.mistakes import suggestion
from monitor.core.quantity import format_duration
from monitor.core.runbook import Level, Runbook, Severity
from monitor.core.severity import RuleKey, Verdict
from monitor.core.snapshot import ScenarioView
from monitor.levels import Levels, view
from monitor.store import AT_HAND_SECONDS, Saved

LATE_SECONDS = 30.0  # a page that much after its time says so
SIGHT_SECONDS = 60.0  # after a start: how long an incident of before waits for its probes before it goes further


@dataclass(slots=True)
class Turn:
    """What one moment changes, while it is being found out."""

    now: float
    incidents: dict[str, Incident] = field(default_factory=dict)  # the newest of its scenario
    older: list[Incident] = field(default_factory=list)  # not the newest any more
    events: list[Event] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    updates: set[str] = field(default_factory=set)  # scenarios of which people are to be told anew
    taking: set[tuple[str, Severity]] = field(default_factory=set)  # severities that scenarios took
    opened: dict[tuple[str, Severity], int] = field(default_factory=dict)  # how often each of those by now
    rules: dict[RuleKey, float | None] = field(default_factory=dict)  # since when each holds; None: no more
    windows: list[Window] = field(default_factory=list)  # maintenance

    @property
    def opening(self) -> list[Incident]:
        """Those that open in this moment."""
        keys = {event.incident for event in self.events if event.kind in {"opened", "reopened"}}
        return [item for item in self.incidents.values() if item.key in keys]


class Casebook:
    """Incidents, pages, notices and maintenance as they stand."""

    def __init__(
        self,
        config: Config,
        runbook: Runbook,
        clock: Clock,
        levels: Levels,
        saved: Saved,
        *,
        store_error: Callable[[], str] = lambda: "",
        link_secret: SecretStr | None = None,
    ) -> None:
        self.config, self.runbook = config, runbook
        self.verdicts: Mapping[str, Verdict] = {}  # what the rules say, by scenario
        self._clock, self._levels = clock, levels
        self._store_error, self._link_secret = store_error, link_secret
        self._began_mono = clock.monotonic()
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
        for item in saved.incidents:
            newest = self._incidents.get(item.scenario)
            if newest is None or (item.open, item.opened_at) >= (newest.open, newest.opened_at):
                self._incidents[item.scenario] = item

    # --- a moment -----------------------------------------------------------------------------------------------------

    def turn(self, *, by_hand: tuple[Step, str] | None = None, anew: bool = False) -> Turn:
        """What this moment makes of everything. `anew`: maintenance or the configuration is not as it was."""
        turn = Turn(self._clock.now())
        states = self._levels.states
        self._look_at_windows(turn.now, anew=anew)
        self.verdicts = severity.evaluate(self.runbook, states, self._rules, turn.now, self._maintained)
        turn.rules = self._move_rules()
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
        for key in turn.taking:
            turn.opened[key] = self._opened[key] = self._opened.get(key, 0) + 1
        return turn

    def next_change(self) -> float | None:
        """When (wall seconds) a hold ends, an incident resolves, a page or a reminder is due, maintenance is over."""
        now = self._clock.now()
        moments = [severity.next_change(self.verdicts), self._remind_at, self._windows_change_at]
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

    def reconfigure(self, config: Config, runbook: Runbook) -> dict[RuleKey, float | None]:
        """Swap the configuration. Returns the rules that are gone."""
        self.config, self.runbook = config, runbook
        self._remind_at = -math.inf  # another calendar
        wanted = {(name, rule.key) for name, item in runbook.scenarios.items() for rule in item.rules}
        gone: dict[RuleKey, float | None] = {key: None for key in self._rules if key not in wanted}
        self._rules = {key: since for key, since in self._rules.items() if key in wanted}
        return gone

    def shift(self, seconds: float) -> Turn:
        """The wall clock was set forward by so many seconds: every saved time moves with it."""
        self._rules = {key: since + seconds for key, since in self._rules.items()}
        self._past = {key: incident.shift(item, seconds) for key, item in self._past.items()}
        self._incidents = {name: incident.shift(item, seconds) for name, item in self._incidents.items()}
        self._pages = [incident.shift_page(page, seconds) for page in self._pages]
        self._notices = [incident.shift_notice(notice, seconds) for notice in self._notices]
        self._windows = {key: maintenance.shift(window, seconds) for key, window in self._windows.items()}
        self._remind_at = self._windows_change_at = -math.inf
        text = f"The clock was set by {seconds:+.0f} s; earlier times are shown by the new clock"
        return Turn(
            self._clock.now(),
            older=list(self._past.values()),
            events=[self._event(item.key, "clock", text) for item in self._incidents.values() if item.open],
            pages=list(self._pages),
            notices=list(self._notices),
            rules=dict(self._rules),
            windows=list(self._windows.values()),
        )

    def forget_the_old(self) -> None:
        """Keep at hand what may still matter; the store keeps all."""
        now = self._clock.now()
        gone = {key for key, item in self._past.items() if (item.resolved_at or now) < now - AT_HAND_SECONDS}
        self._past = {key: item for key, item in self._past.items() if key not in gone}
        self._pages = [page for page in self._pages if page.incident not in gone]
        self._notices = [notice for notice in self._notices if notice.incident not in gone]
        self._windows = {key: window for key, window in self._windows.items() if window.ends_at > now}

    # --- what people do -----------------------------------------------------------------------------------------------

    def act(self, item: Incident, what: Action, by: str) -> Step:
        """What the action makes of the incident. Refused if it does not allow it."""
        scenario, verdict = self.runbook.scenarios.get(item.scenario), self.verdicts.get(item.scenario)
        return action.act(item, what, self._clock.now(), by, scenario=scenario, verdict=verdict)

    def open(self, what: Open, by: str) -> Step:
        """What a report opens. Refused if one is open, or if there is no such scenario."""
        last = self._incidents.get(what.scenario)
        return action.open_by_hand(what, last, self.runbook, self._clock.now(), by, known=self._numbers)

    def begin_maintenance(self, of: Iterable[str], seconds: float, reason: str, by: str) -> Window:
        """Hold incidents of these probes and scenarios (`scenario:redis`) for so long. Refused if one is not known."""
        now, of = self._clock.now(), tuple(of)
        for name in of:
            if name not in self.config.probes and _bare(name) not in self.runbook.scenarios:
                known = {*self.config.probes, *self.runbook.scenarios}
                raise Refused(f'there is no probe and no scenario "{name}"{suggestion(_bare(name), known)}')
        if not of or seconds <= 0:
            raise Refused("say of what, and for how long")
        subjects = tuple(name if name in self.config.probes else f"scenario:{_bare(name)}" for name in of)
        key = incident.incident_key("maintenance", now, self._windows)
        self._windows[key] = Window(key, subjects, now, now + seconds, reason, by)
        return self._windows[key]

    def end_maintenance(self, key: str) -> Window:
        """Maintenance is over before its time. Refused if it is not on."""
        now, window = self._clock.now(), self._windows.get(key)
        if window is None or not window.covers(now):
            raise Refused(f'no maintenance "{key}" is under way')
        self._windows[key] = replace(window, ends_at=now)
        return self._windows[key]

    # --- what became of pages and notices -----------------------------------------------------------------------------

    def close_notices(self, over: Callable[[Notice], bool]) -> Turn:
        """End the updates and reminders of which everybody has been told for long enough."""
        now = self._clock.now()
        ended = [replace(item, ended_at=now) for item in self._notices if item.ended_at is None and over(item)]
        self._replace_notices(ended)
        return Turn(now, notices=ended)

    def fell_back(self, pages: Iterable[Page]) -> Turn:
        """The fallback has carried these pages."""
        now, carried = self._clock.now(), {page.identity for page in pages}
        moved = [replace(page, fell_back_at=now) for page in self._pages if page.identity in carried]
        self._replace_pages(moved)
        events = [self._event(page.incident, "fallback", self._carried(page)) for page in moved]
        return Turn(now, pages=moved, events=events)

    def delivered(self, at: Mapping[tuple[object, ...], float]) -> Turn:
        """The first Alertmanager took these pages (by identity) at these wall times."""
        pages = [page for page in self._pages if page.delivered_at is None and page.identity in at]
        moved = [replace(page, delivered_at=at[page.identity]) for page in pages]
        self._replace_pages(moved)
        return Turn(self._clock.now(), pages=moved)

    def adopt(self, held: Iterable[tuple[Mapping[str, str], float]]) -> Turn:
        """Take over pages (labels, start) that Alertmanager still holds although the store knows nothing."""
        turn = Turn(self._clock.now())
        by_incident: dict[str, list[Page]] = {}
        for labels, since in held:
            page = _adopted(labels, since, self.runbook, self.config.labels)
            if page is not None and page.labels["scenario"] not in self._incidents:
                by_incident.setdefault(page.incident, []).append(page)
        for key, ours in by_incident.items():
            scenario, began = ours[0].labels["scenario"], min(page.fired_at for page in ours)
            if scenario in turn.incidents:
                continue
            worst = min(page.severity for page in ours)
            item = Incident(key, scenario, incident.State.INVESTIGATING, worst, worst, began, began)
            turn.incidents[scenario] = replace(item, detected_at=began, updated_at=began).takes(worst, began)
            turn.pages += ours
            text = "Alertmanager still held its pages; the store knew nothing"
            turn.events.append(self._event(key, "adopted", text))
        for item in turn.incidents.values():
            self._incidents[item.scenario] = self._past[item.key] = item
        self._pages += turn.pages
        return turn

    # --- what can be seen ---------------------------------------------------------------------------------------------

    def get(self, key: str) -> Incident | None:
        """One that is at hand."""
        return self._past.get(key)

    def newest(self, scenario: str) -> Incident | None:
        """The scenario's last, open or not."""
        return self._incidents.get(scenario)

    def incidents(self) -> tuple[Incident, ...]:
        """Open ones first (worst first), then those resolved lately (newest first)."""
        open_ = sorted((item for item in self._past.values() if item.open), key=lambda item: (item.severity, item.key))
        over = sorted(
            (item for item in self._past.values() if not item.open), key=lambda item: -(item.resolved_at or 0)
        )
        return tuple(open_ + over)

    @property
    def all_pages(self) -> tuple[Page, ...]:
        """Open or ended, of the incidents at hand."""
        return tuple(self._pages)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Likewise."""
        return tuple(self._notices)

    def pages(self) -> tuple[Page, ...]:
        """Open ones."""
        return tuple(page for page in self._pages if page.ended_at is None)

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
            self.runbook, self._levels.views(), self.config, self._clock.now(), self.all_pages, self._store_error(),
            recorded=self.recorded, link_secret=self._link_secret,
        )  # fmt: skip

    def scenario_views(self) -> Mapping[str, ScenarioView]:
        """Every scenario of the runbook."""
        return MappingProxyType({name: self._scenario_view(name) for name in self.runbook.scenarios})

    def _scenario_view(self, name: str) -> ScenarioView:
        verdict = self.verdicts.get(name)
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
            and escalation.response_overdue(
                self.runbook, open_, self._pages, self._clock.now(), recorded=self.recorded
            ),
        )

    # --- how a moment is found out ------------------------------------------------------------------------------------

    def _look_at_windows(self, now: float, *, anew: bool) -> None:
        """Which maintenance is on, and until when that is so: a cron expression is not read again at every run."""
        if anew or (self._windows_change_at is not None and now >= self._windows_change_at):
            plans, windows = self.config.maintenance, self._windows.values()
            self._active = tuple(maintenance.active(plans, windows, now))
            self._maintained = frozenset(name for window in self._active for name in window.of)
            self._windows_change_at = maintenance.next_change(plans, windows, now)

    def _move_rules(self) -> dict[RuleKey, float | None]:
        held = severity.held_since(self.verdicts)
        moved: dict[RuleKey, float | None] = {
            key: since for key, since in held.items() if self._rules.get(key) != since
        }
        moved |= {key: None for key in self._rules if key not in held}
        self._rules = held
        return moved

    def _take(self, turn: Turn, step: Step, by: str) -> None:
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

    def _move_incidents(self, turn: Turn) -> None:
        known = {**self.verdicts}
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

    def _note_findings(self, turn: Turn) -> None:
        """Write down what failed, in which order and by how much, whenever that made things worse: values are fleeting."""
        worse = {"opened", "reopened", "severity", "relapsed"}
        for key in dict.fromkeys(each.incident for each in turn.events if each.kind in worse and each.by == "monitor"):
            scenario = self.runbook.scenarios.get(self._scenario_of(key, turn))
            asked = names_of(scenario) if scenario else []
            failing = [
                (probe.state.failing_since, view(probe))
                for probe in self._levels
                if probe.state.level in {Level.FAIL, Level.WARN}
                or (probe.config.name in asked and probe.fresh and probe.state.level is Level.UNKNOWN)
            ]
            if failing:
                turn.events.append(self._event(key, "found", found(failing, turn.now)))

    def _link_parents(self, turn: Turn) -> None:
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

    def _follow_vendors(self, turn: Turn, states: Mapping[str, ProbeState]) -> None:
        """Note since when what a vendor answers for has failed: the clock of its page."""
        for name, item in {**self._incidents, **turn.incidents}.items():
            scenario = self.runbook.scenarios.get(name)
            if not item.open or scenario is None or scenario.vendor is None:
                continue
            since = escalation.vendor_since(
                scenario, item, states, self.verdicts, turn.now, maintained=self._maintained
            )
            if since != item.vendor_since:
                turn.incidents[name] = replace(item, vendor_since=since)

    def _move_pages(self, turn: Turn, states: Mapping[str, ProbeState]) -> None:
        """Fire what is due, end what is over. Labels are filled in once, here."""
        for name, item in ({**self._incidents, **turn.incidents}).items():
            ours = [page for page in self._pages if page.incident == item.key]
            if not item.open:
                turn.pages += [replace(page, ended_at=turn.now) for page in ours if page.ended_at is None]
                continue
            scenario = self.runbook.scenarios.get(name)
            if scenario is None or not self._in_sight(item):
                continue
            patient_until = item.opened_at + escalation.PARENT_PATIENCE_SECONDS
            coming = (
                not item.by_hand
                and turn.now < patient_until
                and escalation.parent_coming(self.runbook, name, states, self.verdicts, patient_until)
            )
            failing = escalation.vendor_failing(scenario, item, states, self.verdicts, self._maintained)
            for page in escalation.due_pages(
                self.runbook, item, ours, turn.now,
                recorded=self.recorded, parent_coming=coming, vendor_unsure=failing is None,
            ):  # fmt: skip
                labels = page_labels(scenario, item, page, self.config.labels)
                turn.pages.append(replace(page, labels=labels))
                turn.events.append(self._event(item.key, "paged", self._paged(page)))
        self._replace_pages(turn.pages)

    def _carried(self, page: Page) -> str:
        waited = format_duration(max(0.0, round(self._clock.now() - page.fired_at)))
        return f"No Alertmanager took the page to {self._whom(page)} for {waited}; the fallback carried it"

    def _whom(self, page: Page) -> str:
        row = self.runbook.escalation.get(page.escalation_level)
        who = page.escalation_level if row is None else f"{page.escalation_level} {row.to}"
        who += f" ({page.vendor})" if page.vendor != "none" else ""
        return who + escalation.call_of(page.attempt)

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
        seen = all(self._levels[name].fresh for name in names if name in self._levels)
        return seen or self._clock.monotonic() - self._began_mono >= SIGHT_SECONDS

    def _move_notices(self, turn: Turn) -> None:
        """Status updates to those who have been paged before, and reminders."""
        paged = {page.incident for page in turn.pages if page.ended_at is None and page.fired_at == turn.now}
        for name in sorted(turn.updates & set(turn.incidents)):
            item = turn.incidents[name]
            known = any(page.incident == item.key and page.opening == item.opening for page in self._pages)
            if known and item.key not in paged and item.parent is None:
                item = turn.incidents[name] = escalation.numbered(item)
                turn.notices.append(escalation.update_notice(item, turn.now))
        if turn.incidents or turn.older or turn.pages or turn.now >= self._remind_at:
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

    def _remind(self, turn: Turn) -> None:
        now, ours = turn.now, {**self._past, **{item.key: item for item in turn.incidents.values()}}
        told = by_incident(self._pages)
        calendar, recorded = self.config.calendar, self.recorded
        next_: list[float | None] = []
        for item in ours.values():
            if item.key not in told:
                continue
            pages = told[item.key]
            notices = escalation.due_reminders(
                self.runbook, calendar, item, pages, now, notices=self._notices, recorded=recorded
            )
            if item.open and not self._in_sight(item):
                next_.append(now)  # what is due waits, and is looked at again at the next moment
                continue
            turn.notices += notices
            next_.append(escalation.next_reminder(self.runbook, calendar, item, pages, now, recorded=recorded))
        self._remind_at = min((at for at in next_ if at is not None), default=math.inf)

    def _replace_pages(self, moved: Iterable[Page]) -> None:
        by_identity = {page.identity: page for page in self._pages} | {page.identity: page for page in moved}
        self._pages = list(by_identity.values())

    def _replace_notices(self, moved: Iterable[Notice]) -> None:
        by_identity = {item.identity: item for item in self._notices}
        self._notices = list((by_identity | {item.identity: item for item in moved}).values())

    def _began(self, scenario: str) -> Began:
        """When what makes the scenario's verdict began to fail, and when it was last well."""
        verdict = self.verdicts.get(scenario)
        terms = [term for rule in verdict.rules for term in rule.rule.terms if rule.matured] if verdict else []
        states = [
            (self._levels[term.name].state, term)
            for term in terms
            if term.kind == "probe" and term.name in self._levels and verdict and term.text in verdict.because
        ]
        begun = [at for state, term in states if (at := state.begun(term.why, term.at)) is not None]
        started = min(begun, default=None)
        good = [at for state, _ in states if (at := state.last_success_at) is not None]
        good = [at for at in good if started is not None and at <= started]
        return Began(started, max(good, default=None))

    def _scenario_of(self, key: str, turn: Turn) -> str:
        newest = (item.scenario for item in turn.incidents.values() if item.key == key)
        return next(newest, "") or (self._past[key].scenario if key in self._past else "")

    def _event(self, key: str, kind: str, text: str, by: str = "monitor") -> Event:
        self._numbers[key] = self._numbers.get(key, 0) + 1
        return Event(key, self._numbers[key], self._clock.now(), kind, text, by)


def _taking(before: Incident | None, after: Incident) -> set[tuple[str, Severity]]:
    """The severities that it newly took, but for those that it had in this opening before.

    One that is not at hand and not open is long over, and was counted then.
    """
    had = before.taken if before else () if after.open else after.taken
    known = {taken.severity for taken in had if taken.opening == after.opening}
    return {(after.scenario, taken.severity) for taken in after.taken[len(had) :] if taken.severity not in known}


def _bare(name: str) -> str:
    return name.removeprefix("scenario:")


def _adopted(labels: Mapping[str, str], since: float, runbook: Runbook, own: Mapping[str, str]) -> Page | None:
    """The page that these labels are; None for another kind of alert, another monitor's, or what the runbook has not."""
    if labels.get("kind") != "page" or labels.get("scenario") not in runbook.scenarios:
        return None
    if labels.get("escalation_level") not in runbook.escalation:
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
