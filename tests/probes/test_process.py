from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from monitor.core.probe import Fault, Json, ProbeContext, ProbeError, Reading
from monitor.probes.process import PROBE, ProcessOptions
from tests.servers import wait_until

BUSY = "print(flush=True)\nwhile True: pass"
IDLE = "print(flush=True)\nimport sys; sys.stdin.read()"


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the BFF's."""
    process = subprocess.Popen(
        [sys.executable, "-c", request.param, "node-of-test", "/app/bff/main.js"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


async def look(now: float, cursor: Json = None, pattern: str = "node-of-test.*bff") -> Reading:
    options = ProcessOptions.model_validate({"pattern": pattern})
    return await PROBE.run(options, ProbeContext("process", now, 5.0, cursor))


@pytest.mark.parametrize("node", [BUSY], indirect=True)
async def test_a_busy_process_is_seen_as_such(node: subprocess.Popen[bytes]) -> None:
    first = await look(time.time())
    assert set(PROBE.measures) - set(first.measurements) == {"cpu_ratio"}
    assert first.measurements["processes"] == 1
    assert 10**6 < first.measurements["memory_bytes"] < 10**9  # type: ignore[operator]
    assert first.details == {"pids": str(node.pid)}
    spent = cpu_seconds(node.pid)
    wait_until(lambda: cpu_seconds(node.pid) >= spent + 0.1)
    second = await look(time.time() + 0, first.cursor)
    assert 0.05 < second.measurements["cpu_ratio"] < 1.5  # type: ignore[operator]


def cpu_seconds(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@pytest.mark.parametrize("node", [IDLE], indirect=True)
async def test_an_idle_process_uses_nothing(node: subprocess.Popen[bytes]) -> None:
    now = time.time()
    first = await look(now)
    assert (await look(now + 10, first.cursor)).measurements["cpu_ratio"] < 0.05  # type: ignore[operator]
    assert "cpu_ratio" not in (await look(now - 10, first.cursor)).measurements
    assert first.measurements["uptime_seconds"] < 60  # type: ignore[operator]


@pytest.mark.parametrize("node", [IDLE], indirect=True)
async def test_another_process_of_the_same_number_is_another(node: subprocess.Popen[bytes]) -> None:
    now = time.time()
    before = {"at": now - 10, "cpu_seconds": {f"{node.pid} 1.00": 0.0}}
    assert "cpu_ratio" not in (await look(now, before)).measurements


async def test_a_bff_that_runs_elsewhere_is_not_blamed() -> None:
    with pytest.raises(ProbeError) as caught:
        await look(time.time(), pattern="no-such-process-[0-9]{9}")
    assert (caught.value.reason, PROBE.reason("absent").fault) == ("absent", Fault.ACCESS)
    assert caught.value.detail.startswith("nothing matches")


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="regular expression"):
        ProcessOptions.model_validate({"pattern": "node(bff"})
