"""What a probe's page shows of its history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.core.history import Bucket
from monitor.core.probe import Outcome, Result
from monitor.store import StoreError
from monitor.web.past import RANGES, past_view, run_rows, share
from tests.web import portal
from tests.web.conftest import Site

CONFIG = portal.configure("redis", portal.REDIS, warn="memory_used_ratio > 80%", fail="memory_used_ratio > 95%")


def climbing(minute: int) -> Result:
    """Memory that fills up, and a last ten minutes in which nothing answers."""
    if minute >= 50:
        return replace(portal.ran(CONFIG, Outcome.FAILURE), reason="unreachable", detail="refused")
    return portal.ran(
        CONFIG, measurements={"memory_used_ratio": 0.4 + minute / 100, "phase_seconds": {"connect": 0.004}}
    )


VIEW = replace(portal.view(CONFIG, result=climbing(49)), past=portal.hour(CONFIG, climbing))


def test_each_limit_stands_beside_what_was_measured() -> None:
    shown = past_view(VIEW, VIEW.past.minutes, "1h", portal.NOW)
    assert (shown.runs, shown.failures) == (240, 40)
    assert shown.strip.said == "fail for at most 10m"
    warn, fail = shown.judgements
    assert (warn.text, warn.quantiles[3], warn.share) == ("memory_used_ratio > 80%", "89 %", "18 %")
    assert (fail.share, fail.breaches) == ("never", 0)
    memory, duration = shown.charts
    assert (memory.name, memory.low, memory.high, memory.level) == ("memory used", "40 %", "89 %", "warn")
    assert [mark.level for mark in memory.chart.marks] == ["warn", "fail"]
    assert duration.name == "run time"


def test_a_young_history_is_drawn_larger_and_a_long_one_is_thinned() -> None:
    young = VIEW.past.minutes[-3:]
    assert past_view(VIEW, young, "1h", portal.NOW).since == portal.NOW - 600
    assert past_view(VIEW, [], "1h", portal.NOW).since == portal.NOW - RANGES["1h"]
    old = [
        replace(minute, at=int(portal.NOW) - 60 * number) for number, minute in enumerate([VIEW.past.minutes[0]] * 360)
    ]
    [memory, _] = past_view(VIEW, sorted(old, key=lambda one: one.at), "6h", portal.NOW).charts
    assert memory.chart.band.count("L") + memory.chart.band.count("H") < 300


def test_runs_come_newest_first_and_then_the_turns() -> None:
    rows = run_rows(VIEW.past, frozenset())
    assert [row.number for row in rows[:2]] == [239, 238]
    assert rows[0].said == "failure: unreachable: refused"
    gap = next(row for row in rows if row.gap)
    assert [row.number for row in rows[rows.index(gap) :]] == [200, 0]
    first = rows[-1]
    assert [(phase.name, phase.text, phase.width) for phase in first.phases if phase.width] == [
        ("connect", "4 ms", 100.0)
    ]


def test_what_is_not_nothing_is_never_called_nothing() -> None:
    assert [share(part) for part in (0.0, 1e-9, 0.5, 1.0)] == ["never", "0.01 %", "50 %", "always"]


async def test_the_page_takes_any_range_and_falls_back_to_an_hour(site: Site) -> None:
    for name in (*RANGES, "forever", "<script>"):
        page = await site.client.get("/probes/redis", params={"range": name})
        assert page.status_code == 200
        chosen = name if name in RANGES else "1h"
        assert f'href="?range={chosen}" aria-current="page"' in page.text


async def test_a_probe_is_shown_though_its_history_cannot_be_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreadable(probe: str, since: float) -> list[Bucket]:
        raise StoreError("state.db: disk I/O error")

    monkeypatch.setattr(site.source, "history", unreadable)
    assert (await site.client.get("/probes/redis")).status_code == 200
    answer = await site.client.get("/api/v1/probes/redis/history")
    assert (answer.status_code, answer.json()) == (503, {"error": "state.db: disk I/O error"})
