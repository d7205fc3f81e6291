"""The probe type bullmq against queues that BullMQ itself has written, in both of its layouts."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from redis import Redis

from monitor.core.probe import Fault
from monitor.probes.bullmq import FAILED_KEPT, PROBE, WORKERLESS_SECONDS, BullmqOptions
from monitor.sandbox.servers import RedisServer
from tests.probing import Held, eventually, held, open_failure
from tests.servers import TOOLS, free_port, tool

WRITER = Path(__file__).resolve().parent.parent / "bullmq" / "queue.cjs"
PACKAGES = TOOLS / "bullmq" / "node_modules"
COMMANDS_PER_QUEUE = 19
QUEUE = "order-provisioning"

Order = Callable[..., None]


@contextmanager
def bullmq(version: str, server: RedisServer) -> Iterator[Order]:
    """A process of Node with this version of BullMQ, that does what it is told."""
    node = tool("node")
    if node is None or not (PACKAGES / version).exists():
        pytest.skip("Node or the packages of BullMQ are missing (`make fetch` brings them)")
    process = subprocess.Popen(
        [node, str(WRITER), version, str(server.port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "NODE_PATH": str(PACKAGES)},
    )  # fmt: skip

    def order(do: str, queue: str = QUEUE, **more: Any) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": do, "queue": queue, **more}) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {}

    try:
        yield order
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module", params=["bullmq5", "bullmq6"])
def _written(request: pytest.FixtureRequest, servers_folder: Path) -> Iterator[tuple[RedisServer, Order]]:
    server = RedisServer(servers_folder / f"redis-of-{request.param}", free_port())
    server.start()
    try:
        with bullmq(request.param, server) as order:
            yield server, order
    finally:
        server.kill()


@pytest.fixture
def server(_written: tuple[RedisServer, Order]) -> RedisServer:
    """An empty Redis, for which BullMQ takes orders."""
    server, order = _written
    order("forget")
    with Redis.from_url(server.url) as client:
        client.flushall()
    return server


@pytest.fixture
def order(_written: tuple[RedisServer, Order], server: RedisServer) -> Order:
    """What tells BullMQ what to do; it has made the queue."""
    order = _written[1]
    order("make")
    return order


@asynccontextmanager
async def watched(server: RedisServer, **options: Any) -> AsyncIterator[Held]:
    async with held(PROBE, url=server.url, **{"queues": [QUEUE], **options}) as target:
        target.now = time.time()
        yield target


async def measured(target: Held, *, after: float = 0.0, queue: str = QUEUE) -> dict[str, float]:
    """The measurements of one queue."""
    reading = await target.run(after=after)
    return {name: parts[queue] for name, parts in reading.measurements.items() if queue in parts}  # type: ignore[operator, index]


async def later(target: Held, seconds: float, every: float = 15.0) -> dict[str, float]:
    """The measurements after looking on for so long."""
    for _ in range(int(seconds / every) - 1):
        await target.run(after=every)
    return await measured(target, after=every)


# --- what waits -------------------------------------------------------------------------------------------------------


async def test_a_new_queue_is_empty_and_well(order: Order, server: RedisServer) -> None:
    async with watched(server) as target:
        await target.run()
        found = await later(target, 300)
    assert set(found) == set(PROBE.measures) - {"failure_ratio"}
    assert set(found.values()) == {0.0}


async def test_what_waits_is_counted_and_the_oldest_tells_how_long(order: Order, server: RedisServer) -> None:
    order("add", count=3)
    order("add", count=2, opts={"priority": 5})
    async with watched(server) as target:
        found = await measured(target, after=40)
    assert (found["backlog"], found["active"], found["delayed"]) == (5, 0, 0)
    assert found["oldest_waiting_seconds"] == pytest.approx(40, abs=5)


async def test_a_paused_queue_keeps_its_backlog_and_says_so(order: Order, server: RedisServer) -> None:
    """Version 5 moves the list away, version 6 leaves it."""
    order("add", count=3)
    order("pause")
    async with watched(server) as target:
        await target.run()
        found = await later(target, 300)
        assert (found["backlog"], found["paused"], found["workerless"]) == (3, 1, 0)
        assert found["oldest_waiting_seconds"] == pytest.approx(300, abs=5)
        order("resume")
        assert (await measured(target))["paused"] == 0


async def test_how_fast_jobs_come_in_is_counted_between_runs(order: Order, server: RedisServer) -> None:
    async with watched(server) as target:
        order("add", count=7)
        assert "added_per_second" not in await measured(target)
        order("add", count=20)
        assert (await measured(target, after=10))["added_per_second"] == 2.0
        assert (await measured(target, after=10))["added_per_second"] == 0.0
        assert "added_per_second" not in await measured(target, after=-5)  # the clock was set back


async def test_a_flush_of_redis_takes_the_queue_and_the_count_starts_anew(order: Order, server: RedisServer) -> None:
    order("add", count=7)
    async with watched(server) as target:
        await target.run()
        with Redis.from_url(server.url) as other:
            other.flushall()
        error = await target.failure(after=10)
        assert (error.reason, target.fault(error), error.detail) == ("gone", Fault.TARGET, QUEUE)
        order("add", count=5)
        assert (await measured(target, after=10))["added_per_second"] == 0.25  # since the last run that saw it


# --- what is for later ------------------------------------------------------------------------------------------------


async def test_what_is_delayed_on_purpose_alarms_nobody(order: Order, server: RedisServer) -> None:
    order("add", count=50, opts={"delay": 3_600_000})
    async with watched(server) as target:
        await target.run()
        found = await later(target, 600)
    assert found["delayed"] == 50
    assert {found[name] for name in ("backlog", "delayed_overdue", "delayed_overdue_seconds", "workerless")} == {0}


async def test_what_is_overdue_is_counted_from_when_it_was_due(order: Order, server: RedisServer) -> None:
    order("add", count=4, opts={"delay": 60_000})
    order("add", count=1, opts={"delay": 3_600_000})
    async with watched(server) as target:
        found = await measured(target, after=100)
    assert (found["delayed"], found["delayed_overdue"]) == (5, 4)
    assert found["delayed_overdue_seconds"] == pytest.approx(40, abs=5)


async def test_a_delayed_job_waits_only_from_when_it_was_due(order: Order, server: RedisServer) -> None:
    """Its `timestamp` is when it was made: in `sim-management` that may be weeks ago."""
    order("add", opts={"delay": 600_000})
    with Redis.from_url(server.url) as other:
        job = other.zrange(f"bull:{QUEUE}:delayed", 0, 0)[0]
        other.zrem(f"bull:{QUEUE}:delayed", job)
        other.lpush(f"bull:{QUEUE}:wait", job)  # as a worker does when it is due
    async with watched(server) as target:
        found = await measured(target, after=620)
    assert found["oldest_waiting_seconds"] == pytest.approx(20, abs=5)


# --- who works --------------------------------------------------------------------------------------------------------


async def test_an_idle_worker_is_no_missing_one(order: Order, server: RedisServer) -> None:
    """Its mark in Redis flickers: it is gone for some seconds in every thirty."""
    order("work", how="completes")
    async with watched(server) as target:
        for seen in (True, False, False, True, False, False) * 5:
            with Redis.from_url(server.url) as other:
                if not seen:
                    other.delete(f"bull:{QUEUE}:stalled-check")
                else:
                    other.set(f"bull:{QUEUE}:stalled-check", "1")
            assert (await measured(target, after=15))["workerless"] == 0


async def test_work_that_waits_without_a_worker_is_workerless_after_a_while(order: Order, server: RedisServer) -> None:
    order("add")
    async with watched(server) as target:
        await target.run()
        assert (await measured(target, after=WORKERLESS_SECONDS + 1))["workerless"] == 0  # two samples prove nothing
        assert (await later(target, 30))["workerless"] == 1
        order("work", how="completes")
        await eventually(5, lambda: _worker_seen(server))
        assert (await measured(target, after=15))["workerless"] == 0


def _worker_seen(server: RedisServer) -> bool:
    with Redis.from_url(server.url) as other:
        return bool(other.exists(f"bull:{QUEUE}:stalled-check"))


async def test_overdue_jobs_are_work_that_waits(order: Order, server: RedisServer) -> None:
    order("add", opts={"delay": 1000})
    async with watched(server) as target:
        await target.run()
        assert (await later(target, 45))["workerless"] == 0
        assert (await later(target, 60))["workerless"] == 1


async def test_a_job_whose_worker_died_is_stalled_after_a_while(order: Order, server: RedisServer) -> None:
    order("add", count=2)
    order("work", how="hangs", options={"lockDuration": 60_000, "concurrency": 2})
    async with watched(server) as target:
        await eventually(5, lambda: _active(server) == 2)
        assert (await later(target, 300))["stalled"] == 0  # a long job whose lock lives is none
        with Redis.from_url(server.url) as other:
            locks = list(other.scan_iter(f"bull:{QUEUE}:*:lock"))
            assert len(locks) == 2
            other.delete(locks[0])  # as it ends when nobody renews it
            assert (await measured(target))["stalled"] == 0
            assert (await later(target, 60))["stalled"] == 1
            other.set(locks[0], "another worker")
            assert (await measured(target))["stalled"] == 0


def _active(server: RedisServer) -> int:
    with Redis.from_url(server.url) as other:
        return int(other.llen(f"bull:{QUEUE}:active"))


# --- what fails -------------------------------------------------------------------------------------------------------


async def test_failures_are_counted_once_no_attempt_is_left(order: Order, server: RedisServer) -> None:
    order("add", count=12, opts={"attempts": 1, "removeOnFail": FAILED_KEPT})
    order("add", count=3, opts={"attempts": 3, "backoff": {"type": "exponential", "delay": 60_000}})
    order("work", how="fails", options={"concurrency": 20})
    async with watched(server) as target:

        async def done() -> bool:
            target.now = time.time()
            return (await measured(target))["failed_recently"] == 12

        await eventually(5, done)
        order("rest")
        order("add", count=36, opts={"removeOnComplete": 100})
        order("work", how="completes", options={"concurrency": 20})
        await eventually(5, lambda: _finished(server) == 36)
        order("rest")
        target.now = time.time() + 1
        found = await measured(target)
        assert (found["delayed"], found["failure_ratio"]) == (3, 0.25)  # those tried again are no failures yet
        found = await measured(target, after=400)
        assert found["failed_recently"] == 0
        assert "failure_ratio" not in found


def _finished(server: RedisServer) -> int:
    with Redis.from_url(server.url) as other:
        return int(other.zcard(f"bull:{QUEUE}:completed"))


async def test_the_ratio_is_of_the_time_that_both_sets_cover(order: Order, server: RedisServer) -> None:
    """Only the last hundred completed jobs are kept, so older failures would weigh too much."""
    now = time.time()
    with Redis.from_url(server.url) as other:
        other.zadd(f"bull:{QUEUE}:completed", {f"c{n}": 1000 * (now - 60 + n / 2) for n in range(100)})
        other.zadd(f"bull:{QUEUE}:failed", {f"f{n}": 1000 * (now - 200 + n) for n in range(100)})
        other.zadd(f"bull:{QUEUE}:failed", {f"g{n}": 1000 * (now - 50 + n) for n in range(25)})
    async with watched(server) as target:
        target.now = now
        found = await measured(target)
    assert (found["failed_recently"], found["failure_ratio"]) == (125, 0.2)


async def test_a_full_set_of_failures_is_at_least_that_many(order: Order, server: RedisServer) -> None:
    with Redis.from_url(server.url) as other:
        other.zadd(f"bull:{QUEUE}:failed", {f"{n}": 1000 * time.time() for n in range(FAILED_KEPT)})
    async with watched(server) as target:
        reading = await target.run()
    assert reading.measurements["failed_recently"] == {QUEUE: 500.0}
    assert reading.details[f"{QUEUE} failed"].startswith("500 or more")


# --- what cannot be told ----------------------------------------------------------------------------------------------


async def test_a_queue_that_was_never_seen_is_ours_and_the_others_are_measured(
    order: Order, server: RedisServer
) -> None:
    order("add")
    async with watched(server, queues=[QUEUE, "sim-management"]) as target:
        error = await target.failure()
        assert (error.reason, target.fault(error), error.detail) == ("never-seen", Fault.ACCESS, "sim-management")
        assert error.reading.measurements["backlog"] == {QUEUE: 1.0}
        order("make", "sim-management")
        assert (await target.run()).measurements["backlog"] == {QUEUE: 1.0, "sim-management": 0.0}


async def test_another_prefix_is_another_queue(order: Order, server: RedisServer) -> None:
    order("add", prefix="{jobs}", count=2)
    async with watched(server, prefix="{jobs}") as target:
        assert (await measured(target))["backlog"] == 2
    async with watched(server, prefix="jobs") as target:
        assert (await target.failure()).reason == "never-seen"


async def test_keys_of_another_kind_are_told(server: RedisServer) -> None:
    with Redis.from_url(server.url) as other:
        other.set(f"bull:{QUEUE}:wait", "not a list")
    async with watched(server) as target:
        error = await target.failure()
    assert (error.reason, target.fault(error)) == ("layout", Fault.ACCESS)


async def test_without_redis_nothing_is_known_and_nothing_is_blamed() -> None:
    error = await open_failure(PROBE, url=f"redis://127.0.0.1:{free_port()}", queues=[QUEUE])
    assert (error.reason, PROBE.reason(error.reason).fault) == ("unreachable", Fault.ACCESS)


@pytest.mark.parametrize("queues", [[], ["with space"], ["twice", "twice"], [f"q{n}" for n in range(21)], ["a:b"]])
def test_names_that_cannot_be_queues_are_refused(queues: list[str]) -> None:
    with pytest.raises(ValidationError):
        BullmqOptions.model_validate({"url": "redis://localhost", "queues": queues})


# --- what it costs ----------------------------------------------------------------------------------------------------


async def test_a_run_costs_what_is_documented_and_writes_nothing(order: Order, server: RedisServer) -> None:
    order("make", "sim-management")
    order("add", count=200)
    order("work", how="hangs", options={"concurrency": 30})
    await eventually(5, lambda: _active(server) == 30)
    async with watched(server, queues=[QUEUE, "sim-management"]) as target:
        await target.run()
        with Redis.from_url(server.url) as other:
            before = _calls(other)
            await target.run()
            after = _calls(other)
    used = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    ours = {"hmget", "get", "llen", "lindex", "lrange", "zcard", "zcount", "zrange", "exists"}
    assert {name for name in used if name in ours} == ours
    heads, locks = 1, 20  # one queue has a head, and more active jobs than are looked at
    assert sum(used[name] for name in ours) == 2 * COMMANDS_PER_QUEUE + heads + locks


def _calls(client: Redis) -> dict[str, int]:
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in client.info("commandstats").items()}
