from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
from pydantic import ValidationError
from redis import Redis

from monitor.core.probe import TIMEOUT, Fault, Json, ProbeError, Reading, Sample, Value
from monitor.probes.replay import CHANNELS, ODDITIES, PROBE, VALUE_BYTES, ReplayOptions
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
    assert (first.measurements["keys"], first.measurements["age_seconds"]) == (2, {orders: 0, changes: 0})
    assert second.measurements["age_seconds"] == {orders: 0, changes: 60}
    assert third.measurements["age_seconds"] == {orders: 30, changes: 90}
    assert third.measurements["retention_left_seconds"] == {orders: 72 * 3600 - 30, changes: 72 * 3600 - 90}


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


async def test_value_and_age_go_on_after_a_restart(redis_server: RedisServer, client: Redis) -> None:
    client.set(ORDERS, "12907414")
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
        saved, now = json.dumps(target.cursor), target.now
    async with held(PROBE, url=redis_server.url) as target:
        target.cursor, target.now = json.loads(saved), now
        reading = await target.run(after=3600)
        client.set(ORDERS, "12907413")
        after = await target.run(after=60)
    assert reading.measurements["age_seconds"] == {"/event/OrderProvisionRequested__e": 3600}
    assert odd(after) == {"backwards"}


@pytest.mark.parametrize("cursor", [[], "x", 7, {}, {"channels": []}, {"channels": {"a": ["x", 1.0, None]}}, {"no": 1}])
async def test_a_cursor_that_makes_no_sense_is_passed_over(
    redis_server: RedisServer, client: Redis, cursor: Json
) -> None:
    client.set(ORDERS, "1")
    async with held(PROBE, url=redis_server.url) as target:
        target.cursor = cursor
        assert (await target.run()).measurements["keys"] == 1


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


# --- the verdict: whether there was anything to receive ---------------------------------------------------------------

HOUR = 3600.0
EVIDENCE = {
    "waiting": "orders.waiting",
    "delivered": "limits.delivered",
    "enqueued": "queue.added[provisioning]",
    "errors": "log.ages[refused]",
    "success": "log.ages[event]",
    "replay_latest": "settings.as_expected[SF_EVENTS_REPLAY]",
}


def evidence(now: float, *without: str, **said: float) -> dict[str, Sample]:
    """Samples taken at `now`: of every probe but those in `without`, by default that nothing happens."""
    ages: Value = {name: said[name] for name in ("refused", "event") if name in said}
    measured: dict[str, dict[str, Value]] = {
        "orders": {"waiting": said.get("waiting", 0.0)},
        "limits": {"delivered": said.get("delivered", 100.0)},
        "queue": {"added": {"provisioning": said.get("added", 0.0)}},
        "log": {"ages": ages} if ages else {},
        "settings": {"as_expected": {"SF_EVENTS_REPLAY": said.get("latest", 1.0)}},
    }
    return {name: Sample(now, values) for name, values in measured.items() if name not in without}


async def told(target: Held, after: float, *without: str, **said: float) -> tuple[str, Reading]:
    """The reason of the run so much later, with this evidence taken at its moment; "" for a success."""
    target.measured = evidence(target.now + after, *without, **said)
    try:
        return "", await target.run(after=after)
    except ProbeError as error:
        target.type.reason(error.reason)
        return error.reason, error.reading


def odd(reading: Reading) -> set[str]:
    oddities = reading.measurements["oddities"]
    assert isinstance(oddities, Mapping)
    assert set(oddities) == set(ODDITIES)
    assert {kind for kind in ODDITIES if kind in reading.details} == {
        kind for kind, is_odd in oddities.items() if is_odd
    }
    return {kind for kind, is_odd in oddities.items() if is_odd}


@pytest.fixture
async def quiet(redis_server: RedisServer, client: Redis) -> AsyncIterator[Held]:
    """A channel whose id was first seen just now, and evidence for everything."""
    client.set(ORDERS, "12907414")
    async with held(PROBE, url=redis_server.url, evidence=EVIDENCE) as target:
        await told(target, 0.0)
        yield target


