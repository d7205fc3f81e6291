"""The store: what is saved is there again, together or not at all, for one daemon at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from monitor.core.incident import Ack, Event, Incident, Notice, NoticeKind, Page, State
from monitor.core.level import ProbeState, WhyState
from monitor.core.maintenance import Window
from monitor.core.probe import Outcome, Result
from monitor.core.runbook import Level, Severity
from monitor.core.snapshot import Tally
from monitor.store import Changes, Locked, SavedProbe, Store, StoreError, read, schema

INCIDENT = Incident(
    "redis-20261123-1702", "redis", State.INVESTIGATING, Severity.P2, Severity.P2, 100.0, 130.0, why=("redis",),
    ack=Ack(140.0, "ann", Severity.P2), relapsed_at=(200.0,),
).takes(Severity.P2, 130.0)  # fmt: skip
PAGE = Page(
    INCIDENT.key, 1, Severity.P2, "L1", labels={"scenario": "redis"}, due_at=130.0, fired_at=131.0, delivered_at=131.5,
    fell_back_at=192.0,
)  # fmt: skip
NOTICE = Notice(INCIDENT.key, NoticeKind.REMINDER, "response", 1, {"reason": "response"}, {"summary": "x"}, 9.0, 10.0)
WINDOW = Window("maintenance-1", ("redis", "scenario:whmcs"), 100.0, 9e9, "a new disk", "ann")
PROBE = SavedProbe(
    "digest",
    ProbeState({"run": WhyState(Level.FAIL, "off", failing_since=100.0, shown=Level.FAIL)}, Level.FAIL, "run", 130.0),
    {"offset": 12},
    Tally({"unreachable": 2}, 1, 0, (1, 0, 0, 0, 0, 0, 0, 0, 0), 0.5),
    Result("redis", "redis", 100.0, 5.0, 0.1, Outcome.FAILURE, "unreachable", measurements={"a": {"": 1.0, "b": 2.0}}),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = Store(path)
    yield made
    made.close()


async def test_everything_that_is_saved_is_there_again(path: Path) -> None:
    store = Store(path)
    assert store.load().empty
    event = Event(INCIDENT.key, 1, 130.0, "opened", "P2: redis")
    opened = {("redis", Severity.P2): 3}
    rules = {("redis", "P2 any redis"): 100.0}
    changes = Changes(
        {"redis": PROBE}, (), dict(rules), (INCIDENT,), (PAGE,), (NOTICE,), (event,), (WINDOW,), opened,
        {"log": b"\x00\xff"},
    )  # fmt: skip
    assert await store.save(changes)
    store.close()
    again = Store(path)
    saved = again.load()
    assert saved.probes == {"redis": PROBE}
    assert (saved.rules, saved.incidents, saved.pages, saved.opened) == (rules, (INCIDENT,), (PAGE,), opened)
    assert (saved.notices, saved.windows) == ((NOTICE,), (WINDOW,))
    assert (again.events(INCIDENT.key), again.resource("log"), saved.empty) == ([event], b"\x00\xff", False)
    again.close()


async def test_an_event_or_page_that_is_saved_twice_is_there_once(store: Store) -> None:
    event = Event(INCIDENT.key, 1, 130.0, "opened", "P2: redis")
    for _ in range(2):
        await store.save(Changes(incidents=(INCIDENT,), pages=(PAGE,), events=(event,)))
    assert store.events(INCIDENT.key) == [event]
    assert len(store.load().pages) == 1


async def test_one_scenario_has_one_open_incident(store: Store) -> None:
    await store.save(Changes(incidents=(INCIDENT,)))
    second = replace(INCIDENT, key="redis-20261123-1800")
    assert not await store.save(Changes(incidents=(second,)))
    assert [item.key for item in store.load().incidents] == [INCIDENT.key]


def test_a_folder_that_cannot_be_written_is_named_with_what_it_takes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/state\.db: File exists; the daemon's user must be able to write"):
        Store(tmp_path / "file" / "state.db")


async def test_nobody_else_may_read_a_store_from_its_first_moment_on(path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = Store(path)
        await store.save(Changes(incidents=(INCIDENT,)))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("state.db*")}
        store.close()
    finally:
        os.umask(before)
    assert {name: modes[name] for name in ("state.db", "state.db-wal", "state.db-shm")} == {
        "state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600
    }  # fmt: skip


async def test_a_second_daemon_is_refused_and_let_in_when_the_first_is_gone(path: Path) -> None:
    first = Store(path)
    with pytest.raises(Locked, match="another portal-monitor"):
        Store(path)
    first.close()
    Store(path).close()


def test_a_newer_schema_is_refused_in_one_line(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer portal-monitor"):
        Store(path)


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file" / "state.db")


def test_reading_a_store_that_is_not_there_says_so(path: Path) -> None:
    with pytest.raises(StoreError, match="no store yet"):
        read(path)


async def test_a_reader_sees_what_a_running_daemon_saved(store: Store, path: Path) -> None:
    await store.save(Changes({"redis": PROBE}, incidents=(INCIDENT,)))
    saved, events = read(path)
    assert (saved.probes, saved.incidents, events) == ({"redis": PROBE}, (INCIDENT,), {INCIDENT.key: []})


async def test_what_cannot_be_written_is_said_kept_and_written_later(store: Store, path: Path) -> None:
    blocker = sqlite3.connect(path, isolation_level=None)
    store._db.execute("PRAGMA busy_timeout = 50")
    blocker.execute("BEGIN EXCLUSIVE")
    assert not await store.save(Changes(incidents=(INCIDENT,)))
    assert "locked" in store.error
    blocker.execute("COMMIT")
    blocker.close()
    async with asyncio.timeout(10):
        while store.error:
            await asyncio.sleep(0.05)
    assert store.load().incidents == (INCIDENT,)


WRITER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from monitor.core.incident import Event, Incident, State
from monitor.core.runbook import Severity
from monitor.store import Changes, Store

async def main():
    store = Store(Path(sys.argv[1]))
    for number in range(1, 100000):
        item = Incident(f"redis-{number}", "redis", State.RESOLVED, Severity.P2, Severity.P2, number, number)
        events = tuple(Event(item.key, n, number, "kind", "text") for n in (1, 2, 3))
        assert await store.save(Changes(incidents=(replace(item, resolved_at=4e9),), events=events))
        print(number, flush=True)

asyncio.run(main())
"""


