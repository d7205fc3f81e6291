"""Maintenance: times in which incidents of a probe or scenario do not open. It is watched all the same.

Nothing reads as ok because of it, and what still fails at its end opens then, with its true start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

Occurrences = Callable[[float, float], Iterable[float]]
"""The starts of something that comes again, after one wall time and up to another, oldest first."""


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of maintenance, from `starts_at` to before `ends_at` (wall seconds). It always ends."""

    key: str  # maintenance-20261123-1702, or of the plan in probes.yaml
    of: tuple[str, ...]  # probes, and scenarios as scenario:redis
    starts_at: float
    ends_at: float
    reason: str
    by: str

    def covers(self, at: float) -> bool:
        return self.starts_at <= at < self.ends_at


@dataclass(frozen=True, slots=True)
class Plan:
    """Maintenance that probes.yaml foresees: once, or again and again."""

    key: str
    of: tuple[str, ...]
    seconds: float
    reason: str
    starts: Occurrences

    def window(self, now: float) -> Window | None:
        """The one that is on now."""
        begun = list(self.starts(now - self.seconds, now))
        return self._window(begun[-1]) if begun else None

    def next_window(self, now: float) -> Window | None:
        """The one that comes next, within a year."""
        start = next(iter(self.starts(now, now + 366 * 86400.0)), None)
        return None if start is None else self._window(start)

    def _window(self, start: float) -> Window:
        return Window(self.key, self.of, start, start + self.seconds, self.reason, "probes.yaml")


def active(plans: Iterable[Plan], windows: Iterable[Window], now: float) -> list[Window]:
    """Everything that is on now, planned or begun by somebody."""
    planned = (plan.window(now) for plan in plans)
    return [window for window in (*windows, *planned) if window is not None and window.covers(now)]


def next_change(plans: Iterable[Plan], windows: Iterable[Window], now: float) -> float | None:
    """When one begins or ends next (wall seconds)."""
    planned = [window for plan in plans for window in (plan.window(now), plan.next_window(now)) if window]
    edges = [edge for window in (*windows, *planned) for edge in (window.starts_at, window.ends_at)]
    return min((edge for edge in edges if edge > now), default=None)


def shift(window: Window, seconds: float) -> Window:
    """The same by a wall clock that was set forward by so many seconds."""
    return replace(window, starts_at=window.starts_at + seconds, ends_at=window.ends_at + seconds)
