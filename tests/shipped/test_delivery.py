"""Every kind of alert through a real Alertmanager with the shipped routing: who was told what, and how often."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.alertmanager import Alertmanager, Webhook, program
from tests.servers import wait_until
from tests.shipped.routing import shortened_routing

Labels = Mapping[str, str]
PAGE = {
    "scenario": "redis", "incident": "redis-20261123-1702", "severity": "P1", "escalation_level": "L1", "vendor": "none",
    "attempt": "1", "audience": "oncall", "kind": "page", "source": "push", "alertname": "Redis",
}  # fmt: skip


def page(**labels: str) -> dict[str, str]:
    return {**PAGE, **labels}


def another_day() -> dict[str, list[str]]:
    """A time interval that neither holds this moment nor comes near it."""
    return {"weekdays": [f"{datetime.now(UTC) + timedelta(days=3):%A}".lower()]}


@pytest.fixture
def sent(tmp_path: Path) -> Iterator[tuple[Alertmanager, Webhook]]:
    """An Alertmanager where it is waking hours and no office hours."""
    if program() is None:
        pytest.skip("Alertmanager is missing: tools/fetch brings it where apt is")
    with Webhook() as webhook:
        intervals = {"waking-hours": {}, "office-hours": another_day()}
        server = Alertmanager(tmp_path / "alertmanager", config=shortened_routing(webhook.url, intervals=intervals))
        server.start()
        yield server, webhook
        server.kill()


def post(server: Alertmanager, alerts: list[dict[str, str]], *, ended: bool = False) -> None:
    now = datetime.now(UTC)
    body = [
        {"labels": labels, "startsAt": (now - timedelta(minutes=1)).isoformat(),
         "endsAt": (now if ended else now + timedelta(hours=12)).isoformat()}
        for labels in alerts
    ]  # fmt: skip
    request = urllib.request.Request(
        f"{server.url}/api/v2/alerts", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=5).close()


def told(webhook: Webhook, status: str) -> Counter[tuple[str, str]]:
    """How often each receiver was told this of each incident (or watchdog)."""
    return Counter(
        (one.receiver, one.labels.get("incident", one.labels.get("alertname", "")))
        for one in webhook.notifications
        if one.status == status
    )


def test_who_is_told_of_an_incident_that_takes_the_whole_matrix_and_of_its_end_once_each(
    sent: tuple[Alertmanager, Webhook],
) -> None:
    server, webhook = sent
    steps = [
        page(), page(attempt="2"), page(escalation_level="L2"),
        page(escalation_level="L4", vendor="whmcs"), page(escalation_level="L3"),
    ]  # fmt: skip
    expected = {
        "on-call-engineer",
        "on-call-engineer-second",
        "development-lead",
        "vendor-support-whmcs",
        "engineering-manager",
    }
    for number, step in enumerate(steps, 1):  # each is added to those before, which are sent again
        post(server, steps[:number])
        webhook.wait_for(lambda one, step=step: one.of("firing", **step) and one.receiver != "incidents")  # type: ignore[misc]
    post(server, steps, ended=True)
    wait_until(lambda: len(told(webhook, "resolved")) == 6, what="six ends")
    firing, resolved = told(webhook, "firing"), told(webhook, "resolved")
    key = PAGE["incident"]
    assert {receiver: firing[receiver, key] for receiver in expected} == dict.fromkeys(expected, 1)
    assert resolved == Counter(dict.fromkeys([(name, key) for name in [*expected, "incidents"]], 1))


def test_what_can_wait_waits_for_its_hours_and_is_in_the_channel_at_once(sent: tuple[Alertmanager, Webhook]) -> None:
    server, webhook = sent
    post(server, [page(incident="a-3", severity="P3"), page(incident="a-4", severity="P4")])
    wait_until(lambda: ("on-call-engineer-waking", "a-3") in told(webhook, "firing"), what="the P3")
    wait_until(lambda: ("incidents", "a-4") in told(webhook, "firing"), what="the P4 in the channel")
    for _ in range(3):  # further flushes of every group
        server.settle()
    assert ("on-call-engineer-office", "a-4") not in told(webhook, "firing")


def test_updates_reminders_and_watchdogs_are_told_and_never_resolved(sent: tuple[Alertmanager, Webhook]) -> None:
    server, webhook = sent
    of = {"scenario": "redis", "incident": PAGE["incident"], "severity": "P1", "source": "push", "alertname": "Redis"}
    alerts = [
        {**of, "kind": "update", "update": "1"}, {**of, "kind": "update", "update": "2"},
        {**of, "kind": "reminder", "reason": "response"}, {**of, "kind": "reminder", "reason": "review"},
        {"alertname": "PortalMonitorWatchdog", "kind": "watchdog", "source": "push"},
        {"alertname": "PortalMonitorRulesWatchdog", "kind": "watchdog", "source": "rules"},
    ]  # fmt: skip
    for _ in range(3):  # as they are sent again and again
        post(server, alerts)
    wait_until(lambda: sum(told(webhook, "firing").values()) >= 6, what="six notifications")
    post(server, alerts, ended=True)
    post(server, [page(incident="afterwards")])
    webhook.wait_for_alert("firing", incident="afterwards")
    server.settle()
    counted = told(webhook, "firing")
    assert counted["incident-updates", PAGE["incident"]] == 2  # each once
    assert counted["incident-reminders", PAGE["incident"]] == 2
    assert counted["watchdog", "PortalMonitorWatchdog"] == 1
    assert counted["watchdog-prometheus", "PortalMonitorRulesWatchdog"] == 1
    assert told(webhook, "resolved") == Counter()
