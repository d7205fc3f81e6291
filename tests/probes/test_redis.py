from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError
from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from monitor.core.probe import Fault, ProbeError
from monitor.probes import discover
from monitor.probes.redis import LOOKUPS, PROBE, RedisOptions
from monitor.sandbox.servers import RedisServer
from tests.conftest import MakeRedis
from tests.probing import eventually, held, listener, open_failure
from tests.servers import free_port


@contextmanager
def client(server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(server.url) as connection:
        yield connection


async def test_a_healthy_redis_brings_home_what_is_declared(redis_server: RedisServer) -> None:
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
        with client(redis_server) as other:
            for _ in range(LOOKUPS):
                other.get("missing")
        reading = await target.run(after=15)
    assert set(PROBE.measures) - set(reading.measurements) == {"memory_max_bytes", "keys"}
    assert 0 < reading.measurements["ping_seconds"] < 1  # type: ignore[operator]
    assert 0 < reading.measurements["memory_used_ratio"] < 0.01  # type: ignore[operator]
    assert reading.measurements["hit_ratio"] == 0.0
    assert reading.details["role"] == "master"


def fill(connection: Redis) -> None:
    """Write until Redis refuses."""
    for number in range(1000):
        connection.set(f"key{number}", b"x" * 50_000)


def acl(connection: Redis, words: str) -> None:
    connection.execute_command("ACL", *words.split())  # type: ignore[no-untyped-call]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- states in which PING says PONG -----------------------------------------------------------------------------------


async def test_a_full_redis_that_refuses_writes_fails_though_it_answers_ping(make_redis: MakeRedis) -> None:
    server = make_redis({"maxmemory": "3mb", "maxmemory-policy": "noeviction"})
    async with held(PROBE, url=server.url) as target:
        await target.run()
        with client(server) as other, pytest.raises(OutOfMemoryError):
            fill(other)
        error = await target.failure(after=15)
    assert (error.reason, target.fault(error)) == ("oom", Fault.TARGET)
    assert error.reading.measurements["memory_max_bytes"] == 3 * 2**20
    assert error.reading.measurements["memory_used_ratio"] > 0.9  # type: ignore[operator]
    assert error.reading.measurements["oom_errors_per_second"] == pytest.approx(1 / 15)


async def test_oom_ends_once_writes_pass_again(make_redis: MakeRedis) -> None:
    server = make_redis({"maxmemory": "3mb", "maxmemory-policy": "volatile-lru"})
    async with held(PROBE, url=server.url) as target:
        await target.run()
        with client(server) as other:
            with pytest.raises(OutOfMemoryError):
                fill(other)
            assert (await target.failure(after=15)).reason == "oom"
            other.flushall()
        await target.run(after=15)


async def test_writes_refused_before_we_ever_looked_are_no_news(make_redis: MakeRedis) -> None:
    server = make_redis({"maxmemory": "1mb"})
    with client(server) as other, pytest.raises(OutOfMemoryError):
        fill(other)
    with client(server) as other:
        other.config_set("maxmemory", "100mb")
    async with held(PROBE, url=server.url) as target:
        await target.run()


async def test_a_replica_in_the_primarys_place_is_readonly(make_redis: MakeRedis) -> None:
    primary = make_redis()
    server = make_redis({"replicaof": f"127.0.0.1 {primary.port}"})
    async with held(PROBE, url=server.url) as target:
        error = await target.failure()
        assert (error.reason, target.fault(error)) == ("readonly", Fault.TARGET)
    with client(server) as other:
        await eventually(5, lambda: other.info("replication")["master_link_status"] == "up")
    async with held(PROBE, url=server.url, role="any") as target:
        await target.run()


async def test_a_primary_without_its_replicas_refuses_writes(make_redis: MakeRedis) -> None:
    server = make_redis({"min-replicas-to-write": "1"})
    async with held(PROBE, url=server.url) as target:
        await target.run()
        with client(server) as other, pytest.raises(RedisError, match="NOREPLICAS"):
            other.set("key", "value")
        assert (await target.failure(after=15)).reason == "noreplicas"


async def test_a_cluster_without_its_slots_is_down(make_redis: MakeRedis) -> None:
    low = next(port for port in iter(free_port, 0) if port < 50_000)  # its cluster port is 10,000 higher
    server = make_redis({"cluster-enabled": "yes"}, port=low)
    async with held(PROBE, url=server.url) as target:
        assert (await target.failure()).reason == "clusterdown"


# --- states in which PING says something else -------------------------------------------------------------------------


async def test_a_redis_that_cannot_save_is_misconfigured(make_redis: MakeRedis) -> None:
    server = make_redis({"save": "3600 1"})
    (server.folder / "dump.rdb").mkdir()  # what is saved cannot take its place, which root's rights do not change
    with client(server) as other:
        other.bgsave()
        await eventually(5, lambda: other.info("persistence")["rdb_last_bgsave_status"] == "err")
        async with held(PROBE, url=server.url) as target:
            error = await target.failure()
    assert (error.reason, PROBE.reason(error.reason).fault) == ("misconf", Fault.TARGET)
    assert "memory_used_bytes" in error.reading.measurements


async def test_a_script_that_holds_up_everybody_is_busy(make_redis: MakeRedis) -> None:
    server = make_redis({"lua-time-limit": "10"})

    def loop() -> None:
        with client(server) as other, pytest.raises(RedisError):
            other.eval("while true do end", 0)

    thread = threading.Thread(target=loop)
    async with held(PROBE, url=server.url) as target:
        thread.start()
        reasons: list[str] = []

        async def busy() -> bool:
            try:
                await target.run()
            except ProbeError as error:
                reasons.append(error.reason)
            return bool(reasons)

        await eventually(5, busy)
    with client(server) as other:
        other.script_kill()
    await asyncio.to_thread(thread.join)
    assert reasons == ["busy"]


async def test_a_loading_redis_says_how_far_it_is(make_redis: MakeRedis) -> None:
    # Redis looks up from loading every 2 MB, so after two of these keys.
    server = make_redis({"key-load-delay": "100000", "rdbcompression": "no"})
    with client(server) as other:
        for number in range(20):
            other.set(f"key{number}", b"x" * 2**20)
        other.save()
    server.kill()
    server.start(wait=False)

    async def loading() -> bool:
        try:
            async with held(PROBE, url=server.url) as target:
                error = await target.failure()
        except ProbeError:
            return False  # not listening yet
        assert (error.reason, target.fault(error)) == ("loading", Fault.TARGET)
        assert error.reading.details["loaded"].endswith("%")
        return True

    await eventually(5, loading)


async def test_a_replica_cut_off_from_its_primary_fails_even_where_a_replica_is_expected(make_redis: MakeRedis) -> None:
    server = make_redis({"replicaof": f"127.0.0.1 {free_port()}", "replica-serve-stale-data": "no"})
    async with held(PROBE, url=server.url, role="any") as target:
        assert (await target.failure()).reason == "masterdown"


# --- at the door ------------------------------------------------------------------------------------------------------


async def test_nobody_there_is_unreachable() -> None:
    error = await open_failure(PROBE, url=f"redis://127.0.0.1:{free_port()}")
    assert (error.reason, error.detail) == ("unreachable", "Connection refused")
    assert PROBE.reason(error.reason).fault is Fault.TARGET


async def test_a_name_will_do(redis_server: RedisServer) -> None:
    async with held(PROBE, url=f"redis://localhost:{redis_server.port}") as target:
        await target.run()


async def test_an_unknown_name_is_unreachable() -> None:
    error = await open_failure(PROBE, url="redis://no-such-host.invalid", timeout=20)
    assert error.reason == "unreachable"
    assert error.detail.startswith("DNS: ")


async def test_no_place_for_another_client_is_maxclients_and_the_held_one_goes_on(make_redis: MakeRedis) -> None:
    server = make_redis({"maxclients": "2"})
    async with held(PROBE, url=server.url) as target:
        with client(server) as other:
            other.ping()
            error = await open_failure(PROBE, url=server.url)
            reading = await target.run()
    assert (error.reason, PROBE.reason(error.reason).fault) == ("maxclients", Fault.TARGET)
    assert reading.measurements.get("clients_used_ratio") == 1.0


@pytest.mark.parametrize("login", ["", ":wrong-password@", "nobody:wrong-password@"])
async def test_a_wrong_login_is_ours_and_never_shown(make_redis: MakeRedis, login: str) -> None:
    server = make_redis({"requirepass": "right-password"})
    error = await open_failure(PROBE, url=f"redis://{login}127.0.0.1:{server.port}")
    assert (error.reason, PROBE.reason(error.reason).fault) == ("auth", Fault.ACCESS)
    assert "wrong-password" not in f"{error!r}{error.detail}"


async def test_a_login_with_special_characters_is_decoded(make_redis: MakeRedis) -> None:
    server = make_redis({"requirepass": "p@ss/w:rd"})
    async with held(PROBE, url=f"redis://:p%40ss%2Fw%3Ard@127.0.0.1:{server.port}/3") as target:
        await target.run()


async def test_a_user_with_few_rights_sees_what_it_may(redis_server: RedisServer) -> None:
    with client(redis_server) as other:
        acl(other, "SETUSER mon reset on >secret-word -@all +ping +info")
        acl(other, "SETUSER blind reset on >secret-word -@all +ping")
    async with held(PROBE, url=f"redis://mon:secret-word@127.0.0.1:{redis_server.port}") as target:
        assert "memory_used_bytes" in (await target.run()).measurements
    async with held(PROBE, url=f"redis://blind:secret-word@127.0.0.1:{redis_server.port}") as target:
        error = await target.failure()
    assert (error.reason, target.fault(error)) == ("noperm", Fault.ACCESS)
    assert set(error.reading.measurements) == {"ping_seconds"}
    with client(redis_server) as other:
        acl(other, "DELUSER mon blind")


async def test_a_database_that_does_not_exist_is_our_mistake(redis_server: RedisServer) -> None:
    error = await open_failure(PROBE, url=f"redis://127.0.0.1:{redis_server.port}/99")
    assert (error.reason, PROBE.reason(error.reason).fault) == ("database", Fault.ACCESS)


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"+HELLO\r\n", b":nonsense\r\n",
        b"$99999999999\r\n", b"*1\r\n" * 5000, b"\x15\x03\x01\x00\x02\x02\x28\r\n", b"x" * 200_000,
    ],
)  # fmt: skip
async def test_another_server_there_is_our_mistake_and_not_quoted(says: bytes) -> None:
    async with listener(says) as port:
        error = await open_failure(PROBE, url=f"redis://127.0.0.1:{port}")
    assert (error.reason, error.detail) == ("protocol", "the answer is not Redis's")
    assert PROBE.reason(error.reason).fault is Fault.ACCESS


