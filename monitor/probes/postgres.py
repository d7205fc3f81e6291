"""Whether PostgreSQL answers and takes writes, and what wears it out: connections, long transactions, locks.

It only reads, in read-only transactions with time limits that end with them, so that a pooler in between passes
nothing on to the portal's own sessions. A run costs two messages: SELECT 1, and one query of the statistics views that
gives one row.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg import waiting
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, SecretStr

from monitor.core.probe import (
    Cost,
    Fault,
    Measure,
    Opening,
    Options,
    ProbeContext,
    ProbeError,
    ProbeType,
    Reading,
    Reason,
    SecretUrl,
    Value,
)
from monitor.probes._lookup import lookup
from monitor.probes._socket import hung_up

APPLICATION = "portal-monitor"

MEASURES: Mapping[str, Measure] = {
    "query_seconds": Measure("Time of SELECT 1 on the held connection"),
    "connections": Measure("Client connections, without the monitor's own"),
    "connections_limit": Measure(
        "Client connections that ordinary roles may hold: max_connections less those reserved"
    ),
    "connections_used_ratio": Measure("Client connections, the monitor's own among them, of connections_limit"),
    "idle_in_transaction": Measure("Connections that hold a transaction open and do nothing"),
    "longest_transaction_seconds": Measure("Age of the oldest open transaction; 0 without one"),
    "longest_query_seconds": Measure("Age of the oldest running query; 0 without one"),
    "locks_waiting": Measure("Lock requests that wait for somebody else"),
    "deadlocks_per_second": Measure("Deadlocks that PostgreSQL had to break, since the run before"),
    "pool_used_ratio": Measure("Sessions of `pool.role` that are not idle, of `pool.limit`"),
    "replicas": Measure("Standbys that follow this server"),
    "replication_lag_seconds": Measure("How far the slowest standby is behind; on a standby, how far it is itself"),
    "slots_inactive": Measure("Replication slots that nobody reads from: they keep WAL until the disk is full"),
    "slots_retained_bytes": Measure("WAL kept for the slot that is furthest behind; 0 without one"),
    "stats_visible": Measure("1 if the monitor may see what other roles do (pg_monitor), 0 if not", kind="state"),
}

REASONS: Mapping[str, Reason] = {
    "unreachable": Reason(
        Fault.TARGET, "Nothing answers there: see whether PostgreSQL runs, then DATABASE_URL and the network between."
    ),
    "saturated": Reason(
        Fault.TARGET,
        "PostgreSQL runs but has no connection left: see who holds them in pg_stat_activity, and Prisma's"
        " connection_limit times the number of instances.",
    ),
    "starting": Reason(
        Fault.TARGET, "PostgreSQL is starting, recovering or shutting down: wait, and read its log for the cause."
    ),
    "slow": Reason(
        Fault.TARGET, "A simple query ran into its time limit: look for long queries and locks, then at the disk."
    ),
    "readonly": Reason(
        Fault.TARGET,
        "PostgreSQL takes no writes: a standby after a failover, or read-only because its disk is nearly full.",
    ),
    "resources": Reason(Fault.TARGET, "PostgreSQL is out of disk or memory, or has read and write errors: free some."),
    "corrupt": Reason(
        Fault.TARGET, "PostgreSQL reports damaged data: stop writing to it and open the database operations runbook."
    ),
    "refused": Reason(Fault.TARGET, "PostgreSQL answers with an error that the detail quotes: look at its log."),
    # A database's certificate is mostly of a private CA, so a refused one is more often our setup than an outage.
    "tls": Reason(
        Fault.ACCESS, "No TLS with this address: compare `sslmode` and `sslrootcert` in `url` with what it offers."
    ),
    "protocol": Reason(Fault.ACCESS, "What answers there is not PostgreSQL: check the host and port in `url`."),
    "auth": Reason(
        Fault.ACCESS, "PostgreSQL does not accept the monitor's login: check the user, password and pg_hba.conf."
    ),
    "config": Reason(Fault.ACCESS, "PostgreSQL has no database of the name in `url`, or none that may be entered."),
    "privileges": Reason(Fault.ACCESS, "The monitor's role lacks a right that the detail names: grant it."),
}  # fmt: skip

_BY_STATE: Mapping[str, str] = {
    "53300": "saturated", "57P03": "starting", "57014": "slow", "55P03": "slow", "42501": "privileges",
    "3D000": "config", "XX001": "corrupt", "XX002": "corrupt",
    "57P01": "unreachable", "57P02": "unreachable", "57P04": "unreachable", "57P05": "unreachable",
    "28": "auth", "08": "unreachable", "53": "resources", "58": "resources",
}  # fmt: skip
"""Reasons by SQLSTATE or its class (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

_BY_WORDS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("saturated", (
        "too many clients already", "connection slots are reserved", "too many connections for",
        "no more connections allowed", "query_wait_timeout", "max client connections reached",
    )),
    ("config", ("is not currently accepting connections",)),
    ("starting", ("is starting up", "is shutting down", "in recovery mode", "not accepting connections",
                  "not yet accepting connections")),
    ("auth", ("authentication failed", "no pg_hba.conf entry", "no password supplied", "is not permitted to log in",
              "authentication method", "pg_hba.conf rejects")),
    ("config", ("fatal: database",)),
    ("auth", ("fatal: role",)),
    ("privileges", ("permission denied for",)),
    ("protocol", ("invalid response to ssl negotiation", "authentication request", "message length",
                  "protocol version", "lost synchronization", "message contents do not agree")),
    ("tls", ("ssl", "tls", "certificate")),
    ("refused", ("fatal:", "error:")),
)  # fmt: skip
"""Reasons by words: libpq passes no SQLSTATE on while it connects. A server that speaks another language is `refused`,
except what libpq itself says."""

