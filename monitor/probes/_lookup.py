"""Name lookups that can hang without holding up anybody else.

The C library's lookup cannot be interrupted: with a dead name server it holds its thread for up to half a minute. In
the event loop's small pool a few of those delay every other lookup, `localhost` included, and the end of the process.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any

Addresses = Sequence[tuple[Any, ...]]
"""What `socket.getaddrinfo` returns."""

_under_way: dict[tuple[str, int], Future[Addresses]] = {}


async def lookup(host: str, port: int) -> Addresses:
    """The addresses of a name (or of an address, at once) for TCP. Raises socket.gaierror.

    Each name is looked up in a thread of its own, which nobody waits for at the end; who asks meanwhile for the same
    name shares the answer, so a name that hangs costs one thread.
    """
    if _is_address(host):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    future = _under_way.get((host, port)) or _start(host, port)
    return await asyncio.wrap_future(future)


def _start(host: str, port: int) -> Future[Addresses]:
    future: Future[Addresses] = Future()
    future.set_running_or_notify_cancel()  # who stops waiting does not stop it for the others
    _under_way[host, port] = future
    Thread(target=_look, args=(future, host, port), name=f"lookup {host}", daemon=True).start()
    return future


def _look(future: Future[Addresses], host: str, port: int) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except Exception as error:  # handed to those who wait
        _under_way.pop((host, port), None)
        future.set_exception(error)
    else:
        _under_way.pop((host, port), None)
        future.set_result(found)


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False
