"""The form behind the signed link of a page, for whoever is on call with a phone in hand: to see it acts on nothing.

The signature in the link is the credential: no login, no token, no script. It is good for one opening of one incident.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from monitor.alerting import links
from monitor.core import request as asked
from monitor.core.action import Acknowledge, Refused
from monitor.core.explanation import coming, deadlines, pages_of
from monitor.core.incident import Incident
from monitor.core.request import BadRequest
from monitor.core.snapshot import Snapshot
from monitor.core.words import clean, local, utc
from monitor.store import StoreError
from monitor.web import Source
from monitor.web.console import Console, Form
from monitor.web.desk import read_body
from monitor.web.words import title

_LONGEST_NOTE = 500


class Acknowledging:
    """The two endpoints of the link."""

    def __init__(self, source: Source, console: Console) -> None:
        self._source = source
        self._console = console

    async def look(self, request: Request) -> Response:
        """Show the form. Chats and mail filters open every link, so that nothing happens here."""
        opening = self._opening(request)
        if opening is None:
            return await self._page(_FORGED, 403)
        form = await self._form(request.path_params["key"], opening)
        return await self._page(form)

    async def act(self, request: Request) -> Response:
        """Acknowledge, and say what became of it."""
        key, opening = request.path_params["key"], self._opening(request)
        if opening is None:
            return await self._page(_FORGED, 403)
        form = await self._form(key, opening)
        if not form.asks:
            return await self._page(form, 409)
        secrets = self._source.snapshot().config.secrets
        try:
            given = _fields(await read_body(request))
            form = replace(form, by=given.get("by", ""), text=given.get("text", "")[:_LONGEST_NOTE])
            by, text = asked.who({"by": form.by}, secrets=secrets), asked.said("note", form.text, secrets)
        except BadRequest as error:
            said = "Please write your name." if not form.by.strip() else str(error)
            return await self._page(replace(form, wrong=said), 400)
        try:
            await self._source.act(key, Acknowledge(text, opening=opening), by)
        except Refused:  # somebody was faster, or it was resolved meanwhile: the form says which
            return await self._page(await self._form(key, opening), 409)
        form, said = await self._form(key, opening), f"Thank you, {by}. {self._next(key)}".strip()
        return await self._page(replace(form, heading="Acknowledged", said=said, asks=False))

    def _opening(self, request: Request) -> int | None:
        return links.check(self._source.link_secret, request.path_params["key"], request.query_params.get("token", ""))

    async def _form(self, key: str, opening: int) -> Form:
        """What there is to say of this opening of an incident now."""
        snapshot = self._source.snapshot()
        incident = next((item for item in snapshot.incidents if item.key == key), None)
        if incident is None:
            try:
                record = await asyncio.to_thread(self._source.record, key)
            except StoreError:
                record = None
            if record is None:
                return Form("This incident is long over", f"{key} is not known any more. There is nothing to do.")
            incident = record.incident
        form = _shown(incident, snapshot)
        if not incident.open:
            over = _when(incident.resolved_at, snapshot)
            return replace(form, heading="Resolved already", said=f"It was resolved {over}. There is nothing to do.")
        if opening != incident.opening:
            again = "It was resolved and opened again since this page was sent. The newest page has the right link."
            return replace(form, heading="An older page", said=again)
        if incident.acknowledged and incident.ack is not None:
            by = clean(incident.ack.by)
            return replace(form, heading="Acknowledged already", said=f"{by} did, {_when(incident.ack.at, snapshot)}.")
        return replace(form, heading="Acknowledge this incident?", asks=True)

    def _next(self, key: str) -> str:
        """What comes next, so that nobody takes an acknowledgement for the end."""
        snapshot = self._source.snapshot()
        incident = next((item for item in snapshot.incidents if item.key == key), None)
        if incident is None:
            return ""
        found = coming(incident, deadlines(incident, pages_of(incident, snapshot), snapshot))
        next_ = [moment for moment in found if moment.at > snapshot.at]
        return f"Next: {next_[0].what}, {_when(next_[0].at, snapshot)}." if next_ else ""

    async def _page(self, form: Form, status: int = 200) -> Response:
        html = await asyncio.to_thread(self._console.acknowledge, form)
        return HTMLResponse(html.encode("utf-8", "replace"), status)


_FORGED = Form(
    "This link does not work",
    "It is not one of this monitor's, or a part of it was lost on the way. Take the link of the newest page, "
    "or: portal-monitor incident ack",
)


def _shown(incident: Incident, snapshot: Snapshot) -> Form:
    facts = [
        ("Since", _when(incident.started_at, snapshot)),
        ("State", incident.state.value),
        ("Incident", incident.key),
    ]
    severity, name = str(incident.severity), clean(title(incident, snapshot), snapshot.config.secrets)
    return Form("", severity=severity, title=name, facts=tuple(facts), console=incident.key)


def _when(at: float | None, snapshot: Snapshot) -> str:
    if at is None:
        return ""
    there = local(at, snapshot.config.calendar.zone)
    return utc(at) + (f" ({there})" if there else "")


def _fields(body: bytes) -> dict[str, Any]:
    """The fields of a form; of one that is given twice, the first."""
    try:
        found = parse_qs(body.decode(), max_num_fields=20, errors="replace")
    except (ValueError, UnicodeDecodeError):
        raise BadRequest("the form could not be read; please send it again") from None
    return {name: values[0] for name, values in found.items()}
