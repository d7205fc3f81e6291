"""The shipped pair in fast-forward: what a deployment and a failover of Redis look like to it, at any phase."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from monitor.cli import load
from monitor.core.loading import Loaded
from monitor.core.probe import Outcome, Result, Value
from tests.simulation import Simulation

ENVIRONMENT = {
    "REDIS_URL": "redis://127.0.0.1", "DATABASE_URL": "postgresql://127.0.0.1/portal", "PORTAL_URL": "https://portal.example",
    "WHMCS_API_URL": "https://whmcs.example/includes/api.php", "WHMCS_API_IDENTIFIER": "an-identifier",
    "WHMCS_API_SECRET": "a-long-secret", "SF_INSTANCE_URL": "https://sf.example",
}  # fmt: skip
WELL: Mapping[str, float] = {
    "memory_used_ratio": 0.2, "clients_used_ratio": 0.1, "evicted_keys_per_second": 0.0, "ping_seconds": 0.001,
    "connections_used_ratio": 0.1, "duration_seconds": 0.1, "certificate_left_seconds": 9e6, "age_seconds": 10.0,
    "error_ratio": 0.001, "latency_mean_seconds": 0.1, "matches": 0.0, "unexplained_age_seconds": 10.0,
    "retention_left_seconds": 2e5, "oddities": 0.0, "evicts": 0.0, "pool_used_ratio": 0.1, "deadlocks_per_second": 0.0,
    "slots_retained_bytes": 0.0, "oldest_waiting_seconds": 0.0, "delayed_overdue_seconds": 0.0, "failed_recently": 0.0,
    "paused": 0.0, "workerless": 0.0, "stalled": 0.0, "value": 1.0, "ratio": 0.1, "cpu_ratio": 0.1,
    "memory_host_ratio": 0.1, "as_expected": 1.0, "silent_seconds": 1.0, "matches_unusual": 0.0, "matches_missing": 0.0, "sources": 0.0,
    "source_most": 0.0, "let_in_after": 0.0,
}  # fmt: skip
World = Callable[[str, float], Result]


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return load("probes.yaml")


class Portal:
    """A portal that is well but for one stretch of time: which probes fail then, and what the log says of it."""

    def __init__(self, loaded: Loaded, begin: float, seconds: float, failing: Mapping[str, str], errors: float) -> None:
        self.begin, self.end, self.failing = begin, begin + seconds, failing
        self.errors = errors  # the share of requests that fail meanwhile
        self.config = loaded.config

    def result(self, name: str, at: float, mono: float) -> Result:
        config = self.config.probes[name]
        during = self.begin <= mono < self.end
        measured: dict[str, Value] = {
            key: WELL[key] for condition in (*config.warn, *config.fail) if (key := condition.name) in WELL
        }
        for condition in (*config.warn, *config.fail):
            if condition.part:
                measured[condition.name] = {condition.part: WELL[condition.name]}
        if config.type.name == "log" and "error_ratio" in measured:
            measured["error_ratio"] = self._error_ratio(config.options.window, mono)  # type: ignore[attr-defined]
        reason = self.failing.get(name, "") if during else ""
        checks = dict.fromkeys(config.type.checks(config.options), True)
        if reason.startswith("check:"):
            checks[reason.removeprefix("check:")], reason = False, ""
        outcome = Outcome.FAILURE if reason else Outcome.SUCCESS
        shown = {} if reason else measured
        return Result(
            name, config.type.name, at, mono, 0.01, outcome, reason, measurements=shown, checks={} if reason else checks
        )

    def _error_ratio(self, window: float, mono: float) -> float:
        failed = max(0.0, min(mono, self.end) - max(mono - window, self.begin))
        return 0.001 + self.errors * failed / window


async def outage(
    loaded: Loaded, folder: Path, portal: Portal, offsets: Mapping[str, float], seconds: float
) -> Simulation:
    run = Simulation(loaded.config, loaded.runbook, folder, lambda name, mono: (Outcome.SUCCESS, ""), offsets=offsets)
    run.result = portal.result
    await run.start()
    await run.run(seconds)
    run.close()
    return run


def offsets_of(loaded: Loaded, dice: random.Random) -> dict[str, float]:
    return {item.name: dice.random() * min(item.interval, 30.0) for item in loaded.config.enabled()}


@pytest.mark.parametrize("seed", range(5))
async def test_a_deployment_of_thirty_seconds_pages_nobody_and_owes_no_review(
    shipped: Loaded, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    portal = Portal(shipped, 1100 + dice.random() * 60, 30, {"bff": "unreachable", "portal": "unreachable"}, 0.0)
    run = await outage(shipped, tmp_path, portal, offsets_of(shipped, dice), 700)
    assert run.cycle.incidents() == ()


@pytest.mark.parametrize("seed", range(5))
async def test_a_failover_of_redis_of_twenty_seconds_pages_nobody_and_owes_no_review(
    shipped: Loaded, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    failing = {"redis": dice.choice(["readonly", "unreachable"]), "bff": "check:cache", "sf-replay": "unreachable"}
    portal = Portal(shipped, 1100 + dice.random() * 60, 20, failing, 1.0)
    run = await outage(shipped, tmp_path, portal, offsets_of(shipped, dice), 700)
    assert run.cycle.incidents() == ()


@pytest.mark.parametrize(
    ("failing", "errors", "page"),
    [
        ({"bff": "unreachable", "portal": "unreachable"}, 0.0, ("portal-unreachable", "P1")),
        ({"redis": "unreachable", "bff": "check:cache"}, 1.0, ("redis", "P2")),
        ({"postgres": "unreachable", "bff": "check:database"}, 1.0, ("database", "P1")),
        ({"postgres": "saturated"}, 0.3, ("database", "P2")),
        ({"redis": "unreachable", "postgres": "unreachable"}, 1.0, ("portal-unreachable", "P1")),
        ({"whmcs": "unreachable"}, 1.0, ("whmcs", "P2")),
        ({"freebit": "unreachable"}, 0.0, ("performance", "P3")),
        (dict.fromkeys(("egress", "whmcs", "salesforce", "freebit", "portal"), "unreachable"), 0.0,
         ("monitoring-blind", "P3")),
    ],
)  # fmt: skip
async def test_an_outage_of_ten_minutes_is_the_runbooks_scenario_and_one_page(
    shipped: Loaded, tmp_path: Path, failing: dict[str, str], errors: float, page: tuple[str, str]
) -> None:
    dice = random.Random(1)
    portal = Portal(shipped, 1100, 600, failing, errors)
    run = await outage(shipped, tmp_path, portal, offsets_of(shipped, dice), 2000)
    vendors = 1 if page[0] == "whmcs" else 0  # WHMCS's host is told at once, the others' vendors after half an hour
    assert run.pages() == [page] * (1 + vendors)
    assert all(not item.open for item in run.cycle.incidents())
