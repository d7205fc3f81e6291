"""What systemd hears of the daemon, on a socket such as it opens."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.systemd import Systemd
from tests.daemon import Daemon

PROBES = {"nobody": {"type": "tcp", "target": "127.0.0.1:9", "interval": "30s"}}


class Manager:
    """The side of the service manager: `hear` returns once it was told this line."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(20)
        self.heard: list[str] = []

    def hear(self, line: str) -> list[str]:
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            self.heard += lines
            if line in lines:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def test_systemd_hears_ready_alive_reloading_and_stopping(manager: Manager, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "daemon", PROBES, {}, env={"NOTIFY_SOCKET": manager.address})
    daemon.scenarios = {"nobody": {"title": "Nobody", "rules": [{"severity": "P4", "any": ["nobody"]}]}}
    daemon.start()
    try:
        assert f"STATUS=Watching, console at http://127.0.0.1:{daemon.port}" in manager.hear("READY=1")
        manager.hear("WATCHDOG=1")
        daemon.signal(signal.SIGHUP)
        assert any(line.startswith("MONOTONIC_USEC=") for line in manager.hear("RELOADING=1"))
        manager.hear("READY=1")
        daemon.path.write_text("probes: nonsense\n")
        daemon.signal(signal.SIGHUP)
        manager.hear("RELOADING=1")
        manager.hear("READY=1")  # a bad file changes nothing, and does not hold up `systemctl reload`
        assert daemon.stop() == 0
        manager.hear("STOPPING=1")
    finally:
        daemon.kill()


def test_systemd_hears_of_a_daemon_that_is_never_idle(manager: Manager, tmp_path: Path) -> None:
    """Results that come faster than the daemon's own tick are moments too: no tick is due between them."""
    probes = {f"busy-{number}": {**PROBES["nobody"], "interval": "1s", "timeout": "500ms"} for number in range(25)}
    daemon = Daemon(tmp_path / "daemon", probes, {}, env={"NOTIFY_SOCKET": manager.address})
    daemon.scenarios = {"nobody": {"title": "Nobody", "rules": [{"severity": "P4", "any": ["busy-1"]}]}}
    daemon.start()
    try:
        manager.hear("READY=1")
        for _ in range(10):
            manager.hear("WATCHDOG=1")
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def test_a_manager_that_is_gone_hurts_nobody(tmp_path: Path) -> None:
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    Systemd({}).tell("READY=1")
    Systemd().reloading(1.5)


def test_an_address_without_a_file_is_understood(tmp_path: Path) -> None:
    manager = Manager(f"@portal-monitor-{tmp_path.name}-{os.getpid()}")
    try:
        Systemd({"NOTIFY_SOCKET": manager.address}).tell("READY=1", "STATUS=Watching")
        assert manager.hear("READY=1") == ["READY=1", "STATUS=Watching"]
    finally:
        manager.close()