_OURS = ("too many open files", "cannot assign requested address")

_LIBPQ_PARAMETERS = frozenset({
    "host", "hostaddr", "port", "user", "password", "dbname", "options", "sslmode", "sslrootcert", "sslnegotiation",
    "ssl_min_protocol_version", "channel_binding", "gssencmode", "require_auth", "target_session_attrs",
    "load_balance_hosts", "tcp_user_timeout",
})  # fmt: skip
"""What is kept of a URL's parameters; `schema`, `connection_limit`, `pgbouncer` and so on are Prisma's alone."""

_CLIENT_CERTIFICATE = frozenset({"sslcert", "sslkey", "sslpassword"})  # Prisma's `sslcert` alone is a CA: not libpq's
_SSL_MODES = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}


def _parameters(url: str) -> dict[str, Any]:
    """What libpq is given of a URL; psycopg.ProgrammingError if it is none."""
    base, _, query = url.partition("?")
    given = parse_qsl(query, keep_blank_values=True)
    names = {name for name, _ in given}
    known = _LIBPQ_PARAMETERS | (_CLIENT_CERTIFICATE if {"sslcert", "sslkey"} <= names else frozenset())
    kept = urlencode([(name, value) for name, value in given if name in known], quote_via=quote)
    found: dict[str, Any] = {"gssencmode": "disable", **conninfo_to_dict(f"{base}?{kept}" if kept else base)}
    if found.get("sslmode") == "no-verify":  # node-postgres's word
        found["sslmode"] = "require"
    return found


def _checked(value: SecretStr) -> SecretStr:
    """The URL if libpq can use it. The messages never quote it."""
    url = value.get_secret_value()
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("not the address of a PostgreSQL server; write postgresql://user:password@host:5432/database")
    try:
        parameters = _parameters(url)
    except (psycopg.ProgrammingError, ValueError):
        raise ValueError(
            "cannot be read; write postgresql://user:password@host:5432/database"
            " (encode special characters of a password: %40 for @)"
        ) from None
    if any(port and not port.isdecimal() for port in str(parameters.get("port", "")).split(",")):
        raise ValueError("has a port that is no number (encode special characters of a password: %40 for @)")
    if parameters.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"has an unknown sslmode; known: {', '.join(sorted(_SSL_MODES))}")
    return value


