"""Who pages when: the daemon, Prometheus by the rule, or both, with the shipped rules and routing on real servers.

The shipped files are used as they are but for times, which are shortened, and receivers, which are one webhook.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.sandbox.servers import RedisServer
from tests.alertmanager import Alertmanager, Notification, Webhook, program
from tests.daemon import Daemon
from tests.prometheus import Prometheus
from tests.servers import free_port, tool, wait_until
from tests.shipped.routing import shortened_routing

ROOT = Path(__file__).resolve().parents[2]
BEAT = "200ms"  # in the place of 15 s
HOLD = "1s"  # in the place of every `for`
SLOW = ("NoVerdict", "AlertmanagerAway")  # rules whose patience is the point; left as they are
REDIS = {
    "type": "redis", "url": "${TEST_REDIS_URL}", "interval": "1s", "timeout": "500ms", "fail_after": 2,
    "retry_interval": "100ms",
}  # fmt: skip
SCENARIO = {"title": "Redis connection failures", "rules": [{"severity": "P1", "any": ["redis"]}]}
LABELS = {
    "alertname": "Redis", "scenario": "redis", "severity": "P1", "escalation_level": "L1", "vendor": "none",
    "attempt": "1", "audience": "oncall", "kind": "page", "site": "tokyo",
}  # fmt: skip


def shortened_rules() -> str:
    text = (ROOT / "alerts" / "rules.yml").read_text()
    text = text.replace("[12h:15s]", f"[10m:{BEAT}]").replace("interval: 15s", f"interval: {BEAT}")
    text = re.sub(r"oldest_undelivered_seconds > 60", "oldest_undelivered_seconds > 1", text)
    rules = yaml.safe_load(text)
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if "for" in rule and not rule["alert"].endswith(SLOW):
            rule["for"] = HOLD
    return json.dumps(rules)


def shortened_prometheus(alertmanager: Alertmanager, daemon: Daemon) -> str:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": BEAT, "scrape_timeout": BEAT, "evaluation_interval": BEAT}
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager.port}"]}]}]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{daemon.port}"]}]
    return json.dumps(config)


@dataclass
class Stage:
    """Redis, the daemon on it, and the Prometheus and Alertmanager of the shipped files."""

    redis: RedisServer
    daemon: Daemon
    alertmanager: Alertmanager
    prometheus: Prometheus
    webhook: Webhook

    def pages(self, status: str, source: str) -> list[Notification]:
        return self.webhook.of(status, kind="page", source=source)

    def page_comes(self, source: str) -> dict[str, Any]:
        """The labels of the page that comes by this way; in the time that a busy machine may need."""
        told = self.webhook.wait_for(lambda one: one.of("firing", kind="page", source=source), 60)
        return dict(told.of("firing", kind="page", source=source)[0]["labels"])

    def looks(self, times: int) -> None:
        """Return once Prometheus has evaluated the rules so many times more."""
        before = self._iterations()
        wait_until(lambda: self._iterations() >= before + times, seconds=60, what=f"{times} looks")

    def _iterations(self) -> float:
        with urllib.request.urlopen(f"{self.prometheus.url}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        of = "prometheus_rule_group_iterations_total{"
        return min(float(one.split()[-1]) for one in lines if one.startswith(of))

    def watchdog(self) -> dict[str, Any]:
        """The daemon's own watchdog as Alertmanager holds it, and when it `ends`."""
        (found,) = [one for one in self.alertmanager.alerts('kind="watchdog"') if one["labels"]["source"] == "push"]
        return {**found, "ends": datetime.fromisoformat(found["endsAt"])}

    def copy(self, state: str = "firing") -> list[dict[str, Any]]:
        """The page as the rule has it."""
        return self.prometheus.query(f'ALERTS{{alertname="PortalPage", alertstate="{state}"}}')

    def keys(self) -> set[str]:
        """What tells one page from another at a receiver: the group that Alertmanager names."""
        return {
            one["labels"]["incident"] for sent in self.webhook.notifications for one in sent.of("firing", kind="page")
        }


MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage(tmp_path: Path, redis_server: RedisServer) -> Iterator[MakeStage]:
    if program() is None or tool("prometheus") is None:
        pytest.skip("Alertmanager or Prometheus is missing: tools/fetch brings them where apt is")
    ends: list[Callable[[], object]] = []

    def make(*, reachable: bool = True) -> Stage:
        webhook = Webhook()
        ends.append(webhook.close)
        alertmanager = Alertmanager(tmp_path / "alertmanager", config=shortened_routing(webhook.url))
        alertmanager.start()
        ends.append(alertmanager.kill)
        daemon = Daemon(
            tmp_path / "daemon", {"redis": REDIS}, {"redis": SCENARIO},
            (alertmanager.url if reachable else f"http://127.0.0.1:{free_port()}",),
            env={"TEST_REDIS_URL": redis_server.url}, more={"labels": {"site": "tokyo"}},
        )  # fmt: skip
        prometheus = Prometheus(tmp_path / "prometheus", shortened_prometheus(alertmanager, daemon))
        (tmp_path / "prometheus" / "rules.yml").write_text(shortened_rules())
        prometheus.start()
        ends.append(prometheus.kill)
        daemon.start()  # Prometheus takes five seconds until it looks for the first time
        ends.append(daemon.kill)
        daemon.wait_for_level("redis", "ok")
        wait_until(lambda: prometheus.value('up{job="portal-monitor"}') == 1, what="the first scrape")
        return Stage(redis_server, daemon, alertmanager, prometheus, webhook)

    yield make
    for end in reversed(ends):
        end()


def test_while_push_works_only_push_pages(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.redis.kill()
    labels = stage.page_comes("push")
    assert labels == {**LABELS, "incident": labels["incident"], "source": "push"}
    wait_until(lambda: stage.prometheus.value("portal_page_open") == 1, what="the page in Prometheus")
    stage.looks(8)  # twice the rule's patience
    assert stage.copy() == stage.copy("pending") == []
    stage.redis.start()
    stage.webhook.wait_for(lambda one: one.of("resolved", kind="page"), 60)
    stage.looks(8)
    assert stage.pages("firing", "rules") == []
    assert len({one.receiver for one in stage.pages("firing", "push")}) == len(stage.pages("firing", "push")) == 2


def test_pages_come_by_prometheus_where_the_daemon_cannot_deliver_and_once_when_it_can(make_stage: MakeStage) -> None:
    stage = make_stage(reachable=False)
    stage.redis.kill()
    labels = stage.page_comes("rules")
    assert labels == {**LABELS, "incident": labels["incident"], "source": "rules"}
    assert stage.pages("firing", "push") == []
    stage.daemon.alertmanagers = (stage.alertmanager.url,)
    stage.daemon.write()
    assert stage.daemon.post("/-/reload").status_code == 200
    stage.page_comes("push")
    wait_until(lambda: not stage.copy(), what="the end of the copy")
    stage.looks(4)
    assert stage.webhook.of("resolved", kind="page") == []  # it is open, whoever says so
    stage.redis.start()
    stage.webhook.wait_for(lambda one: one.of("resolved", kind="page", source="push"), 60)
    stage.looks(4)
    assert stage.keys() == {labels["incident"]}
    assert len(stage.pages("firing", "rules")) == 2  # the channel and the engineer on call, once each


def test_a_daemon_that_is_killed_resolves_nothing_and_is_missed_and_brings_no_second_key(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.redis.kill()
    labels = stage.page_comes("push")
    wait_until(lambda: stage.prometheus.value("portal_page_open") == 1, what="the page in Prometheus")
    stage.daemon.kill()
    watchdog = stage.watchdog()
    assert (watchdog["ends"] - datetime.now(UTC)).total_seconds() < 300  # then its receiver is told nothing more
    down = stage.webhook.wait_for(lambda one: one.of("firing", alertname="PortalMonitorDown"), 60)
    assert down.receiver in {"incidents", "on-call-engineer"}
    wait_until(lambda: bool(stage.copy()), seconds=60, what="the copy that outlives the daemon")
    stage.looks(4)
    (inhibited,) = [one for one in stage.alertmanager.alerts('kind="page"') if one["labels"]["source"] == "rules"]
    assert inhibited["status"]["inhibitedBy"]
    assert stage.watchdog()["ends"] == watchdog["ends"]
    assert stage.pages("firing", "rules") == []  # Alertmanager still holds the daemon's own
    assert stage.webhook.of("resolved", kind="page") == []
    stage.alertmanager.kill()
    stage.alertmanager.start()  # it has forgotten the daemon's page; the copy takes its place
    assert stage.page_comes("rules") == {**labels, "source": "rules"}
    stage.daemon.start()
    stage.webhook.wait_for(lambda one: one.of("resolved", alertname="PortalMonitorDown"), 60)
    wait_until(lambda: not stage.copy(), what="the end of the copy")
    stage.looks(4)
    assert stage.webhook.of("resolved", kind="page") == []
    assert stage.keys() == {labels["incident"]}
