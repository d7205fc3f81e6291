"""The heartbeat goes out while the daemon lives, and is silent when it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from monitor.alerting.heartbeat import Heartbeat
from monitor.core import config
from tests.hook import Hook
from tests.servers import free_port
from tests.simulation import FakeClock


class Life:
    alive = True

    def __call__(self) -> bool:
        return self.alive


@asynccontextmanager
async def beating(url: str, clock: FakeClock, alive: Life, timeout_seconds: float = 20.0) -> AsyncIterator[Heartbeat]:
    beat = Heartbeat(config.Heartbeat(SecretStr(url), 60.0), clock, alive, timeout_seconds=timeout_seconds)
    yield beat
    if beat._client is not None:
        await beat._client.aclose()


def numbers(beat: Heartbeat) -> dict[str, float]:
    return {family.name: value for family in beat.families() for _, value in family.samples}


async def test_it_beats_at_its_pace_and_says_when_it_was_last_taken() -> None:
    clock, life = FakeClock(), Life()
    with Hook() as hook:
        async with beating(hook.url, clock, life) as beat:
            for second in range(181):
                await beat.look()
                clock.advance_to(1000.0 + second + 1)
            assert [(one.method, one.path) for one in hook.asked] == [("GET", "/CANARY-path")] * 4
            assert numbers(beat) == {
                "portal_monitor_heartbeat_total": 4,
                "portal_monitor_heartbeat_failed_total": 0,
                "portal_monitor_heartbeat_last_success_timestamp_seconds": clock.wall - 1,
            }


async def test_it_is_silent_while_nothing_is_settled_and_beats_once_when_that_is_over() -> None:
    clock, life = FakeClock(), Life()
    with Hook() as hook:
        async with beating(hook.url, clock, life) as beat:
            await beat.look()
            life.alive = False
            for _ in range(600):
                clock.advance_to(clock.mono + 1)
                await beat.look()
            assert len(hook.asked) == 1
            life.alive = True
            for _ in range(59):
                await beat.look()
                clock.advance_to(clock.mono + 1)
            assert len(hook.asked) == 2


@pytest.mark.parametrize("wrong", ["refused", "silent", "status", "redirect"])
async def test_what_is_wrong_is_said_once_without_the_address_and_its_end_too(wrong: str) -> None:
    clock, life = FakeClock(), Life()
    statuses = {"status": [503, 503, 200], "redirect": [302, 302, 200]}.get(wrong, [])
    with Hook(*statuses, silent=wrong == "silent") as hook, capture_logs() as logs:
        url = f"http://127.0.0.1:{free_port()}/CANARY-path" if wrong == "refused" else hook.url
        async with beating(url, clock, life, timeout_seconds=0.2 if wrong == "silent" else 20.0) as beat:
            for _ in range(2):
                await beat.look()
                clock.advance_to(clock.mono + 60)
            assert numbers(beat)["portal_monitor_heartbeat_failed_total"] == 2
            assert "portal_monitor_heartbeat_last_success_timestamp_seconds" not in numbers(beat)
            assert [entry["event"] for entry in logs] == ["heartbeat_failed"]
            if statuses:
                await beat.look()
                assert [entry["event"] for entry in logs] == ["heartbeat_failed", "heartbeat_reached"]
    assert "CANARY" not in str(logs)


async def test_another_configuration_beats_there_at_once_and_none_nowhere() -> None:
    clock, life = FakeClock(), Life()
    with Hook() as first, Hook() as second:
        async with beating(first.url, clock, life) as beat:
            await beat.look()
            beat.reconfigure(config.Heartbeat(SecretStr(second.url), 30.0))
            await beat.look()
            assert (len(first.asked), len(second.asked)) == (1, 1)
            beat.reconfigure(None)
            clock.advance_to(clock.mono + 600)
            await beat.look()
            assert (len(second.asked), beat.families()) == (1, [])