class Pool(Options):
    """A connection pool, as the server sees it: Prisma's `connection_limit` times the number of instances."""

    role: str = Field(min_length=1, max_length=63)
    limit: int = Field(ge=1)


class PostgresOptions(Options):
    url: Annotated[SecretUrl, AfterValidator(_checked)]
    pool: Pool | None = None
    role: Literal["primary", "any"] = "primary"  # `any` for a standby that is meant to be one


class _Connection(psycopg.AsyncConnection[Any]):
    async def wait(self, gen: Any, interval: float = 1.0, timeout: float | None = None) -> Any:
        """As the base, but what is cut off ends the connection; the base would first ask the server to cancel."""
        try:
            return await waiting.wait_async(
                gen, self.pgconn.socket, interval, **({} if timeout is None else {"timeout": timeout})
            )
        except psycopg.Error:
            raise
        except BaseException:
            self.pgconn.finish()
            raise


@asynccontextmanager
async def _open(options: PostgresOptions, opening: Opening) -> AsyncIterator[_Connection]:  # noqa: ARG001
    parameters = {**_parameters(options.url.get_secret_value()), "application_name": APPLICATION}
    with _translated():
        parameters |= await _addresses(parameters)
        connection = await _Connection.connect(**parameters, autocommit=True, prepare_threshold=None)
    try:
        yield connection
    finally:
        await connection.close()


async def _watch(options: PostgresOptions, connection: _Connection) -> AsyncIterator[str]:  # noqa: ARG001
    await hung_up(lambda: -1 if connection.closed else connection.fileno())
    yield "closed"


async def _run(options: PostgresOptions, context: ProbeContext) -> Reading:
    connection: _Connection = context.resource
    with _translated():
        began = time.perf_counter()
        await connection.execute("SELECT 1")
        answered: dict[str, Value] = {"query_seconds": time.perf_counter() - began}
    with _translated(Reading(answered)):
        found = await _one_row(connection, _STATISTICS, context.timeout_seconds)
    measured = {**answered, **_measure(found, options), **_deadlock_rate(found, context)}
    cursor = {"at": context.now, "deadlocks": found["deadlocks"]}
    reading = Reading(measured, cursor=cursor, details=_describe(found, connection))
    if options.role == "primary" and (found["in_recovery"] or found["read_only"]):
        words = "in recovery: a standby" if found["in_recovery"] else "default_transaction_read_only is on"
        raise ProbeError("readonly", words, reading=reading)
    return reading


