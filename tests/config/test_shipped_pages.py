"""The shipped probes of the BFF against its pages as the portal's guide has them, in health and in trouble."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from monitor.clock import SystemClock
from monitor.core.probe import Outcome, Result
from monitor.runner import Runner
from tests.config.test_shipped import shipped
from tests.replies import http, says, serving


def metrics(total: int, failed: int, waiting: int) -> dict[str, Any]:
    return {
        "totalRequests": total, "completedRequests": total - failed, "failedRequests": failed, "queueSize": waiting,
        "pendingRequests": 1, "averageWaitTime": 12, "averageExecutionTime": 240,
    }  # fmt: skip


def queues(total: int = 1000, failed: int = 3, waiting: int = 0, used: int = 5000) -> dict[str, Any]:
    return {
        "timestamp": "2026-11-23T17:06:37.313Z",
        "whmcs": {"health": "healthy", "metrics": metrics(total, failed, waiting)},
        "salesforce": {
            "health": "healthy", "metrics": metrics(total, failed, waiting), "dailyUsage": {"used": used, "limit": 15000}
        },
    }  # fmt: skip


async def look(probe: str, *answers: tuple[object, int]) -> Result:
    """The last of as many runs of a shipped probe as there are answers, a minute apart."""
    config, runner = shipped().config.probes[probe], Runner(SystemClock())
    replies = [http(body if isinstance(body, str) else json.dumps(body), status) for body, status in answers]
    cursor, result = None, None
    try:
        async with serving(says(*replies)) as server:
            options = config.options.model_copy(update={"url": type(config.options.url)(server.url())})  # type: ignore[attr-defined]
            for _ in answers:
                result = await runner.run(replace(config, options=options), cursor)
                cursor = {**result.cursor, "at": result.at - 60} if isinstance(result.cursor, dict) else result.cursor
    finally:
        await runner.close()
    assert result is not None
    return result


@pytest.mark.parametrize("status", [200, 503])
async def test_the_page_of_the_queues_is_read_whatever_its_status(status: int) -> None:
    found = (await look("bff-queues", (queues(waiting=7, used=12_000), status))).measurements
    assert found["value"] == {"whmcs_waiting": 7, "salesforce_waiting": 7}
    assert found["ratio"] == {"salesforce_daily": 0.8}


async def test_counters_of_the_queues_become_rates_and_begin_anew_with_the_bff() -> None:
    grown = (await look("bff-queues", (queues(1000, 3), 200), (queues(1120, 9), 200))).measurements["rate"]
    assert grown == pytest.approx(RATES, rel=0.1)
    restarted = (await look("bff-queues", (queues(1000, 3), 200), (queues(60, 0), 200))).measurements["rate"]
    anew = {"whmcs": 1.0, "salesforce": 1.0, "whmcs_failed": 0.0, "salesforce_failed": 0.0}
    assert restarted == pytest.approx(anew, rel=0.1)


RATES = {"whmcs": 2.0, "salesforce": 2.0, "whmcs_failed": 0.1, "salesforce_failed": 0.1}


@pytest.mark.parametrize(
    ("body", "status", "outcome", "checks"),
    [
        ({"status": "ok", "checks": {"cache": "ok", "database": "ok"}}, 200, Outcome.SUCCESS, (True, True, True)),
        ({"status": "error", "checks": {"cache": "fail", "database": "ok"}}, 503, Outcome.SUCCESS, (False, True, True)),
        ({"status": "error", "checks": {"cache": "ok", "database": "fail"}}, 503, Outcome.SUCCESS, (True, False, True)),
        ({"checks": {"cache": {"status": "pass"}, "database": [{"status": "fail"}]}}, 503, Outcome.SUCCESS, (True, False, True)),
        ({"checks": {"cache": "ok", "database": "ok", "disk": "fail"}}, 503, Outcome.SUCCESS, (True, True, False)),
        ("<html>Bad Gateway</html>", 502, Outcome.FAILURE, None),
    ],
)  # fmt: skip
async def test_the_health_page_speaks_for_cache_and_database(
    body: object, status: int, outcome: Outcome, checks: tuple[bool, bool, bool] | None
) -> None:
    result = await look("bff", (body, status))
    assert result.outcome is outcome
    assert result.checks == ({} if checks is None else dict(zip(("cache", "database", "others"), checks, strict=True)))
