"""The commands about incidents: on a daemon that runs, and on its store while none does."""

from __future__ import annotations

import csv
import json
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from monitor.cli import main
from monitor.commands.incidents import causes
from tests.daemon import Daemon
from tests.servers import free_port, wait_until

SCRIPT = "<b>[bold red]</b>\x1b[31m{{ 7 * 7 }}\u202e"
Run = Callable[..., Result]


def _daemon(folder: Path) -> Daemon:
    closed = {"type": "tcp", "target": f"127.0.0.1:{free_port()}", "interval": "1s", "timeout": "500ms"}
    never = {"type": "tcp", "target": "127.0.0.1:1", "enabled": False}

    def scenario(title: str, severity: str, probe: str, **more: Any) -> dict[str, Any]:
        return {"title": title, "impact": f"{title} hurts.", "rules": [{"severity": severity, "any": [probe]}], **more}

    found = Daemon(
        folder,
        probes={"closed": closed, "never": never},
        scenarios={
            "broken": scenario("It is broken", "P2", "closed"),
            "orders": scenario("Orders wait", "P3", "never"),
            "orders-late": scenario("Orders are late", "P3", "never"),
            "security": scenario(
                "Security incident", "P4", "never", declared={"severity": "P1", "escalate_now": ["L2", "L3"]}
            ),
        },
        lifecycle={"monitor": "1h", "reopen_within": "0s"},
    )
    found.more = {"web": {"listen": f"127.0.0.1:{found.port}", "external_url": "https://monitor.example.com"}}
    return found


@contextmanager
def _started(folder: Path) -> Iterator[Daemon]:
    found = _daemon(folder)
    try:
        found.start()
        wait_until(lambda: [item["scenario"] for item in found.status()["incidents"]] == ["broken"], what="an incident")
        yield found
    finally:
        found.kill()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """One that runs and has seen that something is broken."""
    with _started(tmp_path / "daemon") as found:
        yield found


@pytest.fixture(scope="module")
def _standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with _started(tmp_path_factory.mktemp("standing") / "daemon") as found:
        yield found


