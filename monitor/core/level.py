"""Result + what went before -> level: confirmation, recovery, hysteresis, flapping, and what a probe needs.

Everything is kept per probe and *why*: the run as a whole (`RUN`), each reason a run failed for, each measurement
with a condition, each check. A sample of a why is a letter, `o`, `w` or `f`; its history is a string of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from monitor.core.condition import Condition
from monitor.core.config import ProbeConfig
from monitor.core.probe import Outcome, Quiet, Result
from monitor.core.runbook import Level

RUN = "run"
"""The why of runs that fail, for whatever reason: three different reasons in a row confirm a failure too."""

FLAPPING_SPAN = 20
FLAPPING_CHANGES = 6
STEADY_RUNS = 10

_LETTER = {"o": Level.OK, "w": Level.WARN, "f": Level.FAIL}
_BAD = (Level.WARN, Level.FAIL)
_RANK = {Level.OK: 0, Level.WARN: 1, Level.UNKNOWN: 2, Level.FAIL: 3}


def worst(levels: Iterable[Level]) -> Level:
    """Fail before unknown before warn before ok; unknown if there are none."""
    return max(levels, key=_RANK.__getitem__, default=Level.UNKNOWN)


@dataclass(frozen=True, slots=True)
class WhyState:
    """One why of one probe. `confirmed` is its own level; `shown` is what is left of it beside the probe's needs."""

    confirmed: Level = Level.UNKNOWN  # unknown until a first success or a confirmed failure
    history: str = ""
    blind: int = 0  # runs in a row that could not judge it
    unseen: bool = False  # so many of them that its level is unknown
    flapping: bool = False
    failing_since: float | None = None  # wall: when the run began that gave the first failing sample of this stretch
    bad_from: float | None = None  # monotonic: the same moment; not kept over a restart
    fail_from: float | None = None  # monotonic: the first `f` of this stretch
    released: Level = Level.OK  # up to which level the needs were seen well, after the first sample of that level
    shown: Level = Level.UNKNOWN


@dataclass(frozen=True, slots=True)
class ProbeState:
    """What the level of a probe is made of. Kept by the store, less the monotonic times."""

    whys: Mapping[str, WhyState] = field(default_factory=dict)
    level: Level = Level.UNKNOWN
    reason: str = ""  # the why of the level; "needs NAME" where a need keeps it unknown
    since: float | None = None
    last_reason: str = ""  # of the last run that did not succeed
    last_success_at: float | None = None
    success_begun: float | None = None  # monotonic: when the last successful run began
    void_before: float = 0.0  # monotonic: failing samples of runs begun earlier say nothing
    blamed: str = ""  # a need that is failing, which is reason enough for whatever cannot be judged here

    @property
    def clean(self) -> bool:
        """Neither failing nor unknown, nor on the way there: a need that can be relied on."""
        return self.level in {Level.OK, Level.WARN} and not self.unconfirmed

    @property
    def unconfirmed(self) -> bool:
        """Some why has newer samples that are worse than its level."""
        return any(_pending(why) for why in self.whys.values())

    @property
    def changing(self) -> bool:
        """A change, to the worse or the better, is not confirmed yet: look again soon."""
        return self.unconfirmed or self.recovering

    @property
    def recovering(self) -> bool:
        """Some why has newer samples that are better than its level."""
        return any(_recovering(why) for why in self.whys.values())

    def begun(self, why: str | None, level: Level) -> float | None:
        """Wall time of the first failing sample of a why, or of all whys that are at this level or worse."""
        chosen = [state for name, state in self.whys.items() if name == why or (why is None and _at(state, level))]
        return min((state.failing_since for state in chosen if state.failing_since is not None), default=None)

    @property
    def failing_since(self) -> float | None:
        """Wall time of the earliest failing sample of the present stretch."""
        return min((why.failing_since for why in self.whys.values() if why.failing_since is not None), default=None)


