"""Schedules: phases that spread, intervals that hold, runs that are counted as skipped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.core.schedule import STARTS_PER_SECOND, first_delay, missed, next_due, next_run, phase

NAMES = [f"probe-{number}" for number in range(1000)]
intervals = st.floats(0.05, 86400)


def test_a_thousand_probes_do_not_run_together() -> None:
    seconds = [int(phase(name, 30.0)) for name in NAMES]
    fullest = max(seconds.count(second) for second in range(30))
    assert fullest < 2 * len(NAMES) / 30


def test_a_thousand_probes_do_not_start_together_and_all_within_their_interval() -> None:
    delays = [first_delay(name, 60.0, len(NAMES)) for name in NAMES]
    seconds = [int(delay) for delay in delays]
    assert max(delays) < len(NAMES) / STARTS_PER_SECOND
    assert max(seconds.count(second) for second in set(seconds)) < 2 * STARTS_PER_SECOND


def test_one_probe_starts_at_once() -> None:
    assert first_delay("redis", 3600.0, 1) < 0.1


@given(st.sampled_from(NAMES), intervals, st.floats(0, 1e6))
def test_the_next_due_time_is_the_probes_phase_and_less_than_an_interval_away(
    name: str, interval: float, now: float
) -> None:
    due = next_due(name, interval, now)
    assert now < due <= now + interval * (1 + 1e-6)
    distance = (due - phase(name, interval)) / interval
    assert abs(distance - round(distance)) < 1e-6


def test_a_change_that_is_not_confirmed_is_looked_at_again_soon() -> None:
    calm = next_run("redis", 15.0, 1.0, 100.0, changing=False)
    assert next_run("redis", 15.0, 1.0, 100.0, changing=True) == min(101.0, calm)


def test_due_times_that_pass_during_a_run_are_counted() -> None:
    due = next_due("redis", 10.0, 100.0)
    assert missed("redis", 10.0, due, due + 9.9) == 0
    assert missed("redis", 10.0, due, due + 10.1) == 1
    assert missed("redis", 10.0, due, due + 35.0) == 3


@given(st.sampled_from(NAMES), intervals, st.floats(0, 1e6))
def test_a_run_that_ends_within_its_interval_skips_nothing(name: str, interval: float, now: float) -> None:
    due = next_due(name, interval, now)
    assert missed(name, interval, due, due + interval * 0.9) == 0
