"""The runbook's matrix through a real Alertmanager with a receiver for each of its people: who got what, exactly once.

The daemon is a process, Redis a server that dies; minutes are seconds here.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.core.incident import Incident
from monitor.sandbox.servers import RedisServer
from monitor.store import read
from tests.alertmanager import Alertmanager, Notification, Webhook, program
from tests.daemon import Daemon
from tests.hook import Hook
from tests.servers import wait_until

ROOT = Path(__file__).resolve().parents[2]
HEAD = """\
severities:
  P1: {name: Critical, respond: 8s, update_every: 30m}
  P2: {name: High, respond: 1h, update_every: 1h}
  P3: {name: Medium, respond: 4h, update_every: 4h}
  P4: {name: Low, respond: 24h, update_every: 24h}
escalation:
  L1: {to: On-call engineer}
  L2: {to: Development lead, severity: [P1, P2], unresolved: 5s}
  L3: {to: Engineering manager, severity: [P1], unresolved: 4s}
  L4: {to: Vendor support}
"""
REDIS = {
    "type": "redis", "url": "${TEST_REDIS_URL}", "interval": "1s", "timeout": "500ms", "fail_after": 2,
    "retry_interval": "100ms",
}  # fmt: skip
LINKED = {"external_url": "https://monitor.example.com"}  # people can answer, so a second call makes sense


PAGE = 'kind="page"'


def routing(url: str) -> str:
    """The routing that is shipped, with a webhook for everybody, quick, and at any hour (JSON is YAML)."""
    shipped = yaml.safe_load((ROOT / "alerts" / "alertmanager.yml").read_text())
    hooks = []
    for receiver in shipped["receivers"]:
        ways = [way for kind, ways in receiver.items() if kind != "name" for way in ways]
        told_end = any(way.get("send_resolved", True) for way in ways)
        hooks.append({"name": receiver["name"], "webhook_configs": [{"url": url, "send_resolved": told_end}]})
    route = shipped["route"] | {"group_wait": "0s", "group_interval": "1s"}
    for each in route["routes"]:
        each.pop("active_time_intervals", None)
    return json.dumps({"route": route, "receivers": hooks, "inhibit_rules": shipped["inhibit_rules"]})


@pytest.fixture
def people(tmp_path: Path) -> Iterator[tuple[Alertmanager, Webhook]]:
    if program() is None:
        pytest.skip("Alertmanager is missing: tools/fetch brings it where apt is")
    with Webhook() as webhook:
        server = Alertmanager(tmp_path / "alertmanager", config=routing(webhook.url))
        server.start()
        yield server, webhook
        server.kill()


@pytest.fixture
def daemon(tmp_path: Path, redis_server: RedisServer) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "daemon", {"redis": REDIS}, {}, env={"TEST_REDIS_URL": redis_server.url}, head=HEAD)
    made.lifecycle = {"monitor": "2s", "reopen_within": "0s"}
    yield made
    made.kill()


@pytest.fixture
def heartbeat() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


def page_of(alert: Any) -> tuple[str, str, str, str]:
    labels = alert["labels"]
    return labels["severity"], labels["escalation_level"], labels["vendor"], labels["attempt"]


def first_seen(notifications: list[Notification]) -> list[tuple[str, str, str, str]]:
    """The pages that these were the first to tell of, in the order of their coming."""
    told = [page_of(alert) for one in notifications for alert in one.alerts if alert["status"] == "firing"]
    return list(dict.fromkeys(told))


def incidents(daemon: Daemon) -> tuple[Incident, ...]:
    return read(daemon.folder / "state.db")[0].incidents


def kinds(daemon: Daemon) -> list[str]:
    return [event.kind for events in read(daemon.folder / "state.db")[1].values() for event in events]


def test_the_whole_matrix_is_told_once_in_its_order_and_ends_once_for_everybody(
    daemon: Daemon, redis_server: RedisServer, people: tuple[Alertmanager, Webhook]
) -> None:
    server, webhook = people
    daemon.alertmanagers, daemon.more = (server.url,), {"web": {"listen": f"127.0.0.1:{daemon.port}", **LINKED}}
    declared = {"severity": "P1", "escalate_now": ["L2", "L3"], "audience": "security", "redact": True}
    daemon.scenarios = {
        "redis": {
            "title": "Redis connection failures",
            "rules": [{"severity": "P2", "any": ["redis"]}, {"severity": "P1", "any": ["redis"], "for": "8s"}],
            "vendor": {"name": "salesforce", "unresolved": "2s"},
            "steps": [{"do": "Raise the limit for a time", "remind": True}],
        },
        "security": {"title": "Security incident", "declared": declared},
    }
    daemon.start()
    daemon.wait_for_level("redis", "ok")
    redis_server.kill()
    breach = declare_a_breach(daemon)
    webhook.wait_for(lambda one: one.receiver == "on-call-engineer-second", 60)
    webhook.wait_for(lambda one: one.receiver == "incident-reminders", 10)
    assert daemon.post(f"/api/v1/incidents/{breach}/resolve", json={"text": "keys changed", "by": "ann"}).is_success
    redis_server.start()
    wait_until(lambda: not [one for one in incidents(daemon) if one.open], seconds=60, what="the end")
    (redis,) = [one.key for one in incidents(daemon) if one.scenario == "redis"]
    matrix = {
        "on-call-engineer": [("P2", "L1", "none", "1"), ("P1", "L1", "none", "1")],
        "development-lead": [("P2", "L2", "none", "1"), ("P1", "L2", "none", "1")],
        "vendor-support-salesforce": [("P2", "L4", "salesforce", "1"), ("P1", "L4", "salesforce", "1")],
        "engineering-manager": [("P1", "L3", "none", "1")],
        "on-call-engineer-second": [("P1", "L1", "none", "2")],
    }
    at_once = {level: ("P1", level, "none", "1") for level in ("L1", "L2", "L3")}
    told = {"on-call-engineer": "L1", "development-lead": "L2", "engineering-manager": "L3"}
    for receiver in (*matrix, "incidents"):
        webhook.wait_for(lambda one, receiver=receiver: is_end(one, receiver, redis), 30)  # type: ignore[misc]
    for receiver in (*told, "incidents", "security-team"):
        webhook.wait_for(lambda one, receiver=receiver: is_end(one, receiver, breach), 30)  # type: ignore[misc]
    webhook.wait_for(lambda one: one.of("firing", reason="undo"), 10)
    server.stop()  # what it was about to send has been sent

    got = {key: by_receiver(webhook, key) for key in (redis, breach)}
    for receiver, pages in matrix.items():
        assert once_each(got[redis][receiver]) == pages, receiver
    for receiver, level in told.items():
        assert once_each(got[breach][receiver]) == [at_once[level]], receiver
    assert set(once_each(got[breach]["security-team"])) == set(at_once.values())
    assert set(got[breach]) == {*told, "security-team", "incidents"}  # and no second call: ann had answered
    # All of an incident's pages in one stream, in the order of the matrix; what fired at once is in one message.
    everything = once_each(got[redis]["incidents"])
    assert everything[:3] == [("P2", "L1", "none", "1"), ("P2", "L4", "salesforce", "1"), ("P2", "L2", "none", "1")]
    worse = {("P1", "L1", "none", "1"), ("P1", "L2", "none", "1"), ("P1", "L4", "salesforce", "1")}
    assert set(everything[3:6]) == worse
    assert everything[6:] == [("P1", "L3", "none", "1"), ("P1", "L1", "none", "2")]
    # Beside the pages: it got better, nobody had answered, and what was done for a time.
    beside = [
        (one.receiver, alert["labels"].get("update") or alert["labels"]["reason"])
        for receiver in ("incident-updates", "incident-reminders")
        for one in got[redis][receiver]
        for alert in one.alerts
    ]
    reminders = [("incident-reminders", "response"), ("incident-reminders", "undo")]
    assert sorted(beside) == [*reminders, ("incident-updates", "1")]
    assert set(got[redis]) == {*matrix, "incidents", "incident-updates", "incident-reminders"}
    (first, *_) = got[redis]["on-call-engineer-second"]
    assert first.alerts[0]["annotations"]["ack_url"].startswith(f"https://monitor.example.com/incidents/{redis}/ack?")
    assert all(page.delivered_at is not None for page in read(daemon.folder / "state.db")[0].pages)


def declare_a_breach(daemon: Daemon) -> str:
    """A person declares a security incident, and has answered it; its key."""
    report = {"scenario": "security", "why": "tokens leaked", "declare": True, "by": "ann"}
    key = str(daemon.post("/api/v1/incidents", json=report).json()["key"])
    assert daemon.post(f"/api/v1/incidents/{key}/ack", json={"by": "ann"}).is_success
    return key


def is_end(one: Notification, receiver: str, incident: str) -> bool:
    return (one.receiver, one.status, one.labels.get("incident")) == (receiver, "resolved", incident)


def by_receiver(webhook: Webhook, incident: str) -> dict[str, list[Notification]]:
    found = {
        name: [one for one in ours if one.labels.get("incident") == incident]
        for name, ours in webhook.by_receiver().items()
    }
    return {name: ours for name, ours in found.items() if ours}


def once_each(ours: list[Notification]) -> list[tuple[str, str, str, str]]:
    """The pages that a receiver was told of. Each message told something new, and the last one, and only that, the end."""
    *news, end = ours
    assert end.status == "resolved"
    assert {alert["status"] for one in news for alert in one.alerts} == {"firing"}
    told = first_seen(news)
    assert len(news) <= len(told)
    assert {page_of(alert) for alert in end.alerts} == set(told)
    return told


def test_a_silence_is_an_answer_and_holds_nothing_back(
    daemon: Daemon, redis_server: RedisServer, people: tuple[Alertmanager, Webhook]
) -> None:
    server, webhook = people
    daemon.alertmanagers, daemon.more = (server.url,), {"web": {"listen": f"127.0.0.1:{daemon.port}", **LINKED}}
    daemon.scenarios = {"redis": {"title": "Redis", "rules": [{"severity": "P2", "any": ["redis"]}]}}
    daemon.head = HEAD.replace("unresolved: 5s", "unresolved: 3s").replace("respond: 1h", "respond: 1m")
    daemon.start()
    daemon.wait_for_level("redis", "ok")
    redis_server.kill()
    webhook.wait_for(lambda one: one.receiver.startswith("on-call-engineer"), 30)
    (incident,) = incidents(daemon)
    silence = server.silence(by="ann", comment="on it", incident=incident.key)

    def pages() -> dict[str, Any]:
        return {page["escalation_level"]: page for page in daemon.status()["incidents"][0]["pages"]}

    wait_until(lambda: pages().get("L2", {}).get("silenced_by") == "ann", seconds=60, what="the silence")
    wait_until(lambda: incidents(daemon)[0].acknowledged, seconds=20, what="the answer")
    (acked,) = incidents(daemon)
    assert acked.ack is not None
    assert (acked.ack.by, acked.silences) == ("ann", (silence,))
    assert kinds(daemon).count("ack") == 1
    assert pages()["L2"]["silenced_until"] is not None
    assert "L2 at P2 not delivered: a silence of ann holds it until" in daemon.run("status").stdout


KEEPER = """
import os, signal, sys
kept, killed = sys.argv[1:]
with open(kept, "a") as file:
    file.write(sys.stdin.read() + "\\n")
