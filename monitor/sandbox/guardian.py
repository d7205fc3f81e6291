"""Ends what the sandbox started once the sandbox itself is gone, even if it was killed: a process of its own.

Standard input is the lifeline. Each line is `<pid> <signal>`: a process to end, and how. At end of file every
one that still lives is sent its signal, and after some seconds SIGKILL. A process is known by its id and the
time it was started, so that an id given to somebody else meanwhile is let alone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

PATIENCE_SECONDS = 3.0


def started(pid: int) -> str:
    """When this process was started, in ticks since the boot; empty if it is gone (a zombie is gone)."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else rest[18]


def end(processes: dict[int, tuple[str, int]]) -> None:
    """End these: id to (when it was started, how to end it)."""

    def living() -> list[int]:
        return [pid for pid, (since, _) in processes.items() if since and started(pid) == since]

    for pid in living():
        _send(pid, processes[pid][1])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while living() and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in living():
        _send(pid, signal.SIGKILL)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself between the look and the signal


def main() -> None:
    """Read the lifeline to its end."""
    processes: dict[int, tuple[str, int]] = {}
    for line in sys.stdin:
        pid, number = (int(word) for word in line.split())
        processes[pid] = (started(pid), number)
    end(processes)


if __name__ == "__main__":
    main()
