"""Runs a probe type in a test as the runner does: opens what it holds, runs on it, keeps the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from monitor.core.probe import Fault, Json, Options, ProbeContext, ProbeError, ProbeType, Reading, Sample

NOW = 1_795_000_000.0


@dataclass
class Memory:
    """What `open` is given, kept in memory."""

    key: str = "test"
    saved: bytes | None = None

    def now(self) -> float:
        return NOW

    async def save(self, state: bytes) -> None:
        self.saved = state


@dataclass
class Held:
    """What a type holds open, and what its runs remember."""

    type: ProbeType
    options: Options
    resource: Any
    cursor: Json = None
    now: float = NOW
    measured: Mapping[str, Sample] = field(default_factory=dict)
    seen: list[Reading | ProbeError] = field(default_factory=list)

    async def run(self, *, after: float = 0.0, timeout: float = 5.0) -> Reading:
        """One run, so many seconds after the one before."""
        self.now += after
        context = ProbeContext("test", self.now, timeout, self.cursor, self.resource, measured=self.measured)
        try:
            async with asyncio.timeout(timeout):
                reading = await self.type.run(self.options, context)
        except ProbeError as error:
            self._keep(error.reading)
            raise
        self._keep(reading)
        return reading

    async def failure(self, *, after: float = 0.0, timeout: float = 5.0) -> ProbeError:
        """One run that must not succeed."""
        try:
            reading = await self.run(after=after, timeout=timeout)
        except ProbeError as error:
            self.type.reason(error.reason)
            return error
        raise AssertionError(f"it succeeded: {reading}")

    def fault(self, error: ProbeError) -> Fault:
        """Whose fault the reason is declared to be."""
        return self.type.reason(error.reason).fault

    def _keep(self, reading: Reading) -> None:
        assert reading.measurements.keys() <= self.type.measures.keys()
        if reading.cursor is not None:
            self.cursor = reading.cursor


@asynccontextmanager
async def held(
    probe_type: ProbeType, *, timeout: float = 5.0, saved: bytes | None = None, **options: Any
) -> AsyncIterator[Held]:
    """The resource of a probe with these options, opened within the timeout as the runner does."""
    checked = probe_type.options.model_validate(options)
    assert probe_type.open is not None
    opened = probe_type.open(checked, Memory(saved=saved))
    async with asyncio.timeout(timeout):
        resource = await opened.__aenter__()
    try:
        yield Held(probe_type, checked, resource)
    finally:
        await opened.__aexit__(None, None, None)


async def open_failure(probe_type: ProbeType, *, timeout: float = 5.0, **options: Any) -> ProbeError:
    """The error with which `open` must end."""
    try:
        async with held(probe_type, timeout=timeout, **options):
            pass
    except ProbeError as error:
        probe_type.reason(error.reason)
        return error
    raise AssertionError("it was opened")


async def eventually(seconds: float, fact: Any) -> None:
    """Return once `fact()` holds (it may be a coroutine function); fail after so many seconds."""
    async with asyncio.timeout(seconds):
        while not (await fact() if asyncio.iscoroutinefunction(fact) else fact()):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def listener(says: bytes | None, *, hold: bool = True) -> AsyncIterator[int]:
    """A server that says these bytes to whoever connects, reads on and answers nothing; yields its port."""

    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = writer
        with suppress(ConnectionError):
            if says:
                await reader.read(1)
                writer.write(says)
                await writer.drain()
            while hold and await reader.read(4096):
                pass
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in connections.values():
            writer.transport.abort()
        await asyncio.gather(*connections, return_exceptions=True)
