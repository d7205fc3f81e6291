"""The three probes of Redis on a real one in each of the states that are worth telling apart, and over real TLS.

Each row says what `redis`, `replay` and `bullmq` make of a state: PING and reads may go on while writes are refused.
Every state is made with each redis-server that there is: the one of the wheel (6.2) and Debian's (7.0).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from monitor.clock import SystemClock
from monitor.core.probe import TIMEOUT, Outcome, Result
from monitor.probes import discover
from monitor.runner import Runner
from monitor.sandbox.servers import RedisServer, redis_program
from tests.conftest import MakeRedis
from tests.probes.test_contract import configured
from tests.probing import eventually
from tests.servers import free_port, tool

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "redis": {},
    "replay": {"keys": "sf:pe:replay:*"},
    "bullmq": {"queues": ["order-provisioning"], "prefix": "{bull}"},
}
PROGRAMS: Mapping[str, Callable[[], Path | str | None]] = {
    "wheel": redis_program,
    "debian": lambda: tool("redis-server"),
}


@pytest.fixture(params=PROGRAMS)
def make(request: pytest.FixtureRequest, make_redis: MakeRedis) -> MakeRedis:
    """`make_redis` with each redis-server that there is."""
    program = PROGRAMS[request.param]()
    if program is None:
        pytest.skip("Debian's Redis is missing (`make fetch` brings it)")
    return lambda *args, **more: make_redis(*args, **more, program=Path(program))


def fill(server: RedisServer) -> None:
    """The keys of a portal: a replay id and a queue."""
    with Redis.from_url(server.url) as client:
        client.set("sf:pe:replay:/event/Order__e", "12907414")
        client.hset("{bull}:order-provisioning:meta", "version", "bullmq:5.81.5")


def write_until_refused(server: RedisServer) -> None:
    with Redis.from_url(server.url) as client, suppress(OutOfMemoryError):
        for number in range(1000):
            client.set(f"key{number}", b"x" * 50_000)
        raise AssertionError("nothing was refused")


def write(server: RedisServer) -> None:
    """What the portal would write; whether it may is Redis's matter."""
    with Redis.from_url(server.url) as client, suppress(RedisError):
        client.set("sess:1", "x")


# --- the states -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def well(make: MakeRedis) -> AsyncIterator[RedisServer]:
    server = make()
    fill(server)
    yield server


@asynccontextmanager
async def full(make: MakeRedis) -> AsyncIterator[RedisServer]:
    """`maxmemory` reached, and nothing may be evicted."""
    server = make({"maxmemory": "3mb", "maxmemory-policy": "noeviction"})
    fill(server)
    write_until_refused(server)
    yield server


@asynccontextmanager
async def replica(make: MakeRedis) -> AsyncIterator[RedisServer]:
    primary = make({"repl-diskless-sync-delay": "0"})
    fill(primary)
    server = make({"replicaof": f"127.0.0.1 {primary.port}"})
    with Redis.from_url(server.url) as client:
        await eventually(10, lambda: client.exists("sf:pe:replay:/event/Order__e") == 1)
    yield server


def low_port() -> int:
    """A node's cluster port is 10,000 higher."""
    return next(port for port in iter(free_port, 0) if port < 50_000)


@asynccontextmanager
async def without_slots(make: MakeRedis) -> AsyncIterator[RedisServer]:
    yield make({"cluster-enabled": "yes"}, port=low_port())


@asynccontextmanager
async def whole_cluster(make: MakeRedis) -> AsyncIterator[RedisServer]:
    """A cluster of one node with all slots."""
    server = make({"cluster-enabled": "yes"}, port=low_port())
    with Redis.from_url(server.url) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        await eventually(10, lambda: b"cluster_state:ok" in _cluster_info(client))
    fill(server)
    yield server


