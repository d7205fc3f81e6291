"""Whether the portal's BullMQ queues are worked off: what waits and for how long, what fails, and whether a worker lives.

Read from the keys that BullMQ keeps in Redis (https://docs.bullmq.io; the same in versions 5 and 6, except that 5 renames
`wait` to `paused` while a queue is paused). Nothing is written, and no script is run.

A run costs Redis, for each queue, 19 commands, and one more for each of up to 20 active and 3 waiting jobs; each looks at
the end of a list, at one key, or counts in a sorted set (O(log n)). They go in two batches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Annotated, Any

import msgspec
from pydantic import Field, StringConstraints, field_validator
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

QUEUES_MOST = 20

COMPLETED_KEPT, FAILED_KEPT = 100, 500
"""How many finished jobs the portal's queues keep (`removeOnComplete`, `removeOnFail`): so many may be more."""

FINISHED_LEAST = 10
"""A failure ratio of fewer jobs says nothing."""

OVERDUE_SECONDS = 5.0  # a worker promotes a delayed job within milliseconds
WORKERLESS_OVERDUE_SECONDS = 60.0

# A worker's mark in `stalled-check` lives 30 s and is renewed every 30 s, so now and then it is not there.
WORKERLESS_SECONDS = 90.0
WORKERLESS_SAMPLES = 4

# A dead worker's lock ends within 30 s, and within another 30 s a living worker takes the job back.
STALLED_SECONDS = 60.0
ACTIVE_LOOKED_AT = 20
HEADS_MOST = 3  # the oldest waiting, paused and prioritized job

MEASURES: Mapping[str, Measure] = {
    "backlog": Measure("Jobs that could be worked on: waiting, paused and prioritized ones", split="queue"),
    "oldest_waiting_seconds": Measure("How long the oldest of them has waited; 0 without one", split="queue"),
    "delayed": Measure("Jobs for later, retries among them; a queue may be full of them on purpose", split="queue"),
    "delayed_overdue": Measure("Delayed jobs whose time came, and that nobody took up", split="queue"),
    "delayed_overdue_seconds": Measure("How long the first of them is overdue; 0 without one", split="queue"),
    "active": Measure("Jobs that a worker has taken", split="queue"),
    "stalled": Measure(
        f"Active jobs that no worker has held for {STALLED_SECONDS:.0f} s and none took back", split="queue"
    ),
    "failed_recently": Measure(
        f"Jobs that failed for good within `failed_window`; {FAILED_KEPT} is at least that many", split="queue"
    ),
    "failure_ratio": Measure(
        f"Share of the jobs finished within `failed_window` that failed; absent for fewer than {FINISHED_LEAST}",
        split="queue",
    ),
    "added_per_second": Measure("Jobs added since the run before", split="queue"),
    "paused": Measure("1 if somebody has paused the queue, 0 if not", split="queue", kind="state"),
    "workerless": Measure(
        f"1 if work waits and no worker was seen for {WORKERLESS_SECONDS:.0f} s, 0 if not", split="queue", kind="state"
    ),
}

REASONS: Mapping[str, Reason] = {
    "gone": Reason(
        Fault.TARGET,
        "A queue that was there is gone, with the jobs in it: was Redis flushed or restored? Compare the orders in"
        " Salesforce with those that were provisioned.",
    ),
    "never-seen": Reason(
        Fault.ACCESS,
        "No such queue was ever seen: check its name, `prefix` and the database number in `url`; the BFF makes it when"
        " it starts.",
    ),
    "layout": Reason(
        Fault.ACCESS, "The keys are not laid out as BullMQ 5 or 6 does it: compare the BFF's version with `prefix`."
    ),
    # What ails Redis is told by the probe of Redis. Here it only means that nothing is known about the queues.
    TIMEOUT: Reason(Fault.ACCESS, "Redis did not answer in time, so nothing is known about the queues."),
    **{
        name: replace(reason, fault=Fault.ACCESS, advice=f"Nothing is known about the queues. {reason.advice}")
        for name, reason in REDIS_REASONS.items()
    },
}

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_{}.-]{1,64}$")]


class BullmqOptions(Options):
    url: RedisUrl
    prefix: Word = "bull"  # `{bull}` where Redis is a cluster
    queues: tuple[Word, ...] = Field(min_length=1, max_length=QUEUES_MOST)
    failed_window: Duration = Field(default=300.0, description="How far back failures are counted.")

    @field_validator("queues")
    @classmethod
    def _each_once(cls, queues: tuple[str, ...]) -> tuple[str, ...]:
        if twice := next((name for name in queues if queues.count(name) > 1), None):
            raise ValueError(f'names "{twice}" twice')
        return queues


