"""The rights in `deploy/` against real servers: with them every probe works, without any one of them something is missed;
and `check --live` says what a credential lacks and what it has too much of.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from redis import Redis

from monitor.commands.live import Row, Verdict, look
from monitor.core.config import Config, FailAfter, ProbeConfig
from monitor.core.probe import ProbeError
from monitor.probes import discover
from monitor.sandbox.servers import PostgresServer, RedisServer, postgres_programs
from tests.conftest import MakePostgres, MakeRedis
from tests.probes.test_salesforce import LIMITS, ORDERS, WAITING, Org, answer, pem
from tests.probes.test_salesforce import refused as no
from tests.probing import held
from tests.replies import http, says, serving
from tests.servers import free_port, tool

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
PASSWORD = "canary7f3a9c"


def configured(**probes: Mapping[str, Any]) -> Config:
    """A configuration of these probes; each names its type."""
    return Config(
        {
            name: ProbeConfig(
                name, discover()[raw["type"]],
                discover()[raw["type"]].options.model_validate({k: v for k, v in raw.items() if k != "type"}),
                30.0, 5.0, FailAfter(1, 1), 1, 1.0,
            )
            for name, raw in probes.items()
        },
        runbook="runbook.yaml", store="state.db", secrets=frozenset({PASSWORD}),
    )  # fmt: skip


def texts(rows: list[Row], verdict: Verdict) -> str:
    assert PASSWORD not in repr(rows)
    return "\n".join(row.text for row in rows if row.verdict is verdict)


def verdicts(rows: list[Row]) -> set[Verdict]:
    return {row.verdict for row in rows}


# --- Redis ------------------------------------------------------------------------------------------------------------


def acl_words() -> list[str]:
    """What follows `user` in deploy/redis.acl."""
    lines = [line for line in (DEPLOY / "redis.acl").read_text().splitlines() if line and not line.startswith("#")]
    (line,) = lines
    return line.replace("CHANGE-ME", PASSWORD).split()[1:]


RIGHTS = [word for word in acl_words() if word.startswith(("+", "~"))]


@pytest.fixture(scope="module")
def redis(servers_folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(servers_folder / "redis-of-rights", free_port())
    server.start()
    with Redis.from_url(server.url) as admin:
        admin.set("sf:pe:replay:/event/Order__e", "12907414")
        admin.set("sess:1", "a customer's")
        admin.hset("bull:order-provisioning:meta", "version", "bullmq:5.81.5")
        admin.lpush("bull:order-provisioning:wait", "1")
        admin.lpush("bull:order-provisioning:active", "2")
    yield server
    server.kill()


def grant(server: RedisServer, words: list[str]) -> None:
    with Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", *words)
        admin.execute_command("ACL", "LOG", "RESET")


def denied(server: RedisServer) -> list[Any]:
    with Redis.from_url(server.url) as admin:
        return list(admin.execute_command("ACL", "LOG"))


def redis_probes(server: RedisServer, login: str = f"portal-monitor:{PASSWORD}@", database: int = 0) -> dict[str, Any]:
    url = f"redis://{login}127.0.0.1:{server.port}/{database}"
    return {
        "redis": {"type": "redis", "url": url, "prefixes": ["bull:", "sess:"]},
        "sf-replay": {"type": "replay", "url": url},
        "queues": {"type": "bullmq", "url": url, "queues": ["order-provisioning"]},
    }


async def run_all(probes: Mapping[str, Any]) -> None:
    """One run of each, whatever comes of it."""
    for raw in probes.values():
        options = {name: value for name, value in raw.items() if name != "type"}
        with suppress(ProbeError):
            async with held(discover()[raw["type"]], **options) as target:
                await target.run()


async def test_with_the_shipped_rights_every_probe_of_redis_works(redis: RedisServer) -> None:
    grant(redis, acl_words())
    probes = redis_probes(redis)
    await run_all(probes)
    assert denied(redis) == []
    rows = await look(configured(**probes))
    assert [(row.probes, row.verdict) for row in rows] == [(("redis", "sf-replay", "queues"), Verdict.FITS)]


async def test_from_redis_7_on_the_rights_may_say_that_they_only_read(make_redis: MakeRedis) -> None:
    program = tool("redis-server")
    if program is None:
        pytest.skip("Redis 7 is missing (`make fetch` brings it)")
    server = make_redis(program=Path(program))
    with Redis.from_url(server.url) as admin:
        admin.set("sf:pe:replay:/event/Order__e", "12907414")
        admin.hset("bull:order-provisioning:meta", "version", "bullmq:5.81.5")
    for words in (acl_words(), [word.replace("~", "%R~") if word.startswith("~") else word for word in acl_words()]):
        grant(server, words)
        probes = redis_probes(server)
        await run_all(probes)
        assert denied(server) == []
        assert verdicts(await look(configured(**probes))) == {Verdict.FITS}


@pytest.mark.parametrize("right", RIGHTS)
async def test_no_shipped_right_of_redis_can_be_left_out(redis: RedisServer, right: str) -> None:
    grant(redis, [word for word in acl_words() if word != right])
    probes = redis_probes(redis)
    await run_all(probes)
    assert denied(redis)
    lacks = texts(await look(configured(**probes)), Verdict.LACKS)
    assert right[1:].rstrip("*").upper() in lacks.upper()


async def test_another_database_needs_one_more_right(redis: RedisServer) -> None:
    grant(redis, acl_words())
    probes = redis_probes(redis, database=3)
    assert "select" in texts(await look(configured(**probes)), Verdict.LACKS)
    grant(redis, [*acl_words(), "+select"])
    assert verdicts(await look(configured(**probes))) == {Verdict.FITS}


async def test_a_user_who_may_do_everything_is_told_what_that_means(redis: RedisServer) -> None:
    with Redis.from_url(redis.url) as admin:
        before = admin.dbsize()
        rows = await look(configured(**redis_probes(redis, login="")))
        assert admin.dbsize() == before
    assert verdicts(rows) == {Verdict.TOO_MUCH}
    told = texts(rows, Verdict.TOO_MUCH)
    for word in ("reads every key", "DEL", "EVAL", "CONFIG GET", "CLIENT", "ACL"):
        assert word in told


async def test_a_wrong_password_is_what_a_credential_lacks(make_redis: MakeRedis) -> None:
    server = make_redis({"requirepass": "another"})
    rows = await look(configured(**redis_probes(server)))
    assert verdicts(rows) == {Verdict.LACKS}
    assert "does not accept the monitor's login" in texts(rows, Verdict.LACKS)


async def test_a_server_that_is_not_there_is_not_tried() -> None:
    url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}"
    rows = await look(configured(redis={"type": "redis", "url": url}, egress={"type": "tcp", "target": "127.0.0.1:1"}))
    assert [(row.probes, row.verdict) for row in rows] == [(("redis",), Verdict.NOT_TRIED)]


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

ROLE = "portal_monitor"


def make_role(server: PostgresServer, database: str) -> None:
    """Do what deploy/postgres-role.sql says, as psql would."""
    script = (DEPLOY / "postgres-role.sql").read_text()
    with psycopg.connect(server.url, autocommit=True) as admin:
        filled = script.replace(":'password'", sql.Literal(PASSWORD).as_string(admin))
        admin.execute(filled.replace(':"database"', sql.Identifier(database).as_string(admin)).encode())


@pytest.fixture(scope="module", params=postgres_programs(), ids=lambda folder: folder.parent.name)
def postgres(request: pytest.FixtureRequest, make_postgres: MakePostgres) -> PostgresServer:
    """A database into which not everybody may, with a table of the portal's; on each PostgreSQL there is."""
    settings = {"max_connections": "8", "superuser_reserved_connections": "1"}
    newest = "embedded" in str(request.param)
    server = make_postgres(settings | ({"reserved_connections": "2"} if newest else {}), programs=request.param)
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE portal")
        admin.execute("REVOKE CONNECT ON DATABASE portal FROM PUBLIC")
        admin.execute("CREATE ROLE portal LOGIN PASSWORD 'portal'")
        admin.execute("GRANT CONNECT ON DATABASE portal TO portal")
    with psycopg.connect(server.url_of("portal"), autocommit=True) as admin:
        admin.execute("CREATE TABLE customers (name text)")
    return server


