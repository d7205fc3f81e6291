"""Real servers for the tests, each on a free port of loopback and in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".tools"


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], *, seconds: float = 20.0, what: str = "the condition") -> None:
    """Return once `ready()` holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(0.02)


def listening(port: int) -> bool:
    """Whether something accepts connections on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tool(name: str) -> str | None:
    """The path of a program that the tests need: unpacked in `.tools/`, or on PATH."""
    for folder in (TOOLS / "usr/bin", TOOLS / "usr/sbin"):
        if (folder / name).exists():
            return str(folder / name)
    return shutil.which(name)


@dataclass
class Process:
    """A server started by a test, ended by its id."""

    command: list[str]
    port: int
    env: dict[str, str] = field(default_factory=dict)
    log: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        out = self.log.open("ab") if self.log else subprocess.DEVNULL
        self.process = subprocess.Popen(
            self.command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ, **self.env}
        )
        if self.log:
            out.close()  # type: ignore[union-attr]
        wait_until(lambda: self.alive() and listening(self.port), what=f"{self.command[0]} on port {self.port}")

    def alive(self) -> bool:
        if self.process and self.process.poll() is not None:
            said = self.log.read_text(errors="replace")[-2000:] if self.log else ""
            raise RuntimeError(f"{self.command} ended with {self.process.returncode}: {said}")
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it by its id and wait until it is gone."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=20)
        self.process = None