@asynccontextmanager
async def cannot_save(make: MakeRedis) -> AsyncIterator[RedisServer]:
    server = make({"save": "3600 1"})
    fill(server)
    (server.folder / "dump.rdb").mkdir()
    with Redis.from_url(server.url) as client:
        client.bgsave()
        await eventually(10, lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    yield server


@asynccontextmanager
async def script_running(make: MakeRedis) -> AsyncIterator[RedisServer]:
    server = make({"lua-time-limit": "10"})
    fill(server)

    def loop() -> None:
        with Redis.from_url(server.url) as client, suppress(RedisError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        with Redis.from_url(server.url) as client:
            await eventually(10, lambda: _refusal(client).startswith(("BUSY", "Redis is busy")))
        yield server
    finally:
        with Redis.from_url(server.url) as client:
            client.script_kill()
        await asyncio.to_thread(thread.join)


@asynccontextmanager
async def loading(make: MakeRedis) -> AsyncIterator[RedisServer]:
    server = make({"key-load-delay": "100000", "rdbcompression": "no"})
    with Redis.from_url(server.url) as client:
        for number in range(100):
            client.set(f"key{number}", b"x" * 2**20)
        client.save()
    server.kill()
    server.start(wait=False)
    with Redis.from_url(server.url) as client:
        await eventually(10, lambda: "loading" in _refusal(client))
    yield server


@asynccontextmanager
async def cut_off(make: MakeRedis) -> AsyncIterator[RedisServer]:
    """A replica that has lost its primary, and may not serve what is old."""
    yield make({"replicaof": f"127.0.0.1 {free_port()}", "replica-serve-stale-data": "no"})


@asynccontextmanager
async def no_place(make: MakeRedis) -> AsyncIterator[RedisServer]:
    server = make({"maxclients": "2"})
    with Redis.from_url(server.url) as one, Redis.from_url(server.url) as other:
        one.ping()
        other.ping()
        yield server


@asynccontextmanager
async def too_few_replicas(make: MakeRedis) -> AsyncIterator[RedisServer]:
    server = make()
    fill(server)
    with Redis.from_url(server.url) as client:
        client.config_set("min-replicas-to-write", "1")
    yield server


def _cluster_info(client: Redis) -> bytes:
    reply = client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]
    return reply if isinstance(reply, bytes) else repr(reply).replace("': '", ":").encode()


def _refusal(client: Redis) -> str:
    try:
        client.ping()
    except RedisError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class State:
    """How Redis is brought there, and the reason of each probe's second run; "" for a success."""

    made: Callable[[MakeRedis], AbstractAsyncContextManager[RedisServer]]
    redis: str
    replay: str
    bullmq: str
    options: Mapping[str, Any] | None = None  # of the probe redis
    between: Callable[[RedisServer], None] | None = None  # what happens between the two runs


STATES: Mapping[str, State] = {
    "well": State(well, "", "", ""),
    "full, noeviction": State(full, "oom", "", "", between=write_until_refused),
    "replica": State(replica, "readonly", "", ""),
    "replica that is meant to be one": State(replica, "", "", "", {"role": "any"}),
    "cluster without slots": State(without_slots, "clusterdown", "never-seen", "clusterdown"),
    "whole cluster": State(whole_cluster, "", "", ""),
    "cannot save": State(cannot_save, "misconf", "", ""),
    "long script": State(script_running, "busy", "busy", "busy"),
    "loading": State(loading, "loading", "loading", "loading"),
    "replica without its primary": State(cut_off, "masterdown", "masterdown", "masterdown", {"role": "any"}),
    "maxclients": State(no_place, "maxclients", "maxclients", "maxclients"),
    "too few replicas, no write yet": State(too_few_replicas, "", "", ""),
    "too few replicas": State(too_few_replicas, "noreplicas", "", "", between=write),
}


@pytest.mark.parametrize("state", STATES)
async def test_a_state_of_redis_is_told_by_each_probe_for_what_it_is_to_it(state: str, make: MakeRedis) -> None:
    row = STATES[state]
    async with row.made(make) as server:
        found = {}
        for name, options in OPTIONS.items():
            more = (row.options or {}) if name == "redis" else {}
            between = partial(row.between, server) if row.between else None
            result = await twice(name, {"url": server.url, **options, **more}, between=between)
            found[name] = result.reason
            expected = Outcome.FAILURE if name == "redis" else Outcome.ERROR
            assert result.outcome is (expected if result.reason else Outcome.SUCCESS)
    assert found == {"redis": row.redis, "replay": row.replay, "bullmq": row.bullmq}


async def twice(
    name: str, options: Mapping[str, Any], timeout: float = 5.0, between: Callable[[], None] | None = None
) -> Result:
    """The second run of a probe, which knows what the first one saw."""
    runner = Runner(SystemClock())
    config = configured(discover()[name], options, timeout)
    try:
        first = await runner.run(config)
        if between:
            between()
        return await runner.run(config, first.cursor)
    finally:
        await runner.close()


async def test_a_key_of_another_node_is_told_as_such(make: MakeRedis) -> None:
    """Two nodes, of which only one is asked: the other one holds half of the keys."""
    servers = [make({"cluster-enabled": "yes"}, port=low_port()) for _ in range(2)]
    with Redis.from_url(servers[0].url) as one, Redis.from_url(servers[1].url) as other:
        one.execute_command("CLUSTER", "ADDSLOTS", *range(8192))
        other.execute_command("CLUSTER", "ADDSLOTS", *range(8192, 16384))
        one.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[1].port)
        await eventually(20, lambda: all(b"cluster_state:ok" in _cluster_info(node) for node in (one, other)))
    told = [(await twice("bullmq", {"url": server.url, **OPTIONS["bullmq"]})).reason for server in servers]
    assert sorted(told) == ["cluster", "never-seen"]


