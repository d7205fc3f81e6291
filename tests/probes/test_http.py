"""The http probe against a real server: what it measures, what it calls whose fault, and what it never does."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from monitor.core.probe import ProbeContext, ProbeError, Reading
from monitor.probes.http import PROBE, HttpOptions, run
from tests.replies import Certificates, blurts, drops, floods, hangs, http, resets, says, serving, swallowing, trickles
from tests.servers import free_port

JSON = {"Content-Type": "application/json"}
DAY = 86400.0


def options(url: str, **more: Any) -> HttpOptions:
    return HttpOptions.model_validate({"url": url, **more})


def context(timeout: float = 5.0) -> ProbeContext:
    return ProbeContext("web", now=time.time(), timeout_seconds=timeout)


async def get(url: str, *, timeout: float = 5.0, **more: Any) -> Reading:
    """One run, by the deadline that the runner would keep."""
    async with asyncio.timeout(timeout):
        return await run(options(url, **more), context(timeout))


async def refused(url: str, **more: Any) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await get(url, **more)
    return caught.value


def health(checks: Mapping[str, Any], status: int = 200) -> bytes:
    return http(json.dumps({"checks": checks}), status, headers=JSON)


CHECKS = {"cache": ".checks.cache", "database": ".checks.database"}


# --- what it measures -------------------------------------------------------------------------------------------------


async def test_an_answer_brings_its_status_and_phases_that_add_up_to_the_duration() -> None:
    async with serving(says(http("hello"))) as server:
        reading = await get(server.url("/health"))
    measured = reading.measurements
    phases = measured["phase_seconds"]
    assert isinstance(phases, dict)
    assert set(phases) == {"resolve", "connect", "processing", "transfer"}
    assert measured["status"] == 200
    assert measured["duration_seconds"] == pytest.approx(sum(phases.values()))
    assert reading.details == {"address": "127.0.0.1", "answer": "HTTP 200 OK"}


async def test_what_is_sent_is_a_plain_visit_that_names_the_monitor() -> None:
    async with serving(says(http())) as server:
        await get(server.url("/a b?q=ü"), headers={"X-Key": "k-123", "User-Agent": "other"})
        lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a%20b?q=%C3%BC HTTP/1.1"
    assert f"host: 127.0.0.1:{server.port}" in lines
    assert "x-key: k-123" in lines
    assert "user-agent: other" in lines
    assert "connection: close" in lines


async def test_a_login_in_the_url_is_sent_as_basic_authentication() -> None:
    async with serving(says(http())) as server:
        await get(f"http://user:p%40ss@127.0.0.1:{server.port}/")
    assert b"authorization: Basic dXNlcjpwQHNz\r\n" in server.requests[0]


async def test_every_run_is_a_first_visit() -> None:
    async with serving(says(http(headers={"Set-Cookie": "session=1", "Connection": "keep-alive"}))) as server:
        await get(server.url())
        await get(server.url())
    assert server.connections == 2
    assert b"cookie" not in server.requests[1].lower()


async def test_a_slow_answer_shows_in_processing_and_a_slow_body_in_transfer() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.03)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await asyncio.sleep(0.06)
        writer.write(b"b")
        return b""

    async with serving(slow) as server:
        phases = (await get(server.url())).measurements["phase_seconds"]
    assert isinstance(phases, dict)
    assert 0.025 < phases["processing"] < phases["transfer"]


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1"])
async def test_a_name_is_tried_at_every_address_it_has(address: str) -> None:
    async with serving(says(http())) as server:  # listens on 127.0.0.1 only, while localhost is ::1 first
        reading = await get(server.url(host=address))
    assert reading.details["address"] == "127.0.0.1"


async def test_informational_answers_are_passed_over() -> None:
    async with serving(says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + http("x"))) as server:
        assert (await get(server.url())).measurements["status"] == 200


async def test_an_answer_of_http_1_0_without_a_length_ends_with_the_connection() -> None:
    async with serving(says(b'HTTP/1.0 200 OK\r\n\r\n{"n": 3}')) as server:
        reading = await get(server.url(), values={"n": ".n"})
    assert reading.measurements["value"] == {"n": 3.0}


# --- status -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "status"), (500, "status"), (503, "status"), (401, "auth"), (403, "auth"), (429, "throttled")],
)
async def test_a_status_that_is_not_ok_has_a_reason_and_is_still_measured(status: int, reason: str) -> None:
    async with serving(says(http("no", status))) as server:
        error = await refused(server.url())
    assert error.reason == reason
    assert str(status) in error.detail
    assert error.reading.measurements["status"] == status
    assert "duration_seconds" in error.reading.measurements


@pytest.mark.parametrize(
    ("ok", "status"), [("any", 500), (["2xx", 401], 401), (404, 404), ("2xx", 204), (("2xx", "3xx"), 302)]
)
async def test_ok_says_which_statuses_are_a_success(ok: object, status: int) -> None:
    async with serving(says(http(b"" if status == 204 else b"x", status))) as server:
        assert (await get(server.url(), ok=ok)).measurements["status"] == status


async def test_a_status_that_ok_leaves_out_fails() -> None:
    async with serving(says(http(status=302))) as server:
        assert (await refused(server.url(), ok="2xx")).reason == "status"


async def test_a_head_request_reads_no_body() -> None:
    async with serving(says(http(b"", headers={"Content-Length": "5000"}))) as server:
        assert (await get(server.url(), method="HEAD")).measurements["status"] == 200
    assert server.requests[0].startswith(b"HEAD / ")


# --- what a health page says ------------------------------------------------------------------------------------------


async def test_checks_are_read_from_a_health_page() -> None:
    async with serving(says(health({"cache": "ok", "database": {"status": "down"}}))) as server:
        reading = await get(server.url(), checks=CHECKS)
    assert reading.checks == {"cache": True, "database": False, "others": True}
    assert reading.measurements["check"] == {"cache": 1.0, "database": 0.0, "others": 1.0}


async def test_a_503_that_names_the_part_that_is_down_is_the_bodys_story() -> None:
    async with serving(says(health({"cache": "fail", "database": "ok"}, 503))) as server:
        reading = await get(server.url(), checks=CHECKS)
    assert reading.checks == {"cache": False, "database": True, "others": True}
    assert reading.measurements["status"] == 503


@pytest.mark.parametrize("disk", ["ok", "fail"])
async def test_a_503_that_no_named_part_explains_is_another_parts(disk: str) -> None:
    async with serving(says(health({"cache": "ok", "database": "degraded", "disk": disk}, 503))) as server:
        reading = await get(server.url(), checks=CHECKS)
    assert reading.checks == {"cache": True, "others": False}


@pytest.mark.parametrize("body", ["<html>503</html>", "", "{}", '{"checks": {"cache": "degraded"}}', "[" * 100_000])
async def test_a_503_without_a_story_is_a_failure(body: str) -> None:
    async with serving(says(http(body, 503))) as server:
        assert (await refused(server.url(), checks=CHECKS)).reason == "status"


async def test_a_404_is_not_excused_by_its_body() -> None:
    async with serving(says(health({"cache": "fail"}, 404))) as server:
        assert (await refused(server.url(), checks=CHECKS)).reason == "status"


async def test_a_check_that_says_nothing_is_unknown_and_told_to_people() -> None:
    async with serving(says(health({"cache": "degraded"}))) as server:
        reading = await get(server.url(), checks=CHECKS)
    assert reading.checks == {}
    assert "check" not in reading.measurements
    assert reading.details["check cache"] == "what stands at .checks.cache is neither good nor bad"
    assert reading.details["check database"] == "nothing at .checks.database"


@pytest.mark.parametrize("body", [b"<html>", b"", b"NaN", b'{"checks":', b"\xff\xfe", b"[" * 200_000, b'{"n": 1e999}'])
async def test_no_json_where_json_is_expected_is_a_failure(body: bytes) -> None:
    async with serving(says(http(body))) as server:
        error = await refused(server.url(), checks=CHECKS)
    assert error.reason == "body"
    assert error.reading.checks == {}


async def test_numbers_are_read_from_the_body_and_only_numbers() -> None:
    body = {"queues": [{"size": 7}], "a key": 0.25, "flag": True, "text": "3", "none": None}
    paths = {"size": ".queues[0].size", "used": '["a key"]', "missing": ".a.b", "beyond": ".queues[1].size"}
    async with serving(says(http(json.dumps(body)))) as server:
        reading = await get(server.url(), values={**paths, "flag": ".flag", "text": ".text", "none": ".none"})
    assert reading.measurements["value"] == {"size": 7.0, "used": 0.25}


# --- bodies -----------------------------------------------------------------------------------------------------------


async def test_a_compressed_body_is_read() -> None:
    body = gzip.compress(b'{"checks": {"cache": "up"}}')
    async with serving(says(http(body, headers={"Content-Encoding": "gzip"}))) as server:
        reading = await get(server.url(), checks={"cache": ".checks.cache"})
    assert reading.checks["cache"] is True


async def test_the_size_cap_counts_decompressed_bytes() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    async with serving(says(http(bomb, headers={"Content-Encoding": "gzip"}))) as server:
        error = await refused(server.url())
    assert error.reason == "too-large"


@pytest.mark.parametrize(
    "body",
    [b"no gzip at all", gzip.compress(b'{"a": 1}' * 500)[:-20], zlib.compress(b"x")[:-1] + b"?"],
    ids=["plain", "cut short", "wrong checksum"],
)
async def test_a_body_that_cannot_be_decompressed_is_no_json(body: bytes) -> None:
    async with serving(says(http(body, headers={"Content-Encoding": "gzip"}))) as server:
        assert (await refused(server.url(), values={"a": ".a"})).reason == "body"


async def test_a_body_in_an_unknown_coding_is_no_json() -> None:
    async with serving(says(http("{}", headers={"Content-Encoding": "br"}))) as server:
        assert (await refused(server.url(), values={"a": ".a"})).reason == "body"


@pytest.mark.parametrize(("size", "fits"), [(1024, True), (1025, False)])
async def test_a_body_may_be_as_large_as_the_cap_and_no_larger(size: int, fits: bool) -> None:
    async with serving(says(http(b"x" * size))) as server:
        if fits:
            assert (await get(server.url(), max_bytes="1KiB")).measurements["status"] == 200
        else:
            assert (await refused(server.url(), max_bytes="1KiB")).reason == "too-large"


@pytest.mark.parametrize(
    "flood",
    [
        floods(b"HTTP/1.1 200 OK\r\n\r\n"),
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000),
        floods(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"),
    ],
    ids=["endless", "tiny chunks", "a terabyte"],
)
async def test_an_endless_body_ends_at_the_cap(flood: Any) -> None:
    async with serving(flood) as server:
        error = await refused(server.url(), max_bytes="64KiB")
    assert error.reason == "too-large"


async def test_a_body_that_breaks_off_is_a_failure_though_the_status_was_fine() -> None:
    async with serving(says(http("half", whole=False))) as server:
        error = await refused(server.url())
    assert error.reason == "body"
    assert error.detail == "HTTP 200 OK, the connection broke before the end of the body"


# --- nothing answers --------------------------------------------------------------------------------------------------


async def test_a_closed_port_is_unreachable() -> None:
    error = await refused(f"http://127.0.0.1:{free_port()}/")
    assert error.reason == "unreachable"
    assert error.detail.endswith("connection refused")


async def test_a_name_that_does_not_exist_is_unreachable() -> None:
    error = await refused("http://no-such-host.invalid/")
    assert error.reason == "unreachable"
    assert error.detail.startswith("DNS: no-such-host.invalid: ")


@pytest.mark.parametrize("rude", [drops, resets], ids=["closed", "reset"])
async def test_hanging_up_without_an_answer_is_unreachable(rude: Any) -> None:
    async with serving(rude) as server:
        assert (await refused(server.url())).reason == "unreachable"


@pytest.mark.parametrize(
    "noise", [b"220 mail.example.com ESMTP\r\n", b"\0\xff" * 100, b"HTTP/9.9 what\r\n\r\n", b"HTTP/1.1 200 OK\r\nX"]
)
async def test_what_does_not_speak_http_is_unreachable(noise: bytes) -> None:
    async with serving(blurts(noise)) as server:
        assert (await refused(server.url())).reason == "unreachable"


async def test_an_endless_head_is_cut_off() -> None:
    async with serving(floods(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 5000 + b"\r\n")) as server:
        assert (await refused(server.url())).reason == "unreachable"


async def test_a_server_that_hangs_is_a_timeout_that_says_how_far_it_came() -> None:
    async with serving(hangs) as server:
        error = await refused(server.url(), timeout=0.15)
    assert error.reason == "timeout"
    assert error.detail == "connected, but no answer within 0.15 s"
    assert error.reading.measurements["phase_seconds"]["processing"] > 0.1  # type: ignore[index]


async def test_a_body_that_trickles_ends_by_the_deadline() -> None:
    async with serving(trickles(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000, every=0.001)) as server:
        error = await refused(server.url(), timeout=0.2)
    assert error.reason == "timeout"
    assert error.detail.startswith("the answer began, but did not end")


async def test_a_host_that_swallows_packets_is_unreachable_and_no_timeout() -> None:
    with swallowing() as port:
        error = await refused(f"http://127.0.0.1:{port}/", timeout=0.15)
    assert error.reason == "unreachable"
    assert error.detail == "no connection within 0.15 s"


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


async def test_a_trusted_certificate_brings_the_time_it_has_left(certificates: Certificates) -> None:
    tls = certificates.server(not_after=datetime.now(UTC) + timedelta(days=20))
    async with serving(says(http()), tls=tls) as server:
        reading = await get(server.url(scheme="https"), ca_file=certificates.ca_file)
    assert reading.measurements["certificate_left_seconds"] == pytest.approx(20 * DAY, abs=60)
    assert "tls" in reading.measurements["phase_seconds"]  # type: ignore[operator]


async def test_an_expired_certificate_is_told_with_how_long_ago(certificates: Certificates) -> None:
    now = datetime.now(UTC)
    tls = certificates.server(not_before=now - timedelta(days=90), not_after=now - timedelta(days=3))
    async with serving(says(http()), tls=tls) as server:
        error = await refused(server.url(scheme="https"), ca_file=certificates.ca_file)
    assert error.reason == "certificate"
    assert error.detail == "certificate has expired"
    assert error.reading.measurements["certificate_left_seconds"] == pytest.approx(-3 * DAY, abs=60)
    assert server.requests == []  # nothing is sent to a server that cannot be trusted


@pytest.mark.parametrize(
    ("case", "says_why"),
    [("other name", "mismatch"), ("other issuer", "issuer"), ("not yet valid", "not yet valid")],
)
async def test_a_certificate_that_cannot_be_trusted_is_a_failure_of_tls_and_still_read(
    case: str, says_why: str, certificates: Certificates
) -> None:
    ends = datetime.now(UTC) + timedelta(days=30)
    tls = {
        "other name": lambda: certificates.server("portal.example.com", not_after=ends),
        "other issuer": lambda: certificates.server(authority=trustme.CA(), not_after=ends),
        "not yet valid": lambda: certificates.server(not_before=ends - timedelta(days=1), not_after=ends),
    }[case]()
    async with serving(says(http()), tls=tls) as server:
        error = await refused(server.url(scheme="https"), ca_file=certificates.ca_file)
    assert error.reason == "tls"
    assert says_why in error.detail
    assert error.reading.measurements["certificate_left_seconds"] == pytest.approx(30 * DAY, abs=60)
    assert server.requests == []


async def test_without_a_ca_file_the_system_decides_whom_to_trust(certificates: Certificates) -> None:
    async with serving(says(http()), tls=certificates.server()) as server:
        assert (await refused(server.url(scheme="https"))).reason == "tls"


async def test_a_server_that_speaks_no_tls_is_a_failure_of_tls() -> None:
    async with serving(blurts(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        assert (await refused(server.url(scheme="https"))).reason == "tls"


async def test_hanging_up_in_the_handshake_is_unreachable() -> None:
    async with serving(drops) as server:
        assert (await refused(server.url(scheme="https"))).reason == "unreachable"


async def test_a_handshake_that_hangs_is_a_timeout() -> None:
    async with serving(hangs) as server:
        error = await refused(server.url(scheme="https"), timeout=0.15)
    assert (error.reason, error.detail) == ("timeout", "connected, but no TLS handshake within 0.15 s")


async def test_a_renewed_ca_file_is_read_again(certificates: Certificates, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))
    async with serving(says(http()), tls=certificates.server()) as server:
        assert (await refused(server.url(scheme="https"), ca_file=ca_file)).reason == "tls"
        ca_file.write_bytes(certificates.ca_file.read_bytes())
        assert (await get(server.url(scheme="https"), ca_file=ca_file)).measurements["status"] == 200


# --- redirects --------------------------------------------------------------------------------------------------------


async def test_a_redirect_is_an_answer_of_its_own_unless_it_is_followed() -> None:
    hop = http(status=302, headers={"Location": "/there"})
    async with serving(says(hop, http("here"))) as server:
        assert (await get(server.url())).measurements["status"] == 302
    async with serving(says(hop, http("here"))) as server:
        assert (await get(server.url("/a/b?c"), follow_redirects=True)).measurements["status"] == 200
        assert server.requests[1].startswith(b"GET /there HTTP/1.1")


async def test_a_redirect_loop_ends() -> None:
    async with serving(says(http(status=301, headers={"Location": "/"}))) as server:
        error = await refused(server.url(), follow_redirects=True)
    assert error.reason == "redirect"
    assert server.connections == 11


@pytest.mark.parametrize("location", [None, "ftp://example.com/", "http://", "https://host:port/"])
async def test_a_redirect_to_nowhere_is_a_failure(location: str | None) -> None:
    headers = {"Location": location} if location else {}
    async with serving(says(http(status=307, headers=headers))) as server:
        assert (await refused(server.url(), follow_redirects=True)).reason == "redirect"


async def test_secrets_stay_with_the_origin_that_they_are_for() -> None:
    async with (
        serving(says(http())) as other,
        serving(says(http(status=302, headers={"Location": other.url()}))) as own,
    ):
        url = f"http://user:canary@127.0.0.1:{own.port}/?token=canary"
        await get(url, follow_redirects=True, headers={"X-Api-Key": "canary"})
    assert b"canary" in own.requests[0]
    assert b"authorization" in own.requests[0].lower()
    assert b"canary" not in other.requests[0]
    assert b"authorization" not in other.requests[0].lower()


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "ftp://host"}, "write http://host or https://host"),
        ({"url": "localhost:4000"}, "write http://host or https://host"),
        ({"url": "http://host:port/"}, "host and port"),
        ({"url": "http:///health"}, "write http://host"),
        ({"method": "POST"}, "'GET' or 'HEAD'"),
        ({"method": "HEAD", "checks": {"cache": ".cache"}}, "HEAD brings no body"),
        ({"checks": {"cache": "checks.cache"}}, "write it as for jq"),
        ({"checks": {"status": ".status"}}, '"status" already means something'),
        ({"checks": {"timeout": ".status"}}, '"timeout" already means something'),
        ({"checks": {"others": ".status"}}, '"others" already means something'),
        ({"values": {"n": ".a["}}, "write it as for jq"),
        ({"headers": {"X Key": "v"}}, "not the name of a header"),
        ({"headers": {"Content-Length": "3"}}, "not the name of a header"),
        ({"headers": {"X-Key": "a\r\nB: c"}}, "a header cannot carry"),
        ({"ok": []}, "at least 1 item"),
        ({"ok": "fine"}, "write 200, 2xx or any"),
        ({"max_bytes": 100}, "has no unit"),
        ({"max_bytes": "1GiB"}, "less than or equal"),
        ({"ca_file": "/no/such/file"}, "no CA certificates can be read"),
        ({"verify": False}, "Extra inputs"),
    ],
)
def test_a_mistake_in_the_options_is_told(wrong: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        options(**{"url": "http://127.0.0.1/", **wrong})
    assert message in caught.value.errors()[0]["msg"]


def test_parts_are_known_from_the_options() -> None:
    chosen = options("http://x/", checks={"cache": ".c"}, values={"n": ".n"}, rates={"r": ".r"})
    assert PROBE.checks(chosen) == {"cache", "others"}
    assert PROBE.checks(options("http://x/")) == set()
    assert PROBE.parts(chosen) == {
        "phase_seconds": {"resolve", "connect", "processing", "transfer"},
        "check": {"cache", "others"},
        "value": {"n"},
        "ratio": set(),
        "rate": {"r"},
    }


# --- numbers of a health page -----------------------------------------------------------------------------------------

QUEUES = {
    "whmcs": {"metrics": {"totalRequests": 100, "failedRequests": 4, "queueSize": 3}},
    "salesforce": {"dailyUsage": {"used": 5000, "limit": 20000}},
}
RATES = {"whmcs": ".whmcs.metrics.totalRequests", "failed": ".whmcs.metrics.failedRequests"}


async def test_a_ratio_is_one_number_of_another() -> None:
    async with serving(says(http(json.dumps(QUEUES), headers=JSON))) as server:
        ratios = {
            "usage": [".salesforce.dailyUsage.used", ".salesforce.dailyUsage.limit"],
            "nowhere": [".salesforce.dailyUsage.used", ".salesforce.gone"],
        }
        assert (await get(server.url(), ratios=ratios)).measurements["ratio"] == {"usage": 0.25}


async def counted(page: Mapping[str, Any], cursor: Any, now: float) -> Reading:
    """A run on a page that says this, at this time."""
    async with serving(says(http(json.dumps(page), headers=JSON))) as server:
        return await run(options(server.url(), rates=RATES), ProbeContext("web", now, 5.0, cursor))


def page(total: object, failed: object) -> Mapping[str, Any]:
    return {"whmcs": {"metrics": {"totalRequests": total, "failedRequests": failed}}}


async def test_counts_become_rates_and_a_restart_of_the_bff_counts_from_0() -> None:
    first = await counted(page(100, 4), None, 1000.0)
    assert "rate" not in first.measurements
    second = await counted(page(150, 5), first.cursor, 1010.0)
    assert second.measurements["rate"] == {"whmcs": 5.0, "failed": 0.1}
    third = await counted(page(20, 5), second.cursor, 1020.0)
    assert third.measurements["rate"] == {"whmcs": 2.0, "failed": 0.0}
    backwards = await counted(page(30, 5), third.cursor, 1015.0)
    assert "rate" not in backwards.measurements


async def test_a_count_that_is_no_number_is_no_rate() -> None:
    first = await counted(page(100, None), None, 1000.0)
    second = await counted(page(200, 7), first.cursor, 1010.0)
    assert second.measurements["rate"] == {"whmcs": 10.0}
