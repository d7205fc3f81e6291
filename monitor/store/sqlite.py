"""The SQLite store: one file, one writer thread, one transaction for all that one moment changed.

Transitions wait until they are committed; the rest of a run is grouped and committed within 100 ms. A file lock
beside the database keeps a second daemon out. While the file cannot be written, what changed is kept (the newest
value of each row, so it is bounded) and tried again every second.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import queue
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import structlog

from monitor.clock import Clock, Moment, SystemClock
from monitor.core.history import Bucket, News, Past
from monitor.core.incident import Event, Incident, Notice, NoticeKind, Page
from monitor.core.level import ProbeState
from monitor.core.maintenance import Window
from monitor.core.probe import Json, Result
from monitor.core.runbook import Severity
from monitor.core.severity import RuleKey
from monitor.core.snapshot import Tally
from monitor.store import history, schema

log = structlog.get_logger()

GROUP_SECONDS = 0.05  # how long a group waits for one more
_GROUP = 100  # batches in a group at the most
RETRY_SECONDS = 1.0
AT_HAND_SECONDS = 31 * 86400.0  # how long a resolved incident is at hand; the store keeps it for longer
KEEP_SECONDS = 400 * 86400.0  # and how long it is kept: a year of month's ends, and some days
TIDY_SECONDS = 3600.0


class StoreError(Exception):
    """The file cannot be used; the text is one line for the operator."""


class Locked(StoreError):
    """Another daemon holds this store."""


@dataclass(frozen=True, slots=True)
class SavedProbe:
    """What is kept of one probe. `target` is a digest: when it changes, state and cursor are dropped."""

    target: str
    state: ProbeState = field(default_factory=ProbeState)
    cursor: Json = None
    tally: Tally = field(default_factory=Tally)
    result: Result | None = None
    past: Past = field(default_factory=Past)
    news: News | None = None  # what this moment adds to the history


@dataclass(frozen=True, slots=True)
class Saved:
    """Everything that was saved, as it is loaded at start."""

    probes: Mapping[str, SavedProbe] = field(default_factory=dict)
    rules: Mapping[RuleKey, float] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()  # open, or resolved within the last month; oldest first
    pages: tuple[Page, ...] = ()  # of those
    notices: tuple[Notice, ...] = ()  # likewise
    windows: tuple[Window, ...] = ()  # maintenance that somebody began and that is not over
    opened: Mapping[tuple[str, Severity], int] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)  # how many events each incident's timeline has
    seen: Moment | None = None  # when the last of it was decided
    empty: bool = True  # nothing was ever saved here


@dataclass(frozen=True, slots=True)
class Changes:
    """What one moment changed; all of it is committed together."""

    probes: Mapping[str, SavedProbe] = field(default_factory=dict)
    gone: tuple[str, ...] = ()  # probes whose rows are dropped
    rules: Mapping[RuleKey, float | None] = field(default_factory=dict)  # None: holds no longer
    incidents: tuple[Incident, ...] = ()
    pages: tuple[Page, ...] = ()
    notices: tuple[Notice, ...] = ()
    events: tuple[Event, ...] = ()
    windows: tuple[Window, ...] = ()
    opened: Mapping[tuple[str, Severity], int] = field(default_factory=dict)
    resources: Mapping[str, bytes] = field(default_factory=dict)
    shift_seconds: float = 0.0  # by how much the wall clock was set: the timelines of these incidents move with it

    @property
    def transition(self) -> bool:
        """Whether someone will be told of it, so that it has to be on disk first."""
        told = self.incidents or self.pages or self.notices or self.events or self.windows
        return bool(told or self.resources or self.shift_seconds)


@dataclass(frozen=True, slots=True)
class Record:
    """All that is kept of one incident."""

    incident: Incident
    pages: tuple[Page, ...] = ()  # oldest first, like all of these
    notices: tuple[Notice, ...] = ()
    events: tuple[Event, ...] = ()


Key = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]


class Store:
    """The one writer. `load` once, then `save` from the event loop."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.path = path
        self._clock = clock or SystemClock()
        self.error = ""  # in words, while the file cannot be written
        self._tidied = self._clock.monotonic()  # not at once: a machine that has just booted may be years ahead
        self._lock = _take_lock(path)
        try:
            self._db = _connect(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._inbox: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_for_ever, name="store", daemon=True)
        self._writer.start()

    def load(self) -> Saved:
        """All that was saved. To be called before the first `save`."""
        return _load(self._db, self._clock.now())

    def resource(self, key: str) -> bytes | None:
        """What a resource saved last under this key."""
        db = _read_only(self.path)
        try:
            row = db.execute("SELECT state FROM resource WHERE key = ?", (key,)).fetchone()
        finally:
            db.close()
        return row[0] if row else None

    def events(self, incident: str) -> list[Event]:
        """The timeline of an incident, oldest first."""
        db = _read_only(self.path)
        try:
            return _events(db, incident)
        finally:
            db.close()

    def buckets(self, probe: str, seconds: int, since: float) -> list[Bucket]:
        """The history of a probe in closed buckets of so many seconds, oldest first."""
        return buckets(self.path, probe, seconds, since)

    def save(self, changes: Changes) -> asyncio.Future[bool]:
        """Keep the changes. The future is True once they are committed, False if they cannot be for now.

        A transition is committed at once; other changes are grouped first. What could not be committed is tried again.
        """
        statements = _statements(changes)
        if statements:  # with the time at which this was decided, not written: no step of the clock since is in it yet
            statements["seen",] = (_META, ("seen", _encode(self._clock.moment())))
        return self._put(_Batch(statements, asyncio.get_running_loop(), urgent=changes.transition))

    async def save_resource(self, key: str, state: bytes) -> None:
        """Keep what a resource must know after a restart; returns once it is committed."""
        while not await self.save(Changes(resources={key: state})):  # noqa: ASYNC110 (tries, no polling)
            await asyncio.sleep(RETRY_SECONDS)  # between tries; the store itself tries again too

    def _put(self, batch: _Batch) -> asyncio.Future[bool]:
        self._inbox.put(batch)
        return batch.done

    def close(self) -> None:
        """Commit what is left, and let another daemon in."""
        self._inbox.put(None)
        self._writer.join(timeout=5)
        self._db.close()
        os.close(self._lock)

    # --- in the writer's thread ---------------------------------------------------------------------------------------

    def _write_for_ever(self) -> None:
        pending: dict[Key, Statement] = {}
        closing = False
        while not closing:
            self._tidy()
            batches, closing = self._collect(block=not pending)
            for batch in batches:
                for key, statement in batch.statements.items():
                    pending.pop(key, None)  # a newer value takes the place of an older one, and its turn
                    pending[key] = statement
            committed = self._try(pending)
            if committed:
                pending = {}
            for batch in batches:
                batch.tell(committed=committed)

    def _tidy(self) -> None:
        """Forget what is old, now and then: while there is something to write, which is always."""
        now = self._clock.monotonic()
        if self._tidied + TIDY_SECONDS > now:
            return
        self._tidied = now
        try:
            forget(self._db, self._clock.now())
        except sqlite3.Error as error:
            log.warning("store_not_tidied", file=str(self.path), error=str(error))

    def _collect(self, *, block: bool) -> tuple[list[_Batch], bool]:
        """What is to be written now: everything of the last 100 ms, or sooner if somebody waits for it."""
        batches: list[_Batch] = []
        try:
            item = self._inbox.get(timeout=None if block else RETRY_SECONDS)
        except queue.Empty:
            return [], False
        waited = False
        while item is not None:
            batches.append(item)
            waited = waited or item.urgent
            try:
                item = self._inbox.get_nowait() if waited else self._inbox.get(timeout=GROUP_SECONDS)
            except queue.Empty:
                return batches, False
            waited = waited or len(batches) >= _GROUP
        return batches, True

    def _try(self, pending: dict[Key, Statement]) -> bool:
        """Commit; whatever goes wrong, the writer lives on and says so."""
        if not pending:
            return True
        try:
            self._commit(pending)
        except sqlite3.IntegrityError as error:
            log.exception("store_row_refused", file=str(self.path))
            self.error = f"{self.path}: {error}"
            return self._drop_refused(pending)
        except Exception as error:
            if not self.error:
                log.error("store_failed", file=str(self.path), error=str(error))
            self.error = f"{self.path}: {error}"
            return False
        if self.error:
            log.info("store_works_again", file=str(self.path))
        self.error = ""
        return True

    def _commit(self, pending: Mapping[Key, Statement]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for sql, values in pending.values():
                self._db.execute(sql, values)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _drop_refused(self, pending: dict[Key, Statement]) -> bool:
        """Take the rows out that contradict what is saved, so that they do not hold up all others. Always False."""
        for key, statement in list(pending.items()):
            try:
                self._commit({key: statement})
                del pending[key]
            except sqlite3.IntegrityError:
                del pending[key]
            except sqlite3.Error:
                return False
        return False


def forget(db: sqlite3.Connection, now: float) -> None:
    """Delete incidents that were resolved over a year ago, with all that was told of them, and maintenance as old.

    One that was declared as what must keep its evidence (`evidence_hold`) stays.
    """
    before = now - KEEP_SECONDS
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in _FORGET:
            db.execute(statement, (before,))
        for text, values in history.forget(now):
            db.execute(text, values)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def backup(path: Path, target: Path) -> None:
    """Copy a store, also a running daemon's, into a new file. StoreError if there is none, or if the target exists."""
    if not path.exists():
        raise StoreError(f"{path}: there is no store yet; it is made when the daemon first runs")
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.close(descriptor)
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}") from error
    source = _read_only(path)
    copy = sqlite3.connect(target)
    try:
        source.backup(copy)
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise StoreError(f"{target}: {error}") from error
    finally:
        copy.close()
        source.close()


