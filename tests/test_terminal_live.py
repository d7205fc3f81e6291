"""What the terminal shows of history and of the present: read from a real daemon, and from its store when it is gone."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from monitor.cli import main
from monitor.commands import limits, terminal, watch
from tests.daemon import Daemon
from tests.servers import free_port, wait_until

START = 1795453200.0
HOSTILE = "\x1b[2J[red]x[/red]\u202e{{ 7*7 }}"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One probe that is refused, one that a limit is far from."""
    quick = {"interval": "1s", "timeout": "500ms", "fail_after": 1}
    found = Daemon(
        tmp_path_factory.mktemp("daemon"),
        {
            "gone": {"type": "tcp", "target": f"127.0.0.1:{free_port()}", **quick},
            "self": {"type": "tcp", "target": "", "warn": "connect_seconds > 400ms", **quick},
        },
        {"gone": {"title": "Gone", "impact": "Nothing works.", "rules": [{"severity": "P2", "any": ["gone"]}]}},
    )
    probes: dict[str, Any] = {**found.probes, "self": {**found.probes["self"], "target": f"127.0.0.1:{found.port}"}}
    found.probes = probes
    found.start()
    wait_until(lambda: bool(found.status()["incidents"]), what="an incident")
    wait_until(lambda: _runs(found) >= 3, what="three runs")
    yield found
    found.kill()


def _runs(daemon: Daemon) -> int:
    answer = daemon.get("/api/v1/probes/self/history?range=1h").json()
    return sum(bucket["runs"] for bucket in answer["buckets"])


def test_a_limit_stands_beside_what_was_measured(daemon: Daemon) -> None:
    told = daemon.run("probe", "self", "--history", "1h")
    assert told.returncode == 0, told.stderr
    assert "self over the last 1h:" in told.stdout
    assert "connect_seconds > 400ms: never reached; the most was" in told.stdout
    found = json.loads(daemon.run("probe", "self", "--history", "1h", "--json").stdout)
    [limit] = found["limits"]
    assert (limit["text"], limit["breaches"], limit["share_beyond"]) == ("connect_seconds > 400ms", 0, 0.0)


def test_all_probes_are_shown_where_none_is_named(daemon: Daemon) -> None:
    told = daemon.run("probe", "--history", "7d").stdout
    assert "gone over the last 7d:" in told
    assert "failed" in told
    assert "self over the last 7d:" in told


@pytest.mark.parametrize("text", ["40d", "\x1b[31m"])
def test_a_range_that_is_none_is_one_clear_line(daemon: Daemon, text: str) -> None:
    told = daemon.run("probe", "self", "--history", text)
    assert told.returncode == 3
    assert "write 90m, 12h or 7d" in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_a_killed_daemon_loses_nothing_of_what_was_shown(daemon: Daemon) -> None:
    before = daemon.get("/api/v1/probes/gone/history?range=1h").json()
    runs = daemon.get("/api/v1/probes/gone/runs").json()
    daemon.kill()
    daemon.start()
    after = daemon.get("/api/v1/probes/gone/history?range=1h").json()
    kept = {bucket["at"]: bucket for bucket in after["buckets"]}
    for bucket in before["buckets"]:
        assert kept[bucket["at"]]["runs"] >= bucket["runs"]
        assert kept[bucket["at"]]["failures"] >= bucket["failures"]
    numbers = {run["number"] for run in daemon.get("/api/v1/probes/gone/runs").json()}
    assert {run["number"] for run in runs} <= numbers


def test_when_the_daemon_is_down_its_store_says_what_was(daemon: Daemon) -> None:
    daemon.stop()
    try:
        told = daemon.run("probe", "gone", "--history", "1h")
        assert told.returncode == 0, told.stderr
        assert "gone over the last 1h:" in told.stdout
    finally:
        daemon.start()


def screen(answer: Mapping[str, Any], now: float, *, alive: bool = True) -> str:
    out = io.StringIO()
    console = Console(file=out, width=110, highlight=False, force_terminal=False)
    console.print(watch.render(answer, now, alive=alive))
    return out.getvalue()


def test_the_live_view_says_what_is_broken_and_what_comes_next(daemon: Daemon) -> None:
    status = daemon.status()
    [incident] = status["incidents"]
    now = watch._seconds(incident["opened_at"]) + 65
    shown = screen(status, now)
    assert "P2 Gone  investigating for 1:0" in shown
    assert "Nothing works." in shown
    assert "a status update is due in 58:55" in shown
    assert shown.index("gone") < shown.index("self ")
    assert "The daemon does not run" in screen(status, now, alive=False)


