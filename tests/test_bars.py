"""How far the daemon has caught up with a large log, as somebody sees it who starts it by hand."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.daemon import Daemon
from tests.servers import wait_until
from tests.terminals import terminal


def test_first_catch_up_is_a_bar_that_is_gone_when_it_is_over(tmp_path: Path) -> None:
    log = tmp_path / "combined.log"
    line = b'{"level":30,"time":%d,"res":{"statusCode":200},"responseTime":5,"msg":"%s"}\n' % (
        time.time() * 1000 - 60_000,
        b"x" * 2000,
    )
    log.write_bytes(line * (110 * 10**6 // len(line)))
    probe = {"type": "log", "path": str(log), "interval": "10s", "fail": "error_ratio > 5%"}
    rule = {"severity": "P3", "any": ["errors"]}
    daemon = Daemon(tmp_path, {"errors": probe}, {"errors": {"title": "T", "impact": "I", "rules": [rule]}})
    daemon.write()
    with terminal() as (screen, shown):
        daemon.process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "run", "-c", str(daemon.path)], stderr=screen, stdin=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: daemon.ready() and daemon.probe("errors")["level"] == "ok", what="errors at ok")
        finally:
            code = daemon.stop()
    told = shown()
    assert code == 0
    assert b"reading combined.log" in told
    assert b"log_catching_up" not in told
    assert told.index(b"reading combined.log") < told.index(b"log_caught_up") < told.index(b"stopping")
    assert b"reading combined.log" not in told[told.index(b"stopping") :]
    assert told.rindex(b"\x1b[?25h") > told.rindex(b"\x1b[?25l")  # the cursor is back
