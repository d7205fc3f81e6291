"""The routes: what is answered under which address. Every answer comes from one snapshot."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import asdict

import structlog
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from monitor.alerting import links
from monitor.clock import Clock
from monitor.core.action import VERBS
from monitor.core.snapshot import Snapshot
from monitor.metrics import negotiate, render
from monitor.store import StoreError
from monitor.web import Source
from monitor.web.acknowledge import Acknowledging
from monitor.web.api import probe_json, probes_json, status_json
from monitor.web.chronicle import history_json, runs_json
from monitor.web.console import STATIC, Console, static
from monitor.web.desk import Desk, as_json
from monitor.web.door import Door
from monitor.web.guard import Endpoint, Guard, refuse
from monitor.web.live import FullError, Live
from monitor.web.openapi import openapi
from monitor.web.past import RANGES, range_seconds
from monitor.web.toolkit import Toolkit

log = structlog.get_logger()

_WORTH_PACKING_BYTES = 1000
_FOR_EVER = "public, max-age=31536000, immutable"


def build(source: Source, live: Live, console: Console, *, token: SecretStr, toolkit: Toolkit, clock: Clock) -> ASGIApp:
    """The application. `live` is the caller's to run and to close."""
    app = Starlette(exception_handlers={HTTPException: _refused, Exception: _refused})
    guard = Guard(app, source, token, toolkit, clock)
    desk, door, acknowledging = Desk(source), Door(source, console, guard), Acknowledging(source, console)
    pages = _Pages(source, live, console, desk, guard)
    reads: dict[str, Endpoint] = {
        "/metrics": _Scrapes(source).metrics,
        "/-/healthy": pages.healthy,
        "/-/ready": pages.ready,
        "/": pages.console,
        "/events": pages.events,
        "/probes/{name}": pages.probe,
        "/incidents/{key}": pages.incident,
        "/static/{name}": pages.static,
        "/api/v1/status": pages.status,
        "/api/v1/probes": pages.probes,
        "/api/v1/probes/{name}": pages.probe_as_json,
        "/api/v1/probes/{name}/history": pages.history,
        "/api/v1/probes/{name}/runs": pages.runs,
        "/api/v1/openapi.json": pages.openapi,
        **desk.reads,
        links.PATH: acknowledging.look,
    }
    changes = {("POST", "/-/reload"): pages.reload, **desk.changes}
    app.router.routes.extend(Route(path, endpoint, methods=["GET", "HEAD"]) for path, endpoint in reads.items())
    app.router.routes.extend(
        Route(path, guard.change(endpoint), methods=[method]) for (method, path), endpoint in changes.items()
    )
    app.router.routes.append(Route(links.PATH, guard.signed(acknowledging.act), methods=["POST"]))

    app.router.routes.extend(
        [
            Route("/login", door.form, methods=["GET", "HEAD"]),
            Route("/login", door.enter, methods=["POST"]),
            Route("/logout", guard.form(door.leave), methods=["POST"]),
            Route("/session", door.session, methods=["GET", "HEAD"]),
            Route("/report", guard.form(desk.report_by_form), methods=["POST"]),
            Route("/act/{key}/{verb}", guard.form(desk.act_by_form), methods=["POST"]),
        ]
    )
    return guard


