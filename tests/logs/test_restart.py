"""The real thing killed with -9 again and again: each line counts once, and no saved counter goes back."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
import zlib
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from monitor.logs.journal import Saved
from tests.logs.rig import Rig
from tests.servers import wait_until

DAEMON = Path(__file__).with_name("daemon.py")
ROOT = str(Path(__file__).parents[2])


def follow(log: Path, database: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(DAEMON), str(log), str(database), *words]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": ROOT})


def saved(database: Path) -> Saved | None:
    if not database.exists():
        return None
    with closing(sqlite3.connect(database)) as connection:
        try:
            row = connection.execute("SELECT saved FROM state").fetchone()
        except sqlite3.OperationalError:  # not made yet
            return None
    return msgspec.msgpack.decode(zlib.decompress(row[0]), type=Saved) if row else None


def kills(rig: Rig, seconds: float, seed: int) -> None:
    chance, database = random.Random(seed), rig.folder / "state.db"
    rig.write(3)
    first = follow(rig.path, database, "3")  # what is rotated before it begins is not its to read
    assert first.wait(timeout=60) == 0
    until, before = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        daemon = follow(rig.path, database)
        try:
            end = time.monotonic() + chance.uniform(0.5, 2.0)
            while time.monotonic() < end:
                rig.writer.write(rig.many(chance.randrange(1, 30)))
                roll = chance.random()
                if roll < 0.15:
                    rig.shift()
                    rig.writer.reopen(rig.path)
                elif roll < 0.25:
                    rig.copytruncate()
                time.sleep(0.02)
        finally:
            daemon.kill()
            daemon.wait()
        state = saved(database)
        lines = state.totals.lines if state else 0
        assert before <= lines <= rig.lines
        before = lines
    last = follow(rig.path, database, str(rig.lines))
    try:
        last.wait(timeout=60)
    finally:
        last.kill()
        last.wait()
    state = saved(database)
    assert state
    followers = state.followers.values()
    found = state.totals.requests, int(state.totals.latencies[""].sum_ms)
    assert found == (rig.lines, rig.total)
    assert sum(bucket.lines for bucket in state.buckets.values()) == rig.lines  # counters and windows agree
    assert sum(one.lost_bytes + one.gaps for one in followers) == 0


def test_kill_minus_nine_anywhere_counts_each_line_once(rig: Rig) -> None:
    seed = random.randrange(10**9)
    print("seed", seed)
    kills(rig, 6.0, seed)


@pytest.mark.soak
def test_kill_minus_nine_for_minutes(rig: Rig) -> None:
    seed = random.randrange(10**9)
    print("seed", seed)
    kills(rig, 180.0, seed)


def test_reading_process_ends_with_the_daemon(rig: Rig) -> None:
    rig.write(3)
    database = rig.folder / "state.db"
    daemon = follow(rig.path, database)
    try:
        wait_until(lambda: saved(database) is not None, what="a saved state")
        children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
        pids = [pid for task in children.parent.parent.iterdir() for pid in (task / "children").read_text().split()]
        assert len(pids) == 1
    finally:
        daemon.kill()
        daemon.wait()
    wait_until(lambda: not Path(f"/proc/{pids[0]}/cmdline").exists() or not Path(f"/proc/{pids[0]}/cmdline").read_bytes(),
               seconds=5, what="the end of the reading process")  # fmt: skip
