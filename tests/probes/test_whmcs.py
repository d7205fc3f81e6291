"""The whmcs probe against a server that answers as WHMCS is documented to, in all its moods."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from monitor.core.probe import Fault, Json, ProbeContext, ProbeError, Reading
from monitor.probes.whmcs import PROBE, WhmcsOptions, run
from tests.replies import Certificates, floods, http, says, serving

NOW = 1_795_453_592.0
IDENTIFIER, SECRET = "identifier-canary", "secret-canary"
SUCCESS = {"result": "success", "whmcs": {"version": "8.0.0", "canonicalversion": "8.0.0-release.1"}}


def options(url: str, **more: Any) -> WhmcsOptions:
    return WhmcsOptions.model_validate({"url": url, "identifier": IDENTIFIER, "secret": SECRET, **more})


async def call(url: str, *, cursor: Json = None, now: float = NOW, timeout: float = 5.0, **more: Any) -> Reading:
    async with asyncio.timeout(timeout):
        return await run(options(url, **more), ProbeContext("whmcs", now, timeout, cursor))


async def refused(url: str, **more: Any) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await call(url, **more)
    return caught.value


def failing(message: str) -> str:
    return json.dumps({"result": "error", "message": message})


def answers(body: object, status: int = 200) -> bytes:
    return http(body if isinstance(body, str) else json.dumps(body), status)


async def test_one_harmless_action_is_called_with_the_portals_credentials() -> None:
    async with serving(says(answers(SUCCESS))) as server:
        reading = await call(server.url("/includes/api.php"), access_key="key-canary")
        head, _, form = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /includes/api.php HTTP/1.1\r\n")
    assert {name: values[0] for name, values in parse_qs(form.decode()).items()} == {
        "identifier": IDENTIFIER,
        "secret": SECRET,
        "action": "WhmcsDetails",
        "responsetype": "json",
        "accesskey": "key-canary",
    }
    assert reading.measurements["permitted"] == 1.0
    assert isinstance(reading.measurements["duration_seconds"], float)
    assert reading.details["version"] == "8.0.0-release.1"


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (failing("Authentication Failed"), 200, "credentials"),
        (failing("Authentication Failed"), 403, "credentials"),
        (failing("Invalid or missing credentials"), 403, "credentials"),
        ("result=error;message=Authentication Failed", 200, "credentials"),
        ("Authentication Failed", 200, "credentials"),
        (failing("Invalid IP 203.0.113.9"), 403, "allow-list"),
        (failing("IP Banned"), 200, "allow-list"),
        ("Access Denied", 403, "allow-list"),
        (failing('Invalid API Action: "x" is not a valid API action'), 200, "action"),
        ("<html><title>Down for Maintenance</title>", 200, "maintenance"),
        ("<html><h1>Under maintenance</h1>", 503, "maintenance"),
        ("<title>Just a moment...</title>", 403, "unreachable"),
        ("<title>Attention Required! | Cloudflare</title>", 403, "unreachable"),
        ("<html>Bad gateway", 502, "unreachable"),
        ("", 503, "unreachable"),
        ("", 504, "unreachable"),
        ("<html>Web server is down", 521, "unreachable"),
        ("", 500, "status"),
        ("<html>Not Found", 404, "status"),
        ("", 403, "status"),
        ("moved", 301, "status"),
        ("slow down", 429, "throttled"),
        ("", 200, "degraded"),
        ("<html>Fatal error: Uncaught", 200, "degraded"),
        ("{not json", 200, "degraded"),
        ("[1]", 200, "degraded"),
        ("{}", 200, "degraded"),
        (failing("Client Not Found: jane@example.com"), 200, "degraded"),
        ({"result": "success"}, 500, "status"),
        ({"result": True}, 200, "degraded"),
    ],
)
async def test_every_documented_answer_has_its_reason(body: object, status: int, reason: str) -> None:
    async with serving(says(answers(body, status))) as server:
        error = await refused(server.url())
    assert error.reason == reason
    assert error.detail
    assert "jane@example.com" not in error.detail + repr(error.reading)
    assert "duration_seconds" in error.reading.measurements


async def test_a_refused_address_is_named_and_is_not_whmcss_fault() -> None:
    async with serving(says(answers(failing("Invalid IP 203.0.113.9"), 403))) as server:
        error = await refused(server.url())
    assert error.detail == "the address 203.0.113.9 is not allowed"
    assert PROBE.reason(error.reason).fault is Fault.ACCESS


def test_refused_credentials_are_the_portals_own_and_count_against_it() -> None:
    assert PROBE.reason("credentials").fault is Fault.TARGET


async def test_a_role_that_may_not_call_the_action_is_a_success_with_a_remark() -> None:
    body = failing('Invalid Permissions: API action "whmcsdetails" is not allowed')
    async with serving(says(answers(body, 403))) as server:
        reading = await call(server.url())
    assert reading.measurements["permitted"] == 0.0
    assert "WhmcsDetails" in reading.details["permissions"]


async def test_refused_credentials_are_not_tried_again_for_ten_minutes() -> None:
    async with serving(says(answers(failing("Authentication Failed"), 403), answers(SUCCESS))) as server:
        first = await refused(server.url())
        kept = first.reading.cursor
        again = await refused(server.url(), cursor=kept, now=NOW + 599)
        assert server.connections == 1
        assert again.reason == "credentials"
        assert "not tried again for 10m" in again.detail
        assert again.reading.cursor is None  # what was kept stays
        late = await call(server.url(), cursor=kept, now=NOW + 601)
    assert server.connections == 2
    assert late.cursor == {}


async def test_changed_credentials_are_tried_at_once() -> None:
    async with serving(says(answers(failing("Authentication Failed")), answers(SUCCESS))) as server:
        kept = (await refused(server.url())).reading.cursor
        reading = await call(server.url(), cursor=kept, secret="another")
    assert reading.measurements["permitted"] == 1.0


async def test_a_clock_that_went_back_does_not_hold_the_verdict_for_ever() -> None:
    async with serving(says(answers(failing("Authentication Failed")), answers(SUCCESS))) as server:
        kept = (await refused(server.url())).reading.cursor
        assert (await call(server.url(), cursor=kept, now=NOW - 86400)).cursor == {}


async def test_what_is_remembered_does_not_tell_the_credentials() -> None:
    async with serving(says(answers(failing("Authentication Failed")))) as server:
        one, other = (await refused(server.url())).reading.cursor, (await refused(server.url())).reading.cursor
    assert "canary" not in json.dumps(one)
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    assert one["digest"] != other["digest"]  # salted: equal secrets are not seen to be equal


@pytest.mark.parametrize("cursor", [[], "x", {"credentials_refused_at": "soon"}, {"credentials_refused_at": NOW}])
async def test_a_cursor_that_makes_no_sense_is_passed_over(cursor: Json) -> None:
    async with serving(says(answers(SUCCESS))) as server:
        assert (await call(server.url(), cursor=cursor)).measurements["permitted"] == 1.0


async def test_a_huge_answer_is_cut_off() -> None:
    async with serving(floods(b"HTTP/1.1 200 OK\r\n\r\n")) as server:
        assert (await refused(server.url())).reason == "degraded"


async def test_over_https_the_certificate_is_measured(tmp_path: Any) -> None:
    certificates = Certificates(tmp_path)
    async with serving(says(answers(SUCCESS)), tls=certificates.server()) as server:
        url = server.url(scheme="https")
        reading = await call(url, ca_file=certificates.ca_file, now=time.time())
        error = await refused(url)
    assert reading.measurements["certificate_left_seconds"] > 0  # type: ignore[operator]
    assert error.reason == "tls"
    assert len(server.requests) == 1  # the credentials went nowhere else


@pytest.mark.parametrize(
    "wrong", [{"url": "whmcs.example.com"}, {"action": "Get Clients"}, {"identifier": None}, {"username": "x"}]
)
def test_a_mistake_in_the_options_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(**{"url": "https://whmcs.example.com/includes/api.php", **wrong})
