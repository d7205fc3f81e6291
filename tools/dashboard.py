"""Writes deploy/grafana/portal-monitor.json, Grafana's dashboard: python tools/dashboard.py

The panels stand in one table, so that a test can run every query of it against a real Prometheus. `rare` panels count
what seldom happens: their queries are right, and find nothing on a good day.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "deploy/grafana/portal-monitor.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
LEVELS = {"0": ("ok", "green"), "1": ("warn", "yellow"), "2": ("fail", "red")}
HEIGHT, COLUMNS = 8, 24


@dataclass(frozen=True)
class Panel:
    """One panel: its queries with the legend of each, and how it is shown."""

    title: str
    queries: Mapping[str, str]  # PromQL -> legend
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    help: str = ""
    limits: tuple[float, ...] = ()  # where yellow and red begin
    values: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # value -> (word, colour)
    rare: bool = False


ROWS: Mapping[str, tuple[Panel, ...]] = {
    "How it is": (
        Panel("Probes by level", {
            "count(portal_probe_level == 0)": "ok", "count(portal_probe_level == 1) or vector(0)": "warn",
            "count(portal_probe_level == 2) or vector(0)": "fail",
            "count(portal_probe_enabled == 1 unless on (job, instance, probe) portal_probe_level) or vector(0)": "unknown",
        }, kind="stat"),
        Panel("Open incidents", {
            f'sum(portal_incident_open{{severity="{severity}"}}) or vector(0)': severity for severity in ("P1", "P2", "P3", "P4")
        }, kind="stat", limits=(1,)),
        Panel("The monitor itself", {"min(portal_monitor_ready)": "ready", 'min(up{job="portal-monitor"})': "scraped"},
              kind="stat", values={"0": ("no", "red"), "1": ("yes", "green")}),
        Panel("Every probe over time", {"portal_probe_level": "{{probe}}"}, kind="state-timeline", width=24, values=LEVELS,
              help="A gap is unknown: nothing is known, which is not ok."),
    ),
    "Incidents": (
        Panel("Incidents open", {"max by (scenario, severity) (portal_incident_open == 1)": "{{scenario}} {{severity}}"},
              kind="state-timeline", width=16, values={"1": ("open", "red")}, rare=True),
        Panel("Escalation", {"portal_incident_escalation_level > 0": "{{scenario}}"}, rare=True,
              help="The highest of L1 to L3 that was paged."),
        Panel("Pages open", {"portal_page_open": "{{incident}} {{severity}} {{escalation_level}} {{vendor}}"}, kind="table",
              width=16, rare=True),
        Panel("Response overdue", {"sum(portal_incident_response_overdue)": "incidents"}, kind="stat", limits=(1,)),
        Panel("Incidents opened, last 30 days", {"sum by (scenario, severity) (increase(portal_incidents_total[30d]) > 0)":
              "{{scenario}} {{severity}}"}, kind="bargauge", width=24, rare=True),
    ),
    "Latency and errors": (
        Panel("Mean response, and its limit of 2 s", {'portal_log_window_latency_mean_seconds{upstream="", probe="latency"}': "mean"},
              unit="s", limits=(1.5, 2)),
        Panel("Response, quantiles", {
            f"histogram_quantile({q}, sum by (le) (rate(portal_log_request_duration_seconds_bucket[$__rate_interval])))": name
            for q, name in ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))}, unit="s"),
        Panel("Calls to vendors, 95 %", {'portal_log_window_latency_p95_seconds{upstream!="", probe="latency"}': "{{upstream}}"},
              unit="s"),
        Panel("Error ratio, and its limit of 1 %", {"portal_log_window_error_ratio": "{{probe}}"}, unit="percentunit",
              limits=(0.01, 0.5)),
        Panel("Requests", {"sum(rate(portal_log_requests_total[$__rate_interval]))": "requests",
                           "sum(rate(portal_log_server_errors_total[$__rate_interval]))": "answered with 5xx"}, unit="reqps"),
        Panel("Lines that a pattern was found in", {"sum by (pattern) (rate(portal_log_matches_total[$__rate_interval])) > 0":
              "{{pattern}}"}, unit="cps"),
        Panel("How long probes take", {"portal_probe_last_duration_seconds": "{{probe}}"}, unit="s", width=12),
        Panel("Runs that failed", {"sum by (probe, reason) (rate(portal_probe_failures_total[$__rate_interval])) > 0":
              "{{probe}}: {{reason}}"}, unit="cps", width=12, rare=True),
    ),
    "Redis": (
        Panel("Memory used", {"portal_redis_memory_used_ratio": "{{probe}}"}, unit="percentunit", limits=(0.8, 0.95)),
        Panel("Answer to PING", {"portal_redis_ping_seconds": "{{probe}}"}, unit="s", limits=(0.5, 1)),
        Panel("Clients used", {"portal_redis_clients_used_ratio": "{{probe}}"}, unit="percentunit", limits=(0.8, 0.95)),
        Panel("Evicted keys and refused connections", {"portal_redis_evicted_keys_per_second": "evicted",
              "portal_redis_rejected_connections_per_second": "refused"}, unit="cps"),
        Panel("Cache hits", {"portal_redis_hit_ratio": "{{probe}}"}, unit="percentunit"),
        Panel("Salesforce events: since the last one", {"time() - portal_replay_last_change_timestamp_seconds": "{{channel}}"},
              unit="s", limits=(7200,)),
    ),
    "PostgreSQL": (
        Panel("Connections", {"portal_postgres_connections": "used", "portal_postgres_connections_limit": "limit"}),
        Panel("Connections used", {"portal_postgres_connections_used_ratio": "all", "portal_postgres_pool_used_ratio": "the portal's pool"},
              unit="percentunit", limits=(0.8, 0.95)),
        Panel("Answer to a query", {"portal_postgres_query_seconds": "{{probe}}"}, unit="s"),
        Panel("Longest transaction and query", {"portal_postgres_longest_transaction_seconds": "transaction",
              "portal_postgres_longest_query_seconds": "query"}, unit="s"),
        Panel("Waiting for locks, idle in a transaction", {"portal_postgres_locks_waiting": "waiting for a lock",
              "portal_postgres_idle_in_transaction": "idle in a transaction"}),
        Panel("Deadlocks", {"portal_postgres_deadlocks_per_second": "deadlocks"}, unit="cps"),
    ),
    "Queues": (
        Panel("Waiting", {"portal_bullmq_backlog": "{{queue}}", "portal_bullmq_delayed": "{{queue}}, delayed"}),
        Panel("Oldest job that waits", {"portal_bullmq_oldest_waiting_seconds": "{{queue}}"}, unit="s", limits=(300, 1800)),
        Panel("Jobs", {"portal_bullmq_added_per_second": "{{queue}}, added", "portal_bullmq_active": "{{queue}}, active",
                       "portal_bullmq_failed_recently": "{{queue}}, failed lately"}),
    ),
    "The monitor itself": (
        Panel("Alerts sent", {"sum by (alertmanager) (rate(portal_monitor_notifications_total[$__rate_interval]))": "{{alertmanager}}",
              "sum by (alertmanager) (rate(portal_monitor_notifications_failed_total[$__rate_interval]))": "{{alertmanager}}, in vain"},
              unit="cps"),
        Panel("Oldest page that nobody took", {"portal_monitor_oldest_undelivered_seconds": "age"}, unit="s", limits=(30, 60)),
        Panel("How late it is", {"portal_monitor_event_loop_lag_seconds": "event loop", "portal_monitor_schedule_lag_seconds": "schedule"},
              unit="s", limits=(0.5, 1)),
        Panel("Memory", {'process_resident_memory_bytes{job="portal-monitor"}': "resident"}, unit="bytes"),
        Panel("Processor", {'rate(process_cpu_seconds_total{job="portal-monitor"}[$__rate_interval])': "cores"}),
        Panel("Logs: bytes to read", {"portal_log_read_lag_bytes": "{{log}}"}, unit="bytes", limits=(16777216,)),
        Panel("Logs: what was not read", {"rate(portal_log_lost_bytes_total[$__rate_interval])": "lost bytes",
              "rate(portal_log_unparsed_lines_total[$__rate_interval])": "lines nobody understood"}, unit="cps", width=12),
        Panel("Configuration and store", {"portal_monitor_config_last_reload_successful": "configuration is good",
              "portal_monitor_store_writable": "store can be written"}, kind="stat", width=12,
              values={"0": ("no", "red"), "1": ("yes", "green")}),
    ),
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """What Grafana imports."""
    panels: list[dict[str, Any]] = []
    number, line = count(1), 0
    for title, row in ROWS.items():
        panels.append({"id": next(number), "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": line, "w": COLUMNS, "h": 1}})  # fmt: skip
        line, column = line + 1, 0
        for panel in row:
            if column + panel.width > COLUMNS:
                line, column = line + HEIGHT, 0
            panels.append(_panel(panel, next(number), {"x": column, "y": line, "w": panel.width, "h": HEIGHT}))
            column += panel.width
        line += HEIGHT
    return {
        "uid": "portal-monitor", "title": "Customer Portal", "tags": ["portal-monitor"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "timezone": "utc",
        "templating": {"list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]},
        "annotations": {"list": []}, "links": [], "panels": panels,
    }  # fmt: skip


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    instant = panel.kind in {"stat", "table", "bargauge"}
    targets = [
        {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": query, "legendFormat": legend, "instant": instant,
         "range": not instant, **({"format": "table"} if panel.kind == "table" else {})}
        for index, (query, legend) in enumerate(panel.queries.items())
    ]  # fmt: skip
    colours = ("green", "yellow", "red") if len(panel.limits) > 1 else ("green", "red")
    steps = [{"color": colour, "value": value} for colour, value in zip(colours, (None, *panel.limits), strict=False)]
    words = {value: {"text": text, "color": colour} for value, (text, colour) in panel.values.items()}
    defaults: dict[str, Any] = {
        "unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [{"type": "value", "options": words}] if words else [],
    }  # fmt: skip
    if panel.kind == "timeseries" and panel.limits:
        defaults["custom"] = {"thresholdsStyle": {"mode": "dashed"}}
    return {"id": number, "type": panel.kind, "title": panel.title, "description": panel.help, "datasource": DATASOURCE,
            "gridPos": place, "targets": targets, "fieldConfig": {"defaults": defaults, "overrides": []}, "options": {}}  # fmt: skip


if __name__ == "__main__":
    TARGET.write_text(json.dumps(dashboard(), indent=1) + "\n")
