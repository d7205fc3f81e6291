"""The queue `order-provisioning` as BullMQ keeps it in Redis: the same keys, types and meanings.

`wait` and `active` are lists (the newest at the left), `delayed`, `completed` and `failed` sorted sets, each
job a hash. Times are epoch milliseconds. Real BullMQ moves jobs by Lua scripts; transactions do for one worker.
"""

from __future__ import annotations

import json
import time
from typing import Any

QUEUE = "bull:order-provisioning"
ATTEMPTS = 3
BACKOFF_MILLISECONDS = 5000
LOCK_MILLISECONDS = 30000
KEEP_COMPLETED, KEEP_FAILED = 100, 500

Client = Any
"""A `redis.asyncio.Redis` that decodes; its own types do not know that and say bytes or str everywhere."""


def _now() -> int:
    return int(time.time() * 1000)


async def add(redis: Client, data: dict[str, Any]) -> str:
    """Put a job at the end of the queue; its id."""
    job = str(await redis.incr(f"{QUEUE}:id"))
    fields = {"name": "provision", "data": json.dumps(data), "opts": json.dumps({"attempts": ATTEMPTS}),
              "timestamp": _now(), "delay": 0, "priority": 0}  # fmt: skip
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hset(f"{QUEUE}:meta", mapping={"version": "bullmq:5.81.5", "opts.maxLenEvents": 10000})
        pipe.hset(f"{QUEUE}:{job}", mapping=fields)
        pipe.lpush(f"{QUEUE}:wait", job)
        pipe.xadd(f"{QUEUE}:events", {"event": "waiting", "jobId": job}, maxlen=10000)
        await pipe.execute()
    return job


async def look_after(redis: Client) -> None:
    """What a worker does besides working: wake jobs whose delay is over, take back those whose worker died."""
    await redis.set(f"{QUEUE}:stalled-check", _now(), px=LOCK_MILLISECONDS)
    for job in await redis.zrangebyscore(f"{QUEUE}:delayed", 0, (_now() << 12) | 0xFFF):
        async with redis.pipeline(transaction=True) as pipe:
            pipe.zrem(f"{QUEUE}:delayed", job)
            pipe.lpush(f"{QUEUE}:wait", job)
            await pipe.execute()
    for job in await redis.lrange(f"{QUEUE}:active", 0, -1):
        if not await redis.exists(f"{QUEUE}:{job}:lock"):
            async with redis.pipeline(transaction=True) as pipe:
                pipe.lrem(f"{QUEUE}:active", 1, job)
                pipe.rpush(f"{QUEUE}:wait", job)
                pipe.hincrby(f"{QUEUE}:{job}", "stc", 1)
                await pipe.execute()


async def take(redis: Client) -> tuple[str, dict[str, Any]] | None:
    """The oldest waiting job and its data, now active and locked; None if none waits."""
    job = await redis.rpoplpush(f"{QUEUE}:wait", f"{QUEUE}:active")
    if job is None:
        return None
    async with redis.pipeline(transaction=True) as pipe:
        pipe.set(f"{QUEUE}:{job}:lock", "sandbox", px=LOCK_MILLISECONDS)
        pipe.hset(f"{QUEUE}:{job}", "processedOn", str(_now()))
        pipe.hincrby(f"{QUEUE}:{job}", "ats", 1)
        pipe.hget(f"{QUEUE}:{job}", "data")
        *_, data = await pipe.execute()
    return str(job), json.loads(data or "{}")


async def complete(redis: Client, job: str) -> None:
    """The job is done; the latest hundred are kept."""
    await _finish(redis, job, "completed", KEEP_COMPLETED, {"returnvalue": "null"})


async def fail(redis: Client, job: str, why: str) -> None:
    """An attempt went wrong: the job is tried again after a growing delay, and is failed after the third."""
    attempts = await redis.hincrby(f"{QUEUE}:{job}", "atm", 1)
    if attempts >= ATTEMPTS:
        await _finish(redis, job, "failed", KEEP_FAILED, {"failedReason": why})
        return
    due = _now() + BACKOFF_MILLISECONDS * 2 ** (attempts - 1)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hset(f"{QUEUE}:{job}", "failedReason", why)
        pipe.lrem(f"{QUEUE}:active", 1, job)
        pipe.delete(f"{QUEUE}:{job}:lock")
        pipe.zadd(f"{QUEUE}:delayed", {job: due << 12})
        await pipe.execute()


async def _finish(redis: Client, job: str, where: str, keep: int, fields: dict[str, str]) -> None:
    surplus = await redis.zrange(f"{QUEUE}:{where}", 0, -keep)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hset(f"{QUEUE}:{job}", mapping={**fields, "finishedOn": str(_now())})
        pipe.lrem(f"{QUEUE}:active", 1, job)
        pipe.delete(f"{QUEUE}:{job}:lock", *(f"{QUEUE}:{old}" for old in surplus))
        if surplus:
            pipe.zrem(f"{QUEUE}:{where}", *surplus)
        pipe.zadd(f"{QUEUE}:{where}", {job: _now()})
        pipe.xadd(f"{QUEUE}:events", {"event": where, "jobId": job}, maxlen=10000)
        await pipe.execute()
