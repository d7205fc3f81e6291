"""Name lookups, with a name server that does not answer."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from monitor.probes._lookup import lookup


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names below `hang.invalid` are never answered until the test ends; returns those that were asked for."""
    asked: list[str] = []
    over = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **options: Any) -> Any:
        if host.endswith("hang.invalid"):
            asked.append(host)
            over.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked
    over.set()


async def test_an_address_needs_no_lookup() -> None:
    assert [address[4] for address in await lookup("::1", 80)] == [("::1", 80, 0, 0)]
    assert [address[4] for address in await lookup("127.0.0.1", 80)] == [("127.0.0.1", 80)]


async def test_a_name_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(socket.gaierror):
        await lookup("no-such-host.invalid", 80)


async def test_lookups_that_hang_delay_no_other(hanging: list[str]) -> None:
    waiting = [asyncio.create_task(lookup(f"{number}.hang.invalid", 80)) for number in range(50)]
    async with asyncio.timeout(2):
        assert await lookup("localhost", 80)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_name_that_hangs_costs_one_thread_however_often_it_is_asked_for(hanging: list[str]) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await lookup("one.hang.invalid", 80)
    assert hanging == ["one.hang.invalid"]


async def test_who_stops_waiting_does_not_stop_it_for_the_others() -> None:
    first, second = (asyncio.create_task(lookup("localhost", 80)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(2):
        assert await second
