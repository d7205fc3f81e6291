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

from monitor.core.incident import Incident
from monitor.sandbox.servers import RedisServer
from monitor.store import read
from tests.alertmanager import Alertmanager, Notification, Webhook, program
from tests.daemon import Daemon
from tests.servers import wait_until

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


def route(receiver: str, *matchers: str, **more: Any) -> dict[str, Any]:
    return {"receiver": receiver, "matchers": list(matchers), **more}


PAGE = 'kind="page"'
ROUTES = [
    route("deadman", 'kind="watchdog"', group_by=["alertname"]),
    route("updates", 'kind="update"', group_by=["incident", "update"]),
    route("reminders", 'kind="reminder"', group_by=["incident", "reason"]),
    route("everything", PAGE, **{"continue": True}),
    route("security", PAGE, 'audience="security"', **{"continue": True}),
    route("secondary", PAGE, 'escalation_level="L1"', 'attempt="2"'),
    route("oncall", PAGE, 'escalation_level="L1"'),
    route("techlead", PAGE, 'escalation_level="L2"'),
    route("management", PAGE, 'escalation_level="L3"'),
    route("vendor-salesforce", PAGE, 'escalation_level="L4"', 'vendor="salesforce"', group_by=["incident", "vendor"]),
    route("vendor-desk", PAGE, 'escalation_level="L4"', group_by=["incident", "vendor"]),
]


def routing(url: str) -> str:
    """As the routing that is shipped has it, but with a webhook for everybody, and quick (JSON is YAML)."""
    names = ["nobody", *(item["receiver"] for item in ROUTES)]
    quick = {"group_by": ["incident"], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "4h"}
    told_ends = {"updates": False, "reminders": False, "deadman": False}
    hooks = [
        {"name": name, "webhook_configs": [{"url": url, "send_resolved": told_ends.get(name, True)}]} for name in names
    ]
    return json.dumps({"route": {"receiver": "nobody", **quick, "routes": ROUTES}, "receivers": hooks})


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
    daemon.scenarios = {
        "redis": {
            "title": "Redis connection failures",
            "rules": [{"severity": "P2", "any": ["redis"]}, {"severity": "P1", "any": ["redis"], "for": "8s"}],
            "vendor": {"name": "salesforce", "unresolved": "2s"},
            "steps": [{"do": "Raise the limit for a time", "remind": True}],
        }
    }
    daemon.start()
    daemon.wait_for_level("redis", "ok")
    redis_server.kill()
    webhook.wait_for(lambda one: one.receiver == "secondary", 60)
    webhook.wait_for(lambda one: one.receiver == "reminders", 10)
    redis_server.start()
    wait_until(lambda: incidents(daemon)[-1].state == "resolved", seconds=60, what="the end")
    ends = ("oncall", "secondary", "techlead", "management", "vendor-salesforce", "everything")
    for name in ends:
        webhook.wait_for(lambda one, name=name: (one.receiver, one.status) == (name, "resolved"), 30)  # type: ignore[misc]
    webhook.wait_for(lambda one: one.receiver == "reminders" and one.of("firing", reason="undo"), 10)
    server.stop()  # what it was about to send has been sent

    got = webhook.by_receiver()
    assert first_seen(got["oncall"]) == [("P2", "L1", "none", "1"), ("P1", "L1", "none", "1")]
    assert first_seen(got["techlead"]) == [("P2", "L2", "none", "1"), ("P1", "L2", "none", "1")]
    assert first_seen(got["vendor-salesforce"]) == [("P2", "L4", "salesforce", "1"), ("P1", "L4", "salesforce", "1")]
    assert first_seen(got["management"]) == [("P1", "L3", "none", "1")]
    assert first_seen(got["secondary"]) == [("P1", "L1", "none", "2")]
    for name in ends:  # each news once, and one end
        statuses = [one.status for one in got[name]]
        assert statuses[-1] == "resolved", name
        assert statuses.count("resolved") == 1, name
        assert len(statuses) - 1 <= len(first_seen(got[name])), name
        assert not any(alert["status"] == "resolved" for one in got[name][:-1] for alert in one.alerts), name
    # All of the incident's pages in one stream, in the order of the matrix; what fired at once is in one message.
    everything = first_seen(got["everything"])
    assert everything[:3] == [("P2", "L1", "none", "1"), ("P2", "L4", "salesforce", "1"), ("P2", "L2", "none", "1")]
    worse = {("P1", "L1", "none", "1"), ("P1", "L2", "none", "1"), ("P1", "L4", "salesforce", "1")}
    assert set(everything[3:6]) == worse
    assert everything[6:] == [("P1", "L3", "none", "1"), ("P1", "L1", "none", "2")]
    # Beside the pages: it got better, nobody had answered, and what was done for a time.
    told = [(one.receiver, alert["labels"].get("update") or alert["labels"]["reason"])
            for one in webhook.notifications if one.receiver in {"updates", "reminders"} for alert in one.alerts]  # fmt: skip
    assert sorted(told) == [("reminders", "response"), ("reminders", "undo"), ("updates", "1")]
    assert set(got) == {*ends, "updates", "reminders", "deadman"}
    firing = [alert for one in got["secondary"] for alert in one.alerts]
    assert firing[0]["annotations"]["ack_url"].startswith("https://monitor.example.com/incidents/redis-")
    assert {one.delivered_at is not None for one in read(daemon.folder / "state.db")[0].pages} == {True}


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
    webhook.wait_for(lambda one: one.receiver == "oncall", 30)
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


