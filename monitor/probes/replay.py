"""Whether Salesforce's Platform Events reach the portal: replay ids that move, and evidence where they stand still.

The BFF keeps the id of the last event it has seen under a key of Redis for each channel. An id is opaque (decimal,
base64 or JSON, depending on the client), so it is only compared with the one before. That it stands still says
nothing: nights are quiet. Other probes say whether there was anything to receive (`evidence`), and `_judge` decides.

The evidence speaks of the subscription as a whole, so it blames nobody while any channel that is followed moves. A
channel that should be judged alone gets a probe of its own, with its key as `keys`.

A run costs Redis one SCAN step for each thousand keys of the database (none where `keys` is no pattern; at most
`scan_budget`), and one GETRANGE for each channel.

Sources: Salesforce, Platform Events Developer Guide (event retention, replay id); Pub/Sub API, `pubsub_api.proto`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from pydantic import Field
from redis.exceptions import NoPermissionError, RedisError

from monitor.core.evidence import Measured, Named, number
from monitor.core.probe import (
    TIMEOUT,
    Cost,
    Fault,
    Json,
    Measure,
    Opening,
    Options,
    ProbeContext,
    ProbeError,
    ProbeType,
    Reading,
    Reason,
    Reference,
    Value,
)
from monitor.core.quantity import Duration, format_duration
from monitor.probes._redis import (
    REDIS_REASONS,
    Connection,
    RedisUrl,
    Reply,
    ask,
    closed,
    connected,
    refusal,
    translated,
)

CHANNELS = 50
"""More channels than that are not followed: each is a label."""

KEY_BYTES = 200
VALUE_BYTES = 65_536
ODD_SECONDS = 3600.0  # how long an oddity of one moment is shown
_WILDCARD = re.compile(r"[*?\[\\]")
_DECIMAL = re.compile(rb"\d{1,20}")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}={0,2}|[A-Za-z0-9+/_-]{3}=?)?")
_SCAN_STEP = 1000
_SCAN_SHARE = 0.4  # of the run's time

BACKWARDS, FORMAT, REPLAY_ALL, UNSTORED = "backwards", "format", "replay-all", "unstored"
ODDITIES: Mapping[str, str] = {
    BACKWARDS: "an id went backwards: a migration, a sandbox refresh, a restored Redis, or somebody set it by hand",
    FORMAT: "an id is written in another way than before: another client, or somebody set it by hand",
    REPLAY_ALL: "SF_EVENTS_REPLAY=ALL was left on: every restart of the BFF replays up to 72 hours; set it back to LATEST",
    UNSTORED: "jobs are enqueued though no id moves: the BFF keeps its ids elsewhere by now, or nowhere",
}

MEASURES: Mapping[str, Measure] = {
    "age_seconds": Measure("Time since the replay id last changed, or was first seen", split="channel", kind="age"),
    "keys": Measure("Replay keys that hold an id"),
    "retention_left_seconds": Measure(
        "Until Salesforce may no longer have the event of this id, so that a reconnect is refused; negative after",
        split="channel",
    ),
    "unexplained_age_seconds": Measure(
        "Since anything last showed that events come, or that no order waits for one", kind="age"
    ),
    "oddities": Measure("1 for what deserves a look, 0 for what does not", split="kind", kind="state"),
}

REASONS: Mapping[str, Reason] = {
    "gone": Reason(
        Fault.TARGET,
        "A replay key that was there is gone: was Redis flushed or restored? Missed events come with"
        " SF_EVENTS_REPLAY=ALL, within 72 hours.",
    ),
    "broken": Reason(
        Fault.TARGET,
        "There is work, and no event comes: check SF_EVENTS_ENABLED, the Connected App's JWT login and the integration"
        " user's permissions, then restart the BFF to subscribe again.",
    ),
    "expiring": Reason(
        Fault.TARGET,
        "Orders wait and Salesforce is about to delete their events for good: replay them now with"
        " SF_EVENTS_REPLAY=ALL and a restart of the BFF, and set it back after.",
    ),
    "unproved": Reason(
        Fault.ACCESS,
        "The subscription was broken, and the probes that showed it cannot see now: look at the probes in `evidence`.",
    ),
    "never-seen": Reason(
        Fault.ACCESS,
        "No replay key was ever seen: check SF_EVENTS_ENABLED, the channel's name and `keys`, and the database number"
        " in `url`.",
    ),
    # What ails Redis is told by the probe of Redis. Here it only means that nothing is known about the events.
    TIMEOUT: Reason(Fault.ACCESS, "Redis did not answer in time, so nothing is known about the events."),
    **{
        name: replace(reason, fault=Fault.ACCESS, advice=f"Nothing is known about the events. {reason.advice}")
        for name, reason in REDIS_REASONS.items()
    },
}


class EvidenceOptions(Options):
    """Measurements of other probes, each `probe.measurement` or `probe.measurement[part]`."""

    waiting: Named | None = Field(default=None, description="Orders that have waited too long for an event.")
    delivered: Named | None = Field(
        default=None, description="Events delivered so far; only where nobody but the BFF subscribes."
    )
    enqueued: Named | None = Field(default=None, description="Jobs that events have lately become, as a rate.")
    errors: Named | None = Field(default=None, description="Seconds since the log last told of a failed subscription.")
    success: Named | None = Field(default=None, description="Seconds since the log last told of an event received.")
    replay_latest: Named | None = Field(
        default=None, description="1 while SF_EVENTS_REPLAY is LATEST, 0 while it is something else."
    )

    def references(self) -> Mapping[str, Reference]:
        """Those that are given, by their place."""
        return {f"evidence.{name}": reference for name, reference in self if reference is not None}


class ReplayOptions(Options):
    url: RedisUrl
    keys: str = Field(default="sf:pe:replay:*", min_length=1, max_length=KEY_BYTES)  # a glob, as in SCAN
    evidence: EvidenceOptions = EvidenceOptions()
    stale_after: Duration = Field(
        default=600.0,
        description="How long an id stands still before evidence counts; Salesforce's keep-alive comes within 270 s.",
    )
    retention: Duration = Field(
        default=3 * 86400.0, description="How long Salesforce keeps events: 72 h, standard-volume ones 24 h."
    )
    replay_all_for: Duration = Field(default=7200.0, description="How long SF_EVENTS_REPLAY=ALL may be on.")
    scan_budget: int = Field(default=100_000, ge=_SCAN_STEP, description="Keys of the database looked at in one run.")
    forget_after: Duration = Field(default=3 * 86400.0, description="A key gone this long is no longer missed.")


@dataclass
class Channel:
    """What is remembered of one replay key. Times are wall seconds."""

    value: str  # a decimal id as it is, of any other a digest
    changed_at: float
    gone_at: float | None = None
    format: str = ""
    odd: dict[str, float] = field(default_factory=dict)  # oddity -> when it was seen


@dataclass
class Memory:
    """The cursor: the channels by key, where a scan that did not finish goes on, and what the evidence said."""

    channels: dict[str, Channel] = field(default_factory=dict)
    scan: int = 0
    scanned: bool = False  # the whole database was looked through at least once
    explained_at: float | None = None  # when something last showed that all is well
    lowest: float | None = None  # of the counter of delivered events, since an id last moved
    delivered_at: float | None = None  # when it was first seen above that
    enqueued_at: float | None = None
    all_since: float | None = None  # since when SF_EVENTS_REPLAY is ALL
    accused_by: list[str] = field(default_factory=list)  # the evidence by which it is broken

    @classmethod
    def load(cls, cursor: Json) -> Memory:
        """What `dump` gave; an empty memory for anything else."""
        try:
            kept = dict(cursor or {})
            return cls(**{**kept, "channels": {key: Channel(**each) for key, each in kept["channels"].items()}})
        except (TypeError, KeyError, ValueError, AttributeError):
            return cls()

    def dump(self) -> Json:
        """Plain values, by the names of the fields."""
        return {**vars(self), "channels": {key: dict(vars(channel)) for key, channel in self.channels.items()}}

    @property
    def moved_at(self) -> float:
        """When any id last changed or was first seen."""
        return max(channel.changed_at for channel in self.channels.values())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What silence and evidence make together; `reason` is empty where nothing is wrong."""

    words: str
    reason: str = ""
    explained: bool = False  # it was shown that all is well, not only not shown that it is not


