"""The console: what an engineer sees at three in the morning, as HTML made from one snapshot.

A page is made of pieces, each with an id: the sentence, the incidents, one row per probe, the monitor itself. A piece
depends on what it shows and on nothing else, times are absolute in it, so a piece is sent again only when it changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from monitor.alerting.diagnosis import shown
from monitor.alerting.facts import Facts
from monitor.core.condition import Condition
from monitor.core.explanation import Deadlines, coming, deadlines, pages_of
from monitor.core.history import DURATION, MINUTE, Bucket
from monitor.core.incident import Event, Incident, Page
from monitor.core.probe import is_secret, is_secret_url
from monitor.core.quantity import format_duration
from monitor.core.runbook import Level, Step
from monitor.core.snapshot import ProbeView, Snapshot
from monitor.core.wording import fill
from monitor.core.words import advice, clean, iso, label, measured, quantity
from monitor.web.chart import Chart, Frame, Strip, chart, strip
from monitor.web.past import past_view, run_rows
from monitor.web.session import Visitor
from monitor.web.words import State, impact, overall, system_of, title

if TYPE_CHECKING:
    from monitor.web.acknowledge import Form

ICONS: Mapping[str, str] = {"ok": "✓", "warn": "▲", "fail": "✕", "unknown": "?"}
"""A level's sign: its shape tells it from the others where colours do not."""