def test_the_live_view_looks_again_and_again_until_it_is_left() -> None:
    answers = iter([{"incidents": [], "probes": [], "at": "2026-11-23T17:00:00Z", "monitor": MONITOR}] * 2)
    out = io.StringIO()
    watch.SECONDS, before = 0.01, watch.SECONDS
    try:
        watch.watch(Console(file=out, width=80), lambda: (next(answers), True), looks=2)
    finally:
        watch.SECONDS = before
    assert "No open incident." in out.getvalue()
    assert next(answers, None) is None


MONITOR = {"version": "0", "ready": True, "store_error": "", "reload_ok": True}


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warn", 1), ("unknown", 3)])
@pytest.mark.parametrize("option", ["--json", "--watch"])
def test_the_exit_code_of_a_status_is_that_of_what_is_watched(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, level: str, code: int, option: str
) -> None:
    probes = [{"enabled": True, "level": level}, {"enabled": False, "level": "unknown"}]
    monkeypatch.setattr("monitor.commands.access.Access.status", lambda _: {"probes": probes})
    monkeypatch.setattr("monitor.cli._watch", lambda _, answer: answer)
    assert CliRunner().invoke(main, ["status", "-c", str(daemon.path), option]).exit_code == code


@pytest.mark.parametrize(("level", "said"), [("fail", "95%"), ("warn", "80%"), ("ok", "95%")])
def test_the_limit_that_made_the_level_stands_beside_the_number(level: str, said: str) -> None:
    """Of a level that nothing has confirmed yet, the worst that was reached."""
    limits = [
        {"text": f"used_ratio > {limit}%", "level": of, "measurement": "used_ratio", "holds": True}
        for of, limit in (("warn", 80), ("warn", 85), ("fail", 95))
    ]
    row = {
        "level": level, "reason": "", "detail": "", "run_reason": "", "measurements": {"used_ratio": 1.0}, "conditions": limits,
    }  # fmt: skip
    assert f"(over the limit: used_ratio > {said})" in terminal._said(row).plain


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "probes.yaml: there is no log probe in it"),
        (["--probe", "self"], 'probes.yaml: there is no log probe "self" in it'),
    ],
)
def test_a_scan_by_a_file_without_a_log_probe_is_refused(daemon: Daemon, words: list[str], said: str) -> None:
    done = CliRunner().invoke(main, ["scan", "x.log", "-c", str(daemon.path), *words])
    assert (done.exit_code, done.stderr) == (2, f"portal-monitor: {daemon.folder}/{said}\n")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (372, "6 min 12 s"),
        (3900, "1 h 5 min"),
        (93600, "1 d 2 h"),
        (90000 + 59, "1 d 1 h"),
        (21600 * 3600, "900 d"),
    ],
)
def test_a_long_time_is_told_in_days(seconds: float, said: str) -> None:
    assert terminal._short(seconds) == said


def test_nothing_that_comes_from_outside_steers_the_terminal() -> None:
    probe = {
        "name": "p", "enabled": True, "level": "fail", "since": None, "advice": HOSTILE, "measurements": {}, "conditions": [],
    }  # fmt: skip
    incident = {
        "severity": "P1", "title": HOSTILE, "state": "investigating", "started_at": "2026-11-23T17:00:00Z", "parent": None,
        "impact": HOSTILE, "key": "k", "why": [HOSTILE], "acknowledged": True,
        "ack": {"by": HOSTILE, "at": "2026-11-23T17:00:00Z"},
        "deadlines": {
            "response_due_at": None, "resolves_at": None, "held": "", "next_update_at": None,
            "steps": [{"escalation_level": "L2", "to": HOSTILE, "vendor": HOSTILE, "at": "2026-11-23T17:30:00Z"}],
        },
    }  # fmt: skip
    monitor = {**MONITOR, "version": HOSTILE, "store_error": HOSTILE}
    shown = screen(
        {"incidents": [incident], "probes": [probe], "at": "2026-11-23T17:00:00Z", "monitor": monitor}, START
    )
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[red]x[/red]" in shown  # shown as it is: no markup of the terminal's


def test_a_number_that_is_right_or_wrong_is_told_in_a_sentence() -> None:
    limit: dict[str, Any] = {
        "text": "ping_seconds > 1s", "level": "fail", "measurement": "ping_seconds", "breaches": 0, "share_beyond": 0.0,
        "measured": {"count": 9, "low": 0.1, "mean": 0.2, "high": 0.4, "p50": 0.2, "p95": 0.4, "p99": 0.4},
    }  # fmt: skip
    assert limits.verdict(limit, "7d") == "never reached; the most was 400 ms, the least 100 ms."
    often = limits.verdict({**limit, "breaches": 14, "share_beyond": 0.031}, "7d")
    assert often == "confirmed 14 times in 7d; 3.1 % of runs were beyond it."
    short = limits.verdict({**limit, "share_beyond": 0.000001}, "7d")
    assert short == "0.01 % of runs were beyond it, but never for long enough to be confirmed."
    assert "never measured" in limits.verdict({**limit, "measured": None}, "7d")
