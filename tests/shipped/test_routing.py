"""alerts/alertmanager.yml: every alert that can come reaches those whom the runbook names, and no other."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.alerting.pages import notice_labels, page_labels
from monitor.core.incident import Incident, Notice, NoticeKind, Page, State
from monitor.core.loading import load
from monitor.core.runbook import Runbook, Severity
from monitor.daemon import WATCHDOG_LABELS
from monitor.probes import discover
from tests.config.loading import SHIPPED_ENV
from tests.servers import tool

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "alerts"
Labels = Mapping[str, str]
INCIDENT = Incident("redis-20261123-1702", "redis", State.INVESTIGATING, Severity.P1, Severity.P1, 0.0, 0.0)


@cache
def runbook() -> Runbook:
    text = (ROOT / "probes.yaml").read_text()
    read = lambda path: (ROOT / path).read_bytes()  # noqa: E731
    return load("probes.yaml", text, types=discover(), env=SHIPPED_ENV, read=read).runbook


@cache
def routing() -> dict[str, Any]:
    return dict(yaml.safe_load((ALERTS / "alertmanager.yml").read_text()))


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = tool("amtool")
    if found is None:
        pytest.skip("amtool is missing: tools/fetch brings it where apt is")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False, timeout=60, cwd=ALERTS)


def receivers(labels: Labels) -> list[str]:
    """Whom Alertmanager would tell, by amtool."""
    told = amtool(
        "config", "routes", "test", "--config.file=alertmanager.yml", *(f"{k}={v}" for k, v in labels.items())
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.strip().split(",")


def role(level: str) -> str:
    """The receiver of a level: the runbook's role, as a name. `On-call engineer` is `on-call-engineer`."""
    return re.sub(r"\W+", "-", runbook().escalation[level].to.lower())


def vendors() -> set[str]:
    return {scenario.vendor.name for scenario in runbook().scenarios.values() if scenario.vendor}


def expected(labels: Labels) -> list[str]:
    """Whom the runbook's matrix names."""
    level, severity = labels["escalation_level"], labels["severity"]
    told = ["incidents"] + ["security-team"] * (labels["audience"] == "security")
    if level == "L4":
        return [*told, role("L4") + (f"-{labels['vendor']}" if labels["vendor"] in vendors() else "")]
    if level != "L1":
        return [*told, role(level)]
    if labels["attempt"] == "2":
        return [*told, role("L1") + "-second"]
    return [*told, role("L1") + {"P1": "", "P2": "", "P3": "-waking", "P4": "-office"}[severity]]


def pages() -> Iterator[dict[str, str]]:
    """The labels of every page that can come: each scenario, severity, level, attempt, vendor and audience."""
    ends = [("L1", "none", 1), ("L1", "none", 2), ("L1", "none", 3), ("L2", "none", 1), ("L3", "none", 1)]
    ends += [("L4", vendor, 1) for vendor in (*sorted(vendors()), "somebody-new")]
    scenario = runbook().scenarios["redis"]
    for severity, (level, vendor, attempt), audience in itertools.product(Severity, ends, ("oncall", "security")):
        page = Page("redis-20261123-1702", 1, severity, level, vendor, attempt)
        yield page_labels(scenario, INCIDENT, page, {"site": "tokyo"}) | {"audience": audience}


def test_amtool_takes_it() -> None:
    said = amtool("check-config", "alertmanager.yml")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1 templates" in said.stdout


@pytest.mark.parametrize("source", ["push", "rules"])
def test_every_page_reaches_whom_the_matrix_names(source: str) -> None:
    wrong = {}
    for labels in pages():
        labels["source"] = source
        if (told := receivers(labels)) != expected(labels):
            wrong[json.dumps(labels)] = told
    assert wrong == {}


@pytest.mark.parametrize(
    ("kind", "key", "receiver"),
    [
        (NoticeKind.UPDATE, "3", "incident-updates"),
        *((NoticeKind.REMINDER, reason, "incident-reminders") for reason in ("response", "update", "review", "undo")),
    ],
)
def test_an_update_and_a_reminder_are_told_in_the_channel_and_call_nobody(
    kind: NoticeKind, key: str, receiver: str
) -> None:
    notice = Notice(INCIDENT.key, kind, key, 1)
    assert receivers(notice_labels(runbook().scenarios["redis"], INCIDENT, notice, {"site": "tokyo"})) == [receiver]


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (WATCHDOG_LABELS, "watchdog"),
        ({"alertname": "PortalMonitorRulesWatchdog", "kind": "watchdog", "source": "rules"}, "watchdog-prometheus"),
        ({"kind": "something-new", "severity": "P1"}, "incidents"),
        ({"alertname": "SomebodyElses"}, "incidents"),
    ],
)
def test_a_watchdog_reaches_its_switch_and_what_nobody_foresaw_the_channel(labels: Labels, receiver: str) -> None:
    assert receivers(labels) == [receiver]


