"""Turns the lines of a log into counts: pino in all its shapes, winston, and plain text by a pattern.

The common line costs one typed decode and a few comparisons. A line that does not fit the type (a level as a label in
an odd place, `res` as a string, half a line, no JSON at all) is looked at again by hand, so that none is lost; what
nobody understands is counted as `unparsed`. The shapes come from running pino 10, pino-http 11 and nestjs-pino 4.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import partial
from itertools import chain, takewhile
from operator import itemgetter
from typing import Any, Literal

import msgspec

from monitor.logs.mask import mask
from monitor.logs.problems import KEPT_MOST_BYTES, Problems
from monitor.logs.window import (
    BUCKET_SECONDS,
    BY_SOURCE,
    FUTURE_SECONDS,
    SOURCES_MOST,
    STEP_BOUNDS_MS,
    STEPS,
    Bucket,
    Series,
    is_whole,
    of_source,
)

Format = Literal["auto", "pino", "winston", "text"]
FIELDS = ("level", "time", "message", "status", "response_time", "duration", "upstream")

EDGES_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0, 30.0)  # 2 s is the runbook's
UPSTREAMS: Mapping[str, str] = {"salesforce": "(?i)salesforce", "whmcs": "(?i)whmcs", "freebit": "(?i)freebit"}
SERIES_MOST = 64
SAMPLES_MOST = 5
ALL = ""  # the series of requests, beside those of the calls to each upstream
MEMO_MOST = 4096
LONGEST_MS = 1e12  # some thirty years: a number above it is no latency, and one of them would be every mean
_DIGITS_MOST = 20  # of a number in a text; to read one of thousands takes long, and one of more than that is refused

_PINO = {
    "level": "level", "time": "time", "message": "msg", "status": "res.statusCode", "response_time": "responseTime",
    "duration": "duration", "upstream": "api",
}  # fmt: skip
_WINSTON = {**_PINO, "time": "timestamp", "message": "message"}
_FIELDS: Mapping[str, Mapping[str, str]] = {"auto": _PINO, "pino": _PINO, "winston": _WINSTON, "text": _PINO}
# Time and level at the beginning of a line of text, with or without brackets; also Nest's own ConsoleLogger.
DEFAULT_TEXT = (
    r"(?:\[Nest\] \d+ +- )?\W{0,2}(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
    r"|\d\d/\d\d/\d{4}, \d{1,2}:\d\d:\d\d [AP]M)\W{1,8}(?:[\w.-]{1,40}\W{1,4})?"
    r"(?P<level>(?i:trace|verbose|debug|info|log|notice|warn(?:ing)?|error|fatal|critical))\b(?P<message>.*)"
)
_STATUS = re.compile(rb"\b(?i:status(?:code)?)[=: ]+([1-5]\d\d)\b")
_TOOK = re.compile(rb"\b(?i:responsetime|duration)[=: ]+(\d+(?:\.\d+)?(?:ms|s)?)\b")

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|seconds?|us|µs|m)?\s*", re.ASCII)
_UNIT_MS = {"ms": 1.0, "s": 1e3, "sec": 1e3, "second": 1e3, "seconds": 1e3, "us": 1e-3, "µs": 1e-3, "m": 6e4}
_ERROR_LABELS = frozenset(
    ["error", "err", "fatal", "critical", "crit", "alert", "emerg", "emergency", "panic", "severe"]
)
_LEVEL_PREFIX = re.compile(rb'"level"\s*:\s*(?:(\d{1,3})|"(\w{1,20})")')
_DIRT = b"\0\r\n \t\xef\xbb\xbf"  # around a line: NULs of a hole, a byte order mark, white space
_MAYBE_JSON = _DIRT + b"{"
_JSON = json.JSONDecoder(strict=False)
_UNFIT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # the last two are no DecodeError of msgspec

_NEST_TIME = "%m/%d/%Y, %I:%M:%S %p"  # as its ConsoleLogger writes it
_USUAL_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:Z|$|[.,+-])", re.ASCII)
_ISO_SECONDS = len("2026-11-23T17:06:37Z")
_NO_LATENCY = -(2**40)

Number = int | float | str | None


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """How to read the lines of one log, as plain data that goes to the child process.

    `fields` are renames (`{"status": "meta.res.statusCode"}`), `duration_ms` is what a bare number in `duration`
    counts in milliseconds, `zone` the time zone of timestamps that name none.
    """

    format: Format = "auto"
    text: str | None = None
    fields: dict[str, str] = {}
    upstreams: dict[str, str] = msgspec.field(default_factory=lambda: dict(UPSTREAMS))
    patterns: dict[str, str] = {}
    edges_seconds: tuple[float, ...] = EDGES_SECONDS
    duration_ms: float = 1.0
    zone: str = "UTC"


class Count(msgspec.Struct, array_like=True, gc=False):
    """A histogram of one series: how many fell below each edge (and above the last), and their sum."""

    below: list[int]
    sum_ms: float = 0.0

    def add(self, other: Count) -> None:
        self.below = [a + b for a, b in zip(self.below, other.below, strict=True)]
        self.sum_ms += other.sum_ms


def recut(count: Count, edges: Sequence[float], new: Sequence[float]) -> Count:
    """A histogram with other edges. At each edge that stays, and in all, it says what it said.

    What was counted between two old edges is put below the first new one that is not under the upper of them.
    """
    below = [0] * (len(new) + 1)
    for edge, number in zip((*edges, math.inf), count.below, strict=True):
        below[bisect_left(new, edge)] += number
    return Count(below, count.sum_ms)


class Delta(msgspec.Struct, array_like=True, gc=False):
    """What a stretch of a log says: sums, and the buckets it touches by the second at which they begin."""

    lines: int = 0
    errors: int = 0
    requests: int = 0
    server_errors: int = 0
    unparsed: int = 0
    oversize: int = 0
    hostile: int = 0
    matches: dict[str, int] = {}
    last_matches: dict[str, float] = {}  # when each pattern was last seen, event time
    latencies: dict[str, Count] = {}
    samples: list[str] = []  # of unparsed lines, masked
    last_event: float | None = None  # seconds; lines without a time take it
    buckets: dict[int, Bucket] = {}

    def add(self, other: Delta) -> None:
        """Take in another stretch, but for its buckets."""
        for name in ("lines", "errors", "requests", "server_errors", "unparsed", "oversize", "hostile"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, count in other.matches.items():
            self.matches[name] = self.matches.get(name, 0) + count
        for name, at in other.last_matches.items():
            self.last_matches[name] = max(at, self.last_matches.get(name, 0.0))
        for name, count_of in other.latencies.items():
            if name not in self.latencies:
                self.latencies[name] = Count([0] * len(count_of.below))
            self.latencies[name].add(count_of)
        self.samples = (self.samples + other.samples)[-SAMPLES_MOST:]
        self.last_event = other.last_event if other.last_event is not None else self.last_event

    def take(self, other: Delta) -> None:
        """Take in the stretch that follows, buckets and all."""
        self.add(other)
        self.add_buckets(other.buckets)

    def add_buckets(self, buckets: Mapping[int, Bucket]) -> None:
        for start, bucket in buckets.items():
            self.buckets.setdefault(start, Bucket()).add(bucket)


def compile_pattern(pattern: str) -> Callable[[bytes], Any]:
    """A search over the bytes of a line. ValueError for a pattern that is not a regular expression."""
    try:
        if pattern.isascii():
            return re.compile(pattern.encode()).search
        wide = re.compile(pattern)  # a class such as [é] has no meaning byte by byte
    except re.error as error:
        raise ValueError(f'"{pattern}" is not a regular expression: {error}') from error
    except (RecursionError, OverflowError) as error:
        raise ValueError(f'"{pattern[:40]}…" is too large for a regular expression') from error
    return lambda line: wide.search(line.decode(errors="replace"))


def text_pattern(pattern: str) -> re.Pattern[bytes]:
    """The pattern of a plain text format. ValueError says what is wrong with it."""
    try:
        compiled = re.compile(pattern.encode())
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    unknown = sorted(compiled.groupindex.keys() - set(FIELDS))
    if unknown:
        raise ValueError(f'has the unknown group "{unknown[0]}"; known: {", ".join(FIELDS)}')
    if not compiled.groupindex:
        raise ValueError(f"names no group; write (?P<level>…) and the like; known: {', '.join(FIELDS)}")
    return compiled


def is_short(value: object) -> bool:
    """Whether a value out of a line is small enough to be remembered."""
    return not isinstance(value, str | bytes) or len(value) <= KEPT_MOST_BYTES


class _Memo(dict[Any, Any]):
    """A dict that works out what it does not hold, and forgets all when it has grown too large."""

    def __init__(self, work_out: Callable[[Any], Any]) -> None:
        super().__init__()
        self.work_out = work_out

    def __missing__(self, key: Any) -> Any:
        value = self.work_out(key)
        if is_short(key):
            if len(self) > MEMO_MOST:
                self.clear()
            self[key] = value
        return value


class _Ladder(_Memo):
    """The rung that a latency stands on, as it came out of a line: bounds in milliseconds divide one from the next."""

    def __init__(self, bounds_ms: Sequence[float], rungs: Sequence[int], bare_ms: float) -> None:
        super().__init__(self._find)
        self.bounds_ms, self.rungs, self.bare_ms = bounds_ms, rungs, bare_ms

    def __missing__(self, key: Any) -> Any:
        # Fractions hardly ever come twice: they are not remembered, and have the shortest way.
        if key.__class__ is float:
            took = key * self.bare_ms
            return self.rungs[bisect_left(self.bounds_ms, took)] if 0 <= took <= LONGEST_MS else _NO_LATENCY
        return super().__missing__(key)

    def _find(self, value: object) -> int:
        took = milliseconds(value, self.bare_ms)
        return _NO_LATENCY if took is None else self.rungs[bisect_left(self.bounds_ms, took)]


def is_error(level: object) -> bool:
    """Whether a level, number or label, is `error` or worse: 50 and up, as pino counts."""
    if isinstance(level, bytes):
        level = level.decode(errors="replace")
    if isinstance(level, str):
        if not level.isdecimal():
            return level.strip().lower() in _ERROR_LABELS
        level = int(level[:_DIGITS_MOST])
    return isinstance(level, int | float) and level >= 50


def milliseconds(value: object, bare_ms: float = 1.0) -> float | None:
    """A duration out of a log line: `"2451ms"`, or a bare number in units of `bare_ms`; None for what is none."""
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        if not match:
            return None
        took = float(match[1]) * (_UNIT_MS[match[2]] if match[2] else bare_ms)
    elif value.__class__ is float or (value.__class__ is int and 0 <= value <= LONGEST_MS * 1e6):
        took = value * bare_ms
    else:
        return None
    return took if 0 <= took <= LONGEST_MS else None


def event_seconds(value: object, zone: tzinfo = UTC) -> float | None:
    """Seconds since 1970 of an event time as loggers write it: s, ms, us or ns by magnitude, or ISO; None for none."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        if not value.isdecimal():
            return _iso_seconds(value, zone)
        if len(value) > _DIGITS_MOST:
            return None
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    for most, unit in ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9)):
        if value < most:
            return value / unit if value / unit >= 1e8 else None
    return None


