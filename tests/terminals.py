"""A terminal that a program under test writes to."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress


@contextmanager
def terminal() -> Iterator[tuple[int, Callable[[], bytes]]]:
    """A terminal's file descriptor for as long as the context lasts, and all that was shown on it, once that is over."""
    ours, theirs = pty.openpty()
    with ThreadPoolExecutor() as pool:
        shown = pool.submit(_read, ours)
        try:
            yield theirs, shown.result
        finally:
            os.close(theirs)


def _read(terminal: int) -> bytes:
    """All that is shown until the other side is closed, which Linux tells by an error."""
    shown = b""
    with suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as screen:
        while piece := screen.read(4096):
            shown += piece
    return shown