def test_every_rule_is_routed_to_somebody_on_call_by_its_severity() -> None:
    groups = yaml.safe_load((ALERTS / "rules.yml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        labels = {"alertname": rule["alert"], **rule["labels"]}
        if labels.get("kind") == "monitor":
            assert receivers(labels) == expected(labels), rule["alert"]


def test_every_vendor_of_the_runbook_has_a_receiver_and_no_receiver_is_left_over() -> None:
    reached = {name for labels in pages() for name in expected(labels)}
    reached |= {"incident-updates", "incident-reminders", "watchdog", "watchdog-prometheus"}
    assert {receiver["name"] for receiver in routing()["receivers"]} == reached


def test_only_copies_of_pages_are_inhibited_and_only_by_their_twins() -> None:
    (rule,) = routing()["inhibit_rules"]
    assert rule["source_matchers"] == ['kind="page"', 'source="push"']
    assert rule["target_matchers"] == ['kind="page"', 'source="rules"']
    labels = set(next(pages())) - {"site"}
    assert set(rule["equal"]) == labels - {"alertname", "kind", "source"}  # the name follows from the scenario


def test_no_group_waits_longer_than_half_a_minute_for_a_further_level() -> None:
    def intervals(route: dict[str, Any]) -> Iterator[str]:
        yield route.get("group_interval", "30s")
        for child in route.get("routes", ()):
            yield from intervals(child)

    assert set(intervals(routing()["route"])) == {"30s"}


def test_emails_show_no_labels_to_a_vendor() -> None:
    for receiver in routing()["receivers"]:
        for email in receiver.get("email_configs", ()):
            assert email["html"] == ""
            assert email["text"]


# --- the words -------------------------------------------------------------------------------------------------------

WORDS = {
    "title": "[P1] Customer portal unreachable", "summary": "Customer portal unreachable (portal-unreachable-20261123-1702)",
    "status_update": "INCIDENT UPDATE - P1", "severity_now": "P1", "diagnosis": "bff: fail, unreachable",
    "console_url": "https://monitor.example.com/incidents/x", "vendor_report": "Dear vendor",
}  # fmt: skip
RULE = {
    "summary": "portal-monitor does not answer",
    "description": "It could not be scraped.",
    "runbook_url": "https://r",
}


def rendered(template: str, folder: Path, status: str, *alerts: tuple[Labels, Labels]) -> str:
    """What Alertmanager makes of a group of alerts, each (labels, annotations)."""
    common = dict(set.intersection(*(set(annotations.items()) for _, annotations in alerts)))
    data = {
        "receiver": "x", "status": status, "externalURL": "", "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": common,
        "alerts": [{"status": status, "labels": labels, "annotations": words} for labels, words in alerts],
    }  # fmt: skip
    (folder / "data.json").write_text(json.dumps(data))
    said = amtool(
        "template", "render", "--template.glob=templates/*.tmpl", f"--template.data={folder / 'data.json'}",
        f'--template.text={{{{ template "{template}" . }}}}',
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


@pytest.mark.parametrize(
    ("template", "status", "text"),
    [
        ("portal.title", "firing", "[P1] Customer portal unreachable"),
        ("portal.title", "resolved", "RESOLVED [P1] Customer portal unreachable"),
        ("portal.update", "firing", "INCIDENT UPDATE - P1"),
        ("portal.vendor", "firing", "Dear vendor"),
        ("portal.colour", "firing", "danger"),
        ("portal.colour", "resolved", "good"),
        ("portal.pagerduty", "firing", "critical"),
    ],
)
def test_a_page_is_told_in_the_words_of_the_daemon(tmp_path: Path, template: str, status: str, text: str) -> None:
    page: tuple[Labels, Labels] = ({"severity": "P2"}, WORDS)  # its severity when it was paged
    assert rendered(template, tmp_path, status, page, ({"severity": "P1"}, WORDS)) == text


def test_a_page_shows_diagnosis_and_links(tmp_path: Path) -> None:
    shown = rendered("portal.page", tmp_path, "firing", ({"severity": "P1"}, {**WORDS, "ack_url": "https://ack"}))
    for text in ("INCIDENT UPDATE", "bff: fail, unreachable", "Acknowledge: https://ack", "Console: https://monitor"):
        assert text in shown


def test_a_reminder_says_what_is_to_be_done(tmp_path: Path) -> None:
    reminder = {**WORDS, "summary": "redis-20261123-1702: nobody has acknowledged it"}
    assert rendered("portal.reminder", tmp_path, "firing", ({}, reminder)) == reminder["summary"]


def test_alerts_of_rules_that_differ_are_told_by_the_first(tmp_path: Path) -> None:
    group = (({"severity": "P3"}, RULE), ({"severity": "P2"}, {**RULE, "summary": "another", "description": "other"}))
    assert rendered("portal.title", tmp_path, "firing", *group) == "portal-monitor does not answer"
    assert rendered("portal.update", tmp_path, "firing", *group) == "It could not be scraped."
    assert rendered("portal.pagerduty", tmp_path, "firing", *group) == "warning"


def test_every_template_that_a_receiver_names_is_there() -> None:
    named = set(re.findall(r'template "([\w.]+)"', (ALERTS / "alertmanager.yml").read_text()))
    defined = set(re.findall(r'define "([\w.]+)"', (ALERTS / "templates" / "portal.tmpl").read_text()))
    assert named
    assert named <= defined