@pytest.fixture
def role(postgres: PostgresServer) -> Iterator[str]:
    """The address of the shipped role, made anew."""
    make_role(postgres, "portal")
    yield f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{postgres.port}/portal"
    for database in ("portal", "postgres"):
        with psycopg.connect(postgres.url_of(database), autocommit=True) as admin:
            admin.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{ROLE}'")
            admin.execute(f"DROP OWNED BY {ROLE}")
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(f"DROP ROLE {ROLE}")


def change(server: PostgresServer, statement: str) -> None:
    with psycopg.connect(server.url_of("portal"), autocommit=True) as admin:
        admin.execute(statement.encode())


def database(url: str) -> Config:
    return configured(postgres={"type": "postgres", "url": url})


async def test_with_the_shipped_role_the_probe_sees_all_and_reads_nothing(role: str) -> None:
    async with held(discover()["postgres"], url=role) as target:
        await target.run()
        measured = (await target.run(after=10)).measurements
        assert {"stats_visible", "longest_transaction_seconds", "idle_in_transaction"} <= set(measured)
        assert measured["stats_visible"] == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await target.resource.execute("SELECT * FROM customers")
    assert verdicts(await look(database(role))) == {Verdict.FITS}


async def test_without_statistics_the_role_is_blind_and_told_so(role: str, postgres: PostgresServer) -> None:
    change(postgres, f"REVOKE pg_read_all_stats FROM {ROLE}")
    async with held(discover()["postgres"], url=role) as target:
        assert (await target.run()).measurements["stats_visible"] == 0
    assert "pg_read_all_stats" in texts(await look(database(role)), Verdict.LACKS)


