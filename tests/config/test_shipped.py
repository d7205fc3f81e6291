"""The files that are shipped: they fit each other, cover the runbook, and let a restart pass."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pytest
from pydantic import SecretStr

from monitor.core.config import ProbeConfig
from monitor.core.loading import Loaded, load
from monitor.core.patience import Patience, report
from monitor.core.runbook import OTHER, Severity
from monitor.probes import discover
from monitor.probes._exchange import parse_url
from tests.config.loading import SHIPPED_ENV
from tests.probes.test_contract import private_key

ROOT = Path(__file__).resolve().parent.parent.parent
PROBES_TEXT = (ROOT / "probes.yaml").read_text()
RUNBOOK_TEXT = (ROOT / "alerts" / "runbook.yaml").read_text()

DEPLOY_SECONDS = 30.0  # the BFF is away while it restarts
FAILOVER_SECONDS = 20.0  # Redis refuses writes, then connections


@cache
def shipped() -> Loaded:
    return load(
        "probes.yaml", PROBES_TEXT, types=discover(), env=SHIPPED_ENV, read=lambda path: (ROOT / path).read_bytes()
    )


def rows(scenario: str, severity: Severity | None = None) -> list[Patience]:
    rows = report(shipped().config, shipped().runbook)
    return [row for row in rows if row.scenario == scenario and severity in {None, row.severity}]


def test_they_load_and_warn_only_of_what_is_left_to_fill_in() -> None:
    for warning in shipped().warnings:
        assert "placeholder" in str(warning) or "two clocks" in str(warning), str(warning)


def test_every_failure_has_a_scenario() -> None:
    assert not shipped().runbook.scenarios[OTHER].rules


def test_the_severity_table_is_the_runbooks() -> None:
    table = shipped().runbook.severities
    assert [row.respond for row in table.values()] == [900.0, 3600.0, 14400.0, 86400.0]
    assert [str(severity) for severity, row in table.items() if row.review] == ["P1", "P2"]


def test_the_matrix_is_the_runbooks() -> None:
    matrix = shipped().runbook.escalation
    assert matrix["L2"].severity == (Severity.P1, Severity.P2)
    assert (matrix["L2"].unresolved, matrix["L3"].unresolved) == (1800.0, 3600.0)
    assert (matrix["L3"].severity, matrix["L3"].or_declared) == ((Severity.P1,), "customer_impact")


@pytest.mark.parametrize(
    ("scenario", "severity"),
    [
        ("salesforce-events", Severity.P2),
        ("whmcs", Severity.P2),
        ("redis", Severity.P2),
        ("database", Severity.P1),
        ("performance", Severity.P3),
        ("security", Severity.P1),
        ("portal-unreachable", Severity.P1),
    ],
)
def test_every_scenario_of_the_runbook_can_reach_its_severity(scenario: str, severity: Severity) -> None:
    assert severity in shipped().runbook.scenarios[scenario].severities


def test_the_portal_is_the_parent_of_all_but_a_security_incident() -> None:
    scenarios = set(shipped().runbook.scenarios)
    children = set(shipped().runbook.scenarios["portal-unreachable"].parent_of)
    assert scenarios - children == {"portal-unreachable", "security"}


# What is away during a deploy or a failover fails the probes of it and leaves its mark in the log's windows.
TOUCHED = ("portal-unreachable", "redis", "database", "performance", "salesforce-events", "monitoring-blind")
NOT_TOUCHED = ("db-corruption or postgres/corrupt", "redis and postgres/unreachable")  # neither of the two does this


@pytest.mark.parametrize("scenario", TOUCHED)
def test_a_deploy_and_a_failover_pass_without_a_page(scenario: str) -> None:
    for row in rows(scenario):
        if row.rule not in NOT_TOUCHED:
            assert row.passes > max(DEPLOY_SECONDS, FAILOVER_SECONDS), row


@pytest.mark.parametrize("cause", ["redis", "database", "whmcs"])
def test_a_cause_ripens_before_the_symptom_it_silences(cause: str) -> None:
    worst = min(row.severity for row in rows(cause))
    latest = max(row.latest for row in rows(cause, worst) if math.isfinite(row.latest) and "corruption" not in row.rule)
    for symptom in rows("performance"):
        if "freebit" not in symptom.rule:
            assert latest < symptom.soonest, (cause, symptom)


def test_two_causes_at_once_ripen_together_before_either_alone() -> None:
    both = next(row for row in rows("portal-unreachable") if row.rule == "redis and postgres/unreachable")
    alone = [*rows("redis", Severity.P2), *rows("database", Severity.P1)]
    assert all(both.soonest < row.soonest for row in alone if "corruption" not in row.rule)


def test_an_incident_outlasts_the_windows_that_still_show_it() -> None:
    windows = [getattr(probe.options, "window", 0.0) for probe in shipped().config.probes.values()]
    assert shipped().runbook.lifecycle.monitor >= max(windows)


# --- certificates -----------------------------------------------------------------------------------------------------

HTTPS = {  # everything that can be reached over https is
    "BFF_URL": "https://bff.internal:4443", "BFF_CERTIFICATE": "true", "SF_MONITOR_LOGIN": "true",
    "SF_MONITOR_CLIENT_ID": "an-id", "SF_MONITOR_USERNAME": "monitor@example.com", "PORTAL_URL": "https://portal.example",
    "WHMCS_API_URL": "https://billing.example/includes/api.php", "SF_INSTANCE_URL": "https://example.my.salesforce.com",
}  # fmt: skip


def places(probe: ProbeConfig) -> set[tuple[str, int]]:
    """The hosts and ports that a probe reaches over https."""
    names = ("url", "instance_url", "login_url")
    values = [getattr(probe.options, name, None) for name in names]
    urls = [value.get_secret_value() if isinstance(value, SecretStr) else value for value in values if value]
    return {(url.host, url.port) for url in map(parse_url, (text for text in urls if text.startswith("https://")))}


def test_the_certificate_of_every_https_target_is_watched_and_has_a_rule() -> None:
    pem = private_key()
    env = {**SHIPPED_ENV, **HTTPS, "SF_MONITOR_PRIVATE_KEY": pem}
    loaded = load("probes.yaml", PROBES_TEXT, types=discover(), env=env, read=lambda path: (ROOT / path).read_bytes())
    enabled = [probe for probe in loaded.config.enabled() if places(probe)]
    watching = {
        probe.name: places(probe)
        for probe in enabled
        if any(condition.name == "certificate_left_seconds" for condition in probe.warn)
        and any(condition.name == "certificate_left_seconds" for condition in probe.fail)
    }
    everywhere = set().union(*(places(probe) for probe in enabled))
    assert len(everywhere) == 6
    assert set().union(*watching.values()) == everywhere
    named = {term.name for rule in loaded.runbook.scenarios["certificates"].rules for term in rule.terms}
    assert named == set(watching)


@pytest.mark.parametrize("way", ["command", "webhook"])
def test_what_is_only_shown_as_an_example_would_work(way: str) -> None:
    lines = PROBES_TEXT.splitlines()
    examples = [
        line for line in lines if line.startswith(("# fallback:", "# heartbeat:", "# maintenance:", "#   - {of"))
    ]
    assert len(examples) == 6
    chosen = [line.removeprefix("# ").removeprefix("#") for line in examples if "fallback" not in line or way in line]
    env = {**SHIPPED_ENV, "FALLBACK_WEBHOOK_URL": "https://x.example/a", "HEARTBEAT_URL": "https://x.example/b"}
    text = "\n".join([*lines, *chosen])
    loaded = load("probes.yaml", text, types=discover(), env=env, read=lambda path: (ROOT / path).read_bytes())
    assert loaded.config.heartbeat
    assert loaded.config.fallback
    assert len(loaded.config.maintenance) == 2
