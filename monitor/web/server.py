"""The server: sockets, TLS and patience. Uvicorn's HTTP protocol, on an accept loop of our own.

Our own because a daemon must stay in charge: signals stay the daemon's, a port that is taken is an error and no exit, a
certificate is read again when it changes, and nobody who is slow, silent or many gets in the way of the probes.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydantic import SecretStr
from uvicorn.config import Config as ProtocolConfig
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from monitor.clock import Clock, SystemClock
from monitor.core.config import WebConfig
from monitor.web import Source
from monitor.web.app import build
from monitor.web.console import Console
from monitor.web.live import Live
from monitor.web.toolkit import Toolkit

log = structlog.get_logger()

MOST_CONNECTIONS = 256
PATIENCE_SECONDS = 10.0
"""How long a client may take to send a request's head, to stay idle, or to accept nothing of its answer."""

HANDSHAKE_SECONDS = 5.0
GOODBYE_SECONDS = 1.0
_BACKLOG = 128


class ListenError(Exception):
    """The address cannot be listened on; one line says why."""


@dataclass(frozen=True, slots=True)
class Served:
    """Where the web is to be found."""

    host: str
    port: int
    url: str  # as reached from this host


@contextlib.asynccontextmanager
async def serve(
    source: Source,
    config: WebConfig,
    token: SecretStr,
    *,
    web_config_file: Path | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Served]:
    """Serve while the context lasts; at its end answers under way get a second to finish.

    `config.port` 0 takes a free port. Raises ListenError and toolkit.WebFileError before anything is served.
    """
    clock = clock or SystemClock()
    with contextlib.ExitStack() as opened:
        toolkit = Toolkit(web_config_file)
        opened.callback(toolkit.close)
        listeners = await _listen(config.host, config.port)
        for listener in listeners:
            opened.callback(listener.close)
        console = Console()
        live = Live(source, console, clock)
        server = _Server(build(source, live, console, token=token, toolkit=toolkit, clock=clock), toolkit)
        served = _served(config.host, listeners[0], tls=toolkit.current().tls is not None)
        tasks = [asyncio.create_task(server.accept(listener)) for listener in listeners]
        tasks.append(asyncio.create_task(live.run()))
        log.info("web_listening", url=served.url)
        try:
            yield served
        finally:
            await _end(tasks)
            live.close()
            await server.stop()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Sockets for every address of the host; "" is every address of the machine."""
    listeners: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, address in dict.fromkeys((one[0], one[4]) for one in found):
            chosen = listeners[0].getsockname()[1] if listeners else port
            listeners.append(_socket(family, (address[0], chosen, *address[2:])))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise ListenError(f"cannot listen on {host or '*'}:{port}: {error.strerror or error}") from error
    return listeners


def _socket(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _served(host: str, listener: socket.socket, *, tls: bool) -> Served:
    bound, port = listener.getsockname()[:2]
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bound, f"[{bound}]" if ":" in bound else bound)
    name = host if host and not bound.startswith(("0.0.0.0", "::")) and ":" not in host else reached
    return Served(bound, port, f"{'https' if tls else 'http'}://{name}:{port}")


class _Server:
    """Accepts connections, at most so many, and knows those that are open."""

    def __init__(self, app: Any, toolkit: Toolkit) -> None:
        self._toolkit = toolkit
        self._config = ProtocolConfig(
            app, http=_Connection, ws="none", lifespan="off", log_config=None, log_level="critical",
            access_log=False, proxy_headers=False, server_header=False, date_header=False,
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._handshakes: set[asyncio.Task[None]] = set()

    async def accept(self, listener: socket.socket) -> None:
        """Take in connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of file descriptors, most likely: the probes need them more than we do
                log.warning("web_accept_failed", error=str(error))
                await asyncio.sleep(1)
                continue
            if len(self._state.connections) + len(self._handshakes) >= MOST_CONNECTIONS:
                connection.close()
                continue
            task = asyncio.create_task(self._greet(connection))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _greet(self, connection: socket.socket) -> None:
        context = self._toolkit.current().tls
        patience: dict[str, Any] = {"ssl": context, "ssl_handshake_timeout": HANDSHAKE_SECONDS} if context else {}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Connection(self._config, self._state, {}), connection, **patience
            )
        except (OSError, ssl.SSLError, TimeoutError):  # it did not come to a connection: no business of ours
            connection.close()

    async def stop(self) -> None:
        """Let answers under way finish, for a second; then close everything."""
        await _end(list(self._handshakes))
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=GOODBYE_SECONDS)
        await _end(list(self._state.tasks))
        for connection in list(self._state.connections):
            connection.transport.abort()
        for _ in range(5):  # rounds of the loop, until the last of them has been told
            await asyncio.sleep(0)


class _Connection(H11Protocol):
    """A connection that is given up when nothing moves on it for a while."""

    _patience: asyncio.TimerHandle | None = None
    _unsent: float = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience:
            self._patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        if self._patience:
            self._patience.cancel()
        self._patience = self.loop.call_later(PATIENCE_SECONDS, self._look)

    def _look(self) -> None:
        """Bytes that wait must have become fewer since the last look; without any, an answer must be on its way."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        answering = self.cycle is not None and not self.cycle.response_complete
        if unsent >= before or not (unsent or answering):
            self.transport.abort()
            return
        self._unsent = unsent or math.inf
        self._wait()
