"""The fallback carries P1 pages that no Alertmanager took: each once, however long it takes, and no other."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from structlog.testing import capture_logs

from monitor.alerting.fallback import GRACE_SECONDS, Fallback, due, message
from monitor.core import config
from monitor.core.incident import Page
from monitor.core.runbook import Severity
from tests.hook import Hook
from tests.servers import free_port
from tests.simulation import FakeClock

START = FakeClock().wall
WORDS = {
    "title": "[P1] Customer portal unreachable",
    "ack_url": "https://monitor.example.com/incidents/x/ack?token=1.x",
}


MARKS = ("delivered_at", "fell_back_at", "ended_at")


def page(key: str = "portal-1", severity: Severity = Severity.P1, fired_at: float = START, **more: Any) -> Page:
    return Page(key, 1, severity, "L1", labels={"incident": key}, due_at=fired_at, fired_at=fired_at, **more)


# --- which pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one, carried",
    [
        (page(), True),
        (page(severity=Severity.P2), False),
        (page(delivered_at=START + 1), False),
        (page(fell_back_at=START + 61), False),
        (page(ended_at=START + 30), False),
        (page(fired_at=START + 41), False),
        (page(fired_at=START + 40), True),
    ],
)
def test_it_is_for_open_p1_pages_that_nobody_took_for_so_long(one: Page, carried: bool) -> None:
    assert due([one], 60.0, START + 100, began=START - 3600) == ([one] if carried else [])


def test_after_a_start_an_alertmanager_has_a_moment_to_take_what_is_old() -> None:
    old = page(fired_at=START - 7200)
    assert due([old], 60.0, START + GRACE_SECONDS - 0.1, began=START) == []
    assert due([old], 60.0, START + GRACE_SECONDS, began=START) == [old]


def test_the_oldest_comes_first() -> None:
    pages = [page("b", fired_at=START + 5), page("a", fired_at=START)]
    assert [one.incident for one in due(pages, 1.0, START + 100, began=0)] == ["a", "b"]


@given(st.sampled_from(Severity), st.floats(0, 200), st.sets(st.sampled_from(MARKS)), st.floats(0, 300))
def test_nothing_is_carried_early_or_in_vain(severity: Severity, fired: float, marks: set[str], now: float) -> None:
    one = replace(page(severity=severity, fired_at=fired), **dict.fromkeys(marks, fired))  # type: ignore[arg-type]
    expected = severity is Severity.P1 and not marks and now >= fired + 60
    assert bool(due([one], 60.0, now, began=-1000.0)) is expected


def test_the_message_says_what_why_and_how_to_answer() -> None:
    said = message(page(), WORDS, "On-call engineer", START + 65)
    assert said["id"] == "portal-1/1/P1/L1/none/1"
    assert said["text"] == (
        "[P1] Customer portal unreachable (portal-1), L1 On-call engineer. No Alertmanager has taken this page for 1m 5s."
        f" Acknowledge: {WORDS['ack_url']}"
    )
    assert (said["labels"], said["annotations"]) == ({"incident": "portal-1"}, WORDS)
    assert message(page(), WORDS, "x", START + 600)["id"] == said["id"]


# --- how they are carried --------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """A fallback on a clock that a test moves, with its open pages."""

    given: config.Fallback
    timeout_seconds: float = 20.0
    pages: list[Page] = field(default_factory=lambda: [page()])
    clock: FakeClock = field(default_factory=FakeClock)
    carried: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fallback = Fallback(
            self.given, self.clock, pages=lambda: self.pages, compose=self._compose, carried=self._keep,
            timeout_seconds=self.timeout_seconds,
        )  # fmt: skip

    async def live(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance_to(self.clock.mono + 1)
            await self.fallback.look()

    @property
    def counts(self) -> dict[str, float]:
        found = {family.name: family.samples[0][1] for family in self.fallback.families()}
        return {name.removeprefix("portal_monitor_fallback_"): value for name, value in found.items()}

    def _compose(self, one: Page) -> dict[str, Any]:
        return message(one, WORDS, "On-call engineer", self.clock.now())

    async def _keep(self, one: Page) -> None:
        self.carried.append(one.incident)
        self.pages = [replace(each, fell_back_at=self.clock.now()) if each is one else each for each in self.pages]


KEEPER = """
import json, sys
with open(sys.argv[1], "a") as file:
    file.write(json.dumps([sys.argv[2:], json.load(sys.stdin)]) + "\\n")