async def _addresses(parameters: Mapping[str, Any]) -> dict[str, str]:
    """`host`, `hostaddr` and `port` for each address of each name, so that the library need not look them up."""
    hosts = str(parameters.get("host", "")).split(",")
    ports = str(parameters.get("port") or 5432).split(",")
    if "hostaddr" in parameters or len(ports) not in {1, len(hosts)}:
        return {}
    places: list[tuple[str, str, str]] = []
    unknown: socket.gaierror | None = None
    for host, port in zip(hosts, ports * (len(hosts) // len(ports)), strict=True):
        if not host or host.startswith("/"):  # a socket in the file system
            places.append((host, "", port))
            continue
        try:
            places += [(host, str(found[4][0]), port) for found in await lookup(host, int(port or 5432))]
        except socket.gaierror as error:
            unknown = error
    if not places and unknown:
        raise ProbeError("unreachable", f"DNS: {unknown.strerror}") from unknown
    columns = [",".join(column) for column in zip(*places, strict=True)]
    return dict(zip(("host", "hostaddr", "port"), columns, strict=True))


async def _one_row(connection: _Connection, query: str, timeout_seconds: float) -> dict[str, Any]:
    """The row that a query gives, in a read-only transaction of its own with limits below the run's deadline.

    All in one message: PostgreSQL makes one transaction of it, which ends with the message whatever happens.
    """
    limit_ms = max(1, int(timeout_seconds * 800))
    limits = f"SET LOCAL statement_timeout = {limit_ms}; SET LOCAL lock_timeout = {limit_ms}"
    cursor = await connection.execute(f"SET TRANSACTION READ ONLY; {limits}; {query}".encode())
    while cursor.nextset():
        pass
    row = await cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    return dict(zip((column.name for column in cursor.description), row, strict=True))


# A standby that has played all it received is up to date only while it still receives: cut off, it grows old unnoticed.
#
# `hidden`: sessions of others whose doings we may not see; what PostgreSQL itself runs has no database. `present` counts
# them all the same. Our own sessions are told by name and role, because there may be two: the held and a fresh one.
_STATISTICS = f"""
WITH session AS (
    SELECT *, backend_type = 'client backend' AS client, backend_type IS NULL AND datid IS NOT NULL AS hidden,
        application_name = '{APPLICATION}' AND usename = current_user AS own
    FROM pg_stat_activity
), seen AS (
    SELECT
        count(*) FILTER (WHERE client) AS clients,
        count(*) FILTER (WHERE own) AS own,
        count(*) FILTER (WHERE hidden) AS hidden,
        count(*) FILTER (WHERE client AND state LIKE 'idle in transaction%') AS idle_in_transaction,
        max(clock_timestamp() - xact_start) FILTER (WHERE client AND NOT own) AS longest_transaction,
        max(clock_timestamp() - query_start) FILTER (WHERE client AND NOT own AND state = 'active') AS longest_query
    FROM session
), busy AS (
    SELECT usename AS role, count(*) AS sessions FROM session WHERE client AND state <> 'idle' GROUP BY usename
), standby AS (
    SELECT count(*) AS replicas, coalesce(extract(epoch FROM max(replay_lag)), 0)::float8 AS replay_lag
    FROM pg_stat_replication
), slot AS (
    SELECT
        count(*) FILTER (WHERE NOT active) AS slots_inactive,
        coalesce(max(pg_wal_lsn_diff(
            CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn
        )), 0)::float8 AS slots_retained_bytes
    FROM pg_replication_slots
)
SELECT
    clients, own, hidden, idle_in_transaction,
    coalesce(extract(epoch FROM longest_transaction), 0)::float8 AS longest_transaction_seconds,
    coalesce(extract(epoch FROM longest_query), 0)::float8 AS longest_query_seconds,
    (SELECT sum(numbackends) FROM pg_stat_database)::bigint AS present,
    (SELECT count(*) FROM pg_locks WHERE NOT granted) AS locks_waiting,
    (SELECT sum(deadlocks) FROM pg_stat_database)::bigint AS deadlocks,
    (SELECT json_object_agg(role, sessions) FROM busy) AS busy,
    replicas, replay_lag, slots_inactive, slots_retained_bytes,
    CASE WHEN receiving AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 END AS own_lag,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0) AS connections_limit,
    pg_has_role('pg_read_all_stats', 'USAGE') AS stats_visible,
    pg_is_in_recovery() AS in_recovery,
    current_setting('default_transaction_read_only') = 'on' AS read_only
FROM seen, standby, slot, (SELECT count(*) > 0 AS receiving FROM pg_stat_wal_receiver) AS receiver
"""  # noqa: S608 the only value in it is a constant


def _measure(found: Mapping[str, Any], options: PostgresOptions) -> dict[str, Value]:
    """What may be seen of everybody; what is hidden is absent, never 0."""
    complete = found["stats_visible"] or not found["hidden"]
    total = found["clients"] if complete else found["present"]
    measured = {
        "connections": total - found["own"],
        "connections_limit": found["connections_limit"],
        "connections_used_ratio": total / found["connections_limit"] if found["connections_limit"] > 0 else None,
        "locks_waiting": found["locks_waiting"],
        "stats_visible": found["stats_visible"],
        "replicas": found["replicas"],
        "slots_inactive": found["slots_inactive"],
        "slots_retained_bytes": found["slots_retained_bytes"],
    }
    if complete:
        names = ("idle_in_transaction", "longest_transaction_seconds", "longest_query_seconds")
        measured |= {name: found[name] for name in names}
    if complete and options.pool:
        measured["pool_used_ratio"] = (found["busy"] or {}).get(options.pool.role, 0) / options.pool.limit
    if found["in_recovery"]:
        measured["replication_lag_seconds"] = found["own_lag"]
    elif found["replicas"] and found["stats_visible"]:
        measured["replication_lag_seconds"] = found["replay_lag"]
    return {name: float(value) for name, value in measured.items() if value is not None}


def _deadlock_rate(found: Mapping[str, Any], context: ProbeContext) -> dict[str, Value]:
    """Since the run before; a count that is smaller was reset, and has grown to what it is."""
    before = context.cursor if isinstance(context.cursor, dict) else None
    if before is None or context.now <= before["at"]:
        return {}
    now, then = found["deadlocks"], before["deadlocks"]
    return {"deadlocks_per_second": (now - then if now >= then else now) / (context.now - before["at"])}


def _describe(found: Mapping[str, Any], connection: _Connection) -> dict[str, str]:
    details = {"version": str(connection.info.parameter_status("server_version") or "unknown").partition(" ")[0]}
    if not found["stats_visible"]:
        details["blind"] = (
            f"{found['hidden']} sessions of other roles are hidden: GRANT pg_monitor to the monitor's role"
        )
    return details


@contextmanager
def _translated(reading: Reading | None = None) -> Iterator[None]:
    """Turn the library's errors into ProbeErrors; what is our own fault passes through."""
    try:
        yield
    except psycopg.Error as error:
        reason, detail = _judged(error)
        raise ProbeError(reason, detail, reading=reading) from error


def _judged(error: psycopg.Error) -> tuple[str, str]:
    """The reason, and a line that is safe to show."""
    words = " ".join(str(error).split())
    state = error.sqlstate
    if state and state != "08P01":  # which is a pooler's word for everything
        reason = _BY_STATE.get(state) or _BY_STATE.get(state[:2], "refused")
        return reason, f"{state} {error.diag.message_primary or words}"[:200]
    spoken = words.lower()
    if any(ours in spoken for ours in _OURS):
        raise error
    found = [reason for reason, hints in _BY_WORDS if any(hint in spoken for hint in hints)]
    told = words.rpartition(" failed: ")[2].partition(" Is the server running")[0]
    return found[0] if found else "unreachable", told[:200]


PROBE = ProbeType(
    name="postgres",
    help="PostgreSQL answers and takes writes; its connections, transactions and locks are within limits.",
    options=PostgresOptions,
    measures=MEASURES,
    reasons=REASONS,
    run=_run,
    target_keys=frozenset({"url"}),
    open=_open,
    watch=_watch,
    resource_key=lambda options: options.url.get_secret_value(),
    cost=Cost(
        "Two messages: SELECT 1, and one read-only transaction of four statements, the last of which takes one row out of"
        " the statistics views. No table of the portal is read, and every statement has a time limit.",
        "statements",
        most=lambda options: 5,
        rows=lambda options: 2,
    ),
    privileges=(
        "`LOGIN`, and `CONNECT` on the database",
        "`pg_read_all_stats` (or `pg_monitor`): without it, what other roles do is hidden, and those measurements are absent",
        "`pg_use_reserved_connections` with `reserved_connections = 2` (from 16 on): a place when all others are taken",
    ),
    example="""
type: postgres
url: ${DATABASE_URL}
pool: {role: portal, limit: 10}
warn: connections_used_ratio > 80%
fail: connections_used_ratio > 95%
""",
)
