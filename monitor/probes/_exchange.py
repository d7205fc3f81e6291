"""One HTTP request and its answer, on a fresh connection, as a customer's first visit would be.

Written on h11 (the protocol) and not on a client library, because the phases, the certificate of a refused handshake
and the size cap on *decompressed* bytes are what the probes are about, and clients hide all three.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

import h11

from monitor import __version__
from monitor.core.probe import Fault, Reason
from monitor.probes._connection import TLS, UNREACHABLE, Journey, Streams, broken, connected

STATUS = "status"
BODY = "body"
THROTTLED = "throttled"

THROTTLED_REASON = Reason(
    Fault.ACCESS,
    "It answers 429: this address asks too often, or shares it with somebody who does. Ask less, or have it exempted.",
)

_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})
_READ_BYTES = 4 * 1024  # at once: a thousand events of the protocol at worst, some 20 ms
_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Url:
    """Where a request goes. What may hold a secret (path, query, login) is not shown."""

    scheme: str
    host: str  # an IPv6 address without its brackets
    port: int
    path: str = field(repr=False)  # with the query; percent-encoded
    login: str | None = field(default=None, repr=False)  # value of the header Authorization

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def netloc(self) -> str:
        """What the header Host says: the port only where it is not the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str) -> Url:
        """Where a redirect to `location` leads; ValueError where that is no place for HTTP."""
        return parse_url(urljoin(f"{self.scheme}://{self.netloc}{self.path}", location))


_PORTS = {"http": 80, "https": 443}


def parse_url(text: str) -> Url:
    """The URL that `text` spells; ValueError says what is wrong without repeating it, for it may hold a password."""
    try:
        split = urlsplit(text.strip())
        host = split.hostname or ""
        host = host if ":" in host else host.encode("idna").decode()
        port = split.port
    except ValueError:  # a UnicodeError is one
        raise ValueError("not a URL: see its host and port") from None
    if split.scheme not in _PORTS or not host or any(letter.isspace() for letter in host):
        raise ValueError("not a URL of HTTP; write http://host or https://host, with :port and /path as needed")
    login = None
    if split.username is not None:
        pair = f"{unquote(split.username)}:{unquote(split.password or '')}"
        login = f"Basic {base64.b64encode(pair.encode()).decode()}"
    query = f"?{split.query}" if split.query else ""
    path = quote(f"{split.path or '/'}{query}", safe="/%:@!$&'()*+,;=~?[]")
    return Url(split.scheme, host, port or _PORTS[split.scheme], path, login)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. Header names in lower case; these override the defaults."""

    url: Url
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes = field(default=b"", repr=False)

    def lines(self) -> list[tuple[str, str]]:
        """The headers that are sent."""
        headers = {
            "host": self.url.netloc,
            "user-agent": f"portal-monitor/{__version__}",
            "accept": "*/*",
            "accept-encoding": "gzip",
            "connection": "close",
        }
        if self.url.login:
            headers["authorization"] = self.url.login
        if self.content:
            headers["content-length"] = str(len(self.content))
        return list({**headers, **self.headers}.items())


class Defect(StrEnum):
    """Why a body is not whole, in words."""

    BROKEN = "the connection broke before the end of the body"
    TOO_LARGE = "the body is larger than allowed"
    UNREADABLE = "the body cannot be decompressed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, the body decompressed."""

    status: int
    headers: Mapping[str, str]  # names in lower case; of several the last
    body: bytes = field(default=b"", repr=False)
    defect: Defect | None = None

    @property
    def words(self) -> str:
        """`HTTP 503 Service Unavailable`, in the standard's words, not the server's."""
        try:
            return f"HTTP {self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"HTTP {self.status}"