@dataclass
class Memory:
    """The cursor, of one queue: how many jobs were ever added, since when no worker and which jobs' locks are missed.

    Times are wall seconds. `lockless` is by a digest of the job's id, which may be a customer's.
    """

    at: float
    added: float
    unseen_since: float | None = None
    unseen_samples: int = 0
    lockless: dict[str, float] = field(default_factory=dict)

    def dump(self) -> Json:
        return {
            "at": self.at, "added": self.added, "unseen_since": self.unseen_since, "unseen_samples": self.unseen_samples,
            "lockless": dict(self.lockless),
        }  # fmt: skip


@dataclass(frozen=True)
class State:
    """The first batch of replies about one queue, in the order of `_looks`."""

    meta: Sequence[bytes | None]
    added: bytes | None
    waiting: int
    paused: int
    prioritized: int
    heads: Sequence[str]  # the oldest of each of the three
    delayed: int
    overdue: int
    first_due: float | None  # wall seconds
    active: Sequence[str]
    active_count: int
    failed: int
    completed: int
    completed_kept: int
    first_completed_ms: float | None
    worker_seen: bool

    @property
    def exists(self) -> bool:
        return self.added is not None or any(part is not None for part in self.meta)

    @property
    def is_paused(self) -> bool:
        return self.meta[0] == b"1" or self.paused > 0

    @property
    def backlog(self) -> int:
        return self.waiting + self.paused + self.prioritized


def _open(options: BullmqOptions, opening: Opening) -> AbstractAsyncContextManager[Connection]:  # noqa: ARG001
    return connected(options.url)


def _watch(options: BullmqOptions, connection: Connection) -> AsyncIterator[str]:  # noqa: ARG001
    return closed(connection)


async def _run(options: BullmqOptions, context: ProbeContext) -> Reading:
    keys = {name: f"{options.prefix}:{name}:" for name in options.queues}
    since_ms = 1000 * (context.now - options.failed_window)
    with translated():
        looks = [_looks(key, context.now, since_ms) for key in keys.values()]
        replies = _told(await ask(context.resource, *(command for commands in looks for command in commands)))
        size = len(looks[0])
        states = {
            name: _state(replies[size * number : size * (number + 1)]) for number, name in enumerate(options.queues)
        }
        closer = [_closer_looks(keys[name], state, since_ms) for name, state in states.items()]
        found = iter(_told(await ask(context.resource, *(command for commands in closer for command in commands))))
    before = context.cursor if isinstance(context.cursor, dict) else {}
    parts: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    memories: dict[str, Json] = {name: kept for name, kept in before.items() if name in keys}
    details: dict[str, str] = {}
    for (name, state), commands in zip(states.items(), closer, strict=True):
        answers = [next(found) for _ in commands]
        if not state.exists:
            continue
        memory = Memory(**memories[name]) if name in memories else None
        measured, remembered = _measure(state, answers, memory, context.now)
        for measure, value in measured.items():
            parts[measure][name] = value
        memories[name] = remembered.dump()
        details |= _describe(name, state)
    measurements: dict[str, Value] = {name: split for name, split in parts.items() if split}
    reading = Reading(measurements, cursor=memories, details=details)
    return _judge(states, memories, reading)


def _judge(states: Mapping[str, State], memories: Mapping[str, Json], reading: Reading) -> Reading:
    missing = [name for name, state in states.items() if not state.exists]
    gone = [name for name in missing if name in memories]
    if gone:
        raise ProbeError("gone", ", ".join(gone), reading=reading)
    if missing:
        raise ProbeError("never-seen", ", ".join(missing), reading=reading)
    return reading


# --- Redis ------------------------------------------------------------------------------------------------------------

Command = Sequence[object]


def commands(options: BullmqOptions) -> list[Command]:
    """Every command that a run may send, on the keys of these queues: what its user must be allowed to do."""
    keys = [f"{options.prefix}:{name}:" for name in options.queues]
    job = [["HMGET", f"{keys[0]}1", "timestamp", "processedOn", "opts"], ["EXISTS", f"{keys[0]}1:lock"]]
    return [*(command for key in keys for command in _looks(key, 0.0, 0.0)), *job]


