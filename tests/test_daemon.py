"""The daemon as a process: starts, watches, reloads, dies and comes back, against real servers."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.sandbox.servers import RedisServer
from tests.alertmanager import Alertmanager, Webhook, program
from tests.daemon import Daemon
from tests.servers import wait_until

MakeDaemon = Callable[..., Daemon]
REDIS = {
    "type": "redis",
    "url": "${TEST_REDIS_URL}",
    "interval": "15s",
    "timeout": "2s",
    "fail_after": 3,
    "retry_interval": "100ms",
}
SCENARIO = {"title": "Redis connection failures", "rules": [{"severity": "P2", "any": ["redis"]}]}


@pytest.fixture
def make_daemon(tmp_path: Path, redis_server: RedisServer) -> Iterator[MakeDaemon]:
    made: list[Daemon] = []

    def make(**more: Any) -> Daemon:
        defaults: dict[str, Any] = {
            "probes": {"redis": REDIS},
            "scenarios": {"redis": SCENARIO},
            "env": {"TEST_REDIS_URL": redis_server.url},
        }
        made.append(Daemon(tmp_path / "daemon", **{**defaults, **more}))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[tuple[Alertmanager, Webhook]]:
    if program() is None:
        pytest.skip("Alertmanager is missing: tools/fetch brings it where apt is")
    with Webhook() as webhook:
        server = Alertmanager(tmp_path / "alertmanager", webhook.url)
        server.start()
        yield server, webhook
        server.stop()


def test_it_watches_a_real_redis_and_sees_at_once_that_it_was_killed(
    make_daemon: MakeDaemon, redis_server: RedisServer
) -> None:
    daemon = make_daemon()
    daemon.start()
    daemon.wait_for_level("redis", "ok")
    redis_server.kill()
    killed = time.monotonic()
    daemon.wait_for_level("redis", "fail")
    assert time.monotonic() - killed < 10  # its interval is 15 s: the closed connection woke it
    (incident,) = daemon.status()["incidents"]
    assert (incident["scenario"], incident["severity"], incident["state"]) == ("redis", "P2", "investigating")
    redis_server.start()
    daemon.wait_for_level("redis", "ok", seconds=30)
    wait_until(lambda: daemon.status()["incidents"][0]["state"] == "resolved", what="resolved")


def test_sigterm_ends_it_cleanly_within_five_seconds(make_daemon: MakeDaemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        hanging = {"type": "http", "url": url, "interval": "31s", "timeout": "30s"}
        daemon = make_daemon(probes={"redis": REDIS, "hanging": hanging})
        daemon.start()
        daemon.wait_for_level("redis", "ok")
        connection, _ = silent.accept()
        with connection:
            asked = time.monotonic()
            assert daemon.stop() == 0
    assert time.monotonic() - asked < 5
    assert "Traceback" not in daemon.log.read_text()
    known = json.loads(daemon.run("status", "--json").stdout)  # from the store
    assert {item["name"]: item["level"] for item in known["probes"]} == {"redis": "ok", "hanging": "unknown"}


def test_a_second_daemon_on_the_same_store_refuses_in_one_line(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.start()
    second = daemon.run("run")
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.count("\n") == 1
    assert "another portal-monitor is running" in second.stderr


def test_a_bad_configuration_ends_the_start_with_two_and_every_problem(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(probes={"redis": {**REDIS, "interval": "1s", "warn": "memory_usd_ratio > 1"}})
    daemon.write()
    started = daemon.run("run")
    assert started.returncode == 2
    assert len(started.stderr.strip().splitlines()) >= 2
    assert "Traceback" not in started.stderr


@pytest.mark.parametrize("way", ["signal", "post"])
def test_a_reload_names_what_changed_and_a_bad_file_changes_nothing(make_daemon: MakeDaemon, way: str) -> None:
    daemon = make_daemon()
    daemon.start()
    daemon.wait_for_level("redis", "ok")

    def reload() -> Any:
        if way == "signal":
            daemon.signal(signal.SIGHUP)
            return None
        return daemon.post("/-/reload")

    daemon.probes = {"redis": {**REDIS, "interval": "3s"}, "extra": {"type": "tcp", "target": "127.0.0.1:9"}}
    daemon.write()
    answer = reload()
    wait_until(lambda: {item["name"] for item in daemon.status()["probes"]} == {"redis", "extra"}, what="the new probe")
    if answer is not None:
        said = answer.json()
        assert (said["added"], said["changed"], said["removed"]) == (["extra"], ["redis", "scenario:other"], [])
    assert daemon.probe("redis")["level"] == "ok"

    daemon.probes = {"redis": {**REDIS, "interval": "nonsense"}}
    daemon.write()
    answer = reload()
    wait_until(
        lambda: "portal_monitor_config_last_reload_successful 0.0" in daemon.get("/metrics").text, what="the metric"
    )
    if answer is not None:
        assert answer.status_code == 500
        assert "probes.redis.interval" in answer.text
    wait_until(lambda: "reload_failed" in daemon.log.read_text(), what="the log")
    assert {item["name"] for item in daemon.status()["probes"]} == {"redis", "extra"}


def test_a_reload_without_the_token_is_refused(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.post("/-/reload", token=False).status_code in {401, 403}
    assert (daemon.folder / "token").stat().st_mode & 0o077 == 0


def test_killed_in_an_incident_and_started_again_it_tells_nobody_anything(
    make_daemon: MakeDaemon, redis_server: RedisServer, alertmanager: tuple[Alertmanager, Webhook]
) -> None:
    server, webhook = alertmanager
    daemon = make_daemon(alertmanagers=(server.url,))
    daemon.start()
    daemon.wait_for_level("redis", "ok")
    redis_server.kill()
    webhook.wait_for_alert("firing", scenario="redis")
    before = daemon.status()["incidents"][0]
    for _ in range(3):
        daemon.kill()
        daemon.start()
        daemon.wait_for_level("redis", "fail")
    (page,) = server.alerts('scenario="redis"')
    assert page["labels"]["incident"] == before["key"]
    after = daemon.status()["incidents"]
    assert [(item["key"], item["opened_at"], item["state"]) for item in after] == [
        (before["key"], before["opened_at"], "investigating")
    ]
    redis_server.start()
    webhook.wait_for(lambda one: one.of("resolved", scenario="redis"), 60)  # seen at the next tick of its interval
    assert len(webhook.of("firing", scenario="redis")) == 1
    assert len(webhook.of("resolved", scenario="redis")) == 1


def test_an_empty_store_adopts_the_pages_that_alertmanager_holds(
    make_daemon: MakeDaemon, redis_server: RedisServer, alertmanager: tuple[Alertmanager, Webhook]
) -> None:
    server, webhook = alertmanager
    daemon = make_daemon(alertmanagers=(server.url,))
    daemon.start()
    daemon.wait_for_level("redis", "ok")
    redis_server.kill()
    webhook.wait_for_alert("firing", scenario="redis")
    key = daemon.status()["incidents"][0]["key"]
    daemon.kill()
    for file in daemon.folder.glob("state.db*"):
        file.unlink()
    daemon.start()
    assert [item["key"] for item in daemon.status()["incidents"]] == [key]
    redis_server.start()
    webhook.wait_for(lambda one: one.of("resolved", scenario="redis"), 60)  # seen at the next tick of its interval
    assert len(webhook.of("firing", scenario="redis")) == 1


def test_a_page_carries_the_labels_of_the_contract_and_the_diagnosis(
    make_daemon: MakeDaemon, redis_server: RedisServer, alertmanager: tuple[Alertmanager, Webhook]
) -> None:
    server, webhook = alertmanager
    daemon = make_daemon(alertmanagers=(server.url,), more={"labels": {"site": "tokyo"}})
    daemon.start()
    daemon.wait_for_level("redis", "ok")
    redis_server.kill()
    (alert,) = webhook.wait_for_alert("firing", scenario="redis").of("firing", scenario="redis")
    incident = alert["labels"].pop("incident")
    assert incident.startswith("redis-2")
    assert alert["labels"] == {
        "alertname": "Redis", "scenario": "redis", "severity": "P2", "escalation_level": "L1", "vendor": "none",
        "attempt": "1", "audience": "oncall", "kind": "page", "source": "push", "site": "tokyo",
    }  # fmt: skip
    words = alert["annotations"]
    assert words["title"] == "[P2] Redis connection failures"
    assert words["severity_now"] == "P2"
    assert "INCIDENT UPDATE - P2 - Redis connection failures" in words["status_update"]
    assert "redis: fail, unreachable" in words["diagnosis"]
    (watchdog,) = server.alerts('kind="watchdog"')
    assert watchdog["labels"]["alertname"] == "PortalMonitorWatchdog"


CANARY = "canary-4f1c9e77d2"


def test_secrets_are_found_nowhere(
    make_daemon: MakeDaemon, redis_server: RedisServer, alertmanager: tuple[Alertmanager, Webhook]
) -> None:
    server, webhook = alertmanager
    port = redis_server.url.rpartition(":")[2].partition("/")[0]
    probes = {
        "redis": REDIS,
        "wrong-password": {"type": "redis", "url": "${TEST_CANARY_URL}", "interval": "1s", "timeout": "500ms"},
        "whmcs": {
            "type": "whmcs", "url": "http://127.0.0.1:9/api.php", "identifier": "${TEST_CANARY}",
            "secret": "${TEST_CANARY}", "interval": "1s", "timeout": "500ms",
        },
        "database": {"type": "postgres", "url": "${TEST_CANARY_DATABASE}", "interval": "1s", "timeout": "500ms"},
    }  # fmt: skip
    env = {
        "TEST_REDIS_URL": redis_server.url,
        "TEST_CANARY": CANARY,
        "TEST_CANARY_URL": f"redis://user:{CANARY}@127.0.0.1:{port}/0",
        "TEST_CANARY_DATABASE": f"postgresql://user:{CANARY}@127.0.0.1:9/x",
    }
    scenario = {
        "title": "Everything",
        "rules": [{"severity": "P2", "any": ["whmcs", "database", "wrong-password@unknown"]}],
    }
    daemon = make_daemon(probes=probes, env=env, scenarios={"everything": scenario}, alertmanagers=(server.url,))
    daemon.start()
    daemon.wait_for_level("whmcs", "fail")
    daemon.wait_for_level("database", "fail")
    daemon.wait_for_level("wrong-password", "unknown")
    webhook.wait_for_alert("firing", scenario="everything")
    said = [
        daemon.get(route).text for route in ("/", "/metrics", "/api/v1/status", "/probes/whmcs", "/probes/database")
    ]
    said += [json.dumps(server.alerts()), daemon.run("status").stdout, daemon.run("check").stdout]
    said += [str(daemon.run(*command)) for command in (["probe"], ["probe", "--json"])]
    daemon.kill()
    said.append(daemon.log.read_text())
    with sqlite3.connect(daemon.folder / "state.db") as db:
        said += list(db.iterdump())
    db.close()
    assert all(text for text in said)
    assert [text[:200] for text in said if CANARY in text] == []
