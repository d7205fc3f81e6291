"""The history of one probe as its page shows it: charts, whether its limits are right, and its runs with their phases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from monitor.core import history
from monitor.core.condition import Condition
from monitor.core.history import DURATION, Bucket, Past, Run
from monitor.core.probe import Outcome
from monitor.core.snapshot import ProbeView
from monitor.core.words import clean, label, quantity
from monitor.web.chart import Chart, Frame, Strip, chart, strip

RANGES: Mapping[str, float] = {"1h": 3600.0, "6h": 6 * 3600.0, "24h": 86400.0, "7d": 7 * 86400.0, "30d": 30 * 86400.0}
"""How much of the history can be looked at, in seconds."""

RANGE_PATTERN = "^([1-9][0-9]{0,3}m|([1-9][0-9]?|[1-6][0-9]{2})h|([1-9]|[12][0-9]|3[01])d)$"
"""How long a time may be asked for; no longer than is kept."""

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def range_seconds(text: str) -> float | None:
    """`90m`, `12h`, `7d` in seconds; None for what is none of these, or longer than is kept."""
    return int(text[:-1]) * _UNITS[text[-1]] if re.fullmatch(RANGE_PATTERN, text) else None


YOUNG = 6  # the part of a range that is shown at least
MOST_POINTS = 120
RUNS_SHOWN = 25
_PHASES = "phase_seconds"


@dataclass(frozen=True, slots=True)
class Charted:
    """One measurement over time, and what it was in words."""

    name: str
    level: str
    value: str
    low: str
    mean: str
    high: str
    top: str
    chart: Chart
    limits: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class JudgementRow:
    """One limit beside what was measured: median, 95 %, 99 % and the most."""

    level: str
    text: str
    quantiles: tuple[str, str, str, str]
    share: str
    breaches: int


@dataclass(frozen=True, slots=True)
class PastView:
    """What a probe's page shows of its history."""

    range: str
    ranges: tuple[str, ...]
    since: float
    until: float
    strip: Strip
    runs: int
    failures: int
    errors: int
    charts: tuple[Charted, ...]
    judgements: tuple[JudgementRow, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """One line of a run: a phase with its place in the whole (percent), or a fact."""

    name: str
    text: str
    left: float = 0.0
    width: float | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run. `gap`: it does not follow the run above it."""

    number: int
    at: float
    level: str
    took: str
    said: str
    phases: tuple[Phase, ...]
    gap: bool = False


def past_view(view: ProbeView, buckets: Sequence[Bucket], chosen: str, now: float) -> PastView:
    """The history of the last `chosen` (a key of RANGES)."""
    since = now - RANGES[chosen]
    shown = [bucket for bucket in buckets if bucket.at + bucket.seconds > since]
    if shown:  # a history that is younger than that is drawn larger
        since = max(since, min(float(shown[0].at), now - RANGES[chosen] / YOUNG))
    whole = history.whole(shown)
    points = _thinned(shown, now - since)
    frame = Frame(since, now)
    patience = view.config.interval * 1.5
    return PastView(
        chosen,
        tuple(RANGES),
        since,
        now,
        strip(shown, frame, patience),
        whole.runs if whole else 0,
        whole.failures if whole else 0,
        whole.errors if whole else 0,
        tuple(_charts(view, points, whole, frame)),
        tuple(map(_judgement, history.judgements(view.config, shown))),
    )


def _thinned(buckets: Sequence[Bucket], seconds: float) -> Sequence[Bucket]:
    least = seconds / MOST_POINTS
    sizes = (60, 300, 900, 3600, 7200, 21600, 43200)
    size = next((size for size in sizes if size >= least), sizes[-1])
    return history.coarser(buckets, size) if buckets and size > buckets[0].seconds else buckets


def _charts(view: ProbeView, points: Sequence[Bucket], whole: Bucket | None, frame: Frame) -> Iterator[Charted]:
    limits: dict[str, list[tuple[str, Condition]]] = {}
    for level, conditions in (("warn", view.config.warn), ("fail", view.config.fail)):
        for condition in conditions:
            limits.setdefault(condition.why, []).append((level, condition))
    for why in [*limits, *([DURATION] if DURATION not in limits else [])]:
        group = limits.get(why, [])
        drawn = chart(points, why, group, frame, banded=True)
        if drawn is None or whole is None:
            continue
        spread, name = whole.measured[why], why.partition("[")[0]
        latest = _latest(view, group)
        holding = [level for level, one in group if latest is not None and one.holds(_as_measured(one, latest))]
        yield Charted(
            label(why) if group else "run time",
            "fail" if "fail" in holding else "warn" if holding else "ok",
            quantity(name, latest) if latest is not None else "not measured",
            quantity(name, spread.low),
            quantity(name, spread.mean),
            quantity(name, spread.high),
            quantity(name, drawn.top),
            drawn,
            tuple((level, f"{one.op} {one.text.partition(one.op)[2].strip()}") for level, one in group),
        )


def _latest(view: ProbeView, group: Sequence[tuple[str, Condition]]) -> float | None:
    if view.result is None:
        return None
    if not group:
        return view.result.duration_seconds
    found = group[0][1].nearest(view.result.measurements)
    return found[1] if found else None


def _as_measured(condition: Condition, value: float) -> dict[str, Mapping[str, float] | float]:
    return {condition.name: {condition.part: value} if condition.part else value}


def _judgement(one: history.Judgement) -> JudgementRow:
    name, spread = one.condition.name, one.spread
    if spread is None:
        return JudgementRow(one.level, one.condition.text, ("not measured", "", "", ""), "", one.breaches)
    half, most, nearly, _ = (quantity(name, spread.quantile(rank)) for rank in (0.5, 0.95, 0.99, 1.0))
    return JudgementRow(
        one.level, one.condition.text, (half, most, nearly, quantity(name, spread.high)), share(one.share), one.breaches
    )


def share(part: float) -> str:
    """A share as people read it: what is not nothing is never called nothing."""
    return "never" if part == 0 else "always" if part == 1 else f"{max(part * 100, 0.01):.2g} %"


def run_rows(past: Past, secrets: frozenset[str]) -> list[RunRow]:
    """The latest runs, newest first; after them those that ended otherwise than the run before."""
    latest = past.runs[:RUNS_SHOWN]
    oldest = latest[-1].number if latest else 0
    earlier = [run for run in past.turns if run.number < oldest]
    rows = [_row(run, secrets, gap=False) for run in latest]
    return rows + [_row(run, secrets, gap=place == 0) for place, run in enumerate(earlier[:RUNS_SHOWN])]


def _row(run: Run, secrets: frozenset[str], *, gap: bool) -> RunRow:
    result = run.result
    bad = [name for name, good in sorted(result.checks.items()) if not good]
    said = [result.outcome.value if result.outcome is not Outcome.SUCCESS else "", result.reason, result.detail]
    said += [f"{name} bad" for name in bad]
    words = clean(": ".join(part for part in said if part), secrets)
    return RunRow(
        run.number,
        result.at,
        run.level.value,
        quantity(DURATION, result.duration_seconds),
        words or "success",
        tuple(_phases(run, secrets)),
        gap,
    )


def _phases(run: Run, secrets: frozenset[str]) -> Iterator[Phase]:
    result = run.result
    if result.waited_seconds:
        yield Phase("waited before", quantity(DURATION, result.waited_seconds))
    phases = result.measurements.get(_PHASES)
    if isinstance(phases, Mapping):
        total, begun = sum(phases.values()) or 1.0, 0.0
        for name, seconds in phases.items():
            left, width = begun / total * 100, seconds / total * 100
            yield Phase(clean(name, secrets), quantity(DURATION, seconds), round(left, 1), round(max(width, 0.5), 1))
            begun += seconds
    for name, value in result.measurements.items():
        if name != _PHASES:
            parts = value if isinstance(value, Mapping) else {"": value}
            text = ", ".join(
                f"{clean(part, secrets)} {quantity(name, number)}".strip() for part, number in parts.items()
            )
            yield Phase(name, text)
    for name, good in sorted(result.checks.items()):
        yield Phase(f"check {clean(name, secrets)}", "good" if good else "bad")
    for name, text in result.details.items():
        yield Phase(clean(name, secrets), clean(text, secrets))
