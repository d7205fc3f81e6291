"""Levels -> severity of each scenario: three-valued rules, holds, the worst rule wins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from monitor.core.level import RUN, ProbeState
from monitor.core.runbook import Level, Rule, Runbook, Severity, Term

RuleKey = tuple[str, str]
"""(scenario, `Rule.key`)"""


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """One rule now. `holds` is None where it cannot be judged; `due` is when its hold ends, if it holds."""

    rule: Rule
    holds: bool | None
    since: float | None
    due: float | None
    matured: bool
    because: tuple[str, ...] = ()  # the terms that hold


@dataclass(frozen=True, slots=True)
class Verdict:
    """One scenario now: the severity of its worst rule that has held for long enough."""

    scenario: str
    severity: Severity | None
    rules: tuple[RuleVerdict, ...]

    @property
    def unknown(self) -> bool:
        """No rule holds for long enough, and at least one cannot be judged."""
        return self.severity is None and any(rule.holds is None for rule in self.rules)

    @property
    def clear(self) -> bool:
        """Every rule was judged, and none holds for long enough."""
        return self.severity is None and not self.unknown

    @property
    def because(self) -> tuple[str, ...]:
        """The terms that make the severity what it is."""
        return tuple(
            dict.fromkeys(
                term
                for rule in self.rules
                if rule.matured and rule.rule.severity is self.severity
                for term in rule.because
            )
        )

    def ripens_before(self, moment: float) -> bool:
        """Whether a rule that holds will have held for long enough before `moment`."""
        return any(
            rule.holds and not rule.matured and rule.due is not None and rule.due < moment for rule in self.rules
        )


def evaluate(
    runbook: Runbook, probes: Mapping[str, ProbeState], since: Mapping[RuleKey, float], now: float
) -> dict[str, Verdict]:
    """Every scenario's verdict. `since` tells when each rule began to hold; a probe that is not there is disabled."""
    verdicts: dict[str, Verdict] = {}
    for name, scenario in runbook.scenarios.items():
        terms = {term.text: truth(term, probes, verdicts) for rule in scenario.rules for term in rule.terms}
        rules = tuple(_judge(rule, terms, since.get((name, rule.key)), now) for rule in scenario.rules)
        matured = [rule.rule.severity for rule in rules if rule.matured]
        verdicts[name] = Verdict(name, min(matured, default=None), rules)
    return verdicts


def held_since(verdicts: Mapping[str, Verdict]) -> dict[RuleKey, float]:
    """When each rule that holds, or cannot be judged for now, began to hold: what must survive a restart."""
    return {
        (verdict.scenario, rule.rule.key): rule.since
        for verdict in verdicts.values()
        for rule in verdict.rules
        if rule.since is not None
    }


def next_change(verdicts: Mapping[str, Verdict]) -> float | None:
    """When the next hold ends, if nothing else happens."""
    return min(
        (
            rule.due
            for verdict in verdicts.values()
            for rule in verdict.rules
            if rule.holds and not rule.matured and rule.due is not None
        ),
        default=None,
    )


def truth(term: Term, probes: Mapping[str, ProbeState], verdicts: Mapping[str, Verdict]) -> bool | None:
    """Whether a term holds; None where that cannot be told."""
    if term.kind == "scenario":
        return _scenario_truth(term, verdicts.get(term.name))
    state = probes.get(term.name)
    if state is None:
        return False
    level = state.level if term.why is None else why_level(state, term.why)
    if term.at is Level.UNKNOWN:
        return level is Level.UNKNOWN
    if level is Level.UNKNOWN:
        return None
    return level is Level.FAIL or (term.at is Level.WARN and level is Level.WARN)


def why_level(state: ProbeState, why: str) -> Level:
    """The level of one why; of a reason that no run has failed for: ok, as far as its runs can be judged."""
    if why in state.whys:
        return state.whys[why].shown
    run = state.whys.get(RUN)
    return Level.UNKNOWN if run is None or run.shown is Level.UNKNOWN else Level.OK


def _judge(rule: Rule, truths: Mapping[str, bool | None], began: float | None, now: float) -> RuleVerdict:
    terms = {term.text: truths[term.text] for term in rule.terms}
    holds = _any(terms.values()) if rule.mode == "any" else _all(terms.values())
    if holds and began is None:
        began = now
    if holds is False:
        began = None
    due = None if began is None else began + rule.hold
    because = tuple(text for text, held in terms.items() if held)
    return RuleVerdict(rule, holds, began, due, bool(holds) and due is not None and now >= due, because)


def _any(terms: Collection[bool | None]) -> bool | None:
    if True in terms:
        return True
    return None if None in terms else False


def _all(terms: Collection[bool | None]) -> bool | None:
    if False in terms:
        return False
    return None if None in terms else True


def _scenario_truth(term: Term, verdict: Verdict | None) -> bool | None:
    if verdict is None or verdict.unknown:
        return None
    return verdict.severity is not None and (term.severity is None or verdict.severity.at_least(term.severity))
