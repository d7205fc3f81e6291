"""A real Alertmanager for the sandbox: it hands every page to us at once."""

from __future__ import annotations

import json
from pathlib import Path

PROGRAM = "prometheus-alertmanager"  # Debian's name for it


def configuration(webhook: str) -> str:
    """alertmanager.yml (JSON is YAML): all pages to `webhook`, at once and with their end; the watchdog to nobody."""
    route = {
        "receiver": "sandbox", "group_by": ["incident", "vendor"],
        "group_wait": "0s", "group_interval": "1s", "repeat_interval": "4h",
        "routes": [{"matchers": ['kind="watchdog"'], "receiver": "nobody"}],
    }  # fmt: skip
    sandbox = {"name": "sandbox", "webhook_configs": [{"url": webhook, "send_resolved": True}]}
    return json.dumps({"route": route, "receivers": [sandbox, {"name": "nobody"}]}, indent=2)


def command(program: str, folder: Path, port: int) -> list[str]:
    """How it is started: everything below `folder`, on one port of loopback, alone."""
    return [
        program, f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=warn",
    ]  # fmt: skip