async def test_a_server_that_hangs_up_is_unreachable() -> None:
    async with listener(None, hold=False) as port:
        assert (await open_failure(PROBE, url=f"redis://127.0.0.1:{port}")).reason == "unreachable"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_a_server_that_says_nothing_is_given_up_and_leaves_no_socket(scheme: str) -> None:
    async with listener(None) as port:
        before = open_files()
        with pytest.raises(TimeoutError):
            await open_failure(PROBE, url=f"{scheme}://127.0.0.1:{port}", timeout=0.1)
        await eventually(2, lambda: open_files() <= before + 1)


async def test_plain_text_on_a_tls_address_is_tls(redis_server: RedisServer) -> None:
    async with listener(b"-ERR Protocol error\r\n") as port:
        error = await open_failure(PROBE, url=f"rediss://127.0.0.1:{port}")
    assert (error.reason, PROBE.reason(error.reason).fault) == ("tls", Fault.ACCESS)


async def test_a_unix_socket_will_do(make_redis: MakeRedis, tmp_path: Path) -> None:
    make_redis({"unixsocket": str(tmp_path / "redis.sock")})
    async with held(PROBE, url=f"unix://{tmp_path}/redis.sock") as target:
        await target.run()


# --- over time --------------------------------------------------------------------------------------------------------


