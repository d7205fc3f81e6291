"""The BFF's log: error ratio, latency and what must be seen in it, over a sliding window.

All probes of one path share one followed log (`monitor.logs`), whatever their windows and limits; a run only reads its
window. What is shown as a counter has been saved.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, field_validator, model_validator

from monitor.core.probe import (
    Cost,
    Family,
    Fault,
    Json,
    Measure,
    Opening,
    Options,
    ProbeContext,
    ProbeError,
    ProbeType,
    Quiet,
    Reading,
    Reason,
    Value,
)
from monitor.core.quantity import Duration
from monitor.logs import hour
from monitor.logs.journal import Desk, Journal
from monitor.logs.scan import FIELDS, UPSTREAMS, Spec, compile_pattern, text_pattern
from monitor.logs.window import BY_SOURCE, View

WATCH_SECONDS = 0.7  # at least between two looks at a log that grows: an error burst is seen within a second
BEHIND_SECONDS = 5.0  # longer behind the end of the log, and its windows say nothing about now
STALLED_SECONDS = 10.0
WINDOW_MOST_SECONDS = 3600.0
NAMES_MOST = 32
PROBLEMS_SHOWN = 5
UNUSUAL_TIMES = 5.0  # those of the hour before, and more, are not usual
MISSING_LEAST = 20  # so many were to be expected, and none came
HOUR_LEAST_REQUESTS = 100  # an hour with fewer says nothing about the next
DURATION_MS: Mapping[str, float] = {"us": 1e-3, "ms": 1.0, "s": 1e3}
ALL = ""  # the part of a split measurement that is the whole

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]


def _is_pattern(pattern: str) -> str:
    compile_pattern(pattern)
    return pattern


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_is_pattern)]


class LogOptions(Options):
    """Which log, how to read its lines, and over which window."""

    path: str = Field(min_length=1, description="The log; a glob pattern is allowed.")
    window: Duration = Field(default=300.0, description="What the measurements look back over, at most 1h.")
    min_samples: int = Field(default=20, ge=1, description="With fewer requests in the window nothing is concluded.")
    silent_after: Duration | None = Field(default=None, description="Longer without a new line is a failure.")
    format: Literal["auto", "pino", "winston", "text"] = "auto"
    text: str | None = Field(default=None, description="For plain text: a regular expression with named groups.")
    fields: dict[Literal[FIELDS], str] = Field(default={}, description="Where fields lie: status: meta.res.statusCode.")  # type: ignore[valid-type]
    patterns: dict[Name, Pattern] = Field(default={}, max_length=NAMES_MOST, description="Lines to count, by name.")
    by_source: dict[Name, Name] = Field(
        default={},
        description="Patterns whose sources are counted (never named), each with the pattern that says that one got in.",
    )
    burst: int = Field(default=10, ge=1, description="Matches of one source after which it should not get in.")
    hour_before: bool = Field(default=False, description="Also measure what is usual: the hour before the window.")
    upstreams: dict[Name, Pattern] = Field(default=dict(UPSTREAMS), max_length=NAMES_MOST)
    duration_unit: Literal["us", "ms", "s"] = Field(default="ms", description="Of a duration without a unit.")
    timezone: str = Field(default="UTC", description="Of timestamps that name none, such as Asia/Tokyo.")

    @field_validator("window")
    @classmethod
    def _short_enough(cls, window: float) -> float:
        if not 10 <= window <= WINDOW_MOST_SECONDS:
            raise ValueError("write a window from 10s to 1h")
        return window

    @field_validator("text")
    @classmethod
    def _is_text_pattern(cls, text: str | None) -> str | None:
        if text is not None:
            text_pattern(text)
        return text

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f'"{timezone}" is not a time zone; write one such as Asia/Tokyo') from error
        return timezone

    @model_validator(mode="after")
    def _sources_are_patterns(self) -> LogOptions:
        named = {*self.by_source, *self.by_source.values()}
        if unknown := sorted(named - self.patterns.keys()):
            raise ValueError(f'by_source names "{unknown[0]}", which is not among `patterns`')
        return self

    @property
    def counted(self) -> dict[str, str]:
        """The patterns as the log's readers count them, by name: with a mark on those whose sources matter."""
        marked = {*self.by_source, *self.by_source.values()}
        return {name: f"{text}{BY_SOURCE}" if name in marked else text for name, text in self.patterns.items()}

    def spec(self) -> Spec:
        """How to read the lines."""
        return Spec(
            format=self.format,
            text=self.text,
            fields=cast("dict[str, str]", dict(self.fields)),
            upstreams=dict(self.upstreams),
            duration_ms=DURATION_MS[self.duration_unit],
            zone=self.timezone,
        )