"""


def command(*argv: str) -> config.Fallback:
    return config.Fallback(60.0, argv)


@pytest.fixture
def keeper(tmp_path: Path) -> tuple[Callable[..., config.Fallback], Callable[[], list[Any]]]:
    """A program that keeps what it is given, and what it kept."""
    script, kept = tmp_path / "keep.py", tmp_path / "kept"
    script.write_text(KEEPER)

    def read() -> list[Any]:
        return [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []

    return (lambda *more: command(sys.executable, str(script), str(kept), *more)), read


async def test_a_command_is_given_the_page_once_and_no_shell_reads_its_arguments(keeper: Any) -> None:
    make, kept = keeper
    bench = Bench(make("$(touch /tmp/x); a b"))
    await bench.live(59)
    assert kept() == []
    await bench.live(120)
    ((arguments, said),) = kept()
    assert arguments == ["$(touch /tmp/x); a b"]
    assert said["id"] == "portal-1/1/P1/L1/none/1"
    assert (bench.carried, bench.counts) == (["portal-1"], {"total": 1, "failed_total": 0})


async def test_a_webhook_is_sent_the_page_once_with_a_key_to_know_it_by() -> None:
    with Hook() as hook:
        bench = Bench(config.Fallback(60.0, (), SecretStr(hook.url)))
        await bench.live(180)
        (asked,) = hook.asked
        assert (asked.method, asked.headers["Content-Type"]) == ("POST", "application/json")
        assert asked.headers["Idempotency-Key"] == json.loads(asked.body)["id"] == "portal-1/1/P1/L1/none/1"


async def test_what_fails_is_tried_again_ever_more_rarely_until_it_is_carried_and_said_once() -> None:
    with Hook(*[500] * 6) as hook, capture_logs() as logs:
        bench = Bench(config.Fallback(60.0, (), SecretStr(hook.url)))
        await bench.live(60 + 2 + 4 + 8 + 16 + 32 + 60)
        assert (len(hook.asked), bench.carried) == (7, ["portal-1"])
        assert bench.counts == {"total": 7, "failed_total": 6}
    assert [entry["event"] for entry in logs] == ["fallback_failed", "page_carried_by_fallback"]
    assert "CANARY" not in str(logs)


async def test_one_that_alertmanager_takes_meanwhile_is_left_alone() -> None:
    with Hook(500) as hook:
        bench = Bench(config.Fallback(60.0, (), SecretStr(hook.url)))
        await bench.live(60)
        bench.pages = [replace(one, delivered_at=bench.clock.wall) for one in bench.pages]
        await bench.live(120)
        assert (len(hook.asked), bench.carried) == (1, [])


async def test_one_that_is_taken_or_over_while_another_is_carried_is_left_alone() -> None:
    with Hook() as hook:
        bench = Bench(config.Fallback(60.0, (), SecretStr(hook.url)))
        taken, over = replace(page("b"), delivered_at=START + 61), replace(page("c"), ended_at=START + 61)
        bench.pages = [page("a"), page("b"), page("c")]

        async def carried(one: Page) -> None:
            await bench._keep(one)
            bench.pages = [*bench.pages[:1], taken, over]

        bench.fallback._on_carried = carried
        await bench.live(120)
        assert (len(hook.asked), bench.carried) == (1, ["a"])


@pytest.mark.parametrize(
    "argv, said",
    [
        (("/nonexistent/call",), "/nonexistent/call: No such file or directory"),
        ((sys.executable, "-c", "import sys; sys.exit('no  credit\\nleft')"), f"{sys.executable} ended with 1: no credit left"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "not done within 2 s"),
    ],
)  # fmt: skip
async def test_why_a_command_carried_nothing_is_said(argv: tuple[str, ...], said: str) -> None:
    with capture_logs() as logs:
        bench = Bench(command(*argv), timeout_seconds=2.0 if "not done" in said else 20.0)
        await bench.live(60)
    assert [entry["said"] for entry in logs] == [said]
    assert (bench.carried, bench.counts) == ([], {"total": 1, "failed_total": 1})


async def test_a_command_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = f"sleep 600 & echo $$ $! > {pids}; wait"
    bench = Bench(command("/bin/sh", "-c", program), timeout_seconds=2.0)
    await bench.live(60)
    started = [int(pid) for pid in pids.read_text().split()]
    async with asyncio.timeout(10):
        while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in started):
            await asyncio.sleep(0.02)
    assert bench.counts["failed_total"] == 1


async def test_a_command_may_ignore_what_it_is_told_and_leave_something_running(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    bench = Bench(command("/bin/sh", "-c", f"sleep 600 & echo $! > {pid}"))
    bench.pages = [replace(page(), labels={"incident": "portal-1", "much": "x" * 2**20})]
    await bench.live(60)
    assert bench.carried == ["portal-1"]
    left = psutil.Process(int(pid.read_text()))
    assert left.is_running()
    left.kill()


async def test_a_webhook_that_is_not_there_or_never_answers_holds_nothing_up() -> None:
    with Hook(silent=True) as hook, capture_logs() as logs:
        await Bench(config.Fallback(60.0, (), SecretStr(hook.url)), timeout_seconds=0.3).live(60)
        await Bench(config.Fallback(60.0, (), SecretStr(f"http://127.0.0.1:{free_port()}/CANARY"))).live(60)
    assert [entry["said"].partition(":")[0] for entry in logs] == ["not done within 0.3 s", "ConnectError"]
    assert "CANARY" not in str(logs)


async def test_a_second_page_is_carried_though_the_first_was_and_without_a_fallback_none_is(keeper: Any) -> None:
    make, kept = keeper
    bench = Bench(make())
    await bench.live(70)
    bench.pages.append(page("portal-2", fired_at=bench.clock.wall))
    bench.fallback.reconfigure(None)
    await bench.live(70)
    assert (bench.carried, bench.fallback.families()) == (["portal-1"], [])
    bench.fallback.reconfigure(make())
    await bench.live(1)
    assert [said["labels"]["incident"] for _, said in kept()] == ["portal-1", "portal-2"]


async def test_a_clock_that_is_set_makes_nothing_early(keeper: Any) -> None:
    make, kept = keeper
    bench = Bench(make())
    await bench.live(30)
    bench.clock.step(3600.0)  # the cycle moves the pages with it
    bench.pages = [replace(one, fired_at=one.fired_at + 3600.0) for one in bench.pages]
    await bench.live(29)
    assert kept() == []
    await bench.live(1)
    assert len(kept()) == 1