async def test_rates_are_counted_between_runs_and_survive_a_restart_of_redis(make_redis: MakeRedis) -> None:
    server = make_redis({"maxmemory": "4mb", "maxmemory-policy": "allkeys-lru"})
    async with held(PROBE, url=server.url) as target:
        first = await target.run()
        assert "evicted_keys_per_second" not in first.measurements
        assert first.measurements["evicts"] == 1
        with client(server) as other:
            for number in range(100):
                other.set(f"key{number}", b"x" * 100_000)
            evicted = other.info("stats")["evicted_keys"]
        measured = (await target.run(after=10)).measurements["evicted_keys_per_second"]
        assert measured == pytest.approx(evicted / 10, abs=0.5)  # our own buffers may cost a key or two
        cursor, now = target.cursor, target.now
    server.kill()
    server.start()
    async with held(PROBE, url=server.url) as target:
        target.cursor, target.now = cursor, now
        assert (await target.run(after=10)).measurements["evicted_keys_per_second"] == 0


async def test_a_clock_that_steps_back_measures_no_rate(redis_server: RedisServer) -> None:
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
        assert "evicted_keys_per_second" not in (await target.run(after=-5)).measurements


async def test_the_hit_ratio_waits_for_enough_lookups_and_then_stays(redis_server: RedisServer) -> None:
    with client(redis_server) as other:
        other.set("key", "value")

        def look(hits: int, misses: int) -> None:
            for name, count in (("key", hits), ("missing", misses)):
                for _ in range(count):
                    other.get(name)

        async with held(PROBE, url=redis_server.url) as target:
            await target.run()
            look(50, 10)
            assert "hit_ratio" not in (await target.run(after=15)).measurements
            look(25, 15)
            assert (await target.run(after=15)).measurements["hit_ratio"] == 0.75
            look(0, 1)
            assert (await target.run(after=15)).measurements["hit_ratio"] == pytest.approx(75 / 101)
            assert "hit_ratio" not in (await target.run(after=3601)).measurements


