"""What a log said over a sliding window: buckets of ten seconds of event time, each with sketches of its latencies.

A window takes whole buckets and the oldest one in part, by the share of it that lies inside. Latencies are kept as
counts of logarithmic steps (the mapping of DDSketch), so that any quantile is within 1 % of the true value and merging
is adding. Memory is bounded by time and steps, not by traffic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

BUCKET_SECONDS = 10
FUTURE_SECONDS = 60.0  # an event time further ahead than this is a wrong clock

BY_SOURCE = "(?#by source)"
"""What a pattern ends with (a comment to the regular expression) whose matches are also counted by who is behind them."""
SOURCES_MOST = 500  # of one bucket and all patterns; the others are counted without telling them apart

PROBLEMS_MOST = 12  # of one bucket; what else goes wrong is counted as an error and not told apart
PACK_STEPS = 128
ACCURACY = 0.01
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
_FIRST, _LAST = -345, 1037  # steps from a microsecond to eleven days
_ZERO = -400  # the step of a latency under a microsecond

STEP_BOUNDS_MS = (math.nextafter(1e-3, 0), *(_GAMMA**number for number in range(_FIRST, _LAST)))
"""The latency in milliseconds up to which each step goes, and that included; the last goes on."""
STEPS = (_ZERO, *range(_FIRST, _LAST + 1))
"""The steps of a sketch, from the lowest to the highest."""


def step_value(number: int) -> float:
    """The latency in milliseconds that stands for a step, at most 1 % off any in it."""
    return 0.0 if number == _ZERO else 2 * math.exp(number * _LOG_GAMMA) / (1 + _GAMMA)


class Series(msgspec.Struct, array_like=True, gc=False):
    """The latencies of one upstream in one bucket: how many, their sum in milliseconds, and the sketch."""

    count: int = 0
    sum_ms: float = 0.0
    steps: dict[int, int] = {}  # what came since `packed`
    packed: bytes = b""  # a closed bucket's steps: gaps between the steps, then their counts

    def add(self, other: Series) -> None:
        self.count += other.count
        self.sum_ms += other.sum_ms
        for number, count in other.all_steps():
            self.steps[number] = self.steps.get(number, 0) + count

    def all_steps(self) -> Iterable[tuple[int, int]]:
        """(step, count) pairs; a step may come twice."""
        yield from self.steps.items()
        if not self.packed:
            return
        numbers = msgspec.msgpack.decode(self.packed, type=list[int])
        half, at = len(numbers) // 2, 0
        for gap, count in zip(numbers[:half], numbers[half:], strict=True):
            at += gap
            yield at, count

    def pack(self) -> None:
        """Fold a large sketch into bytes: about two for each step, where the dict takes a hundred."""
        if len(self.steps) < PACK_STEPS:
            return
        merged: dict[int, int] = {}
        for number, count in self.all_steps():
            merged[number] = merged.get(number, 0) + count
        order = sorted(merged)
        gaps = [number - before for number, before in zip(order, [0, *order[:-1]], strict=True)]
        self.packed = msgspec.msgpack.encode(gaps + [merged[number] for number in order])
        self.steps = {}


class Bucket(msgspec.Struct, array_like=True, gc=False):
    """Ten seconds of a log."""

    lines: int = 0
    errors: int = 0
    requests: int = 0
    server_errors: int = 0
    unparsed: int = 0
    series: dict[str, Series] = {}
    matches: dict[str, int] = {}
    problems: dict[str, int] = {}  # what lines at error say, masked and without numbers

    def add(self, other: Bucket) -> None:
        self.lines += other.lines
        self.errors += other.errors
        self.requests += other.requests
        self.server_errors += other.server_errors
        self.unparsed += other.unparsed
        for name, series in other.series.items():
            self.series.setdefault(name, Series()).add(series)
        for name, count in other.matches.items():
            if name in self.matches or is_whole(name) or len(self.matches) < SOURCES_MOST:
                self.matches[name] = self.matches.get(name, 0) + count
        for text, count in other.problems.items():
            if text in self.problems or len(self.problems) < PROBLEMS_MOST:
                self.problems[text] = self.problems.get(text, 0) + count


def of_source(pattern: str, source: str) -> str:
    """The name under which a bucket counts the matches of one source; `pattern` alone counts them all."""
    return f"{pattern}\0{source}"


def is_whole(name: str) -> bool:
    """Whether a name in `matches` is a pattern's, and not that of one of its sources."""
    return "\0" not in name


@dataclass(frozen=True)
class Sources:
    """Who is behind the matches of a pattern in a window, as numbers: how many, and what the worst of them did."""

    count: int = 0
    most: float = 0.0  # matches of one source
    let_in: int = 0  # sources that got in after a burst of refusals