def forget_monotonic(state: ProbeState) -> ProbeState:
    """The state as it is loaded after a restart: times of another process's clock mean nothing."""
    whys = {
        name: replace(
            why,
            bad_from=None if why.bad_from is None else 0.0,
            fail_from=None if why.fail_from is None else 0.0,
        )
        for name, why in state.whys.items()
    }
    return replace(state, whys=whys, success_begun=None, void_before=0.0)


def shift(state: ProbeState, seconds: float) -> ProbeState:
    """The same state by a wall clock that was set forward by so many seconds (back, if negative)."""

    def moved(at: float | None) -> float | None:
        return None if at is None else at + seconds

    whys = {name: replace(why, failing_since=moved(why.failing_since)) for name, why in state.whys.items()}
    return replace(state, whys=whys, since=moved(state.since), last_success_at=moved(state.last_success_at))


def judge(config: ProbeConfig, state: ProbeState, result: Result) -> ProbeState:
    """The state after one more run, before the probe's needs are looked at."""
    samples = _samples(config, state, result)
    whys = {}
    for name in [RUN, *_condition_whys(config), *sorted(config.type.checks(config.options))]:
        whys[name] = state.whys.get(name, WhyState())
    whys |= {name: why for name, why in state.whys.items() if name in config.whys}
    # A reason that no run has failed for is ok, as far as its runs could be judged.
    unseen_reason = WhyState(confirmed=Level.UNKNOWN if whys[RUN].confirmed is Level.UNKNOWN else Level.OK)
    for name, sample in samples.items():
        whys[name] = _add(config, whys.get(name, unseen_reason), sample, result, state.void_before)
    succeeded = result.outcome is Outcome.SUCCESS
    return replace(
        state,
        whys=whys,
        last_reason=state.last_reason if succeeded else result.reason,
        last_success_at=result.at if succeeded else state.last_success_at,
        success_begun=result.mono if succeeded else state.success_begun,
    )


def show(state: ProbeState, needs: Mapping[str, ProbeState], now: float) -> ProbeState:
    """The state with the level that may be shown: a failing or unknown need makes its dependents unknown."""
    culprit = next((name for name, need in needs.items() if need.level in {Level.FAIL, Level.UNKNOWN}), None)
    whys = {name: _show_why(why, needs, blamed=culprit is not None) for name, why in state.whys.items()}
    level = worst(why.shown for why in whys.values())
    reason = _reason(whys, level, state.last_reason)
    if level is Level.UNKNOWN and culprit and any(_own(why) in {Level.WARN, Level.FAIL} for why in whys.values()):
        reason = f"needs {culprit}"
    since = state.since if level is state.level and state.since is not None else now
    failing = next((name for name, need in needs.items() if need.level is Level.FAIL), "")
    return replace(state, whys=whys, level=level, reason=reason, blamed=failing, since=since)


def void(state: ProbeState, mono: float, *, all_evidence: bool) -> ProbeState:
    """The state once a need is well again: failing samples from before may have been the need's.

    Only those not yet shown, or all of them if the need itself was failing or unknown.
    """
    whys = {name: _void_why(why, all_evidence=all_evidence) for name, why in state.whys.items()}
    return replace(state, whys=whys, void_before=mono)


def pending_needs(config: ProbeConfig, state: ProbeState, needs: Mapping[str, ProbeState]) -> list[str]:
    """The needs that must succeed in a run begun later before a failing sample of this probe may count."""
    marks = [mark for why in state.whys.values() if (mark := _unproved(why)) is not None]
    if not marks:
        return []
    return [name for name in config.needs if name in needs and not _proves(needs[name], min(marks))]


# --- samples ---------------------------------------------------------------------------------------------------------

_CLEAR = "c"  # quiet for long enough, and clean: as good as `recover_after` good samples
_BLIND = "?"  # could not be judged


