"""What a daemon costs, and what it costs other probes that a log is caught up on.

A real daemon looks at a real Redis forty times a second, and then a gigabyte appears where its log is to be. How late
probes begin, how long Redis takes, and how much memory is used, before and meanwhile; both while it is asked five times a
second for its status and its metrics, which is how this is found out.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.sandbox.servers import RedisServer
from tests.daemon import Daemon
from tests.servers import free_port, wait_until

HERE = Path(__file__).parent
LOG_BYTES = 10**9
IDLE_SECONDS = 15.0
PROBES = 40  # of the same Redis, each once a second
REDIS = {"type": "redis", "url": "${BENCH_REDIS_URL}", "interval": "1s", "timeout": "900ms"}


def write_log(path: Path, size: int) -> None:
    """Lines as pino wrote them, of the last four minutes."""
    shapes = [line for line in (HERE / "pino_shapes.ndjson").read_bytes().splitlines(keepends=True) if line.strip()]
    now, count = time.time() * 1000, 100_000
    lines = (
        re.sub(rb'"time":\d+', b'"time":%d' % (now - 240_000 * (1 - at / count)), shapes[at % len(shapes)], count=1)
        for at in range(count)
    )
    block = b"".join(lines)
    with path.open("wb") as out:
        while out.tell() < size:
            out.write(block)


class Runs:
    """The runs of all Redis probes, as the daemon tells them: when each began, and how long Redis took."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.begun: dict[str, list[float]] = {}  # by probe, seconds since 1970
        self.took: list[float] = []

    def watch(self, over: Callable[[], bool]) -> None:
        """Ask until it is over, more often than a probe runs."""
        while not over():
            for probe in self.daemon.status()["probes"]:
                self._take(probe)
            time.sleep(0.2)

    def _take(self, probe: dict[str, Any]) -> None:
        if probe["type"] != "redis" or not probe["at"]:
            return
        at, begun = datetime.fromisoformat(probe["at"]).timestamp(), self.begun.setdefault(probe["name"], [])
        if not begun or begun[-1] != at:
            begun.append(at)
            self.took.append(probe["duration_seconds"])

    def late(self, due: dict[str, float]) -> list[float]:
        """How late each run began, in milliseconds, where each probe is due at its part of a second."""
        return [(at - due[name] + 0.5) % 1 * 1000 - 500 for name, begun in self.begun.items() for at in begun]


def resident_megabytes(pid: int, what: str = "VmRSS") -> float:
    """Of a process and its children."""
    found = re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    children = " ".join(task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return (int(found[1]) / 1024 if found else 0.0) + sum(resident_megabytes(int(child), what) for child in children)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def said(title: str, runs: Runs, due: dict[str, float]) -> str:
    def ranks(values: list[float]) -> str:
        values = sorted(values)
        return ", ".join(f"{name} {values[int(share * (len(values) - 1))]:.1f}" for name, share in RANKS)

    late, took = ranks(runs.late(due)), ranks([one * 1000 for one in runs.took])
    return f"{title} ({len(runs.took)} runs): begun late by ms: {late}; Redis took ms: {took}"


RANKS = (("p50", 0.5), ("p99", 0.99), ("most", 1.0))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="portal-monitor-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        write_log(folder / "written.log", LOG_BYTES)
        redis = RedisServer(folder / "redis", free_port())
        redis.start()
        log = {"type": "log", "path": str(folder / "combined.log"), "interval": "10s", "fail": "error_ratio > 50%"}
        probes = {f"redis{number}": REDIS for number in range(PROBES)} | {"errors": log}
        scenario = {"title": "X", "impact": "X", "rules": [{"severity": "P4", "any": ["errors"]}]}
        daemon = Daemon(folder / "daemon", probes, {"x": scenario}, env={"BENCH_REDIS_URL": redis.url})
        try:
            daemon.start()
            compare(daemon, folder)
        finally:
            daemon.kill()
            redis.kill()


def compare(daemon: Daemon, folder: Path) -> None:
    assert daemon.process
    pid = daemon.process.pid
    daemon.wait_for_level("redis0", "ok")
    wait_until(lambda: daemon.probe("errors")["run_reason"] == "missing", what="the missing log")
    time.sleep(2)  # first runs are not at their probe's part of a second
    began, used = time.monotonic(), cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    share = (cpu_seconds(pid) - used) / (time.monotonic() - began)
    print(f"{PROBES} looks a second at Redis: {share:.1%} of a core, {resident_megabytes(pid):.0f} MB")
    idle, until = Runs(daemon), time.monotonic() + IDLE_SECONDS
    idle.watch(lambda: lag_bytes(daemon) == 0 and time.monotonic() > until)
    used = resident_megabytes(pid)
    due = {name: statistics.median(at % 1 for at in begun) for name, begun in idle.begun.items()}
    busy, began = Runs(daemon), time.monotonic()
    (folder / "written.log").rename(folder / "combined.log")
    wait_until(lambda: lag_bytes(daemon) > 0, what="the log")
    busy.watch(lambda: lag_bytes(daemon) == 0)
    took = time.monotonic() - began
    print(said("nothing to read", idle, due))
    print(said(f"{LOG_BYTES / 1e9:.0f} GB read in {took:.1f} s", busy, due) + " (aim: p99 late 20 more)")
    print(
        f"memory: {used:.0f} MB idle, at most {resident_megabytes(pid, 'VmHWM'):.0f} MB, the reading process included "
        "(aim: 60 more)"
    )


def lag_bytes(daemon: Daemon) -> float:
    found = re.search(r"^portal_log_read_lag_bytes\{.*\} (\S+)$", daemon.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


if __name__ == "__main__":
    main()