async def exchange(request: Request, journey: Journey, *, max_bytes: int, ca_file: Path | None = None) -> Answer:
    """Send the request once and read the answer, at most `max_bytes` of its body.

    Raises ProbeError where no answer of HTTP came: `unreachable`, `tls`, `certificate`. An answer that came and
    breaks off, or is too large, is returned with what there was of it.
    """
    url = request.url
    async with connected(journey, url.host, url.port, tls=url.tls, ca_file=ca_file) as streams:
        conversation = _Conversation(streams, max_bytes)
        try:
            with journey.during("processing"):
                head = await conversation.ask(request)
        except h11.RemoteProtocolError:
            said = "it does not speak HTTP" if conversation.received else "it hung up without an answer"
            raise journey.failure(UNREACHABLE, f"{url.host}:{url.port}: {said}") from None
        except ssl.SSLError as error:  # with TLS 1.3 a missing client certificate is told here
            raise journey.failure(
                TLS, f"{url.host}: {(error.reason or 'TLS broke').replace('_', ' ').lower()}"
            ) from None
        except OSError as error:
            raise broken(journey, error, f"{url.host}:{url.port}") from None
        with journey.during("transfer"):
            return await conversation.body_of(head)


class _Conversation:
    """One request and its answer on an open connection."""

    def __init__(self, streams: Streams, max_bytes: int) -> None:
        self.reader, self.writer = streams
        self.max_bytes = max_bytes
        self.received = 0
        self.protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)

    async def ask(self, request: Request) -> h11.Response:
        """Send, and wait for the head of the answer; 1xx are passed over."""
        head = h11.Request(method=request.method, target=request.url.path, headers=request.lines())
        events = [head, *([h11.Data(request.content)] if request.content else []), h11.EndOfMessage()]
        self.writer.write(b"".join(self.protocol.send(event) or b"" for event in events))
        await self.writer.drain()
        while not isinstance(event := await self._next(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("no response")
            if self.received > _HEAD_BYTES:
                raise h11.RemoteProtocolError("informational answers without end")
        return event

    async def body_of(self, head: h11.Response) -> Answer:
        """The whole answer, or as much of it as there is and may be."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        coding = headers.get("content-encoding", "identity").lower()
        body = _Body(self.max_bytes, coding)
        try:
            while isinstance(event := await self._next(), h11.Data):
                body.add(event.data)
                wrapping = self.received - body.received
                if body.full or wrapping > body.received + 2 * _HEAD_BYTES:  # chunks of one byte would cost us dearly
                    return Answer(head.status_code, headers, bytes(body.data), Defect.TOO_LARGE)
        except (h11.RemoteProtocolError, OSError):
            return Answer(head.status_code, headers, bytes(body.data), Defect.BROKEN)
        except zlib.error:
            return Answer(head.status_code, headers, defect=Defect.UNREADABLE)
        return Answer(head.status_code, headers, bytes(body.data), None if body.whole else Defect.UNREADABLE)

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self.protocol.next_event()) is h11.NEED_DATA:
            data = await self.reader.read(_READ_BYTES)
            self.received += len(data)
            await asyncio.sleep(0)  # a reader with a full buffer would not let anybody else run
            self.protocol.receive_data(data)
        return event  # type: ignore[return-value]  # NEED_DATA is gone


class _Body:
    """The bytes of a body, decompressed as they come and never beyond the cap: a gzip bomb is 1,000 times its size."""

    def __init__(self, max_bytes: int, coding: str) -> None:
        self.max_bytes = max_bytes
        self.coding = coding
        self.data = bytearray()
        self.received = 0  # bytes, before decompression
        self.full = False
        self._inflate = zlib.decompressobj(wbits=47) if coding in _COMPRESSED else None  # gzip or zlib, as it says

    @property
    def whole(self) -> bool:
        """Whether what was read is the body in plain: nothing unknown wraps it, and its compressed stream has ended."""
        if self._inflate:
            return self._inflate.eof or not self.data
        return self.coding == "identity" or not self.data

    def add(self, received: bytes) -> None:
        self.received += len(received)
        room = self.max_bytes - len(self.data) + 1
        plain = self._inflate.decompress(received, room) if self._inflate else received[:room]
        self.data += plain[: room - 1]
        self.full = len(plain) >= room
