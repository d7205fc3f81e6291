"""Schemathesis asks the daemon's API for all that its document allows, and for what it does not, and finds no fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.daemon import Daemon
from tests.servers import free_port, wait_until

EXAMPLES = 4


def test_schemathesis_finds_no_fault(tmp_path: Path) -> None:
    refusing = {
        "type": "tcp",
        "target": f"127.0.0.1:{free_port()}",
        "interval": "1s",
        "timeout": "500ms",
        "fail_after": 1,
    }
    scenario = {
        "title": "Gone",
        "rules": [{"severity": "P2", "any": ["gone"]}],
        "steps": [{"do": "Look", "show": "gone"}],
    }
    daemon = Daemon(tmp_path, {"gone": refusing}, {"gone": scenario})
    daemon.start()
    try:
        wait_until(lambda: bool(daemon.status()["incidents"]), what="an incident")
        token = (tmp_path / "token").read_text().strip()
        command = [
            str(Path(sys.executable).parent / "schemathesis"),
            "run", f"http://127.0.0.1:{daemon.port}/api/v1/openapi.json", "--checks", "all", "--mode", "all",
            "--max-examples", str(EXAMPLES), "--seed", "7", "--workers", "2", "--no-color",
            "--header", f"Authorization: Bearer {token}", "--generation-database", "none",
        ]  # fmt: skip
        found = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
        )  # fmt: skip
        assert found.returncode == 0, found.stdout[-30000:]
        assert daemon.get("/-/ready").status_code == 200
        assert "web_request_failed" not in daemon.log.read_text()
    finally:
        daemon.stop()
