"""A sandbox for the tests, up in a process of its own, as people start it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from monitor.sandbox import remote
from tests.servers import wait_until

ROOT = Path(__file__).resolve().parents[2]


class Sandbox:
    """`sandbox up` in `folder`; `start` returns once it says that it is up."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._arguments = arguments
        self._client = httpx.Client(timeout=10, trust_env=False, verify=False)
        self._said = folder.parent / f"{folder.name}.out"

    def start(self) -> None:
        command = [sys.executable, "-m", "monitor.sandbox.commands", "up", "--folder", str(self.folder)]
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--listen", "127.0.0.1:0", *self._arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
            )  # fmt: skip
        wait_until(self._is_up, seconds=60, what="the sandbox")

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"sandbox up ended: {self.said()}")
        self.state: dict[str, Any] = {}
        if (self.folder / remote.STATE).exists():  # one that was killed leaves its own behind
            self.state = json.loads((self.folder / remote.STATE).read_text())
        return self.state.get("pid") == self.process.pid

    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it by its id; what it returned."""
        self._client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)

    # ── What outages are seen by ──────────────────────────────────────────────────────────────────────────────

    def break_(self, name: str) -> None:
        remote.break_(name, self.folder)

    def heal(self, name: str) -> None:
        remote.heal(name, self.folder)

    @contextmanager
    def broken(self, name: str) -> Iterator[None]:
        """While inside, this is broken."""
        self.break_(name)
        try:
            yield
        finally:
            self.heal(name)

    def ask(self, path: str, body: bytes | None = None) -> httpx.Response:
        """What the BFF answers; a request with a body is a POST."""
        method = "GET" if body is None else "POST"
        return self._client.request(method, f"{self.state['portal']}{path}", content=body)

    def status(self, path: str, body: bytes | None = None) -> int:
        """The status of the answer, 0 if there is none."""
        try:
            return self.ask(path, body).status_code
        except httpx.TransportError:
            return 0

    def lines(self, since: int = 0) -> list[dict[str, Any]]:
        """The lines of combined.log from this position on."""
        with (self.folder / "logs/combined.log").open("rb") as file:
            file.seek(since)
            return [json.loads(line) for line in file.read().splitlines()]

    def position(self) -> int:
        """Where combined.log ends now."""
        return (self.folder / "logs/combined.log").stat().st_size


def descendants(pid: int) -> list[int]:
    """The processes that this one started, and those that they started, and so on."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended while we looked
    found = [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found[1:]
