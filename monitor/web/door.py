"""Logging in at the console, and out: a form that asks for a name, and for the token where nobody has logged in yet."""

from __future__ import annotations

import re
from pathlib import Path

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from monitor.core.request import MONITOR
from monitor.core.scrub import scrub
from monitor.web import Source
from monitor.web.console import Console
from monitor.web.guard import Guard, read_form
from monitor.web.session import LASTS_SECONDS, Session, cookie_name, name_of
from monitor.web.toolkit import user_in

log = structlog.get_logger()

_OURS = re.compile(r"(incidents|probes)/[A-Za-z0-9._-]+(\?range=[0-9a-z]+)?|")
"""Where a login may lead back to: a page of ours, relative to the login's own address."""


class Door:
    """The endpoints of `/login`, `/logout` and `/session`."""

    def __init__(self, source: Source, console: Console, guard: Guard) -> None:
        self._source, self._console, self._guard = source, console, guard

    async def form(self, request: Request) -> Response:
        """The form."""
        return self._form(request, request.query_params.get("next", ""))

    async def enter(self, request: Request) -> Response:
        """Begin a session."""
        if refusal := self._guard.place_refused(request):
            return refusal
        fields = await read_form(request)
        written, back = fields.get("name", ""), fields.get("next", "")
        name = name_of(scrub(written, self._source.snapshot().config.secrets))
        if not name:
            return self._form(request, back, "Write your name: it stands beside everything you do.", 400)
        if not self._guard.has_users and self._guard.may_log_in(written):  # neither logged nor shown
            return self._form(request, back, "That is the token: it belongs into the field below.", 400)
        if name.lower() == MONITOR:
            return self._form(request, back, "Write another name: that is the monitor's own.", 400)
        if not self._guard.may_log_in(fields.get("token", "")):
            log.warning("login_refused", name=name, client=request.client.host if request.client else "")
            return self._form(request, back, "That is not the token of this run.", 403, name)
        user = user_in(request.headers.get("authorization", "")) if self._guard.has_users else ""
        session = self._guard.sessions.begin(name if user in {"", name} else f"{name} (as {user})")
        log.info("login", name=session.name)
        answer = RedirectResponse(_place(back), 303)
        answer.set_cookie(
            _cookie(request), self._guard.sessions.cookie(session), max_age=int(LASTS_SECONDS), path="/", httponly=True,
            samesite="strict", secure=self._is_secure(request),
        )  # fmt: skip
        return answer

    async def leave(self, request: Request, session: Session, fields: dict[str, str]) -> Response:
        """End the session."""
        self._guard.sessions.end(session)
        answer = RedirectResponse(_place(fields.get("next", "")), 303)
        answer.delete_cookie(_cookie(request), path="/", httponly=True, samesite="strict")
        return answer

    async def session(self, request: Request) -> Response:
        """Who is logged in: for a page that was reached from another site, to which a browser sends no cookie."""
        session = self._guard.session(request)
        if session is None:
            return JSONResponse({"name": None, "csrf": None})
        return JSONResponse({"name": session.name, "csrf": self._guard.sessions.csrf(session)})

    def _form(self, request: Request, back: str, trouble: str = "", status: int = 200, name: str = "") -> Response:
        refused = self._guard.host_refused(request) is not None
        user = user_in(request.headers.get("authorization", "")) if self._guard.has_users else ""
        page = self._console.login(
            back=back if _OURS.fullmatch(back) else "",
            trouble="" if refused else trouble,
            name=name or user,
            asks_token=not self._guard.has_users,
            token_file=str(Path(self._source.snapshot().config.store).parent / "token"),
            refused=refused,
        )
        return HTMLResponse(page, 403 if refused else status)

    def _is_secure(self, request: Request) -> bool:
        external = self._source.snapshot().config.web.external_url
        through_proxy = external == f"https://{request.headers.get('host', '')}"
        return request.url.scheme == "https" or through_proxy


def _cookie(request: Request) -> str:
    return cookie_name(request.headers.get("host", ""))


def _place(back: str) -> str:
    return f"./{back}" if _OURS.fullmatch(back) else "./"
