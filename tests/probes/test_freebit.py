"""The freebit probe: a connection, and at most one login in ten minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from monitor.core.probe import Fault, Json, ProbeContext, ProbeError, Reading
from monitor.probes.freebit import LOGIN_SECONDS, PROBE, FreebitOptions, run
from tests.replies import Certificates, drops, http, says, serving
from tests.servers import free_port

NOW = 1_795_453_592.0  # 17:06:32 UTC
LOGIN: Mapping[str, Any] = {"login": True, "oem_id": "id-canary", "oem_key": "key-canary"}
TAKEN = http('{"resultCode": "100", "authKey": "auth-canary"}')


def options(url: str, **more: Any) -> FreebitOptions:
    return FreebitOptions.model_validate({"url": url, **more})


async def look(url: str, *, cursor: Json = None, now: float = NOW, timeout: float = 5.0, **more: Any) -> Reading:
    return await run(options(url, **more), ProbeContext("freebit", now, timeout, cursor))


async def refused(url: str, **more: Any) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await look(url, **more)
    PROBE.reason(caught.value.reason)
    return caught.value


async def test_by_default_it_connects_and_asks_nothing() -> None:
    async with serving(drops) as server:
        reading = await look(server.url())
    assert set(reading.measurements) == {"duration_seconds", "phase_seconds"}
    assert not any(server.requests)
    assert reading.cursor is None


async def test_a_closed_port_is_unreachable() -> None:
    assert (await refused(f"http://127.0.0.1:{free_port()}")).reason == "unreachable"


async def test_over_https_the_certificate_is_measured_and_must_be_good(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with serving(drops, tls=certificates.server()) as server:
        reading = await look(server.url(scheme="https"), ca_file=certificates.ca_file, now=time.time())
        error = await refused(server.url(scheme="https"))
    assert reading.measurements["certificate_left_seconds"] > 0  # type: ignore[operator]
    assert error.reason == "tls"


@pytest.mark.parametrize("code", ['"100"', "100"])
async def test_a_login_is_taken_by_its_result_code(code: str) -> None:
    async with serving(says(http(f'{{"resultCode": {code}, "authKey": "auth-canary"}}'))) as server:
        reading = await look(server.url("/emptool/api/authOem/"), **LOGIN)
    head, _, form = server.requests[0].decode().partition("\r\n\r\n")
    assert head.startswith("POST /emptool/api/authOem/ HTTP/1.1\r\n")
    assert json.loads(parse_qs(form)["json"][0]) == {"oemId": "id-canary", "oemKey": "key-canary"}
    assert reading.measurements["authenticated"] == 1.0
    assert "canary" not in repr(reading)


@pytest.mark.parametrize(
    ("body", "status", "reason", "detail"),
    [
        ('{"resultCode": "210", "status": {"message": "NG"}}', 200, "refused", "resultCode 210"),
        ('{"resultCode": 0}', 200, "refused", "resultCode 0"),
        ('{"resultCode": "no <b>"}', 200, "refused", "a resultCode that is none"),
        ('{"authKey": "auth-canary"}', 200, "degraded", "HTTP 200 OK, but no resultCode"),
        ('{"resultCode": true}', 200, "degraded", "HTTP 200 OK, but no resultCode"),
        ("<html>maintenance", 200, "degraded", "HTTP 200 OK, but no resultCode"),
        ('{"resultCode": "100"}', 503, "status", "HTTP 503 Service Unavailable"),
        ("", 404, "status", "HTTP 404 Not Found"),
        ("", 429, "throttled", "HTTP 429 Too Many Requests"),
    ],
)
async def test_everything_but_100_is_no_success(body: str, status: int, reason: str, detail: str) -> None:
    async with serving(says(http(body, status))) as server:
        error = await refused(server.url(), **LOGIN)
        again = await refused(server.url(), cursor=error.reading.cursor, now=NOW + 60, **LOGIN)
    assert (error.reason, error.detail) == (reason, detail)
    assert (again.reason, again.detail) == (reason, f"{detail}, at 17:06:32 UTC; asked every ten minutes")
    assert "canary" not in repr(error.reading)
    assert [len(request) > 0 for request in server.requests] == [True]  # the second run only connected


async def test_a_login_is_not_repeated_within_ten_minutes() -> None:
    async with serving(says(TAKEN)) as server:
        cursor = (await look(server.url(), **LOGIN)).cursor
        between = await look(server.url(), cursor=cursor, now=NOW + LOGIN_SECONDS - 1, **LOGIN)
        assert (len(server.requests), between.cursor) == (1, None)
        assert (between.measurements["authenticated"], between.details["login"]) == (1.0, "at 17:06:32 UTC")
        assert (await look(server.url(), cursor=cursor, now=NOW + LOGIN_SECONDS, **LOGIN)).cursor is not None
        assert (await look(server.url(), cursor=cursor, now=NOW - 86400, **LOGIN)).cursor is not None
    assert len([request for request in server.requests if request]) == 3


async def test_a_login_without_an_answer_counts_as_one() -> None:
    async with serving(drops) as server:
        error = await refused(server.url(), **LOGIN)
        assert error.reason == "unreachable"
        reading = await look(server.url(), cursor=error.reading.cursor, now=NOW + 60, **LOGIN)
    assert "authenticated" not in reading.measurements


@pytest.mark.parametrize("cursor", [[], "x", {"at": "soon"}, {"at": NOW, "reason": "no such"}, {"reason": "refused"}])
async def test_a_cursor_that_makes_no_sense_is_passed_over(cursor: Json) -> None:
    async with serving(says(TAKEN)) as server:
        assert (await look(server.url(), cursor=cursor, **LOGIN)).measurements["authenticated"] == 1.0


def test_the_credentials_are_the_portals_own_and_a_refusal_counts_against_freebit() -> None:
    assert PROBE.reason("refused").fault is Fault.TARGET


@pytest.mark.parametrize(
    "wrong", [{"login": True}, {"login": True, "oem_id": "canary"}, {"url": "i1.mvno.net:443"}, {"url": "https://a:canary@b"}]
)  # fmt: skip
def test_a_mistake_in_the_options_is_told_without_a_secret(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        FreebitOptions.model_validate(wrong)
    assert "canary" not in str(caught.value)
