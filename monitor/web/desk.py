"""The part of the API where people look into incidents and act on them: reports, verbs, maintenance, explanations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import wraps
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitor.alerting.facts import Facts
from monitor.alerting.messages import customer, for_vendor, status_update
from monitor.alerting.review import review
from monitor.core import request as asked
from monitor.core.action import VERBS, Refused
from monitor.core.condition import did_you_mean
from monitor.core.explanation import explain, pages_of
from monitor.core.incident import Event, Incident, Page
from monitor.core.report import Row, csv_text, rows
from monitor.core.request import BadRequest
from monitor.core.snapshot import Snapshot
from monitor.store import Record, StoreError
from monitor.web import Incidents
from monitor.web.cards import Message, Told, facts_of
from monitor.web.guard import Endpoint, refuse, user_of
from monitor.web.incidents import (
    IncidentDetailJson,
    IncidentJson,
    MessagesJson,
    explain_json,
    incident_detail_json,
    incidents_json,
    report_json,
    window_json,
)
from monitor.web.session import Session

MOST_BYTES = 64 * 1024
"""Of a request's body."""


_TICKS = frozenset({"fix", "customers"})
_DONE = {
    "ack": "Acknowledged.", "note": "Noted.", "identify": "Identified.", "resolve": "Resolved.",
    "severity": "The severity is set.", "impact": "The impact is saved.", "declare": "Declared.",
    "update": "The update is sent.", "review": "The review is recorded.",
}  # fmt: skip


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


def _answers_form(
    endpoint: Callable[[Any, Request, Session, dict[str, str]], Awaitable[Response]],
) -> Callable[[Any, Request, Session, dict[str, str]], Awaitable[Response]]:
    """The same for a form."""

    @wraps(endpoint)
    async def answered(self: Any, request: Request, session: Session, fields: dict[str, str]) -> Response:
        async def call(_: Any, request: Request) -> Response:
            return await endpoint(self, request, session, fields)

        return await _answers(call)(self, request)

    return answered


