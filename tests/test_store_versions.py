"""A store that an older daemon left behind, a store that a newer one did, and a copy of one that is in use."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from monitor.core.incident import Event, Incident, Page, State, Taken
from monitor.core.runbook import Severity
from monitor.store import Changes, Store, StoreError, backup, read, schema
from tests.lifecycle import FAIL, MEMORY, Life, config
from tests.runbook_rows import BOOK, HOUR, MINUTE
from tests.simulation import FakeClock

P1, P2 = Severity.P1, Severity.P2
NOW = FakeClock().wall
LABELS = {"scenario": "redis", "incident": "redis-20261123-1620", "severity": "P1", "audience": "oncall"}
STATE = {"whys": {"run": {"confirmed": "fail", "shown": "fail", "failing_since": NOW - 41 * MINUTE}}, "level": "fail"}


def write_first_version(path: Path) -> None:
    """A store as the first version of the schema had it: one incident open, reopened once; one over; one silent."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(f"BEGIN;{schema.MIGRATIONS[0]}PRAGMA user_version = 1;COMMIT;")
    open_, over = NOW - 40 * MINUTE, NOW - 3 * HOUR
    incidents = [
        ("redis-20261123-1620", "redis", "investigating", 2, 1, open_ - 60, open_, 2, None, '["redis"]', None, None, 1),
        (
            "portal-20261123-1300",
            "portal",
            "resolved",
            1,
            1,
            over - 60,
            over,
            1,
            None,
            '["portal"]',
            over,
            over + 900,
            0,
        ),
        ("whmcs-20261123-1620", "whmcs", "monitoring", 2, 2, open_, open_, 1, "portal", '["whmcs"]', NOW - 60, None, 2),
    ]
    pages = [
        ("redis-20261123-1620", 1, 1, "L1", "none", 1, json.dumps(LABELS), open_ - HOUR, open_ - HOUR, open_ - 1800),
        (
            "redis-20261123-1620",
            2,
            2,
            "L1",
            "none",
            1,
            json.dumps({**LABELS, "severity": "P2"}),
            open_,
            open_ + 1,
            None,
        ),
        (
            "portal-20261123-1300",
            1,
            1,
            "L1",
            "none",
            1,
            json.dumps({**LABELS, "scenario": "portal"}),
            over,
            over,
            over + 900,
        ),
    ]
    events = [
        ("redis-20261123-1620", 1, open_ - HOUR, "opened", "P1: redis", "monitor"),
        ("redis-20261123-1620", 2, open_, "reopened", "P2: redis", "monitor"),
        ("portal-20261123-1300", 1, over, "opened", "P1: portal", "monitor"),
    ]
    db.executemany(f"INSERT INTO incident VALUES ({', '.join('?' * 13)})", incidents)
    db.executemany(f"INSERT INTO page VALUES ({', '.join('?' * 10)})", pages)
    db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", events)
    db.execute("INSERT INTO rule VALUES ('redis', 'P2 any redis', ?)", (open_,))
    db.execute("INSERT INTO probe VALUES ('redis', 'digest', ?, '12', '{}', 'null')", (json.dumps(STATE),))
    db.execute("INSERT INTO opened VALUES ('redis', 2, 7)")
    db.execute("INSERT INTO resource VALUES ('log', x'00ff')")
    db.execute("INSERT INTO meta VALUES ('seen', ?)", (json.dumps(["one", 940.0, NOW - 60]),))
    db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_first_version(tmp_path / "state.db")
    return tmp_path / "state.db"


