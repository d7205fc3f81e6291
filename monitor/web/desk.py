"""The part of the API where people look into incidents and act on them: reports, verbs, maintenance, explanations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from monitor.alerting.facts import Facts
from monitor.alerting.messages import status_update
from monitor.core import request as asked
from monitor.core.action import VERBS, Refused
from monitor.core.condition import did_you_mean
from monitor.core.explanation import explain, pages_of
from monitor.core.incident import Incident
from monitor.core.request import BadRequest
from monitor.core.snapshot import Snapshot
from monitor.store import Record, StoreError
from monitor.web import Source
from monitor.web.guard import Endpoint, refuse, user_of
from monitor.web.incidents import (
    IncidentDetailJson,
    MessagesJson,
    explain_json,
    incident_detail_json,
    incident_json,
    window_json,
)

MOST_BYTES = 64 * 1024
"""Of a request's body."""


class _Missing(Exception):
    """What was asked for is not there; the text says what."""


def _answers(endpoint: Callable[[Any, Request], Awaitable[Response]]) -> Callable[[Any, Request], Awaitable[Response]]:
    """The endpoint, with what may go wrong in it said in one line."""

    @wraps(endpoint)
    async def answered(self: Any, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except BadRequest as error:
            return refuse(400, str(error))
        except _Missing as error:
            return refuse(404, str(error))
        except Refused as error:
            return refuse(409, str(error))
        except StoreError as error:
            return refuse(503, str(error))

    return answered


class Desk:
    """The endpoints. What changes something is guarded by whoever routes to it."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def reads(self) -> dict[str, Endpoint]:
        """What anybody may ask who may look."""
        return {
            "/api/v1/incidents": self.incidents,
            "/api/v1/incidents/{key}": self.incident,
            "/api/v1/incidents/{key}/messages": self.messages,
            "/api/v1/maintenance": self.maintenance,
            "/api/v1/explain/{subject}": self.explain,
        }

    @property
    def changes(self) -> dict[tuple[str, str], Endpoint]:
        """What takes a token or a login, by method and address."""
        return {
            ("POST", "/api/v1/incidents"): self.open,
            ("POST", "/api/v1/incidents/{key}/{verb}"): self.act,
            ("POST", "/api/v1/maintenance"): self.begin_maintenance,
            ("DELETE", "/api/v1/maintenance/{key}"): self.end_maintenance,
        }

    # --- looking ------------------------------------------------------------------------------------------------------

    @_answers
    async def incidents(self, request: Request) -> Response:
        snapshot, since = self._source.snapshot(), request.query_params.get("since")
        if since is None:
            return as_json([incident_json(incident, snapshot) for incident in snapshot.incidents])
        kept = await asyncio.to_thread(self._source.incidents_since, asked.since(since, snapshot.at))
        at_hand = {incident.key: incident for incident in snapshot.incidents}
        found = [at_hand.get(incident.key, incident) for incident in kept]
        return as_json(await asyncio.to_thread(lambda: [incident_json(incident, snapshot) for incident in found]))

    @_answers
    async def incident(self, request: Request) -> Response:
        return as_json(await self._detail(request.path_params["key"]))

    @_answers
    async def messages(self, request: Request) -> Response:
        snapshot = self._source.snapshot()
        incident, record = await self._find(request.path_params["key"], snapshot)
        pages = pages_of(incident, snapshot) or (record.pages if record else ())
        monitor = snapshot.monitor
        facts = Facts(
            snapshot.runbook, snapshot.probes, snapshot.config, snapshot.at, pages, monitor.store_error,
            recorded=snapshot.recorded,
        )  # fmt: skip
        said: MessagesJson = {"status_update": status_update(incident, facts), "customer": None, "vendor_report": None}
        return as_json(said)

    async def maintenance(self, _: Request) -> Response:
        snapshot = self._source.snapshot()
        next_ = [window for plan in snapshot.config.maintenance if (window := plan.next_window(snapshot.at))]
        return as_json([window_json(window) for window in (*snapshot.windows, *next_)])

    @_answers
    async def explain(self, request: Request) -> Response:
        snapshot, subject = self._source.snapshot(), request.path_params["subject"]
        if subject in snapshot.runbook.scenarios:
            return as_json(explain_json(explain(subject, snapshot), snapshot))
        try:
            incident, _ = await self._find(subject, snapshot)
        except _Missing:
            known = [*snapshot.runbook.scenarios, *(item.key for item in snapshot.incidents)]
            raise _Missing(f'There is no scenario and no incident "{subject}"{did_you_mean(subject, known)}') from None
        return as_json(explain_json(explain(incident.scenario, snapshot, incident), snapshot))

    # --- acting -------------------------------------------------------------------------------------------------------

    @_answers
    async def open(self, request: Request) -> Response:
        given, by, secrets = await self._given(request)
        wanted = asked.opening(given, self._source.snapshot().at, secrets)
        incident = await self._source.open(wanted, by)
        return as_json(await self._detail(incident.key), 201, {"Location": f"/api/v1/incidents/{quote(incident.key)}"})

    @_answers
    async def act(self, request: Request) -> Response:
        key, verb = request.path_params["key"], request.path_params["verb"]
        if verb not in VERBS:
            raise _Missing(f'There is no verb "{verb}"{did_you_mean(verb, VERBS)}')
        given, by, secrets = await self._given(request)
        wanted = asked.action(verb, given, secrets)
        incident, _ = await self._find(key, self._source.snapshot())
        await self._source.act(incident.key, wanted, by)
        return as_json(await self._detail(key))

    @_answers
    async def begin_maintenance(self, request: Request) -> Response:
        given, by, secrets = await self._given(request)
        window = await self._source.begin_maintenance(asked.maintenance(given, secrets), by)
        return as_json(window_json(window), 201)

    @_answers
    async def end_maintenance(self, request: Request) -> Response:
        return as_json(window_json(await self._source.end_maintenance(request.path_params["key"])))

    async def _given(self, request: Request) -> tuple[dict[str, Any], str, frozenset[str]]:
        """The fields of the body, who asks, and the secrets that no text may hold."""
        given = asked.parse(await read_body(request))
        secrets = self._source.snapshot().config.secrets
        return given, asked.who(given, user_of(request)), secrets

    # --- one incident -------------------------------------------------------------------------------------------------

    async def _find(self, key: str, snapshot: Snapshot) -> tuple[Incident, Record | None]:
        """The incident: as it is at hand, or as the store keeps it if it is long over."""
        for incident in snapshot.incidents:
            if incident.key == key:
                return incident, None
        record = await asyncio.to_thread(self._source.record, key)
        if record is None:
            raise _Missing(
                f'There is no incident "{key}"{did_you_mean(key, [item.key for item in snapshot.incidents])}'
            )
        return record.incident, record

    async def _detail(self, key: str) -> IncidentDetailJson:
        snapshot, trouble = self._source.snapshot(), ""
        incident, record = await self._find(key, snapshot)
        if record is not None:
            return incident_detail_json(incident, snapshot, record.pages, record.notices, record.events)
        try:
            record = await asyncio.to_thread(self._source.record, key)
        except StoreError as error:  # what is at hand is told all the same
            trouble = str(error)
        notices = [notice for notice in snapshot.notices if notice.incident == key]
        events = record.events if record else ()
        pages = pages_of(incident, snapshot)
        return incident_detail_json(incident, snapshot, pages, notices, events, timeline_error=trouble)


async def read_body(request: Request) -> bytes:
    """The body of a request. BadRequest if it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise BadRequest(f"the body: over {MOST_BYTES} bytes were found; write less")
    return bytes(body)


def as_json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON."""
    body = json.dumps(content, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, headers, media_type="application/json")
