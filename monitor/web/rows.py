"""What the console shows of probes: a row of each with its limits, by the system it speaks of; what followed logs say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from monitor.core.condition import Condition
from monitor.core.history import DURATION, MINUTE
from monitor.core.probe import is_secret, is_secret_url
from monitor.core.runbook import Level
from monitor.core.snapshot import ProbeView, Snapshot
from monitor.core.wording import fill
from monitor.core.words import advice, clean, label, measured, quantity
from monitor.web.chart import Chart, Frame, Strip, chart, strip
from monitor.web.words import system_of

_RANK = {Level.FAIL: 0, Level.UNKNOWN: 1, Level.WARN: 2, Level.OK: 3}
_SWITCHED_OFF = 4
_WORST_FIRST = {"fail": 0, "warn": 1, "ok": 2, "unknown": 3}
HOUR_SECONDS, YOUNG_SECONDS = 3600.0, 600.0
_UNJUDGED_SHOWN = 3  # measurements shown of a probe that has no limits


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
class Measured:
    """One number of the last run, or of one part of it."""

    name: str
    part: str
    value: str
    help: str


def row(view: ProbeView, secrets: frozenset[str]) -> Row:
    """One probe as the console shows it."""
    result = view.result
    return Row(
        name=view.config.name,
        type=view.config.type.name,
        level=str(view.level) if view.config.enabled else "off",
        rank=rank(view),
        reason=view.reason,
        advice=advice(view),
        detail=clean(result.detail, secrets) if result else "",
        since=view.since,
        last_good_at=_last_good(view),
        gauges=tuple(gauges_of(view)),
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
    gauges = list(gauges_of(view))
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
        views = tuple(sorted(members, key=rank))
        level = str(views[0].level) if views[0].config.enabled else "off"
        groups.append(System(name, f"system-{slug(name)}", level, rank(views[0]), views, _counted(views)))
    return sorted(groups, key=lambda group: group.rank)


def _counted(views: Sequence[ProbeView]) -> str:
    levels = [str(view.level) if view.config.enabled else "off" for view in views]
    counts = {level: levels.count(level) for level in ("fail", "unknown", "warn", "ok", "off")}
    return ", ".join(f"{count} {level}" for level, count in counts.items() if count)


def slug(text: str) -> str:
    """A text as the id of an element."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())


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


def rank(view: ProbeView) -> int:
    """Its place among others: what is not well comes first, what is switched off last."""
    return _RANK[view.level] if view.config.enabled else _SWITCHED_OFF


def gauges_of(view: ProbeView) -> Iterator[Gauge]:
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


def measurements_of(view: ProbeView, snapshot: Snapshot) -> Iterator[Measured]:
    """Every number of its last run, with what it means."""
    for name, value in (view.result.measurements if view.result else {}).items():
        measure = view.config.type.measures.get(name)
        parts = value if isinstance(value, Mapping) else {"": value}
        for part, number in parts.items():
            shown = clean(part, snapshot.config.secrets)
            yield Measured(name, shown, quantity(name, number), measure.help if measure else "")


def details_of(view: ProbeView, snapshot: Snapshot) -> Mapping[str, str]:
    """What its last run found out that is no number, without secrets."""
    details = view.result.details if view.result else {}
    return {key: clean(text, snapshot.config.secrets) for key, text in details.items()}
