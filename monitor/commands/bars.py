"""How far large logs are read, as bars on a terminal: for `scan`, and for what the daemon has to catch up on.

What is logged meanwhile goes on above them.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Self

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class Bars:
    """Bars on standard error, one for each log that is being read. Any thread may tell of one."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._shown = Progress(*columns, TimeRemainingColumn(), transient=True, console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._shown.stop()

    def tell(self, path: str, done: int, total: int) -> None:
        """So many bytes of a log are read, out of so many."""
        if path not in self._tasks:
            name = "".join(char for char in os.path.basename(path) if char.isprintable())  # noqa: PTH119
            self._tasks[path] = self._shown.add_task(f"reading {name}", total=total)
            self._shown.start()
        self._shown.update(self._tasks[path], completed=done, total=total)

    def end(self, path: str) -> None:
        """A log is read."""
        if path not in self._tasks:
            return
        self._shown.remove_task(self._tasks.pop(path))
        if not self._tasks:
            self._shown.stop()

    def in_log(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A step of the log's way to the terminal: what a log says of its catching up is shown and not written."""
        if event["event"] == "log_catching_up":
            done = int(event["read_bytes"])
            self.tell(event["path"], done, done + int(event["left_bytes"]))
            raise structlog.DropEvent
        if event["event"] == "log_caught_up":
            self.end(event["path"])
        return event
