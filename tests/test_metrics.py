"""The exposition: names, absences, formats, and that Prometheus' own tool finds no fault with it."""

from __future__ import annotations

import gzip
import math
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from pydantic import SecretStr
from structlog.testing import capture_logs

from monitor.alerting.alertmanager import Notifier
from monitor.alerting.fallback import Fallback
from monitor.alerting.heartbeat import Heartbeat
from monitor.clock import SystemClock
from monitor.core import config as keys
from monitor.core.config import AlertmanagerConfig, Config
from monitor.core.incident import Page
from monitor.core.probe import Family, Measure, Outcome
from monitor.core.snapshot import ProbeView, Snapshot, Tally
from monitor.metrics import OPENMETRICS, TEXT, metric_name, negotiate, render
from monitor.probes import discover
from tests.servers import tool
from tests.web import portal

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def samples(snapshot: Snapshot) -> dict[str, float]:
    """`name{label="value",...}` (labels sorted) and its value, of the text format."""
    found = {}
    for family in parse_text(render(snapshot)[0].decode()):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.fixture(scope="module")
def shown() -> dict[str, float]:
    return samples(portal.snapshot())


@pytest.mark.parametrize(
    "series, value",
    [
        ('portal_probe_info{probe="redis",type="redis"}', 1),
        ('portal_probe_info{probe="old",type="tcp"}', 1),
        ('portal_probe_enabled{probe="old"}', 0),
        ('portal_probe_success{probe="redis"}', 0),
        ('portal_probe_success{probe="whmcs"}', 1),
        ('portal_probe_level{probe="redis"}', 2),
        ('portal_probe_level{probe="redis-cache"}', 1),
        ('portal_probe_level{probe="egress"}', 0),
        ('portal_probe_check{check="cache",probe="bff"}', 0),
        ('portal_probe_duration_seconds_bucket{le="0.025",probe="redis"}', 5),
        ('portal_probe_duration_seconds_bucket{le="+Inf",probe="redis"}', 6),
        ('portal_probe_duration_seconds_count{probe="redis"}', 6),
        ('portal_probe_duration_seconds_sum{probe="redis"}', 12.5),
        ('portal_probe_last_run_timestamp_seconds{probe="redis"}', portal.NOW - 3),
        ('portal_probe_last_success_timestamp_seconds{probe="redis"}', portal.NOW - 264),
        ('portal_probe_interval_seconds{probe="redis"}', 15),
        ('portal_probe_failures_total{probe="redis",reason="unreachable"}', 4),
        ('portal_probe_failures_total{probe="redis",reason="timeout"}', 0),
        ('portal_probe_skipped_total{probe="redis"}', 0),
        ('portal_probe_errors_total{probe="redis"}', 1),
        ('portal_redis_memory_used_ratio{probe="redis-cache"}', 0.879),
        ('portal_http_phase_seconds{phase="tls",probe="whmcs"}', 0.11),
        ('portal_log_window_latency_mean_seconds{probe="latency"}', 0.8),
        ('portal_log_window_latency_mean_seconds{probe="latency",upstream="whmcs"}', 2.1),
        ('portal_log_window_last_match_timestamp_seconds{pattern="events",probe="latency"}', portal.NOW - 43),
        ('portal_log_window_silent_since_timestamp_seconds{probe="errors"}', portal.NOW - 5),
        ('portal_log_lines_total{log="/var/log/bff/combined.log"}', 1200),
        ('portal_log_lines_total{log="/var/log/bff/error.log"}', 12),
        ('portal_log_request_duration_seconds_bucket{le="1.0",log="/x"}', 1),
        ('portal_log_request_duration_seconds_sum{log="/x"}', 3.5),
        ('portal_incident_open{scenario="redis",severity="P2"}', 1),
        ('portal_incident_open{scenario="redis",severity="P3"}', 0),
        ('portal_incident_open{scenario="whmcs",severity="P2"}', 0),
        ('portal_incident_escalation_level{scenario="redis"}', 1),
        ('portal_incident_escalation_level{scenario="whmcs"}', 0),
        ('portal_incidents_total{scenario="redis",severity="P2"}', 3),
        ('portal_incidents_total{scenario="redis",severity="P3"}', 0),
        ('portal_incident_response_overdue{scenario="redis"}', 0),
        ("portal_monitor_config_last_reload_successful{}", 1),
        ("portal_monitor_event_loop_lag_seconds{}", 0.002),
        ("portal_monitor_schedule_lag_seconds{}", 0),
        ('portal_monitor_metrics_failed{part="probes"}', 0),
        (
            "portal_page_open{" + ",".join(f'{key}="{value}"' for key, value in sorted(portal.LABELS.items())) + "}",
            1,
        ),
    ],
)
def test_the_contract_is_exported(shown: dict[str, float], series: str, value: float) -> None:
    family = series.partition("{")[0]
    assert shown.get(series) == pytest.approx(value), [name for name in shown if name.startswith(family)]


