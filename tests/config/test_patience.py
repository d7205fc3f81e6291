"""How long an outage lasts before it pages."""

from __future__ import annotations

import math

import pytest

from monitor.core.patience import Patience, report
from tests.config.test_loading import BFF, PROBES, RUNBOOK, load_text


def row(rule: str, probes: str = "", keys: str = "", extra: str = "") -> Patience:
    """The first rule of the scenario `redis`, or the last of all if there are more scenarios."""
    times = f"interval: 15s, timeout: 5s, fail_after: 3, retry_interval: 1s, recover_after: 2{keys}"
    text = PROBES.replace("type: redis,", f"type: redis, {times},") + probes
    loaded = load_text(text, RUNBOOK.replace("- {severity: P2, any: [redis], for: 30s}", rule) + extra)
    found = report(loaded.config, loaded.runbook)
    return next(each for each in reversed(found) if each.scenario != "other")


def test_at_best_the_retries_and_the_hold() -> None:
    assert row("- {severity: P2, any: [redis], for: 30s}").soonest == pytest.approx(32.0)


def test_at_worst_an_interval_and_every_timeout_too() -> None:
    assert row("- {severity: P2, any: [redis], for: 30s}").latest == pytest.approx(15 + 3 * 5 + 2 * 1 + 30)


def test_what_passes_leaves_time_to_be_seen_well_again() -> None:
    assert row("- {severity: P2, any: [redis], for: 30s}").passes == pytest.approx(32 - (15 + 1))


def test_without_a_hold_a_short_outage_may_page() -> None:
    assert row("- {severity: P2, any: [redis]}").passes == 0.0


def test_any_is_as_quick_as_its_quickest_term() -> None:
    slow = BFF % "interval: 1m, timeout: 5s, fail_after: 5, retry_interval: 10s"
    both = row("- {severity: P2, any: [redis, bff], for: 1m}", slow)
    assert both.soonest == pytest.approx(62.0)
    assert both.latest == pytest.approx(60 + 25 + 40 + 60)


def test_all_is_as_slow_as_its_slowest_term() -> None:
    slow = BFF % "interval: 1m, timeout: 5s, fail_after: 5, retry_interval: 10s"
    both = row("- {severity: P2, all: [redis, bff], for: 1m}", slow)
    assert both.soonest == pytest.approx(100.0)
    assert both.passes == pytest.approx(100 - (15 + 1))


def test_a_needed_probe_is_asked_first() -> None:
    alone = row("- {severity: P2, any: [bff]}", BFF % "timeout: 2s")
    needy = row("- {severity: P2, any: [bff]}", BFF % "timeout: 2s, needs: [redis]")
    assert needy.latest - alone.latest == pytest.approx(5.0)


def test_a_scenario_takes_as_long_as_its_own_rules() -> None:
    extra = '  down:\n    title: Down\n    rules: [{severity: P1, all: ["scenario:redis@P2"], for: 10s}]\n'
    assert row("- {severity: P2, any: [redis], for: 30s}", extra=extra).soonest == pytest.approx(42.0)


def test_a_rule_on_a_disabled_probe_never_pages() -> None:
    assert math.isinf(row("- {severity: P2, any: [bff]}", BFF % "enabled: false").soonest)


def test_a_warning_is_not_waited_for_by_a_rule_at_fail() -> None:
    window = "  errors: {type: log, path: /var/log/x, window: 5m, warn: error_ratio > 1%, fail: error_ratio > 50%}\n"
    failing = row("- {severity: P2, any: [errors/error_ratio], for: 6m}", window)
    assert failing.latest > 360 + 300
    assert failing.passes < 360 - 300


def test_an_age_has_to_grow_first() -> None:
    replay = "  replay: {type: replay, url: '${REDIS_URL}', warn: age_seconds > 2h}\n"
    assert row("- {severity: P3, any: [replay/age_seconds@warn], for: 30m}", replay).soonest > 9000
