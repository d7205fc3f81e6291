"""What a whole log file says, for people: `portal-monitor scan FILE` shows it.

It reads in this process and keeps a bounded memory whatever the size of the file or of a line.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from monitor.logs.read import Ask, find_event, read
from monitor.logs.scan import SAMPLES_MOST, Delta, Scanner, Spec
from monitor.logs.window import Bucket, Latency

STRETCH_BYTES = 16 * 2**20
NO_FUTURE = 1e11  # seconds since 1970: no time in a log is ahead of it
Progress = Callable[[int, int], None]
"""Called with the bytes read so far and the bytes there are."""


@dataclass(frozen=True)
class LatencySummary:
    """Latencies of all requests, or of the calls to one upstream; seconds."""

    count: int
    mean_seconds: float
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float


@dataclass(frozen=True)
class Summary:
    """What the log probe sees in a whole file. `latency` has the part "" for requests, and one for each upstream."""

    path: str
    bytes: int
    lines: int
    error_lines: int
    requests: int
    server_errors: int
    unparsed: int
    oversize: int = 0
    first_event: float | None = None  # seconds since 1970
    last_event: float | None = None
    matches: Mapping[str, int] = field(default_factory=dict)
    latency: Mapping[str, LatencySummary] = field(default_factory=dict)
    unparsed_samples: tuple[str, ...] = ()  # masked

    def as_json(self) -> dict[str, Any]:
        """The summary as plain data."""
        return asdict(self)


def scan_file(path: str | Path, spec: Spec | None = None, progress: Progress | None = None) -> Summary:
    """Read a whole log, packed (`.gz`) or plain; a last line without a newline counts. OSError if it cannot be read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    collects = gc.isenabled()
    gc.disable()  # a tenth of the time, and nothing here makes cycles
    try:
        if str(path).endswith(".gz"):
            packed, fd = fd, _unpacked(fd)
            os.close(packed)
        return _scan(fd, str(path), Scanner(spec or Spec()), progress)
    finally:
        os.close(fd)
        if collects:
            gc.enable()


def _scan(fd: int, path: str, scanner: Scanner, progress: Progress | None) -> Summary:
    totals, samples, whole = Delta(), list[str](), Bucket()
    size = os.fstat(fd).st_size
    offset, anchor, skip = 0, b"", False
    while True:
        answer = read(fd, scanner, Ask(
            spec=b"", offset=offset, limit=STRETCH_BYTES, anchor=anchor, skip=skip, final=True, now=NO_FUTURE,
            oldest=math.inf, last_event=totals.last_event))  # fmt: skip
        if answer.moved:
            raise OSError("the file was cut while it was read")
        if answer.offset == offset:
            break
        offset, anchor, skip = answer.offset, answer.anchor, answer.skip
        samples += answer.delta.samples[: SAMPLES_MOST - len(samples)]
        totals.add(answer.delta)
        for bucket in answer.delta.buckets.values():
            whole.add(bucket)
        if progress:
            progress(offset, max(size, offset))
    latency = {name: _latency(Latency.of(series)) for name, series in sorted(whole.series.items()) if series.count}
    return Summary(
        path, offset, totals.lines, totals.errors, totals.requests, totals.server_errors, totals.unparsed, totals.oversize,
        find_event(fd, scanner), totals.last_event, {name: totals.matches.get(name, 0) for name in scanner.spec.patterns},
        latency, tuple(samples),
    )  # fmt: skip


def _latency(latency: Latency) -> LatencySummary:
    return LatencySummary(round(latency.count), latency.mean_seconds, *latency.quantiles((0.5, 0.95, 0.99)))


def _unpacked(fd: int) -> int:
    """A nameless file with what the packed one holds, in its place."""
    import gzip
    import tempfile
    import zlib

    with os.fdopen(os.dup(fd), "rb") as raw, gzip.open(raw) as packed, tempfile.TemporaryFile() as plain:
        try:
            while block := packed.read(2**18):
                plain.write(block)
        except (EOFError, zlib.error) as error:
            raise OSError(f"cannot be unpacked: {error}") from error
        plain.flush()
        return os.dup(plain.fileno())
