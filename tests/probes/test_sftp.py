"""The sftp probe against greetings of all kinds, and against a real SSH server for its host key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.core.probe import Fault, ProbeContext, ProbeError, Reading
from monitor.probes.sftp import PROBE, SftpOptions, run
from tests.replies import Handler, blurts, drops, floods, hangs, serving
from tests.servers import free_port

asyncssh = pytest.importorskip("asyncssh", reason="needs the package asyncssh")

GREETING = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
STRANGE = "SHA256:" + "A" * 43


async def look(port: int, timeout: float = 5.0, **more: Any) -> Reading:
    options = SftpOptions.model_validate({"target": f"127.0.0.1:{port}", **more})
    return await run(options, ProbeContext("sftp", 0.0, timeout))


async def refused(port: int, **more: Any) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await look(port, **more)
    assert PROBE.reason(caught.value.reason).fault is Fault.TARGET
    return caught.value


@pytest.mark.parametrize(
    "said", [GREETING, b"SSH-2.0-OpenSSH_9.2p1\n", b"SSH-1.99-OpenSSH_9.2p1\r\n", b"Welcome.\r\nKeep out.\r\n" + GREETING]
)  # fmt: skip
async def test_a_greeting_is_enough(said: bytes) -> None:
    async with serving(blurts(said)) as server:
        reading = await look(server.port)
    assert reading.details["software"] == "OpenSSH_9.2p1"
    assert server.connections == 1


@pytest.mark.parametrize(
    ("handler", "detail"),
    [
        (blurts(b"220 mail.example.com ESMTP\r\n"), "it hung up without a word"),
        (blurts(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it hung up without a word"),
        (blurts(b"SSH-1.5-old\r\n"), "it hung up without a word"),
        (blurts(b"x" * 5000), "no line SSH-2.0-…"),
        (blurts(b""), "it hung up without a word"),
        (floods(b"", b"\n" * 1000), "no line SSH-2.0-…"),
        (drops, "it hung up without a word"),
    ],
)
async def test_what_does_not_greet_as_ssh_is_told(handler: Handler, detail: str) -> None:
    async with serving(handler) as server:
        error = await refused(server.port, timeout=0.5)
    assert (error.reason, error.detail) == ("greeting", detail) or (handler is drops and error.reason == "timeout")


async def test_a_closed_port_is_unreachable_and_a_silent_one_a_timeout() -> None:
    assert (await refused(free_port())).reason == "unreachable"
    async with serving(hangs) as server:
        error = await refused(server.port, timeout=0.2)
    assert (error.reason, error.detail) == ("timeout", "connected, but no answer within 0.2 s")


@pytest.fixture
async def ssh() -> AsyncIterator[tuple[int, str]]:
    """A real SSH server: its port, and the fingerprint of its key."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key])
    yield server.get_port(), key.get_fingerprint()
    server.close()
    await server.wait_closed()


async def test_a_pinned_key_is_compared(ssh: tuple[int, str]) -> None:
    port, fingerprint = ssh
    assert "AsyncSSH" in (await look(port, host_keys=[STRANGE, fingerprint])).details["software"]
    error = await refused(port, host_keys=[STRANGE])
    assert (error.reason, error.detail) == ("host-key", f"its key is {fingerprint}")


async def test_a_server_that_greets_and_then_babbles_proves_nothing() -> None:
    async def babbles(reader: Any, writer: Any) -> bytes:
        writer.write(GREETING)
        if await reader.read(4096):
            writer.write(b"\xff" * 64)
        return await hangs(reader, writer)

    async with serving(babbles) as server:
        assert (await refused(server.port, host_keys=[STRANGE])).reason == "key-exchange"
        assert server.connections == 2


async def test_a_key_exchange_that_does_not_end_is_cut_off() -> None:
    async def greets(reader: Any, writer: Any) -> bytes:
        writer.write(GREETING)
        return await hangs(reader, writer)

    async with serving(greets) as server:
        assert (await refused(server.port, timeout=0.5, host_keys=[STRANGE])).reason == "timeout"


@pytest.mark.parametrize("wrong", [{"target": "fs.mvno.net"}, {"host_keys": ["MD5:00:11"]}, {"host_keys": STRANGE}])
def test_a_mistake_in_the_options_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SftpOptions.model_validate({"target": "fs.mvno.net:22", **wrong})


def test_without_the_package_a_pinned_key_is_refused_at_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.probes.sftp.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"install portal-monitor\[sftp\]"):
        SftpOptions.model_validate({"target": "fs.mvno.net:22", "host_keys": [STRANGE]})
    SftpOptions.model_validate({"target": "fs.mvno.net:22"})