STATIC: Mapping[str, str] = {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "ack.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_RANK = {Level.FAIL: 0, Level.UNKNOWN: 1, Level.WARN: 2, Level.OK: 3}
_SWITCHED_OFF = 4
_WORST_FIRST = {"fail": 0, "warn": 1, "ok": 2, "unknown": 3}
HOUR_SECONDS, YOUNG_SECONDS = 3600.0, 600.0
GAUGES_SHOWN = 1  # in a row of the console, beside all that are beyond a limit: the one that is nearest to it
_UNJUDGED_SHOWN = 3  # measurements shown of a probe that has no limits

PLANNED_SECONDS = 7 * 86400.0  # how far ahead planned maintenance is shown
NOBODY = Visitor()
_NO_CSRF = 'name="csrf" value=""'  # no text from outside can say this: its quotes are escaped

Pieces = Mapping[str, str]
"""HTML by the id of its element."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: the level it means, as written, and where it stands on the meter (0-100)."""

    level: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Gauge:
    """A measurement beside its limits. `width` is None where a meter would show nothing: not measured, or no size."""

    name: str
    value: str
    limits: tuple[Limit, ...] = ()
    level: str = "ok"
    width: float | None = None
    why: str = ""  # what a breach is filed under
    near: float = 0.0  # how near its value is to a limit: 1 is there


@dataclass(frozen=True, slots=True)
class Row:
    """One probe, as a row of the table."""

    name: str
    type: str
    level: str
    rank: int
    reason: str
    advice: str
    detail: str
    since: float | None
    last_good_at: float | None
    gauges: tuple[Gauge, ...]
    checks: tuple[tuple[str, bool], ...]
    strip: Strip | None = None  # the last hour
    chart: Chart | None = None
    charted: str = ""  # what the chart is of


@dataclass(frozen=True, slots=True)
class System:
    """Probes that speak of one system, the worst first."""

    name: str
    id: str
    level: str
    rank: int
    views: tuple[ProbeView, ...]
    said: str


@dataclass(frozen=True, slots=True)
class LogSight:
    """What a followed log says: which calls are slow, what goes wrong most."""

    log: str
    probe: str
    slowest: tuple[tuple[str, str, str], ...]  # upstream, mean, 95th percentile; the slowest first
    errors: tuple[tuple[str, str], ...]  # what went wrong, how often
    ratio: str  # errors of all requests


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the runbook; without an address it is shown as text."""

    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of the playbook, and what it looks at as it is now."""

    do: str
    value: str = ""
    level: str = ""
    remind: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A probe that the incident's scenario speaks of, as it is now."""

    probe: str
    level: str
    said: str


@dataclass(frozen=True, slots=True)
class WindowRow:
    """Maintenance that is on, or planned."""

    of: tuple[str, ...]
    starts_at: float
    ends_at: float
    reason: str
    by: str
    on: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One incident."""

    incident: Incident
    title: str
    impact: str
    service: str
    severity_name: str
    respond: str
    parent: str
    why: tuple[tuple[str, str], ...]  # a term of the rule and the probe it speaks of, if there is one
    pages: tuple[Page, ...]
    steps: tuple[StepRow, ...]
    diagnosis: tuple[str, ...]
    links: tuple[Link, ...]
    flags: tuple[str, ...]  # what must not be overlooked
    deadlines: Deadlines
    findings: tuple[Finding, ...]
    declares: str  # what a person may declare of it; "" if nothing (any more)


@dataclass(frozen=True, slots=True)
class Message:
    """Something that can be said of an incident, ready to paste; without a text, why there is none."""

    id: str
    title: str
    text: str | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """One incident with its whole history: pages and events are its own. `trouble`: why the events are missing."""

    incident: Incident
    pages: tuple[Page, ...]
    events: tuple[Event, ...] = ()
    messages: tuple[Message, ...] = ()
    trouble: str = ""


class Console:
    """Turns snapshots into pages. May be used in any thread, `pieces` in one at a time."""

    def __init__(self) -> None:
        self._templates = _environment()
        self._macros = self._templates.get_template("pieces.html").module
        self._rows: dict[str, tuple[ProbeView, str]] = {}

    def pieces(self, snapshot: Snapshot) -> Pieces:
        """All that changes on the console, in the order of the page: worst systems and probes first."""
        groups = systems(snapshot)
        views = [view for group in groups for view in group.views]
        self._rows = {view.config.name: self._row(view, snapshot) for view in views}
        return {
            "state": self._piece("state", overall(snapshot)),
            "incidents": self._piece("incidents", *_cards(snapshot), scenarios(snapshot)),
            **{
                name: html
                for group in groups
                for name, html in [
                    (group.id, self._piece("system", group)),
                    *((_row_id(view.config.name), self._rows[view.config.name][1]) for view in group.views),
                ]
            },
            "maintenance": self._piece("maintenance", tuple(windows(snapshot))),
            "unknown": self._piece("unknown", unknowns(snapshot)),
            "logs": self._piece("logs", tuple(log_sights(snapshot))),
            "monitor": self._piece("monitor", snapshot),
        }

    def _row(self, view: ProbeView, snapshot: Snapshot) -> tuple[ProbeView, str]:
        kept = self._rows.get(view.config.name)
        if kept and kept[0] is view:
            return kept
        return view, self._piece("probe", row(view, snapshot.config.secrets), _row_id(view.config.name))

    def _piece(self, macro: str, *arguments: object) -> str:
        return str(getattr(self._macros, macro)(*arguments))

    def page(self, snapshot: Snapshot, pieces: Pieces, shown: str = "", visitor: Visitor = NOBODY) -> str:
        """The whole console; `shown` is what it says it has when it asks for what changed."""
        # The pieces are HTML already, escaped by the templates that made them.
        safe = {name: Markup(html) for name, html in pieces.items()}  # noqa: S704
        return self._render(
            "console.html",
            visitor,
            snapshot=snapshot,
            state=overall(snapshot),
            pieces=safe,
            groups=order(pieces),
            shown=shown,
        )

    def probe(
        self,
        snapshot: Snapshot,
        view: ProbeView,
        buckets: Sequence[Bucket] = (),
        chosen: str = "1h",
        visitor: Visitor = NOBODY,
    ) -> str:
        """The page of one probe: its history over `chosen`, its runs with their phases, how it is configured."""
        return self._render(
            "probe.html",
            visitor,
            snapshot=snapshot,
            view=view,
            row=row(view, snapshot.config.secrets),
            past=past_view(view, buckets, chosen, snapshot.at),
            runs=run_rows(view.past, snapshot.config.secrets),
            target=target(view),
            measurements=tuple(_measurements(view, snapshot)),
            details=_details(view, snapshot),
        )

    def incident(self, snapshot: Snapshot, told: Told, shown: str = "", visitor: Visitor = NOBODY) -> str:
        """The page of one incident: its card, what comes next, its timeline, what can be said of it."""
        card = _card(told.incident, snapshot, told.pages)
        return self._render(
            "incident.html",
            visitor,
            snapshot=snapshot,
            card=card,
            coming=coming(told.incident, card.deadlines),
            events=tuple(reversed(told.events)),
            messages=told.messages,
            trouble=told.trouble,
            shown=shown,
        )

    def _render(self, template: str, visitor: Visitor = NOBODY, **values: object) -> str:
        html = self._templates.get_template(template).render(visitor=visitor, **values)
        # Pieces are made for everybody; what lets this visitor act is put into the forms here.
        return html.replace(_NO_CSRF, f'name="csrf" value="{visitor.csrf}"') if visitor.csrf else html

    def acknowledge(self, form: Form) -> str:
        """The page behind the signed link of a page."""
        return self._templates.get_template("ack.html").render(form=form)

    def login(self, *, back: str, trouble: str, name: str, asks_token: bool, token_file: str, refused: bool) -> str:
        """The form that asks for a name, and for the token. `back` is where it leads, relative to the console."""
        return self._render(
            "login.html",
            back=back,
            trouble=trouble,
            name=name,
            asks_token=asks_token,
            token_file=token_file,
            refused=refused,
        )

    def missing(self, what: str) -> str:
        """The page for an address that names nothing."""
        return self._render("missing.html", what=what)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("monitor.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"icons": ICONS, "version": _version(), "gauges_shown": GAUGES_SHOWN}
    environment.filters |= {"iso": iso, "when": _when, "duration": format_duration, "seconds": _seconds}
    return environment


def _shown(value: object) -> object:
    """Whatever a page says in text that is no HTML of ours: without control characters."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def title_of(state: State) -> str:
    """The title of the browser's tab: the state is seen even in the background."""
    return clean(f"{ICONS[state.tone]} {state.sentence}")


def row(view: ProbeView, secrets: frozenset[str]) -> Row:
    """One probe as the console shows it."""
    result = view.result
    return Row(
        name=view.config.name,
        type=view.config.type.name,
        level=str(view.level) if view.config.enabled else "off",
        rank=_rank(view),
        reason=view.reason,
        advice=advice(view),
        detail=clean(result.detail, secrets) if result else "",
        since=view.since,
        last_good_at=_last_good(view),
        gauges=tuple(_gauges(view)),
        checks=tuple(sorted(result.checks.items())) if result else (),
        **_hour(view),
    )


def _hour(view: ProbeView) -> dict[str, Any]:
    """The last hour as pictures: the levels, and the measurement that matters most beside its limits."""
    minutes = view.past.minutes
    if not minutes:
        return {}
    until = minutes[-1].at + MINUTE
    # A history that is younger than an hour is drawn larger: what happened since the start is to be seen.
    frame = Frame(until - min(HOUR_SECONDS, max(YOUNG_SECONDS, until - minutes[0].at)), until)
    shown = [minute for minute in minutes if minute.at + MINUTE > frame.since]
    gauges = list(_gauges(view))
    why = gauges[0].why if gauges and gauges[0].why else DURATION
    limits = [(level, condition) for level, condition in _conditions(view) if condition.why == why]
    drawn = chart(shown, why, limits, frame, banded=False)
    return {
        "strip": strip(shown, frame, view.config.interval * 1.5),
        "chart": drawn,
        "charted": label(why) if why != DURATION or limits else "run time",
    }


def _conditions(view: ProbeView) -> list[tuple[str, Condition]]:
    return [("warn", one) for one in view.config.warn] + [("fail", one) for one in view.config.fail]


def systems(snapshot: Snapshot) -> list[System]:
    """Every probe by the system it speaks of; what is not well comes first."""
    found: dict[str, list[ProbeView]] = {}
    for view in snapshot.probes.values():
        found.setdefault(system_of(view.config), []).append(view)
    groups = []
    for name, members in found.items():
        views = tuple(sorted(members, key=_rank))
        level = str(views[0].level) if views[0].config.enabled else "off"
        groups.append(System(name, f"system-{slug(name)}", level, _rank(views[0]), views, _counted(views)))
    return sorted(groups, key=lambda group: group.rank)


def _counted(views: Sequence[ProbeView]) -> str:
    levels = [str(view.level) if view.config.enabled else "off" for view in views]
    counts = {level: levels.count(level) for level in ("fail", "unknown", "warn", "ok", "off")}
    return ", ".join(f"{count} {level}" for level, count in counts.items() if count)


def slug(text: str) -> str:
    """A text as the id of an element."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())


def order(pieces: Pieces) -> list[tuple[str, list[str]]]:
    """The systems of a page and the rows of each, as they follow each other."""
    found: list[tuple[str, list[str]]] = []
    for name in pieces:
        if name.startswith("system-"):
            found.append((name, []))
        elif name.startswith("probe-"):
            found[-1][1].append(name)
    return found


def unknowns(snapshot: Snapshot) -> list[tuple[str, str, str]]:
    """What cannot be judged and why: (what, where to look, why)."""
    found = [
        (view.config.name, f"./probes/{view.config.name}", advice(view))
        for view in snapshot.probes.values()
        if view.config.enabled and view.level is Level.UNKNOWN
    ]
    for name, scenario in snapshot.scenarios.items():
        if scenario.unknown and scenario.incident is None and name in snapshot.runbook.scenarios:
            title = fill(snapshot.runbook.scenarios[name].title, snapshot.probes)
            found.append((title, "", "None of its rules holds, and not all of them can be judged."))
    return found


def log_sights(snapshot: Snapshot) -> Iterator[LogSight]:
    """What each followed log says; of probes that read the same log, the one that saw most."""
    best: dict[str, ProbeView] = {}
    for view in snapshot.probes.values():
        if view.config.type.name == "log" and view.result is not None and view.result.measurements:
            path = target(view).removeprefix("path: ")
            if path not in best or _seen(view) > _seen(best[path]):
                best[path] = view
    for path, view in best.items():
        sight = _sight(path, view, snapshot.config.secrets)
        if sight.slowest or sight.errors or sight.ratio:
            yield sight


def _seen(view: ProbeView) -> tuple[bool, float]:
    """Which of several probes of one log says most: one that judges its latency or errors, then the widest window."""
    requests = view.result.measurements.get("requests", 0.0) if view.result else 0.0
    names = {condition.name for _, condition in _conditions(view)}
    judges = any(name.startswith("latency_") for name in names)
    return judges, requests if isinstance(requests, int | float) else 0.0


def _sight(path: str, view: ProbeView, secrets: frozenset[str]) -> LogSight:
    assert view.result is not None
    measured = view.result.measurements
    means, tails = (_parts(measured.get(f"latency_{name}_seconds")) for name in ("mean", "p95"))
    slowest = sorted((part for part in means if part), key=lambda part: -means[part])
    ratio = measured.get("error_ratio")
    return LogSight(
        clean(path),
        view.config.name,
        tuple(
            (
                clean(part, secrets),
                quantity("x_seconds", means[part]),
                quantity("x_seconds", tails[part]) if part in tails else "",
            )
            for part in slowest
        ),
        tuple((clean(text, secrets), count) for text, count in _top_errors(view.result.details)),
        quantity("error_ratio", ratio) if isinstance(ratio, int | float) else "",
    )


def _parts(value: object) -> Mapping[str, float]:
    return value if isinstance(value, Mapping) else {}


def _top_errors(details: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Errors that the log probe counted, most frequent first: its details `error 1`, `error 2` ... say `12 x text`."""
    for name in sorted(details):
        if name.startswith("error "):
            count, _, text = details[name].partition(" x ")
            yield (text, count) if text else (details[name], "")


def _last_good(view: ProbeView) -> float | None:
    """When all was well with it: a run may succeed and still bring home what is not well."""
    times = [at for at in (view.last_success_at, view.since) if at is not None]
    if view.level is Level.OK or view.last_success_at is None:
        return view.last_success_at
    return min(times)


def _rank(view: ProbeView) -> int:
    return _RANK[view.level] if view.config.enabled else _SWITCHED_OFF


def _row_id(name: str) -> str:
    return f"probe-{name}"


def _gauges(view: ProbeView) -> Iterator[Gauge]:
    """What has limits, beside them; of a probe without limits, what it measures first."""
    limits: dict[tuple[str, str | None], list[tuple[str, Condition]]] = {}
    for level, condition in _conditions(view):
        limits.setdefault((condition.name, condition.part), []).append((level, condition))
    if not view.config.enabled:
        return
    gauges = [_judged(view, group) for group in limits.values()]
    if view.result is not None and not view.result.measurements:  # it failed: that nothing was measured is said once
        gauges = [replace(gauges[0], name="nothing measured", value="", limits=())] if gauges else []
    yield from sorted(gauges, key=lambda gauge: (gauge.why != view.reason, _WORST_FIRST[gauge.level], -gauge.near))
    if not limits and view.result:
        plain = ((name, value) for name, value in view.result.measurements.items() if isinstance(value, int | float))
        for name, value in list(plain)[:_UNJUDGED_SHOWN]:
            yield Gauge(label(name), quantity(name, value))


def _judged(view: ProbeView, group: list[tuple[str, Condition]]) -> Gauge:
    condition = group[0][1]
    measurements = view.result.measurements if view.result else {}
    found = measured(condition, measurements)
    scale = _scale(condition.name, [one.limit for _, one in group], found[1] if found else 0.0)
    limits = tuple(Limit(level, f"{level} {_comparison(one)}", _share(one.limit, scale)) for level, one in group)
    if found is None:  # no meter: nothing stands on it
        return Gauge(label(condition.why), "not measured", limits, "unknown", why=condition.why)
    holding = [level for level, one in group if one.holds(measurements)]
    name = label(condition.why) + (f" of {found[0]}" if found[0] and not condition.part else "")
    worst = "fail" if "fail" in holding else "warn" if holding else "ok"
    width = _share(found[1], scale) if any(one.limit > 0 for _, one in group) else None
    near = max((_nearness(one, found[1]) for _, one in group), default=0.0)
    return Gauge(name, quantity(condition.name, found[1]), limits, worst, width, condition.why, near)


def _nearness(condition: Condition, value: float) -> float:
    if condition.op.startswith("<"):
        return condition.limit / value if value > 0 else 1.0
    return value / condition.limit if condition.limit > 0 else float(value > condition.limit)


def _comparison(condition: Condition) -> str:
    return f"{condition.op} {condition.text.partition(condition.op)[2].strip()}"


def _scale(name: str, limits: list[float], value: float) -> float:
    """What the whole width of a meter stands for: 100 % of a ratio that has limits of that size, else some room."""
    most = max(*limits, value, 0.0)
    return 1.0 if name.endswith("_ratio") and 0.2 <= most <= 1 else most * 1.15


def _share(value: float, scale: float) -> float:
    return round(min(max(value / scale, 0.0), 1.0) * 100, 1) if scale else 0.0


def _cards(snapshot: Snapshot) -> tuple[tuple[Card, ...], tuple[Card, ...]]:
    """Open incidents, causes before their symptoms and the worse before the better; and those resolved lately."""
    cards = [_card(incident, snapshot) for incident in snapshot.incidents]
    opened = sorted(
        (card for card in cards if card.incident.open),
        key=lambda card: (card.incident.parent is not None, card.incident.severity, card.incident.opened_at),
    )
    return tuple(opened), tuple(card for card in cards if not card.incident.open)


def scenarios(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """What a person can report: those of which no incident is open."""
    busy = {incident.scenario for incident in snapshot.incidents if incident.open}
    book = snapshot.runbook.scenarios
    return tuple((name, fill(book[name].title, snapshot.probes)) for name in book if name not in busy)


def _card(incident: Incident, snapshot: Snapshot, pages: Sequence[Page] | None = None) -> Card:
    scenario = snapshot.runbook.scenarios.get(incident.scenario)
    severity = snapshot.runbook.severities.get(incident.severity)
    parent = snapshot.runbook.scenarios.get(incident.parent or "")
    told = pages_of(incident, snapshot) if pages is None else pages
    declared = scenario.declared if scenario and incident.declared_at is None else None
    facts = facts_of(snapshot, told)
    return Card(
        incident=incident,
        title=title(incident, snapshot),
        impact=impact(incident, snapshot),
        service=scenario.service if scenario else "",
        severity_name=severity.name if severity else "",
        respond=format_duration(severity.respond) if severity else "",
        parent=fill(parent.title, snapshot.probes) if parent else incident.parent or "",
        why=tuple((term, _probe_of(term, snapshot)) for term in incident.why),
        pages=tuple(told),
        steps=tuple(_step(step, snapshot, facts) for step in scenario.steps) if scenario else (),
        diagnosis=tuple(fill(line, snapshot.probes) for line in scenario.diagnosis) if scenario else (),
        links=tuple(map(_link, facts.links(incident))),
        flags=tuple(facts.flags(incident)),
        deadlines=deadlines(incident, told, snapshot),
        findings=tuple(_findings(incident, snapshot)) if incident.open else (),
        declares=incident.scenario if declared else "",
    )


def _step(step: Step, snapshot: Snapshot, facts: Facts) -> StepRow:
    """A step with the live value of what it looks at."""
    view = snapshot.probes.get((step.show or "").partition(".")[0])
    level = str(view.level) if view and view.config.enabled else ""
    return StepRow(fill(step.do, snapshot.probes), shown(step, facts), level, step.remind)


def _findings(incident: Incident, snapshot: Snapshot) -> Iterator[Finding]:
    """Every probe of the scenario that is not ok, and those that are, in few words."""
    scenario = snapshot.runbook.scenarios.get(incident.scenario)
    terms = [term for rule in scenario.rules for term in rule.terms if term.kind == "probe"] if scenario else []
    names = dict.fromkeys([*(_probe_of(term, snapshot) for term in incident.why), *(term.name for term in terms)])
    views = [
        snapshot.probes[name] for name in names if name in snapshot.probes and snapshot.probes[name].config.enabled
    ]
    for view in sorted(views, key=_rank):
        worst = next(iter(_gauges(view)), None)
        said = advice(view) or (f"{worst.name} {worst.value}" if worst else "")
        yield Finding(view.config.name, str(view.level), said)


def facts_of(snapshot: Snapshot, pages: Sequence[Page]) -> Facts:
    """What the texts of an incident are made from; `pages` are its own."""
    return Facts(
        snapshot.runbook,
        snapshot.probes,
        snapshot.config,
        snapshot.at,
        pages,
        snapshot.monitor.store_error,
        recorded=snapshot.recorded,
    )


def windows(snapshot: Snapshot) -> Iterator[WindowRow]:
    """Maintenance that is on, and what is planned next."""
    for window in snapshot.windows:
        yield WindowRow(window.of, window.starts_at, window.ends_at, window.reason, window.by, on=True)
    for plan in snapshot.config.maintenance:
        window_ = plan.next_window(snapshot.at)
        if window_ is not None and window_.starts_at - snapshot.at < PLANNED_SECONDS:
            yield WindowRow(window_.of, window_.starts_at, window_.ends_at, window_.reason, window_.by, on=False)


def _probe_of(term: str, snapshot: Snapshot) -> str:
    name = term.partition("@")[0].partition("/")[0]
    return name if name in snapshot.probes else ""


def _link(text: str) -> Link:
    return Link(text, text if text.startswith(("https://", "http://")) else "")


def target(view: ProbeView) -> str:
    """What the probe watches, without what could be a secret: of a URL only scheme, host and port."""
    kind = view.config.type
    shown = []
    for key in sorted(kind.target_keys):
        value, metadata = getattr(view.config.options, key, None), kind.options.model_fields[key].metadata
        if is_secret_url(metadata) and value is not None:
            shown.append(f"{key}: {_address(value.get_secret_value())}")
        elif value is not None and not is_secret(metadata):
            shown.append(f"{key}: {value}")
    return "; ".join(shown)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "not shown"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of the last run, or of one part of it."""

    name: str
    part: str
    value: str
    help: str


def _measurements(view: ProbeView, snapshot: Snapshot) -> Iterator[Measured]:
    for name, value in (view.result.measurements if view.result else {}).items():
        measure = view.config.type.measures.get(name)
        parts = value if isinstance(value, Mapping) else {"": value}
        for part, number in parts.items():
            shown = clean(part, snapshot.config.secrets)
            yield Measured(name, shown, quantity(name, number), measure.help if measure else "")


def _details(view: ProbeView, snapshot: Snapshot) -> Mapping[str, str]:
    details = view.result.details if view.result else {}
    return {key: clean(text, snapshot.config.secrets) for key, text in details.items()}


def _seconds(value: float) -> str:
    return quantity(DURATION, value)


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%-d %b %H:%M:%S} UTC"


def static(name: str) -> bytes:
    """The content of one of the files in STATIC."""
    return (resources.files("monitor.web") / "static" / name).read_bytes()


def _version() -> str:
    """Changes whenever a static file does, so that browsers may keep them for ever."""
    return hashlib.sha256(b"".join(static(name) for name in STATIC)).hexdigest()[:12]