async def test_without_connect_the_role_does_not_get_in(role: str, postgres: PostgresServer) -> None:
    change(postgres, f"REVOKE CONNECT ON DATABASE portal FROM {ROLE}")
    rows = await look(database(role))
    assert verdicts(rows) == {Verdict.LACKS}
    assert "permission denied for database" in texts(rows, Verdict.LACKS)


@asynccontextmanager
async def crowd(server: PostgresServer) -> AsyncIterator[None]:
    """The portal holds every connection that it gets."""
    connections: list[Any] = []
    url = f"postgresql://portal:portal@127.0.0.1:{server.port}/portal"
    try:
        while True:
            try:
                connections.append(await psycopg.AsyncConnection.connect(url))
            except psycopg.OperationalError:
                break
        yield
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))


async def test_the_role_gets_in_when_all_connections_are_taken(role: str, postgres: PostgresServer) -> None:
    """From PostgreSQL 16 on; before, only a superuser would."""
    with psycopg.connect(postgres.url) as admin:
        has_reserve = admin.info.server_version >= 160000
    async with crowd(postgres):
        rows = await look(database(role))
        assert verdicts(rows) == {Verdict.FITS if has_reserve else Verdict.NOT_TRIED}
    if has_reserve:
        change(postgres, f"REVOKE pg_use_reserved_connections FROM {ROLE}")
        assert "pg_use_reserved_connections" in texts(await look(database(role)), Verdict.LACKS)
        async with crowd(postgres):
            assert "saturated" in texts(await look(database(role)), Verdict.NOT_TRIED)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (f"GRANT SELECT ON customers TO {ROLE}", "it may read 1 tables"),
        (f"GRANT DELETE ON customers TO {ROLE}", "it may change 1 tables"),
        (f"GRANT portal TO {ROLE}", "it is a member of portal"),
        (f"GRANT CREATE ON SCHEMA public TO {ROLE}", "it may make tables in public"),
        (f"ALTER ROLE {ROLE} CREATEDB", "it may make roles or databases"),
        (f"ALTER ROLE {ROLE} SUPERUSER", "it is a superuser"),
    ],
)
async def test_what_the_role_has_too_much_of_is_told(
    role: str, postgres: PostgresServer, statement: str, told: str
) -> None:
    change(postgres, statement)
    assert told in texts(await look(database(role)), Verdict.TOO_MUCH)


# --- WHMCS ------------------------------------------------------------------------------------------------------------

ALLOWED = http('{"result": "success", "whmcs": {"version": "8.0.0"}}')
NOT_ALLOWED = http('{"result": "error", "message": "Invalid Permissions: API action is not allowed"}', 403)
REFUSED = http('{"result": "error", "message": "Authentication Failed"}', 403)


def whmcs(url: str) -> Config:
    return configured(whmcs={"type": "whmcs", "url": url, "identifier": PASSWORD, "secret": PASSWORD})


@pytest.mark.parametrize(
    ("probes_action", "another", "told"),
    [
        (ALLOWED, NOT_ALLOWED, {Verdict.FITS}),
        (ALLOWED, ALLOWED, {Verdict.TOO_MUCH}),
        (NOT_ALLOWED, NOT_ALLOWED, {Verdict.LACKS}),
        (REFUSED, REFUSED, {Verdict.LACKS}),
        (http("busy", 503), http("busy", 503), {Verdict.NOT_TRIED}),
    ],
)
async def test_an_api_role_should_allow_one_action(probes_action: bytes, another: bytes, told: set[Verdict]) -> None:
    async with serving(says(probes_action, another)) as server:
        assert verdicts(await look(whmcs(server.url("/includes/api.php")))) == told
    actions = [re.findall(rb"action=(\w+)", asked)[0] for asked in server.requests]
    assert actions in ([b"WhmcsDetails", b"GetCurrencies"], [b"WhmcsDetails"])


async def test_refused_credentials_are_tried_once() -> None:
    async with serving(says(REFUSED)) as server:
        await look(whmcs(server.url("/includes/api.php")))
    assert len(server.requests) == 1


# --- Salesforce, Freebit, and logins of pages -------------------------------------------------------------------------


def described(**flags: bool) -> bytes:
    return answer({"name": "Order", **{name: flags.get(name, False) for name in DESCRIBED}})


