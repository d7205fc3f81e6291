"""A small real server for the tests that says what a test wants: given bytes, nothing, one byte at a time, gigabytes.

It listens on a free port of loopback, in the test's own event loop, with TLS where a test wants it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import trustme

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]
"""Serves one connection and returns the request that it read."""


@dataclass
class Replies:
    """A running server: where it listens, and what it was sent."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    def url(self, path: str = "/", *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def serving(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Replies]:
    """Serve until the end of the block; handlers that still hang are cancelled."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        replies.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                replies.requests.append(await handler(reader, writer))
        except asyncio.CancelledError:
            pass  # the block has ended
        finally:
            tasks.discard(task)
            writer.transport.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    replies = Replies(server.sockets[0].getsockname()[1])
    try:
        yield replies
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def http(
    body: bytes | str = b"", status: int = 200, *, headers: Mapping[str, str] | None = None, whole: bool = True
) -> bytes:
    """The bytes of an answer; not `whole`: its head promises more than comes."""
    content = body.encode() if isinstance(body, str) else body
    length = len(content) if whole else len(content) + 1000
    lines = {"Content-Length": str(length), "Connection": "close", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} As I Say\r\n{head}\r\n".encode() + content


async def request(reader: asyncio.StreamReader) -> bytes:
    """Read one HTTP request, its body included."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(length[0]) if length else 0)


def says(*answers: bytes) -> Handler:
    """Read a request of HTTP and give an answer: to each connection the next one, and then the last for ever."""
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        asked = await request(reader)
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()
        return asked

    return handle


def blurts(data: bytes) -> Handler:
    """Say this at once and hang up, whatever is asked."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(data)
        await writer.drain()
        return b""

    return handle


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Accept, read everything and never say a word."""
    while await reader.read(65536):
        continue
    return b""


async def drops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Read the beginning of what is asked and hang up."""
    return await reader.read(1)


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Read the beginning of what is asked and answer with a TCP reset."""
    asked = await reader.read(1)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return asked


def trickles(data: bytes, *, every: float = 0.02) -> Handler:
    """Say this one byte at a time, for ever."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        while True:
            for number in data:
                writer.write(bytes([number]))
                await writer.drain()
                await asyncio.sleep(every)

    return handle


def floods(head: bytes, block: bytes = b"x" * 65536) -> Handler:
    """Say `head` and then `block` again and again, until the other side has had enough."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head)
        while True:
            writer.write(block)
            await writer.drain()

    return handle


@contextmanager
def swallowing() -> Iterator[int]:
    """A port that answers no connection attempt at all: its queue is full, so the kernel drops what comes (Linux)."""
    with socket.socket() as full, ExitStack() as clients:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield int(full.getsockname()[1])


class Certificates:
    """A certificate authority of the test's own, and servers that it vouches for."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_file))

    def server(
        self,
        *names: str,
        authority: trustme.CA | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> ssl.SSLContext:
        """A server's side of TLS, with a certificate for these names (by default those of loopback)."""
        issuer = authority or self.authority
        leaf = issuer.issue_cert(*(names or ("127.0.0.1", "localhost")), not_before=not_before, not_after=not_after)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        return context
