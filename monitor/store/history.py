"""The history of probes in the store: recent runs in a ring, minutes for two days, quarters of an hour for a month.

Bounded by construction: a run takes the place of an older one, and whoever closes a bucket drops those too old.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from monitor.core.history import AT_HAND, KEEP_SECONDS, MINUTE, RUNS_KEPT, Bucket, News, Past, Run, Spread
from monitor.core.probe import Result
from monitor.core.runbook import Level

TABLES = """
CREATE TABLE run (
    probe TEXT NOT NULL, ring TEXT NOT NULL, slot INTEGER NOT NULL, number INTEGER NOT NULL, turn INTEGER,
    level TEXT NOT NULL, breaches TEXT NOT NULL, result TEXT NOT NULL, PRIMARY KEY (probe, ring, slot)
) WITHOUT ROWID;
CREATE TABLE bucket (
    probe TEXT NOT NULL, seconds INTEGER NOT NULL, at INTEGER NOT NULL, level TEXT NOT NULL, runs INTEGER NOT NULL,
    failures INTEGER NOT NULL, errors INTEGER NOT NULL, measured BLOB NOT NULL, PRIMARY KEY (probe, seconds, at)
) WITHOUT ROWID;
"""

Statement = tuple[str, tuple[Any, ...]]

_RUN = "INSERT OR REPLACE INTO run (probe, ring, slot, number, turn, level, breaches, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_BUCKET = (
    "INSERT OR REPLACE INTO bucket (probe, seconds, at, level, runs, failures, errors, measured)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_TOO_OLD = "DELETE FROM bucket WHERE probe = ? AND seconds = ? AND at < ?"
_READ = (
    "SELECT at, seconds, level, runs, failures, errors, measured FROM bucket"
    " WHERE probe = ? AND seconds = ? AND at >= ? ORDER BY at"
)


def statements(probe: str, news: News) -> Iterable[tuple[tuple[Any, ...], Statement]]:
    """What one run of a probe writes, by the row that each statement is about."""
    run = news.run
    rings = [("run", run.number)] + ([("turn", run.turn)] if run.turn is not None else [])
    breaches, text = (msgspec.json.encode(value).decode() for value in (run.breaches, run.result))
    for ring, number in rings:
        slot = number % RUNS_KEPT
        row = (probe, ring, slot, run.number, run.turn, run.level.value if run.judged else "", breaches, text)
        yield ("run", probe, ring, slot), (_RUN, row)
    for bucket in news.closed:
        yield ("bucket", probe, bucket.seconds, bucket.at), (_BUCKET, _row(probe, bucket))
        too_old = bucket.at - KEEP_SECONDS[bucket.seconds]
        yield ("old buckets", probe, bucket.seconds), (_TOO_OLD, (probe, bucket.seconds, too_old))


def forget(now: float) -> list[Statement]:
    """What is too old of probes that are configured no more."""
    return [
        ("DELETE FROM bucket WHERE seconds = ? AND at < ?", (seconds, now - keep))
        for seconds, keep in KEEP_SECONDS.items()
    ]


def buckets(db: sqlite3.Connection, probe: str, seconds: int, since: float) -> list[Bucket]:
    """The closed buckets of so many seconds, oldest first."""
    return [_bucket(row) for row in db.execute(_READ, (probe, seconds, since // seconds * seconds))]


def past(db: sqlite3.Connection, probe: str) -> Past:
    """What is to be at hand of a probe after a start. `monitor.core.history.resume` completes it."""
    rings: dict[str, list[Run]] = {"run": [], "turn": []}
    rows = db.execute(
        "SELECT ring, number, turn, level, breaches, result FROM run WHERE probe = ? ORDER BY number DESC", (probe,)
    )
    for ring, number, turn, level, breaches, text in rows:
        try:
            result = msgspec.json.decode(text, type=Result)
            confirmed = msgspec.json.decode(breaches, type=tuple[str, ...])
            rings[ring].append(Run(number, result, Level(level or "unknown"), turn, confirmed, bool(level)))
        except msgspec.ValidationError:  # of another version: for people only, and no reason not to start
            continue
    last = db.execute("SELECT max(at) FROM bucket WHERE probe = ? AND seconds = ?", (probe, MINUTE)).fetchone()[0]
    since = (last or 0) - AT_HAND * MINUTE
    return Past(tuple(rings["run"]), tuple(rings["turn"]), tuple(buckets(db, probe, MINUTE, since)))


def _row(probe: str, bucket: Bucket) -> tuple[Any, ...]:
    measured = {
        name: (spread.count, spread.low, spread.high, spread.total, dict(spread.steps))
        for name, spread in bucket.measured.items()
    }
    packed = msgspec.msgpack.encode((measured, dict(bucket.breaches)))
    level = bucket.level.value if bucket.level else ""
    return probe, bucket.seconds, bucket.at, level, bucket.runs, bucket.failures, bucket.errors, packed


_Packed = tuple[dict[str, tuple[int, float, float, float, dict[int, int]]], dict[str, int]]


def _bucket(row: tuple[Any, ...]) -> Bucket:
    at, seconds, level, runs, failures, errors, packed = row
    measured, breaches = msgspec.msgpack.decode(packed, type=_Packed)
    spreads = {name: Spread(*numbers) for name, numbers in measured.items()}
    return Bucket(at, seconds, Level(level) if level else None, runs, failures, errors, spreads, breaches)
