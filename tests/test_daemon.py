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
from redis import Redis

from monitor.sandbox.servers import RedisServer
from tests.alertmanager import Alertmanager, Webhook, program, routing
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
    (page,) = server.alerts('kind="page"')
    assert page["labels"]["incident"] == before["key"]
    after = daemon.status()["incidents"]
    assert [(item["key"], item["opened_at"], item["state"]) for item in after] == [
        (before["key"], before["opened_at"], "investigating")
    ]
    redis_server.start()
    webhook.wait_for(
        lambda one: one.of("resolved", scenario="redis", kind="page"), 60
    )  # seen at the next tick of its interval
    assert len(webhook.of("firing", scenario="redis", kind="page")) == 1
    assert len(webhook.of("resolved", scenario="redis", kind="page")) == 1


def test_what_ended_while_no_daemon_ran_is_told_however_long_ago_that_was(
    make_daemon: MakeDaemon, redis_server: RedisServer, alertmanager: tuple[Alertmanager, Webhook]
) -> None:
    server, webhook = alertmanager
    daemon = make_daemon(alertmanagers=(server.url,))
    daemon.start()
    daemon.wait_for_level("redis", "ok")
    redis_server.kill()
    webhook.wait_for_alert("firing", scenario="redis")
    daemon.kill()
    done = daemon.run("incident", "resolve", "redis", "--force", "the server is given up", "--by", "ann")
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(daemon.folder / "state.db") as db:  # hours ago
        db.execute("UPDATE page SET fired_at = fired_at - 7200, ended_at = ended_at - 7200")
    db.close()
    daemon.start()
    daemon.wait_for_level("redis", "fail")
    webhook.wait_for(lambda one: one.of("resolved", scenario="redis", kind="page"), 30)
    assert not server.alerts('kind="page"')  # nor was anybody called anew: it fails no worse


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
    webhook.wait_for(
        lambda one: one.of("resolved", scenario="redis", kind="page"), 60
    )  # seen at the next tick of its interval
    assert len(webhook.of("firing", scenario="redis", kind="page")) == 1


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


def test_the_first_notification_has_what_answered_after_the_incident_opened(
    make_daemon: MakeDaemon, redis_server: RedisServer, tmp_path: Path
) -> None:
    door = socket.create_server(("127.0.0.1", 0))
    rules = [
        {"severity": "P2", "any": ["redis"], "for": "2s"},  # by then, what is known of the door is old
        {"severity": "P3", "any": ["door"], "for": "1h"},  # the door by itself tells nobody anything
    ]
    scenario = {**SCENARIO, "rules": rules, "steps": [{"do": "Is the door open?", "show": "door"}]}
    target = f"127.0.0.1:{door.getsockname()[1]}"
    probes = {"redis": REDIS, "door": {"type": "tcp", "target": target, "interval": "1h", "fail_after": 1}}
    with Webhook() as webhook:
        config = routing(webhook.url).replace('"group_wait": "0s"', '"group_wait": "3s"')
        server = Alertmanager(tmp_path / "alertmanager", config=config)
        server.start()
        try:
            daemon = make_daemon(probes=probes, scenarios={"redis": scenario}, alertmanagers=(server.url,))
            daemon.start()
            daemon.wait_for_level("redis", "ok")
            daemon.wait_for_level("door", "ok")
            door.close()  # the next look at it would be in an hour
            redis_server.kill()
            (alert,) = webhook.wait_for_alert("firing", scenario="redis").of("firing", scenario="redis")
        finally:
            server.stop()
    assert "1. Is the door open? => door: fail, unreachable" in alert["annotations"]["diagnosis"]


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


