"""What the runs of a probe were like over time: buckets of a minute and of a quarter of an hour, and the latest runs.

A bucket holds the worst level, how many runs failed, and of each measurement with a limit its spread: count, least,
most, sum and a sketch, from which quantiles are good to two percent. Buckets are values; two of them join to one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TypeVar

from monitor.core.condition import Condition
from monitor.core.config import ProbeConfig
from monitor.core.level import ProbeState, worst
from monitor.core.probe import Outcome, Result, Value
from monitor.core.runbook import Level

MINUTE, QUARTER = 60, 900
"""Seconds that a bucket is of."""

KEEP_SECONDS: Mapping[int, float] = {MINUTE: 2 * 86400.0, QUARTER: 31 * 86400.0}
"""How long buckets are kept."""

MINUTES_UP_TO_SECONDS = 6 * 3600.0
"""A longer time is shown in quarters of an hour."""

AT_HAND = 60
"""Minutes that are kept at hand, for the console."""

RUNS_KEPT = 60
"""The latest runs that are kept of a probe, and as many again of those that ended otherwise than the one before."""

DURATION = "duration_seconds"

_GAMMA = math.log(1.04)
_ZERO = 1e-9  # what is smaller counts as nothing
Name = TypeVar("Name", bound=Hashable)

_FAR = 100_000  # lies between the steps of negative and of positive numbers
_WORSE = {
    (Level.WARN, Level.OK), (Level.WARN, Level.UNKNOWN),
    (Level.FAIL, Level.OK), (Level.FAIL, Level.UNKNOWN), (Level.FAIL, Level.WARN),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spread:
    """What one measurement was over some time. `steps`: how many values fell into each step of four percent."""

    count: int
    low: float
    high: float
    total: float
    steps: Mapping[int, int]

    @property
    def mean(self) -> float:
        return self.total / self.count

    def quantile(self, rank: float) -> float:
        """The value that the share `rank` of all values does not exceed, to two percent."""
        left = rank * self.count
        for number in sorted(self.steps):
            left -= self.steps[number]
            if left <= 0:
                return min(max(_value(number), self.low), self.high)
        return self.high

    def share(self, condition: Condition) -> float:
        """Of how many values, of all, the condition holds, to two percent of its limit."""
        if condition.holds(_measured(condition, self.low)) == condition.holds(_measured(condition, self.high)) and (
            condition.op not in {"==", "!="} or self.low == self.high
        ):
            return 1.0 if condition.holds(_measured(condition, self.low)) else 0.0
        held = sum(
            count for number, count in self.steps.items() if condition.holds(_measured(condition, _value(number)))
        )
        return held / self.count


@dataclass(frozen=True, slots=True)
class Bucket:
    """All runs that began within `seconds` from `at` (wall).

    `breaches` counts how often a level was newly confirmed, by `LEVEL WHY`.
    """

    at: int
    seconds: int
    level: Level | None  # the worst; None where no run was judged yet, as in the first moments
    runs: int = 1
    failures: int = 0  # the target's fault
    errors: int = 0  # ours
    measured: Mapping[str, Spread] = field(default_factory=dict)
    breaches: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One limit beside what was measured over some time: is this number right?"""

    level: str  # which level it means: warn or fail
    condition: Condition
    spread: Spread | None  # None: nothing was measured
    share: float  # of all values, how many lie beyond the limit as it is now
    breaches: int  # how often the level was confirmed for this measurement, by the limits of that time


@dataclass(frozen=True, slots=True)
class Run:
    """One run, and the level that the probe had after it."""

    number: int  # 0, 1, 2 ... over all runs of the probe
    result: Result
    level: Level
    turn: int | None = None  # 0, 1, 2 ... over those that ended otherwise than the one before
    breaches: tuple[str, ...] = ()  # what it confirmed newly, as `LEVEL WHY`
    judged: bool = True  # whether the level means anything yet


@dataclass(frozen=True, slots=True)
class Past:
    """What is at hand of a probe's history. The newest run comes first, the newest minute last: it is still open."""

    runs: tuple[Run, ...] = ()
    turns: tuple[Run, ...] = ()
    minutes: tuple[Bucket, ...] = ()
    quarter: Bucket | None = None  # the open one


@dataclass(frozen=True, slots=True)
class News:
    """What one run adds to the store: itself, and the buckets that it closed."""

    run: Run
    closed: tuple[Bucket, ...] = ()


def take(past: Past, config: ProbeConfig, result: Result, before: ProbeState, after: ProbeState) -> tuple[Past, News]:
    """The history with one more run, which moved the probe from one state to the other."""
    last = past.runs[0] if past.runs else None
    turned = last is None or _ending(last.result) != _ending(result)
    run = Run(
        last.number + 1 if last else 0,
        replace(result, cursor=None),
        after.level,
        _next_turn(past) if turned else None,
        _breaches(before, after),
        judged=after.level is not Level.UNKNOWN or bool(after.reason),
    )
    minute, quarter = _bucket(config, run, MINUTE), _bucket(config, run, QUARTER)
    minutes, closed = past.minutes, list[Bucket]()
    if minutes and minutes[-1].at == minute.at:
        minutes = (*minutes[:-1], join(minutes[-1], minute))
    else:
        closed += minutes[-1:]
        minutes = (*minutes[-AT_HAND:], minute)
    if past.quarter and past.quarter.at == quarter.at:
        quarter = join(past.quarter, quarter)
    elif past.quarter:
        closed.append(past.quarter)
    turns = (run, *past.turns[: RUNS_KEPT - 1]) if turned else past.turns
    return Past((run, *past.runs[: RUNS_KEPT - 1]), turns, minutes, quarter), News(run, tuple(closed))


