"""The JSON of the API and of `--json`: pure functions from what is known to plain data.

Times are RFC 3339 in UTC, numbers in base units. What is no finite number is left out: JSON has no NaN, and a value
that is not there is not mistaken for a measured one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from typing_extensions import TypedDict

from monitor.core.condition import Condition
from monitor.core.incident import Incident, Page
from monitor.core.probe import Value
from monitor.core.runbook import Scenario
from monitor.core.snapshot import MonitorView, ProbeView, Snapshot
from monitor.core.words import advice, clean, iso
from monitor.web.words import impact, title

Number = float | dict[str, float]


class ConditionJson(TypedDict):
    """A limit of a probe, and whether it was exceeded in the last run (null: not measured)."""

    text: str
    level: str
    measurement: str
    part: str | None
    op: str
    limit: float
    holds: bool | None


class ProbeJson(TypedDict):
    """One probe: its level after confirmation, and its last run.

    `reason` is why the level is not ok; at ok, why the last run did not succeed. `outcome`, `at` and
    `duration_seconds` are null until it has run. The whole of a split measurement has the key "".
    """

    name: str
    type: str
    enabled: bool
    outcome: str | None
    level: str
    reason: str
    advice: str
    at: str | None
    duration_seconds: float | None
    measurements: dict[str, Number]
    since: str | None
    last_success_at: str | None
    unconfirmed: bool
    whys: dict[str, str]
    run_reason: str
    detail: str
    details: dict[str, str]
    checks: dict[str, bool]
    conditions: list[ConditionJson]
    needs: list[str]
    interval_seconds: float
    waited_seconds: float | None


class PageJson(TypedDict):
    """One page of an incident: who was told when."""

    severity: str
    escalation_level: str
    vendor: str
    attempt: int
    due_at: str
    fired_at: str
    ended_at: str | None


class IncidentJson(TypedDict):
    """One incident, open or resolved lately. `started_at` is the first failing sample, `opened_at` this opening."""

    key: str
    scenario: str
    title: str
    impact: str
    state: str
    severity: str
    peak: str
    started_at: str
    opened_at: str
    opening: int
    parent: str | None
    why: list[str]
    mitigated_at: str | None
    resolved_at: str | None
    relapses: int
    escalation_level: int
    pages: list[PageJson]


class MonitorJson(TypedDict):
    """The daemon about itself."""

    version: str
    ready: bool
    started_at: str
    reloaded_at: str
    reload_ok: bool
    loop_lag_seconds: float
    schedule_lag_seconds: float
    store_error: str


class StatusJson(TypedDict):
    """Everything at one moment."""

    at: str
    probes: list[ProbeJson]
    incidents: list[IncidentJson]
    monitor: MonitorJson


class ReloadJson(TypedDict):
    """What became of a reload. `error` holds every problem, one a line; nothing was changed then."""

    ok: bool
    added: list[str]
    changed: list[str]
    removed: list[str]
    error: str


class ErrorJson(TypedDict):
    """Why a request was refused."""

    error: str


def probe_json(view: ProbeView, secrets: Iterable[str] = ()) -> ProbeJson:
    """One probe as the API and `probe --json` show it; `secrets` are scrubbed from what the target said."""
    result, config = view.result, view.config
    return {
        "name": config.name,
        "type": config.type.name,
        "enabled": config.enabled,
        "outcome": str(result.outcome) if result else None,
        "level": str(view.level),
        "reason": view.reason or (result.reason if result else ""),
        "advice": advice(view),
        "at": _when(result.at if result else None),
        "duration_seconds": result.duration_seconds if result else None,
        "measurements": measurements_json(result.measurements if result else {}),
        "since": _when(view.since),
        "last_success_at": _when(view.last_success_at),
        "unconfirmed": view.unconfirmed,
        "whys": {why: str(level) for why, level in view.whys.items()},
        "run_reason": result.reason if result else "",
        "detail": clean(result.detail, secrets) if result else "",
        "details": {key: clean(text, secrets) for key, text in result.details.items()} if result else {},
        "checks": dict(result.checks) if result else {},
        "conditions": [
            _condition(condition, level, view)
            for level, conditions in (("warn", config.warn), ("fail", config.fail))
            for condition in conditions
        ],
        "needs": list(config.needs),
        "interval_seconds": config.interval,
        "waited_seconds": result.waited_seconds if result else None,
    }


def measurements_json(measurements: Mapping[str, Value]) -> dict[str, Number]:
    """Measurements without what is no finite number."""
    found: dict[str, Number] = {}
    for name, value in measurements.items():
        if isinstance(value, Mapping):
            found[name] = {part: number for part, number in value.items() if _finite(number)}
        elif _finite(value):
            found[name] = value
    return found


def incident_json(
    incident: Incident, scenario: Scenario | None, pages: Sequence[Page] = (), escalation_level: int = 0
) -> IncidentJson:
    """One incident; `scenario` is None where the runbook no longer has it, `pages` are those of any incident."""
    return {
        "key": incident.key,
        "scenario": incident.scenario,
        "title": scenario.title if scenario else incident.scenario,
        "impact": scenario.impact if scenario else "",
        "state": str(incident.state),
        "severity": str(incident.severity),
        "peak": str(incident.peak),
        "started_at": iso(incident.started_at),
        "opened_at": iso(incident.opened_at),
        "opening": incident.opening,
        "parent": incident.parent,
        "why": list(incident.why),
        "mitigated_at": _when(incident.mitigated_at),
        "resolved_at": _when(incident.resolved_at),
        "relapses": incident.relapses,
        "escalation_level": escalation_level,
        "pages": [_page(page) for page in pages if page.incident == incident.key],
    }


def monitor_json(monitor: MonitorView) -> MonitorJson:
    """The daemon about itself."""
    return {
        "version": monitor.version,
        "ready": monitor.ticking,
        "started_at": iso(monitor.started_at),
        "reloaded_at": iso(monitor.reloaded_at),
        "reload_ok": monitor.reload_ok,
        "loop_lag_seconds": monitor.loop_lag_seconds,
        "schedule_lag_seconds": monitor.schedule_lag_seconds,
        "store_error": monitor.store_error,
    }


def probes_json(snapshot: Snapshot) -> list[ProbeJson]:
    """Every probe, in the order of the configuration."""
    return [probe_json(view, snapshot.config.secrets) for view in snapshot.probes.values()]


def incidents_json(snapshot: Snapshot) -> list[IncidentJson]:
    """Open incidents first, then those resolved lately; texts with their live values."""
    return [live_incident_json(incident, snapshot) for incident in snapshot.incidents]


def status_json(snapshot: Snapshot) -> StatusJson:
    """Everything at one moment."""
    return {
        "at": iso(snapshot.at),
        "probes": probes_json(snapshot),
        "incidents": incidents_json(snapshot),
        "monitor": monitor_json(snapshot.monitor),
    }


def live_incident_json(incident: Incident, snapshot: Snapshot) -> IncidentJson:
    """One incident of the snapshot, its texts with their live values."""
    view = snapshot.scenarios.get(incident.scenario)
    level = view.escalation_level if view and view.incident and view.incident.key == incident.key else 0
    found = incident_json(incident, snapshot.runbook.scenarios.get(incident.scenario), snapshot.pages, level)
    return {**found, "title": title(incident, snapshot), "impact": impact(incident, snapshot)}


def _condition(condition: Condition, level: str, view: ProbeView) -> ConditionJson:
    return {
        "text": condition.text,
        "level": level,
        "measurement": condition.name,
        "part": condition.part,
        "op": condition.op,
        "limit": condition.limit,
        "holds": condition.holds(view.result.measurements) if view.result else None,
    }


def _page(page: Page) -> PageJson:
    return {
        "severity": str(page.severity),
        "escalation_level": page.escalation_level,
        "vendor": page.vendor,
        "attempt": page.attempt,
        "due_at": iso(page.due_at),
        "fired_at": iso(page.fired_at),
        "ended_at": _when(page.ended_at),
    }


def _when(at: float | None) -> str | None:
    return None if at is None else iso(at)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def openapi(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the API; its schemas are the types above."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import JsonSchemaMode

    mode: JsonSchemaMode = "serialization"
    shapes = (ProbeJson, IncidentJson, StatusJson, ReloadJson, ErrorJson)
    _, schema = TypeAdapter.json_schemas(
        [(shape.__name__, mode, TypeAdapter(shape)) for shape in shapes], ref_template="#/components/schemas/{model}"
    )
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    probes = {"type": "array", "items": _ref("ProbeJson")}
    incidents = {"type": "array", "items": _ref("IncidentJson")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "portal-monitor", "version": version},
        "paths": {
            "/api/v1/status": {"get": _operation("Everything at one moment", {"200": _ref("StatusJson")})},
            "/api/v1/probes": {"get": _operation("Every probe", {"200": probes})},
            "/api/v1/probes/{name}": {
                "parameters": [name],
                "get": _operation("One probe", {"200": _ref("ProbeJson"), "404": _ref("ErrorJson")}),
            },
            "/api/v1/incidents": {"get": _operation("Open incidents, and those resolved lately", {"200": incidents})},
            "/api/v1/incidents/{key}": {
                "parameters": [{**name, "name": "key"}],
                "get": _operation("One incident", {"200": _ref("IncidentJson"), "404": _ref("ErrorJson")}),
            },
            "/-/reload": {
                "post": _operation(
                    "Read the configuration again",
                    {
                        "200": _ref("ReloadJson"),
                        "500": _ref("ReloadJson"),
                        "401": _ref("ErrorJson"),
                        "403": _ref("ErrorJson"),
                    },
                )
                | {"security": [{"token": []}, {"user": []}]}
            },
        },
        "components": {
            "schemas": schema["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "user": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _ref(shape: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{shape}"}


def _operation(summary: str, answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    said = {
        "200": "As asked.",
        "401": "No credentials.",
        "403": "Refused.",
        "404": "No such thing.",
        "500": "It failed.",
    }
    return {
        "summary": summary,
        "responses": {
            status: {"description": said[status], "content": {"application/json": {"schema": dict(schema)}}}
            for status, schema in answers.items()
        },
    }
