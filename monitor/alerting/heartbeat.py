"""The heartbeat: an address is asked for every so often, as long as moments are settled. Its silence is the alarm.

It goes past Alertmanager, and out of the house: what watches it must notice when all of this is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import structlog

from monitor.clock import Clock
from monitor.core import config
from monitor.core.probe import Family

TIMEOUT_SECONDS = 10.0
LOOK_SECONDS = 1.0  # how soon a life that came back, or another configuration, is noticed

log = structlog.get_logger()


class Heartbeat:
    """Beats until cancelled; nothing raises out of `run`. `alive`: whether the daemon does what it is there for."""

    def __init__(
        self,
        given: config.Heartbeat | None,
        clock: Clock,
        alive: Callable[[], bool],
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._config, self._clock, self._alive = given, clock, alive
        self._timeout_seconds = timeout_seconds
        self._client: httpx.AsyncClient | None = None
        self._due = clock.monotonic()
        self._complaint = ""  # what was last logged
        self._sent = self._failed = 0
        self._last_success: float | None = None  # wall time

    def reconfigure(self, given: config.Heartbeat | None) -> None:
        """Ask for another address, or none, from now on."""
        if given != self._config:
            self._config, self._due, self._complaint = given, self._clock.monotonic(), ""

    async def run(self) -> None:
        """Beat."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(LOOK_SECONDS)
        finally:
            if self._client is not None:
                await self._client.aclose()

    async def look(self) -> None:
        """Beat, if it is time."""
        given, now = self._config, self._clock.monotonic()
        if given is None or now < self._due or not self._alive():
            return
        self._due += given.every  # a beat that was late makes none of the next ones late
        if self._due <= now:
            self._due = now + given.every
        self._sent += 1
        wrong = await self._beat(given.url.get_secret_value())
        if not wrong:
            if self._complaint:
                log.info("heartbeat_reached")
            self._complaint, self._last_success = "", self._clock.now()
            return
        self._failed += 1
        if wrong != self._complaint:  # once for each kind of failure, not for each beat
            log.warning("heartbeat_failed", said=wrong)
        self._complaint = wrong

    def families(self) -> list[Family]:
        """Metrics; the counters begin at 0 with each start of the process. None where there is no heartbeat."""
        if self._config is None:
            return []
        name = "portal_monitor_heartbeat"
        succeeded: list[tuple[dict[str, str], float]] = (
            [({}, self._last_success)] if self._last_success is not None else []
        )
        return [
            Family(f"{name}_total", "counter", "Heartbeats sent, taken or not.", [({}, self._sent)]),
            Family(f"{name}_failed_total", "counter", "Heartbeats that were not taken.", [({}, self._failed)]),
            Family(f"{name}_last_success_timestamp_seconds", "gauge", "When one was last taken.", succeeded),
        ]

    async def _beat(self, url: str) -> str:
        """What is wrong, in words that hold no secret; empty if it was taken."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if self._client is None:
                    self._client = httpx.AsyncClient(trust_env=False, timeout=None)  # noqa: S113 (bounded as a whole)
                async with self._client.stream("GET", url) as answer:
                    return "" if 200 <= answer.status_code < 300 else f"HTTP {answer.status_code}"
        except TimeoutError:
            return f"no answer within {self._timeout_seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}".removesuffix(": ")
