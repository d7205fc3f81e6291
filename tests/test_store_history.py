"""The history of probes in the store: it is there again after a start, and never grows beyond its bounds."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from monitor.clock import moment
from monitor.core import history
from monitor.core.history import KEEP_SECONDS, MINUTE, QUARTER, RUNS_KEPT, Past
from monitor.core.level import ProbeState
from monitor.core.probe import Outcome
from monitor.core.runbook import Level
from monitor.store import Changes, SavedProbe, Store, buckets
from monitor.store.sqlite import TIDY_SECONDS
from tests.simulation import FakeClock
from tests.web import portal

CONFIG = portal.configure("redis", portal.REDIS, warn="memory_used_ratio > 80%", fail="memory_used_ratio > 95%")
START = moment()[2] // QUARTER * QUARTER  # as late as what is kept


async def live(store: Store, past: Past, numbers: range, seconds: float) -> Past:
    """Runs `seconds` apart, each saved as the cycle saves it; every seventh fails."""
    for number in numbers:
        outcome = Outcome.FAILURE if number % 7 == 0 else Outcome.SUCCESS
        result = portal.ran(CONFIG, outcome, at=START + number * seconds, measurements={"memory_used_ratio": 0.25})
        state = ProbeState(level=Level.FAIL if outcome is Outcome.FAILURE else Level.OK)
        past, news = history.take(past, CONFIG, replace(result, duration_seconds=0.0625), ProbeState(), state)
        store.save(Changes({"redis": SavedProbe("digest", state, past=past, news=news)}))
    assert await store.save(Changes({"redis": SavedProbe("digest", past=past)}))
    return past


async def test_after_a_start_everything_that_was_shown_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    past = await live(store, Past(), range(500), seconds=7)
    store.close()
    again = Store(tmp_path / "state.db")
    saved = again.load().probes["redis"].past
    again.close()
    assert history.resume(saved, CONFIG) == replace(
        past, minutes=past.minutes[-len(history.resume(saved, CONFIG).minutes) :]
    )
    assert len(saved.minutes) >= 58


async def test_rows_are_bounded_however_long_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = Store(path)
    await live(store, Past(), range(4000), seconds=700.0)  # 32 days
    store.close()
    db = sqlite3.connect(path)
    counted = dict(db.execute("SELECT seconds, count(*) FROM bucket GROUP BY seconds"))
    [runs] = db.execute("SELECT count(*) FROM run").fetchone()
    db.close()
    assert counted[MINUTE] <= KEEP_SECONDS[MINUTE] / 700 + 1
    assert counted[QUARTER] <= KEEP_SECONDS[QUARTER] / 700 + 1
    assert runs == 2 * RUNS_KEPT


async def test_a_probe_that_is_gone_leaves_nothing_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = Store(path)
    await live(store, Past(), range(100), seconds=60.0)
    assert await store.save(Changes(gone=("redis",)))
    assert len(buckets(path, "redis", MINUTE, 0)) == 99  # a rename, perhaps: what was is still to be seen
    store.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE bucket SET at = at - ?", (KEEP_SECONDS[QUARTER] + 86400 * 365,))
    db.commit()
    db.close()
    clock = FakeClock()
    again = Store(path, clock)
    clock.advance_to(clock.mono + TIDY_SECONDS + 1)
    await again.save(Changes(rules={("redis", "P2 any redis"): None}))  # it is tidied once there is something to write
    again.close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT (SELECT count(*) FROM bucket), (SELECT count(*) FROM run)").fetchone() == (0, 0)
    db.close()


async def test_a_run_of_another_version_is_no_reason_not_to_start(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = Store(path)
    await live(store, Past(), range(3), seconds=60.0)
    store.close()
    db = sqlite3.connect(path)
    db.execute("""UPDATE run SET result = '{"outcome": "splendid"}' WHERE number = 1""")
    db.commit()
    db.close()
    again = Store(path)
    assert [run.number for run in again.load().probes["redis"].past.runs] == [2, 0]
    again.close()


async def test_a_month_of_history_takes_a_few_megabytes_for_each_probe(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = Store(path)
    await live(store, Past(), range(3000), seconds=60.0)  # two days of minutes are most of it
    store.close()
    assert path.stat().st_size < 1_500_000
