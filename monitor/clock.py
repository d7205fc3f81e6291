"""The only place that reads a clock. Rules take the time as an argument; loops take a `Clock`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Protocol

Moment = tuple[str, float, float]
"""(which boot, how many seconds ago that was, wall seconds)"""


class Clock(Protocol):
    """Wall time for people and files, monotonic time for intervals, and a way to wait."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    async def sleep(self, seconds: float) -> None:
        """Come back after so many seconds of monotonic time."""

    def moment(self) -> Moment:
        """Now, as another process on the same boot can compare it."""


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def moment(self) -> Moment:
        return moment()


def moment() -> Moment:
    """Now, told so that another process on the same boot can see whether the wall clock was set in between.

    The boot is "" where the kernel does not say; seconds since boot include suspend (CLOCK_BOOTTIME).
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot_id, time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    except (OSError, AttributeError):
        return "", 0.0, time.time()


STEP_SECONDS = 30.0
"""By how much wall and monotonic time may drift apart between two looks before it counts as a step."""


class StepWatch:
    """Notices when the wall clock is set: by NTP after a long absence, by a person, by a resumed machine."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall, self._mono = clock.now(), clock.monotonic()

    def step(self) -> float:
        """By how many seconds the wall clock was set forward since the last call (negative: back); 0.0 if it was not."""
        wall, mono = self._clock.now(), self._clock.monotonic()
        jump = (wall - self._wall) - (mono - self._mono)
        self._wall, self._mono = wall, mono
        return jump if abs(jump) > STEP_SECONDS else 0.0


def step_between(before: Moment | None, after: Moment) -> float:
    """The same between two processes, as far as it can be told.

    Between two boots nobody knows how much time has passed, but it was not less than none: a machine that comes up with
    its clock behind (until it is set over the network) must not leave saved times in the future.
    """
    if before is None:
        return 0.0
    passed = after[1] - before[1] if after[0] and after[0] == before[0] else max(0.0, after[2] - before[2])
    jump = (after[2] - before[2]) - passed
    return jump if abs(jump) > STEP_SECONDS else 0.0