@pytest.mark.parametrize(
    ("after", "said", "reason", "words"),
    [
        (HOUR, {}, "", "quiet: no order waits for an event"),
        (12 * HOUR, {}, "", "quiet: no order waits for an event"),
        (49 * HOUR, {}, "", "quiet: no order waits for an event"),  # a matter of retention_left_seconds
        (300.0, {"waiting": 3.0}, "", "events come, yet orders wait: look at the queue, its workers and WHMCS"),
        (601.0, {"waiting": 3.0}, "broken", "no event for 10m 1s: 3 orders wait (orders.waiting)"),
        (601.0, {"waiting": 1.0}, "broken", "no event for 10m 1s: 1 order waits (orders.waiting)"),
        (59 * HOUR, {"waiting": 1.0}, "broken", "no event for 2d 11h: 1 order waits (orders.waiting)"),
        (60 * HOUR, {"waiting": 1.0}, "expiring", "no event for 2d 12h: 1 order waits (orders.waiting)"),
        (HOUR, {"waiting": 1.0, "added": 0.1}, "", "no id moves, yet jobs are enqueued"),
        (HOUR, {"added": 0.1}, "", "no id moves, yet jobs are enqueued"),
        (HOUR, {"refused": 1800.0}, "broken",
         "no event for 1h: the log tells of a failed subscription, and of no event since (log.ages[refused])"),
        (61 * HOUR, {"refused": 1800.0}, "broken",
         "no event for 2d 13h: the log tells of a failed subscription, and of no event since (log.ages[refused])"),
        (HOUR, {"refused": 1800.0, "event": 1900.0}, "broken",
         "no event for 1h: the log tells of a failed subscription, and of no event since (log.ages[refused])"),
        (HOUR, {"refused": 1800.0, "event": 60.0}, "", "quiet: no order waits for an event"),
        (HOUR, {"refused": 2 * HOUR}, "", "quiet: no order waits for an event"),  # the id moved after it
        (300.0, {"refused": 60.0}, "", "events come"),
    ],
)  # fmt: skip
async def test_silence_is_judged_by_evidence(
    quiet: Held, after: float, said: dict[str, float], reason: str, words: str
) -> None:
    got, reading = await told(quiet, after, **said)
    assert (got, reading.details["verdict"]) == (reason, words)


async def test_a_dead_subscription_is_well_again_with_the_next_event(quiet: Held, client: Redis) -> None:
    assert (await told(quiet, HOUR, waiting=3.0))[0] == "broken"
    client.set(ORDERS, "12907415")
    assert (await told(quiet, 10.0, waiting=3.0))[0] == ""


async def test_a_channel_that_moves_acquits_the_subscription(quiet: Held, client: Redis) -> None:
    client.set(CHANGES, "5")
    assert (await told(quiet, HOUR, waiting=3.0))[0] == ""
    assert (await told(quiet, HOUR, waiting=3.0))[0] == "broken"


async def test_events_that_are_delivered_and_not_stored_are_evidence(quiet: Held, client: Redis) -> None:
    assert [(await told(quiet, after, delivered=count))[0] for after, count in [(900, 100), (300, 90), (300, 80)]] == [
        ""
    ] * 3
    assert (await told(quiet, 300, delivered=81))[0] == ""  # it may be on its way
    reason, reading = await told(quiet, 601, delivered=80)
    assert (reason, "limits.delivered" in reading.details["verdict"]) == ("broken", True)
    client.set(ORDERS, "12907415")
    assert (await told(quiet, 10, delivered=85))[0] == ""
    assert (await told(quiet, HOUR, delivered=85))[0] == ""


async def test_a_count_from_before_the_id_moved_accuses_nobody(quiet: Held) -> None:
    quiet.measured = evidence(quiet.now, delivered=100, waiting=5.0)
    old = await quiet.run(after=700)
    assert "neither" in old.details["verdict"]
    assert [(await told(quiet, 60 * minutes, delivered=101))[0] for minutes in (1, 20, 20)] == [""] * 3


async def test_evidence_that_is_gone_acquits_nobody(quiet: Held) -> None:
    assert (await told(quiet, HOUR, waiting=3.0))[0] == "broken"
    reason, reading = await told(quiet, 60.0, "orders")
    assert (reason, PROBE.reason(reason).fault) == ("unproved", Fault.ACCESS)
    assert reading.details["evidence"] == "nothing fresh from orders"
    assert (await told(quiet, 60.0, "log"))[0] == ""  # what accused it is seen again, and does so no more
    assert (await told(quiet, 60.0, "orders"))[0] == ""