@dataclass(frozen=True)
class LogResource:
    """A followed log, as the probes that share it see it."""

    journal: Journal
    desk: Desk

    def families(self) -> Sequence[Family]:
        """The log's counters and histograms, as of the last save."""
        return self.journal.families() if self.desk.speaks_for(self.journal) else ()


_desks: WeakKeyDictionary[asyncio.AbstractEventLoop, Desk] = WeakKeyDictionary()  # one reading process for all logs


@asynccontextmanager
async def open_log(options: LogOptions, opening: Opening) -> AsyncIterator[LogResource]:
    """Follow the log, going on from what was saved."""
    desk = _desks.setdefault(asyncio.get_running_loop(), Desk())
    async with desk.journal(options.path, options.spec(), options.window, opening) as journal:
        yield LogResource(journal, desk)


async def watch_log(_options: LogOptions, resource: LogResource) -> AsyncIterator[str]:
    """A word whenever the log has grown, but not more often than a probe should look."""
    seen = resource.journal.version
    while True:
        await resource.desk.news(seconds=60.0)
        if resource.journal.version != seen:
            seen = resource.journal.version
            yield "grew"
            await resource.desk.clock.sleep(WATCH_SECONDS)


async def run(options: LogOptions, context: ProbeContext) -> Reading:
    """Read the window that ends now.

    ProbeError: `missing`, `unreadable`, `behind` while the end of the log is not reached, `read_stalled` where looking
    itself hangs, `not_understood` where most lines fit no format.
    """
    resource: LogResource = context.resource
    journal, desk = resource.journal, resource.desk
    journal.want_edges(one for name in context.limits if name.startswith("latency_") for one in context.limits[name])
    kept = hour.KEPT_SECONDS if options.hour_before else 0.0
    journal.ring.span_seconds = max(journal.ring.span_seconds, 2 * options.window + 10, kept)
    give_up = desk.clock.monotonic() + min(context.timeout_seconds * 0.8, BEHIND_SECONDS)
    while not _is_ready(options, journal) and desk.clock.monotonic() < give_up:
        await desk.news(seconds=0.5)  # it was opened just now
    check(journal, desk.clock.monotonic())
    with journal.lock:
        view = journal.ring.view(context.now - options.window, float("inf"))
        before = journal.ring.view(context.now - 2 * options.window, context.now - options.window, deep=False)
        beside, cursor = _beside(options, journal, view, context)
    reading = _reading(options, journal, view, before, context.now)
    return replace(reading, measurements={**reading.measurements, **beside}, cursor=cursor)


def _beside(options: LogOptions, journal: Journal, view: View, context: ProbeContext) -> tuple[dict[str, Value], Json]:
    """Who is behind the patterns, and what is usual, as far as that is asked for; and what to remember of it."""
    measured, cursor = _sources(options, journal, context.now), None
    if options.hour_before:
        known = hour.load(context.cursor)
        since = journal.since if journal.since is not None else context.now
        minutes = hour.remember(
            known, journal.ring, options.counted, since=since, window=options.window, now=context.now
        )
        cursor = hour.dump(minutes) if minutes.keys() != known.keys() else None
        counted = {name: text for name, text in options.counted.items() if text in journal.spec.patterns}
        usual = hour.usual(minutes, window=options.window, now=context.now)
        measured |= _compared(counted, view, usual, options.window)
    return measured, cursor


def _sources(options: LogOptions, journal: Journal, now: float) -> dict[str, Value]:
    counted = options.counted
    found = {
        name: journal.ring.sources(now - options.window, counted[name], counted[let_in], options.burst)
        for name, let_in in options.by_source.items()
        if counted[name] in journal.spec.patterns
    }
    if not found:
        return {}
    return {
        "sources": {name: float(one.count) for name, one in found.items()},
        "source_most": {name: one.most for name, one in found.items()},
        "let_in_after": {name: float(one.let_in) for name, one in found.items()},
    }


def _compared(patterns: Mapping[str, str], view: View, usual: hour.Usual | None, window: float) -> dict[str, Value]:
    """The window beside the hour before it. Of an hour that is not known, nothing is usual."""
    unusual: dict[str, float] = {}
    missing: dict[str, float] = {}
    for name, text in patterns.items():
        count, expected = round(view.matches.get(text, 0)), usual.matches.get(name, 0.0) * window if usual else 0.0
        unusual[name] = float(count) if count >= UNUSUAL_TIMES * expected else 0.0
        missing[name] = float(not count and expected >= MISSING_LEAST)
    measured: dict[str, Value] = {"matches_unusual": unusual, "matches_missing": missing} if unusual else {}
    if usual and usual.requests * hour.HOUR_SECONDS >= HOUR_LEAST_REQUESTS:
        measured["requests_per_second_before"] = usual.requests
        measured["traffic_ratio"] = view.requests / window / usual.requests
    return measured


