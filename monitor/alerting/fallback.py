"""The fallback: what carries a P1 page that no Alertmanager takes. A command, or an address to POST to.

Each page once, by its id: it may come a second time only where the daemon ended before it could save that it had been
carried. What fails is tried again, until the fallback or an Alertmanager has taken it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Any

import httpx
import structlog

from monitor.clock import Clock
from monitor.core import config
from monitor.core.incident import Page
from monitor.core.probe import Family
from monitor.core.quantity import format_duration
from monitor.core.runbook import Severity
from monitor.core.words import clean, iso

LOOK_SECONDS = 1.0
GRACE_SECONDS = 10.0  # after a start, for an Alertmanager that is there to take what it had not taken before
TIMEOUT_SECONDS = 30.0
FIRST_DELAY_SECONDS = 2.0  # after one failure; doubled with each further one
LONGEST_DELAY_SECONDS = 60.0
_MOST_SAID_BYTES = 2000

log = structlog.get_logger()

Message = dict[str, Any]


class NotCarried(Exception):
    """The fallback did not take the page; the text says why and holds no secret."""


def due(pages: Iterable[Page], after: float, now: float, began: float) -> list[Page]:
    """The pages that the fallback must carry now, oldest first. `began`: when this process did (wall seconds)."""
    patience = began + min(after, GRACE_SECONDS)
    waiting = [
        page
        for page in pages
        if page.severity is Severity.P1 and page.ended_at is None and not page.told and now >= page.fired_at + after
    ]
    return sorted(waiting, key=lambda page: page.fired_at) if now >= patience else []


def message(page: Page, words: Mapping[str, str], to: str, now: float) -> Message:
    """What is carried. `text` is enough for a short message; `id` is the same whenever the same page is carried."""
    parts = (page.incident, page.opening, page.severity, page.escalation_level, page.vendor, page.attempt)
    waited = format_duration(max(0.0, round(now - page.fired_at)))
    reason = f"No Alertmanager has taken this page for {waited}"
    title = words.get("title", page.incident)
    text = f"{title} ({page.incident}), {page.escalation_level} {to}. {reason}."
    if "ack_url" in words:
        text += f" Acknowledge: {words['ack_url']}"
    return {
        "id": "/".join(str(part) for part in parts),
        "text": text,
        "reason": reason,
        "fired_at": iso(page.fired_at),
        "labels": dict(page.labels),
        "annotations": dict(words),
    }


class Fallback:
    """Carries what must be carried, one page after the other. Nothing raises out of `run`.

    `pages` gives the open ones, `compose` what to carry of one, `carried` is awaited once it is out of the house.
    """

    def __init__(
        self,
        given: config.Fallback | None,
        clock: Clock,
        *,
        pages: Callable[[], Iterable[Page]],
        compose: Callable[[Page], Message],
        carried: Callable[[Page], Awaitable[None]],
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._config, self._clock = given, clock
        self._pages, self._compose, self._on_carried = pages, compose, carried
        self._timeout_seconds = timeout_seconds
        self._began = (clock.now(), clock.monotonic())
        self._failures = 0  # in a row
        self._wait_until = 0.0  # monotonic
        self._complaint = ""  # what was last logged
        self._count = self._failed = 0

    def reconfigure(self, given: config.Fallback | None) -> None:
        """Carry by another way from now on."""
        if given != self._config:
            self._config, self._failures, self._wait_until, self._complaint = given, 0, 0.0, ""

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # pages must go on being carried, whatever is wrong with one of them
                log.exception("fallback_failed")
                self._put_off()

    async def look(self) -> None:
        """Carry what is due now."""
        given, mono = self._config, self._clock.monotonic()
        if given is None or mono < self._wait_until:
            return
        now = self._clock.now()
        began = now - (mono - self._began[1])  # by the present clock, which may have been set since
        for page in due(self._pages(), given.after, now, began):
            # The one before it may have taken long, and an Alertmanager may have come back, or all be over.
            if page not in due(self._pages(), given.after, now, began):
                continue
            self._count += 1
            try:
                await self._carry(given, self._compose(page))
            except NotCarried as error:
                self._complain(page, str(error))
                return
            self._failures, self._complaint = 0, ""
            log.warning("page_carried_by_fallback", incident=page.incident, escalation_level=page.escalation_level)
            await self._on_carried(page)

    def families(self) -> list[Family]:
        """Metrics; the counters begin at 0 with each start of the process. None where there is no fallback."""
        if self._config is None:
            return []
        name = "portal_monitor_fallback"
        return [
            Family(f"{name}_total", "counter", "Pages handed to the fallback, carried or not.", [({}, self._count)]),
            Family(
                f"{name}_failed_total", "counter", "Pages it did not carry; each is tried again.", [({}, self._failed)]
            ),
        ]

    def _complain(self, page: Page, said: str) -> None:
        self._failed += 1
        if said != self._complaint:  # once for each kind of failure, not for each attempt
            log.error("fallback_failed", incident=page.incident, said=said)
        self._complaint = said
        self._put_off()

    def _put_off(self) -> None:
        delay = min(FIRST_DELAY_SECONDS * 2.0 ** min(self._failures, 16), LONGEST_DELAY_SECONDS)
        self._failures += 1
        self._wait_until = self._clock.monotonic() + delay

    async def _carry(self, given: config.Fallback, what: Message) -> None:
        body = json.dumps(what, ensure_ascii=False).encode()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if given.webhook is not None:
                    await _post(given.webhook.get_secret_value(), body, what["id"])
                else:
                    await _run(given.command, body)
        except TimeoutError as error:
            raise NotCarried(f"not done within {self._timeout_seconds:g} s") from error


async def _post(url: str, body: bytes, key: str) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    try:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=None) as client,  # noqa: S113 (the caller's bounds it all)
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise NotCarried(f"{type(error).__name__}: {error}".removesuffix(": ")) from error
    if not 200 <= status < 300:
        raise NotCarried(f"HTTP {status}")


async def _run(command: tuple[str, ...], body: bytes) -> None:
    """Run it, no shell in between; what takes too long is ended, with all that it started.

    It is given files and no pipes: it need not read, and may leave something running that holds them open.
    """
    with TemporaryFile() as told, TemporaryFile() as said:
        told.write(body)
        told.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=told, stdout=asyncio.subprocess.DEVNULL, stderr=said, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise NotCarried(f"{command[0]}: {error.strerror if isinstance(error, OSError) else error}") from error
        try:
            code = await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if code != 0:
            raise NotCarried(f"{command[0]} ended with {code}: {_last_words(said)}".removesuffix(": "))


def _last_words(said: IO[bytes]) -> str:
    """The end of what it said on stderr."""
    said.seek(max(0, said.seek(0, os.SEEK_END) - _MOST_SAID_BYTES))
    return " ".join(clean(said.read().decode(errors="replace")).split())[-300:]