class Desk:
    """The endpoints. What changes something is guarded by whoever routes to it."""

    def __init__(self, source: Incidents) -> None:
        self._source = source

    @property
    def reads(self) -> dict[str, Endpoint]:
        """What anybody may ask who may look."""
        return {
            "/api/v1/incidents": self.incidents,
            "/api/v1/incidents/{key}": self.incident,
            "/api/v1/incidents/{key}/messages": self.messages,
            "/api/v1/incidents/{key}/review": self.review,
            "/api/v1/report": self.report,
            "/api/v1/report.csv": self.report_csv,
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
            return as_json(incidents_json(snapshot.incidents, snapshot))
        moment = asked.since(since, snapshot.at)

        def made() -> list[IncidentJson]:
            at_hand = {incident.key: incident for incident in snapshot.incidents}
            found = [at_hand.get(incident.key, incident) for incident in self._source.incidents_since(moment)]
            kept = [page for page in self._source.pages_since(moment) if page.incident not in at_hand]
            return incidents_json(found, snapshot, kept)

        return as_json(await asyncio.to_thread(made))

    @_answers
    async def incident(self, request: Request) -> Response:
        return as_json(await self._detail(request.path_params["key"]))

    @_answers
    async def messages(self, request: Request) -> Response:
        snapshot = self._source.snapshot()
        incident, record = await self._find(request.path_params["key"], snapshot)
        return as_json(await asyncio.to_thread(_messages, incident, _facts(snapshot, record)))

    @_answers
    async def review(self, request: Request) -> Response:
        snapshot, key = self._source.snapshot(), request.path_params["key"]
        incident, _ = await self._find(key, snapshot)

        def drafted() -> str:
            record = self._source.record(key)
            others = [item for item in self._source.incidents_since(0.0) if item.scenario == incident.scenario]
            previous = [item for item in others if item.key != key]
            events, pages = (record.events, record.pages) if record else ((), ())
            return review(incident, events, pages, previous, _facts(snapshot, record))

        return Response(await asyncio.to_thread(drafted), media_type="text/markdown")

    @_answers
    async def report(self, request: Request) -> Response:
        found, since, now = await self._rows(request)
        return as_json(report_json(found, since, now))

    @_answers
    async def report_csv(self, request: Request) -> Response:
        found, _, _ = await self._rows(request)
        return Response(csv_text(found), media_type="text/csv")

    async def _rows(self, request: Request) -> tuple[list[Row], float, float]:
        """The month in numbers, since when, and now."""
        snapshot = self._source.snapshot()
        since = asked.since(request.query_params.get("since", "30d"), snapshot.at)
        at_hand = {incident.key: incident for incident in snapshot.incidents}

        def made() -> list[Row]:
            kept = self._source.incidents_since(since)
            found = [at_hand.get(incident.key, incident) for incident in kept]
            timelines = self._source.timelines_since(since)
            calendar = snapshot.config.calendar
            return rows(found, timelines, snapshot.runbook, calendar, snapshot.at, recorded=snapshot.recorded)

        return await asyncio.to_thread(made), since, snapshot.at

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
            incident, record = await self._find(subject, snapshot)
        except _Missing:
            known = [*snapshot.runbook.scenarios, *(item.key for item in snapshot.incidents)]
            raise _Missing(f'There is no scenario and no incident "{subject}"{did_you_mean(subject, known)}') from None
        pages = record.pages if record else None
        return as_json(explain_json(explain(incident.scenario, snapshot, incident, pages), snapshot, pages))

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

    @_answers_form
    async def act_by_form(self, request: Request, session: Session, fields: dict[str, str]) -> Response:
        """A verb of the console's forms, by whoever is logged in."""
        key, verb = request.path_params["key"], request.path_params["verb"]
        if verb not in VERBS:
            raise _Missing(f'There is no verb "{verb}"{did_you_mean(verb, VERBS)}')
        given = {name: True if name in _TICKS else text for name, text in fields.items() if text.strip()}
        wanted = asked.action(verb, given, self._source.snapshot().config.secrets)
        incident, _ = await self._find(key, self._source.snapshot())
        became = await self._source.act(incident.key, wanted, session.name)
        if "application/json" in request.headers.get("accept", ""):
            return as_json({"said": f"{_DONE[verb]} {became.key} is {became.state} at {became.severity}."})
        return RedirectResponse(f"../../incidents/{quote(key)}", 303)

    @_answers_form
    async def report_by_form(self, request: Request, session: Session, fields: dict[str, str]) -> Response:
        """An incident that somebody reports at the console."""
        snapshot = self._source.snapshot()
        given = {name: text for name, text in fields.items() if text.strip()}
        opened = await self._source.open(asked.opening(given, snapshot.at, snapshot.config.secrets), session.name)
        if "application/json" in request.headers.get("accept", ""):
            return as_json({"said": f"{opened.key} is open at {opened.severity}."})
        return RedirectResponse(f"./incidents/{quote(opened.key)}", 303)

    async def told(self, key: str, snapshot: Snapshot) -> Told | None:
        """One incident with its whole history, for its page; None if there is none. StoreError if it cannot be read."""
        try:
            incident, record = await self._find(key, snapshot)
        except _Missing:
            return None
        trouble, at_hand = "", record is None
        if at_hand:
            try:
                record = await asyncio.to_thread(self._source.record, key)
            except StoreError as error:  # what is at hand is told all the same
                trouble = str(error)
        pages = pages_of(incident, snapshot) if at_hand or record is None else record.pages
        events = record.events if record else ()
        others = [item for item in snapshot.incidents if item.scenario == incident.scenario and item.key != key]
        said = await asyncio.to_thread(lambda: tuple(messages_of(incident, snapshot, pages, events, others)))
        return Told(incident, tuple(pages), tuple(events), said, trouble)

    async def _given(self, request: Request) -> tuple[dict[str, Any], str, frozenset[str]]:
        """The fields of the body, who asks, and the secrets that no text may hold."""
        given = asked.parse(await read_body(request))
        secrets = self._source.snapshot().config.secrets
        return given, asked.who(given, user_of(request), secrets), secrets

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


def _facts(snapshot: Snapshot, record: Record | None) -> Facts:
    pages = (*snapshot.ended_pages, *snapshot.pages)
    if record is not None:
        pages = (*(page for page in pages if page.incident != record.incident.key), *record.pages)
    return Facts(
        snapshot.runbook, snapshot.probes, snapshot.config, snapshot.at, pages, snapshot.monitor.store_error,
        recorded=snapshot.recorded,
    )  # fmt: skip


def _messages(incident: Incident, facts: Facts) -> MessagesJson:
    scenario, draft = facts.scenario(incident), customer(incident, facts)
    vendor = scenario.vendor if scenario else None
    report = for_vendor(incident, facts)
    return {
        "status_update": status_update(incident, facts),
        "customer": draft.text,
        "customer_reason": draft.reason,
        "vendor": vendor.name if vendor else None,
        "vendor_report": report.text,
        "vendor_reason": report.reason,
    }


def messages_of(
    incident: Incident,
    snapshot: Snapshot,
    pages: Sequence[Page],
    events: Sequence[Event],
    others: Sequence[Incident],
) -> Iterator[Message]:
    """What can be said of an incident now, ready to paste; of one that is over, the draft of its review first."""
    facts = facts_of(snapshot, pages)
    scenario = snapshot.runbook.scenarios.get(incident.scenario)
    if not incident.open:
        yield Message("review", "Draft of the post-incident review", review(incident, events, pages, others, facts))
    yield Message("update", "Status update", status_update(incident, facts))
    if incident.open and incident.severity in snapshot.runbook.severities:
        draft = customer(incident, facts)
        why_not = f"Nothing to send: {draft.reason}." if draft.text is None else ""
        yield Message("customer", "For customers: a draft, sent by nobody", draft.text, why_not)
    if incident.open and scenario is not None and scenario.vendor is not None:
        report = for_vendor(incident, facts)
        why_not = f"Nothing to send: {report.reason}." if report.text is None else ""
        title = f"For {scenario.vendor.name}: what the vendor needs to know"
        yield Message("vendor", title, report.text, why_not)


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
