from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from redis import Redis

from monitor.core.probe import TIMEOUT, Fault, ProbeError
from monitor.probes.replay import CHANNELS, PROBE, VALUE_BYTES, ReplayOptions
from monitor.sandbox.servers import RedisServer
from tests.conftest import MakeRedis
from tests.probing import Held, held, listener, open_failure
from tests.servers import free_port

ORDERS, CHANGES = "sf:pe:replay:/event/OrderProvisionRequested__e", "sf:pe:replay:/data/OrderChangeEvent"


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(redis_server.url) as connection:
        yield connection


async def test_age_counts_from_the_last_change_of_each_channel(redis_server: RedisServer, client: Redis) -> None:
    client.mset({ORDERS: "12907414", CHANGES: "AAAAAADE85Y="})
    async with held(PROBE, url=redis_server.url) as target:
        first = await target.run()
        client.set(ORDERS, "12907415")
        second = await target.run(after=60)
        third = await target.run(after=30)
    orders, changes = "/event/OrderProvisionRequested__e", "/data/OrderChangeEvent"
    assert first.measurements == {"keys": 2, "age_seconds": {orders: 0, changes: 0}}
    assert second.measurements["age_seconds"] == {orders: 0, changes: 60}
    assert third.measurements["age_seconds"] == {orders: 30, changes: 90}


@pytest.mark.parametrize(
    "values", [("9007199254740993", "9007199254740992"), ("AA==", "AQ=="), ('{"id":1}', '{"id":2}')]
)
async def test_an_id_is_only_compared_with_itself(redis_server: RedisServer, client: Redis, values: list[str]) -> None:
    async with held(PROBE, url=redis_server.url, keys=ORDERS) as target:
        client.set(ORDERS, values[0])
        await target.run()
        assert (await target.run(after=60)).measurements["age_seconds"] == {ORDERS: 60}
        client.set(ORDERS, values[1])
        assert (await target.run(after=60)).measurements["age_seconds"] == {ORDERS: 0}


async def test_the_age_goes_on_after_a_restart_and_no_id_is_kept(redis_server: RedisServer, client: Redis) -> None:
    client.set(ORDERS, "12907414")
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
        saved, now = json.dumps(target.cursor), target.now
    assert "12907414" not in saved
    async with held(PROBE, url=redis_server.url) as target:
        target.cursor, target.now = json.loads(saved), now
        reading = await target.run(after=3600)
    assert reading.measurements["age_seconds"] == {"/event/OrderProvisionRequested__e": 3600}


async def test_a_clock_that_steps_back_makes_no_age_negative(redis_server: RedisServer, client: Redis) -> None:
    client.set(ORDERS, "1")
    async with held(PROBE, url=redis_server.url, keys=ORDERS) as target:
        await target.run()
        assert (await target.run(after=-60)).measurements["age_seconds"] == {ORDERS: 0}


# --- gone, and never there --------------------------------------------------------------------------------------------


async def test_a_key_that_was_never_there_is_unknown(redis_server: RedisServer) -> None:
    async with held(PROBE, url=redis_server.url) as target:
        error = await target.failure()
    assert (error.reason, target.fault(error), error.detail) == ("never-seen", Fault.ACCESS, "no key matches")
    assert error.reading.measurements["keys"] == 0


async def test_a_key_that_is_gone_is_a_failure_until_it_is_back(redis_server: RedisServer, client: Redis) -> None:
    client.mset({ORDERS: "1", CHANGES: "1"})
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
        client.delete(ORDERS)
        error = await target.failure(after=60)
        assert (error.reason, target.fault(error)) == ("gone", Fault.TARGET)
        assert error.reading.measurements["keys"] == 1
        client.set(ORDERS, "1")
        reading = await target.run(after=60)
    assert reading.measurements["age_seconds"] == dict.fromkeys(
        ("/event/OrderProvisionRequested__e", "/data/OrderChangeEvent"), 120
    )


async def test_a_flushed_redis_has_lost_the_replay_ids(redis_server: RedisServer, client: Redis) -> None:
    client.set(ORDERS, "1")
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
        client.flushdb()
        assert (await target.failure()).reason == "gone"


async def test_a_channel_given_up_for_good_is_forgotten(redis_server: RedisServer, client: Redis) -> None:
    client.mset({ORDERS: "1", CHANGES: "1"})
    async with held(PROBE, url=redis_server.url, forget_after="1d") as target:
        await target.run()
        client.delete(ORDERS)
        await target.failure(after=60)
        assert (await target.failure(after=86_400)).reason == "gone"
        reading = await target.run(after=60)
        assert reading.details["forgotten"] == ORDERS
        client.delete(CHANGES)
        await target.failure(after=60)
        assert (await target.failure(after=90_000)).reason == "never-seen"


# --- never harm what is watched ---------------------------------------------------------------------------------------


async def test_a_large_database_is_looked_through_in_pieces(redis_server: RedisServer, client: Redis) -> None:
    client.mset({f"other:{number}": "x" for number in range(5000)})
    client.set(ORDERS, "1")
    async with held(PROBE, url=redis_server.url, scan_budget=1000) as target:
        runs = 1
        while error := await nothing_yet(target):
            assert error == "never-seen: no key matches; not all keys of the database were looked at yet"
            runs += 1
        assert runs <= 7
        # Once found it is asked for by name, so that a scan that stops early does not make it "gone".
        for _ in range(7):
            assert (await target.run()).measurements["keys"] == 1
        client.delete(ORDERS)
        assert (await target.failure()).reason == "gone"


