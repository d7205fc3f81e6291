"""What a run costs its target, as the target itself counts it: no more than the type declares, and nothing written.

Redis is listened to with MONITOR, PostgreSQL counts with pg_stat_statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from redis import Redis

from monitor.clock import SystemClock
from monitor.core.probe import Options, Outcome, ProbeError
from monitor.probes import discover
from monitor.probes.postgres import APPLICATION
from monitor.probes.replay import CHANNELS
from monitor.runner import Runner
from monitor.sandbox.servers import RedisServer
from tests.conftest import MakePostgres
from tests.probes.test_contract import HEALTH, TYPES, VENDORS, configured
from tests.probing import held
from tests.replies import says, serving

Command = Sequence[str]

QUEUE = "bull:order-provisioning:"
MARK = "the end of the run"


def elements(command: Command) -> int:
    """How many keys, elements or fields a command looks at, by its own words; counts and lengths look at none."""
    name, *words = command
    ranges: Mapping[str, Callable[[], int]] = {
        "SCAN": lambda: int(words[words.index("COUNT") + 1]),
        "GET": lambda: 1, "GETRANGE": lambda: 1, "LINDEX": lambda: 1,
        "HMGET": lambda: len(words) - 1,
        "LRANGE": lambda: int(words[2]) - int(words[1]) + 1,
        "ZRANGE": lambda: int(words[2]) - int(words[1]) + 1,
    }  # fmt: skip
    return ranges.get(name, lambda: 0)()


# What Redis documents as O(1) or O(log n), or as bounded by its own arguments.
CHEAP = frozenset(
    [
        "PING",
        "INFO",
        "SCAN",
        "GET",
        "GETRANGE",
        "HMGET",
        "EXISTS",
        "LLEN",
        "LINDEX",
        "LRANGE",
        "ZCARD",
        "ZCOUNT",
        "ZRANGE",
        "AUTH",
        "SELECT",
    ]
)


@dataclass
class Heard:
    """The commands that Redis was sent, in order."""

    commands: list[Command] = field(default_factory=list)


@contextmanager
def listening(server: RedisServer) -> Iterator[Heard]:
    """All that Redis is sent within the block, as MONITOR tells it."""
    heard = Heard()
    with Redis.from_url(server.url, decode_responses=True) as client, Redis.from_url(server.url) as marker:
        marker.ping()
        with client.monitor() as monitor:
            yield heard
            marker.echo(MARK)
            while (words := _words(monitor.next_command())) != ["ECHO", MARK]:
                heard.commands.append(words)


def _words(told: Mapping[str, Any]) -> Command:
    name, _, rest = str(told["command"]).partition(" ")
    return [name.upper(), *rest.split()] if name.upper() != "ECHO" else ["ECHO", rest]


async def commands_of_a_run(name: str, server: RedisServer, **options: Any) -> tuple[list[Command], Options]:
    """What the second run of a probe sends (the first one opens the connection)."""
    async with held(discover()[name], url=server.url, **options) as target:
        await _whatever(target.run())
        with listening(server) as heard:
            await _whatever(target.run(after=15))
    return heard.commands, target.options


async def _whatever(run: Any) -> None:
    try:
        await run
    except ProbeError:
        pass


def hold_to_the_declaration(name: str, options: Options, commands: Sequence[Command]) -> None:
    cost = discover()[name].cost
    assert cost is not None
    assert len(commands) <= cost.most(options)
    assert sum(map(elements, commands)) <= cost.rows(options)
    assert {command[0] for command in commands} <= CHEAP


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(redis_server.url) as connection:
        yield connection


async def test_redis_is_asked_twice(redis_server: RedisServer) -> None:
    commands, options = await commands_of_a_run("redis", redis_server)
    assert commands == [["PING"], ["INFO"]]
    hold_to_the_declaration("redis", options, commands)


async def test_counting_keys_is_a_scan_for_each_thousand_and_once_an_hour(
    redis_server: RedisServer, client: Redis
) -> None:
    client.mset({f"sess:{number}": "x" for number in range(2500)})
    async with held(discover()["redis"], url=redis_server.url, prefixes=["sess:"]) as target:
        with listening(redis_server) as heard:
            await target.run()
        with listening(redis_server) as after:
            await target.run(after=15)
    scans = [command for command in heard.commands if command[0] == "SCAN"]
    assert 3 <= len(scans) <= 6
    hold_to_the_declaration("redis", target.options, heard.commands)
    assert after.commands == [["PING"], ["INFO"]]


async def test_a_large_database_is_counted_no_faster_than_declared(redis_server: RedisServer, client: Redis) -> None:
    client.eval("for n = 1, 150000 do redis.call('set', 'sess:' .. n, 'x') end", 0)
    async with held(discover()["redis"], url=redis_server.url, prefixes=["sess:"]) as target:
        with listening(redis_server) as heard:
            await target.run(timeout=30)
    hold_to_the_declaration("redis", target.options, heard.commands)
    assert len(heard.commands) == 102


async def test_a_replay_id_is_read_by_its_name_and_a_pattern_costs_a_scan_for_each_thousand_keys(
    redis_server: RedisServer, client: Redis
) -> None:
    key = "sf:pe:replay:/event/Order__e"
    client.mset({key: "1", **{f"sess:{number}": "x" for number in range(2500)}})
    alone, options = await commands_of_a_run("replay", redis_server, keys=key)
    assert alone == [["GETRANGE", key, "0", "65535"]]
    hold_to_the_declaration("replay", options, alone)
    found, options = await commands_of_a_run("replay", redis_server, keys="sf:pe:replay:*")
    assert [command[0] for command in found if command[0] != "SCAN"] == ["GETRANGE"]
    hold_to_the_declaration("replay", options, found)


async def test_a_flood_of_replay_keys_costs_no_more_than_declared(redis_server: RedisServer, client: Redis) -> None:
    client.mset({f"sf:pe:replay:/event/{number:04}": "1" for number in range(3000)})
    commands, options = await commands_of_a_run("replay", redis_server, scan_budget=2000)
    hold_to_the_declaration("replay", options, commands)
    assert sum(command[0] == "GETRANGE" for command in commands) <= 2 * CHANNELS


async def test_a_queue_costs_the_same_however_much_is_in_it(redis_server: RedisServer, client: Redis) -> None:
    client.hset(f"{QUEUE}meta", "version", "bullmq:5.81.5")
    empty, options = await commands_of_a_run("bullmq", redis_server, queues=["order-provisioning"])
    hold_to_the_declaration("bullmq", options, empty)
    assert len(empty) == 19
    for name in ("wait", "paused", "active"):
        client.rpush(f"{QUEUE}{name}", *range(5000))
    for name in ("prioritized", "delayed", "failed", "completed"):
        client.zadd(f"{QUEUE}{name}", {str(number): number for number in range(5000)})
    full, options = await commands_of_a_run("bullmq", redis_server, queues=["order-provisioning"])
    hold_to_the_declaration("bullmq", options, full)
    cost = discover()["bullmq"].cost
    assert cost is not None
    assert (len(full), sum(map(elements, full))) == (cost.most(options), cost.rows(options))  # no more than it can be
    two = discover()["bullmq"].options.model_validate({"url": redis_server.url, "queues": ["a", "b"]})
    assert cost.most(two) == 2 * cost.most(options)


async def test_nothing_is_written_and_nothing_looks_written(redis_server: RedisServer, client: Redis) -> None:
    client.mset({"sf:pe:replay:/event/Order__e": "1"})
    client.hset(f"{QUEUE}meta", "version", "bullmq:5.81.5")
    before = client.info("persistence")["rdb_changes_since_last_save"]
    for name, options in (
        ("redis", {"prefixes": ["bull:"]}),
        ("replay", {}),
        ("bullmq", {"queues": ["order-provisioning"]}),
    ):
        await commands_of_a_run(name, redis_server, **options)
    assert client.info("persistence")["rdb_changes_since_last_save"] == before


# --- what is asked over HTTP, TCP or TLS ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["http", "tcp", "whmcs", "salesforce", "freebit", "sftp"])
async def test_a_target_is_visited_no_more_often_than_declared(name: str) -> None:
    probe_type = discover()[name]
    runner = Runner(SystemClock())
    async with serving(VENDORS.get(name, lambda: says(HEALTH))()) as server:
        raw = {key: value for key, value in TYPES[name].at(f"127.0.0.1:{server.port}").items() if key != "host_keys"}
        config = configured(probe_type, raw, timeout=5.0)
        results = [await runner.run(config)]
        results.append(await runner.run(config, results[0].cursor))
        visits = server.connections
    await runner.close()
    assert [(result.outcome, result.reason, result.detail) for result in results] == [(Outcome.SUCCESS, "", "")] * 2
    assert probe_type.cost is not None
    assert 2 <= visits <= 2 * probe_type.cost.most(config.options)


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

STATEMENTS = """
SELECT query, calls, rows FROM pg_stat_statements
WHERE userid = 'watcher'::regrole AND query NOT LIKE 'SELECT pg_stat_statements_reset%'
"""


async def test_postgres_is_asked_five_statements_for_two_rows_and_no_table_of_the_portal(
    make_postgres: MakePostgres,
) -> None:
    server = make_postgres({
        "shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_utility": "on",
        "pg_stat_statements.track": "all", "log_statement": "all", "log_line_prefix": "%a ",
    })  # fmt: skip
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("CREATE EXTENSION pg_stat_statements")
        admin.execute("CREATE ROLE watcher LOGIN PASSWORD 'secret-word' IN ROLE pg_read_all_stats")
        admin.execute("CREATE TABLE customers AS SELECT generate_series(1, 1000) AS id")
        url = server.url.replace(server.url.partition("//")[2].partition("@")[0], "watcher:secret-word")
        async with held(discover()["postgres"], url=url) as target:
            await target.run()
            admin.execute("SELECT pg_stat_statements_reset()")
            said = len(server.log.read_text().splitlines())
            await target.run(after=10)
            found = admin.execute(STATEMENTS).fetchall()
        scans = admin.execute("SELECT seq_scan, coalesce(idx_scan, 0) FROM pg_stat_user_tables").fetchall()
    cost = discover()["postgres"].cost
    assert cost is not None
    assert sum(calls for _, calls, _ in found) == cost.most(target.options)
    assert sum(rows for _, _, rows in found) == cost.rows(target.options)
    assert sorted({query.split()[0] for query, *_ in found}) == ["SELECT", "SET", "WITH"]  # which reads too
    assert scans == [(0, 0)]
    log = server.log.read_text().splitlines()[said:]
    assert len([line for line in log if line.startswith(f"{APPLICATION} LOG:  statement:")]) == 2  # messages


async def test_postgres_costs_the_same_however_many_are_connected(make_postgres: MakePostgres) -> None:
    """The views have a row for each session; one row of sums is all that comes back."""
    server = make_postgres({"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_utility": "on"})
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("CREATE EXTENSION pg_stat_statements")
        others = [psycopg.connect(server.url) for _ in range(20)]
        try:
            async with held(discover()["postgres"], url=server.url) as target:
                await target.run()
                admin.execute("SELECT pg_stat_statements_reset()")
                await target.run(after=10)
                rows = admin.execute(
                    "SELECT sum(rows) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'"
                ).fetchone()
        finally:
            for other in others:
                other.close()
    cost = discover()["postgres"].cost
    assert cost is not None
    assert rows == (cost.rows(target.options),)