def _open(options: ReplayOptions, opening: Opening) -> AbstractAsyncContextManager[Connection]:  # noqa: ARG001
    return connected(options.url)


def _watch(options: ReplayOptions, connection: Connection) -> AsyncIterator[str]:  # noqa: ARG001
    return closed(connection)


async def _run(options: ReplayOptions, context: ProbeContext) -> Reading:
    memory = Memory.load(context.cursor)
    with translated():
        found = await _find(context.resource, options, context, memory)
        keys = [*memory.channels, *sorted(found - memory.channels.keys())]
        values = await _values(context.resource, keys[: 2 * CHANNELS])
    details = _note(memory, values, context.now, options)
    there = float(sum(value is not None for value in values.values()))
    if not memory.channels:
        partly = "" if memory.scanned else "; not all keys of the database were looked at yet"
        reading = Reading({"keys": there}, cursor=memory.dump(), details=details)
        raise ProbeError("never-seen", f"no key matches{partly}", reading=reading)
    evidence = Evidence(options.evidence, context.measured)
    _follow(options, memory, evidence, context.now)
    verdict = _judge(options, memory, evidence, context.now)
    if verdict.explained or memory.explained_at is None:
        memory.explained_at = context.now if verdict.explained else memory.moved_at
    oddities = _oddities(options, memory, context.now)
    details |= {"verdict": verdict.words, **{kind: ODDITIES[kind] for kind, odd in oddities.items() if odd}}
    details |= evidence.remark()
    measurements = {"keys": there, **_ages(options, memory, context.now), "oddities": oddities}
    reading = Reading(measurements, cursor=memory.dump(), details=details)
    if verdict.reason:
        raise ProbeError(verdict.reason, verdict.words, reading=reading)
    return reading


