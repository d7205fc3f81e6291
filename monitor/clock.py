"""The only place that reads a clock. Rules take the time as an argument; loops take a `Clock`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Wall time for people and files, monotonic time for intervals, and a way to wait."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    async def sleep(self, seconds: float) -> None:
        """Come back after so many seconds of monotonic time."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def boot() -> tuple[str, float]:
    """Which boot this is and how many seconds ago, suspend included; ("", 0.0) where the kernel does not say.

    Together they tell a step of the wall clock across a restart of the daemon from time that really passed.
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot_id, time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return "", 0.0
