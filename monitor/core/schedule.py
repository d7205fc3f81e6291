"""When a probe runs next: its phase, its next due time, its retry. Monotonic seconds throughout."""

from __future__ import annotations

import math
from hashlib import blake2b


def phase(name: str, interval: float) -> float:
    """Where in its interval a probe runs: the same at every start, spread evenly over many probes."""
    number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
    return number / 2**64 * interval


STARTS_PER_SECOND = 50
_HAIR = 1e-6  # of an interval: a due time is a sum of floats, and may lie a hair before itself


def first_delay(name: str, interval: float, probes: int) -> float:
    """How long after the daemon's start a probe first runs: soon, but never many at once."""
    return phase(name, min(interval, probes / STARTS_PER_SECOND))


def next_due(name: str, interval: float, now: float) -> float:
    """The first moment after `now` that is the probe's phase within its interval."""
    offset = phase(name, interval)
    return (math.floor((now - offset) / interval) + 1) * interval + offset


def next_run(name: str, interval: float, retry_interval: float, now: float, *, changing: bool) -> float:
    """When to look again after a run that ended `now`: soon, while a change of level is not confirmed."""
    due = next_due(name, interval, now)
    return min(due, now + retry_interval) if changing else due


def missed(name: str, interval: float, begun: float, now: float) -> int:
    """How many due times passed between the beginning of a run (its own due time not counted) and now: skipped runs."""
    offset = phase(name, interval)
    served = math.floor((begun - offset) / interval + _HAIR)
    return max(0, math.floor((now - offset) / interval) - served)
