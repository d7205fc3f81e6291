"""Levels -> severity of each scenario: three-valued rules, holds, the worst rule wins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from monitor.core.level import RUN, ProbeState
from monitor.core.runbook import Level, Rule, Runbook, Severity, Term

RuleKey = tuple[str, str]
"""(scenario, `Rule.key`)"""


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """One rule now. `holds` is None where it cannot be judged, or where maintenance keeps it from counting.

    `due` is when its hold ends, if it holds. The hold goes on during maintenance.
    """

    rule: Rule
    holds: bool | None
    since: float | None
    due: float | None
    matured: bool
    because: tuple[str, ...] = ()  # the terms that hold
    maintained: bool = False  # it would hold, were it not for maintenance
    terms: Mapping[str, bool | None] = field(default_factory=dict)  # whether each counts; None: not known, or kept back


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

    @property
    def flags(self) -> tuple[str, ...]:
        """What the rules that hold say beside the severity: `data_loss`."""
        return tuple(dict.fromkeys(rule.rule.flag for rule in self.rules if rule.matured and rule.rule.flag))

    @property
    def links(self) -> tuple[str, ...]:
        """What to read, by the rules that hold."""
        return tuple(dict.fromkeys(link for rule in self.rules if rule.matured for link in rule.rule.links))

    @property
    def maintained(self) -> bool:
        """Whether maintenance keeps something back that fails."""
        return any(rule.maintained for rule in self.rules)

    def ripens_before(self, moment: float) -> bool:
        """Whether a rule that holds will have held for long enough before `moment`."""
        return any(
            rule.holds and not rule.matured and rule.due is not None and rule.due < moment for rule in self.rules
        )


def evaluate(
    runbook: Runbook,
    probes: Mapping[str, ProbeState],
    since: Mapping[RuleKey, float],
    now: float,
    maintained: Collection[str] = (),
) -> dict[str, Verdict]:
    """Every scenario's verdict. `since` tells when each rule began to hold; a probe that is not there is disabled.

    What is `maintained` (probes, and scenarios as `scenario:redis`) can keep no rule from being clear that is, but
    what fails there counts as not known, until the maintenance is over.
    """
    verdicts: dict[str, Verdict] = {}
    for name, scenario in runbook.scenarios.items():
        terms = {term.text: truth(term, probes, verdicts) for rule in scenario.rules for term in rule.terms}
        everything = f"scenario:{name}" in maintained
        kept_back = {
            term.text
            for rule in scenario.rules
            for term in rule.terms
            if everything or (term.kind == "probe" and term.name in maintained)
        }
        rules = tuple(_judge(rule, terms, kept_back, since.get((name, rule.key)), now) for rule in scenario.rules)
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
    if term.at is Level.UNKNOWN:  # what a failing need explains is no blindness: the need has a page of its own
        return level is Level.UNKNOWN and not state.blamed
    if level is Level.UNKNOWN:
        return None
    return level is Level.FAIL or (term.at is Level.WARN and level is Level.WARN)


def why_level(state: ProbeState, why: str) -> Level:
    """The level of one why; of a reason that no run has failed for: ok, as far as its runs can be judged."""
    if why in state.whys:
        return state.whys[why].shown
    run = state.whys.get(RUN)
    return Level.UNKNOWN if run is None or run.shown is Level.UNKNOWN else Level.OK


def _judge(
    rule: Rule, truths: Mapping[str, bool | None], kept_back: Collection[str], began: float | None, now: float
) -> RuleVerdict:
    terms = {term.text: truths[term.text] for term in rule.terms}
    joined = _any if rule.mode == "any" else _all
    truly = joined(terms.values())
    if truly and began is None:
        began = now
    if truly is False:
        began = None
    due = None if began is None else began + rule.hold
    counted = {text: None if held and text in kept_back else held for text, held in terms.items()}
    holds = joined(counted.values())
    because = tuple(text for text, held in counted.items() if held)
    matured = bool(holds) and due is not None and now >= due
    return RuleVerdict(rule, holds, began, due, matured, because, bool(truly) and not holds, counted)


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