def _iso_seconds(text: str, zone: tzinfo) -> float | None:
    try:
        if text[2:3] == "/":
            at = datetime.strptime(text, _NEST_TIME)  # noqa: DTZ007 - it gets its zone below
        else:
            at = datetime.fromisoformat(text.replace(",", ".", 1))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp()


def _iso_key(text: str) -> str:
    """A timestamp with its last second's digit and its fraction taken out: the same for all within ten seconds."""
    if not _USUAL_TIME.match(text):
        return text
    return text[:18] + "0" + (text[23] if len(text) == 24 else text[19:].lstrip(".,0123456789"))


def _is_text(line: bytes) -> bool:
    """Whether a line is no JSON for certain."""
    return line[0] not in _MAYBE_JSON


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _start(seconds: float) -> int:
    return int(seconds // BUCKET_SECONDS) * BUCKET_SECONDS


def _number(value: object) -> Number:
    """A value that may be a number or text, or None for anything else."""
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else None


def _time(value: object) -> float | str | None:
    """A time as it stands in a log, or None for anything else."""
    number = _number(value)
    try:
        return float(number) if isinstance(number, int) else number
    except OverflowError:
        return None


def _text(value: object) -> str | None:
    """A text, or None for anything else."""
    return value if isinstance(value, str) else None


def _raw(value: object) -> msgspec.Raw:
    """A value as it stands in a line."""
    try:
        text = "" if value is None else json.dumps(value, ensure_ascii=False)
    except RecursionError:  # it was read, but writing takes a frame more for each level
        return _NO_MESSAGE
    return msgspec.Raw(text.encode(errors="replace"))


def _bare_number(text: bytes) -> Number:
    """A number out of a line of text, or the text if it is more than that, such as `12ms`."""
    try:
        return int(text) if text.isdigit() and len(text) <= _DIGITS_MOST else float(text)
    except ValueError:
        return text.decode(errors="replace")


def _at_path(record: object, path: Sequence[str]) -> object:
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _literal(pattern: str) -> bytes | None:
    """The bytes of a pattern that is plain text."""
    return None if re.search(r"[\\.^$*+?{}\[\]|()\n]", pattern) else pattern.encode()


def _lines_with(literal: bytes, lines: Sequence[bytes], block: bytes) -> Iterator[int]:
    """The indexes of the lines that hold a text, by one search through them all: much faster than one in each."""
    until = block.rfind(b"\n") + 1 or len(block)
    index, at = -1, block.find(literal, 0, until)
    while at >= 0:
        end = block.find(b"\n", at, until) + 1 or until
        line = block[block.rfind(b"\n", 0, at) + 1 : end]
        index = lines.index(line, index + 1)  # two lines are seldom of one length: that is soon compared
        yield index
        at = block.find(literal, end, until)


def _typed_decoder(paths: Mapping[str, tuple[str, ...]]) -> Callable[[bytes], Any] | None:
    """The fast way to read lines whose fields lie where loggers put them; None for a shape that needs the slow way."""
    if len(paths["status"]) != 2 or any(len(path) != 1 for name, path in paths.items() if name != "status"):
        return None
    holder, status = paths["status"]
    keys = {name: path[0] for name, path in paths.items() if name != "status"}
    keys |= {"res": holder, "timestamp": _other_time(paths), "context": "context", "operation": "operation"}
    if len(set(keys.values())) < len(keys):
        return None
    answer = msgspec.defstruct("Answer", [("status", int | None, None)], rename={"status": status}, gc=False)
    kinds = {field.name: field.type for field in msgspec.structs.fields(_Line)} | {"res": answer | None}
    defaults = {field.name: field.default for field in msgspec.structs.fields(_Line)}
    # A base's fields keep the base's names, so the type is made anew and not derived.
    line = msgspec.defstruct("Line", [(n, kind, defaults[n]) for n, kind in kinds.items()], rename=keys, gc=False)
    return msgspec.json.Decoder(line).decode


def _other_time(paths: Mapping[str, tuple[str, ...]]) -> str:
    """The key that is looked at where a line has no time: the one that the other loggers use."""
    return "time" if paths["time"] == ("timestamp",) else "timestamp"


_NO_MESSAGE = msgspec.Raw(b"")


class _Response(msgspec.Struct, gc=False):
    """The answer that a line speaks of; no status means that the client did not wait for one."""

    status: int | None = None


class _Context(msgspec.Struct, gc=False):
    """What Nest's logger puts its object into."""

    duration: Number = None
    api: str | None = None
    operation: str | None = None


class _Line(msgspec.Struct, gc=False):
    """The fields of a line that are looked at; the names of the keys come from the `Spec`.

    They stand in the order in which loggers write them, which the decoder rewards.
    """

    level: int | str = 0
    time: float | str | None = None  # to compare two floats is cheaper than two whole numbers of this size
    timestamp: float | str | None = None
    res: _Response | None = None
    response_time: Number = None
    context: _Context | str | None = None
    upstream: str | None = None
    operation: str | None = None
    duration: Number = None
    message: msgspec.Raw = _NO_MESSAGE  # left as it stands: it is needed of few lines


class _Unread(_Line, gc=False):
    """A line that nobody understands, or only its level."""


_NO_GROUP = (None,)
_Z, _FIVE = b"Z5"
_CONTINUED = _Line()  # a blank line, or one that goes on where the line before ended: it counts as a line
_ANONYMOUS = (b" ", b"\t", b"Caused by", b"caused by:", b"}", b"]", b")")  # how the lines of a stack trace begin


class _Cell:
    """One bucket while it is being filled: latencies as they came, to be folded once for the whole stretch."""

    __slots__ = ("errors", "lines", "matches", "problems", "server_errors", "start", "unparsed", "values")

    def __init__(self, start: int) -> None:
        self.start = start
        self.lines = self.errors = self.server_errors = self.unparsed = 0
        self.values: dict[str, list[Any]] = {ALL: []}  # of each request there is one
        self.matches: dict[str, int] = {}
        self.problems: dict[str, int] = {}


class Scanner:
    """Reads lines by a `Spec`. Between stretches it keeps nothing but memos, so any process may go on where one ended."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.zone = _zone(spec.zone)
        self._paths = {name: tuple(path.split(".")) for name, path in {**_FIELDS[spec.format], **spec.fields}.items()}
        self._decode = _typed_decoder(self._paths) or self._decode_untyped
        text = text_pattern(spec.text or DEFAULT_TEXT)
        self._match_text, self._default_text = text.match, spec.text is None
        took = "response_time" if "response_time" in text.groupindex else "duration"
        names = ("level", "time", "status", took, "upstream", "message")
        # Of a group that the pattern does not have, -1 picks the None that is put last.
        self._pick: Callable[[Any], Any] = itemgetter(*(text.groupindex.get(name, 0) - 1 for name in names))
        self._responses = _Memo(
            lambda status: _Response(int(status) if status.isdigit() and len(status) == 3 else None)
        )
        self._upstreams = [(name, compile_pattern(pattern)) for name, pattern in spec.upstreams.items()]
        self._patterns = [
            (name, _literal(pattern), compile_pattern(pattern)) for name, pattern in spec.patterns.items()
        ]
        self._ordinary: set[object] = set()  # levels below error that were seen
        self._problems = Problems()
        self._upstream = _Memo(self._find_upstream)
        self._steps = _Ladder(STEP_BOUNDS_MS, STEPS, spec.duration_ms)
        self._edges_ms = [edge * 1000 for edge in spec.edges_seconds]
        self._iso_starts = _Memo(self._iso_start)
        self.begin(now=0.0, oldest=0.0, last_event=None)

    def begin(self, *, now: float, oldest: float, last_event: float | None) -> None:
        """Start a stretch at wall time `now`; events before `oldest` touch no bucket, or all one, where it is infinite.

        `last_event` is the event time of the line before, which lines without one take.
        """
        self._now, self._oldest, self._last_event = now, oldest, last_event
        self._old = _Cell(0)
        self._timed_cell: _Cell | None = None  # of the last line that had a time: those without one belong there too
        self._cells: dict[int, _Cell] = {}
        self._delta = Delta()
        self._problems.begin()

    def feed(self, lines: Sequence[bytes], block: bytes) -> None:
        """Count `lines`, which are the whole lines of `block`, or the one that it is, without a newline."""
        before = self._last_event
        event_of: Callable[[int], float | None]
        if self.spec.format == "text" and not self._default_text:
            self._count_texts(lines)
            event_of = partial(self._event_of_text, lines)
        else:
            objects = self._objects(lines)
            self._count(objects)
            event_of = partial(self._event_of_object, objects)
        for name, literal, search in self._patterns:
            found = (
                _lines_with(literal, lines, block) if literal else (n for n, line in enumerate(lines) if search(line))
            )
            by_source = self.spec.patterns[name].endswith(BY_SOURCE)
            for index, at in self._timed(found, event_of, before):
                self._matched(name, at, lines[index] if by_source else None)
        times = map(event_of, reversed(range(len(lines))))
        self._last_event = next((at for at in times if at is not None), self._last_event)

    def feed_oversize(self) -> None:
        """Count a line that is too long to look at."""
        self._delta.oversize += 1
        self._count([self._unread(b"(a line over the limit)")])

    def feed_hostile(self) -> None:
        """Count a line that could not be read in any bearable time."""
        self._delta.hostile += 1
        self._count([self._unread(b"(a line that takes too long to read)")])

    def end(self) -> Delta:
        """What the stretch said."""
        delta = self._delta
        for cell in (self._old, *self._cells.values()):
            requests = len(cell.values[ALL])
            series = {name: self._fold(values) for name, values in cell.values.items() if values}
            bucket = Bucket(cell.lines, cell.errors, requests, cell.server_errors, cell.unparsed, series, cell.matches)
            bucket.problems = cell.problems
            delta.lines += bucket.lines
            delta.errors += bucket.errors
            delta.requests += bucket.requests
            delta.server_errors += bucket.server_errors
            delta.unparsed += bucket.unparsed
            for name, count in bucket.matches.items():
                if is_whole(name):
                    delta.matches[name] = delta.matches.get(name, 0) + count
            for name, one in series.items():
                delta.latencies.setdefault(name, Count([])).sum_ms += one.sum_ms
            if cell is not self._old or self._oldest == math.inf:
                delta.buckets[cell.start] = bucket
        cells = (self._old, *self._cells.values())
        for name, histogram in delta.latencies.items():
            histogram.below = self._histogram(cell.values.get(name, ()) for cell in cells)
        delta.last_event = self._last_event
        self.begin(now=self._now, oldest=self._oldest, last_event=self._last_event)
        return delta

    def time_of(self, line: bytes) -> float | None:
        """The event time of one line in seconds, None where it has none."""
        read = self._objects([line])[0]
        return event_seconds(read.time or read.timestamp, self.zone)

    # ---- lines into objects

    def _objects(self, lines: Sequence[bytes]) -> list[_Line]:
        """One object for each line, in order."""
        if self.spec.format == "text":
            return self._from_texts(lines)
        objects: list[_Line] = []
        if self.spec.format == "auto":
            texts = list(takewhile(_is_text, lines))
            objects = self._from_texts(texts) if texts else objects
            while len(objects) < len(lines) and lines[len(objects)][:1] != b"{":
                objects.append(self._by_hand(lines[len(objects)]))
        rest, decode = iter(lines[len(objects) :] if objects else lines), self._decode
        while True:
            try:
                objects.extend(map(decode, rest))  # keeps what it has when a line raises
                return objects
            except _UNFIT:
                objects.append(self._by_hand(lines[len(objects)]))

    def _by_hand(self, line: bytes) -> _Line:
        """The object of a line that does not fit the type: JSON of another shape, half a line, or plain text."""
        clean = line.strip(_DIRT)
        if clean[:1] == b"{":
            return self._from_json(clean)
        if clean and self.spec.format != "auto":
            return self._unread(clean)
        return self._from_text(line)

    def _decode_untyped(self, line: bytes) -> _Line:
        record = msgspec.json.decode(line)
        if not isinstance(record, dict):
            raise msgspec.ValidationError("not an object")
        return self._from_record(record)

    def _from_json(self, line: bytes) -> _Line:
        text = line.decode(errors="replace")
        for at in dict.fromkeys((0, max(text.rfind('{"level"'), 0))):  # a cut line may be glued to the next one
            try:
                record, _ = _JSON.raw_decode(text, at)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                return self._from_record(record)
        level = _LEVEL_PREFIX.search(line)
        return self._unread(line, (level[1] or level[2]).decode() if level else 0)

    def _from_record(self, record: dict[str, Any]) -> _Line:
        """The object of a decoded line of any shape: every value is checked, none is trusted."""

        def get(name: str) -> object:
            return _at_path(record, self._paths[name])

        holder = _at_path(record, self._paths["status"][:-1])
        status = get("status")
        if isinstance(status, str):
            status = int(status) if re.fullmatch(r"[1-5]\d\d", status, re.ASCII) else None
        # A holder of its own speaks of an answer even where it has no status; the line itself is no such holder.
        answered = isinstance(holder, dict) and (holder is not record or self._paths["status"][-1] in record)
        context = record.get("context")
        if isinstance(context, dict):
            words = (_text(context.get("api")), _text(context.get("operation")))
            said: _Context | str | None = _Context(_number(context.get("duration")), *words)
        else:
            said = _text(context)
        level = _number(get("level"))
        if isinstance(level, float):
            level = int(level) if math.isfinite(level) else 0
        return _Line(
            level=level or 0,
            time=_time(get("time")),
            timestamp=_time(record.get(_other_time(self._paths))),
            res=_Response(status if isinstance(status, int) and status is not True else None) if answered else None,
            response_time=_number(get("response_time")),
            context=said,
            upstream=_text(get("upstream")),
            operation=_text(record.get("operation")),
            duration=_number(get("duration")),
            message=_raw(get("message")),
        )

    def _from_text(self, line: bytes) -> _Line:
        return self._from_texts((line,))[0]

    def _from_texts(self, lines: Iterable[bytes]) -> list[_Line]:
        """The objects of lines of text. Everything is at hand in this one loop: it is turned for each line."""
        match_text, pick, responses, is_default = self._match_text, self._pick, self._responses, self._default_text
        objects: list[_Line] = []
        add, raw, no_message, text, ordinary = objects.append, msgspec.Raw, _NO_MESSAGE, _Line, self._ordinary
        for line in lines:
            clean = line.rstrip()
            match = match_text(clean)
            if match is None:
                if b"\0" in clean:
                    clean = clean.strip(b"\0\r\n")
                    match = match_text(clean)
                if match is None:
                    is_more = not clean or clean.startswith(_ANONYMOUS) or clean.isspace()
                    add(_CONTINUED if is_more else self._unread(clean))
                    continue
            level, time, status, took, upstream, message = pick(match.groups() + _NO_GROUP)
            if is_default:
                low = clean.lower()  # to look for a word is much cheaper than to look for a pattern
                found = _STATUS.search(clean) if b"status" in low else None
                status = found[1] if found else None
                found = _TOOK.search(clean) if b"responsetime" in low or b"duration" in low else None
                took = found[1] if found else None
            number: Number = None
            if took:
                number = int(took) if took.isdigit() and len(took) <= _DIGITS_MOST else _bare_number(took)
            add(text(
                level or 0,  # bytes do as well, and cost no copy
                time.decode("latin-1") if time else None,
                None,
                responses[status] if status else None,
                None,
                None,
                upstream.decode(errors="replace") if upstream else None,
                None,
                number,
                raw(message or clean) if (took and not status) or level not in ordinary else no_message,
            ))  # fmt: skip
        return objects

    def _unread(self, line: bytes, level: int | str = 0) -> _Line:
        if len(self._delta.samples) < SAMPLES_MOST:
            self._delta.samples.append(mask(line[:4096].decode(errors="replace")))
        return _Unread(level=level)

    # ---- objects into counts

    def _count(self, objects: Iterable[_Line]) -> None:
        """The hot loop: one turn for each line."""
        ordinary, upstreams = self._ordinary, self._upstream
        lines = errors = 0
        low = high = 0.0
        prefix = ""  # of the ISO times that fall into the cell, in UTC
        cell, values = self._old, self._old.values
        take = values[ALL].append
        for line in objects:
            time = line.time
            if (
                not (time.__class__ is float and low <= time and time < high)  # noqa: PLR1716 - a chain is slower
                and not (time.__class__ is str and prefix != "" and time.startswith(prefix) and time[-1] == "Z")
                and not (line is _CONTINUED and cell is self._timed_cell)
            ):
                cell.lines += lines
                cell.errors += errors
                lines = errors = 0
                cell, low, high, prefix = self._place(line)
                values = cell.values
                take = values[ALL].append
                if line.__class__ is _Unread:
                    cell.unparsed += 1
            lines += 1
            if line.level not in ordinary and self._is_error(line.level):
                errors += 1
                self._problems.count(cell.problems, bytes(line.message))
            response = line.res
            if response is not None:
                took = line.response_time
                if took is None:
                    took = line.duration
                    if took is None and line.context.__class__ is _Context:
                        took = line.context.duration
                if took is not None:
                    take(took)
                    status = response.status
                    if status is not None and status >= 500 and status < 600:
                        cell.server_errors += 1
                continue
            took = line.duration
            if took is None:
                context = line.context
                if context.__class__ is not _Context or context.duration is None:
                    continue
                took = context.duration
            name = upstreams[line.upstream] if line.upstream is not None else None
            if name is None:
                name = self._upstream_of(line)
            if name in values:
                values[name].append(took)
            elif name is not None:
                values[name] = [took]
        cell.lines += lines
        cell.errors += errors

    def _count_texts(self, lines: Iterable[bytes]) -> None:
        """The hot loop of plain text, which reads and counts a line in one turn: an object for each costs a fifth more."""
        match_text, pick, ordinary, upstreams = self._match_text, self._pick, self._ordinary, self._upstream
        count = errors = 0
        prefix = b""  # of the ISO times that fall into the cell, in UTC
        cell, values = self._old, self._old.values
        take = values[ALL].append
        for line in lines:
            clean = line.rstrip()
            match = match_text(clean)
            if match is None:
                if cell is self._timed_cell and (not clean or clean.startswith(_ANONYMOUS)):
                    count += 1
                else:
                    self._count(self._from_texts((line,)))
                continue
            level, time, status, took, upstream, message = pick(match.groups() + _NO_GROUP)
            if not (prefix and time and time.startswith(prefix) and time[-1] == _Z):
                cell.lines += count
                cell.errors += errors
                count = errors = 0
                cell, _, _, text = self._place(_Line(time=time.decode("latin-1") if time else None))
                prefix = text.encode()
                values = cell.values
                take = values[ALL].append
            count += 1
            if level not in ordinary and self._is_error(level or 0):
                errors += 1
                self._problems.count(cell.problems, message or clean)
            if not took:
                continue
            number = int(took) if took.isdigit() and len(took) <= _DIGITS_MOST else _bare_number(took)
            if status:
                take(number)
                if status[0] == _FIVE and len(status) == 3 and status.isdigit():
                    cell.server_errors += 1
                continue
            name = upstreams[upstream.decode(errors="replace")] if upstream else None
            if name is None:
                name = upstreams[b"\n" + (message or clean)]
            if name in values:
                values[name].append(number)
            elif name is not None:
                values[name] = [number]
        cell.lines += count
        cell.errors += errors

    def _event_of_object(self, objects: Sequence[_Line], index: int) -> float | None:
        return self._event(objects[index])

    def _event_of_text(self, lines: Sequence[bytes], index: int) -> float | None:
        match = self._match_text(lines[index].rstrip())
        time = self._pick(match.groups() + _NO_GROUP)[1] if match else None
        return self._event(_Line(time=time.decode("latin-1"))) if time else None

    def _is_error(self, level: int | str | bytes) -> bool:
        if is_error(level):
            return True
        if len(self._ordinary) < MEMO_MOST and is_short(level):
            self._ordinary.add(level)
        return False

    def _place(self, line: _Line) -> tuple[_Cell, float, float, str]:
        """The bucket that a line falls into, and what tells that the next one does too.

        That is a number between the bounds, or an ISO time in UTC with this beginning.
        """
        time = line.time or line.timestamp
        if isinstance(time, str):
            start = self._iso_starts[_iso_key(time)]
            if start is not None and start <= self._now + FUTURE_SECONDS:
                self._last_event, self._timed_cell = float(start), self._cell(start)
                return self._timed_cell, 0.0, 0.0, time[:18] if time[-1] == "Z" and len(time) >= _ISO_SECONDS else ""
        seconds = self._event(line)
        if seconds is None:
            seconds = self._now if self._last_event is None else self._last_event
            return self._cell(_start(seconds)), 0.0, 0.0, ""
        start = _start(seconds)
        self._last_event, self._timed_cell = seconds, self._cell(start)
        if not isinstance(time, float):
            return self._timed_cell, 0.0, 0.0, ""
        unit = round(time / seconds)
        return self._timed_cell, float(start * unit), float((start + BUCKET_SECONDS) * unit), ""

    def _event(self, line: _Line) -> float | None:
        """The event time of a line in seconds; None where it has none, or one too far ahead to be true."""
        seconds = event_seconds(line.time or line.timestamp, self.zone)
        return None if seconds is None or _start(seconds) > self._now + FUTURE_SECONDS else seconds

    def _cell(self, start: int) -> _Cell:
        if start < self._oldest:
            return self._old
        cell = self._cells.get(start)
        if cell is None:
            cell = self._cells[start] = _Cell(start)
        return cell

    def _iso_start(self, key: str) -> int | None:
        seconds = event_seconds(key, self.zone)
        return None if seconds is None else _start(seconds)

    def _timed(
        self, found: Iterable[int], event_of: Callable[[int], float | None], before: float | None
    ) -> Iterator[tuple[int, float]]:
        """Each of these lines, in order, and its event time: that of a line before it, if it has none of its own."""
        at, since = before, 0
        for index in found:
            times = map(event_of, range(index, since - 1, -1))
            at = next((time for time in times if time is not None), at)
            since = index + 1
            yield index, self._now if at is None else at

    def _matched(self, name: str, at: float, line: bytes | None = None) -> None:
        """Count a match at an event time. With its `line`, it is also counted for who is behind it."""
        cell = self._cell(_start(at))
        cell.matches[name] = cell.matches.get(name, 0) + 1
        if line is not None:
            self._matched_by(name, line, cell)
        self._delta.last_matches[name] = max(at, self._delta.last_matches.get(name, 0.0))

    def _matched_by(self, name: str, line: bytes, cell: _Cell) -> None:
        from monitor.logs.sources import source

        if who := source(line):
            of = of_source(name, who)
            if of in cell.matches or len(cell.matches) < SOURCES_MOST:
                cell.matches[of] = cell.matches.get(of, 0) + 1

    def _upstream_of(self, line: _Line) -> str | None:
        """The upstream that a line speaks of, by the field that names it or else by its words."""
        if line.upstream is not None and (name := self._upstream[line.upstream]) is not None:
            return name  # type: ignore[no-any-return]
        context = line.context
        words = (
            [line.operation, context.api, context.operation]
            if isinstance(context, _Context)
            else [line.operation, context]
        )
        known = "\n".join([word for word in words if word])
        return self._upstream[known.encode(errors="replace") + b"\n" + bytes(line.message)]  # type: ignore[no-any-return]

    def _find_upstream(self, words: str | bytes) -> str | None:
        """The upstream whose pattern is found, the first of them in the order of the configuration."""
        line = words.encode(errors="replace") if isinstance(words, str) else words
        return next((name for name, search in self._upstreams if search(line)), None)

    def _fold(self, values: list[Any]) -> Series:
        """Latencies as they came into a sketch, counted by the interpreter and not line by line."""
        steps = dict(Counter(map(self._steps.__getitem__, values)))
        if steps.pop(_NO_LATENCY, 0):
            values[:] = [value for value in values if self._milliseconds(value) is not None]
        return Series(len(values), self._sum(values), steps)

    def _histogram(self, stretches: Iterable[Iterable[Any]]) -> list[int]:
        """How many latencies lie below each edge, and above the last: each different one is looked up once."""
        below = [0] * (len(self._edges_ms) + 1)
        edges, scale = self._edges_ms, self.spec.duration_ms
        for value, count in Counter(chain.from_iterable(stretches)).items():
            took = value * scale if value.__class__ is float or value.__class__ is int else self._milliseconds(value)
            below[bisect_left(edges, took or 0.0)] += count
        return below

    def _sum(self, values: list[Any]) -> float:
        try:
            return float(sum(values)) * self.spec.duration_ms
        except TypeError:  # some are text
            return sum(self._milliseconds(value) or 0.0 for value in values)

    def _milliseconds(self, value: object) -> float | None:
        return milliseconds(value, self.spec.duration_ms)
