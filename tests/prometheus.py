"""A real Prometheus for the tests, on a free port, everything it writes below `folder`."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers import Process, free_port, tool, wait_until


class Prometheus:
    """`config` is the text of prometheus.yml; files that it names by a relative path are looked for in `folder`."""

    def __init__(self, folder: Path, config: str) -> None:
        found = tool("prometheus")
        if found is None:
            raise FileNotFoundError("there is no Prometheus: run tools/fetch")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(config)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            found, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
            "--rules.alert.resend-delay=1s",
        ]  # fmt: skip
        self._process = Process(command, self.port, log=folder / "prometheus.log")

    def start(self) -> None:
        """Start it; return once it answers queries."""
        self._process.start()
        wait_until(self._ready, what="Prometheus")

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False

    def kill(self) -> None:
        self._process.kill()

    def query(self, text: str) -> list[dict[str, Any]]:
        """What an instant query finds: each with `metric` and `value`. A mistake in it is an HTTPError."""
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': text})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def value(self, text: str) -> float | None:
        """The one number that a query finds; None if it finds nothing."""
        found = self.query(text)
        return float(found[0]["value"][1]) if found else None
