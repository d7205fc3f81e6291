"""What one Alertmanager has been told, and from that, what it must be told now. Pure: the time is an argument.

It is a table of states, not a queue: whatever was lost on the way (a POST, an Alertmanager's memory, our own process)
is told again when its time comes, and nothing out of date is ever sent late. Times are monotonic seconds, except in
the alerts themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

PAGE_LEASE_SECONDS = 12 * 3600.0  # a dead daemon must not "resolve" a live incident
WATCHDOG_LEASE_SECONDS = 300.0  # while a dead daemon must be noticed
RESOLVE_SECONDS = 15 * 60.0  # how long a resolve is repeated: an Alertmanager keeps no alerts over a restart
FIRST_DELAY_SECONDS = 0.2  # after one failure; doubled with each further one

Fingerprint = tuple[tuple[str, str], ...]
"""The label set of an alert, which is all that tells it from others."""


def fingerprint(labels: Mapping[str, str]) -> Fingerprint:
    """That of an alert with these labels."""
    return tuple(sorted(labels.items()))


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it should stand in every Alertmanager. Wall times in seconds since 1970.

    While it fires (`ends_at` is None), `endsAt` is sent as a lease that ends `lease_seconds` ahead. A lease can be
    prolonged and never cut short, so it should be the same on each sending of one alert.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    ends_at: float | None = None  # None: it fires; else when it was resolved
    lease_seconds: float = PAGE_LEASE_SECONDS
    generator_url: str = ""

    @property
    def fingerprint(self) -> Fingerprint:
        return fingerprint(self.labels)

    @property
    def firing(self) -> bool:
        return self.ends_at is None


@dataclass(frozen=True, slots=True)
class _Line:
    """What is known of one alert at one Alertmanager."""

    alert: Alert  # as it should stand there
    told: Alert | None = None  # as it was taken last
    told_at: float = 0.0
    ended_at: float | None = None  # when its resolve was first taken
    refused_at: float | None = None  # when this very alert was last refused as invalid
    unlisted_at: float | None = None  # since when nobody wants it any more; only its resolve is still owed

    def wanting(self, alert: Alert) -> _Line:
        if alert == self.alert:
            return replace(self, unlisted_at=None)
        ended_at = None if alert.firing else self.ended_at
        return replace(self, alert=alert, ended_at=ended_at, refused_at=None, unlisted_at=None)

    def told_now(self, alert: Alert, now: float) -> _Line:
        # What was taken may be older than what is wanted by now; then it is due again at once.
        first_end = now if self.ended_at is None and not alert.firing else self.ended_at
        ended_at = None if self.alert.firing else first_end
        return replace(self, told=alert, told_at=now, ended_at=ended_at, refused_at=None)

    @property
    def is_news(self) -> bool:
        """Whether this Alertmanager does not even know that it fires, or that it ended."""
        return self.told is None or self.told.firing != self.alert.firing

    def finished(self, resend_seconds: float) -> bool:
        """Whether its resolve was repeated long enough."""
        if self.told != self.alert or self.ended_at is None:
            return False
        return self.told_at + resend_seconds > self.ended_at + RESOLVE_SECONDS

    def due_at(self, resend_seconds: float) -> float:
        if self.refused_at is not None:
            return self.refused_at + resend_seconds
        if self.told != self.alert:
            return -math.inf
        return math.inf if self.finished(resend_seconds) else self.told_at + resend_seconds

    def forgettable(self, now: float, resend_seconds: float) -> bool:
        """Whether nothing is owed: a resolve is, until it was taken or every lease given before has run out."""
        if self.unlisted_at is None:
            return False
        return (
            self.alert.firing
            or self.finished(resend_seconds)
            or now >= self.unlisted_at + max(self.alert.lease_seconds, RESOLVE_SECONDS)
        )


@dataclass(slots=True)
class Ledger:
    """The table of one Alertmanager."""

    resend_seconds: float
    _lines: dict[Fingerprint, _Line] = field(default_factory=dict, init=False)

    def want(self, alerts: Mapping[Fingerprint, Alert], now: float) -> bool:
        """Take the complete wanted state; True if something began to fire, or ended.

        An alert that is left out is not sent again. If it was left out resolved, its resolve is still told until it
        was taken, and repeated: an Alertmanager that was away must not hold a page for the rest of its lease.
        """
        news = False
        for fingerprint, alert in alerts.items():
            line = self._lines.get(fingerprint)
            news |= line is None or line.alert.firing != alert.firing
            self._lines[fingerprint] = _Line(alert) if line is None else line.wanting(alert)
        for fingerprint, line in list(self._lines.items()):
            if fingerprint not in alerts and line.unlisted_at is None:
                self._lines[fingerprint] = replace(line, unlisted_at=now)
        self._forget(now)
        return news

    def due(self, now: float) -> list[list[Alert]]:
        """What must be told now, in groups that belong into one POST: all alerts of an incident. News come first."""
        self._forget(now)
        due = {_group(line.alert) for line in self._lines.values() if self._is_due(line, now)}
        groups: dict[object, list[_Line]] = {}
        for line in self._lines.values():
            if line.refused_at is None and _group(line.alert) in due and not line.finished(self.resend_seconds):
                groups.setdefault(_group(line.alert), []).append(line)
        ordered = sorted(groups.values(), key=lambda lines: not any(line.is_news for line in lines))
        return [[line.alert for line in lines] for lines in ordered]

    def refused_due(self, now: float) -> list[Alert]:
        """The alerts in quarantine that are to be tried again, each by itself, so that it spoils no other."""
        lines = (line for line in self._lines.values() if line.refused_at is not None)
        return [line.alert for line in lines if line.due_at(self.resend_seconds) <= now]

    def next_due(self) -> float:
        """When something is due next; infinite if nothing ever is."""
        return min((line.due_at(self.resend_seconds) for line in self._lines.values()), default=math.inf)

    def took(self, alerts: Iterable[Alert], now: float) -> None:
        """The Alertmanager accepted these."""
        for alert in alerts:
            if line := self._lines.get(alert.fingerprint):
                self._lines[alert.fingerprint] = line.told_now(alert, now)

    def refused(self, alert: Alert, now: float) -> bool:
        """The Alertmanager says that this alert by itself is invalid; True if it had not said so of it before."""
        line = self._lines.get(alert.fingerprint)
        if line is None or line.alert != alert:
            return False
        self._lines[alert.fingerprint] = replace(line, refused_at=now)
        return line.refused_at is None

    def distrust(self) -> None:
        """Everything is due again: what was sent so far carried wrong times."""
        for fingerprint, line in self._lines.items():
            self._lines[fingerprint] = replace(line, told_at=-math.inf)

    def knows(self, fingerprint: Fingerprint) -> bool:
        """Whether it took this alert in its present state, firing or resolved."""
        line = self._lines.get(fingerprint)
        return line is not None and not line.is_news

    def behind(self) -> bool:
        """Whether there is something that was never taken as it should stand (alerts in quarantine apart)."""
        return any(line.told != line.alert and line.refused_at is None for line in self._lines.values())

    def farewell(self, now: float, at: float) -> None:
        """Want everything that this Alertmanager holds resolved at the wall time `at`, and nothing else."""
        held = {key: line.told for key, line in self._lines.items() if line.told is not None}
        ends = {key: replace(alert, ends_at=at) if alert.firing else alert for key, alert in held.items()}
        self._lines = {key: line for key, line in self._lines.items() if key in held}
        self.want(ends, now)

    def _is_due(self, line: _Line, now: float) -> bool:
        return line.refused_at is None and line.due_at(self.resend_seconds) <= now

    def _forget(self, now: float) -> None:
        kept = {key: line for key, line in self._lines.items() if not line.forgettable(now, self.resend_seconds)}
        self._lines = kept


def _group(alert: Alert) -> object:
    return alert.labels.get("incident") or alert.fingerprint


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an Alertmanager that failed is left alone."""

    failures: int = 0  # in a row
    until: float = -math.inf
    asked: bool = False  # it said itself how long

    def longer(self, now: float, cap_seconds: float, jitter: float, asked_seconds: float | None = None) -> Patience:
        """After one more failure: twice as long, up to `cap_seconds`; `jitter` (0 to 1) keeps several clients apart."""
        delay = min(FIRST_DELAY_SECONDS * 2.0 ** min(self.failures, 32), cap_seconds) * (0.5 + jitter / 2)
        # More than the cap is not granted: no proxy's `Retry-After: 86400` may keep pages back for a day.
        delay = max(delay, min(asked_seconds or 0.0, cap_seconds))
        return Patience(self.failures + 1, now + delay, asked_seconds is not None)

    def slow(self, now: float, seconds: float) -> Patience:
        """After a failure that only a change of configuration mends."""
        return Patience(self.failures + 1, now + seconds)

    def at_news(self) -> Patience:
        """A new page is worth an attempt at once, unless the other side asked to be left alone."""
        return self if self.asked else replace(self, until=-math.inf)
