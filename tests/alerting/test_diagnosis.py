"""The diagnosis already run: each step with its live value, what must not be overlooked, nothing that must not be seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from monitor.alerting.diagnosis import diagnosis, found, names_of, shown
from monitor.alerting.facts import LONGEST_BYTES
from monitor.core.runbook import Level, Rule, Step
from monitor.core.snapshot import ProbeView
from tests.alerting.incidents import BOOK, P1, P2, PROBES, REDIS, SECRET, at, facts, incident, term, view

FULL = view(
    "redis", "redis", Level.FAIL, "memory_used_ratio", warn="memory_used_ratio > 80%", fail="memory_used_ratio > 95%",
    measured={"memory_used_ratio": 0.971, "ping_seconds": 0.002}, details={"policy": "noeviction"},
)  # fmt: skip


def test_a_page_has_the_runbooks_steps_with_their_values() -> None:
    assert (
        diagnosis(incident(flags=("data_loss",), links=("database-operations.md",)), facts())
        == """\
!! data_loss
!! security_exposure: AUTH_BLACKLIST_FAIL_CLOSED=false
redis: fail, unreachable (connection refused) (17:39:55 UTC)
  Nothing accepts connections: is it running?
1. Verify REDIS_URL in the environment => redis: fail, unreachable (connection refused)
2. Check Redis's memory => memory used not measured; redis is fail (unreachable)
3. Look at the switch => AUTH_BLACKLIST_FAIL_CLOSED=false
4. Restart Redis if its memory is exhausted
5. Raise the limit for a time => duration 250 ms
Read: database-operations.md, queue-management.md, https://wiki.example.com/redis
Well: whmcs"""
    )


def test_a_measurement_stands_beside_its_limits_and_what_the_run_found() -> None:
    assert diagnosis(incident(), facts(probes={"redis": FULL})).splitlines()[:5] == [
        "redis: fail, memory_used_ratio (17:39:55 UTC)",
        "  Memory used is 97.1 %: over 95%.",
        "  memory used 97.1 % (warn > 80%, fail > 95%)",
        "  policy: noeviction",
        "1. Verify REDIS_URL in the environment => redis: fail, memory_used_ratio",
    ]


@pytest.mark.parametrize(
    ("show", "probes", "expected"),
    [
        (None, PROBES, ""),
        ("redis", {"redis": FULL}, "redis: fail, memory_used_ratio"),
        ("redis.memory_used_ratio", {"redis": FULL}, "memory used 97.1 % (warn > 80%, fail > 95%)"),
        ("redis.ping_seconds", {"redis": FULL}, "ping 2 ms"),
        ("whmcs.duration_seconds", {"whmcs": view("whmcs", "whmcs", measured={"duration_seconds": {"": 1.5, "dns": 0.1}})},
         "duration all 1.5 s, dns 100 ms"),
        ("redis.memory_used_ratio", {}, "redis is not watched"),
        ("redis", {"redis": replace(FULL, config=replace(FULL.config, enabled=False))}, "redis is switched off"),
        ("redis", {"redis": ProbeView(FULL.config)}, "redis: unknown"),
        ("redis.ping_seconds", {"redis": ProbeView(FULL.config)}, "ping not measured; redis is unknown"),
        ("bff_env.AUTH_BLACKLIST_FAIL_CLOSED", PROBES, "AUTH_BLACKLIST_FAIL_CLOSED=false"),
        ("bff_env.SF_EVENTS_ENABLED", PROBES, "SF_EVENTS_ENABLED not visible"),
        ("bff_env.SF_EVENTS_ENABLED", {"s": view("s", "settings", Level.UNKNOWN, "not-visible")},
         "SF_EVENTS_ENABLED not visible"),
        # Only a probe of settings is asked: a log that says the same is somebody's word.
        ("bff_env.X", {"log": view("log", "log", details={"X": "true"})}, "X not visible"),
    ],
)  # fmt: skip
def test_a_step_shows_what_it_is_written_to_show(show: str | None, probes: Any, expected: str) -> None:
    assert shown(Step("x", show), facts(probes=probes)) == expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"AUTH_BLACKLIST_FAIL_CLOSED": "false"}, ["security_exposure: AUTH_BLACKLIST_FAIL_CLOSED=false"]),
        ({"AUTH_BLACKLIST_FAIL_CLOSED": " FALSE "}, ["security_exposure: AUTH_BLACKLIST_FAIL_CLOSED=false"]),
        ({"AUTH_BLACKLIST_FAIL_CLOSED": "true"}, []),
        ({"AUTH_BLACKLIST_FAIL_CLOSED": "not set"}, []),
        ({}, []),
    ],
)
def test_the_flag_of_an_environment_is_raised_only_while_it_is_seen(
    details: dict[str, str], expected: list[str]
) -> None:
    probes = {"bff-settings": view("bff-settings", "settings", details=details)}
    assert facts(probes=probes).flags(incident()) == expected


def test_what_a_log_says_is_masked_and_what_any_probe_says_is_scrubbed() -> None:
    log = view(
        "redis", "log", Level.FAIL, "unreachable", detail="login of ann.smith@example.com from 203.0.113.77 failed",
        details={"last": 'authorization: "Bearer abcdefghij" ' + "x" * 500},
    )  # fmt: skip
    told = diagnosis(
        incident(), facts(probes={"redis": log, "whmcs": view("whmcs", "whmcs", Level.WARN, detail=SECRET)})
    )
    for hidden in ("ann.smith", "113.77", "abcdefghij", SECRET):
        assert hidden not in told
    assert "[masked]" in told
    assert "[secret]" in told
    assert max(map(len, told.splitlines())) < 400


def test_it_never_grows_beyond_what_receivers_take_and_what_fails_stands_first() -> None:
    steps = tuple(Step(f"Step {number} " + "x" * 200, show=f"p{number}") for number in range(60))
    scenario = replace(REDIS, steps=steps, rules=(Rule(P2, tuple(term(f"p{number}") for number in range(60)), "any"),))
    probes = {f"p{number}": view(f"p{number}", "redis", Level.FAIL, "unreachable") for number in range(60)}
    told = diagnosis(incident(), facts(probes=probes, runbook=replace(BOOK, scenarios={"redis": scenario})))
    assert len(told.encode()) <= LONGEST_BYTES
    assert told.splitlines()[0] == "p0: fail, unreachable (17:39:55 UTC)"
    assert any(line.startswith("and not well: p6, p7") for line in told.splitlines())


def test_what_was_not_seen_is_not_well() -> None:
    told = diagnosis(incident(), facts(probes={"redis": ProbeView(FULL.config)}))
    assert told.startswith("redis: unknown\n  Has not run yet.\n1. Verify")
    assert "Well:" not in told


def test_a_scenario_that_left_the_runbook_has_no_diagnosis() -> None:
    assert diagnosis(incident("gone", P1), facts()) == ""


def test_the_probes_behind_a_scenario_are_those_of_its_rules_and_its_steps() -> None:
    assert names_of(REDIS) == ["redis", "whmcs"]


def test_what_failed_is_written_down_in_the_order_in_which_it_began() -> None:
    now = at("17:40:00")
    later = view("errors", "log", Level.WARN, "error_ratio", warn="error_ratio > 1%", fail="error_ratio > 50%",
                 measured={"error_ratio": 0.034})  # fmt: skip
    blind = view("egress", "tcp", Level.UNKNOWN)
    assert found([(None, blind), (now - 30, later), (now - 125, FULL)], now) == (
        "redis fail, memory_used_ratio (97.1 %, limit > 95%), for 2m 5s; "
        "errors warn, error_ratio (3.4 %, limit > 1%), for 30s; egress unknown"
    )
    assert found([], now) == ""
