"""Sees at once that the other side has closed a connection which is held open and idle."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

POLL_SECONDS = 0.05

_HUNG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)  # the last is Linux's: half closed


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