async def test_without_evidence_it_says_so_and_only_grows_old(redis_server: RedisServer, client: Redis) -> None:
    client.set(ORDERS, "1")
    async with held(PROBE, url=redis_server.url) as target:
        await target.run()
        reading = await target.run(after=50 * HOUR)
    assert reading.details["evidence"] == "none configured"
    assert reading.details["verdict"] == "quiet or broken: no evidence is configured, so nothing can tell"
    assert reading.measurements["unexplained_age_seconds"] == 50 * HOUR


async def test_a_quiet_night_is_explained_by_orders_that_do_not_wait_and_by_nothing_else(quiet: Held) -> None:
    ages = []
    for without in ((), ("orders",), ("orders",), ()):
        _, reading = await told(quiet, 3 * HOUR, *without)
        ages.append(reading.measurements["unexplained_age_seconds"])
    assert ages == [0, 3 * HOUR, 6 * HOUR, 0]


async def test_an_age_does_not_grow_while_redis_cannot_be_read_and_is_whole_after(quiet: Held, client: Redis) -> None:
    client.execute_command("ACL", "SETUSER", "default", "-getrange", "-get")  # type: ignore[no-untyped-call]
    try:
        error = await quiet.failure(after=HOUR)
        assert (error.reason, "age_seconds" in error.reading.measurements) == ("noperm", False)
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+@all")  # type: ignore[no-untyped-call]
    assert (await told(quiet, 60.0))[1].measurements["age_seconds"] == {"/event/OrderProvisionRequested__e": HOUR + 60}


DECIMAL, BASE64, JSON = "12907414", "AAAAAADE85Y=", '{"replayId": 12907414}'


@pytest.mark.parametrize(
    ("values", "oddities"),
    [
        ((DECIMAL, "12907415"), set()),
        (("9007199254740993", "9007199254740992"), {"backwards"}),
        ((BASE64, "AAAAAADE85U="), set()),  # opaque: nobody knows which is later
        ((JSON, '{"replayId": 12907413}'), set()),
        ((DECIMAL, BASE64), {"format"}),
        ((DECIMAL, JSON), {"format"}),
        ((DECIMAL, "-1"), {"format"}),
        ((BASE64, JSON), {"format"}),
        ((DECIMAL, "what is this?"), {"format"}),
    ],
)
async def test_an_id_that_goes_backwards_or_is_written_otherwise_deserves_a_look(
    redis_server: RedisServer, client: Redis, values: tuple[str, str], oddities: set[str]
) -> None:
    async with held(PROBE, url=redis_server.url, keys=ORDERS) as target:
        client.set(ORDERS, values[0])
        assert odd(await target.run()) == set()
        client.set(ORDERS, values[1])
        assert odd(await target.run(after=60)) == oddities
        assert odd(await target.run(after=3000)) == oddities
        assert odd(await target.run(after=700)) == set()


async def test_replaying_everything_is_fine_for_a_time(quiet: Held) -> None:
    assert [odd((await told(quiet, HOUR, latest=0.0))[1]) for _ in range(4)] == [
        set(),
        set(),
        set(),
        {"replay-all"},
    ]
    assert odd((await told(quiet, 60.0, "settings"))[1]) == {"replay-all"}
    assert odd((await told(quiet, 60.0, latest=1.0))[1]) == set()


async def test_jobs_without_an_id_that_moves_deserve_a_look(quiet: Held, client: Redis) -> None:
    assert odd((await told(quiet, HOUR, added=0.5))[1]) == {"unstored"}
    client.set(ORDERS, "12907415")
    assert odd((await told(quiet, 60.0, added=0.5))[1]) == set()


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
    of_the_events = {"gone", "broken", "expiring"}
    assert {reason.fault for name, reason in PROBE.reasons.items() if name not in of_the_events} == {Fault.ACCESS}


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


@pytest.mark.parametrize(
    "options",
    [
        {"keys": ""},
        {"keys": "x" * 201},
        {"scan_budget": 10},
        {"forget_after": "soon"},
        {"evidence": {"waiting": "orders"}},
        {"evidence": {"waitin": "orders.waiting"}},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ReplayOptions.model_validate({"url": "redis://localhost", **options})
