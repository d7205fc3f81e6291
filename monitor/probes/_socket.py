"""Connections that are held open: how they are made, and how one sees at once that the other side has closed them."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

import aiohappyeyeballs

from monitor.probes._lookup import lookup

POLL_SECONDS = 0.05
_STAGGER_SECONDS = 0.25  # RFC 8305: how long one address may keep us waiting before the next is tried beside it

_HUNG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)  # the last is Linux's: half closed


async def dial(host: str, port: int) -> socket.socket:
    """A socket connected to the first address of the name that answers. Raises OSError, socket.gaierror among them."""
    return await aiohappyeyeballs.start_connection(await lookup(host, port), happy_eyeballs_delay=_STAGGER_SECONDS)


async def hung_up(fileno: Callable[[], int]) -> None:
    """Return once the connection is closed, by the other side or here (then `fileno()` gives -1).

    Nothing is read, so it may go on beside a run. The number is asked for anew each time, because a closed
    socket's number is soon another's.
    """
    while (descriptor := fileno()) >= 0:
        poll = select.poll()
        poll.register(descriptor, _HUNG_UP)
        if poll.poll(0):
            return
        await asyncio.sleep(POLL_SECONDS)