def _samples(config: ProbeConfig, state: ProbeState, result: Result) -> dict[str, str]:
    """What this run says about each why; a why that it says nothing about is left out."""
    judged = {name: _judge_conditions(config, state, result, name) for name in _condition_whys(config)}
    judged |= {name: _judge_check(result, name) for name in config.type.checks(config.options)}
    if result.outcome is Outcome.ERROR:
        return dict.fromkeys([RUN, *judged, *state.whys], _BLIND)
    if result.outcome is Outcome.FAILURE:
        return {RUN: "f", result.reason: "f"} | judged
    if result.quiet is not None:
        stand_in = {_BLIND: _CLEAR if result.quiet is Quiet.CLEAR else ""}
        judged = {name: said for name, letter in judged.items() if (said := stand_in.get(letter, letter))}
    reasons = {name: "o" for name in state.whys if name not in judged and name not in _condition_whys(config)}
    return reasons | {RUN: "o"} | judged


def _condition_whys(config: ProbeConfig) -> list[str]:
    return list(dict.fromkeys(condition.why for condition in (*config.fail, *config.warn)))


def _judge_check(result: Result, name: str) -> str:
    if name not in result.checks:
        return _BLIND
    return "o" if result.checks[name] else "f"


def _judge_conditions(config: ProbeConfig, state: ProbeState, result: Result, name: str) -> str:
    confirmed = state.whys.get(name, WhyState()).confirmed
    fail = _breached(config.fail, config.clear_fail if confirmed is Level.FAIL else (), name, result)
    at_warn = confirmed in {Level.WARN, Level.FAIL}
    warn = _breached(config.warn, config.clear_warn if at_warn else (), name, result)
    if fail or warn:
        return "f" if fail else "w"
    return _BLIND if fail is None or warn is None else "o"


def _breached(limits: tuple[Condition, ...], clear: tuple[Condition, ...], name: str, result: Result) -> bool | None:
    """Whether any limit of this why holds; where it has hysteresis, whether any way to clear does not hold yet."""
    verdicts = [limit.holds(result.measurements) for limit in limits if limit.why == name]
    cleared = [limit.holds(result.measurements) for limit in clear if limit.why == name]
    verdicts += [None if verdict is None else not verdict for verdict in cleared]
    if True in verdicts:
        return True
    return None if None in verdicts else False


# --- one why ---------------------------------------------------------------------------------------------------------


def _add(config: ProbeConfig, why: WhyState, sample: str, result: Result, void_before: float) -> WhyState:
    if sample == _BLIND:
        blind = min(why.blind + 1, config.fail_after.count)
        return replace(why, blind=blind, unseen=blind >= config.fail_after.count)
    if sample == _CLEAR:
        return WhyState(confirmed=Level.OK, history="o", shown=why.shown)
    if sample != "o" and result.mono < void_before:
        return why
    history = (why.history + sample)[-max(FLAPPING_SPAN, config.fail_after.of) :]
    flapping = _flapping(why.flapping, history)
    confirmed = _confirm(config, why.confirmed, history)
    if flapping:
        confirmed = _worse(confirmed, why.confirmed, _held(config, history))
    why = replace(why, confirmed=confirmed, history=history, blind=0, unseen=False, flapping=flapping)
    return _mark(why, sample, result)


def _confirm(config: ProbeConfig, before: Level, history: str) -> Level:
    """The level that these samples make of the one before."""
    newest = history[-1]
    tail = history[-config.fail_after.of :]
    fails, bads = tail.count("f"), tail.count("f") + tail.count("w")
    if newest == "f" and fails >= config.fail_after.count:
        return Level.FAIL
    if newest != "o" and bads >= config.fail_after.count and before is not Level.FAIL:
        return Level.WARN
    if before is Level.UNKNOWN:
        return Level.OK if newest == "o" else Level.UNKNOWN
    recent = history[-config.recover_after :]
    if before is Level.OK or len(recent) < config.recover_after:
        return before
    return _worse_letter(recent) if _RANK[_worse_letter(recent)] < _RANK[before] else before


def _worse_letter(history: str) -> Level:
    return max((_LETTER[letter] for letter in history), key=_RANK.__getitem__)


def _flapping(before: bool, history: str) -> bool:
    """6 changes in 20 runs, until 10 runs agree."""
    if before:
        return len(set(history[-STEADY_RUNS:])) > 1
    recent = history[-FLAPPING_SPAN:]
    changes = [a != b for a, b in pairwise(recent)]
    return bool(changes) and changes[-1] and sum(changes) >= FLAPPING_CHANGES


