"""Who may ask for what: the address asked for, the login, the token of a change, and the headers of every answer.

`Host` is checked because a page of any site can make a browser ask loopback by a name of its own (DNS rebinding); a
name that is an IP address cannot be made up that way.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from ipaddress import ip_address
from socket import gethostname
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import structlog
from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.clock import Clock
from monitor.core.config import WebConfig
from monitor.web import Source
from monitor.web.session import Session, Sessions, Visitor, cookie_name
from monitor.web.toolkit import OverloadedError, Toolkit, user_in

log = structlog.get_logger()

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

SIGNED = re.compile(r"/incidents/[^/]+/ack|/static/ack\.css|/static/icon\.svg")
"""Addresses that need no login: a signature stands in for it, and what such a page looks like is no secret."""

MOST_FORM_BYTES = 64 * 1024

Endpoint = Callable[[Request], Awaitable[Response]]
FormEndpoint = Callable[[Request, Session, dict[str, str]], Awaitable[Response]]


class Guard:
    """What every request passes before it is answered, and every answer before it is sent."""

    def __init__(self, app: ASGIApp, source: Source, token: SecretStr, toolkit: Toolkit, clock: Clock) -> None:
        self._app = app
        self._source = source
        self._token = token.get_secret_value().encode()
        self._toolkit = toolkit
        self._clock = clock
        self.sessions = Sessions(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        finishing = _Finish(send, {**HEADERS, **self._toolkit.current().headers}, self._clock.now())
        try:
            refusal = await self._refusal(Headers(scope=scope), scope["path"])
            await (refusal or self._app)(scope, receive, finishing)
        except Exception:  # a mistake in one answer: said once, in our log, and the daemon goes on
            log.exception("web_request_failed", path=scope["path"])
            if not finishing.started:
                await refuse(500, "The monitor made a mistake; its log says more.")(scope, receive, finishing)

    async def _refusal(self, headers: Headers, path: str) -> Response | None:
        config = self._source.snapshot().config.web
        if not is_our_name(headers.get("host", ""), config):
            return refuse(421, "This is no name of the monitor. Set web.external_url to the address it is reached by.")
        if not self._toolkit.current().users or SIGNED.fullmatch(path):
            return None
        try:
            known = await self.knows(headers.get("authorization", ""))
        except OverloadedError:
            return refuse(503, "Too many logins at once.", {"Retry-After": "1"})
        return (
            None if known else refuse(401, "A login is needed.", {"WWW-Authenticate": 'Basic realm="portal-monitor"'})
        )

    async def knows(self, authorization: str) -> bool:
        """Whether this is our token, or a user of the web configuration file with the right password."""
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(given.strip().encode(), self._token)
        return await self._toolkit.knows(authorization)

    def change(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, for those who may change something: never for another site's page, never without a login."""

        async def guarded(request: Request) -> Response:
            refusal = await self._change_refused(request)
            return refusal or await endpoint(request)

        return guarded

    def signed(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, for whoever has a link that we signed, wherever they are; never for another site's page.

        Because of our `Referrer-Policy` browsers say "null" for the origin of a form, also of our own.
        """

        async def guarded(request: Request) -> Response:
            headers, config = request.headers, self._source.snapshot().config.web
            sent = (
                headers
                if headers.get("origin") != "null"
                else Headers({**headers, "origin": f"//{headers.get('host', '')}"})
            )
            if not _same_origin(sent, config):
                return refuse(403, "A page of another site may not change anything here.")
            return await endpoint(request)

        return guarded

    async def _change_refused(self, request: Request) -> Response | None:
        if refusal := self.place_refused(request):
            return refusal
        try:
            known = await self.knows(request.headers.get("authorization", ""))
        except OverloadedError:
            return refuse(503, "Too many logins at once.", {"Retry-After": "1"})
        if known:
            return None
        return refuse(
            401,
            "A change needs the token: Authorization: Bearer …",
            {"WWW-Authenticate": 'Bearer realm="portal-monitor"'},
        )

    def place_refused(self, request: Request) -> Response | None:
        """Why nothing may be changed from where the request comes from; None if it may."""
        if not _same_origin(request.headers, self._source.snapshot().config.web):
            return refuse(403, "A page of another site may not change anything here.")
        return self.host_refused(request)

    def host_refused(self, request: Request) -> Response | None:
        """Why nothing may be changed from this host; None if it may."""
        if not self._toolkit.current().credentials and not _is_loopback(request.client.host if request.client else ""):
            return refuse(403, "From another host a change needs basic_auth_users, or client certificates, configured.")
        return None

    # --- the console --------------------------------------------------------------------------------------------------

    @property
    def has_users(self) -> bool:
        """Whether whoever reads has logged in by name and password already."""
        return bool(self._toolkit.current().users)

    def session(self, request: Request) -> Session | None:
        """Who is at the console, if they logged in."""
        return self.sessions.of(request.cookies.get(cookie_name(request.headers.get("host", "")), ""))

    def visitor(self, request: Request) -> Visitor:
        """The same, as a page needs it."""
        session = self.session(request)
        return Visitor(session.name, self.sessions.csrf(session)) if session else Visitor()

    def may_log_in(self, token: str) -> bool:
        """Whether somebody may begin a session: by the token; a user of the web file has proved it already."""
        if self.has_users:  # who comes here was let through by `_refusal`
            return True
        return hmac.compare_digest(token.strip().encode(), self._token)

    def form(self, endpoint: FormEndpoint) -> Endpoint:
        """An endpoint of the console's forms: for a session, from our own page, with what our page put into the form."""

        async def guarded(request: Request) -> Response:
            if refusal := self.place_refused(request):
                return refusal
            session = self.session(request)
            if session is None:
                return refuse(401, "Log in first: the session is over.")
            fields = await read_form(request)
            if not self.sessions.fits(session, fields.pop("csrf", "")):
                return refuse(403, "This form is not of your session: load the page again.")
            return await endpoint(request, session, fields)

        return guarded


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name; nothing of a body that is too large, or has too many."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            return {}
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        return {}


def user_of(request: Request) -> str:
    """The name of the user who logged in; "" for whoever holds the token. For requests that were let through."""
    return user_in(request.headers.get("authorization", ""))


def refuse(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    """A refusal that says why."""
    return JSONResponse({"error": why}, status, headers)


def is_our_name(host: str, config: WebConfig) -> bool:
    """Whether a `Host` header is a name we go by. HTTP/1.0 without one is let pass: no browser leaves it out."""
    if not host:
        return True
    name = _hostname(f"//{host}")
    return _is_address(name) or name in {
        "localhost",
        config.host.lower(),
        gethostname().lower(),
        _hostname(config.external_url),
    } - {""}


def _same_origin(headers: Headers, config: WebConfig) -> bool:
    """Whether the browser says the request comes from our own page; who sends no such header is no browser."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if site not in {"none", "same-origin"}:
        return False
    if origin is None:
        return True
    ours = {headers.get("host", ""), urlsplit(config.external_url).netloc.lower()} - {""}
    return urlsplit(origin).netloc.lower() in ours


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


class _Finish:
    """Adds the headers that every answer has."""

    def __init__(self, send: Send, headers: dict[str, str], now: float) -> None:
        self._send = send
        self._headers = {**headers, "Date": formatdate(now, usegmt=True)}
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            for name, value in self._headers.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            message: dict[str, Any] = {**message, "headers": headers.raw}  # type: ignore[no-redef]
        await self._send(message)
