"""Slow, silent and many clients: none of them costs the daemon more than a socket, and not for long."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.core.probe import Family
from monitor.web import server
from tests.web import portal
from tests.web.conftest import Site


async def connect(site: Site) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", site.served.port)


async def ends(reader: asyncio.StreamReader, *, within: float = 2.0) -> bytes:
    """What comes until the other side closes."""
    try:
        return await asyncio.wait_for(reader.read(), within)
    except ConnectionResetError:
        return b""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second where there are ten."""
    monkeypatch.setattr(server, "PATIENCE_SECONDS", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("said", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_who_does_not_finish_a_request_is_given_up(site: Site, said: bytes) -> None:
    reader, writer = await connect(site)
    writer.write(said)
    assert await ends(reader) == b""
    writer.close()


@pytest.mark.usefixtures("impatient")
async def test_who_sends_a_letter_at_a_time_is_given_up_all_the_same(site: Site) -> None:
    reader, writer = await connect(site)
    reading = asyncio.create_task(ends(reader))
    while not reading.done():
        writer.write(b"x")
        await asyncio.sleep(0.02)
    assert await reading == b""
    writer.close()


@pytest.mark.usefixtures("impatient")
async def test_who_stays_after_an_answer_is_given_up(site: Site) -> None:
    reader, writer = await connect(site)
    writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await ends(reader)).endswith(b"healthy\n")
    writer.close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", [b"/metrics", b"/events"])
async def test_who_does_not_read_an_answer_is_given_up(site: Site, path: bytes) -> None:
    labels = [({"log": f"/var/log/{i:06}{'x' * 2000}"}, float(i)) for i in range(3000)]
    huge = Family("portal_log_lines_total", "counter", "Lines.", labels)
    config = portal.CONFIGS["redis"]
    wordy = portal.view(config, result=portal.ran(config, detail="x" * 2000))
    many = {f"p{i}": replace(wordy, config=replace(config, name=f"p{i}")) for i in range(3000)}
    site.source.show(portal.snapshot(families=(huge,)) if path == b"/metrics" else portal.snapshot(probes=many))
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", site.served.port))
        await loop.sock_sendall(client, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.sleep(0.05)
        for _ in range(200):
            answer = await site.client.get("/-/healthy", headers={"Connection": "close"})
            assert answer.status_code == 200
            if not open_connections(site):
                return
            await asyncio.sleep(0.05)
    pytest.fail("the connection that nobody reads is still there")


def open_connections(site: Site) -> int:
    """How many connections the server holds, as the kernel sees it."""
    port = f":{site.served.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)


@pytest.mark.usefixtures("impatient")
async def test_a_console_that_reads_is_kept(site: Site) -> None:
    reader, writer = await connect(site)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"event: pieces")
    await asyncio.sleep(0.3)
    site.source.show(portal.snapshot(incidents=()))
    await asyncio.wait_for(reader.readuntil(b"No incident is open"), 3)
    writer.close()


async def test_so_many_connections_and_no_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 20)
    crowd = [await connect(site) for _ in range(19)]
    assert (await site.client.get("/-/healthy")).status_code == 200
    reader, writer = await connect(site)
    assert await ends(reader) == b""
    writer.close()
    crowd[0][1].close()
    await crowd[0][1].wait_closed()
    await asyncio.sleep(0.02)
    reader, writer = await connect(site)
    writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await ends(reader)).endswith(b"healthy\n")
    for _, one in (*crowd, (reader, writer)):
        one.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000,
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"NO-SUCH-THING\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused(site: Site, garbage: bytes) -> None:
    reader, writer = await connect(site)
    writer.write(garbage)
    assert (await ends(reader)).startswith(b"HTTP/1.1 400")
    writer.close()
    assert (await site.client.get("/-/healthy")).status_code == 200


async def test_a_body_that_nobody_wants_is_not_kept(site: Site) -> None:
    reader, writer = await connect(site)
    writer.write(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 100_000)
    assert (await asyncio.wait_for(reader.readline(), 2)).startswith(b"HTTP/1.1 405")
    writer.close()


async def test_thousands_of_series_do_not_stop_the_loop(site: Site) -> None:
    measured = {f"p{i}": replace(portal.view(portal.configure(f"p{i}", portal.TCP))) for i in range(500)}
    site.source.show(portal.snapshot(probes=measured))
    asking = asyncio.gather(*(site.client.get("/metrics") for _ in range(4)), site.client.get("/"))
    turns = 0
    while not asking.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert {answer.status_code for answer in await asking} == {200}
    assert turns > 10
