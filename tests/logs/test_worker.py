"""The child that reads: hostile lines are cut off, a dead child costs no line, and it dies with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from monitor.logs import journal
from monitor.logs.scan import Spec
from monitor.logs.worker import Worker
from tests.logs.rig import Rig
from tests.servers import wait_until

HOSTILE = b'{"level":30,"msg":"' + b"a" * 60 + b'!"}\n'
BACKTRACKING = {"slow": '"(a+)+$'}


@pytest.fixture
def own(rig: Rig) -> Iterator[Rig]:
    """A rig with a child of its own, to be killed."""
    rig.worker = Worker()
    yield rig
    rig.worker.stop()


def test_dead_child_costs_no_line(own: Rig) -> None:
    own.write(3)
    own.start()
    for _ in range(3):
        assert own.worker.pid
        os.kill(own.worker.pid, signal.SIGKILL)
        own.write(3)
        own.read()
    assert own.is_exact()
    assert own.worker.restarts == 3


def test_child_that_is_killed_while_it_reads_costs_no_line(own: Rig) -> None:
    own.writer.write(own.many(2000, 30))
    own.start()
    block = own.many(6_000, 2000)
    own.path.write_bytes(own.path.read_bytes() + block)
    assert own.worker.pid
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.02; kill -9 {own.worker.pid}"])
    own.read()
    killer.wait()
    own.read()
    assert own.is_exact()


def test_hostile_line_is_found_counted_and_passed_over(own: Rig) -> None:
    own.spec = Spec(patterns=BACKTRACKING)
    own.writer.write(own.many(700) + HOSTILE + own.many(300))
    own.start()  # to read it to its end would take longer than anybody waits
    assert own.is_exact(others=1)
    assert (own.totals.hostile, own.totals.unparsed) == (1, 1)


def test_hostile_line_among_a_hundred_thousand_short_ones_is_found(own: Rig) -> None:
    own.spec = Spec(patterns=BACKTRACKING)
    short = b'{"level":3}\n' * 50_000
    own.writer.write(short + HOSTILE + short)
    own.write()
    own.start()
    assert own.is_exact(others=100_001)
    assert own.totals.hostile == 1


def test_mistake_of_ours_costs_the_line_that_it_is_about(own: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong only at the end of a stretch is found all the same, since each line is then tried to its end."""
    broken = own.folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(BROKEN)
    popen: Callable[..., Any] = subprocess.Popen

    def start(*words: Any, env: dict[str, str], **more: Any) -> Any:
        return popen(*words, env={**env, "PYTHONPATH": f"{broken}:{env['PYTHONPATH']}"}, **more)

    own.worker.stop()
    monkeypatch.setattr("monitor.logs.worker.subprocess.Popen", start)
    own.writer.write(own.many(700))
    own.writer.write(b'{"level":30,"res":{"statusCode":200},"responseTime":424242}\n')
    own.writer.write(own.many(300))
    own.start()
    assert own.is_exact(others=1)
    assert own.totals.hostile == 1


BROKEN = """
from monitor.logs.scan import Scanner

fold = Scanner._fold


def broken(self, values):
    if 424242 in values:
        raise OverflowError
    return fold(self, values)


Scanner._fold = broken
"""


def test_line_of_a_hundred_megabytes_needs_no_memory(own: Rig) -> None:
    own.write()
    with own.path.open("ab") as log:
        for _ in range(100):
            log.write(b"[" * 2**20)
        log.write(b"\n")
    own.write()
    own.start()
    assert own.is_exact(others=1)
    assert own.totals.oversize == 1
    status = Path(f"/proc/{own.worker.pid}/status").read_text()
    assert int(status.split("VmHWM:")[1].split()[0]) < 40 * 1024


def test_much_to_catch_up_on_tells_how_far_it_is(own: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PROGRESS_BYTES", 2 * 10**6)
    own.start()
    own.writer.write(own.many(3000, 700))
    with capture_logs() as logged:
        own.look()
        while own.journal and own.journal.advance():
            own.now += journal.PROGRESS_SECONDS
            own.journal.look()
    told = [one for one in logged if one["event"] == "log_catching_up"]
    left = [one["left_bytes"] for one in told]
    assert left == sorted(left, reverse=True)
    assert {one["read_bytes"] + one["left_bytes"] for one in told} == {left[0]}
    assert (told[0]["read_bytes"], logged[-1]["event"]) == (0, "log_caught_up")
    assert own.is_exact()


def test_deep_nesting_is_one_line_that_nobody_understands(own: Rig) -> None:
    own.writer.write(own.line() + b'{"level":50,"a":' + b"[" * 200_000 + b"\n" + own.line())
    own.start()
    assert own.is_exact(others=1)
    assert (own.totals.unparsed, own.totals.errors) == (1, 1)


def test_child_inherits_no_secret_and_no_file(own: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHMCS_API_SECRET", "hunter2")
    own.write()
    own.start()
    environment = Path(f"/proc/{own.worker.pid}/environ").read_bytes()
    assert b"hunter2" not in environment
    fds = [str(entry.readlink()) for entry in Path(f"/proc/{own.worker.pid}/fd").iterdir()]
    assert all(target.startswith(("socket:", "/dev/null")) for target in fds)


def test_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b'{"level":30}\n')
    program = (
        "import os, sys, time\n"
        "from monitor.logs.worker import Worker\n"
        "from monitor.logs.read import Ask\n"
        "from monitor.logs.scan import Spec\n"
        "import msgspec\n"
        "worker = Worker()\n"
        f"fd = os.open({str(log)!r}, os.O_RDONLY)\n"
        "worker.stretch(fd, Ask(spec=msgspec.msgpack.encode(Spec()), offset=0, limit=100))\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not _alive(pid), seconds=5, what="the end of the child")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