# --- TLS --------------------------------------------------------------------------------------------------------------


@dataclass
class Secure:
    """A Redis that speaks TLS only, and what its clients trust it by."""

    server: RedisServer
    authority: trustme.CA
    ca_file: Path
    folder: Path

    def url(self, *parameters: str, host: str = "127.0.0.1") -> str:
        query = "&".join([f"ssl_ca_certs={self.ca_file}", *parameters])
        return f"rediss://:secret-word@{host}:{self.server.port}/0?{query}"


MakeSecure = Callable[..., Secure]


@pytest.fixture
def make_secure(make_redis: MakeRedis, tmp_path: Path) -> MakeSecure:
    program = tool("redis-server")
    if program is None:
        pytest.skip("a Redis with TLS is missing (`make fetch` brings it)")

    def made(*names: str, days: int = 30, clients: str = "no") -> Secure:
        authority, ends = trustme.CA(), datetime.now(UTC) + timedelta(days=days)
        leaf = authority.issue_cert(*(names or ("127.0.0.1",)), not_before=ends - timedelta(days=90), not_after=ends)
        ca_file, bundle = tmp_path / "ca.pem", tmp_path / "server.pem"
        authority.cert_pem.write_to_path(ca_file)
        leaf.private_key_and_cert_chain_pem.write_to_path(bundle)
        port = free_port()
        server = make_redis(
            {
                "port": "0", "tls-port": str(port), "tls-cert-file": str(bundle), "tls-key-file": str(bundle),
                "tls-ca-cert-file": str(ca_file), "tls-auth-clients": clients, "requirepass": "secret-word",
            },
            port=port, program=Path(program),
        )  # fmt: skip
        return Secure(server, authority, ca_file, tmp_path)

    return made


@pytest.mark.parametrize("name", OPTIONS)
async def test_redis_is_watched_over_tls(name: str, make_secure: MakeSecure) -> None:
    secure = make_secure()
    with Redis.from_url(secure.url()) as client:
        client.set("sf:pe:replay:/event/Order__e", "12907414")
        client.hset("{bull}:order-provisioning:meta", "version", "bullmq:5.81.5")
    assert (await twice(name, {"url": secure.url(), **OPTIONS[name]})).outcome is Outcome.SUCCESS


async def test_a_client_certificate_is_shown_where_redis_wants_one(make_secure: MakeSecure) -> None:
    secure = make_secure(clients="yes")
    mine = secure.folder / "mine.pem"
    secure.authority.issue_cert("monitor.example").private_key_and_cert_chain_pem.write_to_path(mine)
    without = await twice("redis", {"url": secure.url()})
    assert without.reason in {"tls", "unreachable"}  # Redis hangs up, and its alert may get lost
    shown = secure.url(f"ssl_certfile={mine}", f"ssl_keyfile={mine}")
    assert (await twice("redis", {"url": shown})).outcome is Outcome.SUCCESS


@pytest.mark.parametrize(
    ("names", "days", "outcome", "reason"),
    [
        (("127.0.0.1",), -1, Outcome.FAILURE, "certificate"),
        (("redis.example",), 30, Outcome.ERROR, "tls"),
    ],
)
async def test_a_certificate_that_cannot_be_trusted_is_told(
    make_secure: MakeSecure, names: tuple[str, ...], days: int, outcome: Outcome, reason: str
) -> None:
    result = await twice("redis", {"url": make_secure(*names, days=days).url()})
    assert (result.outcome, result.reason) == (outcome, reason)
    assert "secret-word" not in repr(result)


async def test_an_authority_that_is_not_known_here_is_our_setup(make_secure: MakeSecure) -> None:
    secure = make_secure()
    plain = f"rediss://:secret-word@127.0.0.1:{secure.server.port}/0"
    result = await twice("redis", {"url": plain})
    assert (result.outcome, result.reason) == (Outcome.ERROR, "tls")
    assert (await twice("redis", {"url": f"{plain}?ssl_cert_reqs=none"})).outcome is Outcome.SUCCESS


async def test_the_wrong_scheme_is_never_taken_for_a_redis_that_is_well(
    make_secure: MakeSecure, redis_server: RedisServer
) -> None:
    plain = make_secure().url().replace("rediss:", "redis:").partition("?")[0]
    without = await twice("redis", {"url": plain})
    assert (without.outcome, without.reason) in {(Outcome.ERROR, "protocol"), (Outcome.FAILURE, "unreachable")}
    secured = redis_server.url.replace("redis:", "rediss:")
    with_tls = await twice("redis", {"url": secured}, timeout=0.3)
    assert with_tls.reason in {TIMEOUT, "tls"}
    assert "rediss://" in discover()["redis"].reason(with_tls.reason).advice
