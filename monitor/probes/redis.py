"""Whether Redis answers and takes writes, how full it is, and what it throws away. It never writes to find out.

A run costs Redis one PING and one INFO (in a cluster, CLUSTER INFO as well). Where `prefixes` are given, once an hour the
keys are counted: up to 100 SCANs of 1000 keys in a run, until all were looked at.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from redis.exceptions import RedisError

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
    Value,
)
from monitor.core.quantity import Size
from monitor.probes._keyspace import STEP, STEPS_MOST, Count, go_on
from monitor.probes._redis import (
    REDIS_REASONS,
    Connection,
    RedisUrl,
    ask,
    closed,
    connected,
    parse_info,
    refusal,
    translated,
)

LOOKUPS = 100
"""A hit ratio of fewer lookups says nothing."""

HIT_WINDOW_SECONDS = 3600.0
"""A hit ratio of longer ago is no longer the state of now."""

MEASURES: Mapping[str, Measure] = {
    "ping_seconds": Measure("Time from PING to PONG on the held connection"),
    "memory_used_bytes": Measure("Memory that Redis has allocated"),
    "memory_max_bytes": Measure("The `maxmemory` of Redis; absent when it has none"),
    "memory_used_ratio": Measure("Memory used, of `maxmemory`, else of `memory_limit`, else of the host's memory"),
    "clients_used_ratio": Measure("Connected clients, of `maxclients`"),
    "evicted_keys_per_second": Measure("Keys thrown away for want of memory, since the run before"),
    "rejected_connections_per_second": Measure("Clients turned away at `maxclients`, since the run before"),
    "oom_errors_per_second": Measure("Writes refused for want of memory, since the run before"),
    "hit_ratio": Measure(f"Share of lookups that found their key, over the last {LOOKUPS} lookups or more"),
    "keys": Measure("Keys in all and by `prefixes`, counted once an hour: what FLUSHDB would destroy", split="prefix"),
    "evicts": Measure("1 if a full Redis throws keys away, sessions and jobs among them; 0 if not", kind="state"),
}

REASONS: Mapping[str, Reason] = {
    **REDIS_REASONS,
    TIMEOUT: Reason(
        Fault.TARGET,
        "Redis did not answer in time: look at `SLOWLOG GET` and the load of its host, then the network; of an address"
        " that never answered, whether it wants `redis://` where `url` says `rediss://`.",
    ),
    "noreplicas": Reason(
        Fault.TARGET, "Redis refuses writes because too few replicas follow it (`min-replicas-to-write`): look at them."
    ),
}

_WRITE_ERRORS: Mapping[str, str] = {"OOM": "oom", "NOREPLICAS": "noreplicas"}
"""Refused writes that PING does not show: the error's name as Redis counts it, and our reason."""


Prefix = Annotated[str, StringConstraints(pattern=r"^[^\s\[\]]{1,64}$")]


class RedisOptions(Options):
    url: RedisUrl
    role: Literal["primary", "any"] = "primary"  # `any` for a replica that is meant to be one
    memory_limit: Size | None = None  # of the container, for a Redis without `maxmemory`
    prefixes: tuple[Prefix, ...] = Field(default=(), max_length=20)  # of keys to count, such as `bull:`


def _open(options: RedisOptions, opening: Opening) -> AbstractAsyncContextManager[Connection]:  # noqa: ARG001
    return connected(options.url)


def _watch(options: RedisOptions, connection: Connection) -> AsyncIterator[str]:  # noqa: ARG001
    return closed(connection)


async def _run(options: RedisOptions, context: ProbeContext) -> Reading:
    connection = context.resource
    with translated():
        began = time.perf_counter()  # INFO is asked for afterwards: in one go, PONG would wait for it
        (pong,) = await ask(connection, ["PING"])
        answered = {"ping_seconds": time.perf_counter() - began} if pong == b"PONG" else {}
        (told,) = await ask(connection, ["INFO"])
        info = {} if isinstance(told, RedisError) else parse_info(told)
        cluster = await ask(connection, ["CLUSTER", "INFO"]) if info.get("cluster_enabled") == "1" else []
    reading = Reading(
        measurements={**answered, **_measure(info, options, context)},
        cursor=_remember(info, context),
        details=_describe(info),
    )
    for reply in (pong, told):
        if isinstance(reply, RedisError):
            raise _failure(refusal(reply), reading)
    if options.prefixes:
        reading = await _with_keys(reading, options, context)
    if info.get("role") == "slave" and options.role == "primary":
        raise ProbeError("readonly", "role slave", reading=reading)
    if info.get("master_link_status") == "down":
        raise ProbeError("masterdown", "master_link_status down", reading=reading)
    if any(b"cluster_state:fail" in reply for reply in cluster if isinstance(reply, bytes)):
        raise ProbeError("clusterdown", "cluster_state fail", reading=reading)
    if refused := _refused_writes(info, context):
        raise ProbeError(*refused, reading=reading)
    return reading