def _held(config: ProbeConfig, history: str) -> Level:
    """The worst level that these samples reach often enough, whatever their order."""
    recent = history[-FLAPPING_SPAN:]
    fails = recent.count("f")
    if fails >= config.fail_after.count:
        return Level.FAIL
    return Level.WARN if fails + recent.count("w") >= config.fail_after.count else Level.OK


def _worse(*levels: Level) -> Level:
    """The worst that was confirmed; unknown (nothing confirmed yet) gives way to it."""
    known = [level for level in levels if level is not Level.UNKNOWN]
    bad = [level for level in known if level is not Level.OK]
    return worst(bad) if bad else levels[0]


def _mark(why: WhyState, sample: str, result: Result) -> WhyState:
    """Remember when this stretch of failing samples began, and forget it once the why is ok."""
    if sample == "o":
        over = why.confirmed in {Level.OK, Level.UNKNOWN}
        return replace(why, failing_since=None, bad_from=None, fail_from=None, released=Level.OK) if over else why
    if why.bad_from is None:
        why = replace(why, failing_since=result.at, bad_from=result.mono)
    if sample == "f" and why.fail_from is None:
        why = replace(why, fail_from=result.mono)
    return why


def _own(why: WhyState) -> Level:
    return Level.UNKNOWN if why.unseen else why.confirmed


def _pending(why: WhyState) -> bool:
    """Whether the newest sample is worse than the level."""
    if why.history.endswith("f"):
        return why.confirmed is not Level.FAIL
    return why.history.endswith("w") and why.confirmed not in _BAD


def _at(why: WhyState, level: Level) -> bool:
    return why.shown is Level.FAIL or (level is Level.WARN and why.shown is Level.WARN)


def _recovering(why: WhyState) -> bool:
    return why.confirmed in {Level.WARN, Level.FAIL} and why.history.endswith("o")


# --- beside the needs ------------------------------------------------------------------------------------------------


def _show_why(why: WhyState, needs: Mapping[str, ProbeState], *, blamed: bool) -> WhyState:
    own = _own(why)
    if own in {Level.OK, Level.UNKNOWN}:
        return replace(why, shown=own)
    if blamed:
        return replace(why, shown=Level.UNKNOWN)
    if _RANK[own] > _RANK[why.released] and not all(_proves(need, _since(why, own)) for need in needs.values()):
        return why
    return replace(why, shown=own, released=own)


def _since(why: WhyState, level: Level) -> float:
    """Monotonic time of the first sample as bad as this level."""
    return (why.fail_from if level is Level.FAIL else why.bad_from) or 0.0


def _proves(need: ProbeState, mark: float) -> bool:
    """Whether this need was well in a run begun after `mark`, and has not begun to fail since."""
    return need.success_begun is not None and need.success_begun > mark and not need.unconfirmed


def _unproved(why: WhyState) -> float | None:
    """Since when there are failing samples that the needs have not been asked about."""
    own = _own(why)
    if own in {Level.WARN, Level.FAIL} and _RANK[own] > _RANK[why.released]:
        return _since(why, own)
    return _since(why, _LETTER[why.history[-1]]) if _pending(why) else None


def _void_why(why: WhyState, *, all_evidence: bool) -> WhyState:
    bad = why.confirmed in {Level.WARN, Level.FAIL}
    if bad and (all_evidence or _RANK[why.confirmed] > _RANK[why.released]):
        return WhyState(shown=why.shown)
    if bad or not _pending(why):
        return why
    return replace(
        why, history=why.history.rstrip("wf"), flapping=False, failing_since=None, bad_from=None, fail_from=None
    )


def _reason(whys: Mapping[str, WhyState], level: Level, last_reason: str) -> str:
    """The why to name: the most telling of those that are at the level."""
    if level is Level.OK:
        return ""
    named = [name for name, why in whys.items() if why.shown is level and name != RUN]
    if level is Level.FAIL and last_reason in named:
        return last_reason
    return named[0] if named and level is not Level.UNKNOWN else last_reason or (named[0] if named else "")
