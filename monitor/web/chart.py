"""History as pictures: a strip of levels and a line beside its limits, as the numbers of small SVGs.

All coordinates are whole numbers in a box of `WIDTH` by `HEIGHT`, stretched to where it is shown; what stays the same
takes no bytes, since there is one picture for each probe of a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

from monitor.core.condition import Condition
from monitor.core.history import Bucket, Spread
from monitor.core.quantity import format_duration
from monitor.core.runbook import Level

WIDTH, HEIGHT = 240, 40
STRIP_HEIGHT = 8
_TALL: Mapping[Level, int] = {Level.OK: 3, Level.WARN: 5, Level.UNKNOWN: 5, Level.FAIL: STRIP_HEIGHT}
"""A level has its height too: it is told from the others where colours do not."""


@dataclass(frozen=True, slots=True)
class Band:
    """One level in a strip: where it was taken, as a path."""

    level: str
    path: str


@dataclass(frozen=True, slots=True)
class Strip:
    """Which level when. `said` is the same in words."""

    bands: tuple[Band, ...]
    said: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A limit in a chart: the level it means and its height."""

    level: str
    y: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A measurement over time beside its limits. `band` is from the least to the most, where that is drawn."""

    line: str
    marks: tuple[Mark, ...]
    top: float  # what the upper edge of the box stands for
    band: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """The time that a picture shows, wall seconds."""

    since: float
    until: float

    def x(self, at: float) -> int:
        share = (at - self.since) / (self.until - self.since)
        return round(min(max(share, 0.0), 1.0) * WIDTH)


def strip(buckets: Sequence[Bucket], frame: Frame, patience: float) -> Strip:
    """The levels over time. A bucket lasts until the next, if that comes within `patience` seconds."""
    spans = list(_spans(buckets, frame, patience))
    found: dict[Level, str] = {}
    for level, group in groupby(spans, key=lambda span: span[0]):
        stretch = list(group)
        for left, right in _merged((start, end) for _, start, end in stretch):
            x, width = frame.x(left), max(frame.x(right) - frame.x(left), 1)
            tall = _TALL[level]
            found[level] = found.get(level, "") + f"M{x} {STRIP_HEIGHT - tall}h{width}v{tall}h-{width}z"
    return Strip(tuple(Band(level.value, path) for level, path in found.items()), _said(spans))


def chart(
    buckets: Sequence[Bucket], why: str, conditions: Sequence[tuple[str, Condition]], frame: Frame, *, banded: bool
) -> Chart | None:
    """A measurement over time, the worst of each bucket; `banded`: its mean, in a band from least to most.

    None where there is nothing to draw.
    """
    points = [(bucket.at + bucket.seconds / 2, bucket.measured[why]) for bucket in buckets if why in bucket.measured]
    if not points:
        return None
    limits = [condition.limit for _, condition in conditions]
    top = _top(why, [*limits, *(spread.high for _, spread in points)])
    falling = bool(conditions) and conditions[0][1].op.startswith("<")
    worst: Callable[[Spread], float] = (lambda spread: spread.low) if falling else (lambda spread: spread.high)
    shown: Callable[[Spread], float] = (lambda spread: spread.mean) if banded else worst
    path = [(frame.x(at), _y(shown(spread), top)) for at, spread in points]
    # From the beginning of the first bucket to the end of the last: a single one is seen too.
    drawn = [bucket for bucket in buckets if why in bucket.measured]
    first, last = frame.x(drawn[0].at), frame.x(drawn[-1].at + drawn[-1].seconds)
    line = _line([(first, path[0][1]), *path, (last, path[-1][1])])
    marks = tuple(dict.fromkeys(Mark(level, _y(condition.limit, top)) for level, condition in conditions))
    band = ""
    if banded:
        upper = [(frame.x(at), _y(spread.high, top)) for at, spread in points]
        lower = [(frame.x(at), _y(spread.low, top)) for at, spread in reversed(points)]
        band = _line(upper) + "".join(f"L{x} {y}" for x, y in lower) + "z"
    return Chart(line, marks, top, band)


def _spans(buckets: Sequence[Bucket], frame: Frame, patience: float) -> Iterator[tuple[Level, float, float]]:
    for bucket, following in zip_longest(buckets, buckets[1:]):
        end = float(bucket.at + bucket.seconds)
        if following is not None and bucket.at < following.at <= end + patience:
            end = following.at
        if end > frame.since and bucket.at < frame.until:
            yield bucket.level or Level.UNKNOWN, max(bucket.at, frame.since), min(end, frame.until)


def _merged(spans: Iterator[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    left = right = None
    for start, end in spans:
        if right is not None and start > right:
            yield left, right  # type: ignore[misc]
            left = None
        left, right = (start if left is None else left), end
    if right is not None:
        yield left, right  # type: ignore[misc]


def _said(spans: Sequence[tuple[Level, float, float]]) -> str:
    seconds = {level: sum(end - start for found, start, end in spans if found is level) for level in Level}
    bad = [level for level in (Level.FAIL, Level.UNKNOWN, Level.WARN) if seconds[level]]
    if not spans:
        return "no history yet"
    if not bad:
        return "ok all the time"
    # A bucket is told by its worst moment: what is short in it is drawn and told as long as it.
    return ", ".join(f"{level} for at most {format_duration(seconds[level])}" for level in bad)


def _top(why: str, values: Sequence[float]) -> float:
    """What the upper edge stands for: 100 % of a ratio that comes near it, else some room above everything."""
    most = max(0.0, *values)
    ratio = why.partition("[")[0].endswith("_ratio")
    return 1.0 if ratio and 0.2 <= most <= 1 else most * 1.15 or 1.0


def _y(value: float, top: float) -> int:
    share = value / top if top else 0.0
    return round((1 - min(max(share, 0.0), 1.0)) * (HEIGHT - 2)) + 1


def _line(points: Sequence[tuple[int, int]]) -> str:
    """A path through the points, less those that lie on the way."""
    kept: list[tuple[int, int]] = []
    for point in points:
        if len(kept) > 1 and kept[-2][1] == kept[-1][1] == point[1]:
            kept[-1] = point
        else:
            kept.append(point)
    (x, y), *rest = kept
    path = f"M{x} {y}"
    for following in rest:
        path += f"H{following[0]}" if following[1] == y else f"L{following[0]} {following[1]}"
        y = following[1]
    return path
