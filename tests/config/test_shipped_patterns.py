"""The patterns of the shipped log probes against lines as pino, Prisma and Nest write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.logs.scan import compile_pattern
from tests.config.test_shipped import shipped

SAMPLES = Path(__file__).resolve().parent.parent / "logs" / "pino_samples.ndjson"


def found(probe: str, line: str) -> set[str]:
    """The patterns of this probe that the line counts for."""
    options = shipped().config.probes[probe].options
    patterns: dict[str, str] = options.patterns  # type: ignore[attr-defined]
    return {name for name, pattern in patterns.items() if compile_pattern(pattern)(line.encode())}


def error(message: str, **more: object) -> str:
    return json.dumps({"level": 50, "time": 1795453300000, "err": {"message": message, **more}}, separators=(",", ":"))


def request(url: str, status: int) -> str:
    return (
        f'{{"level":30,"time":1795453300000,"req":{{"id":1,"method":"POST","url":"{url}"}},'
        f'"res":{{"statusCode":{status}}},"responseTime":53300,"msg":"request completed"}}'
    )


# Texts: vendors' own, as Prisma 6 and PostgreSQL 17 give them.
DATABASE = [
    (error("Timed out fetching a new connection from the connection pool.", code="P2024"), {"pool"}),
    (error("Unable to start a transaction in the given time.", code="P2028"), {"pool"}),
    (error("timeout exceeded when trying to connect"), {"pool"}),
    (error("Timed out fetching a new connection from the connection pool. More info: http://pris.ly/d/connection-pool"
           " (Current connection pool timeout: 10, connection limit: 10)"), {"pool"}),
    (error("Transaction API error: Unable to start a transaction in the given time."), {"pool"}),
    (error("Too many database connections opened: FATAL"), {"full"}),
    (error("Too many database connections opened: FATAL: sorry, too many clients already", code="P2037"), {"full"}),
    (error('too many connections for role "portal"', code="53300"), {"full"}),
    (error("remaining connection slots are reserved for roles with the SUPERUSER attribute"), {"full"}),
    (error("Can't reach database server at `db:5432`", code="P1001"), {"away"}),
    (error("Server has closed the connection.", code="P1017"), {"away"}),
    (error('ConnectorError(PostgresError { code: "57P03", message: "the database system is starting up" })'), {"away"}),
    (error("Server has closed the connection."), {"away"}),
    (error("Database `portal` does not exist", code="P1003"), {"denied"}),
    (error("User was denied access on the database `portal`", code="P1010"), {"denied"}),
    (error("Authentication failed against database server", code="P1000"), {"denied"}),
    (error("order P2024-1 of 53300 yen"), set()),
    (request("/api/orders", 200), set()),
]  # fmt: skip


@pytest.mark.parametrize(("line", "names"), DATABASE)
def test_prismas_words_for_a_database_in_trouble_are_counted(line: str, names: set[str]) -> None:
    assert found("db-errors", line) == names


def said(message: str, level: int = 30) -> str:
    return f'{{"level":{level},"time":1795453300000,"pid":829,"hostname":"vm","msg":"{message}"}}'


# Salesforce's words: Pub/Sub API, "Handle Errors"; CometD, Platform Events Developer Guide. The portal's: its log.
EVENTS = [
    (said("Platform Event enqueued for provisioning"), {"event"}),
    (said("Platform Event received"), {"event"}),
    (error("Salesforce JWT auth failed", code="x").replace("}}", '},"msg":"Platform Event subscription failed"}'), {"refused"}),
    (error("INVALID_ARGUMENT: The Replay ID validation failed. Ensure that the Replay ID is valid."), {"refused"}),
    (error("x", metadata="sfdc.platform.eventbus.grpc.subscription.fetch.replayid.corrupted"), {"refused"}),
    (error("x", metadata="sfdc.platform.eventbus.grpc.subscription.fetch.replayid.validation.failed"), {"refused"}),
    (error("400::The replayId {82} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to"
           " replay only new events."), {"refused"}),
    (error("401::Authentication invalid"), {"refused"}),
    (error("403::Unknown client"), {"refused"}),
    (said("Platform Event error: The Replay ID validation failed", 50), {"refused"}),
    (said("Invoice 400::12 printed"), set()),
    (request("/api/orders", 400), set()),
]  # fmt: skip


@pytest.mark.parametrize(("line", "names"), EVENTS)
def test_the_words_for_an_event_and_for_a_subscription_that_is_refused_are_told_apart(
    line: str, names: set[str]
) -> None:
    assert found("sf-events", line) == names


@pytest.mark.parametrize(
    "line",
    [
        error("invalid page in block 7 of relation base/5/16384"),
        error('ConnectorError(PostgresError { code: "XX001", message: "could not read block" })'),
        error("index is corrupted", code="XX002"),
    ],
)
def test_words_of_damaged_data_are_counted(line: str) -> None:
    assert found("db-corruption", line) == {"corrupt"}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (request("/api/auth/login", 401), {"rejected"}),
        (request("/api/auth/login?next=x", 429), {"rejected", "throttled"}),
        (request("/api/auth/login", 201), {"accepted"}),
        (request("/api/auth/refresh", 401), {"refreshes"}),
        (request("/api/admin", 403), {"forbidden"}),
        (error("Login failed: invalid credentials"), {"refused"}),
        (error("Account is locked"), {"refused"}),
        (error("Refresh token reuse detected"), {"forged"}),
        (error("invalid CSRF token"), {"forged"}),
        (error("Rate limit exceeded"), {"throttled"}),
    ],
)
def test_security_signals_are_counted(line: str, names: set[str]) -> None:
    assert found("logins", line) == names


def test_lines_of_a_portal_that_is_well_count_for_nothing() -> None:
    lines = [line for line in SAMPLES.read_text(errors="replace").splitlines() if '"statusCode":200' in line]
    assert len(lines) > 5
    for line in lines:
        assert not found("logins", line) | found("db-corruption", line) | found("db-errors", line), line


def test_prismas_timeout_in_the_samples_is_counted() -> None:
    lines = [line for line in SAMPLES.read_text(errors="replace").splitlines() if "P2024" in line]
    assert lines
    assert all("pool" in found("db-errors", line) for line in lines)