def _is_ready(options: LogOptions, journal: Journal) -> bool:
    return journal.want(options.counted) and (journal.caught_up_at is not None or bool(journal.problem))


def check(journal: Journal, now: float) -> None:
    """Whether the windows can be believed at all."""
    if journal.problem == "missing":
        raise ProbeError("missing", f"{journal.path} is not there")
    if journal.problem:
        raise ProbeError("unreadable", f"{journal.path}: {journal.problem}")
    if journal.looked_at is None or now - journal.looked_at > STALLED_SECONDS:
        raise ProbeError("read_stalled", f"{journal.path} was not looked at for over {STALLED_SECONDS:.0f} s")
    if journal.caught_up_at is None or now - journal.caught_up_at > BEHIND_SECONDS:
        raise ProbeError("behind", f"{journal.lag_bytes} bytes of {journal.path} are left to read")


def _reading(options: LogOptions, journal: Journal, view: View, before: View, now: float) -> Reading:
    if view.unparsed > view.lines / 2 and view.lines >= options.min_samples:
        samples = "; ".join(journal.totals.samples[-1:])
        raise ProbeError("not_understood", f"{view.unparsed:.0f} of {view.lines:.0f} lines fit no format: {samples}")
    has_requests = journal.totals.requests > 0
    measured: dict[str, Value] = {
        "lines": round(view.lines),
        "error_lines": round(view.errors),
        "requests": round(view.requests),
        "requests_per_second": view.requests / options.window,
        "server_errors": round(view.server_errors),
        "unparsed_lines": round(view.unparsed),
    }
    if journal.last_line is not None:
        measured["silent_seconds"] = max(0.0, now - journal.last_line)
    _check_silence(options, journal, now, measured)
    measured |= _matches(options, journal, view, now)
    details = {"last_unparsed": journal.totals.samples[-1]} if journal.totals.samples else {}
    details |= _problems(view)
    if (view.requests if has_requests else view.lines) < options.min_samples:
        covered = journal.since is not None and now - journal.since >= 2 * options.window
        return Reading(measured, quiet=_quiet(options, view, before, covered, has_requests), details=details)
    measured["error_ratio"] = view.server_errors / view.requests if has_requests else view.errors / view.lines
    return Reading(measured | _latencies(view, options.min_samples), details=details)


def _check_silence(options: LogOptions, journal: Journal, now: float, measured: Mapping[str, Value]) -> None:
    """Told even where there is too little in the window to judge by anything else: that is what silence looks like."""
    if options.silent_after is None or journal.last_line is None:
        return
    if (silent := now - journal.last_line) > options.silent_after:
        raise ProbeError("silent", f"no new line for {silent:.0f} s", reading=Reading(measured))


def _quiet(options: LogOptions, view: View, before: View, covered: bool, has_requests: bool) -> Quiet:
    """Two windows with too little in them and no error are quiet enough for ok, if both were seen whole."""
    failed = view.server_errors + before.server_errors if has_requests else view.errors + before.errors
    earlier = before.requests if has_requests else before.lines
    return Quiet.CLEAR if covered and not failed and earlier < options.min_samples else Quiet.HOLD


def _matches(options: LogOptions, journal: Journal, view: View, now: float) -> dict[str, Value]:
    """How often each pattern was found in the window, and how long ago for the last time, if ever."""
    counted = {name: text for name, text in options.counted.items() if text in journal.spec.patterns}
    if not counted:
        return {}
    last = journal.totals.last_matches
    found: dict[str, Value] = {
        "matches": {name: float(round(view.matches.get(text, 0))) for name, text in counted.items()}
    }
    ages = {name: max(0.0, now - last[text]) for name, text in counted.items() if text in last}
    return found | ({"last_match_age_seconds": ages} if ages else {})


def _latencies(view: View, min_samples: int) -> dict[str, Value]:
    """Mean and quantiles, of all requests under the part "" and of each upstream that was called often enough."""
    parts: dict[str, dict[str, float]] = {"mean": {}, "p50": {}, "p95": {}, "p99": {}}
    for name, latency in view.latencies.items():
        if latency.count >= min_samples:
            p50, p95, p99 = latency.quantiles((0.5, 0.95, 0.99))
            for part, value in zip(parts.values(), (latency.mean_seconds, p50, p95, p99), strict=True):
                part[name] = value
    return {f"latency_{name}_seconds": part for name, part in parts.items() if part}


def _problems(view: View) -> dict[str, str]:
    """What goes wrong most in the window, the most frequent first: `error 1` is `12 x Redis connection refused`."""
    most = sorted(view.problems.items(), key=lambda item: (-item[1], item[0]))[:PROBLEMS_SHOWN]
    return {f"error {place}": f"{max(round(count), 1)} x {text}" for place, (text, count) in enumerate(most, 1)}


