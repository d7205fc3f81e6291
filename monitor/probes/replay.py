"""When Salesforce's Platform Events last moved on: how long the replay id of each channel has been the same.

The BFF keeps the id of the last event it has seen under a key of Redis for each channel. An id is opaque (decimal,
base64 or JSON, depending on the client), so it is only compared with itself, and only as a digest.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from pydantic import Field
from redis.exceptions import NoPermissionError, RedisError

from monitor.core.probe import (
    TIMEOUT,
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
)
from monitor.core.quantity import Duration
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
_WILDCARD = re.compile(r"[*?\[\\]")
_SCAN_STEP = 1000
_SCAN_SHARE = 0.4  # of the run's time

MEASURES: Mapping[str, Measure] = {
    "age_seconds": Measure("Time since the replay id last changed, or was first seen", split="channel", kind="age"),
    "keys": Measure("Replay keys that hold an id"),
}

REASONS: Mapping[str, Reason] = {
    "gone": Reason(
        Fault.TARGET,
        "A replay key that was there is gone: was Redis flushed or restored? Missed events come with"
        " SF_EVENTS_REPLAY=ALL, within 72 hours.",
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


class ReplayOptions(Options):
    url: RedisUrl
    keys: str = Field(default="sf:pe:replay:*", min_length=1, max_length=KEY_BYTES)  # a glob, as in SCAN
    scan_budget: int = Field(default=100_000, ge=_SCAN_STEP)  # keys of the database looked at in one run
    forget_after: Duration = 3 * 86400.0  # a key gone this long is no longer missed; events are kept 72 h


@dataclass
class Channel:
    """What is remembered of one replay key. Times are wall seconds."""

    digest: str
    changed_at: float
    gone_at: float | None = None


@dataclass
class Memory:
    """The cursor: the channels by key, and where a scan that did not finish goes on."""

    channels: dict[str, Channel] = field(default_factory=dict)
    scan: int = 0
    scanned: bool = False  # the whole database was looked through at least once

    @classmethod
    def load(cls, cursor: Json) -> Memory:
        kept: dict[str, Any] = cursor if isinstance(cursor, dict) else {}
        channels = {key: Channel(*values) for key, values in kept.get("channels", {}).items()}
        return cls(channels, kept.get("scan", 0), kept.get("scanned", False))

    def dump(self) -> Json:
        """`{channels: {key: [digest, changed_at, gone_at]}, scan, scanned}`."""
        channels: dict[str, Json] = {
            key: [channel.digest, channel.changed_at, channel.gone_at] for key, channel in self.channels.items()
        }
        return {"channels": channels, "scan": self.scan, "scanned": self.scanned}


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
    prefix = _WILDCARD.split(options.keys)[0] if _WILDCARD.search(options.keys) else ""
    reading = Reading(
        measurements={
            "keys": float(sum(value is not None for value in values.values())),
            "age_seconds": {
                key.removeprefix(prefix) or key: max(0.0, context.now - channel.changed_at)
                for key, channel in memory.channels.items()
            },
        },
        cursor=memory.dump(),
        details=details,
    )
    return _judge(memory, reading)


def _judge(memory: Memory, reading: Reading) -> Reading:
    if not memory.channels:
        partly = "" if memory.scanned else "; not all keys of the database were looked at yet"
        raise ProbeError("never-seen", f"no key matches{partly}", reading=reading)
    gone = [key for key, channel in memory.channels.items() if channel.gone_at is not None]
    if gone:
        raise ProbeError(
            "gone", f"{len(gone)} of {len(memory.channels)} keys: {', '.join(gone)}"[:200], reading=reading
        )
    return reading


def _note(memory: Memory, values: Mapping[str, bytes | None], now: float, options: ReplayOptions) -> dict[str, str]:
    """Remember what the keys hold now; what people should know about that."""
    details = {} if memory.scanned else {"scan": "not all keys of the database were looked at yet"}
    for key, value in values.items():
        channel = memory.channels.get(key)
        if value is None:
            if channel and channel.gone_at is None:
                channel.gone_at = now
            continue
        digest = blake2b(value, digest_size=8).hexdigest()
        if channel is None and len(memory.channels) >= CHANNELS:
            details["channels"] = f"more than {CHANNELS} keys match; the others are not followed"
        elif channel is None or channel.digest != digest:
            memory.channels[key] = Channel(digest, now)
        else:
            channel.gone_at = None
    for key in [key for key, channel in memory.channels.items() if _forgotten(channel, now, options)]:
        del memory.channels[key]
        details["forgotten"] = key
    return details


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
)
