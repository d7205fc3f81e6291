"""Business days and hours: when a review is due, and when a reminder that can wait may come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo


@dataclass(frozen=True, slots=True)
class Calendar:
    """When people work. Only what can wait looks at it; a page never does."""

    zone: tzinfo = UTC
    workdays: frozenset[int] = frozenset(range(5))  # 0 is Monday
    holidays: frozenset[date] = frozenset()
    opens: time = time(9)
    closes: time = time(18)

    def is_business_day(self, day: date) -> bool:
        return day.weekday() in self.workdays and day not in self.holidays

    def local(self, at: float) -> datetime:
        """The wall time (seconds) as people there read it."""
        return datetime.fromtimestamp(at, self.zone)

    def within_business_days(self, at: float, days: int, by: time) -> float:
        """The deadline `days` business days after the wall time `at`, whose own day does not count."""
        day = self.local(at).date()
        for _ in range(days):
            day = self._next_business_day(day)
        return self._moment(day, by)

    def in_hours(self, at: float) -> float:
        """`at`, or when people next come to work if they are not there then."""
        local = self.local(at)
        if self.is_business_day(local.date()) and local.time() < self.closes:
            return max(at, self._moment(local.date(), self.opens))
        return self._moment(self._next_business_day(local.date()), self.opens)

    def mornings(self, first: float, until: float) -> list[float]:
        """When work begins on each business day, from `first` to `until` (wall seconds)."""
        day, found = self.local(first).date() - timedelta(days=1), []
        while (morning := self._moment(day := self._next_business_day(day), self.opens)) <= until:
            if morning >= first:
                found.append(morning)
        return found

    def _next_business_day(self, day: date) -> date:
        for _ in range(3660):  # ten years of holidays are a mistake in the calendar, not a reason to hang
            day += timedelta(days=1)
            if self.is_business_day(day):
                break
        return day

    def _moment(self, day: date, at: time) -> float:
        return datetime.combine(day, at, self.zone).timestamp()
