"""`sandbox up` as a process: what it says, who may start it, and that nothing outlives it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from monitor.sandbox import remote
from monitor.sandbox.commands import sandbox as commands
from monitor.sandbox.guardian import started
from tests.sandbox.started import Sandbox, descendants
from tests.servers import wait_until


@pytest.fixture(scope="module")
def folder(servers_folder: Path) -> Path:
    """One folder for all of them: a new PostgreSQL cluster takes longer than all the rest."""
    return servers_folder / "supervised"


@pytest.fixture
def up(folder: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox(folder, "--no-daemon")
    sandbox.start()
    yield sandbox
    sandbox.end()


def all_gone(processes: dict[int, str]) -> bool:
    return all(started(pid) != since for pid, since in processes.items())


def living(up: Sandbox) -> dict[int, str]:
    """Every process of the sandbox but the first, by id and start."""
    found = {pid: started(pid) for pid in descendants(up.process.pid)}
    assert len(found) > 6, found  # the guardian, Redis, the BFF, PostgreSQL and its own
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_sandbox_with_everything_it_started(up: Sandbox, number: int) -> None:
    processes = living(up)
    assert up.end(number) == 0
    assert all_gone(processes)
    assert not (up.folder / remote.STATE).exists()
    assert "Traceback" not in up.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_sandbox_with_its_daemon(folder: Path, number: int) -> None:
    sandbox = Sandbox(folder)
    sandbox.start()
    processes = living(sandbox)
    assert sandbox.state["pids"]["daemon"] in processes
    sandbox.end(number)
    wait_until(lambda: all_gone(processes), seconds=10, what="the end of every process")


def test_nothing_outlives_a_sandbox_that_is_killed_while_a_part_is_broken(up: Sandbox) -> None:
    up.break_("postgres-connections")
    up.break_("bff")
    up.heal("bff")
    processes = living(up)
    up.end(signal.SIGKILL)
    wait_until(lambda: all_gone(processes), seconds=10, what="the end of every process")


def test_a_sandbox_that_was_killed_can_be_started_again(up: Sandbox) -> None:
    up.end(signal.SIGKILL)
    assert remote.running(up.folder) is None
    again = Sandbox(up.folder, "--no-daemon")
    again.start()
    try:
        assert again.status("/health") == 200
    finally:
        assert again.end() == 0


def test_a_second_sandbox_in_the_same_folder_is_refused(up: Sandbox) -> None:
    result = CliRunner().invoke(commands, ["up", "--no-daemon", "--folder", str(up.folder)])
    assert result.exit_code == 1
    assert f"a sandbox is up in {up.folder} already (process {up.process.pid})" in result.output
    assert up.status("/health") == 200


def test_the_screen_says_where_everything_is_and_what_to_do(up: Sandbox) -> None:
    said = up.said()
    assert up.state["portal"] in said
    assert f"portal-monitor sandbox break redis --folder {up.folder}" in said
    up.break_("whmcs")
    up.heal("whmcs")
    assert "WHMCS refuses connections." in up.said()
    assert "whmcs is healed." in up.said()


def test_the_commands_speak_to_the_sandbox_that_is_up(up: Sandbox) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(commands, [*words, "--folder", str(up.folder)])
        assert result.exit_code == 0, result.output
        return result.output

    assert run("break", "freebit") == "Freebit refuses connections.\n"
    assert "freebit (broken)" in run("list")
    assert run("heal", "freebit") == "freebit is healed.\n"
    assert run("pages") == "Nobody was paged.\n"


def test_without_a_sandbox_the_commands_say_how_to_start_one(tmp_path: Path) -> None:
    for words in (["break", "redis"], ["heal", "redis"], ["pages"]):
        result = CliRunner().invoke(commands, [*words, "--folder", str(tmp_path)])
        assert result.exit_code == 1
        assert "portal-monitor sandbox up" in result.output
    result = CliRunner().invoke(commands, ["list", "--folder", str(tmp_path)])
    assert result.exit_code == 0
    assert "redis-failover" in result.output


def test_secrets_are_for_their_owner_only(up: Sandbox) -> None:
    kept = [up.folder / remote.STATE, *(up.folder / "secrets").iterdir()]
    assert len(kept) == 6  # the state, and a file for each secret
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}