async def _with_keys(reading: Reading, options: RedisOptions, context: ProbeContext) -> Reading:
    """The reading, and how many keys there are, as far as they were counted. Raises ProbeError."""
    before = _before(context) or {}
    count = Count.load(before.get("keys"), options.prefixes, context.now)
    try:
        with translated():
            keys = await go_on(context.resource, count, context.timeout_seconds)
    except ProbeError as error:
        raise _failure(error, reading) from error
    cursor = {**reading.cursor, "keys": count.dump()} if reading.cursor else None
    return replace(reading, measurements={**reading.measurements, **({"keys": keys} if keys else {})}, cursor=cursor)


def _failure(error: ProbeError, reading: Reading) -> ProbeError:
    return ProbeError(error.reason, error.detail, reading=reading)


def _refused_writes(info: Mapping[str, str], context: ProbeContext) -> tuple[str, str] | None:
    """Why Redis refuses writes, told without writing: it has refused some since the run before, or is full."""
    for name, reason in _WRITE_ERRORS.items():
        refused = _grown(info, f"errors_{name}", context)
        if refused:
            return reason, f"{refused:.0f} writes refused since the run before"
    limit = _number(info, "maxmemory")
    used = _number(info, "used_memory")
    if limit and used is not None and info.get("maxmemory_policy") == "noeviction":
        counted = used - (_number(info, "mem_not_counted_for_evict") or 0)
        if counted >= limit:
            return "oom", f"{counted / limit:.0%} of maxmemory in use, and nothing may be evicted"
    return None


# --- measurements -----------------------------------------------------------------------------------------------------


def _measure(info: Mapping[str, str], options: RedisOptions, context: ProbeContext) -> dict[str, Value]:
    """What INFO holds; what it does not is absent, never 0."""
    used, limit = _number(info, "used_memory"), _number(info, "maxmemory")
    whole = limit or options.memory_limit or _number(info, "total_system_memory")
    measured = {
        "memory_used_bytes": used,
        "memory_max_bytes": limit or None,
        "memory_used_ratio": used / whole if used is not None and whole else None,
        "clients_used_ratio": _ratio(_number(info, "connected_clients"), _number(info, "maxclients")),
        "evicted_keys_per_second": _rate(info, "evicted_keys", context),
        "rejected_connections_per_second": _rate(info, "rejected_connections", context),
        "oom_errors_per_second": _rate(info, "errors_OOM", context),
        "hit_ratio": _hit_ratio(info, context),
        "evicts": None if limit is None else float(limit > 0 and info.get("maxmemory_policy") != "noeviction"),
    }
    return {name: value for name, value in measured.items() if value is not None}


def _number(info: Mapping[str, str], name: str) -> float | None:
    try:
        return float(info[name])
    except (KeyError, ValueError):
        return None


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _describe(info: Mapping[str, str]) -> dict[str, str]:
    shown = {
        "version": info.get("redis_version"),
        "role": info.get("role"),
        "policy": info.get("maxmemory_policy"),
        "loaded": f"{info['loading_loaded_perc']} %" if "loading_loaded_perc" in info else None,
        "link to primary": info.get("master_link_status"),
        "last save": info.get("rdb_last_bgsave_status"),
    }
    return {name: text for name, text in shown.items() if text}


# --- what the next run must remember ----------------------------------------------------------------------------------

_COUNTERS = ("evicted_keys", "rejected_connections")


def _remember(info: Mapping[str, str], context: ProbeContext) -> Json:
    """`{at, run_id, counters: {name: count}, lookups: [[at, hits, misses], …]}`; None (keep the last) without INFO.

    With `prefixes`, `keys` is added: a `Count`.
    """
    if "run_id" not in info:
        return None
    counters: dict[str, Json] = {
        name: _count(info, name) for name in (*_COUNTERS, *(f"errors_{e}" for e in _WRITE_ERRORS))
    }
    return {"at": context.now, "run_id": info["run_id"], "counters": counters, "lookups": _marks(info, context)}