def test_log_counts_and_replay_ages_go_on_over_a_kill(
    make_daemon: MakeDaemon, redis_server: RedisServer, tmp_path: Path
) -> None:
    log = tmp_path / "combined.log"
    with Redis.from_url(redis_server.url) as client:
        client.set("sf:pe:replay:/event/Order__e", "12907414")
    probes = {
        "errors": {"type": "log", "path": str(log), "interval": "1s", "timeout": "900ms", "window": "1m"},
        "replay": {"type": "replay", "url": "${TEST_REDIS_URL}", "interval": "1s", "timeout": "900ms"},
    }
    scenario = {"title": "Everything", "rules": [{"severity": "P3", "any": ["errors", "replay"]}]}
    daemon = make_daemon(probes=probes, scenarios={"everything": scenario})
    _write_lines(log, 100)
    daemon.start()
    _write_lines(log, 100)
    # Lines from before the daemon's first start are in the window; the counters count from then on.
    wait_until(lambda: _metric(daemon, "portal_log_lines_total") >= 100, what="the lines to be counted")
    counted = _metric(daemon, "portal_log_lines_total")
    wait_until(lambda: _metric(daemon, "portal_replay_last_change_timestamp_seconds") > 0, what="the replay id's age")
    changed = _metric(daemon, "portal_replay_last_change_timestamp_seconds")
    for _ in range(3):
        daemon.kill()
        _write_lines(log, 50)  # while nobody looks
        daemon.start()
        _write_lines(log, 50)
    wait_until(lambda: _metric(daemon, "portal_log_lines_total") >= counted + 300, what="the lines to be counted")
    assert _metric(daemon, "portal_log_lines_total") == counted + 300
    wait_until(lambda: daemon.probe("replay")["outcome"] == "success", what="a run of the replay probe")
    assert abs(_metric(daemon, "portal_replay_last_change_timestamp_seconds") - changed) < 0.01


def _write_lines(log: Path, number: int) -> None:
    line = '{"level":30,"time":%d,"req":{"id":1,"method":"GET","url":"/"},"res":{"statusCode":200},"responseTime":3,"msg":"request completed"}\n'
    with log.open("a") as file:
        file.write((line % (time.time() * 1000)) * number)


def _metric(daemon: Daemon, name: str) -> float:
    """The sum of a family's samples; 0 while there is none."""
    lines = [line for line in daemon.get("/metrics").text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_alert_test_sends_one_page_end_to_end_and_takes_it_back(
    make_daemon: MakeDaemon, alertmanager: tuple[Alertmanager, Webhook]
) -> None:
    server, webhook = alertmanager
    daemon = make_daemon(alertmanagers=(server.url,))
    daemon.write()
    said = daemon.run("alert-test", "--severity", "P2")
    assert (said.returncode, said.stderr) == (0, "")
    assert "took a P2 page and routes it to: people" in said.stdout
    assert webhook.wait_for_alert("firing", alertname="PortalMonitorTest", severity="P2")
    assert webhook.wait_for_alert("resolved", alertname="PortalMonitorTest", severity="P2")
    server.stop()
    refused = daemon.run("alert-test")
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)


def test_probe_looks_once_and_its_exit_code_is_the_worst_level(
    make_daemon: MakeDaemon, redis_server: RedisServer
) -> None:
    daemon = make_daemon(
        probes={"redis": REDIS, "closed": {"type": "tcp", "target": "127.0.0.1:9", "needs": ["redis"]}}
    )
    daemon.write()
    assert daemon.run("probe", "redis").returncode == 0
    both = daemon.run("probe", "--json")
    assert both.returncode == 2
    assert {item["name"]: item["level"] for item in json.loads(both.stdout)} == {"redis": "ok", "closed": "fail"}
    redis_server.kill()
    assert {item["level"] for item in json.loads(daemon.run("probe", "closed", "--json").stdout)} == {"unknown"}
    typo = daemon.run("probe", "redsi")
    assert typo.returncode == 3
    assert 'did you mean "redis"?' in typo.stderr
    assert not (daemon.folder / "state.db").exists()


def test_probe_looks_twice_where_a_limit_is_on_a_rate(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(probes={"redis": {**REDIS, "warn": "evicted_keys_per_second > 0"}})
    daemon.write()
    assert daemon.run("probe", "redis").returncode == 0
