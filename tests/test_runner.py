"""The runner: deadlines, outcomes, and what is held open between runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.core.config import FailAfter, ProbeConfig
from monitor.core.probe import Fault, Opening, Options, Outcome, ProbeContext, ProbeError, ProbeType, Reading, Reason
from monitor.runner import FRESH_SECONDS, Runner

REASONS = {
    "unreachable": Reason(Fault.TARGET, "Look."),
    "full": Reason(Fault.TARGET, "Look."),
    "auth": Reason(Fault.ACCESS, "Look."),
}


class JumpingClock(SystemClock):
    """Real time, with jumps ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@dataclass
class Server:
    """A made-up target that counts what is opened, and breaks to order."""

    opened: int = 0
    closed: int = 0
    refuse: str = ""  # the reason for which it takes no new connection
    broken: set[int] = field(default_factory=set)  # connections that fail
    hanging: set[int] = field(default_factory=set)  # connections that never answer
    most_at_once: int = 0
    running: int = 0

    @asynccontextmanager
    async def open(self, options: Options, opening: Opening) -> AsyncIterator[int]:
        if self.refuse:
            raise ProbeError(self.refuse, "refused")
        self.opened += 1
        try:
            yield self.opened
        finally:
            self.closed += 1

    async def run(self, options: Options, context: ProbeContext) -> Reading:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await asyncio.sleep(0.01)
            if context.resource in self.hanging:
                await asyncio.Event().wait()
            if context.resource in self.broken:
                raise ProbeError("unreachable", "connection lost")
            return Reading({"number": context.resource})
        finally:
            self.running -= 1


def probe(run: Callable[..., Any], *, name: str = "it", timeout: float = 5.0, **more: Any) -> ProbeConfig:
    made_up = ProbeType("made-up", "For tests", Options, {}, REASONS, run, frozenset(), **more)
    return ProbeConfig(name, made_up, Options(), 15, timeout, FailAfter(), 2, 1)


def held_by(server: Server, **more: Any) -> ProbeConfig:
    return probe(server.run, open=server.open, **more)


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
async def runner(clock: JumpingClock) -> AsyncIterator[Runner]:
    made = Runner(clock)
    yield made
    await made.close()


async def test_a_run_that_brings_a_reading_home_is_a_success(runner: Runner) -> None:
    async def run(options: Options, context: ProbeContext) -> Reading:
        return Reading({"load": 1.0}, cursor=[1])

    result = await runner.run(probe(run))
    assert (result.outcome, result.reason, result.measurements, result.cursor) == (
        Outcome.SUCCESS,
        "",
        {"load": 1.0},
        [1],
    )


@pytest.mark.parametrize(
    ("raised", "outcome", "reason"),
    [
        (ProbeError("unreachable"), Outcome.FAILURE, "unreachable"),
        (ProbeError("auth"), Outcome.ERROR, "auth"),
        (ProbeError("never-declared"), Outcome.ERROR, "never-declared"),
        (ZeroDivisionError("oops"), Outcome.ERROR, "bug"),
    ],
)
async def test_whatever_a_probe_raises_becomes_an_outcome(
    runner: Runner, raised: Exception, outcome: Outcome, reason: str
) -> None:
    async def run(options: Options, context: ProbeContext) -> Reading:
        raise raised

    result = await runner.run(probe(run), cursor={"kept": True})
    assert (result.outcome, result.reason, result.cursor) == (outcome, reason, {"kept": True})


async def test_the_deadline_is_hard(runner: Runner) -> None:
    async def run(options: Options, context: ProbeContext) -> Reading:
        await asyncio.Event().wait()
        raise AssertionError

    result = await runner.run(probe(run, timeout=0.05))
    assert (result.outcome, result.reason) == (Outcome.FAILURE, "timeout")
    assert result.duration_seconds < 1


async def test_a_run_during_which_our_own_loop_stood_still_says_nothing(runner: Runner) -> None:
    async def run(options: Options, context: ProbeContext) -> Reading:
        time.sleep(1.4)  # noqa: ASYNC251 (standing still is the point)
        raise ProbeError("unreachable")

    watching = asyncio.create_task(runner.watch.run())
    await asyncio.sleep(0)
    result = await runner.run(probe(run))
    watching.cancel()
    assert (result.outcome, result.reason) == (Outcome.ERROR, "stalled")


async def test_a_connection_is_held_between_runs_and_shared(runner: Runner) -> None:
    server = Server()
    results = await asyncio.gather(*(runner.run(held_by(server, name=f"probe-{n}")) for n in range(5)))
    assert [result.measurements["number"] for result in results] == [1] * 5
    assert (server.opened, server.most_at_once) == (1, 1)
    assert results[-1].waited_seconds > 0.01 > results[0].waited_seconds
    assert max(result.duration_seconds for result in results) < 5 * 0.01