@dataclass
class Latency:
    """The latencies of one upstream over a window; counts are weighted, so they need not be whole."""

    count: float = 0.0
    sum_ms: float = 0.0
    steps: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, series: Series) -> Latency:
        """The latencies of one series alone."""
        latency = cls()
        latency.add(series, 1.0)
        return latency

    def add(self, series: Series, weight: float) -> None:
        self.count += series.count * weight
        self.sum_ms += series.sum_ms * weight
        steps = self.steps
        for number, count in series.all_steps():
            steps[number] = steps.get(number, 0.0) + count * weight

    @property
    def mean_seconds(self) -> float:
        return self.sum_ms / self.count / 1000

    def quantiles(self, ranks: Iterable[float]) -> list[float]:
        """The latencies in seconds at these ranks (ascending, 0 to 1), within 1 % of a value at that rank."""
        order = sorted(self.steps)
        total = sum(self.steps.values())
        found, below, at = [], 0.0, 0
        for rank in ranks:
            # The nearest rank: the smallest value that at least this share of all is not above.
            while at < len(order) - 1 and below + self.steps[order[at]] < rank * total - 1e-9:
                below += self.steps[order[at]]
                at += 1
            found.append(step_value(order[at]) / 1000)
        return found


@dataclass
class View:
    """A window's sums. Weighted by the oldest bucket's share, so counts need not be whole."""

    lines: float = 0.0
    errors: float = 0.0
    requests: float = 0.0
    server_errors: float = 0.0
    unparsed: float = 0.0
    latencies: dict[str, Latency] = field(default_factory=dict)
    matches: dict[str, float] = field(default_factory=dict)
    problems: dict[str, float] = field(default_factory=dict)

    def add(self, bucket: Bucket, weight: float, *, deep: bool) -> None:
        self.lines += bucket.lines * weight
        self.errors += bucket.errors * weight
        self.requests += bucket.requests * weight
        self.server_errors += bucket.server_errors * weight
        self.unparsed += bucket.unparsed * weight
        if not deep:
            return
        for name, count in bucket.matches.items():
            self.matches[name] = self.matches.get(name, 0.0) + count * weight
        for text, count in bucket.problems.items():
            self.problems[text] = self.problems.get(text, 0.0) + count * weight
        for name, series in bucket.series.items():
            self.latencies.setdefault(name, Latency()).add(series, weight)


@dataclass
class Ring:
    """The buckets of the last `span_seconds`, by the second at which each begins."""

    span_seconds: float
    buckets: dict[int, Bucket] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._open = set(self.buckets)  # those that may have something to pack

    def oldest(self, now: float) -> int:
        """The first second that is still kept: what is older is counted in no window."""
        return int((now - self.span_seconds) // BUCKET_SECONDS) * BUCKET_SECONDS

    def add(self, buckets: Mapping[int, Bucket], now: float) -> None:
        """Take in what was counted, which may be late, and let go what is too old."""
        oldest = self.oldest(now)
        for start, bucket in buckets.items():
            if start < oldest:
                continue
            if start in self.buckets:
                self.buckets[start].add(bucket)
            else:
                self.buckets[start] = bucket
            self._open.add(start)
        self.prune(now)

    def prune(self, now: float) -> None:
        """Let go what is too old, and pack what is unlikely to grow."""
        oldest, closed = self.oldest(now), now - 3 * BUCKET_SECONDS
        for start in [start for start in self.buckets if start < oldest]:
            del self.buckets[start]
        for start in [start for start in self._open if start < closed]:
            self._open.remove(start)
            if start in self.buckets:
                for series in self.buckets[start].series.values():
                    series.pack()

    def view(self, since: float, until: float, *, deep: bool = True) -> View:
        """The sums from `since` to `until` (infinity for all that came); `deep` also merges latencies and matches."""
        view = View()
        for start, bucket in self.buckets.items():
            inside = min(start + BUCKET_SECONDS, until) - max(start, since)
            if inside > 0:
                view.add(bucket, inside / BUCKET_SECONDS, deep=deep)
        return view

    def matches(self, since: float, until: float, patterns: Iterable[str]) -> dict[str, float]:
        """How often each of these patterns was found from `since` to `until`; those that were not are left out."""
        found: dict[str, float] = {}
        wanted = set(patterns)
        for start, bucket in self.buckets.items():
            inside = min(start + BUCKET_SECONDS, until) - max(start, since)
            for pattern in wanted & bucket.matches.keys() if inside > 0 else ():
                found[pattern] = found.get(pattern, 0.0) + bucket.matches[pattern] * inside / BUCKET_SECONDS
        return found

    def sources(self, since: float, refused: str, let_in: str, burst: int) -> Sources:
        """Who is behind the pattern `refused` in the buckets that end after `since`.

        A source was let in after a burst if `let_in` was found for it in the ten seconds in which its refusals reached
        `burst`, or later.
        """
        counts: dict[str, int] = {}
        entered: set[str] = set()
        before, after = of_source(refused, ""), of_source(let_in, "")
        for start in sorted(start for start in self.buckets if start + BUCKET_SECONDS > since):
            found = self.buckets[start].matches
            for name, count in found.items():
                if name.startswith(before):
                    source = name.removeprefix(before)
                    counts[source] = counts.get(source, 0) + count
            entered |= {source for source, count in counts.items() if count >= burst and f"{after}{source}" in found}
        return Sources(len(counts), float(max(counts.values(), default=0)), len(entered))