def incidents_since(path: Path, since: float) -> tuple[Incident, ...]:
    """Every incident that is open or was resolved after `since`; oldest first. StoreError if there is no store."""
    if not path.exists():
        raise StoreError(f"{path}: there is no store yet; it is made when the daemon first runs")
    db = _read_only(path)
    try:
        _check_version(db, path)
        return _incidents(db, since)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        db.close()


def pages_since(path: Path, since: float) -> tuple[Page, ...]:
    """The pages of those incidents, oldest first. StoreError if there is no store."""
    if not path.exists():
        raise StoreError(f"{path}: there is no store yet; it is made when the daemon first runs")
    db = _read_only(path)
    try:
        _check_version(db, path)
        where = " WHERE incident IN (SELECT key FROM incident WHERE resolved_at IS NULL OR resolved_at > ?)"
        return tuple(_pages(db, where, (since,)))
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        db.close()


def timelines_since(path: Path, since: float) -> dict[str, list[Event]]:
    """The timelines of those incidents, each oldest line first. StoreError if there is no store."""
    if not path.exists():
        raise StoreError(f"{path}: there is no store yet; it is made when the daemon first runs")
    db = _read_only(path)
    found: dict[str, list[Event]] = {}
    try:
        _check_version(db, path)
        rows = db.execute(
            "SELECT incident, number, at, kind, text, by FROM event WHERE incident IN"
            " (SELECT key FROM incident WHERE resolved_at IS NULL OR resolved_at > ?) ORDER BY incident, number",
            (since,),
        )
        for row in rows:
            found.setdefault(row[0], []).append(Event(*row))
        return found
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        db.close()


