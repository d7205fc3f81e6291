"""What is shown of a page's way to people: delivered, carried by the fallback, or held by a silence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jsonschema

from monitor.commands.terminal import show_status
from monitor.core.snapshot import Silenced
from monitor.metrics import render
from monitor.web.api import status_json
from monitor.web.openapi import openapi
from tests.web import portal

DELIVERED = replace(portal.snapshot().pages[0], delivered_at=portal.NOW - 229)
CARRIED = replace(DELIVERED, escalation_level="L2", delivered_at=None, fell_back_at=portal.NOW - 100)
ON_ITS_WAY = replace(DELIVERED, escalation_level="L3", delivered_at=None)
SNAPSHOT = portal.snapshot(
    pages=(DELIVERED, CARRIED, ON_ITS_WAY), silenced={DELIVERED.identity: Silenced("ann\x1b[31m", portal.NOW + 60)}
)


def pages() -> list[Any]:
    (incident,) = [item for item in status_json(SNAPSHOT)["incidents"] if item["pages"]]
    return list(incident["pages"])


def test_the_api_says_when_a_page_was_delivered_and_by_whom_it_is_silenced() -> None:
    delivered, carried, waiting = pages()
    assert (delivered["delivered_at"], delivered["fell_back_at"]) == ("2026-11-23T16:56:11.000Z", None)
    assert delivered["silenced_by"].startswith("ann")
    assert delivered["silenced_until"] == "2026-11-23T17:01:00.000Z"
    assert (carried["delivered_at"], carried["fell_back_at"]) == (None, "2026-11-23T16:58:20.000Z")
    assert {waiting[name] for name in ("delivered_at", "fell_back_at", "silenced_by", "silenced_until")} == {None}
    schemas = openapi("1")["components"]["schemas"]
    for one in pages():
        jsonschema.validate(one, schemas["PageJson"])


def test_status_names_every_page_that_does_not_arrive(capsys: Any) -> None:
    show_status(status_json(SNAPSHOT), as_json=False)
    said = capsys.readouterr().out
    assert "L1 at P2 not delivered: a silence of ann" in said
    assert "\x1b[31m" not in said
    assert "L2 at P2 not delivered: no Alertmanager has taken it; the fallback carried it 16:58:20 UTC" in said
    assert "L3 at P2 not delivered: no Alertmanager has taken it\n" in said
    show_status(status_json(portal.snapshot(pages=(DELIVERED,))), as_json=False)
    assert "not delivered" not in capsys.readouterr().out


def test_a_response_that_is_overdue_is_a_metric() -> None:
    view = replace(portal.snapshot().scenarios["redis"], response_overdue=True)
    text = render(portal.snapshot(scenarios={"redis": view}))[0].decode()
    assert 'portal_incident_response_overdue{scenario="redis"} 1.0' in text