async def nothing_yet(target: Held) -> str:
    """What the run says that has not found the key yet; empty once it has."""
    try:
        await target.run()
    except ProbeError as error:
        return f"{error.reason}: {error.detail}"
    return ""


async def test_it_never_asks_for_all_keys_at_once_and_never_writes(redis_server: RedisServer, client: Redis) -> None:
    client.set(ORDERS, "1")
    client.config_resetstat()
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
    used = set(client.info("commandstats")) - {"cmdstat_config", "cmdstat_config|resetstat"}
    assert used == {"cmdstat_ping", "cmdstat_scan", "cmdstat_getrange"}


async def test_more_channels_than_that_are_not_followed(redis_server: RedisServer, client: Redis) -> None:
    client.mset({f"sf:pe:replay:/event/{number:03}": "1" for number in range(CHANNELS + 10)})
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
        reading = await target.run()
    ages = reading.measurements["age_seconds"]
    assert isinstance(ages, dict)
    assert len(ages) == CHANNELS
    assert "not followed" in reading.details["channels"]


async def test_keys_that_cannot_be_replay_keys_are_passed_over(redis_server: RedisServer, client: Redis) -> None:
    client.set(ORDERS, "1")
    client.hset("sf:pe:replay:hash", "a", "b")
    client.set(b"sf:pe:replay:\xff\xfe", "1")
    client.set("sf:pe:replay:" + "x" * 500, "1")
    async with held(PROBE, url=redis_server.url) as target:
        reading = await target.run()
    assert reading.measurements["age_seconds"] == {"/event/OrderProvisionRequested__e": 0}


async def test_a_huge_value_brings_home_no_more_than_its_beginning(redis_server: RedisServer, client: Redis) -> None:
    client.set(ORDERS, "x" * 5_000_000)
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
        sent = client.info("stats")["total_net_output_bytes"]
        await target.run()
        assert client.info("stats")["total_net_output_bytes"] - sent < 2 * VALUE_BYTES


# --- rights and states of Redis ---------------------------------------------------------------------------------------


async def test_a_user_that_may_only_get_and_scan_is_enough(redis_server: RedisServer, client: Redis) -> None:
    client.set(ORDERS, "1")
    words = "SETUSER t_replay reset on >secret-word -@all +ping +scan +get ~sf:pe:replay:*"
    client.execute_command("ACL", *words.split())  # type: ignore[no-untyped-call]
    async with held(PROBE, url=f"redis://t_replay:secret-word@127.0.0.1:{redis_server.port}") as target:
        assert (await target.run()).measurements["keys"] == 1
    client.execute_command("ACL", "SETUSER", "t_replay", "-scan")  # type: ignore[no-untyped-call]
    async with held(PROBE, url=f"redis://t_replay:secret-word@127.0.0.1:{redis_server.port}") as target:
        error = await target.failure()
    client.execute_command("ACL", "DELUSER", "t_replay")  # type: ignore[no-untyped-call]
    assert (error.reason, target.fault(error)) == ("noperm", Fault.ACCESS)


async def test_an_unreadable_redis_says_nothing_about_the_events(make_redis: MakeRedis) -> None:
    error = await open_failure(PROBE, url=f"redis://127.0.0.1:{free_port()}")
    assert (error.reason, PROBE.reason(error.reason).fault) == ("unreachable", Fault.ACCESS)
    assert PROBE.reason(TIMEOUT).fault is Fault.ACCESS
    assert {reason.fault for name, reason in PROBE.reasons.items() if name != "gone"} == {Fault.ACCESS}


async def test_an_outage_of_redis_keeps_what_was_known(make_redis: MakeRedis) -> None:
    server = make_redis({"appendonly": "yes", "appendfsync": "always"})
    with Redis.from_url(server.url) as client:
        client.set(ORDERS, "1")
    async with held(PROBE, url=server.url, keys=ORDERS) as target:
        await target.run()
        server.kill()
        assert (await target.failure(after=60)).reason == "unreachable"
        cursor, now = target.cursor, target.now
    server.start()
    async with held(PROBE, url=server.url, keys=ORDERS) as target:
        target.cursor, target.now = cursor, now
        assert (await target.run(after=60)).measurements["age_seconds"] == {ORDERS: 120}


async def test_a_closed_connection_is_seen_at_once(make_redis: MakeRedis) -> None:
    server = make_redis()
    async with held(PROBE, url=server.url) as target:
        assert PROBE.watch is not None
        watch = asyncio.ensure_future(anext(PROBE.watch(target.options, target.resource)))
        await asyncio.sleep(0)
        server.kill()
        assert await asyncio.wait_for(watch, 1.0) == "closed"


async def test_a_run_that_hangs_is_cut_off(redis_server: RedisServer) -> None:
    async with listener(b"+PONG\r\n") as port, held(PROBE, url=f"redis://127.0.0.1:{port}") as target:
        with pytest.raises(TimeoutError):
            await target.run(timeout=0.1)


@pytest.mark.parametrize("options", [{"keys": ""}, {"keys": "x" * 201}, {"scan_budget": 10}, {"forget_after": "soon"}])
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ReplayOptions.model_validate({"url": "redis://localhost", **options})