def resume(past: Past, config: ProbeConfig) -> Past:
    """The history after a start: what was open is put together again from the runs that were saved."""
    end = past.minutes[-1].at + MINUTE if past.minutes else 0
    fresh = [_bucket(config, run, MINUTE) for run in past.runs if run.result.at >= end]
    minutes = (*past.minutes, *coarser(fresh, MINUTE))
    begun = minutes[-1].at // QUARTER * QUARTER if minutes else 0
    quarters = coarser((minute for minute in minutes if minute.at >= begun), QUARTER)
    return replace(past, minutes=minutes, quarter=quarters[-1] if quarters else None)


def resolution(seconds: float) -> int:
    """Of how many seconds the buckets are that show so long a time."""
    return MINUTE if seconds <= MINUTES_UP_TO_SECONDS else QUARTER


def with_open(kept: list[Bucket], past: Past, seconds: int) -> list[Bucket]:
    """The closed buckets, and the one that is still open."""
    opened = past.minutes[-1] if past.minutes and seconds == MINUTE else past.quarter
    return [*(bucket for bucket in kept if opened is None or bucket.at != opened.at), *([opened] if opened else [])]


def join(one: Bucket, other: Bucket) -> Bucket:
    """Two buckets as one, with the place of the first."""
    measured = dict(one.measured)
    for name, spread in other.measured.items():
        measured[name] = _join(measured[name], spread) if name in measured else spread
    return replace(
        one,
        level=worst(known) if (known := [level for level in (one.level, other.level) if level]) else None,
        runs=one.runs + other.runs,
        failures=one.failures + other.failures,
        errors=one.errors + other.errors,
        measured=measured,
        breaches=_add(one.breaches, other.breaches),
    )


def coarser(buckets: Iterable[Bucket], seconds: int) -> list[Bucket]:
    """The same history in buckets of so many seconds, oldest first."""
    found: dict[int, Bucket] = {}
    for bucket in buckets:
        at = int(bucket.at // seconds * seconds)
        placed = replace(bucket, at=at, seconds=seconds)
        found[at] = join(found[at], placed) if at in found else placed
    return [found[at] for at in sorted(found)]


def whole(buckets: Iterable[Bucket]) -> Bucket | None:
    """All of it as one bucket; None if there is nothing."""
    found = sorted(buckets, key=lambda bucket: bucket.at)
    return reduce(join, found) if found else None


def judgements(config: ProbeConfig, buckets: Iterable[Bucket]) -> list[Judgement]:
    """Every limit of a probe beside what was measured."""
    found = whole(buckets)
    listed = []
    for level, conditions in (("warn", config.warn), ("fail", config.fail)):
        for condition in conditions:
            spread = found.measured.get(condition.why) if found else None
            breaches = found.breaches.get(f"{level} {condition.why}", 0) if found else 0
            listed.append(Judgement(level, condition, spread, spread.share(condition) if spread else 0.0, breaches))
    return listed


def judged(config: ProbeConfig) -> dict[str, Condition]:
    """One condition for each measurement that has limits, by what a breach is filed under."""
    return {condition.why: condition for condition in (*config.fail, *config.warn)}


def _bucket(config: ProbeConfig, run: Run, seconds: int) -> Bucket:
    result = run.result
    values = {DURATION: result.duration_seconds}
    for why, condition in judged(config).items():
        found = condition.nearest(result.measurements)
        if found is not None and math.isfinite(found[1]):
            values[why] = found[1]
    return Bucket(
        int(result.at // seconds * seconds),
        seconds,
        run.level if run.judged else None,
        failures=int(result.outcome is Outcome.FAILURE),
        errors=int(result.outcome is Outcome.ERROR),
        measured={name: Spread(1, value, value, value, {_step(value): 1}) for name, value in values.items()},
        breaches=dict.fromkeys(run.breaches, 1),
    )


def _next_turn(past: Past) -> int:
    return (past.turns[0].turn or 0) + 1 if past.turns else 0


def _breaches(before: ProbeState, after: ProbeState) -> tuple[str, ...]:
    """Levels that were not confirmed before and are now; on the way back nothing is confirmed newly."""
    found = []
    for why, state in after.whys.items():
        was = before.whys[why].confirmed if why in before.whys else Level.UNKNOWN
        if (state.confirmed, was) in _WORSE:
            found.append(f"{state.confirmed} {why}")
    return tuple(found)


def _ending(result: Result) -> tuple[object, ...]:
    return result.outcome, result.reason, tuple(sorted(name for name, good in result.checks.items() if not good))


def _join(one: Spread, other: Spread) -> Spread:
    return Spread(
        one.count + other.count,
        min(one.low, other.low),
        max(one.high, other.high),
        one.total + other.total,
        _add(one.steps, other.steps),
    )


def _add(one: Mapping[Name, int], other: Mapping[Name, int]) -> dict[Name, int]:
    return {**one, **{name: one.get(name, 0) + count for name, count in other.items()}}


def _step(value: float) -> int:
    if abs(value) < _ZERO:
        return 0
    step = _FAR + round(math.log(abs(value)) / _GAMMA)
    return step if value > 0 else -step


def _value(step: int) -> float:
    if step == 0:
        return 0.0
    value = math.exp((abs(step) - _FAR) * _GAMMA)
    return value if step > 0 else -value


def _measured(condition: Condition, value: float) -> dict[str, Value]:
    return {condition.name: {condition.part: value} if condition.part else value}
