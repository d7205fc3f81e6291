"""One Alertmanager over HTTP: how alerts are written, and what an answer means.

API: alertmanager/api/v2/openapi.yaml.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from monitor.alerting.ledger import Alert
from monitor.clock import Clock
from monitor.core.config import AlertmanagerConfig

_LINK = re.compile(r"https?://[]!#-;=?-[_a-z~]+")
_MOST_ANNOTATION_BYTES = 4096  # receivers break long before Alertmanager: PagerDuty takes 512 KB in all
_MOST_ANSWER_BYTES = 32 * 2**20
_INVALID = frozenset({400, 413, 422})  # this batch is at fault: a label, a size
_SERVER_BUSY = frozenset({408, 425, 429})


class Verdict(StrEnum):
    """What to do after an answer."""

    TAKEN = "taken"
    INVALID = "invalid"  # find out which alert it is and send the others
    LATER = "later"  # try again
    MISCONFIGURED = "misconfigured"  # trying again helps only once somebody changed something


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request, or why there was none. `text` is for people and holds no secret."""

    verdict: Verdict
    text: str = ""
    body: bytes = b""
    retry_after_seconds: float | None = None
    skew_seconds: float | None = None  # how far its clock is ahead of ours


def name_of(url: str) -> str:
    """An Alertmanager's address without name and password, as it is shown; ValueError if it is none."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("the address of an Alertmanager begins with http:// or https:// and names a host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, host + port, parts.path.rstrip("/"), "", ""))


class Wire:
    """The HTTP client of one Alertmanager. Credentials are read from their files for each request."""

    def __init__(self, config: AlertmanagerConfig, clock: Clock, timeout_seconds: float) -> None:
        self._config = config
        self._base = name_of(config.url)
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._client: httpx.AsyncClient | None = None
        self._trusted: object = None  # the state of the CA file for which the client was made

    async def post(self, path: str, body: bytes) -> Reply:
        return await self._request("POST", path, body=body)

    async def get(self, path: str, query: Mapping[str, str]) -> Reply:
        return await self._request("GET", path, query=query)

    def reconfigure(self, config: AlertmanagerConfig) -> None:
        """Use other credentials or certificates from the next request on."""
        self._config = config

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        self._client = None

    async def _request(
        self, method: str, path: str, *, body: bytes = b"", query: Mapping[str, str] | None = None
    ) -> Reply:
        try:
            client, headers, auth = await self._ready_client(), self._headers(), self._auth()
        except (OSError, ValueError) as error:  # a file that cannot be read, or is no certificate
            return Reply(Verdict.MISCONFIGURED, _said(error))
        sent = self._clock.now()
        try:
            # httpx has a timeout for each step; only this one bounds them all, name lookup and body included.
            async with asyncio.timeout(self._timeout_seconds):
                request = client.build_request(method, self._base + path, content=body, params=query, headers=headers)
                response = await client.send(request, auth=auth, stream=True)
                try:
                    answered = self._clock.now()
                    content = await _read(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            return Reply(Verdict.LATER, f"no answer within {self._timeout_seconds:g} s")
        except (httpx.LocalProtocolError, UnicodeError):  # their message would show the header
            return Reply(Verdict.MISCONFIGURED, "the credentials cannot be written into a header")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Reply(Verdict.LATER, _said(error))
        return _judge(response, content, sent, answered)

    async def _ready_client(self) -> httpx.AsyncClient:
        trusted = self._config.ca_file, _stamp(self._config.ca_file)
        if self._client is None or trusted != self._trusted:
            await self.close()
            context = await asyncio.to_thread(_trust, self._base, self._config.ca_file)
            # trust_env: neither a proxy nor a .netrc that happens to be around may reroute pages.
            self._client = httpx.AsyncClient(
                trust_env=False,
                follow_redirects=False,
                verify=context,
                timeout=self._timeout_seconds,
                limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
            )
            self._trusted = trusted
        return self._client

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._config.bearer_token_file:
            headers["Authorization"] = f"Bearer {Path(self._config.bearer_token_file).read_text().strip()}"
        return headers

    def _auth(self) -> httpx.Auth | None:
        parts = urlsplit(self._config.url)
        username = self._config.username or unquote(parts.username or "")
        if not username:
            return None
        password_file = self._config.password_file
        password = Path(password_file).read_text().strip() if password_file else unquote(parts.password or "")
        return httpx.BasicAuth(username, password)


def alerts_body(alerts: Iterable[Alert], now: float, offset_seconds: float = 0.0) -> bytes:
    """The body of `POST /api/v2/alerts`; ValueError, TypeError or OverflowError if an alert cannot be written."""
    return array(render(alert, now, offset_seconds) for alert in alerts)


def array(bodies: Iterable[bytes]) -> bytes:
    """One body from what `render` made of its alerts."""
    return b"[" + b",".join(bodies) + b"]"


def render(alert: Alert, now: float, offset_seconds: float = 0.0) -> bytes:
    """One alert as Alertmanager reads it, its times in UTC and shifted by the offset."""
    ends_at = now + alert.lease_seconds if alert.ends_at is None else max(alert.ends_at, alert.starts_at)
    wire = {
        "labels": {name: _clean(text) for name, text in alert.labels.items() if text},
        "annotations": {name: _cut(_clean(text)) for name, text in alert.annotations.items() if text},
        "startsAt": _rfc3339(alert.starts_at + offset_seconds),
        "endsAt": _rfc3339(ends_at + offset_seconds),
        # One that Alertmanager cannot read would cost the page; without it only a link is missing.
        "generatorURL": alert.generator_url if _LINK.fullmatch(alert.generator_url) else "",
    }
    return json.dumps(wire, ensure_ascii=False, separators=(",", ":")).encode()


def _rfc3339(at: float) -> str:
    # Alertmanager reads a time without a zone as UTC, so it must never be the local one.
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _clean(text: str) -> str:
    """Without the halves of characters that broken log lines bring and that no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def _cut(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= _MOST_ANNOTATION_BYTES:
        return text
    return encoded[: _MOST_ANNOTATION_BYTES - 3].decode(errors="ignore") + "…"


def verdict_of(status: int, content_type: str = "") -> Verdict:
    """What an HTTP status means for what was sent. A page in HTML is never Alertmanager: a login was in between."""
    if 200 <= status < 300:
        return Verdict.MISCONFIGURED if "html" in content_type else Verdict.TAKEN
    if status in _INVALID:
        return Verdict.INVALID
    return Verdict.LATER if status in _SERVER_BUSY or status >= 500 else Verdict.MISCONFIGURED


def skew_seconds(date: str, sent: float, answered: float) -> float | None:
    """How far the clock that wrote a `Date` header is ahead of ours, at the least; 0 if it can be right, None if unread.

    It was written between `sent` and `answered` and names a whole second, so a slow answer is no skew.
    """
    try:
        at = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(at - answered, 0.0) + min(at + 1 - sent, 0.0)


def retry_after_seconds(header: str, now: float) -> float | None:
    """A `Retry-After` header, in seconds from now; it may be a number or a date. None if there is none to be read."""
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(parsedate_to_datetime(header).timestamp() - now, 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def _judge(response: httpx.Response, body: bytes, sent: float, answered: float) -> Reply:
    verdict = verdict_of(response.status_code, response.headers.get("Content-Type", ""))
    said = body[:200].decode(errors="replace").strip()
    return Reply(
        verdict,
        "" if verdict is Verdict.TAKEN else f"HTTP {response.status_code} {said}".strip(),
        body,
        retry_after_seconds(response.headers.get("Retry-After", ""), answered),
        skew_seconds(response.headers.get("Date", ""), sent, answered),
    )


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MOST_ANSWER_BYTES:
            raise ValueError(f"the answer is larger than {_MOST_ANSWER_BYTES} bytes")
    return bytes(body)


def _trust(base: str, ca_file: str | None) -> ssl.SSLContext:
    """Whose certificates are believed. Without TLS nobody's: to read the usual authorities takes 80 ms."""
    if base.startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)


def _stamp(path: str | None) -> object:
    if path is None:
        return None
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