def _looks(key: str, now: float, since_ms: float) -> list[Command]:
    """What is asked about every queue: `_state` reads the replies in this order."""
    overdue = f"{int(1000 * (now - OVERDUE_SECONDS)) << 12}"
    return [
        ["HMGET", f"{key}meta", "paused", "version", "opts.maxLenEvents"],
        ["GET", f"{key}id"],
        ["LLEN", f"{key}wait"],
        ["LLEN", f"{key}paused"],
        ["ZCARD", f"{key}prioritized"],
        ["LINDEX", f"{key}wait", -1],  # the newest is at 0
        ["LINDEX", f"{key}paused", -1],
        ["ZRANGE", f"{key}prioritized", 0, 0],  # the oldest of the highest priority
        ["ZCARD", f"{key}delayed"],
        ["ZCOUNT", f"{key}delayed", "-inf", overdue],
        ["ZRANGE", f"{key}delayed", 0, 0, "WITHSCORES"],
        ["LRANGE", f"{key}active", -ACTIVE_LOOKED_AT, -1],
        ["LLEN", f"{key}active"],
        ["ZCOUNT", f"{key}failed", since_ms, "+inf"],
        ["ZCOUNT", f"{key}completed", since_ms, "+inf"],
        ["ZCARD", f"{key}completed"],
        ["ZRANGE", f"{key}completed", 0, 0, "WITHSCORES"],
        ["EXISTS", f"{key}stalled-check"],
    ]


def _state(replies: Sequence[Reply]) -> State:
    (
        meta, added, waiting, paused, prioritized, wait_head, paused_head, prioritized_head, delayed, overdue,
        first_delayed, active, active_count, failed, completed, completed_kept, first_completed, worker,
    ) = replies  # fmt: skip
    heads = [head for head in (wait_head, paused_head, *prioritized_head) if head is not None]
    return State(
        meta, added, waiting, paused, prioritized, _names(heads), delayed, overdue, _due(first_delayed),
        _names(active), active_count, failed, completed, completed_kept,
        float(first_completed[1]) if first_completed else None, bool(worker),
    )  # fmt: skip


def _due(first_delayed: Sequence[bytes]) -> float | None:
    """When the first delayed job is due: the score is milliseconds times 4096, plus a serial number."""
    return (int(float(first_delayed[1])) >> 12) / 1000 if first_delayed else None


def _names(ids: Iterable[bytes]) -> list[str]:
    return [name.decode(errors="surrogateescape") for name in ids]


def _closer_looks(key: str, state: State, since_ms: float) -> list[Command]:
    """What the first replies make one ask: since when the oldest wait, which jobs are held, what failed since when."""
    return [
        *(["HMGET", _bytes(f"{key}{job}"), "timestamp", "processedOn", "opts"] for job in state.heads),
        *(["EXISTS", _bytes(f"{key}{job}:lock")] for job in state.active),
        ["ZCOUNT", f"{key}failed", _whole_since_ms(state, since_ms), "+inf"],
    ]


def _bytes(key: str) -> bytes:
    return key.encode(errors="surrogateescape")


def _whole_since_ms(state: State, since_ms: float) -> float:
    """Since when both sets are whole: with all that are kept within the window, older ones were thrown away."""
    cut = state.completed == state.completed_kept >= COMPLETED_KEPT
    return max(since_ms, state.first_completed_ms or 0.0) if cut else since_ms


def _told(replies: Sequence[Reply]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, RedisError):
            if str(reply).startswith("WRONGTYPE"):
                raise ProbeError("layout", "a key of the queue is of another type than BullMQ's")
            raise refusal(reply)
    return list(replies)


# --- measurements -----------------------------------------------------------------------------------------------------


def _measure(
    state: State, answers: Sequence[Any], memory: Memory | None, now: float
) -> tuple[dict[str, float], Memory]:
    """What is known of one queue, and what to remember of it."""
    heads, locks = answers[: len(state.heads)], answers[len(state.heads) : -1]
    remembered = _remember(state, locks, memory, now)
    waited = [since for head in heads if (since := _waiting_since(head)) is not None]
    overdue_seconds = max(0.0, now - state.first_due) if state.first_due is not None else 0.0
    failed_of_whole = answers[-1]
    finished = failed_of_whole + state.completed
    measured: dict[str, float | None] = {
        "backlog": state.backlog,
        "oldest_waiting_seconds": max(0.0, now - min(waited)) if waited else (None if state.backlog else 0.0),
        "delayed": state.delayed,
        "delayed_overdue": state.overdue,
        "delayed_overdue_seconds": overdue_seconds if state.overdue else 0.0,
        "active": state.active_count,
        "stalled": sum(now - since >= STALLED_SECONDS for since in remembered.lockless.values()),
        "failed_recently": state.failed,
        "failure_ratio": failed_of_whole / finished if state.completed_kept and finished >= FINISHED_LEAST else None,
        "added_per_second": _rate(remembered, memory),
        "paused": state.is_paused,
        "workerless": _is_workerless(state, remembered, overdue_seconds, now),
    }
    return {name: float(value) for name, value in measured.items() if value is not None}, remembered


