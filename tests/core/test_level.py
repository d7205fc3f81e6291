"""Levels: confirmation, recovery, hysteresis, flapping, quiet, and what a probe needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core import level
from monitor.core.condition import Condition, parse_condition
from monitor.core.config import FailAfter, ProbeConfig
from monitor.core.level import ProbeState
from monitor.core.probe import Fault, Measure, Options, Outcome, ProbeType, Quiet, Reading, Reason, Result
from monitor.core.runbook import Level


async def _never_run(options: object, context: object) -> Reading:
    raise AssertionError("no test of the core runs a probe")


TYPE = ProbeType(
    name="made-up",
    help="A probe type for these tests",
    options=Options,
    measures={"load": Measure("Load"), "age_seconds": Measure("Age", split="channel")},
    reasons={
        "unreachable": Reason(Fault.TARGET, "Look."),
        "saturated": Reason(Fault.TARGET, "Look."),
        "auth": Reason(Fault.ACCESS, "Look."),
    },
    run=_never_run,
    target_keys=frozenset(),
    checks=lambda options: frozenset({"cache"}),
)

THREE = FailAfter(3, 3)
UNCHECKED = replace(TYPE, checks=lambda options: frozenset())


def config(
    *,
    fail_after: FailAfter = THREE,
    recover_after: int = 2,
    warn: str = "",
    fail: str = "",
    clear_fail: str = "",
    needs: tuple[str, ...] = (),
    name: str = "it",
    probe_type: ProbeType = UNCHECKED,
) -> ProbeConfig:
    def parsed(text: str) -> tuple[Condition, ...]:
        return (parse_condition(text, TYPE.measures, {}),) if text else ()

    return ProbeConfig(
        name, probe_type, Options(), 15, 5, fail_after, recover_after, 1,
        parsed(warn), parsed(fail), (), parsed(clear_fail), needs,
    )  # fmt: skip


_COUNTER = itertools.count(1)


def ok(at: float | None = None, **measurements: float) -> Result:
    at = float(next(_COUNTER)) if at is None else at
    return Result("it", "made-up", at, at, 0.01, Outcome.SUCCESS, measurements=measurements)


def failure(reason: str = "unreachable", at: float | None = None) -> Result:
    at = float(next(_COUNTER)) if at is None else at
    return Result("it", "made-up", at, at, 0.01, Outcome.FAILURE, reason)


def error(reason: str = "auth") -> Result:
    at = float(next(_COUNTER))
    return Result("it", "made-up", at, at, 0.01, Outcome.ERROR, reason)


def step(
    probe: ProbeConfig, state: ProbeState, result: Result, needs: Mapping[str, ProbeState] | None = None
) -> ProbeState:
    return level.show(level.judge(probe, state, result), needs or {}, result.at)


def after(probe: ProbeConfig, results: Iterable[Result], state: ProbeState | None = None) -> ProbeState:
    state = state or ProbeState()
    for result in results:
        state = step(probe, state, result)
    return state


def levels(probe: ProbeConfig, results: Iterable[Result]) -> list[Level]:
    state, seen = ProbeState(), []
    for result in results:
        state = step(probe, state, result)
        seen.append(state.level)
    return seen


def test_nothing_is_known_before_the_first_run() -> None:
    assert ProbeState().level is Level.UNKNOWN


def test_one_success_makes_ok_and_three_failures_in_a_row_make_fail() -> None:
    seen = levels(config(), [ok(), failure(), failure(), failure(), failure()])
    assert seen == [Level.OK, Level.OK, Level.OK, Level.FAIL, Level.FAIL]


def test_a_probe_that_never_worked_is_unknown_until_its_failure_is_confirmed() -> None:
    assert levels(config(), [failure(), failure(), failure()]) == [Level.UNKNOWN, Level.UNKNOWN, Level.FAIL]


def test_a_success_between_failures_starts_the_count_again() -> None:
    assert after(config(), [ok(), failure(), failure(), ok(), failure(), failure()]).level is Level.OK


def test_three_of_five_confirms_what_comes_and_goes() -> None:
    probe = config(fail_after=FailAfter(3, 5))
    assert after(probe, [ok(), failure(), failure(), ok(), ok(), failure()]).level is Level.FAIL


def test_recovery_takes_two_good_runs() -> None:
    failing = [ok(), failure(), failure(), failure()]
    assert after(config(), [*failing, ok()]).level is Level.FAIL
    assert after(config(), [*failing, ok(), ok()]).level is Level.OK


def test_different_reasons_in_a_row_confirm_that_the_probe_fails_but_no_reason_alone() -> None:
    state = after(config(), [ok(), failure("unreachable"), failure("saturated"), failure("unreachable")])
    assert state.level is Level.FAIL
    assert state.whys["unreachable"].shown is not Level.FAIL


def test_the_reason_of_a_failing_level_is_the_one_that_was_confirmed() -> None:
    assert after(config(), [ok(), *[failure("saturated") for _ in range(3)]]).reason == "saturated"


def test_errors_neither_count_nor_reset() -> None:
    assert after(config(), [ok(), failure(), failure(), error(), failure()]).level is Level.FAIL


def test_three_errors_in_a_row_make_unknown_and_say_why() -> None:
    state = after(config(), [ok(), error(), error(), error()])
    assert (state.level, state.reason) == (Level.UNKNOWN, "auth")
    assert after(config(), [ok()], state).level is Level.OK


def test_a_failing_probe_whose_runs_turn_to_errors_is_unknown_and_needs_a_full_recovery() -> None:
    state = after(config(), [ok(), *[failure() for _ in range(3)], *[error() for _ in range(3)]])
    assert state.level is Level.UNKNOWN
    assert after(config(), [ok()], state).level is Level.FAIL
    assert after(config(), [ok(), ok()], state).level is Level.OK


def test_warn_and_fail_lie_on_one_measurement_and_a_fail_sample_counts_for_warn() -> None:
    probe = config(warn="load > 1", fail="load > 2")
    assert after(probe, [ok(load=0), ok(load=1.5), ok(load=3), ok(load=1.5)]).level is Level.WARN
    state = after(probe, [ok(load=0), ok(load=3), ok(load=3), ok(load=3)])
    assert (state.level, state.reason) == (Level.FAIL, "load")


def test_what_was_not_measured_becomes_unknown_not_ok() -> None:
    probe = config(fail="load > 2")
    assert levels(probe, [ok(load=0), ok(), ok(), ok()]) == [Level.OK, Level.OK, Level.OK, Level.UNKNOWN]
    assert after(probe, [ok()]).level is Level.UNKNOWN


def test_hysteresis_keeps_the_level_until_the_value_is_clear() -> None:
    probe = config(fail="load > 2", clear_fail="load < 1")
    failing = [ok(load=0), ok(load=3), ok(load=3), ok(load=3)]
    assert after(probe, [*failing, *[ok(load=1.5) for _ in range(8)]]).level is Level.FAIL
    assert after(probe, [*failing, ok(load=0.5), ok(load=0.5)]).level is Level.OK


def test_a_check_is_a_why_of_its_own_and_an_unread_one_is_unknown() -> None:
    probe = config(probe_type=TYPE)
    bad = replace(ok(), checks={"cache": False})
    state = after(probe, [replace(ok(), checks={"cache": True}), bad, replace(bad, mono=9e9), replace(bad, mono=9e9)])
    assert (state.level, state.reason) == (Level.FAIL, "cache")
    assert state.whys[level.RUN].shown is Level.OK
    assert after(probe, [ok(), ok(), ok()]).level is Level.UNKNOWN


def test_quiet_confirms_and_clears_nothing() -> None:
    probe = config(fail="load > 2")
    hold = replace(ok(), quiet=Quiet.HOLD)
    assert after(probe, [ok(load=0), *[hold] * 10]).level is Level.OK
    failing = [ok(load=0), ok(load=3), ok(load=3), ok(load=3)]
    assert after(probe, [*failing, *[hold] * 10]).level is Level.FAIL
    assert after(probe, [hold]).level is Level.UNKNOWN


def test_a_long_clean_quiet_is_ok() -> None:
    probe = config(fail="load > 2")
    clear = replace(ok(), quiet=Quiet.CLEAR)
    assert after(probe, [clear]).level is Level.OK
    assert after(probe, [ok(load=3), ok(load=3), ok(load=3), clear]).level is Level.OK


def test_fail_fail_success_again_and_again_is_not_silent_for_ever() -> None:
    runs = [failure() if number % 3 else ok() for number in range(60)]
    assert Level.FAIL in levels(config(), runs)


def test_fail_success_again_and_again_does_not_change_the_level_sixty_times() -> None:
    probe = config(fail_after=FailAfter(1, 1), recover_after=1)
    seen = levels(probe, [failure() if number % 2 else ok() for number in range(120)])
    changes = sum(a is not b for a, b in itertools.pairwise(seen))
    assert changes <= 6
    assert seen[-1] is Level.FAIL


def test_flapping_ends_when_ten_runs_agree() -> None:
    probe = config(fail_after=FailAfter(1, 1), recover_after=1)
    flapping = [failure() if number % 2 else ok() for number in range(20)]
    assert after(probe, [*flapping, *[ok() for _ in range(9)]]).level is Level.FAIL
    assert after(probe, [*flapping, *[ok() for _ in range(10)]]).level is Level.OK


# --- needs -----------------------------------------------------------------------------------------------------------


def test_a_failing_need_makes_its_dependent_unknown_and_names_it() -> None:
    need = after(config(), [ok(), *[failure() for _ in range(3)]])
    state = after(config(), [ok()])
    for _ in range(3):
        state = step(config(needs=("need",)), state, failure(), {"need": need})
    assert (state.level, state.reason, state.blamed) == (Level.UNKNOWN, "needs need", "need")


def test_a_dependent_that_is_ok_shows_through_a_failing_need() -> None:
    need = after(config(), [ok(), *[failure() for _ in range(3)]])
    assert step(config(needs=("need",)), ProbeState(), ok(), {"need": need}).level is Level.OK


def test_a_failure_waits_until_the_need_succeeded_in_a_run_begun_later() -> None:
    need = after(config(), [ok(at=100)])
    state = step(config(), ProbeState(), ok(at=100), {"need": need})
    for at in (101, 102, 103):
        state = step(config(needs=("need",)), state, failure(at=at), {"need": need})
    assert state.level is Level.OK
    assert level.pending_needs(config(needs=("need",)), state, {"need": need}) == ["need"]
    proved = step(config(), need, ok(at=104))
    assert level.show(state, {"need": proved}, 105).level is Level.FAIL


def test_a_failure_waits_while_the_need_fails_unconfirmed() -> None:
    need = after(config(), [ok(at=100), ok(at=102), failure(at=103)])
    state = after(config(), [ok(at=100)])
    for at in (101, 101.5, 102.5):
        state = step(config(needs=("need",)), state, failure(at=at), {"need": need})
    assert state.level is Level.OK


def test_evidence_from_before_a_need_was_well_again_is_void() -> None:
    state = after(config(), [ok(at=100)])
    down = after(config(), [ok(at=100), failure(at=101), failure(at=102), failure(at=103)])
    for at in (101, 102, 103):
        state = step(config(needs=("need",)), state, failure(at=at), {"need": down})
    state = level.void(state, 110, all_evidence=True)
    well = after(config(), [ok(at=109), ok(at=111)])
    late = step(config(needs=("need",)), state, failure(at=109.9), {"need": well})
    assert late.level is Level.UNKNOWN
    fresh = late
    for at in (112, 113, 114):
        fresh = step(config(needs=("need",)), fresh, failure(at=at), {"need": after(config(), [ok(at=at + 0.5)])})
    assert fresh.level is Level.FAIL
    assert step(config(needs=("need",)), late, ok(at=112), {"need": well}).level is Level.OK


# --- fail closed -----------------------------------------------------------------------------------------------------

_BAD = st.sampled_from(["failure", "error", "nan", "missing", "text", "none", "bool"])


def _bad_result(kind: str) -> Result:
    values = {"nan": float("nan"), "text": "0", "none": None, "bool": False}
    if kind == "failure":
        return failure()
    if kind == "error":
        return error()
    return replace(ok(), measurements={"load": values[kind]} if kind in values else {})  # type: ignore[dict-item]


@given(st.lists(_BAD, max_size=60), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_no_history_without_a_successful_measurement_reaches_ok(
    kinds: list[str], count: int, extra: int, recover_after: int
) -> None:
    probe = config(fail_after=FailAfter(count, count + extra), recover_after=recover_after, fail="load > 2")
    for shown in levels(probe, [_bad_result(kind) for kind in kinds]):
        assert shown is not Level.OK


@given(st.lists(_BAD | st.just("good"), max_size=60), st.lists(_BAD, min_size=1), st.integers(1, 5))
def test_whatever_came_before_enough_bad_runs_in_a_row_are_not_ok(
    before: list[str], tail: list[str], count: int
) -> None:
    probe = config(fail_after=FailAfter(count, count), fail="load > 2")
    state = after(probe, [ok(load=0) if kind == "good" else _bad_result(kind) for kind in before])
    state = after(probe, [_bad_result(tail[0]) for _ in range(count)], state)
    assert state.level is not Level.OK


@given(st.lists(_BAD | st.just("good"), max_size=80))
def test_the_state_survives_being_saved(kinds: list[str]) -> None:
    import msgspec

    probe = config(fail="load > 2")
    state = after(probe, [ok(load=0) if kind == "good" else _bad_result(kind) for kind in kinds])
    assert msgspec.json.decode(msgspec.json.encode(state), type=ProbeState) == state


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_a_clock_step_moves_every_saved_time(seconds: float) -> None:
    state = after(config(), [ok(at=100), failure(at=101)])
    moved = level.shift(state, seconds)
    assert moved.failing_since == 101 + seconds
    assert moved.last_success_at == 100 + seconds
