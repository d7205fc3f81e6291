"""What the console costs: its weight and its rendering with 200 probes, and 50 open consoles beside a daemon that probes.

The first part is measured in a real browser, the second on a real daemon with 100 probes of which each run changes
what every console shows. Everything runs on loopback and ends by itself.
"""

from __future__ import annotations

import asyncio
import gzip
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from monitor.core.config import WebConfig
from monitor.web.console import STATIC, Console, static
from monitor.web.server import serve
from tests.browser.chromium import PHONE, chromium, program_of_browser, visit
from tests.daemon import Daemon
from tests.web import portal
from tests.web.test_console import crowd

PROBES, WATCHED, CONSOLES = 200, 100, 50
SECONDS = 20.0
LOADS = 7


def weigh() -> None:
    snapshot = crowd(PROBES)
    console = Console()
    began = time.perf_counter()
    html = console.page(snapshot, console.pieces(snapshot)).encode()
    first = time.perf_counter() - began
    began = time.perf_counter()
    console.page(snapshot, console.pieces(snapshot))
    again = time.perf_counter() - began
    page, rest = len(gzip.compress(html, 1)), sum(len(static(name)) for name in STATIC)
    print(
        f"{PROBES} probes: page {page / 1000:.0f} kB packed ({len(html) / 1000:.0f} kB plain), style and script "
        f"{rest / 1000:.0f} kB; rendered in {first * 1000:.0f} ms at first, {again * 1000:.0f} ms where nothing changed"
    )


async def paint() -> None:
    source = portal.Source(crowd(PROBES))
    folder = Path(tempfile.gettempdir())
    async with serve(source, WebConfig(port=0), SecretStr("t")) as served, chromium() as browser:
        for name, size in (("desktop", (1280, 900)), ("phone", PHONE)):
            painted, settled = [], []
            for _ in range(LOADS):
                async with visit(browser, folder, size) as visitor:
                    await visitor.page.goto(served.url)
                    await visitor.page.wait_for_function(_PAINTED, timeout=10_000)
                    found = await visitor.page.evaluate(_TIMES)
                    painted.append(found["paint"])
                    settled.append(found["ready"])
            print(
                f"first paint with {PROBES} probes, {name}: median {statistics.median(painted):.0f} ms, "
                f"most {max(painted):.0f} ms; page complete {statistics.median(settled):.0f} ms"
            )


_PAINTED = "() => performance.getEntriesByName('first-contentful-paint').length > 0"
_TIMES = """() => ({
  paint: performance.getEntriesByName('first-contentful-paint')[0].startTime,
  ready: performance.getEntriesByType('navigation')[0].domComplete,
})"""


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[list[int]]:
    """One open console; the bytes that it was sent."""
    seen = [0]

    async def read(client: httpx.AsyncClient) -> None:
        async with client.stream("GET", "/events", timeout=None) as answer:
            async for chunk in answer.aiter_bytes():
                seen[0] += len(chunk)

    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        await client.get("/")
        reading = asyncio.create_task(read(client))
        try:
            yield seen
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def crowd_of_consoles() -> None:
    with tempfile.TemporaryDirectory(prefix="portal-monitor-bench-") as name:
        probe = {"type": "tcp", "interval": "2s", "timeout": "500ms", "warn": "connect_seconds > 100ms"}
        daemon = Daemon(Path(name), {}, {})
        daemon.probes = {f"p{number}": {**probe, "target": f"127.0.0.1:{daemon.port}"} for number in range(WATCHED)}
        daemon.scenarios = {"x": {"title": "X", "rules": [{"severity": "P4", "any": list(daemon.probes)}]}}
        daemon.start()
        url = f"http://127.0.0.1:{daemon.port}"
        try:
            await asyncio.sleep(5)
            print(f"{WATCHED} probes every 2 s; {await lag(url, 'nobody looks')}")
            async with AsyncExitStack() as stack:
                seen = [await stack.enter_async_context(watching(url)) for _ in range(CONSOLES)]
                await asyncio.sleep(2)
                before = sum(count for [count] in seen)
                said = await lag(url, f"{CONSOLES} open consoles")
                each = (sum(count for [count] in seen) - before) / CONSOLES / SECONDS
                print(f"{said}; each console is sent {each / 1000:.1f} kB/s")
        finally:
            daemon.stop()


async def lag(url: str, name: str) -> str:
    """How late probes begin and how busy the daemon is, over some seconds."""
    late: list[float] = []
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        began, busy = time.monotonic(), await _cpu(client)
        while time.monotonic() - began < SECONDS:
            status: dict[str, Any] = (await client.get("/api/v1/status")).json()
            late.append(status["monitor"]["schedule_lag_seconds"])
            await asyncio.sleep(0.25)
        cores = (await _cpu(client) - busy) / (time.monotonic() - began)
    worst, middle = max(late) * 1000, statistics.median(late) * 1000
    return f"{name}: probes begin late by {middle:.1f} ms (median), {worst:.1f} ms (most); {cores:.2f} cores"


async def _cpu(client: httpx.AsyncClient) -> float:
    text = (await client.get("/metrics")).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("process_cpu_seconds_total "))


def main() -> None:
    weigh()
    if program_of_browser():
        asyncio.run(paint())
    else:
        print("there is no browser (tools/fetch brings it where apt is): how fast pages appear is not measured")
    asyncio.run(crowd_of_consoles())


if __name__ == "__main__":
    main()