def _ages(options: ReplayOptions, memory: Memory, now: float) -> dict[str, Value]:
    prefix = _WILDCARD.split(options.keys)[0] if _WILDCARD.search(options.keys) else ""
    ages = {
        key.removeprefix(prefix) or key: max(0.0, now - channel.changed_at) for key, channel in memory.channels.items()
    }
    explained_at = max(memory.explained_at or 0.0, memory.moved_at)
    return {
        "age_seconds": ages,
        "retention_left_seconds": {channel: options.retention - age for channel, age in ages.items()},
        "unexplained_age_seconds": max(0.0, now - explained_at),
    }


# --- the verdict ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the probes that `evidence` names say at this moment."""

    options: EvidenceOptions
    measured: Measured

    def number(self, name: str) -> float | None:
        """The number of this kind of evidence; None if it is not configured, or not to be had."""
        reference: Reference | None = getattr(self.options, name)
        return number(reference, self.measured) if reference else None

    def taken_at(self, name: str) -> float | None:
        """When the probe that it names had its last say; None if there is no such say to be believed."""
        reference: Reference | None = getattr(self.options, name)
        sample = self.measured.get(reference.probe) if reference else None
        return sample.at if sample else None

    def moment(self, name: str) -> float | None:
        """When that was which it gives the age of."""
        age, taken_at = self.number(name), self.taken_at(name)
        return None if age is None or taken_at is None else taken_at - age

    def is_missing(self, name: str) -> bool:
        """Whether it is configured, and its probe has nothing to say."""
        return getattr(self.options, name) is not None and self.taken_at(name) is None

    def remark(self) -> dict[str, str]:
        """Which of it is not to be had, for people."""
        references = self.options.references().values()
        if not references:
            return {"evidence": "none configured"}
        silent = sorted({each.probe for each in references if each.probe not in self.measured})
        return {"evidence": f"nothing fresh from {', '.join(silent)}"} if silent else {}


def _follow(options: ReplayOptions, memory: Memory, evidence: Evidence, now: float) -> None:
    """Keep in mind what the evidence says of more than this moment."""
    if evidence.number("enqueued"):
        memory.enqueued_at = evidence.taken_at("enqueued")
    if (latest := evidence.number("replay_latest")) is not None:
        memory.all_since = None if latest else memory.all_since or now
    # A count taken soon after an id moved may still lack the events that moved it. It may fall: it is of 24 hours.
    settled_at = memory.moved_at + options.stale_after
    delivered, taken_at = evidence.number("delivered"), evidence.taken_at("delivered")
    if now < settled_at:
        memory.lowest = memory.delivered_at = None
    elif delivered is not None and taken_at is not None and taken_at >= settled_at:
        memory.lowest = delivered if memory.lowest is None else min(memory.lowest, delivered)
        if delivered > memory.lowest and memory.delivered_at is None:
            memory.delivered_at = taken_at


