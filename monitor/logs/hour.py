"""What a log said minute by minute over the hour before its window, so that now can be held against what is usual.

A probe remembers it (its cursor), because the windows of the log itself do not go back that far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.core.probe import Json
from monitor.logs.window import Ring

HOUR_SECONDS = 3600.0
MINUTE_SECONDS = 60
MINUTES_LEAST = 30  # with fewer of them nobody knows what is usual
KEPT_SECONDS = 600.0  # what the log's windows must hold, so that no minute is lost between two runs
LATE_SECONDS = 5.0  # how long after its end a minute may still be added to


@dataclass(frozen=True)
class Minute:
    """The requests of one minute, and how often each pattern was found in it."""

    requests: float
    matches: Mapping[str, float] = field(default_factory=dict)


Minutes = dict[int, Minute]
"""By their number since 1970."""


def load(cursor: Json) -> Minutes:
    """What `dump` gave; nothing for anything else."""
    kept = cursor.get("minutes") if isinstance(cursor, dict) else None
    try:
        return {int(at): Minute(float(requests), dict(matches)) for at, (requests, matches) in (kept or {}).items()}
    except (TypeError, ValueError, AttributeError):
        return {}


def dump(minutes: Minutes) -> Json:
    """Plain values: a minute without a match takes some ten bytes."""
    return {"minutes": {str(at): [one.requests, dict(one.matches)] for at, one in minutes.items()}}


def remember(
    minutes: Minutes, ring: Ring, patterns: Mapping[str, str], *, since: float, window: float, now: float
) -> Minutes:
    """The minutes that count now: those kept, and those that the ring holds whole since `since` (wall seconds)."""
    first, last = (now - HOUR_SECONDS - window) // MINUTE_SECONDS, (now - LATE_SECONDS) // MINUTE_SECONDS - 1
    begin = max(since, ring.oldest(now), first * MINUTE_SECONDS)
    kept = {at: one for at, one in minutes.items() if first <= at <= last}
    for at in range(int(-(-begin // MINUTE_SECONDS)), int(last) + 1):
        if at not in kept:
            start = at * MINUTE_SECONDS
            view = ring.view(start, start + MINUTE_SECONDS, deep=False)
            found = ring.matches(start, start + MINUTE_SECONDS, patterns.values())
            matches = {name: found[text] for name, text in patterns.items() if text in found}
            kept[at] = Minute(view.requests, matches)
    return kept


@dataclass(frozen=True)
class Usual:
    """What a second was like in the hour before the window."""

    requests: float
    matches: Mapping[str, float]


def usual(minutes: Minutes, *, window: float, now: float) -> Usual | None:
    """The mean over the minutes of the hour before the window; None while too few of them are known."""
    until = (now - window) // MINUTE_SECONDS
    hour = [one for at, one in minutes.items() if until - HOUR_SECONDS / MINUTE_SECONDS <= at < until]
    if len(hour) < MINUTES_LEAST:
        return None
    seconds = len(hour) * MINUTE_SECONDS
    names = {name for one in hour for name in one.matches}
    matches = {name: sum(one.matches.get(name, 0.0) for one in hour) / seconds for name in names}
    return Usual(sum(one.requests for one in hour) / seconds, matches)