def _count(info: Mapping[str, str], name: str) -> float:
    """A counter of INFO; `errors_X` is how often Redis has answered X (absent until it did, and before Redis 6.2)."""
    if name.startswith("errors_"):
        text = info.get(f"errorstat_{name.removeprefix('errors_')}", "").removeprefix("count=")
        return float(text) if text.isdecimal() else 0.0
    return _number(info, name) or 0.0


def _grown(info: Mapping[str, str], name: str, context: ProbeContext) -> float | None:
    """By how much a counter has grown since the run before; None on the first run.

    A restart or CONFIG RESETSTAT sets it to 0, so then it has grown to what it is.
    """
    before = _before(context)
    if before is None or "run_id" not in info:
        return None
    now, then = _count(info, name), before["counters"].get(name, 0.0)
    return now - then if before["run_id"] == info["run_id"] and now >= then else now


def _rate(info: Mapping[str, str], name: str, context: ProbeContext) -> float | None:
    grown, before = _grown(info, name, context), _before(context)
    seconds = context.now - before["at"] if before else 0.0
    return grown / seconds if grown is not None and seconds > 0 else None


def _marks(info: Mapping[str, str], context: ProbeContext) -> list[Json]:
    """Up to two earlier moments, `[at, hits, misses]`: at least LOOKUPS lookups lie between them.

    The ratio is measured from the older one on, so that it is there on every run and not on every hundredth lookup.
    """
    now: list[Json] = [context.now, _count(info, "keyspace_hits"), _count(info, "keyspace_misses")]
    marks = _usable_marks(info, context)
    if not marks or _lookups(marks[-1], now) >= LOOKUPS:
        marks = [*marks[-1:], now]
    return list(marks)


def _hit_ratio(info: Mapping[str, str], context: ProbeContext) -> float | None:
    marks = _usable_marks(info, context)
    if not marks or "run_id" not in info:
        return None
    _, hits, misses = marks[0]
    hit, missed = _count(info, "keyspace_hits") - hits, _count(info, "keyspace_misses") - misses
    return hit / (hit + missed) if hit + missed >= LOOKUPS else None


def _usable_marks(info: Mapping[str, str], context: ProbeContext) -> list[Any]:
    """The marks that are not too old and not from before a restart or reset."""
    before = _before(context)
    if before is None or before["run_id"] != info.get("run_id"):
        return []
    hits, misses = _count(info, "keyspace_hits"), _count(info, "keyspace_misses")
    return [
        mark
        for mark in before["lookups"]
        if 0 <= context.now - mark[0] <= HIT_WINDOW_SECONDS and mark[1] <= hits and mark[2] <= misses
    ]


def _lookups(then: Any, now: Any) -> float:
    return float(now[1] - then[1] + now[2] - then[2])


def _before(context: ProbeContext) -> dict[str, Any] | None:
    return context.cursor if isinstance(context.cursor, dict) else None


PROBE = ProbeType(
    name="redis",
    help="Redis answers and takes writes; its memory and clients are within limits.",
    options=RedisOptions,
    measures=MEASURES,
    reasons=REASONS,
    run=_run,
    target_keys=frozenset({"url"}),
    open=_open,
    watch=_watch,
    resource_key=lambda options: options.url.get_secret_value(),
    parts=lambda options: {"keys": frozenset(options.prefixes)},
    cost=Cost(
        "One PING and one INFO; in a cluster CLUSTER INFO as well. With `prefixes`, once an hour the names of all keys are"
        " looked at: up to 100 SCANs of 1000 in a run, until all were counted. Nothing is written, no value is read.",
        "commands",
        most=lambda options: 3 + (STEPS_MOST if options.prefixes else 0),
        rows=lambda options: STEPS_MOST * STEP if options.prefixes else 0,
    ),
    privileges=(
        "`+ping +info`, on no key",
        "`+scan` for `prefixes` (it shows the names of all keys)",
        "`+select` for a database other than 0, `+cluster|info` for a node of a cluster",
    ),
    example="""
type: redis
url: ${REDIS_URL}
prefixes: ["bull:", "sf:pe:replay:"]
warn: [memory_used_ratio > 80%, evicts == 1]
fail: [memory_used_ratio > 95%, ping_seconds > 1s]
""",
)