DESCRIBED = ("queryable", "createable", "updateable", "deletable")
NO_SUCH_KIND = no("NOT_FOUND", 404)


async def salesforce_rows(org: Org, **more: object) -> list[Row]:
    async with serving(org) as server:
        place = f"http://127.0.0.1:{server.port}"
        login = {"instance_url": place, "login_url": place, "login": True, "client_id": PASSWORD,
                 "username": "monitor@example.com", "private_key": pem()}  # fmt: skip
        shared = {"type": "salesforce", **login}
        return await look(configured(orders={**shared, "orders": ORDERS}, limits={**shared, "limits": True, **more}))


def org(order: bytes, contact: bytes = NO_SUCH_KIND, **answers: bytes) -> Org:
    well = {"/query": answer(WAITING), "/limits": answer(LIMITS)}
    kinds = {"/sobjects/Order/describe": order, "/sobjects/Contact/describe": contact,
             "/sobjects/Account/describe": NO_SUCH_KIND}  # fmt: skip
    return Org({**well, **kinds, **{f"/{name}": reply for name, reply in answers.items()}})


async def test_a_salesforce_user_that_only_reads_orders_fits_and_logs_in_once() -> None:
    tried = org(described(queryable=True))
    rows = await salesforce_rows(tried)
    assert [(row.probes, row.verdict) for row in rows] == [(("orders", "limits"), Verdict.FITS)]
    assert len(tried.logins) == 1


@pytest.mark.parametrize(
    ("tried", "verdict", "said"),
    [
        (org(described(queryable=True, updateable=True, deletable=True)), Verdict.TOO_MUCH, "it may delete, update Order"),
        (org(described(queryable=True), described(queryable=True)), Verdict.TOO_MUCH, "it may read Contact, customers' data"),
        (org(described(), limits=answer({})), Verdict.LACKS, "View Setup and Configuration"),
        (org(described(), query=no("INVALID_TYPE", 400)), Verdict.LACKS, "does not understand a query"),
        (org(described(), query=no("API_DISABLED_FOR_ORG", 403)), Verdict.LACKS, "API Enabled"),
        (Org(login_answer=answer({"error": "invalid_grant", "error_description": "user is locked"}, 400)), Verdict.LACKS,
         "The user is locked"),
        (Org(login_answer=answer("<html>down", 503)), Verdict.NOT_TRIED, "maintenance"),
    ],
)  # fmt: skip
async def test_what_a_salesforce_user_lacks_or_has_too_much_of_is_told(tried: Org, verdict: Verdict, said: str) -> None:
    assert said in texts(await salesforce_rows(tried), verdict)


async def test_without_a_login_nothing_of_salesforce_is_tried() -> None:
    assert not await look(configured(front={"type": "salesforce", "instance_url": "https://example.my.salesforce.com"}))


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (http('{"resultCode": "100"}'), Verdict.FITS),
        (http('{"resultCode": "201"}'), Verdict.LACKS),
        (http("", 503), Verdict.NOT_TRIED),
    ],
)
async def test_freebits_login_is_tried_where_it_is_used(reply: bytes, verdict: Verdict) -> None:
    async with serving(says(reply)) as server:
        login = {"type": "freebit", "url": server.url(), "login": True, "oem_id": PASSWORD, "oem_key": PASSWORD}
        assert verdicts(await look(configured(freebit=login))) == {verdict}
        assert await look(configured(freebit={"type": "freebit", "url": server.url()})) == []
    assert server.connections == 1


@pytest.mark.parametrize(("status", "verdict"), [(200, Verdict.FITS), (401, Verdict.LACKS), (500, Verdict.NOT_TRIED)])
async def test_the_login_of_a_page_is_tried_where_it_has_one(status: int, verdict: Verdict) -> None:
    async with serving(says(http("", status))) as server:
        url = f"http://user:{PASSWORD}@127.0.0.1:{server.port}/"
        assert verdicts(await look(configured(page={"type": "http", "url": url}))) == {verdict}
        header = {"type": "http", "url": server.url(), "headers": {"X-Api-Key": PASSWORD}}
        assert verdicts(await look(configured(page=header))) == {verdict}
        assert await look(configured(page={"type": "http", "url": server.url()})) == []


# --- files ------------------------------------------------------------------------------------------------------------


def log(path: Path) -> Config:
    return configured(errors={"type": "log", "path": str(path)}, latency={"type": "log", "path": str(path)})


async def test_a_log_should_be_readable_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "combined.log"
    assert verdicts(await look(log(path))) == {Verdict.NOT_TRIED}
    path.write_text("")
    rows = await look(log(path))
    assert [row.probes for row in rows] == [("errors", "latency")]
    assert "evidence" in texts(rows, Verdict.TOO_MUCH)
