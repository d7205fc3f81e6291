"""Follows a log until it is killed, with its state in SQLite: what the daemon does, and nothing else.

`daemon.py LOG DATABASE [LINES]`: with LINES it ends by itself once so many lines are saved.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from contextlib import closing

from monitor.logs.journal import Desk
from monitor.logs.scan import Spec


class Store:
    """Keeps the state in one row, committed before `save` returns."""

    key = "log"

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY, saved BLOB)")

    @property
    def saved(self) -> bytes | None:
        row = self.database.execute("SELECT saved FROM state").fetchone()
        return bytes(row[0]) if row else None

    def now(self) -> float:
        return time.time()

    async def save(self, state: bytes) -> None:
        self.database.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", (state,))


async def main() -> None:
    store = Store(sys.argv[2])
    until = int(sys.argv[3]) if len(sys.argv) > 3 else None
    desk = Desk()
    with closing(store.database):
        async with desk.journal(sys.argv[1], Spec(), 300.0, store) as journal:
            while until is None or journal.published.lines < until:
                await desk.news(1.0)


if __name__ == "__main__":
    asyncio.run(main())