def record(path: Path, key: str) -> Record | None:
    """All that is kept of one incident, however old; None if there is none. StoreError if there is no store."""
    if not path.exists():
        raise StoreError(f"{path}: there is no store yet; it is made when the daemon first runs")
    db = _read_only(path)
    try:
        _check_version(db, path)
        row = db.execute("SELECT facts FROM incident WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        pages, notices = _pages(db, " WHERE incident = ?", (key,)), _notices(db, " WHERE incident = ?", (key,))
        return Record(_decode(row[0], Incident), tuple(pages), tuple(notices), tuple(_events(db, key)))
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        db.close()


def read(path: Path) -> tuple[Saved, dict[str, list[Event]]]:
    """What a store holds, and the timelines, while its daemon is down or someone else's. StoreError if there is none."""
    if not path.exists():
        raise StoreError(f"{path}: there is no store yet; it is made when the daemon first runs")
    db = _read_only(path)
    try:
        _check_version(db, path)
        saved = _load(db, SystemClock().now())
        return saved, {incident.key: _events(db, incident.key) for incident in saved.incidents}
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        db.close()


def buckets(path: Path, probe: str, seconds: int, since: float) -> list[Bucket]:
    """The history of a probe in closed buckets of so many seconds, oldest first. StoreError if it cannot be read."""
    db = _read_only(path)
    try:
        return history.buckets(db, probe, seconds, since)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        db.close()


class _Batch:
    """Statements by the row they write, and who waits for them."""

    def __init__(self, statements: Mapping[Key, Statement], loop: asyncio.AbstractEventLoop, *, urgent: bool) -> None:
        self.statements, self.urgent = statements, urgent
        self.done: asyncio.Future[bool] = loop.create_future()
        self._loop = loop

    def tell(self, *, committed: bool) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(_set, self.done, committed)


def _set(future: asyncio.Future[bool], committed: bool) -> None:
    if not future.done():
        future.set_result(committed)


# --- the file --------------------------------------------------------------------------------------------------------


def _take_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        wanted = "the daemon's user must be able to write in its folder, which `store:` of probes.yaml names"
        raise StoreError(f"{path}: {error.strerror}; {wanted}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise Locked(f"{path}: another portal-monitor is running on this store") from error
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.touch(0o600)
        path.chmod(0o600)  # before SQLite opens it: the files that it makes beside it have the mode of this one
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a page that was sent must be known after a power cut too
        _check_version(db, path, oldest=0)
        schema.migrate(db, path)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {error}") from error
    return db


def _read_only(path: Path) -> sqlite3.Connection:
    """A connection that neither makes a file nor waits long for one."""
    try:
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def _check_version(db: sqlite3.Connection, path: Path, *, oldest: int = schema.VERSION) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > schema.VERSION:
        raise StoreError(
            f"{path}: schema version {version}, written by a newer portal-monitor; this one knows {schema.VERSION}"
        )
    if version < oldest:
        raise StoreError(
            f"{path}: schema version {version}, of an older portal-monitor; the daemon brings it up to date"
        )


def _load(db: sqlite3.Connection, now: float) -> Saved:
    incidents = _incidents(db, now - AT_HAND_SECONDS)
    known = {incident.key for incident in incidents}
    pages = tuple(page for page in _pages(db) if page.incident in known)
    notices = tuple(notice for notice in _notices(db) if notice.incident in known)
    probes = {
        name: SavedProbe(
            target, _decode(state, ProbeState), _decode(cursor, Any), _decode(tally, Tally), _last_result(result),
            history.past(db, name),
        )
        for name, target, state, cursor, tally, result in db.execute(
            "SELECT name, target, state, cursor, tally, result FROM probe"
        )
    }  # fmt: skip
    row = db.execute("SELECT value FROM meta WHERE key = 'seen'").fetchone()
    seen = _decode(row[0], Moment) if row else None
    return Saved(
        probes,
        {(scenario, key): since for scenario, key, since in db.execute("SELECT scenario, key, since FROM rule")},
        incidents,
        pages,
        notices,
        _windows(db, min(now, seen[2]) if seen else now),  # by the clock it was saved by: it may have been set since
        {(name, Severity(severity)): count for name, severity, count in db.execute("SELECT * FROM opened")},
        dict(db.execute("SELECT incident, max(number) FROM event GROUP BY incident")),
        seen,
        empty=seen is None,
    )


def _incidents(db: sqlite3.Connection, since: float) -> tuple[Incident, ...]:
    """Those that are open, or were resolved after `since`; oldest first."""
    rows = db.execute(
        "SELECT facts FROM incident WHERE resolved_at IS NULL OR resolved_at > ? ORDER BY started_at, key", (since,)
    )
    return tuple(_decode(facts, Incident) for (facts,) in rows)


def _pages(db: sqlite3.Connection, where: str = "", values: tuple[str | float, ...] = ()) -> list[Page]:
    rows = db.execute(
        "SELECT incident, opening, severity, escalation_level, vendor, attempt, labels, due_at, fired_at, ended_at,"  # noqa: S608
        f" fell_back_at, delivered_at FROM page{where} ORDER BY fired_at",
        values,
    )
    return [
        Page(incident, opening, Severity(severity), level, vendor, attempt, _decode(labels, dict[str, str]), *times)
        for incident, opening, severity, level, vendor, attempt, labels, *times in rows
    ]


def _notices(db: sqlite3.Connection, where: str = "", values: tuple[str, ...] = ()) -> list[Notice]:
    rows = db.execute(
        "SELECT incident, kind, key, number, labels, words, due_at, fired_at, ended_at"  # noqa: S608 (our own text)
        f" FROM notice{where} ORDER BY fired_at",
        values,
    )
    return [
        Notice(
            incident, NoticeKind(kind), key, number, _decode(labels, dict[str, str]), _decode(words, dict[str, str]),
            *times,
        )
        for incident, kind, key, number, labels, words, *times in rows
    ]  # fmt: skip


def _windows(db: sqlite3.Connection, now: float) -> tuple[Window, ...]:
    rows = db.execute("SELECT key, of, starts_at, ends_at, reason, by FROM maintenance WHERE ends_at > ?", (now,))
    return tuple(Window(key, tuple(_decode(of, list[str])), *rest) for key, of, *rest in rows)


def _last_result(text: str) -> Result | None:
    """The last run, for people only; one that cannot be read is no reason not to start."""
    try:
        result: Result | None = _decode(text, Result | None)
    except msgspec.ValidationError:
        return None
    return result


def _events(db: sqlite3.Connection, incident: str) -> list[Event]:
    rows = db.execute(
        "SELECT incident, number, at, kind, text, by FROM event WHERE incident = ? ORDER BY number", (incident,)
    )
    return [Event(*row) for row in rows]


_FORGET = (
    *(
        f"DELETE FROM {table} WHERE incident IN (SELECT key FROM incident WHERE resolved_at < ? AND NOT evidence)"  # noqa: S608
        for table in ("page", "notice", "event")
    ),
    "DELETE FROM incident WHERE resolved_at < ? AND NOT evidence",
    "DELETE FROM maintenance WHERE ends_at < ?",
)

# --- statements ------------------------------------------------------------------------------------------------------

_META = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
_PROBE = "INSERT OR REPLACE INTO probe (name, target, state, cursor, tally, result) VALUES (?, ?, ?, ?, ?, ?)"
_RULE = "INSERT OR REPLACE INTO rule (scenario, key, since) VALUES (?, ?, ?)"
_INCIDENT = (
    "INSERT INTO incident (key, scenario, state, started_at, resolved_at, evidence, facts) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET state = excluded.state, started_at = excluded.started_at,"
    " resolved_at = excluded.resolved_at, evidence = excluded.evidence, facts = excluded.facts"
)
_PAGE = (
    "INSERT INTO page (incident, opening, severity, escalation_level, vendor, attempt, labels, due_at, fired_at,"
    " ended_at, fell_back_at, delivered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " due_at = excluded.due_at, fired_at = excluded.fired_at, ended_at = excluded.ended_at,"
    " fell_back_at = excluded.fell_back_at, delivered_at = excluded.delivered_at"
)
_NOTICE = (
    "INSERT INTO notice (incident, kind, key, number, labels, words, due_at, fired_at, ended_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET due_at = excluded.due_at, fired_at = excluded.fired_at, ended_at = excluded.ended_at"
)
_WINDOW = "INSERT OR REPLACE INTO maintenance (key, of, starts_at, ends_at, reason, by) VALUES (?, ?, ?, ?, ?, ?)"
_EVENT = "INSERT OR IGNORE INTO event (incident, number, at, kind, text, by) VALUES (?, ?, ?, ?, ?, ?)"
_OPENED = "INSERT OR REPLACE INTO opened (scenario, severity, count) VALUES (?, ?, ?)"
_RESOURCE = "INSERT OR REPLACE INTO resource (key, state) VALUES (?, ?)"


_SHIFTS = itertools.count()  # two steps of the clock are two, also where they wait for the disk together


def _statements(changes: Changes) -> dict[Key, Statement]:
    return dict(_rows(changes))


def _rows(changes: Changes) -> Iterable[tuple[Key, Statement]]:
    if changes.shift_seconds:
        for incident in changes.incidents:
            step = (changes.shift_seconds, incident.key)
            yield ("shift", next(_SHIFTS)), ("UPDATE event SET at = at + ? WHERE incident = ?", step)
    for name in changes.gone:
        yield ("probe", name), ("DELETE FROM probe WHERE name = ?", (name,))
        yield ("runs", name), ("DELETE FROM run WHERE probe = ?", (name,))
    for name, probe in changes.probes.items():
        columns = (probe.state, probe.cursor, probe.tally, probe.result)
        yield ("probe", name), (_PROBE, (name, probe.target, *map(_encode, columns)))
        yield from history.statements(name, probe.news) if probe.news else ()
    for (scenario, key), since in changes.rules.items():
        if since is None:
            yield ("rule", scenario, key), ("DELETE FROM rule WHERE scenario = ? AND key = ?", (scenario, key))
        else:
            yield ("rule", scenario, key), (_RULE, (scenario, key, since))
    # The row that closes an incident goes before the one that opens the next of its scenario: one is open at a time.
    for incident in sorted(changes.incidents, key=lambda incident: incident.open):
        yield ("incident", incident.key), (_INCIDENT, _incident_row(incident))
    for page in changes.pages:
        identity = (page.incident, page.opening, int(page.severity), page.escalation_level, page.vendor, page.attempt)
        told = (page.due_at, page.fired_at, page.ended_at, page.fell_back_at, page.delivered_at)
        row = (*identity, _encode(dict(page.labels)), *told)
        yield ("page", *identity), (_PAGE, row)
    for notice in changes.notices:
        what = (notice.incident, notice.kind.value, notice.key, notice.number)
        said = (_encode(dict(notice.labels)), _encode(dict(notice.words)))
        yield ("notice", *what), (_NOTICE, (*what, *said, notice.due_at, notice.fired_at, notice.ended_at))
    for window in changes.windows:
        span = (window.starts_at, window.ends_at)
        yield ("window", window.key), (_WINDOW, (window.key, _encode(window.of), *span, window.reason, window.by))
    for event in changes.events:
        line = (event.incident, event.number, event.at, event.kind, event.text, event.by)
        yield ("event", event.incident, event.number), (_EVENT, line)
    for (scenario, severity), count in changes.opened.items():
        yield ("opened", scenario, severity), (_OPENED, (scenario, int(severity), count))
    for key, state in changes.resources.items():
        yield ("resource", key), (_RESOURCE, (key, state))


def _incident_row(incident: Incident) -> tuple[Any, ...]:
    columns = (incident.key, incident.scenario, incident.state.value, incident.started_at, incident.resolved_at)
    return (*columns, incident.evidence, _encode(incident))


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _decode(text: str, type_: Any) -> Any:
    return msgspec.json.decode(text, type=type_)