def test_the_version_is_told(shown: dict[str, float]) -> None:
    assert any(name.startswith("portal_monitor_build_info{") and 'version="0.1.0"' in name for name in shown)


@pytest.mark.parametrize(
    "absent",
    [
        'portal_probe_success{probe="sf-replay"}',  # an error of ours is no verdict
        'portal_probe_level{probe="sf-replay"}',  # unknown
        'portal_redis_memory_used_ratio{probe="redis"}',  # the run failed and measured nothing
        'portal_redis_hit_ratio{probe="redis-cache"}',  # not a number
        'portal_probe_success{probe="old"}',  # disabled
        'portal_probe_interval_seconds{probe="old"}',
    ],
)
def test_what_is_not_known_is_absent(shown: dict[str, float], absent: str) -> None:
    assert absent not in shown


def test_an_age_is_the_moment_it_counts_from() -> None:
    config = portal.CONFIGS["sf-replay"]
    result = portal.ran(config, measurements={"age_seconds": {"/event/Order__e": 600.0}})
    found = samples(portal.snapshot(probes={"sf-replay": portal.view(config, result=result)}))
    assert (
        found['portal_replay_last_change_timestamp_seconds{channel="/event/Order__e",probe="sf-replay"}']
        == portal.NOW - 603
    )


def test_a_failure_keeps_what_it_measured_all_the_same() -> None:
    config = portal.CONFIGS["redis"]
    result = portal.ran(config, Outcome.FAILURE, reason="oom", measurements={"memory_used_ratio": 1.0})
    found = samples(portal.snapshot(probes={"redis": portal.view(config, result=result)}))
    assert found['portal_probe_success{probe="redis"}'] == 0
    assert found['portal_redis_memory_used_ratio{probe="redis"}'] == 1


def test_a_probe_that_stopped_running_has_no_verdict() -> None:
    config = portal.CONFIGS["egress"]
    result = portal.ran(config, at=portal.NOW - 51, measurements={"connect_seconds": 0.1})
    found = samples(portal.snapshot(probes={"egress": portal.view(config, result=result)}))
    assert 'portal_probe_success{probe="egress"}' not in found
    assert 'portal_tcp_connect_seconds{probe="egress"}' not in found
    assert found['portal_probe_last_run_timestamp_seconds{probe="egress"}'] == portal.NOW - 51


def test_a_probe_that_never_ran_is_there_without_a_verdict() -> None:
    found = samples(portal.snapshot(probes={"egress": ProbeView(config=portal.CONFIGS["egress"])}))
    assert found['portal_probe_info{probe="egress",type="tcp"}'] == 1
    assert found['portal_probe_failures_total{probe="egress",reason="unreachable"}'] == 0
    assert not [name for name in found if name.startswith(("portal_probe_success", "portal_probe_last"))]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, True, None, "0.5"])
def test_what_is_no_number_is_not_exported(number: object) -> None:
    config = portal.CONFIGS["egress"]
    result = portal.ran(config, measurements={"connect_seconds": number})
    found = samples(portal.snapshot(probes={"egress": portal.view(config, result=result)}))
    assert 'portal_tcp_connect_seconds{probe="egress"}' not in found
    assert found['portal_probe_success{probe="egress"}'] == 1


def test_one_broken_probe_costs_no_other_its_metrics() -> None:
    broken = replace(portal.probes()["whmcs"], tally=Tally(buckets=(1,)))
    with capture_logs() as logged:
        found = samples(
            portal.snapshot(probes={"whmcs": broken, **{k: v for k, v in portal.probes().items() if k != "whmcs"}})
        )
    assert found['portal_probe_success{probe="egress"}'] == 1
    assert found['portal_monitor_metrics_failed{part="probes"}'] == 1
    assert found['portal_incident_open{scenario="redis",severity="P2"}'] == 1
    assert [line["event"] for line in logged] == ["metrics_part_failed"]


def test_a_series_given_twice_is_exported_once() -> None:
    twice = Family("portal_log_lines_total", "counter", "Lines.", [({"log": "/x"}, 1.0), ({"log": "/x"}, 2.0)])
    text = render(portal.snapshot(families=(twice, twice)))[0].decode()
    assert text.count('portal_log_lines_total{log="/x"}') == 1
    assert text.count("# TYPE portal_log_lines_total") == 1