if not os.path.exists(killed):  # the first time: carried, and the daemon dies before it can save that
    open(killed, "w").close()
    os.kill(os.getppid(), signal.SIGKILL)
"""


def test_while_alertmanager_is_away_p1_goes_by_the_fallback_and_all_that_is_open_is_there_again(
    daemon: Daemon, redis_server: RedisServer, people: tuple[Alertmanager, Webhook], heartbeat: Hook, tmp_path: Path
) -> None:
    server, webhook = people
    kept = tmp_path / "kept"
    daemon.alertmanagers = (server.url,)
    fallback = {"after": "2s", "command": [sys.executable, "-c", KEEPER, str(kept), str(tmp_path / "killed")]}
    daemon.more = {"fallback": fallback, "heartbeat": {"url": "${TEST_HEARTBEAT_URL}", "every": "1s"}}
    daemon.env = {**daemon.env, "TEST_HEARTBEAT_URL": heartbeat.url}
    closed = {"type": "tcp", "target": "127.0.0.1:1", "interval": "1s", "timeout": "500ms", "fail_after": 1}
    daemon.probes = {"redis": REDIS, "egress": closed}
    daemon.scenarios = {
        "redis": {"title": "Redis", "rules": [{"severity": "P1", "any": ["redis"]}]},
        "monitoring-blind": {"title": "Cannot see out", "rules": [{"severity": "P3", "any": ["egress"]}]},
    }
    daemon.start()
    webhook.wait_for(
        lambda one: one.receiver.startswith("on-call-engineer") and one.of("firing", scenario="monitoring-blind"), 30
    )
    server.kill()
    shutil.rmtree(tmp_path / "alertmanager" / "data")  # it forgets all that it knew
    redis_server.kill()

    def carried() -> list[dict[str, Any]]:
        return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []

    process = daemon.process
    assert process is not None
    wait_until(lambda: process.poll() is not None, seconds=60, what="the fallback, and its end")
    assert "fallback" not in kinds(daemon)
    daemon.kill()
    daemon.start()
    wait_until(lambda: kinds(daemon).count("fallback") >= 3, seconds=60, what="all of them")
    told = [
        (said["labels"]["scenario"], said["labels"]["severity"], said["labels"]["escalation_level"])
        for said in carried()
    ]
    levels = ["L1", "L1", "L2", "L3"]  # the first a second time, to be known by its id
    assert sorted(told) == [("redis", "P1", level) for level in levels]
    assert len({said["id"] for said in carried()}) == 3
    metrics = daemon.get("/metrics").text
    assert "portal_monitor_fallback_total" in metrics
    assert "portal_monitor_fallback_failed_total 0.0" in metrics
    assert "portal_monitor_heartbeat_last_success_timestamp_seconds" in metrics
    assert len(heartbeat.asked) > 1  # it went on though Alertmanager was away
    assert "CANARY" not in metrics + daemon.log.read_text()
    assert "no Alertmanager has taken it; the fallback carried it" in daemon.run("status").stdout

    server.start()
    expected = {("monitoring-blind", "L1"), ("redis", "L1"), ("redis", "L2"), ("redis", "L3")}

    def there() -> set[tuple[str, str]]:
        return {(one["labels"]["scenario"], one["labels"]["escalation_level"]) for one in server.alerts(PAGE)}

    wait_until(lambda: there() == expected, seconds=90, what="everything that is open")
    webhook.wait_for(lambda one: one.receiver == "engineering-manager", 20)
    assert not [one for one in webhook.notifications if one.status == "resolved"]
    redis_server.start()
    webhook.wait_for(lambda one: (one.receiver, one.status) == ("engineering-manager", "resolved"), 60)
    resolved = {
        alert["labels"]["scenario"]
        for one in webhook.notifications
        for alert in one.alerts
        if alert["status"] == "resolved"
    }
    assert resolved == {"redis"}
    assert len(carried()) == len(levels)