class _Scrapes:
    """The exposition, rendered off the event loop and once per snapshot and format, however many scrape."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._rendering = asyncio.Lock()
        self._snapshot: Snapshot | None = None
        self._bodies: dict[tuple[str, bool], bytes] = {}

    async def metrics(self, request: Request) -> Response:
        content_type, packed = negotiate(request.headers.get("accept", "")), _takes_gzip(request)
        async with self._rendering:
            body = await self._body(content_type, packed)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        return Response(body, headers=headers | ({"Content-Encoding": "gzip"} if packed else {}))

    async def _body(self, content_type: str, packed: bool) -> bytes:
        snapshot = self._source.snapshot()
        if snapshot is not self._snapshot:
            self._snapshot, self._bodies = snapshot, {}
        if (content_type, packed) not in self._bodies:
            body, _ = await asyncio.to_thread(render, snapshot, content_type, gzip=packed)
            self._bodies[content_type, packed] = body
        return self._bodies[content_type, packed]


class _Pages:
    """Everything else."""

    def __init__(self, source: Source, live: Live, console: Console, desk: Desk, guard: Guard) -> None:
        self._source = source
        self._live = live
        self._console = console
        self._desk = desk
        self._guard = guard
        self._reloading = asyncio.Lock()

    async def healthy(self, _: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(self, _: Request) -> Response:
        """Ready is: the configuration is loaded and the scheduler ticks. It says nothing about the targets."""
        if self._source.snapshot().monitor.ticking:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready: the scheduler does not run on time\n", 503)

    async def reload(self, _: Request) -> Response:
        async with self._reloading:
            report = await self._source.reload()
        return as_json({"ok": report.ok, **asdict(report)}, 200 if report.ok else 500)

    async def console(self, request: Request) -> Response:
        return await _page(request, await self._live.page(self._guard.visitor(request)))

    async def events(self, request: Request) -> Response:
        has = request.headers.get("last-event-id") or request.query_params.get("has", "")
        try:
            stream = self._live.subscribe(has)
        except FullError:
            return refuse(503, "Too many consoles are open.")
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def probe(self, request: Request) -> Response:
        snapshot, name = self._source.snapshot(), request.path_params["name"]
        view = snapshot.probes.get(name)
        if view is None:
            return await _page(request, self._console.missing("such probe"), 404)
        chosen = request.query_params.get("range", "1h")
        chosen = chosen if chosen in RANGES else "1h"
        try:
            buckets = await self._source.history(name, snapshot.at - RANGES[chosen])
        except StoreError as error:  # what is at hand is shown all the same
            log.warning("history_unreadable", probe=name, said=str(error))
            buckets = []
        visitor = self._guard.visitor(request)
        html = await asyncio.to_thread(self._console.probe, snapshot, view, buckets, chosen, visitor)
        return await _page(request, html)

    async def incident(self, request: Request) -> Response:
        snapshot = self._source.snapshot()
        try:
            told = await self._desk.told(request.path_params["key"], snapshot)
        except StoreError as error:
            return refuse(503, str(error))
        if told is None:
            return await _page(request, self._console.missing("such incident"), 404)
        shown, visitor = await self._live.shown(), self._guard.visitor(request)
        return await _page(request, await asyncio.to_thread(self._console.incident, snapshot, told, shown.id, visitor))

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return refuse(404, "There is no such file.")
        return Response(static(name), headers={"Content-Type": STATIC[name], "Cache-Control": _FOR_EVER})

    async def status(self, _: Request) -> Response:
        return as_json(status_json(self._source.snapshot()))

    async def probes(self, _: Request) -> Response:
        return as_json(probes_json(self._source.snapshot()))

    async def probe_as_json(self, request: Request) -> Response:
        snapshot = self._source.snapshot()
        view = snapshot.probes.get(request.path_params["name"])
        if view is None:
            return refuse(404, "There is no such probe.")
        return as_json(probe_json(view, snapshot.config.secrets))

    async def history(self, request: Request) -> Response:
        snapshot, name = self._source.snapshot(), request.path_params["name"]
        view = snapshot.probes.get(name)
        if view is None:
            return refuse(404, "There is no such probe.")
        seconds = range_seconds(request.query_params.get("range", "24h"))
        if seconds is None:
            return refuse(400, "Write a range such as 90m, 12h or 7d, of 31 days at the most.")
        since = snapshot.at - seconds
        try:
            buckets = await self._source.history(name, since)
        except StoreError as error:
            return refuse(503, str(error))
        return as_json(await asyncio.to_thread(history_json, view.config, buckets, since, snapshot.at))

    async def runs(self, request: Request) -> Response:
        snapshot = self._source.snapshot()
        view = snapshot.probes.get(request.path_params["name"])
        if view is None:
            return refuse(404, "There is no such probe.")
        return as_json(runs_json(view, snapshot.config.secrets))

    async def openapi(self, _: Request) -> Response:
        return as_json(openapi(self._source.snapshot().monitor.version))


async def _page(request: Request, html: str, status: int = 200) -> Response:
    body = html.encode("utf-8", "replace")
    if len(body) < _WORTH_PACKING_BYTES or not _takes_gzip(request):
        return HTMLResponse(body, status, {"Vary": "Accept-Encoding"})
    packed = await asyncio.to_thread(gzip.compress, body, 1)
    return HTMLResponse(packed, status, {"Vary": "Accept-Encoding", "Content-Encoding": "gzip"})


def _takes_gzip(request: Request) -> bool:
    for offer in request.headers.get("accept-encoding", "").replace(" ", "").lower().split(","):
        name, _, weight = offer.partition(";q=")
        if name == "gzip":
            return not weight or bool(weight.strip("0."))
    return False


def _is_there(route: Route, request: Request) -> bool:
    """Whether the address that was asked for is the route's, in whatever way it was asked."""
    match, found = route.matches(request.scope)
    return match is not Match.NONE and found["path_params"].get("verb") in {None, *VERBS}


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 500:
        return refuse(500, "The monitor made a mistake; its log says more.")
    said = {404: "There is nothing at this address.", 405: "This address does not take that method."}
    headers = dict(getattr(error, "headers", None) or {})
    if status == 405:  # one address has several routes, each for its own methods
        routes = [route for route in request.app.router.routes if isinstance(route, Route)]
        fitting = [route for route in routes if _is_there(route, request)]
        taken = {method for route in fitting for method in route.methods or ()}
        headers["Allow"] = ", ".join(sorted(taken))
    return refuse(status, said.get(status, "Refused."), headers)