@pytest.fixture
def standing(_standing: Daemon) -> Daemon:
    """Likewise, one for all tests that leave it as it is."""
    _standing.write()
    return _standing


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A place where clocks are nine hours ahead, and somebody who is there."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("SUDO_USER", "mei")
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    monkeypatch.undo()
    time.tzset()
    structlog.reset_defaults()  # a command logs errors alone, and this process has more to log
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def _runs(daemon: Daemon) -> Run:
    """Commands in this process, on the files of a daemon."""

    def command(*words: str) -> Result:
        result = CliRunner().invoke(main, [*words, "-c", str(daemon.path)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return command


@pytest.fixture
def run(daemon: Daemon, here: None) -> Run:
    """A command on the test's own daemon."""
    return _runs(daemon)


@pytest.fixture
def ask(standing: Daemon, here: None) -> Run:
    """A command on the daemon of all."""
    return _runs(standing)


def good(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def refused(result: Result) -> str:
    """The reason, which is one line on stderr, and nothing else is said."""
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.startswith("portal-monitor: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr.removeprefix("portal-monitor: ").strip())


def shown(run: Run, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(good(run("incident", "show", *words, "--json")))
    return found


def test_an_incident_is_carried_to_its_review_by_commands(run: Run) -> None:
    key = shown(run)["key"]
    assert "Acknowledged at P2" in good(run("incident", "ack", "--note", "On it"))
    assert refused(run("incident", "ack", key)) == "mei has acknowledged it already"
    assert "Restarted the BFF" in good(run("incident", "note", "Restarted the BFF", "--fix"))
    assert "The disk is full" in good(run("incident", "identify", key[:10], "The disk is full"))
    assert "Ten customers" in good(run("incident", "impact", "broken", "Ten customers cannot pay", "--customers"))
    assert "Emptying the disk" in good(run("incident", "update", "Emptying the disk"))
    assert "P2 to P1 by hand: all of it" in good(run("incident", "severity", "P1", "--why", "all of it"))
    found = shown(run, key)
    assert (found["state"], found["severity"], found["cause"]) == ("identified", "P1", "The disk is full")
    assert {event["by"] for event in found["events"]} == {"monitor", "mei"}
    assert [page["escalation_level"] for page in found["pages"] if page["severity"] == "P1"] == ["L1"]
    assert refused(run("incident", "resolve")).endswith("or say why not: --force WHY")
    assert "although probes fail: it is being replaced" in good(
        run("incident", "resolve", "--force", "it is being replaced", "--by", "Ann")
    )
    assert refused(run("incident", "ack")) == "no incident is open"
    draft = good(run("incident", "review"))
    assert draft.startswith("# Post-incident review: It is broken")
    assert "Restarted the BFF" in draft
    assert "Held on Friday" in good(run("incident", "review", "--done", "--note", "Held on Friday"))
    assert refused(run("incident", "review", "--done")) == "no review is owed"
    assert refused(run("incident", "review", "broken", "--done")) == "mei has reviewed it already"
    (row,) = csv.DictReader(good(run("incident", "list", "--since", "30d", "--csv")).splitlines())
    assert (row["incident"], row["peak"], row["response"], row["review"]) == (key, "P1", "in time", "done")
    (item,) = json.loads(good(run("incident", "list", "--since", "30d", "--json")))
    assert (item["key"], item["numbers"]["openings"]) == (key, 1)
    table = good(run("incident", "list", "--since", "30d"))
    assert key in table
    assert "P1: 1 incident; median: detected in " in table


def test_without_a_name_the_cause_is_meant_and_not_its_symptoms() -> None:
    redis, slow = {"key": "redis", "parent": None}, {"key": "performance", "parent": "redis"}
    assert causes([redis, slow]) == [redis]
    assert causes([slow]) == [slow]


def test_an_incident_is_named_by_key_beginning_or_scenario(run: Run) -> None:
    orders = json.loads(
        good(run("incident", "open", "orders", "A", "customer", "rang", "--source", "customer", "--json"))
    )
    good(run("incident", "open", "orders-late", "It is late", "--severity", "P4", "--since", "30m"))
    assert orders["events"][0]["text"] == "P3, reported (customer): A customer rang"
    assert shown(run, "orders")["key"] == orders["key"]
    assert shown(run, "orders-l")["scenario"] == "orders-late"
    assert shown(run, "b")["scenario"] == "broken"
    assert refused(run("incident", "ack", "ord")).startswith('"ord" is the beginning of several: orders-')
    assert refused(run("incident", "ack")).startswith("3 incidents are open; say which: broken-")
    assert refused(run("incident", "ack", "nothing")).startswith('There is no incident "nothing"')
    assert refused(run("incident", "show", "../status")) == 'there is nothing of the name "../status"'
    good(run("incident", "resolve", "orders"))
    assert shown(run, "orders")["state"] == "resolved"
    assert refused(run("incident", "resolve", orders["key"])) == f"{orders['key']} is resolved"
    assert "It was late" in good(run("incident", "note", "orders", "It was late"))


def test_security_is_declared_and_opened_by_it_and_a_second_time_refused(run: Run) -> None:
    said = good(run("incident", "declare", "security", "--why", "A stranger in the logs"))
    assert "P1, declared: A stranger in the logs" in said
    assert refused(run("incident", "declare", "security", "--why", "Again")).endswith("is declared already")
    assert refused(run("incident", "declare", "broken", "--why", "x")).endswith("write customer_impact")
    assert refused(run("incident", "declare", "orders", "--why", "x")) == "the runbook declares nothing for orders"
    assert "Customers are affected" in good(run("incident", "declare", "customer_impact", "broken", "--why", "Calls"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["incident", "note", " "], "say a note"),
        (["incident", "severity", "P7", "--why", "x"], 'severity: "P7" was found; write P1, P2, P3 or P4'),
        (["incident", "open", "orders", "x", "--since", "never"], '--since: "never" was found; write 14:05, 30m, or'),
        (["incident", "open", "nothing", "x"], 'there is no scenario "nothing"; there are broken, '),
        (["incident", "list", "--since", "x"], '--since: "x" was found; write 14:05, 30m, or'),
        (["maintenance", "start", "closed", "--for", "2", "--reason", "x"], 'for: "2" has no unit; write "2s"'),
        (
            ["maintenance", "start", "clsed", "--for", "2h", "--reason", "x"],
            'there is no probe and no scenario "clsed"; did you mean "closed"?',
        ),
        (
            ["maintenance", "start", "scenario:oders", "--for", "2h", "--reason", "x"],
            'there is no probe and no scenario "scenario:oders"; did you mean "orders"?',
        ),
        (
            ["maintenance", "start", "closed", "--for", "3651d", "--reason", "x"],
            'for: "3651d" is too long; at most 3650d',
        ),
        (["maintenance", "end", "x"], 'no maintenance "x" is under way'),
        (["explain", "brokn"], 'There is no scenario and no incident "brokn"; did you mean "broken'),
    ],
)
def test_what_is_wrong_is_one_line(ask: Run, words: list[str], said: str) -> None:
    assert refused(ask(*words)).startswith(said)


def test_text_that_is_not_in_quotes_is_asked_for_in_quotes(ask: Run) -> None:
    result = ask("incident", "note", "broken", "the", "disk")
    assert result.exit_code == 2
    assert 'put the text in quotes: "the disk"' in result.output


def test_what_people_read_says_times_in_utc_and_here_and_what_comes(ask: Run) -> None:
    good(ask("incident", "note", f"Two\nlines {SCRIPT}"))
    said = good(ask("incident", "show"))
    assert "P2  It is broken  investigating" in said
    assert "It is broken hurts." in said
    assert "UTC" in said
    assert "JST" in said
    assert "L2 Development lead is paged, unless it is resolved before" in said
    assert re.search(r"response +due in (1h|59m)", said)
    assert "lines <b>[bold red]</b> [31m{{ 7 * 7 }}" in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    listed = good(ask("incident", "list"))
    assert "P2 It is broken  investigating since " in listed
    assert re.search(r"response: due in (1h|59m)", listed)
    status = ask("status")
    assert status.exit_code == 2
    assert re.search(r"response: due in (1h|59m)", status.stdout)
    explained = good(ask("explain", "broken"))
    assert "It is P2 because of closed." in explained
    assert "✗ P2 closed: holds since " in explained
    for words in (["brok"], []):  # without a name the only one that is open
        assert good(ask("explain", *words)).splitlines()[:3] == explained.splitlines()[:3]
    messages = good(ask("incident", "show", "--messages"))
    assert "INCIDENT UPDATE - P2 - It is broken" in messages


def test_maintenance_is_begun_listed_and_ended(ask: Run) -> None:
    begun = json.loads(good(ask("maintenance", "start", "orders", "closed", "--for", "2h", "--reason", "x", "--json")))
    assert (begun["of"], begun["by"]) == (["scenario:orders", "closed"], "mei")
    assert "scenario:orders, closed  until " in good(ask("maintenance", "list"))
    assert "kept back by maintenance" in good(ask("explain", "broken"))
    good(ask("maintenance", "end", begun["key"]))
    assert good(ask("maintenance", "list")) == "No maintenance, and none is planned.\n"


def test_the_commands_are_commands_of_a_process_too(standing: Daemon) -> None:
    daemon = standing
    said = daemon.run("incident", "note", "Seen", "--by", "Ann")
    assert (said.returncode, said.stderr) == (0, "")
    assert ": Seen\n" in said.stdout
    (daemon.folder / "probes.yaml").write_text("probes: {}\nnonsense: 1\n")
    bad = daemon.run("incident", "list")
    assert (bad.returncode, "Traceback" in bad.stderr) == (2, False)


# --- while no daemon runs --------------------------------------------------------------------------------------------


def test_while_the_daemon_is_down_the_store_tells_and_takes_what_people_do(run: Run, daemon: Daemon) -> None:
    running = shown(run)
    daemon.stop()
    result = run("incident", "show", "--json")
    assert result.stderr.startswith("No daemon answers; this is from its store, last written 20")
    stored = json.loads(good(result))
    assert {**stored, "coming": 0, "deadlines": 0} == {**running, "coming": 0, "deadlines": 0}
    assert json.loads(run("status", "--json").stdout)["incidents"][0]["key"] == running["key"]
    assert "It is P2 because of closed." in good(run("explain", "broken"))
    acked = run("incident", "ack")
    assert "response: mei acknowledged it at P2" in good(acked)
    assert acked.stderr == "No daemon answers; it is saved in its store. Nobody is told before a daemon runs again.\n"
    assert refused(run("incident", "ack")) == "mei has acknowledged it already"
    opened = run("incident", "open", "orders", "A customer rang", "--severity", "P2", "--json")
    assert json.loads(good(opened))["severity"] == "P2"
    assert "scenario:broken" in good(run("maintenance", "start", "broken", "--for", "1h", "--reason", "x"))
    good(run("incident", "list", "--csv"))
    before = shown(run, "broken")
    daemon.start()
    found = daemon.get(f"/api/v1/incidents/{running['key']}").json()
    assert [event["text"] for event in found["events"]][: len(before["events"])] == [
        event["text"] for event in before["events"]
    ]
    assert found["ack"]["by"] == "mei"
    orders = shown(run, "orders")
    assert (orders["severity"], [page["escalation_level"] for page in orders["pages"]]) == ("P2", ["L1"])


def test_while_a_daemon_holds_the_store_nobody_else_writes(ask: Run, standing: Daemon) -> None:
    key, text = shown(ask)["key"], standing.path.read_text()
    # As for a command whose file names another port than the daemon listens on: it asks where nobody answers.
    standing.path.write_text(text.replace(f"127.0.0.1:{standing.port}", f"127.0.0.1:{free_port()}"))
    said = refused(ask("incident", "note", key, "Two at once"))
    assert "another portal-monitor is running on this store" in said
    assert "Two at once" not in str(standing.get(f"/api/v1/incidents/{key}").json()["events"])
    assert shown(ask)["key"] == key  # to look takes no lock


def test_without_a_daemon_and_a_store_nothing_is_made(tmp_path: Path, here: None) -> None:
    daemon = _daemon(tmp_path / "new")
    daemon.write()
    for words in (["incident", "list"], ["incident", "open", "orders", "x"], ["backup", str(tmp_path / "copy")]):
        result = CliRunner().invoke(main, [*words, "-c", str(daemon.path)])
        assert "there is no store yet" in refused(result)
    assert CliRunner().invoke(main, ["status", "-c", str(daemon.path)]).exit_code == 3
    assert sorted(path.name for path in daemon.folder.iterdir()) == ["probes.yaml", "runbook.yaml"]


def test_a_backup_is_a_whole_store_and_never_overwrites(ask: Run, standing: Daemon, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert good(ask("backup", str(copy))) == f"{copy}: a copy of {standing.folder}/state.db\n"
    with sqlite3.connect(copy) as db:
        assert db.execute("SELECT count(*) FROM incident").fetchone() == (1,)
    db.close()
    assert refused(ask("backup", str(copy))) == f"{copy}: File exists"
