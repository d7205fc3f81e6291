"""Servers of the tests that speak the wire of Redis or PostgreSQL and say what the documentation says they say.

For states that a real server is not brought into in a test; where it is, the test has a real one.
"""

from __future__ import annotations

import asyncio
import struct

from tests.replies import Handler

_SSL_REQUEST = 80_877_103


def redis(says: bytes, *, to: frozenset[bytes] | None = None, info: bytes = b"") -> Handler:
    """A Redis that answers these commands (by default all but AUTH and SELECT) with `says`.

    The others get what a Redis that is well says: PONG, `info` to INFO, nothing found, and OK.
    """
    well = {
        b"PING": b"+PONG\r\n", b"INFO": b"$%d\r\n%s\r\n" % (len(info), info), b"SCAN": b"*2\r\n$1\r\n0\r\n*0\r\n",
        b"GETRANGE": b"$0\r\n\r\n",
    }  # fmt: skip

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        while True:
            name = await _command(reader)
            told = name not in {b"AUTH", b"SELECT"} if to is None else name in to
            writer.write(says if told else well.get(name, b"+OK\r\n"))
            await writer.drain()

    return handle


async def _command(reader: asyncio.StreamReader) -> bytes:
    """Read one command (an array of bulk strings); its name in capitals."""
    words = []
    for _ in range(int((await reader.readuntil(b"\r\n"))[1:])):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(length + 2))[:-2])
    return words[0].upper()


def postgres(state: str, message: str, *, severity: str = "FATAL", at_the_door: bool = False) -> Handler:
    """A PostgreSQL that refuses with this SQLSTATE and message: every query, or already the connection."""
    refusal = _message(b"E", b"".join(
        code + text.encode() + b"\0" for code, text in ((b"S", severity), (b"V", severity), (b"C", state), (b"M", message))
    ) + b"\0")  # fmt: skip
    ready = _message(b"Z", b"I")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        await _startup(reader, writer)
        if at_the_door:
            writer.write(refusal)
            await writer.drain()
            return b""
        encoding = _message(b"S", b"client_encoding\0UTF8\0")
        writer.write(_message(b"R", struct.pack("!i", 0)) + encoding + ready)
        while True:
            kind = await reader.readexactly(1)
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            await reader.readexactly(length - 4)
            if kind in {b"Q", b"S"}:
                writer.write(refusal + ready)
                await writer.drain()

    return handle


async def _startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the startup message, and refuse the TLS that may be asked for before."""
    while True:
        length, code = struct.unpack("!ii", await reader.readexactly(8))
        await reader.readexactly(length - 8)
        if code != _SSL_REQUEST:
            return
        writer.write(b"N")
        await writer.drain()


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content
