"""The tcp probe against real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.core.probe import ProbeContext, ProbeError, Reading
from monitor.probes.tcp import PROBE, TcpOptions, run
from tests.replies import Certificates, blurts, drops, hangs, serving, swallowing
from tests.servers import free_port


def options(target: str, **more: Any) -> TcpOptions:
    return TcpOptions.model_validate({"target": target, **more})


async def connect(target: str, *, timeout: float = 5.0, **more: Any) -> Reading:
    async with asyncio.timeout(timeout):
        return await run(options(target, **more), ProbeContext("egress", time.time(), timeout))


async def refused(target: str, **more: Any) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await connect(target, **more)
    return caught.value


async def test_a_port_that_accepts_is_reached_even_if_it_never_speaks() -> None:
    async with serving(hangs) as server:
        reading = await connect(f"127.0.0.1:{server.port}")
    phases = reading.measurements["phase_seconds"]
    assert isinstance(phases, dict)
    assert set(phases) == {"resolve", "connect"}
    assert reading.measurements["connect_seconds"] == pytest.approx(sum(phases.values()))
    assert "certificate_left_seconds" not in reading.measurements


async def test_the_connection_is_ended_at_once() -> None:
    ended = asyncio.Event()

    async def waits_for_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        sent = await reader.read()
        ended.set()
        return sent

    async with serving(waits_for_the_end) as server:
        await connect(f"127.0.0.1:{server.port}")
        async with asyncio.timeout(2):
            await ended.wait()
        assert server.requests in ([], [b""])


async def test_an_address_of_ipv6_stands_in_brackets() -> None:
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 on loopback")
        listener.listen()
        reading = await connect(f"[::1]:{listener.getsockname()[1]}")
    assert reading.details["address"] == "::1"


async def test_a_closed_port_is_unreachable() -> None:
    error = await refused(f"127.0.0.1:{free_port()}")
    assert (error.reason, error.detail.partition(": ")[2]) == ("unreachable", "connection refused")


async def test_an_unknown_name_is_unreachable_and_says_dns() -> None:
    error = await refused("no-such-host.invalid:443")
    assert error.reason == "unreachable"
    assert error.detail.startswith("DNS: ")


async def test_a_swallowed_connection_attempt_is_unreachable_by_the_deadline() -> None:
    with swallowing() as port:
        error = await refused(f"127.0.0.1:{port}", timeout=1.0)
    assert (error.reason, error.detail) == ("unreachable", "no connection within 1 s")


async def test_with_tls_the_certificate_is_verified_and_its_time_measured(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    tls = certificates.server(not_after=datetime.now(UTC) + timedelta(days=5))
    async with serving(hangs, tls=tls) as server:
        reading = await connect(f"localhost:{server.port}", tls=True, ca_file=certificates.ca_file)
        error = await refused(f"localhost:{server.port}", tls=True)
    for measured in (reading.measurements, error.reading.measurements):
        assert measured["certificate_left_seconds"] == pytest.approx(5 * 86400, abs=60)
    assert error.reason == "tls"


@pytest.mark.parametrize(("server_does", "reason"), [(blurts(b"+OK POP3\r\n"), "tls"), (drops, "unreachable")])
async def test_a_failed_handshake_has_a_reason(server_does: Any, reason: str) -> None:
    async with serving(server_does) as server:
        assert (await refused(f"127.0.0.1:{server.port}", tls=True)).reason == reason


@pytest.mark.parametrize(
    "target", ["host", "host:", ":443", "host:0", "host:65536", "::1:443", "http://h:1", "a b:1", "u@h:1"]
)
def test_a_target_is_host_and_port(target: str) -> None:
    with pytest.raises(ValidationError, match="write host:port"):
        options(target)


def test_a_ca_file_without_tls_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="only with tls: true"):
        options("h:1", ca_file=Certificates(tmp_path).ca_file)


def test_the_tls_phase_is_known_only_with_tls() -> None:
    assert PROBE.parts(options("h:1")) == {"phase_seconds": {"resolve", "connect"}}
    assert PROBE.parts(options("h:1", tls=True)) == {"phase_seconds": {"resolve", "connect", "tls"}}
