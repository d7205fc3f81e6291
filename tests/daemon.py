"""The daemon as a process for the tests: its two files, its start, its end, what it answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.servers import free_port, wait_until

HEAD = """\
severities:
  P1: {name: Critical, respond: 15m, update_every: 30m}
  P2: {name: High, respond: 1h, update_every: 1h}
  P3: {name: Medium, respond: 4h, update_every: 4h}
  P4: {name: Low, respond: 24h, update_every: 24h}
escalation:
  L1: {to: On-call engineer}
  L2: {to: Development lead, severity: [P1, P2], unresolved: 30m}
  L3: {to: Engineering manager, severity: [P1], unresolved: 1h}
  L4: {to: Vendor support}
"""


@dataclass
class Daemon:
    """`python -m monitor run` on files in `folder`. `probes` and `scenarios` are YAML, or JSON, which is YAML too."""

    folder: Path
    probes: Mapping[str, Any]
    scenarios: Mapping[str, Any]
    alertmanagers: tuple[str, ...] = ()
    lifecycle: Mapping[str, str] = field(default_factory=lambda: {"monitor": "1s", "reopen_within": "0s"})
    env: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    head: str = HEAD
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> Path:
        return self.folder / "probes.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    def write(self) -> None:
        """The two files as they are to be read at the next start or reload."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {
            "runbook": "runbook.yaml",
            "store": f"sqlite://{self.folder}/state.db",
            "web": {"listen": f"127.0.0.1:{self.port}"},
            "alertmanagers": [{"url": url} for url in self.alertmanagers],
            "probes": self.probes,
            **self.more,
        }
        self.path.write_text(json.dumps(config, indent=1))
        rest = {"lifecycle": self.lifecycle, "scenarios": self.scenarios}
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in rest.items())  # JSON is YAML
        (self.folder / "runbook.yaml").write_text(self.head + lines)

    def start(self) -> None:
        self.write()
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "monitor", "run", "-c", str(self.path), "--log-format", "json"],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **self.env},
            )  # fmt: skip
        wait_until(self.ready, what="the daemon", seconds=30)

    def ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the daemon ended with {self.process.returncode}: {self.log.read_text()[-3000:]}")
        try:
            return self.get("/-/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM; how it ended."""
        assert self.process is not None
        self.signal(signal.SIGTERM)
        code = self.process.wait(timeout=20)
        self.process = None
        return code

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=20)
            self.process = None

    def get(self, route: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{route}", timeout=5, trust_env=False, verify=False)

    def post(self, route: str, *, token: bool = True, method: str = "POST", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {(self.folder / 'token').read_text().strip()}"} if token else {}
        headers |= more.pop("headers", {})
        url = f"http://127.0.0.1:{self.port}{route}"
        return httpx.request(method, url, headers=headers, timeout=10, trust_env=False, verify=False, **more)

    def probe(self, name: str) -> dict[str, Any]:
        return next(item for item in self.status()["probes"] if item["name"] == name)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.get("/api/v1/status").json()
        return answer

    def wait_for_level(self, name: str, level: str, seconds: float = 20.0) -> None:
        wait_until(lambda: self.probe(name)["level"] == level, seconds=seconds, what=f"{name} at {level}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the command line on the same files."""
        return subprocess.run(
            [sys.executable, "-m", "monitor", *arguments, "-c", str(self.path)],
            capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **self.env},
        )  # fmt: skip
