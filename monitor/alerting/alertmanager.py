"""The client of Alertmanager: keeps every member of the cluster told of the alerts that should stand.

Each Alertmanager has a task and a ledger of its own, so one that is slow or dead delays nobody, and costs one fresh
snapshot when it is back. How a correct client posts, repeats and resolves was measured with Alertmanager 0.25 and read
in its sources: alertmanager/api/v2/openapi.yaml and, for the notifier that this one follows, prometheus/notifier.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec
import structlog

from monitor.alerting.ledger import (
    PAGE_LEASE_SECONDS,
    WATCHDOG_LEASE_SECONDS,
    Alert,
    Fingerprint,
    Ledger,
    Patience,
    fingerprint,
)
from monitor.alerting.wire import Reply, Verdict, Wire, array, name_of, render
from monitor.clock import Clock
from monitor.core.config import AlertmanagerConfig
from monitor.core.probe import Family

__all__ = [
    "PAGE_LEASE_SECONDS",
    "SKEW_TOLERATED_SECONDS",
    "WATCHDOG_LEASE_SECONDS",
    "Alert",
    "AlertmanagerError",
    "Fingerprint",
    "Held",
    "Notifier",
    "Silence",
    "render",
]

_MOST_ALERTS = 256  # of one POST, as Prometheus does it
_MOST_BYTES = 2**20  # nginx refuses more unless told otherwise
SKEW_TOLERATED_SECONDS = 30.0
_FAREWELL_SECONDS = 60.0  # how long a removed Alertmanager is tried before its leases are left to run out

_log = structlog.get_logger(__name__)

OnDelivered = Callable[[Alert, float], None]
"""Told the alert and the wall time when the first Alertmanager took its firing, and again its resolve."""


class AlertmanagerError(Exception):
    """No Alertmanager answered; the message names each and what it said."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence as its creator left it. Wall times."""

    id: str
    created_by: str
    comment: str
    starts_at: float
    ends_at: float
    updated_at: float  # when it was made, or changed