def test_no_secret_is_exported() -> None:
    leak = Family("portal_log_lines_total", "counter", "Lines.", [({"log": f"/{portal.CANARY}"}, 1.0)])
    config = portal.CONFIGS["whmcs"]
    result = portal.ran(config, measurements={"phase_seconds": {portal.CANARY: 1.0}})
    body, _ = render(portal.snapshot(families=(leak,), probes={"whmcs": portal.view(config, result=result)}))
    assert b"[secret]" in body
    assert portal.CANARY.encode() not in body


@pytest.mark.parametrize(
    "accept, content_type",
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", TEXT),
        ("text/plain;version=abc", TEXT),
        ("text/plain;version=9.9.9", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
        ("application/openmetrics-text;version=abc,text/plain", TEXT),
        ("application/openmetrics-text;version=2.0.0;q=0.9", TEXT),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.4", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        ("application/openmetrics-text;q=one", TEXT),
        (";;;,,,;=;q=", TEXT),
        ("\x00\xff" * 500, TEXT),
        (PROMETHEUS_2_42, OPENMETRICS),
    ],
)
def test_any_accept_header_gets_a_format_that_is_known(accept: str, content_type: str) -> None:
    assert negotiate(accept) == content_type


def test_openmetrics_says_the_same() -> None:
    body, content_type = render(portal.snapshot(), PROMETHEUS_2_42)
    assert content_type == OPENMETRICS
    assert body.endswith(b"# EOF\n")
    families = {family.name: family for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert families["portal_probe"].type == "info"
    assert families["portal_probe_failures"].type == "counter"
    assert families["portal_probe_duration_seconds"].type == "histogram"
    assert families["portal_log_request_duration_seconds"].type == "histogram"


def test_gzip_says_the_same() -> None:
    snapshot = portal.snapshot()
    packed, content_type = render(snapshot, gzip=True)
    assert content_type == TEXT
    assert b"portal_probe_success" in gzip.decompress(packed)
    assert len(packed) < len(render(snapshot)[0]) / 4


@pytest.mark.parametrize(
    "type_name, measurement, kind, name",
    [
        ("redis", "ping_seconds", "gauge", "portal_redis_ping_seconds"),
        ("replay", "age_seconds", "age", "portal_replay_last_change_timestamp_seconds"),
        ("log", "error_ratio", "gauge", "portal_log_window_error_ratio"),
        ("log", "last_match_age_seconds", "age", "portal_log_window_last_match_timestamp_seconds"),
        ("log", "silent_seconds", "age", "portal_log_window_silent_since_timestamp_seconds"),
        ("my-type", "x", "state", "portal_my_type_x"),
    ],
)
def test_names_of_measurements(type_name: str, measurement: str, kind: str, name: str) -> None:
    assert metric_name(type_name, measurement, Measure("", kind=kind)) == name  # type: ignore[arg-type]


def every_measurement_of_every_type() -> Snapshot:
    """A snapshot in which each type there is has measured all that it declares."""
    views = {}
    for name, kind in discover().items():
        config = replace(portal.configure(name, portal.TCP), type=kind)
        values = {key: {"part": 1.5} if measure.split else 1.5 for key, measure in kind.measures.items()}
        views[name] = replace(portal.view(config), result=portal.ran(config, measurements=values))
    return portal.snapshot(config=Config({name: one.config for name, one in views.items()}, "", ""), probes=views)


def what_alerting_brings() -> Snapshot:
    """A snapshot with everything that is said about the way of the pages."""
    clock, address = SystemClock(), SecretStr("http://127.0.0.1:1/x")
    notifier = Notifier([AlertmanagerConfig("http://127.0.0.1:1")], clock)
    fallback = Fallback(keys.Fallback(60.0, ("call",)), clock, pages=list, compose=lambda page: {}, carried=never)
    heartbeat = Heartbeat(keys.Heartbeat(address), clock, lambda: True)
    heartbeat._last_success = portal.NOW
    return portal.snapshot(families=(*notifier.families(), *fallback.families(), *heartbeat.families()))


async def never(page: Page) -> None:
    raise AssertionError("nothing is carried")


@pytest.mark.parametrize("make", [portal.snapshot, every_measurement_of_every_type, what_alerting_brings])
def test_promtool_finds_no_fault(make: Callable[[], Snapshot]) -> None:
    promtool = tool("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian: prometheus) is not installed")
    checked = subprocess.run([promtool, "check", "metrics"], input=render(make())[0], capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
