"""The history of a probe: what joins, what is told of it, what survives."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core import history
from monitor.core.condition import parse_condition
from monitor.core.history import MINUTE, QUARTER, RUNS_KEPT, Bucket, Past
from monitor.core.level import ProbeState, WhyState
from monitor.core.probe import Outcome, Result
from monitor.core.runbook import Level
from tests.web import portal

CONFIG = portal.configure("redis", portal.REDIS, warn="memory_used_ratio > 80%", fail="memory_used_ratio > 95%")
OK, FAILING = ProbeState(level=Level.OK), ProbeState(level=Level.FAIL)
START = 1795453200.0  # on a quarter of an hour
numbers = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-6)


def ran(at: float, used: float | None = 0.5, *, failed: bool = False) -> Result:
    measured = {} if used is None else {"memory_used_ratio": used}
    outcome = Outcome.FAILURE if failed else Outcome.SUCCESS
    found = replace(portal.ran(CONFIG, outcome, at=at, measurements=measured), duration_seconds=0.0625)  # sums exactly
    return replace(found, reason="unreachable") if failed else found


def lived(results: list[Result], past: Past | None = None) -> tuple[Past, list[Bucket]]:
    """A history of these runs, and what was closed on the way."""
    now, closed = past or Past(), list[Bucket]()
    for result in results:
        state = OK if result.outcome is Outcome.SUCCESS else FAILING
        now, news = history.take(now, CONFIG, result, OK, state)
        closed += news.closed
    return now, closed


def spread_of(values: list[float]) -> history.Spread:
    past, closed = lived([ran(START + 0.001 * number, value) for number, value in enumerate(values)])
    found = history.whole([*closed, *past.minutes[-1:]])
    assert found is not None
    return found.measured["memory_used_ratio"]


@given(st.lists(numbers, min_size=1, max_size=60))
def test_a_spread_knows_least_most_and_mean_and_quantiles_to_two_percent(values: list[float]) -> None:
    spread = spread_of(values)
    assert (spread.count, spread.low, spread.high) == (len(values), min(values), max(values))
    assert spread.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-6, abs=1e-3)
    for rank in (0.0, 0.5, 0.95, 1.0):
        true = sorted(values)[max(math.ceil(rank * len(values)) - 1, 0)]
        assert spread.quantile(rank) == pytest.approx(true, rel=0.021, abs=1e-9)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=60))
def test_the_share_beyond_a_limit_is_right_but_for_what_lies_within_two_percent_of_it(values: list[float]) -> None:
    condition = parse_condition("memory_used_ratio > 80%", portal.REDIS.measures, {})
    surely = sum(value > 0.8 * 1.021 for value in values) / len(values)
    perhaps = sum(value > 0.8 * 0.979 for value in values) / len(values)
    assert surely <= spread_of(values).share(condition) <= perhaps


@given(st.lists(st.tuples(st.integers(0, 4000), st.booleans()), min_size=1, max_size=80))
def test_however_buckets_are_joined_nothing_is_lost(runs: list[tuple[int, bool]]) -> None:
    results = [ran(START + at, failed=failed) for at, failed in sorted(runs)]
    past, closed = lived(results)
    minutes = [bucket for bucket in closed if bucket.seconds == MINUTE] + list(past.minutes[-1:])
    quarters = [bucket for bucket in closed if bucket.seconds == QUARTER] + ([past.quarter] if past.quarter else [])
    assert sum(bucket.runs for bucket in minutes) == sum(bucket.runs for bucket in quarters) == len(runs)
    assert sum(bucket.failures for bucket in minutes) == sum(failed for _, failed in runs)
    assert history.coarser(minutes, QUARTER) == quarters
    assert reduce(history.join, minutes).level is (Level.FAIL if any(failed for _, failed in runs) else Level.OK)


@given(st.lists(st.tuples(st.integers(0, 4000), st.booleans()), min_size=1, max_size=80), st.integers(1, 80))
def test_after_a_start_the_open_buckets_are_what_they_were(runs: list[tuple[int, bool]], kept: int) -> None:
    past, closed = lived([ran(START + at, failed=failed) for at, failed in sorted(runs)][:kept])
    saved = replace(past, minutes=tuple(bucket for bucket in closed if bucket.seconds == MINUTE), quarter=None)
    assert history.resume(saved, CONFIG) == past
    assert history.resume(past, CONFIG) == past  # and once is enough


def test_what_is_at_hand_is_bounded_whatever_happens() -> None:
    past, _ = lived([ran(START + 20 * number, failed=number % 2 == 0) for number in range(1000)])
    assert (len(past.runs), len(past.turns)) == (RUNS_KEPT, RUNS_KEPT)
    assert len(past.minutes) == history.AT_HAND + 1
    assert [run.number for run in past.runs[:2]] == [999, 998]


def test_runs_that_ended_otherwise_are_kept_for_longer() -> None:
    past, _ = lived([*(ran(START + n) for n in range(5)), *(ran(START + 5 + n, failed=True) for n in range(300))])
    assert [(run.number, run.turn, run.result.outcome) for run in past.turns] == [
        (5, 1, Outcome.FAILURE),
        (0, 0, Outcome.SUCCESS),
    ]


def test_a_breach_is_counted_once_and_not_on_the_way_back() -> None:
    states = [Level.UNKNOWN, Level.OK, Level.WARN, Level.WARN, Level.FAIL, Level.WARN, Level.OK, Level.FAIL]
    chain = [ProbeState({"memory_used_ratio": WhyState(level)}) for level in states]
    past = Past()
    for number, (before, after) in enumerate(itertools.pairwise(chain)):
        past, _ = history.take(past, CONFIG, ran(START + number), before, after)
    assert past.minutes[-1].breaches == {"warn memory_used_ratio": 1, "fail memory_used_ratio": 2}


def test_what_was_not_measured_is_not_made_up() -> None:
    past, _ = lived([ran(START, None), ran(START + 1, math.nan), ran(START + 2, math.inf)])
    assert past.minutes[-1].measured.keys() == {history.DURATION}


def test_of_several_parts_the_one_nearest_the_limit_is_kept() -> None:
    config = portal.configure("replay", portal.REPLAY, warn="age_seconds > 2h")
    result = portal.ran(config, measurements={"age_seconds": {"a": 10.0, "b": 20.0}})
    past, _ = history.take(Past(), config, result, OK, OK)
    assert past.minutes[-1].measured["age_seconds"].high == 20.0


def test_a_long_time_is_shown_in_quarters_with_the_open_one() -> None:
    assert (history.resolution(6 * 3600), history.resolution(7 * 3600)) == (MINUTE, QUARTER)
    past, closed = lived([ran(START + 60 * number) for number in range(40)])
    quarters = [bucket for bucket in closed if bucket.seconds == QUARTER]
    found = history.with_open(quarters, past, QUARTER)
    assert [bucket.runs for bucket in found] == [15, 15, 10]
    assert history.with_open([*quarters, found[-1]], past, QUARTER) == found


def test_the_first_moments_do_not_count_as_unknown() -> None:
    unjudged = ProbeState(level=Level.UNKNOWN)
    past, _ = history.take(Past(), CONFIG, ran(START), unjudged, unjudged)
    assert past.minutes[-1].level is None
    past, _ = history.take(past, CONFIG, ran(START + 1), unjudged, OK)
    assert past.minutes[-1].level is Level.OK
    blind = ProbeState(level=Level.UNKNOWN, reason="auth")
    past, _ = history.take(past, CONFIG, ran(START + 2), OK, blind)
    assert past.minutes[-1].level is Level.UNKNOWN
