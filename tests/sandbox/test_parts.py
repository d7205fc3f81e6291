"""The sandbox's smaller parts: ports, log lines, the queue, the list of pages."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from monitor.sandbox import bullmq, pino
from monitor.sandbox.pages import Page, Pages
from monitor.sandbox.ports import Door, Port, way_out
from monitor.sandbox.servers import RedisServer
from monitor.sandbox.vendors import Freebit, Salesforce

SAMPLES = Path(__file__).resolve().parents[1] / "logs/pino_samples.ndjson"


def connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


async def test_a_door_opens_and_shuts_and_its_port_stays_ours() -> None:
    port = Port()
    door = Door(way_out)
    for _ in range(2):
        assert not connects(port.number)
        await door.open(port.number)
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            assert (await client.get(f"http://127.0.0.1:{port.number}")).status_code == 204
        door.shut(port.number)
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port.number))
    await door.close()
    port.release()


async def test_shutting_one_port_leaves_the_other_open() -> None:
    inside, outside = Port(), Port()
    door = Door(way_out)
    await door.open(inside.number)
    await door.open(outside.number)
    door.shut(outside.number)
    assert connects(inside.number)
    assert not connects(outside.number)
    await door.close()
    inside.release()
    outside.release()


def test_lines_have_the_shape_of_real_ones(tmp_path: Path) -> None:
    log = pino.Log(tmp_path)
    req = {"id": 1, "method": "GET", "url": "/api/500", "remoteAddress": "127.0.0.1"}
    err = pino.error("Error", "failed with status code 500")
    log.write(pino.INFO, "request errored", req=req, res={"statusCode": 500}, err=err, responseTime=1)
    log.close()
    (line,) = (json.loads(text) for text in (tmp_path / "combined.log").read_text().splitlines())
    samples = [text for text in SAMPLES.read_text().splitlines() if '"url":"/api/500"' in text and "hostname" in text]
    real = json.loads(samples[0])
    assert list(line) == list(real)
    assert list(line["err"]) == list(real["err"])
    assert {name: type(value) for name, value in line.items()} == {name: type(value) for name, value in real.items()}
    assert (tmp_path / "error.log").read_text() == ""


def test_a_log_that_has_grown_is_renamed_and_begun_anew(tmp_path: Path) -> None:
    log = pino.Log(tmp_path, rotate_bytes=1000)
    for number in range(20):
        log.write(pino.ERROR, f"line {number}")
    log.close()
    kept = [(tmp_path / name).read_text().splitlines() for name in ("combined.log.1", "combined.log")]
    numbers = [int(json.loads(line)["msg"].split()[1]) for lines in kept for line in lines]
    assert numbers == list(range(numbers[0], 20))
    assert (tmp_path / "combined.log").stat().st_size < 1000
    assert (tmp_path / "error.log").exists()


async def test_a_job_is_taken_in_turn_and_kept_when_done(redis_server: RedisServer) -> None:
    async with Redis.from_url(redis_server.url, decode_responses=True) as redis:
        first, second = [await bullmq.add(redis, {"orderId": order}) for order in ("a", "b")]
        assert await redis.lindex(f"{bullmq.QUEUE}:wait", -1) == first
        assert await bullmq.take(redis) == (first, {"orderId": "a"})
        assert await redis.lrange(f"{bullmq.QUEUE}:active", 0, -1) == [first]
        await bullmq.complete(redis, first)
        assert await redis.zrange(f"{bullmq.QUEUE}:completed", 0, -1) == [first]
        assert await bullmq.take(redis) == (second, {"orderId": "b"})


async def test_a_job_fails_after_its_third_attempt(redis_server: RedisServer) -> None:
    async with Redis.from_url(redis_server.url, decode_responses=True) as redis:
        job = await bullmq.add(redis, {})
        for attempt in range(bullmq.ATTEMPTS):
            assert await bullmq.take(redis)
            await bullmq.fail(redis, job, "WHMCS is away")
            if attempt < bullmq.ATTEMPTS - 1:
                assert await redis.zcard(f"{bullmq.QUEUE}:delayed") == 1
                await redis.zadd(f"{bullmq.QUEUE}:delayed", {job: 0})  # its delay is over
                await bullmq.look_after(redis)
        assert await redis.zrange(f"{bullmq.QUEUE}:failed", 0, -1) == [job]
        assert await redis.hget(f"{bullmq.QUEUE}:{job}", "failedReason") == "WHMCS is away"


async def test_no_more_than_a_hundred_completed_jobs_are_kept(redis_server: RedisServer) -> None:
    async with Redis.from_url(redis_server.url, decode_responses=True) as redis:
        for _ in range(bullmq.KEEP_COMPLETED + 5):
            job = await bullmq.add(redis, {})
            await bullmq.take(redis)
            await bullmq.complete(redis, job)
        assert await redis.zcard(f"{bullmq.QUEUE}:completed") == bullmq.KEEP_COMPLETED
        assert not await redis.exists(f"{bullmq.QUEUE}:1")


async def test_a_job_whose_worker_died_is_taken_back(redis_server: RedisServer) -> None:
    async with Redis.from_url(redis_server.url, decode_responses=True) as redis:
        job = await bullmq.add(redis, {})
        await bullmq.take(redis)
        await bullmq.look_after(redis)
        assert await redis.llen(f"{bullmq.QUEUE}:wait") == 0
        await redis.delete(f"{bullmq.QUEUE}:{job}:lock")
        await bullmq.look_after(redis)
        assert await redis.lrange(f"{bullmq.QUEUE}:wait", 0, -1) == [job]


def notification(status: str, *fingerprints: str) -> dict[str, Any]:
    labels = {
        "kind": "page", "severity": "P2", "escalation_level": "L1", "vendor": "none", "attempt": "1",
        "incident": "redis-20261123-1702",
    }  # fmt: skip
    return {"alerts": [
        {"status": status, "fingerprint": one, "startsAt": "2026-11-23T17:02:00Z", "labels": labels,
         "annotations": {"title": "Redis connection failures"}}
        for one in fingerprints
    ]}  # fmt: skip


def test_a_page_is_shown_once_for_each_time_its_status_changes(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "pages.jsonl")
    assert len(pages.receive(notification("firing", "a"))) == 1
    assert len(pages.receive(notification("firing", "a", "b"))) == 1
    assert len(pages.receive(notification("resolved", "a", "b"))) == 2
    shown = pages.kept[0].shown()
    assert "firing    page      P2 L1  Redis connection failures redis-20261123-1702" in shown
    assert len((tmp_path / "pages.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"kind": "page", "escalation_level": "L1", "attempt": "2"}, "page      P2 L1, second call  Redis"),
        ({"kind": "update", "update": "3"}, "update    P2     Redis"),
        ({"kind": "reminder", "reason": "response"}, "reminder  P2     Redis"),
        ({}, "alert     P2     Redis"),  # of a rule of Prometheus
        ({"attempt": "many"}, "alert     P2     Redis"),
    ],
)
def test_a_page_says_what_kind_it_is_and_which_call(labels: dict[str, str], said: str) -> None:
    shown = Page(0.0, "firing", {"severity": "P2", **labels}, {"title": "Redis connection failures"}).shown()
    assert f"firing    {said} connection failures" in shown


def app_client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://vendor")


async def test_salesforce_answers_as_documented() -> None:
    salesforce = Salesforce()
    approving = asyncio.create_task(salesforce.approve())
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}
    query = {"q": "SELECT COUNT() FROM Order WHERE Activation_Status__c = 'Activating'"}
    data = "/services/data/v62.0"
    async with app_client(salesforce.app) as client:
        assert (await client.get("/sandbox/events", params={"after": "0"})).json()[0]["order"].startswith("801")
        (version,) = (await client.get("/services/data/")).json()
        assert set(version) == {"label", "url", "version"}
        refused = await client.get(f"{data}/limits")
        assert (refused.status_code, refused.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
        wrong = await client.post("/services/oauth2/token", data={**grant, "assertion": "nonsense"})
        assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
        token = (await client.post("/services/oauth2/token", data=grant)).json()["access_token"]
        signed = {"Authorization": f"Bearer {token}"}
        limits = (await client.get(f"{data}/limits", headers=signed)).json()
        assert set(limits["DailyDeliveredPlatformEvents"]) == {"Max", "Remaining"}
        assert (await client.get(f"{data}/query", params=query, headers=signed)).json()["totalSize"] == 1
        older = {"q": f"{query['q']} AND LastModifiedDate < 2026-01-01T00:00:00Z"}
        assert (await client.get(f"{data}/query", params=older, headers=signed)).json()["totalSize"] == 0
        oldest = {
            "q": f"SELECT COUNT(Id) waiting, MIN(LastModifiedDate) oldest {query['q'].removeprefix('SELECT COUNT() ')}"
        }
        (record,) = (await client.get(f"{data}/query", params=oldest, headers=signed)).json()["records"]
        assert (record["waiting"], record["oldest"].endswith(".000+0000")) == (1, True)
    approving.cancel()


async def test_freebit_takes_a_form_field_of_json_and_answers_with_its_own_codes() -> None:
    freebit = Freebit("oem", "key")
    async with app_client(freebit.app) as client:

        async def post(path: str, **fields: str) -> dict[str, Any]:
            answer = await client.post(path, files={"json": (None, json.dumps(fields))})
            assert answer.status_code == 200
            body: dict[str, Any] = answer.json()
            return body

        assert (await post("/emptool/api/authOem/", oemId="oem", oemKey="wrong"))["resultCode"] != "100"
        key = (await post("/emptool/api/authOem/", oemId="oem", oemKey="key"))["authKey"]
        assert (await post("/mvno/getDetail/", authKey=key))["resultCode"] == "100"
        assert (await post("/mvno/getDetail/", authKey="stale"))["resultCode"] != "100"
