"""alerts/rules.yml: promtool takes it, each rule is tested whole, and it speaks of metrics that the daemon has."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import tool

ALERTS = Path(__file__).resolve().parents[2] / "alerts"
ABSENCE = {"PortalMonitorAbsent", "PortalMonitorRulesWatchdog"}  # they fire where nothing is there
PAGE_LABELS = {
    "severity",
    "escalation_level",
    "scenario",
    "incident",
    "vendor",
    "attempt",
    "audience",
    "kind",
    "source",
}


def rules() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((ALERTS / "rules.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = tool("promtool")
    if found is None:
        pytest.skip("promtool is missing: tools/fetch brings it where apt is")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False, timeout=120, cwd=ALERTS)


def test_promtool_finds_nothing_to_complain_of() -> None:
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yml")
    assert said.returncode == 0, said.stdout + said.stderr


def test_promtools_tests_pass() -> None:
    said = promtool("test", "rules", "rules_test.yml")
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("name", sorted(rules()))
def test_each_rule_is_tested_to_fire_to_resolve_and_to_be_silent(name: str) -> None:
    cases = yaml.safe_load((ALERTS / "rules_test.yml").read_text())["tests"]
    heard: set[str] = set()
    for case in cases:
        fired = False
        expected = [one for one in case["alert_rule_test"] if one["alertname"] == name]
        for one in expected:
            fires = bool(one.get("exp_alerts"))
            heard.add("fires" if fires else "resolves" if fired else "silent")
            fired = fired or fires
        if expected and not fired and all("up{" in series["series"] for series in case.get("input_series", [])):
            heard.add("absent")
    wanted = {"fires"} if name in ABSENCE else {"fires", "silent", "absent", "resolves"}
    if name == "PortalMonitorAbsent":
        wanted |= {"silent", "resolves"}
    assert wanted <= heard


@pytest.mark.parametrize("name", sorted(rules()))
def test_each_rule_says_what_it_means_and_is_explained(name: str) -> None:
    rule = rules()[name]
    assert {"summary", "description", "runbook_url"} <= set(rule["annotations"])
    page, _, anchor = rule["annotations"]["runbook_url"].rpartition("/")[2].partition("#")
    explained = re.findall(r"^#+ (.*)$", (ALERTS.parent / "docs" / page).read_text(), re.MULTILINE)
    assert anchor in [title.lower() for title in explained]


def test_what_is_said_of_the_monitor_is_labelled_as_pages_are() -> None:
    for name, rule in rules().items():
        if name not in {"PortalPage", "PortalMonitorRulesWatchdog"}:
            assert set(rule["labels"]) == PAGE_LABELS, name
            assert (rule["labels"]["kind"], rule["labels"]["source"]) == ("monitor", "rules")
