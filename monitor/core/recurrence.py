"""When something that is planned begins: once, or again and again as cron says it.

Daylight saving as in Debian's cron: what falls into the hour that is left out comes right after it, what falls into the
hour that comes twice comes once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

_ANY_DAY = datetime(2026, 1, 1)  # noqa: DTZ001 (what is asked of it holds in every zone)
_MOST_STRETCHES = 1000


@dataclass(frozen=True, slots=True)
class Once:
    """Begins at one moment (wall seconds)."""

    at: float

    def __call__(self, after: float, until: float) -> Iterator[float]:
        if after < self.at <= until:
            yield self.at


@dataclass(frozen=True, slots=True)
class Cron:
    """Begins at every minute that the expression means on the clocks of the zone."""

    expression: str
    zone: tzinfo

    def __call__(self, after: float, until: float) -> Iterator[float]:
        for moment in CronSim(self.expression, datetime.fromtimestamp(after, self.zone)):
            if moment.timestamp() > until:
                return
            yield moment.timestamp()


def checked(expression: str) -> str:
    """The expression; ValueError if it is none, or means no day that ever comes."""
    try:
        first = next(CronSim(expression, _ANY_DAY), None)
    except CronSimError as error:
        why = str(error)[:1].lower() + str(error)[1:]
        raise ValueError(
            f'"{expression}" is no cron expression ({why}); write minute, hour, day, month and weekday: "0 3 * * sun"'
        ) from error
    if first is None:
        raise ValueError(f'"{expression}" never comes; no such day is in any year')
    return expression


def leaves_a_gap(expression: str, seconds: float) -> bool:
    """Whether stretches of so many seconds that begin when it says are ever over before the next has begun."""
    begun, minutes = next(CronSim(expression, _ANY_DAY)), int(seconds // 60)
    for _ in range(_MOST_STRETCHES):
        last = next(CronSim(expression, begun + timedelta(minutes=minutes + 1), reverse=True))
        if last <= begun:
            return True
        begun = last
    return False