@dataclass(frozen=True, slots=True)
class Held:
    """An alert that an Alertmanager takes as firing, in the wall time of our clock."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    ends_at: float  # of its lease
    silences: tuple[Silence, ...] = ()
    inhibited: bool = False

    @property
    def fingerprint(self) -> Fingerprint:
        return fingerprint(self.labels)


@dataclass(slots=True)
class _Standing:
    """How far one alert has come, over all Alertmanagers, since it last began to fire or ended."""

    alert: Alert
    since: float  # monotonic
    delivered_at: float | None = None  # wall time


@dataclass(slots=True)
class _Lane:
    """One Alertmanager: its wire, its ledger, and what is counted of it."""

    name: str
    config: AlertmanagerConfig
    wire: Wire
    ledger: Ledger
    patience: Patience = field(default_factory=Patience)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    leaves_at: float | None = None  # monotonic; it was removed from the configuration and is gone then at the latest
    sent: int = 0
    failed: int = 0
    invalid: int = 0
    last_success: float | None = None  # wall time
    skew: float | None = None
    distrusted_at: float = -math.inf  # monotonic
    complaint: str = ""  # what was last logged about it

    @property
    def offset(self) -> float:
        """What is added to the times sent to it, in seconds: 0 while its clock and ours are near enough."""
        return self.skew if self.skew is not None and abs(self.skew) > SKEW_TOLERATED_SECONDS else 0.0

    @property
    def reachable(self) -> bool:
        return self.last_success is not None and self.patience.failures == 0

    def sleep_seconds(self, now: float) -> float:
        until = max(self.ledger.next_due(), self.patience.until)
        return max(min(until, math.inf if self.leaves_at is None else self.leaves_at) - now, 0.0)

    def done(self, now: float) -> bool:
        return self.leaves_at is not None and (now >= self.leaves_at or not self.ledger.behind())


class Notifier:
    """Keeps every Alertmanager told. To be used from one event loop; nothing raises out of `run`.

    `set` gives the complete state, `run` delivers until it is cancelled, and cancelling it resolves nothing: the leases
    cover a restart. ValueError for an address that is none.
    """

    def __init__(
        self,
        config: Sequence[AlertmanagerConfig],
        clock: Clock,
        *,
        resend_seconds: float = 60.0,
        timeout_seconds: float = 10.0,
        on_delivered: OnDelivered | None = None,
    ) -> None:
        self._clock = clock
        self._resend_seconds = resend_seconds
        self._timeout_seconds = timeout_seconds
        self._on_delivered = on_delivered
        self._standings: dict[Fingerprint, _Standing] = {}
        self._group: asyncio.TaskGroup | None = None
        self._progress = asyncio.Event()
        self._lanes: dict[str, _Lane] = {name_of(one.url): self._lane(one) for one in config}

    # What should stand.

    def set(self, alerts: Iterable[Alert]) -> None:
        """Want exactly these, firing or lately resolved, and deliver what is new at once.

        A resolved alert may be left out once `delivered` has a time for it (its resolve is then still repeated for
        15 minutes); a firing one that is left out is not repeated, and ends with its lease.
        """
        wanted = {alert.fingerprint: alert for alert in alerts}
        now = self._clock.monotonic()
        self._standings = {key: self._standing(key, alert, now) for key, alert in wanted.items()}
        for lane in self._present():
            if lane.ledger.want(wanted, now):
                lane.patience = lane.patience.at_news()
            lane.wake.set()

    def reconfigure(self, config: Sequence[AlertmanagerConfig]) -> None:
        """Change who is told. One that is removed is sent the resolves of all it holds first, for a minute at most."""
        new = {name_of(one.url): one for one in config}
        now = self._clock.monotonic()
        for name in [lane.name for lane in self._present() if lane.name not in new]:
            lane = self._lanes[name]
            lane.ledger.farewell(now, self._clock.now())
            lane.leaves_at, lane.patience = now + _FAREWELL_SECONDS, Patience()
            lane.wake.set()
        for name, one in new.items():
            if name in self._lanes:
                self._renew(self._lanes[name], one)
            else:
                self._lanes[name] = self._lane(one)
                self._start(self._lanes[name])
            self._lanes[name].ledger.want(self._wanted(), now)

    def delivered(self, fingerprint: Fingerprint) -> float | None:
        """When the first Alertmanager took the alert in its present state, firing or resolved (wall time)."""
        standing = self._standings.get(fingerprint)
        return standing.delivered_at if standing else None

    def delivered_everywhere(self, fingerprint: Fingerprint) -> bool:
        """Whether every Alertmanager that can be reached took it in its present state, and at least one did."""
        reachable = [lane for lane in self._present() if lane.reachable]
        return bool(reachable) and all(lane.ledger.knows(fingerprint) for lane in reachable)

    @property
    def oldest_undelivered_seconds(self) -> float:
        """For how long the oldest change that no Alertmanager took has been waiting; 0 if there is none."""
        waiting = [one.since for one in self._standings.values() if one.delivered_at is None]
        return max(self._clock.monotonic() - min(waiting), 0.0) if waiting else 0.0

    # Delivering it.

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for lane in self._lanes.values():
                    self._start(lane)
                await asyncio.Event().wait()
        finally:
            self._group = None

    async def drain(self, seconds: float) -> bool:
        """Before `run` is cancelled: give what was not yet taken a last chance. Resolves nothing.

        True if everything was taken. An Alertmanager that fails now is not waited for, unless no other took its news.
        """
        deadline = self._clock.monotonic() + seconds
        for lane in self._lanes.values():
            lane.patience = Patience()
            lane.wake.set()
        while self._owes() and (left := deadline - self._clock.monotonic()) > 0:
            self._progress.clear()
            await self._first(self._progress.wait(), self._clock.sleep(left))
        return not any(lane.ledger.behind() for lane in self._lanes.values())

    async def close(self) -> None:
        """Close what `held` opened without `run`."""
        for lane in self._lanes.values():
            await lane.wire.close()

    async def held(self, matcher: str = 'source="push"') -> list[Held]:
        """What the Alertmanagers take as firing, with the silences that hold it; all of them together.

        AlertmanagerError if none answered. This is how pages are found again that an empty store knows nothing of.
        """
        answers = await asyncio.gather(*(self._held_by(lane, matcher) for lane in self._present()))
        if answers and all(isinstance(answer, str) for answer in answers):
            raise AlertmanagerError("; ".join(str(answer) for answer in answers))
        merged: dict[Fingerprint, Held] = {}
        for answer in answers:
            for one in answer if isinstance(answer, list) else []:
                known = merged.get(one.fingerprint)
                merged[one.fingerprint] = _together(known, one) if known else one
        return list(merged.values())

    def families(self) -> list[Family]:
        """Metrics of the deliveries, by Alertmanager. The counters begin at 0 with each start of the process."""
        lanes = [(lane, {"alertmanager": lane.name}) for lane in self._lanes.values()]
        prefix = "portal_monitor_notifications"
        return [
            Family(f"{prefix}_total", "counter", "Alerts sent, taken or not.", [(of, lane.sent) for lane, of in lanes]),
            Family(
                f"{prefix}_failed_total", "counter", "Alerts sent in vain; each is sent again.",
                [(of, lane.failed) for lane, of in lanes],
            ),
            Family(
                f"{prefix}_invalid_total", "counter", "Alerts that were refused as invalid.",
                [(of, lane.invalid) for lane, of in lanes],
            ),
            Family(
                f"{prefix}_last_success_timestamp_seconds", "gauge", "When alerts were last taken.",
                [(of, lane.last_success) for lane, of in lanes if lane.last_success is not None],
            ),
            Family(
                "portal_monitor_alertmanager_clock_skew_seconds", "gauge", "How far its clock is ahead of ours.",
                [(of, lane.skew) for lane, of in lanes if lane.skew is not None],
            ),
            Family(
                "portal_monitor_oldest_undelivered_seconds", "gauge",
                "Age of the oldest change of an alert that no Alertmanager took.",
                [({}, self.oldest_undelivered_seconds)],
            ),
        ]  # fmt: skip

    # One Alertmanager's task: wait, tell it what is due.

    async def _serve(self, lane: _Lane) -> None:
        try:
            while not lane.done(self._clock.monotonic()):
                try:
                    await self._wait(lane)
                    await self._deliver(lane)
                except Exception:  # pages must go on being sent, whatever is wrong with one of them
                    _log.exception("notifier_failed", alertmanager=lane.name)
                    lane.patience = lane.patience.slow(self._clock.monotonic(), self._resend_seconds)
                self._progress.set()
            del self._lanes[lane.name]
        finally:
            await lane.wire.close()

    async def _wait(self, lane: _Lane) -> None:
        now = self._clock.monotonic()
        while (seconds := lane.sleep_seconds(now)) > 0 and not lane.done(now):
            lane.wake.clear()
            timer = [] if math.isinf(seconds) else [self._clock.sleep(seconds)]
            await self._first(lane.wake.wait(), *timer)
            now = self._clock.monotonic()

    async def _deliver(self, lane: _Lane) -> None:
        now = self._clock.monotonic()
        for batch in _batches(self._parcels(lane, lane.ledger.due(now))):
            if not await self._send(lane, batch):
                return
        for parcel in self._parcels(lane, [lane.ledger.refused_due(now)]):
            for one in parcel:
                if not await self._send(lane, [one]):
                    return

    async def _send(self, lane: _Lane, parcel: list[_Parcel]) -> bool:
        """Post it, in halves if it is refused as invalid, until the alert at fault is alone. False: stop for now."""
        offset = lane.offset
        reply = await lane.wire.post("/api/v2/alerts", array(one.body for one in parcel))
        if reply.skew_seconds is not None:
            lane.skew = reply.skew_seconds
        if reply.verdict is Verdict.INVALID and len(parcel) > 1:
            half = len(parcel) // 2
            return await self._send(lane, parcel[:half]) and await self._send(lane, parcel[half:])
        lane.sent += len(parcel)
        if reply.verdict is Verdict.INVALID:
            self._refused(lane, parcel[0].alert, reply.text)
            return True
        if reply.verdict is not Verdict.TAKEN:
            self._put_off(lane, reply, len(parcel))
            return False
        return self._taken(lane, [one.alert for one in parcel], offset)

    def _taken(self, lane: _Lane, alerts: list[Alert], offset: float) -> bool:
        now = self._clock.monotonic()
        if lane.complaint or lane.last_success is None:
            _log.info("alertmanager_reached", alertmanager=lane.name)
        lane.patience, lane.complaint, lane.last_success = Patience(), "", self._clock.now()
        shifted = abs(lane.offset - offset) > SKEW_TOLERATED_SECONDS
        # What carries wrong times is lost without an error (an `endsAt` in its past is a resolve), so all of it is
        # sent again. Not more often than by itself: two clocks behind one address would make this endless.
        if shifted and now >= lane.distrusted_at + self._resend_seconds:
            _log.warning("alertmanager_clock_skew", alertmanager=lane.name, ahead_seconds=round(lane.skew or 0.0))
            lane.distrusted_at = now
            lane.ledger.distrust()
            return False
        lane.ledger.took(alerts, now)
        if lane.leaves_at is None:
            for alert in alerts:
                self._delivered(alert)
        return True

    def _delivered(self, alert: Alert) -> None:
        standing = self._standings.get(alert.fingerprint)
        if standing is None or standing.delivered_at is not None or standing.alert.firing != alert.firing:
            return
        standing.delivered_at = self._clock.now()
        if self._on_delivered is not None:
            try:
                self._on_delivered(alert, standing.delivered_at)
            except Exception:  # the listener's bug: the delivery has happened
                _log.exception("on_delivered_failed")

    def _refused(self, lane: _Lane, alert: Alert, text: str) -> None:
        lane.invalid += 1
        lane.failed += 1
        if lane.ledger.refused(alert, self._clock.monotonic()):
            _log.error("alert_refused", alertmanager=lane.name, labels=dict(alert.labels), said=text)

    def _put_off(self, lane: _Lane, reply: Reply, count: int) -> None:
        now = self._clock.monotonic()
        lane.failed += count
        if reply.verdict is Verdict.MISCONFIGURED:
            lane.patience = lane.patience.slow(now, self._resend_seconds)
            _log.error("alertmanager_refuses_us", alertmanager=lane.name, said=reply.text, alerts=count)
            lane.complaint = reply.text
            return
        lane.patience = lane.patience.longer(now, self._resend_seconds, random.random(), reply.retry_after_seconds)
        if lane.complaint != reply.text:  # once for each kind of failure, not for each attempt
            _log.warning("alertmanager_unreachable", alertmanager=lane.name, said=reply.text, alerts=count)
        lane.complaint = reply.text

    def _parcels(self, lane: _Lane, groups: Iterable[Iterable[Alert]]) -> list[list[_Parcel]]:
        return [[parcel for alert in group if (parcel := self._parcel(lane, alert))] for group in groups]

    def _parcel(self, lane: _Lane, alert: Alert) -> _Parcel | None:
        try:
            return _Parcel(alert, render(alert, self._clock.now(), lane.offset))
        except (ValueError, TypeError, OverflowError) as error:  # our bug, and no reason to keep back the others
            lane.sent += 1
            self._refused(lane, alert, f"it cannot be written: {error}")
            return None

    # Bookkeeping.

    def _lane(self, config: AlertmanagerConfig) -> _Lane:
        wire = Wire(config, self._clock, self._timeout_seconds)
        return _Lane(name_of(config.url), config, wire, Ledger(self._resend_seconds))

    def _start(self, lane: _Lane) -> None:
        if self._group is not None:
            self._group.create_task(self._serve(lane), name=f"alertmanager {lane.name}")

    def _renew(self, lane: _Lane, config: AlertmanagerConfig) -> None:
        """Go on with a lane under the same address: with other credentials, or because it is wanted again."""
        lane.leaves_at = None
        if lane.config != config:
            lane.config, lane.patience = config, Patience()
            lane.wire.reconfigure(config)
        lane.wake.set()

    def _present(self) -> list[_Lane]:
        return [lane for lane in self._lanes.values() if lane.leaves_at is None]

    def _wanted(self) -> dict[Fingerprint, Alert]:
        return {key: standing.alert for key, standing in self._standings.items()}

    def _standing(self, key: Fingerprint, alert: Alert, now: float) -> _Standing:
        known = self._standings.get(key)
        if known is None or known.alert.firing != alert.firing:
            return _Standing(alert, now)
        return replace(known, alert=alert)

    def _owes(self) -> bool:
        fresh = any(lane.ledger.behind() and lane.patience.failures == 0 for lane in self._lanes.values())
        return fresh or (bool(self._lanes) and any(one.delivered_at is None for one in self._standings.values()))

    async def _held_by(self, lane: _Lane, matcher: str) -> list[Held] | str:
        """What one of them holds, or what is wrong with it."""
        reply = await lane.wire.get("/api/v2/alerts", {"filter": matcher})
        if reply.verdict is not Verdict.TAKEN:
            return f"{lane.name}: {reply.text}"
        skew = reply.skew_seconds or 0.0
        offset = skew if abs(skew) > SKEW_TOLERATED_SECONDS else 0.0
        try:
            alerts = msgspec.json.decode(reply.body, type=list[_HeldAlert])
            silences = await self._silences(lane) if any(one.status.silenced_by for one in alerts) else {}
        except msgspec.MsgspecError as error:
            return f"{lane.name}: the answer is not Alertmanager's: {error}"
        return [_held(one, silences, offset) for one in alerts]

    async def _silences(self, lane: _Lane) -> dict[str, _HeldSilence]:
        reply = await lane.wire.get("/api/v2/silences", {})
        found = msgspec.json.decode(reply.body, type=list[_HeldSilence]) if reply.verdict is Verdict.TAKEN else []
        return {one.id: one for one in found}

    @staticmethod
    async def _first(*waits: Awaitable[object]) -> None:
        """Return when one of them has come; the others are cancelled."""
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Parcel:
    """An alert, ready to be sent."""

    alert: Alert
    body: bytes


def _batches(groups: Iterable[Sequence[_Parcel]]) -> list[list[_Parcel]]:
    """As few bodies as keep within the limits; a group is divided only if it is too large for one."""
    pieces = [piece for group in groups for piece in _packed([one] for one in group)]
    return _packed(pieces)


def _packed(pieces: Iterable[list[_Parcel]]) -> list[list[_Parcel]]:
    batches: list[list[_Parcel]] = []
    for piece in pieces:
        if not batches or not _fits([*batches[-1], *piece]):
            batches.append([])
        batches[-1].extend(piece)
    return batches


def _fits(batch: Sequence[_Parcel]) -> bool:
    return len(batch) <= _MOST_ALERTS and sum(len(one.body) + 1 for one in batch) < _MOST_BYTES


class _HeldStatus(msgspec.Struct, rename="camel"):
    silenced_by: list[str] = []
    inhibited_by: list[str] = []


class _HeldAlert(msgspec.Struct, rename="camel"):
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: datetime
    ends_at: datetime
    status: _HeldStatus


class _HeldSilence(msgspec.Struct, rename="camel"):
    id: str
    created_by: str
    comment: str
    starts_at: datetime
    ends_at: datetime
    updated_at: datetime


def _held(alert: _HeldAlert, silences: Mapping[str, _HeldSilence], offset: float) -> Held:
    return Held(
        alert.labels,
        alert.annotations,
        alert.starts_at.timestamp() - offset,
        alert.ends_at.timestamp() - offset,
        tuple(_silence(silences[key], offset) for key in alert.status.silenced_by if key in silences),
        bool(alert.status.inhibited_by),
    )


def _silence(found: _HeldSilence, offset: float) -> Silence:
    times = (found.starts_at.timestamp(), found.ends_at.timestamp(), found.updated_at.timestamp())
    return Silence(found.id, found.created_by, found.comment, *(at - offset for at in times))


def _together(one: Held, other: Held) -> Held:
    return replace(
        one,
        starts_at=min(one.starts_at, other.starts_at),
        ends_at=max(one.ends_at, other.ends_at),
        silences=tuple({silence.id: silence for silence in (*one.silences, *other.silences)}.values()),
        inhibited=one.inhibited or other.inhibited,
    )