def _judge(options: ReplayOptions, memory: Memory, evidence: Evidence, now: float) -> Verdict:
    """What the ids and the evidence say together; notes in the memory what it is broken by."""
    gone = [key for key, channel in memory.channels.items() if channel.gone_at is not None]
    if gone:
        return Verdict(f"{len(gone)} of {len(memory.channels)} keys: {', '.join(gone)}"[:200], "gone")
    still = now - memory.moved_at
    if still < options.stale_after:
        memory.accused_by = []
        stuck = "events come, yet orders wait: look at the queue, its workers and WHMCS"
        return Verdict(stuck if evidence.number("waiting") else "events come", explained=True)
    accusations = _accusations(options, memory, evidence, now)
    if accusations:
        memory.accused_by = list(accusations)
        expiring = "waiting" in accusations and still >= options.retention * 5 / 6  # 60 of 72 hours
        words = f"no event for {format_duration(still)}: {', '.join(accusations.values())}"
        return Verdict(words, "expiring" if expiring else "broken")
    if missing := [name for name in memory.accused_by if evidence.is_missing(name)]:
        return Verdict(f"it was broken, as shown by {' and '.join(missing)}, of which nothing is known now", "unproved")
    memory.accused_by = []
    return _quiet(options, memory, evidence, now)


def _accusations(options: ReplayOptions, memory: Memory, evidence: Evidence, now: float) -> dict[str, str]:
    """The evidence that there was something to receive since an id last moved, in words."""
    named, found = evidence.options, {}
    orders = evidence.number("waiting") or 0.0
    if orders > 0 and (evidence.taken_at("waiting") or 0.0) > memory.moved_at and not _enqueues(options, memory, now):
        found["waiting"] = f"{orders:g} order{'s wait' if orders > 1 else ' waits'} ({named.waiting})"
    if memory.delivered_at is not None and now - memory.delivered_at >= options.stale_after:
        found["delivered"] = f"Salesforce counts events as delivered ({named.delivered})"
    failed_at, received_at = evidence.moment("errors"), evidence.moment("success")
    if failed_at is not None and failed_at > max(memory.moved_at, received_at or 0.0):
        found["errors"] = f"the log tells of a failed subscription, and of no event since ({named.errors})"
    return found


def _quiet(options: ReplayOptions, memory: Memory, evidence: Evidence, now: float) -> Verdict:
    """No id moves, and nothing says that one should."""
    if _enqueues(options, memory, now):
        return Verdict("no id moves, yet jobs are enqueued", explained=True)
    if evidence.number("waiting") == 0:
        return Verdict("quiet: no order waits for an event", explained=True)
    if not evidence.options.references():
        return Verdict("quiet or broken: no evidence is configured, so nothing can tell")
    return Verdict("quiet or broken: the evidence at hand says neither")


def _enqueues(options: ReplayOptions, memory: Memory, now: float) -> bool:
    """Whether events became jobs lately, after an id last moved."""
    at = memory.enqueued_at
    return at is not None and at > memory.moved_at and now - at < options.stale_after


def _oddities(options: ReplayOptions, memory: Memory, now: float) -> dict[str, float]:
    """What deserves a look, though it breaks nothing by itself."""
    moments = [odd for channel in memory.channels.values() for odd, at in channel.odd.items() if now - at < ODD_SECONDS]
    unstored = memory.enqueued_at is not None and memory.enqueued_at - memory.moved_at >= options.stale_after
    return {
        BACKWARDS: float(BACKWARDS in moments),
        FORMAT: float(FORMAT in moments),
        REPLAY_ALL: float(memory.all_since is not None and now - memory.all_since > options.replay_all_for),
        UNSTORED: float(unstored),
    }


# --- what the keys hold -----------------------------------------------------------------------------------------------


def _note(memory: Memory, values: Mapping[str, bytes | None], now: float, options: ReplayOptions) -> dict[str, str]:
    """Remember what the keys hold now; what people should know about that."""
    details = {} if memory.scanned else {"scan": "not all keys of the database were looked at yet"}
    for key, value in values.items():
        channel = memory.channels.get(key)
        if value is None:
            if channel and channel.gone_at is None:
                channel.gone_at = now
            continue
        kind, text = _written(value)
        if channel is None and len(memory.channels) >= CHANNELS:
            details["channels"] = f"more than {CHANNELS} keys match; the others are not followed"
        elif channel is None:
            memory.channels[key] = Channel(text, now, format=kind)
        elif channel.value != text:
            memory.channels[key] = Channel(text, now, format=kind, odd=channel.odd | _odd(channel, kind, text, now))
        else:
            channel.gone_at = None
    for key in [key for key, channel in memory.channels.items() if _forgotten(channel, now, options)]:
        del memory.channels[key]
        details["forgotten"] = key
    return details


def _written(value: bytes) -> tuple[str, str]:
    """How an id is written, and by what it is known again."""
    text = value.strip()
    if _DECIMAL.fullmatch(text):
        return "decimal", text.decode()
    return next(kind for kind, fits in _FORMATS if fits(text)), blake2b(value, digest_size=8).hexdigest()


def _is_json(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict | list | str)
    except (ValueError, RecursionError):
        return False