def _key(options: LogOptions) -> str:
    """One followed log for each path and way of reading, whatever the windows and limits."""
    return f"{Path(options.path).absolute()} {options.spec()}"


def _parts(options: Any) -> Mapping[str, frozenset[str]]:
    upstreams, patterns = frozenset(options.upstreams), frozenset(options.patterns)
    latencies = {f"latency_{name}_seconds": upstreams for name in ("mean", "p50", "p95", "p99")}
    sources = dict.fromkeys(("sources", "source_most", "let_in_after"), frozenset(options.by_source))
    compared = dict.fromkeys(("matches_unusual", "matches_missing"), patterns if options.hour_before else frozenset())
    return {**latencies, **sources, **compared, "matches": patterns, "last_match_age_seconds": patterns}


PROBE = ProbeType(
    name="log",
    help="Error ratio, latency and patterns over a window of a log.",
    options=LogOptions,
    measures={
        "lines": Measure("Lines in the window."),
        "error_lines": Measure("Lines at level error or worse."),
        "requests": Measure("Lines that speak of an answered request."),
        "requests_per_second": Measure("Requests per second."),
        "server_errors": Measure("Requests answered with 5xx."),
        "unparsed_lines": Measure("Lines that nobody understood."),
        "error_ratio": Measure("Share of requests answered with 5xx; of lines at error where the log has no requests."),
        "latency_mean_seconds": Measure("Mean time of requests, and of calls to each upstream.", split="upstream"),
        "latency_p50_seconds": Measure("Median time of requests, and of calls to each upstream.", split="upstream"),
        "latency_p95_seconds": Measure("95 % of requests took no longer; likewise each upstream.", split="upstream"),
        "latency_p99_seconds": Measure("99 % of requests took no longer; likewise each upstream.", split="upstream"),
        "silent_seconds": Measure("Since the log last grew."),
        "matches": Measure("Lines in the window that a pattern is found in.", split="pattern"),
        "matches_unusual": Measure(
            f"The same where they are {UNUSUAL_TIMES:.0f} times those of the hour before or more, else 0 (`hour_before`).",
            split="pattern",
        ),
        "matches_missing": Measure(
            f"1 where none was found though the hour before had {MISSING_LEAST} and more in such a time, else 0"
            " (`hour_before`).",
            split="pattern",
            kind="state",
        ),
        "sources": Measure("Addresses that are behind the matches of a pattern (`by_source`).", split="pattern"),
        "source_most": Measure("Matches of the address with the most of them (`by_source`).", split="pattern"),
        "let_in_after": Measure(
            "Addresses that got in after `burst` matches, as after a guessed password (`by_source`).", split="pattern"
        ),
        "requests_per_second_before": Measure("Requests per second in the hour before the window (`hour_before`)."),
        "traffic_ratio": Measure(
            "Requests per second, of those of the hour before; absent while fewer than half of its minutes are known, or"
            f" where it had fewer than {HOUR_LEAST_REQUESTS} requests (`hour_before`).",
            beyond=True,
        ),
        "last_match_age_seconds": Measure("Since a pattern was last found.", split="pattern", kind="age"),
    },
    reasons={
        "missing": Reason(Fault.ACCESS, "There is no such log: is the path right, and does the BFF write there?"),
        "unreadable": Reason(Fault.ACCESS, "The monitor may not read the log: look at its owner, group and mode."),
        "behind": Reason(Fault.ACCESS, "The log is still being read; it grows faster than that, or this is the start."),
        "read_stalled": Reason(Fault.ACCESS, "Looking at the log hangs: is its file system (NFS?) answering?"),
        "silent": Reason(
            Fault.TARGET,
            "The log does not grow any more (`silent_after`): if the BFF answers, it writes elsewhere (rotated and not"
            " reopened?), its disk is full, or the log was tampered with.",
        ),
        "not_understood": Reason(
            Fault.ACCESS, "Most lines fit no format: set `format`, `text` or `fields`; see `scan`."
        ),
    },
    run=run,
    target_keys=frozenset({"path"}),
    open=open_log,
    watch=watch_log,
    resource_key=_key,
    exclusive=False,
    work="log",
    parts=_parts,
    cost=Cost(
        "Each byte of the log is read once, whatever the number of probes, and a stat tells that there are more. The file is"
        " opened for reading only.",
        "files",
        most=lambda options: 1,
    ),
    privileges=(
        "Read access to the log and to what it is rotated to: mostly membership in the group of the BFF's user, or `adm`",
        "Search access to the folders above",
    ),
    example="""
type: log
path: /var/log/bff/combined.log
window: 5m
patterns: {refused: Platform Event subscription failed}
warn: error_ratio > 1%
""",
)
