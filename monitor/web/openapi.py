"""The OpenAPI 3.1 document of the API: its schemas are the types that the answers are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from monitor.core.action import VERBS, Open
from monitor.core.request import INTERNAL, LONGEST_NAME, LONGEST_TEXT, REPORTERS
from monitor.core.runbook import Severity
from monitor.web.api import ErrorJson, ProbeJson, ReloadJson, StatusJson
from monitor.web.chronicle import HistoryJson, RunJson
from monitor.web.incidents import (
    ExplainJson,
    IncidentDetailJson,
    IncidentJson,
    MessagesJson,
    ReportJson,
    WindowJson,
)
from monitor.web.past import RANGE_PATTERN

_SHAPES = (
    ProbeJson,
    HistoryJson,
    RunJson,
    IncidentJson,
    IncidentDetailJson,
    MessagesJson,
    ExplainJson,
    WindowJson,
    ReportJson,
    StatusJson,
    ReloadJson,
    ErrorJson,
)
_SAID = {
    "200": "As asked.",
    "201": "It is there now.",
    "400": "A field is wrong; the text is one line.",
    "401": "No credentials.",
    "403": "Refused.",
    "404": "No such thing.",
    "409": "It does not allow that; the text is the reason.",
    "500": "It failed.",
    "503": "The store cannot be read.",
}
_TEXT = {"type": "string"}
_SAID_TEXT = {"type": "string", "pattern": r"\S", "maxLength": LONGEST_TEXT}  # something is written there
_FREE_TEXT = {"type": "string", "maxLength": LONGEST_TEXT}
_AGO = "^[1-9][0-9]{0,2}[mhd]$"  # not all that is understood, but what is understood everywhere
_MOMENT = {"anyOf": [{"type": "string", "pattern": _AGO}, {"type": "string", "format": "date-time"}]}
_FIELDS: Mapping[str, dict[str, Any]] = {
    "bool": {"type": "boolean"},
    "int | None": {"type": ["integer", "null"]},
    "float | None": {"anyOf": [*_MOMENT["anyOf"], {"type": "null"}], "description": "RFC 3339, or how long ago: 30m"},
    "Severity": {"enum": [str(severity) for severity in Severity]},
    "Severity | None": {"enum": [*(str(severity) for severity in Severity), None]},
    "Origin": {"enum": list(REPORTERS)},
}
_RANGE = {
    "name": "range",
    "in": "query",
    "description": "How far back: 90m, 12h, 7d; 31 days at the most.",
    "schema": {"type": "string", "pattern": RANGE_PATTERN, "default": "24h"},
}
_BY = {
    "type": "string",
    "pattern": "[A-Za-z]",
    "not": {"pattern": "^\\s*[Mm][Oo][Nn][Ii][Tt][Oo][Rr]\\s*$"},
    "maxLength": LONGEST_NAME,
    "description": "Who does it. The user who logged in, if any, is named beside it.",
}


def openapi(version: str) -> dict[str, Any]:
    """The document."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import JsonSchemaMode

    mode: JsonSchemaMode = "serialization"
    _, schema = TypeAdapter.json_schemas(
        [(shape.__name__, mode, TypeAdapter(shape)) for shape in _SHAPES], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "portal-monitor", "version": version},
        "paths": {**_reading(), **_incidents(), **_maintenance()},
        "components": {
            "schemas": schema["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "user": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _reading() -> dict[str, Any]:
    reload = {"200": _ref("ReloadJson"), "500": _ref("ReloadJson")}
    return {
        "/api/v1/status": {"get": _operation("Everything at one moment", {"200": _ref("StatusJson")})},
        "/api/v1/probes": {"get": _operation("Every probe", {"200": _list("ProbeJson")})},
        "/api/v1/probes/{name}": {
            "parameters": [_path("name")],
            "get": _operation("One probe", {"200": _ref("ProbeJson"), "404": _ref("ErrorJson")}),
        },
        "/api/v1/probes/{name}/history": {
            "parameters": [_path("name"), _RANGE],
            "get": _operation(
                "How a probe was over time, in minutes or in quarters of an hour, and its limits beside it",
                {
                    "200": _ref("HistoryJson"),
                    "400": _ref("ErrorJson"),
                    "404": _ref("ErrorJson"),
                    "503": _ref("ErrorJson"),
                },
            ),
        },
        "/api/v1/probes/{name}/runs": {
            "parameters": [_path("name")],
            "get": _operation("The latest runs of a probe", {"200": _list("RunJson"), "404": _ref("ErrorJson")}),
        },
        "/api/v1/explain/{subject}": {
            "parameters": [_path("subject")],
            "get": _operation(
                "Why a scenario, or an incident by its key, is as bad as it is; what is not known; what comes next",
                {"200": _ref("ExplainJson"), "404": _ref("ErrorJson")},
            ),
        },
        "/-/reload": {"post": _change("Read the configuration again", reload)},
    }


def _incidents() -> dict[str, Any]:
    since = {
        "name": "since",
        "in": "query",
        "schema": _MOMENT,
        "description": "Also those resolved since then, however long ago: RFC 3339, or 30d",
    }
    refused = {"400": _ref("ErrorJson"), "404": _ref("ErrorJson"), "409": _ref("ErrorJson")}
    listed = {"200": _list("IncidentJson"), "400": _ref("ErrorJson"), "503": _ref("ErrorJson")}
    one = {"200": _ref("IncidentDetailJson"), "404": _ref("ErrorJson")}
    reported = {"201": _ref("IncidentDetailJson"), "400": _ref("ErrorJson"), "409": _ref("ErrorJson")}
    report = {"200": _ref("ReportJson"), "400": _ref("ErrorJson"), "503": _ref("ErrorJson")}
    verbs = {
        f"/api/v1/incidents/{{key}}/{verb}": {
            "parameters": [_path("key")],
            "post": _change(_first_sentence(kind), {"200": _ref("IncidentDetailJson"), **refused}, _body(kind)),
        }
        for verb, kind in VERBS.items()
    }
    draft = _plain("The draft of its post-incident review, in Markdown", "text/markdown")
    verbs["/api/v1/incidents/{key}/review"]["get"] = draft  # beside the verb at the same address
    return {
        "/api/v1/incidents": {
            "get": {**_operation("Open incidents, and those resolved lately", listed), "parameters": [since]},
            "post": _change("Report an incident", reported, _body(Open)),
        },
        "/api/v1/incidents/{key}": {
            "parameters": [_path("key")],
            "get": _operation("One incident with its whole history, however old", one),
        },
        "/api/v1/incidents/{key}/messages": {
            "parameters": [_path("key")],
            "get": _operation("What can be said of it now", {"200": _ref("MessagesJson"), "404": _ref("ErrorJson")}),
        },
        "/api/v1/report.csv": {
            "get": {
                **_plain("The rows of the month for a spreadsheet", "text/csv", refusals=("400", "503")),
                "parameters": [{**since, "description": "Default 30d"}],
            }
        },
        "/api/v1/report": {
            "get": {
                **_operation("The month in numbers: every incident, and the sums by severity", report),
                "parameters": [{**since, "description": "Default 30d"}],
            }
        },
        **verbs,
    }


def _maintenance() -> dict[str, Any]:
    refused = {"400": _ref("ErrorJson"), "409": _ref("ErrorJson")}
    wanted = {
        "type": "object",
        "properties": {
            "of": {
                "type": "array",
                "items": _SAID_TEXT,
                "minItems": 1,
                "description": "Probes, and scenarios as scenario:redis",
            },
            "for": {"type": "string", "pattern": _AGO, "examples": ["2h"]},
            "reason": _SAID_TEXT,
            "by": _BY,
        },
        "required": ["of", "for", "reason", "by"],
        "additionalProperties": False,
    }
    return {
        "/api/v1/maintenance": {
            "get": _operation("Maintenance that is on, and what probes.yaml plans next", {"200": _list("WindowJson")}),
            "post": _change("Begin maintenance", {"201": _ref("WindowJson"), **refused}, wanted),
        },
        "/api/v1/maintenance/{key}": {
            "parameters": [_path("key")],
            "delete": _change("End maintenance before its time", {"200": _ref("WindowJson"), **refused}),
        },
    }


def _body(kind: type[Any]) -> dict[str, Any]:
    """The schema of an action's fields."""
    known = [each for each in fields(kind) if each.name not in INTERNAL]
    required = [each.name for each in known if each.default is MISSING]
    texts = {each.name: _SAID_TEXT if each.name in required else _FREE_TEXT for each in known}
    return {
        "type": "object",
        "properties": {**{each.name: _FIELDS.get(str(each.type), texts[each.name]) for each in known}, "by": _BY},
        "required": [*required, "by"],
        "additionalProperties": False,
    }


def _first_sentence(kind: type[Any]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _ref(shape: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{shape}"}


def _list(shape: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(shape)}


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _operation(summary: str, answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {
            status: {"description": _SAID[status], "content": {"application/json": {"schema": dict(schema)}}}
            for status, schema in answers.items()
        },
    }


def _plain(summary: str, kind: str, refusals: Iterable[str] = ("404",)) -> dict[str, Any]:
    """An operation whose answer is a text."""
    found = _operation(summary, dict.fromkeys(refusals, _ref("ErrorJson")))
    found["responses"]["200"] = {"description": _SAID["200"], "content": {kind: {"schema": _TEXT}}}
    return found


def _change(
    summary: str, answers: Mapping[str, Mapping[str, Any]], body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """An operation for those who may change something."""
    found = _operation(summary, {**answers, "401": _ref("ErrorJson"), "403": _ref("ErrorJson")})
    found["security"] = [{"token": []}, {"user": []}]
    if body is not None:
        required = bool(body.get("required"))
        found["requestBody"] = {"required": required, "content": {"application/json": {"schema": dict(body)}}}
    return found