def check_first_version(store: Store) -> None:
    saved = store.load()
    items = {item.key: item for item in saved.incidents}
    redis, whmcs = items["redis-20261123-1620"], items["whmcs-20261123-1620"]
    opened = NOW - 40 * MINUTE
    assert redis == Incident(
        "redis-20261123-1620", "redis", State.INVESTIGATING, P2, P1, opened - 60, opened, 2, why=("redis",),
        taken=(Taken(P2, opened, 2),), detected_at=opened - HOUR, updated_at=opened,
    )  # fmt: skip
    assert (whmcs.state, whmcs.parent, whmcs.mitigated_at) == (State.MONITORING, "portal", NOW - 60)
    assert items["portal-20261123-1300"].resolved_at == NOW - 3 * HOUR + 900
    assert [(page.incident, page.opening, page.severity, page.ended_at is None) for page in saved.pages] == [
        ("portal-20261123-1300", 1, P1, False),
        ("redis-20261123-1620", 1, P1, False),
        ("redis-20261123-1620", 2, P2, True),
    ]
    assert saved.pages[1].labels == LABELS
    assert [event.kind for event in store.events("redis-20261123-1620")] == ["opened", "reopened"]
    assert saved.numbers == {"redis-20261123-1620": 2, "portal-20261123-1300": 1}
    assert (saved.rules, saved.opened) == ({("redis", "P2 any redis"): NOW - 40 * MINUTE}, {("redis", P2): 7})
    probe = saved.probes["redis"]
    assert (probe.state.level.value, probe.state.whys["run"].failing_since, probe.cursor) == (
        "fail",
        NOW - 41 * MINUTE,
        12,
    )
    assert (store.resource("log"), saved.seen, saved.empty) == (b"\x00\xff", ("one", 940.0, NOW - 60), False)
    assert (saved.notices, saved.windows) == ((), ())


def test_everything_of_the_first_version_is_there_and_a_copy_of_it_lies_beside(path: Path) -> None:
    before = dump(path)
    store = Store(path, FakeClock())
    check_first_version(store)
    store.close()
    copy = path.with_name("state.db.v1")
    assert dump(copy) == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    db.close()


def dump(path: Path) -> list[str]:
    db = sqlite3.connect(path)
    try:
        return [*db.iterdump(), str(db.execute("PRAGMA user_version").fetchone())]
    finally:
        db.close()


async def test_an_incident_of_the_first_version_goes_on_with_its_clocks_and_its_page(
    path: Path, tmp_path: Path
) -> None:
    names = {term.name for scenario in BOOK.scenarios.values() for rule in scenario.rules for term in rule.terms}
    life = Life(config(*sorted(names)), BOOK, tmp_path, FakeClock())
    life.world |= {"redis": FAIL, "whmcs": FAIL}
    await life.start()
    await life.wait(61)
    (redis,) = [item for item in life.cycle.incidents() if item.scenario == "redis"]
    fired = [
        (page.opening, page.escalation_level, str(page.severity))
        for page in life.cycle.pages()
        if page.incident == redis.key
    ]
    assert fired == [(2, "L1", "P2"), (2, "L2", "P2")]  # the second was due ten minutes ago
    numbers = [event.number for event in life.store.events(redis.key)]
    assert numbers == list(range(1, len(numbers) + 1))
    life.stop()


def test_it_is_brought_up_to_date_once(path: Path) -> None:
    for _ in range(3):
        Store(path, FakeClock()).close()
    assert sorted(file.name for file in path.parent.glob("state.db.v*")) == ["state.db.v1"]
    store = Store(path, FakeClock())
    check_first_version(store)
    store.close()


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_every_version_in_between_is_brought_up_to_date_too(path: Path, version: int) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    for number in range(2, version + 1):
        db.executescript(f"BEGIN;{schema.MIGRATIONS[number - 1]}PRAGMA user_version = {number};COMMIT;")
    db.close()
    store = Store(path, FakeClock())
    check_first_version(store)
    store.close()
    assert path.with_name(f"state.db.v{version}").exists()


def test_a_new_store_is_not_copied(tmp_path: Path) -> None:
    Store(tmp_path / "new.db").close()
    assert list(tmp_path.glob("new.db.v*")) == []


def test_nothing_but_the_daemon_brings_it_up_to_date(path: Path) -> None:
    before = dump(path)
    with pytest.raises(StoreError, match="of an older portal-monitor; the daemon brings it up to date") as refused:
        read(path)
    assert "\n" not in str(refused.value)
    assert dump(path) == before


