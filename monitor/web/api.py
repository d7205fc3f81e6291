"""The JSON of the API and of `--json`: pure functions from what is known to plain data.

Times are RFC 3339 in UTC, numbers in base units. What is no finite number is left out: JSON has no NaN, and a value
that is not there is not mistaken for a measured one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from typing_extensions import TypedDict

from monitor.core.condition import Condition
from monitor.core.probe import Value
from monitor.core.snapshot import MonitorView, ProbeView, Snapshot
from monitor.core.words import advice, clean, iso
from monitor.web.incidents import IncidentJson, when
from monitor.web.incidents import incidents_json as these_incidents_json

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
        "at": when(result.at if result else None),
        "duration_seconds": result.duration_seconds if result else None,
        "measurements": measurements_json(result.measurements if result else {}),
        "since": when(view.since),
        "last_success_at": when(view.last_success_at),
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
    return these_incidents_json(snapshot.incidents, snapshot)


def status_json(snapshot: Snapshot) -> StatusJson:
    """Everything at one moment."""
    return {
        "at": iso(snapshot.at),
        "probes": probes_json(snapshot),
        "incidents": incidents_json(snapshot),
        "monitor": monitor_json(snapshot.monitor),
    }


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


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