def _remember(state: State, locks: Sequence[int], memory: Memory | None, now: float) -> Memory:
    added = _number(state.added) or 0.0
    lockless = {
        _digest(job): min(now, memory.lockless.get(_digest(job), now) if memory else now)
        for job, locked in zip(state.active, locks, strict=True)
        if not locked
    }
    if state.worker_seen:
        return Memory(now, added, lockless=lockless)
    since = memory.unseen_since if memory and memory.unseen_since is not None else now
    samples = memory.unseen_samples if memory else 0
    return Memory(now, added, min(now, since), samples + 1, lockless)


def _is_workerless(state: State, memory: Memory, overdue_seconds: float, now: float) -> bool:
    """Nobody was seen for so long that it is no flicker, and there is something to do."""
    work = state.backlog > 0 or overdue_seconds > WORKERLESS_OVERDUE_SECONDS
    unseen = memory.unseen_since is not None and now - memory.unseen_since >= WORKERLESS_SECONDS
    return work and not state.is_paused and unseen and memory.unseen_samples >= WORKERLESS_SAMPLES


def _waiting_since(head: Sequence[bytes | None]) -> float | None:
    """Since when a job has waited, in wall seconds; None if it is gone or of no known form.

    Not since it was made: it may have been meant for later (`opts.delay`), or have been tried before (`processedOn`).
    """
    timestamp, processed, opts = head
    made = _number(timestamp)
    if made is None:
        return None
    return max(made + _delay(opts), _number(processed) or 0.0) / 1000


class _JobOptions(msgspec.Struct):
    delay: float = 0.0


def _delay(opts: bytes | None) -> float:
    try:
        return msgspec.json.decode(opts or b"{}", type=_JobOptions).delay
    except msgspec.DecodeError:
        return 0.0


def _rate(now: Memory, before: Memory | None) -> float | None:
    """Jobs per second; a flush of Redis sets the count to 0, so then it has grown to what it is."""
    if before is None or now.at <= before.at:
        return None
    return (now.added - before.added if now.added >= before.added else now.added) / (now.at - before.at)


def _number(text: bytes | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None


def _digest(job: str) -> str:
    return blake2b(_bytes(job), digest_size=8).hexdigest()


def _describe(name: str, state: State) -> dict[str, str]:
    details = {}
    version = state.meta[1]
    if version:
        details[f"{name} made by"] = version.decode(errors="replace")[:60]
    if state.failed >= FAILED_KEPT:
        details[f"{name} failed"] = f"{FAILED_KEPT} or more: BullMQ keeps no more of them"
    return details


PROBE = ProbeType(
    name="bullmq",
    help="The BullMQ queues are worked off: nothing waits too long, fails too often or lacks a worker.",
    options=BullmqOptions,
    measures=MEASURES,
    reasons=REASONS,
    run=_run,
    target_keys=frozenset({"url", "prefix", "queues"}),
    open=_open,
    watch=_watch,
    resource_key=lambda options: options.url.get_secret_value(),
    parts=lambda options: dict.fromkeys(MEASURES, frozenset(options.queues)),
    cost=Cost(
        "For each queue 19 commands, and one more for each of up to 20 active and 3 waiting jobs, in two batches. Each looks"
        " at the end of a list or at one key, or counts in a sorted set: O(log n) at most, whatever waits.",
        "commands",
        most=lambda options: len(options.queues) * (19 + ACTIVE_LOOKED_AT + HEADS_MOST),
        rows=lambda options: len(options.queues) * (9 + ACTIVE_LOOKED_AT + 3 * HEADS_MOST),
    ),
    privileges=(
        "`+ping +get +hmget +exists +llen +lindex +lrange +zcard +zcount +zrange`, on the keys of `prefix` only",
        "`+select` for a database other than 0",
    ),
    example="""
type: bullmq
url: ${REDIS_URL}
queues: [order-provisioning]
warn: [oldest_waiting_seconds > 5m, failed_recently > 5]
fail: [workerless == 1, stalled > 0]
needs: [redis]
""",
)