async def test_a_container_without_maxmemory_is_measured_against_its_own_limit(redis_server: RedisServer) -> None:
    async with held(PROBE, url=redis_server.url, memory_limit="100MiB") as target:
        measured = (await target.run()).measurements
    assert measured["memory_used_ratio"] == pytest.approx(measured["memory_used_bytes"] / (100 * 2**20))  # type: ignore[operator]
    assert "memory_max_bytes" not in measured


async def test_a_killed_redis_is_seen_at_once(make_redis: MakeRedis) -> None:
    server = make_redis()
    async with held(PROBE, url=server.url) as target:
        await target.run()
        assert PROBE.watch is not None
        watch = asyncio.ensure_future(anext(PROBE.watch(target.options, target.resource)))
        await asyncio.sleep(0.06)
        assert not watch.done()
        server.kill()
        assert await asyncio.wait_for(watch, 1.0) == "closed"
        assert (await target.failure()).reason == "unreachable"


async def test_the_probe_only_reads(redis_server: RedisServer) -> None:
    with client(redis_server) as other:
        other.config_resetstat()
        async with held(PROBE, url=redis_server.url) as target:
            await target.run()
        used = {name for name in other.info("commandstats") if name not in {"cmdstat_info", "cmdstat_config"}}
    assert used == {"cmdstat_ping"}


# --- what FLUSHDB would destroy ---------------------------------------------------------------------------------------

PREFIXES = ["bull:", "sess:", "sf:pe:replay:"]


