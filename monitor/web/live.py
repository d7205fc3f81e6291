"""The console's live side: one rendering for everyone who looks, and a stream of what changed since."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from monitor.clock import Clock
from monitor.core.snapshot import Snapshot
from monitor.web import Source
from monitor.web.console import Console, Pieces, order, title_of
from monitor.web.session import Visitor
from monitor.web.words import overall

PAUSE_SECONDS = 1.0
"""At most one rendering in so long, however fast snapshots follow each other and however many look."""

BEAT_SECONDS = 10.0
MOST_STREAMS = 100
KEPT = 60  # renderings that a console may be behind, about a minute


class FullError(Exception):
    """As many consoles are open as we serve."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A snapshot, rendered."""

    id: str  # by which a console says what it has
    snapshot: Snapshot
    pieces: Pieces


class Live:
    """Renders the console off the event loop and tells open consoles what changed."""

    def __init__(self, source: Source, console: Console, clock: Clock) -> None:
        self._source = source
        self._console = console
        self._clock = clock
        self._rendering = asyncio.Lock()
        self._shown: Shown | None = None
        self._kept: OrderedDict[str, Pieces] = OrderedDict()
        self._messages: dict[str, bytes] = {}  # by what the console has; of what is shown now
        self._name = secrets.token_hex(4)  # of this process: another one's numbers mean nothing
        self._news = asyncio.Event()
        self._closed = False
        self.streams = 0

    async def run(self) -> None:
        """Tell the streams of every change, until cancelled."""
        seen = self._source.snapshot()
        while True:
            if self._source.snapshot() is seen:
                await self._source.changed()
            seen = self._source.snapshot()
            self._tell()
            await self._clock.sleep(PAUSE_SECONDS)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def shown(self) -> Shown:
        """The present snapshot, rendered once for all who ask."""
        async with self._rendering:
            snapshot = self._source.snapshot()
            if self._shown is None or self._shown.snapshot is not snapshot:
                pieces = await asyncio.to_thread(self._console.pieces, snapshot)
                number = int(self._shown.id.partition("-")[2]) + 1 if self._shown else 0
                self._shown = Shown(f"{self._name}-{number}", snapshot, pieces)
                self._messages = {}
                self._keep(self._shown)
            return self._shown

    def _keep(self, shown: Shown) -> None:
        """Remember what was sent lately: who has it is sent the difference only."""
        self._kept[shown.id] = shown.pieces
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    async def page(self, visitor: Visitor) -> str:
        """The whole console as HTML, for one visitor."""
        shown = await self.shown()
        return await asyncio.to_thread(self._console.page, shown.snapshot, shown.pieces, shown.id, visitor)

    def subscribe(self, has: str = "") -> AsyncIterator[bytes]:
        """A stream of server-sent events, for a console that `has` this. Raises FullError when too many look already."""
        if self.streams >= MOST_STREAMS:
            raise FullError
        return self._stream(has)

    async def _stream(self, has: str) -> AsyncIterator[bytes]:
        self.streams += 1
        try:
            yield b"retry: 2000\n\n"
            has = has if has in self._kept else ""
            keys = self._kept[has].keys() if has else None
            while not self._closed:
                news = self._news
                shown = await self.shown()
                if keys is not None and keys != shown.pieces.keys():
                    yield _event("again", {})
                    return
                if message := self._message(shown, has):
                    yield message
                elif has == shown.id:  # nothing is new: a sign of life, so that the page says that it is live
                    yield self._beat()
                has, keys = shown.id, shown.pieces.keys()
                while not await _comes(news):
                    yield self._beat()
        finally:
            self.streams -= 1

    def _message(self, shown: Shown, has: str) -> bytes:
        """What a console lacks; made once for all that have the same."""
        if has not in self._messages:
            sent = self._kept.get(has, {})
            changed = {name: html for name, html in shown.pieces.items() if sent.get(name) != html}
            news = {
                "at": self._clock.now(),
                "title": title_of(overall(shown.snapshot)),
                "order": order(shown.pieces),
                "pieces": changed,
            }
            self._messages[has] = f"id: {shown.id}\n".encode() + _event("pieces", news) if changed else b""
        return self._messages[has]

    def _beat(self) -> bytes:
        return _event("beat", {"at": self._clock.now()})


async def _comes(event: asyncio.Event) -> bool:
    """Whether the event comes before it is time for a sign of life."""
    try:
        async with asyncio.timeout(BEAT_SECONDS):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