def test_a_killed_writer_leaves_whole_moments_and_all_that_were_confirmed(path: Path) -> None:
    for _ in range(5):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if int(line) == 20:
                    break
            os.kill(writer.pid, signal.SIGKILL)
            confirmed = max([20, *(int(line) for line in writer.stdout)])
        store = Store(path)
        keys = [item.key for item in store.load().incidents]
        assert len(keys) in {confirmed, confirmed + 1}
        assert all(len(store.events(key)) == 3 for key in keys)
        store.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_page_of_an_older_store_counts_as_delivered_and_the_file_is_copied_before(path: Path, version: int) -> None:
    with sqlite3.connect(path) as db:
        for script in schema.MIGRATIONS[:version]:
            db.executescript(script)
        db.execute(f"PRAGMA user_version = {version}")
        if version == 1:
            columns = "key, scenario, state, severity, peak, started_at, opened_at, opening, why, relapses"
            db.execute(
                f"INSERT INTO incident ({columns}) VALUES ('redis-1', 'redis', 'investigating', 2, 2, 1, 2, 1, '[]', 0)"
            )
        else:
            facts = msgspec.json.encode(replace(INCIDENT, key="redis-1")).decode()
            row = ("redis-1", "redis", "investigating", 1.0, None, 0, facts)
            db.execute("INSERT INTO incident VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        db.execute(
            "INSERT INTO page (incident, opening, severity, escalation_level, vendor, attempt, labels, due_at, fired_at)"
            " VALUES ('redis-1', 1, 2, 'L1', 'none', 1, '{}', 3, 4)"
        )
    db.close()
    store = Store(path)
    (page,) = store.load().pages
    store.close()
    assert (page.incident, page.fired_at, page.delivered_at, page.fell_back_at) == ("redis-1", 4.0, 4.0, None)
    assert path.with_name(f"{path.name}.v{version}").exists()