KEEPER = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"


def test_while_alertmanager_is_away_p1_goes_by_the_fallback_and_all_that_is_open_is_there_again(
    daemon: Daemon, redis_server: RedisServer, people: tuple[Alertmanager, Webhook], tmp_path: Path
) -> None:
    server, webhook = people
    kept = tmp_path / "kept"
    daemon.alertmanagers = (server.url,)
    daemon.more = {"fallback": {"after": "2s", "command": [sys.executable, "-c", KEEPER, str(kept)]}}
    closed = {"type": "tcp", "target": "127.0.0.1:1", "interval": "1s", "timeout": "500ms", "fail_after": 1}
    daemon.probes = {"redis": REDIS, "egress": closed}
    daemon.scenarios = {
        "redis": {"title": "Redis", "rules": [{"severity": "P1", "any": ["redis"]}]},
        "monitoring-blind": {"title": "Cannot see out", "rules": [{"severity": "P3", "any": ["egress"]}]},
    }
    daemon.start()
    webhook.wait_for(lambda one: one.receiver == "oncall" and one.of("firing", scenario="monitoring-blind"), 30)
    server.kill()
    shutil.rmtree(tmp_path / "alertmanager" / "data")  # it forgets all that it knew
    redis_server.kill()

    def carried() -> list[dict[str, Any]]:
        return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []

    wait_until(lambda: len(carried()) >= 1 and "fallback" in kinds(daemon), seconds=60, what="the fallback")
    daemon.kill()
    daemon.start()
    wait_until(lambda: len(carried()) >= 3 and kinds(daemon).count("fallback") >= 3, seconds=60, what="all of them")
    told = [
        (said["labels"]["scenario"], said["labels"]["severity"], said["labels"]["escalation_level"])
        for said in carried()
    ]
    assert sorted(told) == [("redis", "P1", "L1"), ("redis", "P1", "L2"), ("redis", "P1", "L3")]
    assert len({said["id"] for said in carried()}) == 3
    metrics = daemon.get("/metrics").text
    assert "portal_monitor_fallback_total" in metrics
    assert "portal_monitor_fallback_failed_total 0.0" in metrics
    assert "no Alertmanager has taken it; the fallback carried it" in daemon.run("status").stdout

    server.start()
    expected = {("monitoring-blind", "L1"), ("redis", "L1"), ("redis", "L2"), ("redis", "L3")}

    def there() -> set[tuple[str, str]]:
        return {(one["labels"]["scenario"], one["labels"]["escalation_level"]) for one in server.alerts(PAGE)}

    wait_until(lambda: there() == expected, seconds=90, what="everything that is open")
    webhook.wait_for(lambda one: one.receiver == "management", 20)
    assert not [one for one in webhook.notifications if one.status == "resolved"]
    redis_server.start()
    webhook.wait_for(lambda one: (one.receiver, one.status) == ("management", "resolved"), 60)
    resolved = {
        alert["labels"]["scenario"]
        for one in webhook.notifications
        for alert in one.alerts
        if alert["status"] == "resolved"
    }
    assert resolved == {"redis"}
    assert len(carried()) == 3
