"""What the BFF's processes use of their host: processor, memory, threads, and how long they have been running.

Found by their command line, as `pgrep -f` does, so only where the BFF runs on the monitor's own host. A run reads /proc
once: the command line of each process, and four files of each that matches.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import psutil
from pydantic import AfterValidator, Field

from monitor.core.probe import (
    TIMEOUT,
    Cost,
    Fault,
    Json,
    Measure,
    Options,
    ProbeContext,
    ProbeError,
    ProbeType,
    Reading,
    Reason,
)

PROCESSES_MOST = 64

MEASURES: Mapping[str, Measure] = {
    "processes": Measure("Processes that match"),
    "cpu_ratio": Measure(
        "Processor time of the busiest of them since the run before, of one core: Node has one thread", beyond=True
    ),
    "memory_bytes": Measure("Memory that they hold (RSS), all together"),
    "memory_host_ratio": Measure("The same, of the host's memory"),
    "threads": Measure("Threads, all together"),
    "uptime_seconds": Measure("Since the youngest of them was started", kind="age"),
}

REASONS: Mapping[str, Reason] = {
    "absent": Reason(
        Fault.ACCESS,
        "No process of this host matches `pattern`: the BFF is down, or runs elsewhere or in a container whose"
        " processes are not seen from here; then run a monitor there, or leave this probe out.",
    ),
    TIMEOUT: Reason(Fault.ACCESS, "Reading /proc took too long: look at the load of the monitor's own host."),
}


def _is_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return pattern


class ProcessOptions(Options):
    pattern: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_is_pattern)]  # in the command line


@dataclass(frozen=True, slots=True)
class Found:
    """One process that matches. `began` and times are wall seconds."""

    pid: int
    began: float
    cpu_seconds: float
    memory_bytes: int
    threads: int

    @property
    def key(self) -> str:
        """A pid alone is used again."""
        return f"{self.pid} {self.began:.2f}"


async def _run(options: ProcessOptions, context: ProbeContext) -> Reading:
    found, hidden = await asyncio.to_thread(_find, re.compile(options.pattern))
    if not found:
        blind = f"; the command lines of {hidden} processes are hidden from the monitor" if hidden else ""
        raise ProbeError("absent", f"nothing matches{blind}")
    memory = sum(one.memory_bytes for one in found)
    measured = {
        "processes": float(len(found)),
        "memory_bytes": float(memory),
        "memory_host_ratio": memory / psutil.virtual_memory().total,
        "threads": float(sum(one.threads for one in found)),
        "uptime_seconds": max(0.0, context.now - max(one.began for one in found)),
    }
    busy = _busiest(found, context)
    cursor: Json = {"at": context.now, "cpu_seconds": {one.key: one.cpu_seconds for one in found}}
    return Reading(
        {**measured, **({} if busy is None else {"cpu_ratio": busy})},
        cursor=cursor,
        details={"pids": ", ".join(str(one.pid) for one in found[:10])},
    )


def _busiest(found: Sequence[Found], context: ProbeContext) -> float | None:
    """Of those that were there at the run before; None without such, and when the clock was set back."""
    before: dict[str, Any] = context.cursor if isinstance(context.cursor, dict) else {}
    seconds = context.now - before.get("at", context.now)
    then = before.get("cpu_seconds", {})
    used = [one.cpu_seconds - then[one.key] for one in found if one.key in then]
    return max(0.0, *used) / seconds if used and seconds > 0 else None


def _find(pattern: re.Pattern[str]) -> tuple[list[Found], int]:
    """The processes whose command line matches, the oldest first, and of how many others it is hidden from us."""
    found, hidden = [], 0
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if process.pid != os.getpid() and words and pattern.search(" ".join(words)[:4096]):
                found.append(_look(process))
        except psutil.AccessDenied:
            hidden += 1
        except psutil.Error:
            continue  # gone meanwhile, or a zombie
    return sorted(found, key=lambda one: one.began)[:PROCESSES_MOST], hidden


def _look(process: psutil.Process) -> Found:
    with process.oneshot():
        times = process.cpu_times()
        memory_bytes, threads = process.memory_info().rss, process.num_threads()
        return Found(process.pid, process.create_time(), times.user + times.system, memory_bytes, threads)


PROBE = ProbeType(
    name="process",
    help="What the processes whose command line matches use of their host.",
    options=ProcessOptions,
    measures=MEASURES,
    reasons=REASONS,
    run=_run,
    target_keys=frozenset({"pattern"}),
    cost=Cost(
        "/proc is read once: the command line of each process of the host, and four files of each of up to 64 that match.",
        "files",
        most=lambda options: 4 * PROCESSES_MOST,
    ),
    privileges=("None, where /proc is mounted without `hidepid` and the monitor runs outside of a container",),
    example="""
type: process
pattern: node.*bff
interval: 30s
warn: cpu_ratio > 95%
""",
)
