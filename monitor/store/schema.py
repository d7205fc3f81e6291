"""The tables of the store, as the steps that lead to them. A step that was ever released is never changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from monitor.store import history

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE probe (
    name TEXT PRIMARY KEY, target TEXT NOT NULL, state TEXT NOT NULL, cursor TEXT NOT NULL, tally TEXT NOT NULL,
    result TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE rule (scenario TEXT, key TEXT, since REAL NOT NULL, PRIMARY KEY (scenario, key)) WITHOUT ROWID;
CREATE TABLE incident (
    key TEXT PRIMARY KEY, scenario TEXT NOT NULL, state TEXT NOT NULL, severity INTEGER NOT NULL, peak INTEGER NOT NULL,
    started_at REAL NOT NULL, opened_at REAL NOT NULL, opening INTEGER NOT NULL, parent TEXT, why TEXT NOT NULL,
    mitigated_at REAL, resolved_at REAL, relapses INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX one_open_incident_per_scenario ON incident (scenario) WHERE state != 'resolved';
CREATE TABLE page (
    incident TEXT NOT NULL REFERENCES incident (key), opening INTEGER NOT NULL, severity INTEGER NOT NULL,
    escalation_level TEXT NOT NULL, vendor TEXT NOT NULL, attempt INTEGER NOT NULL, labels TEXT NOT NULL,
    due_at REAL NOT NULL, fired_at REAL NOT NULL, ended_at REAL,
    PRIMARY KEY (incident, opening, severity, escalation_level, vendor, attempt)
) WITHOUT ROWID;
CREATE TABLE event (
    incident TEXT NOT NULL, number INTEGER NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    by TEXT NOT NULL, PRIMARY KEY (incident, number)
) WITHOUT ROWID;
CREATE TABLE opened (
    scenario TEXT, severity INTEGER, count INTEGER NOT NULL, PRIMARY KEY (scenario, severity)
) WITHOUT ROWID;
CREATE TABLE resource (key TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
"""

# An incident's facts become one value, so that a new fact needs no new column; what is looked for stays a column.
_LIFECYCLE = """
DROP INDEX one_open_incident_per_scenario;
ALTER TABLE incident RENAME TO old_incident;
CREATE TABLE incident (
    key TEXT PRIMARY KEY, scenario TEXT NOT NULL, state TEXT NOT NULL, started_at REAL NOT NULL, resolved_at REAL,
    evidence INTEGER NOT NULL, facts TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO incident SELECT key, scenario, state, started_at, resolved_at, 0, json_object(
    'key', key, 'scenario', scenario, 'state', state, 'severity', severity, 'peak', peak, 'started_at', started_at,
    'opened_at', opened_at, 'opening', opening, 'parent', parent, 'why', json(why), 'mitigated_at', mitigated_at,
    'resolved_at', resolved_at, 'updated_at', opened_at, 'detected_at',
    coalesce((SELECT at FROM event WHERE incident = old_incident.key AND number = 1), opened_at), 'taken',
    json_array(json_object('severity', severity, 'at', opened_at, 'opening', opening, 'by', 'monitor'))
) FROM old_incident;
CREATE UNIQUE INDEX one_open_incident_per_scenario ON incident (scenario) WHERE state != 'resolved';
CREATE TABLE new_page (
    incident TEXT NOT NULL REFERENCES incident (key), opening INTEGER NOT NULL, severity INTEGER NOT NULL,
    escalation_level TEXT NOT NULL, vendor TEXT NOT NULL, attempt INTEGER NOT NULL, labels TEXT NOT NULL,
    due_at REAL NOT NULL, fired_at REAL NOT NULL, ended_at REAL, fell_back_at REAL,
    PRIMARY KEY (incident, opening, severity, escalation_level, vendor, attempt)
) WITHOUT ROWID;
INSERT INTO new_page SELECT *, NULL FROM page;
DROP TABLE page;
ALTER TABLE new_page RENAME TO page;
DROP TABLE old_incident;
CREATE TABLE notice (
    incident TEXT NOT NULL REFERENCES incident (key), kind TEXT NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL,
    labels TEXT NOT NULL, words TEXT NOT NULL, due_at REAL NOT NULL, fired_at REAL NOT NULL, ended_at REAL,
    PRIMARY KEY (incident, kind, key, number)
) WITHOUT ROWID;
CREATE TABLE maintenance (
    key TEXT PRIMARY KEY, of TEXT NOT NULL, starts_at REAL NOT NULL, ends_at REAL NOT NULL, reason TEXT NOT NULL,
    by TEXT NOT NULL
) WITHOUT ROWID;
"""

# What was open before was told as far as anybody knows: the fallback is not for it.
_DELIVERY = """
ALTER TABLE page ADD COLUMN delivered_at REAL;
UPDATE page SET delivered_at = fired_at;
"""

MIGRATIONS = (_FIRST, _LIFECYCLE, history.TABLES, _DELIVERY)
VERSION = len(MIGRATIONS)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to date, each step in a transaction. A file with history is copied before, as `.v1`, `.v2` ...

    Errors of SQLite pass through; what was done before stays done, and the step itself is undone.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if 0 < version < VERSION:
        _copy(db, path.with_name(f"{path.name}.v{version}"))
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        try:
            db.executescript(f"BEGIN IMMEDIATE;{script}PRAGMA user_version = {number};COMMIT;")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def _copy(db: sqlite3.Connection, target: Path) -> None:
    target.touch(mode=0o600)
    copy = sqlite3.connect(target)
    try:
        db.backup(copy)
    finally:
        copy.close()