async def test_a_failure_on_a_held_connection_counts_only_if_a_fresh_one_fails_too(runner: Runner) -> None:
    server = Server()
    config = held_by(server)
    await runner.run(config)
    server.broken = {1}
    assert (await runner.run(config)).measurements == {"number": 2}
    server.broken = {2, 3}
    assert (await runner.run(config)).reason == "unreachable"
    assert server.opened - server.closed == 1


async def test_a_held_connection_that_hangs_is_retried_on_a_fresh_one(runner: Runner) -> None:
    server = Server()
    config = held_by(server, timeout=0.1)
    await runner.run(config)
    server.hanging = {1}
    assert (await runner.run(config)).measurements == {"number": 2}
    server.hanging = {2, 3}
    assert (await runner.run(config)).reason == "timeout"


async def test_a_fresh_connection_is_tried_every_minute(runner: Runner, clock: JumpingClock) -> None:
    server = Server()
    config = held_by(server)
    await runner.run(config)
    clock.ahead += FRESH_SECONDS
    assert (await runner.run(config)).measurements == {"number": 2}
    assert server.opened - server.closed == 1


async def test_a_held_connection_does_not_hide_that_new_clients_are_refused(
    runner: Runner, clock: JumpingClock
) -> None:
    server = Server()
    config = held_by(server)
    await runner.run(config)
    server.refuse = "full"
    assert (await runner.run(config)).outcome is Outcome.SUCCESS
    clock.ahead += FRESH_SECONDS
    result = await runner.run(config)
    assert (result.reason, result.measurements) == ("full", {"number": 1})
    assert (await runner.run(config)).reason == "full"
    server.refuse = ""
    assert (await runner.run(config)).measurements == {"number": 2}


async def test_a_cancelled_run_closes_what_it_used(runner: Runner) -> None:
    server = Server(hanging={1})
    running = asyncio.create_task(runner.run(held_by(server)))
    while not server.running:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert server.opened == server.closed == 1


async def test_what_no_probe_uses_after_a_reload_is_closed(runner: Runner) -> None:
    server = Server()
    await runner.run(held_by(server))
    await runner.retain([])
    assert server.closed == 1


async def test_a_watch_wakes_every_probe_that_shares_the_resource() -> None:
    server, closed, woken = Server(), asyncio.Event(), asyncio.Queue[tuple[str, str]]()

    async def watch(options: Options, resource: int) -> AsyncIterator[str]:
        await closed.wait()
        yield "closed"

    runner = Runner(SystemClock(), wake=lambda name, word: woken.put_nowait((name, word)))
    for name in ("one", "two"):
        await runner.run(held_by(server, name=name, watch=watch))
    closed.set()
    async with asyncio.timeout(5):
        assert {await woken.get(), await woken.get()} == {("one", "closed"), ("two", "closed")}
    await runner.close()


async def test_a_shared_resource_is_opened_once_and_read_side_by_side(runner: Runner) -> None:
    server = Server()
    config = held_by(server, exclusive=False)
    await asyncio.gather(*(runner.run(replace(config, name=f"probe-{n}")) for n in range(5)))
    assert (server.opened, server.most_at_once) == (1, 5)


async def test_a_secret_in_what_a_target_says_is_scrubbed() -> None:
    async def run(options: Options, context: ProbeContext) -> Reading:
        raise ProbeError("unreachable", "cannot log in with hunter22")

    runner = Runner(SystemClock(), secrets=frozenset({"hunter22"}))
    assert "hunter22" not in str(await runner.run(probe(run)))


async def test_what_a_probe_returns_is_checked(runner: Runner) -> None:
    async def sloppy(options: Options, context: ProbeContext) -> Reading:
        numbers: Any = {
            "nan": float("nan"),
            "inf": float("inf"),
            "none": None,
            "flag": True,
            "good": 1,
            "parts": {"a": 2.0, "b": "x"},
        }
        return Reading(numbers, checks={"a": True, "b": None}, details={"said": "\ud800"})  # type: ignore[dict-item]

    async def none(options: Options, context: ProbeContext) -> None:
        return None

    async def cancelled(options: Options, context: ProbeContext) -> Reading:
        raise asyncio.CancelledError

    result = await runner.run(probe(sloppy))
    assert result.measurements == {"good": 1, "parts": {"a": 2.0}}
    assert (result.checks, result.details) == ({"a": True}, {"said": "?"})
    assert (await runner.run(probe(none))).reason == "bug"
    assert (await runner.run(probe(cancelled))).reason == "bug"


async def test_who_queues_for_a_connection_takes_no_place_from_others(runner: Runner) -> None:
    server = Server(hanging={1})
    queueing = [asyncio.create_task(runner.run(held_by(server, name=f"probe-{n}"))) for n in range(70)]
    while not server.running:
        await asyncio.sleep(0.001)

    async def quick(options: Options, context: ProbeContext) -> Reading:
        return Reading()

    async with asyncio.timeout(2):
        assert (await runner.run(probe(quick))).outcome is Outcome.SUCCESS
    for task in queueing:
        task.cancel()
    await asyncio.gather(*queueing, return_exceptions=True)