_FORMATS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("json", _is_json),
    ("base64", lambda text: len(text) >= 8 and bool(_BASE64.fullmatch(text))),
    ("other", lambda text: True),
)


def _odd(before: Channel, kind: str, text: str, now: float) -> dict[str, float]:
    """What is odd about this change. Ids are ordered only where both are plain numbers, and not even then for sure."""
    if before.format != kind:
        return {FORMAT: now}
    return {BACKWARDS: now} if kind == "decimal" and int(text) < int(before.value) else {}


def _forgotten(channel: Channel, now: float, options: ReplayOptions) -> bool:
    return channel.gone_at is not None and now - channel.gone_at > options.forget_after


# --- Redis ------------------------------------------------------------------------------------------------------------


async def _find(connection: Connection, options: ReplayOptions, context: ProbeContext, memory: Memory) -> set[str]:
    """Keys that match, from where the last scan stopped, within the budgets of keys and time.

    A key once found is asked for by name from then on, so a scan that does not finish misses only new ones.
    """
    if not _WILDCARD.search(options.keys):
        memory.scanned = True
        return {options.keys}
    found: set[str] = set()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + context.timeout_seconds * _SCAN_SHARE
    for _ in range(options.scan_budget // _SCAN_STEP):
        command = ["SCAN", memory.scan, "MATCH", options.keys, "COUNT", _SCAN_STEP]
        at, keys = _told((await ask(connection, command))[0])
        memory.scan = int(at)
        found |= {name for key in keys if (name := _name(key))}
        if memory.scan == 0:
            memory.scanned = True
            break
        if loop.time() > deadline or len(found) > CHANNELS:
            break
    return found


def _name(key: bytes) -> str:
    """The key as a name; empty for one that cannot be a label."""
    try:
        return key.decode() if len(key) <= KEY_BYTES else ""
    except UnicodeDecodeError:
        return ""


async def _values(connection: Connection, keys: list[str]) -> dict[str, bytes | None]:
    """What the keys hold; None for one that is not there, is empty or is no string.

    GETRANGE, so that a key with megabytes in it brings no more than it must; GET where only that is permitted.
    """
    replies = await ask(connection, *(["GETRANGE", key, 0, VALUE_BYTES - 1] for key in keys))
    if any(isinstance(reply, NoPermissionError) for reply in replies):
        replies = await ask(connection, *(["GET", key] for key in keys))
    return {key: _string(reply) for key, reply in zip(keys, replies, strict=True)}


def _string(reply: Reply) -> bytes | None:
    if isinstance(reply, RedisError) and str(reply).startswith("WRONGTYPE"):
        return None
    value: bytes | None = _told(reply)
    return value or None


def _told(reply: Reply) -> Any:
    if isinstance(reply, RedisError):
        raise refusal(reply)
    return reply


def _scans(options: ReplayOptions) -> int:
    """The most SCANs in a run."""
    return options.scan_budget // _SCAN_STEP if _WILDCARD.search(options.keys) else 0


def _keys_read(options: ReplayOptions) -> int:
    """The most keys whose value is read in a run."""
    return 2 * CHANNELS if _WILDCARD.search(options.keys) else 1


PROBE = ProbeType(
    name="replay",
    help="Salesforce's Platform Events move on: the replay ids that the portal keeps in Redis change.",
    options=ReplayOptions,
    measures=MEASURES,
    reasons=REASONS,
    run=_run,
    target_keys=frozenset({"url", "keys"}),
    open=_open,
    watch=_watch,
    resource_key=lambda options: options.url.get_secret_value(),
    parts=lambda options: {"oddities": frozenset(ODDITIES)},
    reads=lambda options: options.evidence.references(),
    cost=Cost(
        "One SCAN for each thousand keys of the database, up to `scan_budget` keys (none where `keys` is no pattern), and"
        " one GETRANGE for each channel, of up to 64 KiB; where that is not permitted, one GET as well.",
        "commands",
        most=lambda options: _scans(options) + 2 * _keys_read(options),
        rows=lambda options: _scans(options) * _SCAN_STEP + _keys_read(options),
    ),
    privileges=("`+ping`", "`+scan` where `keys` is a pattern", "`+getrange` (or `+get`) on `keys`"),
    example="""
type: replay
url: ${REDIS_URL}
keys: "sf:pe:replay:*"
evidence:
  waiting: sf-orders.orders_waiting
  errors: sf-events.last_match_age_seconds[refused]
warn: [unexplained_age_seconds > 2h, oddities > 0]
needs: [redis]
""",
)