def test_an_older_daemon_refuses_what_a_newer_one_left_in_one_line_and_leaves_it_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(path, FakeClock()).close()
    before = dump(path)
    monkeypatch.setattr(schema, "VERSION", 1)
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    for opens in (Store, read):
        with pytest.raises(StoreError, match="written by a newer portal-monitor; this one knows 1") as refused:
            opens(path)
        assert "\n" not in str(refused.value)
    assert dump(path) == before


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from monitor.store import Store
from tests.simulation import FakeClock
from tests.test_store_versions import check_first_version, write_first_version

folder, connect = Path(sys.argv[1]), sqlite3.connect
for number in range(1, 200):
    path = folder / f"{number}.db"
    write_first_version(path)
    child = os.fork()
    if child == 0:
        count = 0
        def trace(sql):
            global count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
        def traced(*args, **more):
            db = connect(*args, **more)
            db.set_trace_callback(trace)
            return db
        sqlite3.connect = traced
        Store(path, FakeClock())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    store = Store(path, FakeClock())
    check_first_version(store)
    store.close()
    if os.WIFEXITED(status):
        print(number - 1)
        break
else:
    raise SystemExit("it was always killed")
"""


def test_killed_before_any_statement_of_bringing_it_up_to_date_it_is_as_good_as_before() -> None:
    with tempfile.TemporaryDirectory(prefix="portal-monitor-killed-", dir=MEMORY) as folder:
        done = subprocess.run([sys.executable, "-c", KILLED, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15  # so many statements there are to be killed before


# --- a copy of a store that is in use --------------------------------------------------------------------------------


def moment(number: int) -> Changes:
    """An incident that is over, with three lines on its timeline."""
    key = f"redis-{number}"
    item = Incident(key, "redis", State.RESOLVED, P2, P2, NOW, NOW, resolved_at=NOW)
    events = tuple(Event(key, line, NOW, "kind", "text") for line in (1, 2, 3))
    return Changes(incidents=(item,), pages=(Page(key, 1, P2, "L1", ended_at=NOW),), events=events)


async def test_a_copy_of_a_store_that_is_written_to_has_whole_moments_and_all_that_were_confirmed(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "state.db", FakeClock())
    confirmed = 0

    async def write() -> None:
        nonlocal confirmed
        while True:
            assert await store.save(moment(confirmed + 1))
            confirmed += 1

    writing = asyncio.create_task(write())
    while confirmed < 20:
        await asyncio.sleep(0.005)
    for number in range(5):
        before, target = confirmed, tmp_path / f"copy-{number}.db"
        await asyncio.to_thread(backup, tmp_path / "state.db", target)
        saved, events = read(target)
        assert before <= len(saved.incidents) <= confirmed + 1
        assert {len(line) for line in events.values()} == {3}
        assert len(saved.pages) == len(saved.incidents)
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    store.close()


async def test_a_daemon_starts_from_a_copy(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db", FakeClock())
    await store.save(moment(1))
    backup(tmp_path / "state.db", tmp_path / "copy.db")
    store.close()
    again = Store(tmp_path / "copy.db", FakeClock())
    assert [item.key for item in again.load().incidents] == ["redis-1"]
    assert await again.save(moment(2))
    again.close()


async def test_a_copy_of_a_store_whose_daemon_is_down(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db", FakeClock())
    await store.save(moment(1))
    store.close()
    backup(tmp_path / "state.db", tmp_path / "copy.db")
    assert [item.key for item in read(tmp_path / "copy.db")[0].incidents] == ["redis-1"]


def test_a_copy_takes_the_place_of_nothing_and_is_made_of_nothing(path: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.db"
    taken.write_text("mine")
    with pytest.raises(StoreError, match=r"taken\.db: File exists"):
        backup(path, taken)
    assert taken.read_text() == "mine"
    with pytest.raises(StoreError, match="no store yet"):
        backup(tmp_path / "none.db", tmp_path / "copy.db")
    with pytest.raises(StoreError, match="No such file or directory"):
        backup(path, tmp_path / "nowhere" / "copy.db")


def test_a_copy_of_what_is_no_store_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text(
        "this is no database, but long enough to look like a file with something in it" * 20
    )
    with pytest.raises(StoreError, match=r"copy\.db: file is not a database"):
        backup(tmp_path / "state.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    with pytest.raises(StoreError, match="file is not a database"):
        Store(tmp_path / "state.db")