async def test_keys_are_counted_by_prefix_once_an_hour(redis_server: RedisServer) -> None:
    with client(redis_server) as other:
        other.mset({f"bull:q:{n}": "" for n in range(30)} | {f"sess:{n}": "" for n in range(7)} | {"cache": ""})
        async with held(PROBE, url=redis_server.url, prefixes=PREFIXES) as target:
            assert (await target.run()).measurements["keys"] == {"": 38, "bull:": 30, "sess:": 7, "sf:pe:replay:": 0}
            other.flushall()
            other.config_resetstat()
            assert (await target.run(after=3000)).measurements["keys"] == {
                "": 38, "bull:": 30, "sess:": 7, "sf:pe:replay:": 0
            }  # fmt: skip
            assert "cmdstat_scan" not in other.info("commandstats")
            assert (await target.run(after=700)).measurements["keys"] == dict.fromkeys(["", *PREFIXES], 0)


async def test_many_keys_are_counted_over_several_runs_within_the_budget(redis_server: RedisServer) -> None:
    with client(redis_server) as other:
        other.eval("for n = 1, 110000 do redis.call('SET', 'bull:' .. n, '') end", 0)
        async with held(PROBE, url=redis_server.url, prefixes=PREFIXES) as target:
            runs = 0
            keys: object = None
            while keys is None and runs < 100:
                other.config_resetstat()
                keys = (await target.run(after=15)).measurements.get("keys")
                assert other.info("commandstats")["cmdstat_scan"]["calls"] <= 100
                runs += 1
    assert runs >= 2
    assert keys == {"": 110_000, "bull:": 110_000, "sess:": 0, "sf:pe:replay:": 0}


async def test_without_the_right_to_scan_the_rest_is_measured_and_the_right_is_named(redis_server: RedisServer) -> None:
    with client(redis_server) as other:
        acl(other, "SETUSER mon reset on >secret-word -@all +ping +info")
    async with held(PROBE, url=f"redis://mon:secret-word@127.0.0.1:{redis_server.port}", prefixes=PREFIXES) as target:
        error = await target.failure()
    with client(redis_server) as other:
        acl(other, "DELUSER mon")
    assert (error.reason, "scan" in error.detail) == ("noperm", True)
    assert "memory_used_bytes" in error.reading.measurements


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://s3cret@host", "sentinel://:s3cret@host", "redis://:s3cret@a,b:6379", "redis://",
        "redis://host:s3cret", "redis://user:s3cr/et@host", "redis://host/s3cret", "unix://", "http://s3cret",
        "s3cret", "redis://host?db=s3cret", "",
    ],
)  # fmt: skip
def test_an_address_that_cannot_work_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RedisOptions.model_validate({"url": url})
    assert "s3cret" not in str([problem["msg"] for problem in refused.value.errors()])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://user:s3cret@host:26379/mymaster", "is Sentinel's, which is not asked"),
        ("rediss+sentinel://host", "is Sentinel's, which is not asked"),
        ("sentinel://host", "write the address of Redis itself"),
        ("redis+cluster://user:s3cret@host:7000", "is a cluster's, which is not asked as one"),
        ("rediscluster://host", "write a probe for each node"),
        ("redis://one:7000,two:7000", "names several servers; write one probe for each"),
        ("http://host", "write redis://, rediss:// or unix://"),
    ],
)
@pytest.mark.parametrize("name", ["redis", "replay", "bullmq"])
def test_sentinel_and_cluster_are_refused_with_what_to_write_in_their_place(name: str, url: str, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        discover()[name].options.model_validate({"url": url, **({"queues": ["q"]} if name == "bullmq" else {})})
    (problem,) = refused.value.errors()
    assert said in problem["msg"]
    assert "s3cret" not in problem["msg"]


async def test_parameters_for_the_portals_own_client_are_ignored(redis_server: RedisServer) -> None:
    async with held(PROBE, url=f"{redis_server.url}?family=6&lazyConnect=true&retries=7") as target:
        await target.run()


def test_the_ssl_parameters_of_the_url_reach_the_connection() -> None:
    from monitor.probes._redis import _connection

    connection = _connection("rediss://host/0?ssl_cert_reqs=none&ssl_check_hostname=false")
    assert connection.ssl_context.cert_reqs == ssl.CERT_NONE
