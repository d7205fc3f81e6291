"""Ports of loopback: kept for the sandbox's whole life, answered on by an application, and shut by an outage."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState


class Port:
    """A port that nobody else is given, even while nothing listens on it.

    A socket that is bound and does not listen keeps it. Whoever sets SO_REUSEADDR, as every server does, can still
    listen there; and a connection to a port on which nobody listens is refused, as it should be during an outage.
    """

    def __init__(self, number: int = 0) -> None:
        """Raises OSError if `number` is taken; 0 picks a free one."""
        self._keeper = _bound(number)
        self.number = int(self._keeper.getsockname()[1])

    def release(self) -> None:
        self._keeper.close()


class Door:
    """An HTTP application behind a port, which opens and shuts at once: shutting cuts what is being answered.

    uvicorn speaks HTTP here; its own server is left out because it takes the process's signals and shuts politely.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._config = uvicorn.Config(
            self._answer, interface="asgi3", lifespan="off", log_config=None, access_log=False, proxy_headers=False
        )
        self._config.load()
        self._state = ServerState()
        self._servers: dict[int, asyncio.Server] = {}

    async def open(self, port: int) -> None:
        """Listen on this port of loopback. Nothing happens if it does already."""
        if port not in self._servers:
            listener = _bound(port)
            self._servers[port] = await asyncio.get_running_loop().create_server(self._protocol, sock=listener)

    def shut(self, port: int) -> None:
        """Stop listening on this port, and cut every connection that came through it."""
        if server := self._servers.pop(port, None):
            server.close()
        for connection in list(self._state.connections):
            transport = connection.transport
            if transport and transport.get_extra_info("sockname", ("", port))[1] == port:
                transport.abort()

    def shut_all(self) -> None:
        for port in list(self._servers):
            self.shut(port)

    async def close(self) -> None:
        """Shut every port and end what is still being answered."""
        self.shut_all()
        await asyncio.sleep(0)  # lets the connections notice
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientDisconnect, asyncio.CancelledError):  # a cut connection is no mistake here
            await self._app(scope, receive, send)

    def _protocol(self) -> asyncio.Protocol:
        return self._config.http_protocol_class(config=self._config, server_state=self._state, app_state={})  # type: ignore[call-arg]


async def way_out(_scope: Scope, _receive: Receive, send: Send) -> None:
    """The application behind the `egress` target, of which only the connection matters."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _bound(number: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", number))
    return bound
