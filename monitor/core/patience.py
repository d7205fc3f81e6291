"""How long an outage lasts before it pages, rule by rule: what `check` tells whoever tunes the numbers.

The model is one clean outage: from one moment on every sample of the term fails, and from another none does. What
comes on top: up to 2 s in which a cause may overtake its symptom, and Alertmanager's `group_wait`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from monitor.core.condition import Condition
from monitor.core.config import Config, ProbeConfig
from monitor.core.runbook import Level, Rule, Runbook, Severity, Term


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. An outage is paged `soonest` to `latest` after it began; one shorter than `passes` never is."""

    scenario: str
    severity: Severity
    rule: str
    hold: float
    soonest: float
    latest: float
    passes: float


@dataclass(frozen=True, slots=True)
class _Span:
    """How long a term takes to hold (at best, at worst), and how long it may go on holding after the outage."""

    soonest: float
    latest: float
    lingers: float


def report(config: Config, runbook: Runbook) -> tuple[Patience, ...]:
    """Every rule of every scenario, in the order of the runbook. A rule on disabled probes alone is `inf`."""
    rows: list[Patience] = []
    for scenario in runbook.scenarios.values():
        for rule in scenario.rules:
            span = _rule_span(rule, config, rows)
            soonest, latest = span.soonest + rule.hold, span.latest + rule.hold
            passes = max(0.0, soonest - span.lingers) if math.isfinite(soonest) else math.inf
            rows.append(Patience(scenario.name, rule.severity, _words(rule), rule.hold, soonest, latest, passes))
    return tuple(rows)


def _words(rule: Rule) -> str:
    return (" or " if rule.mode == "any" else " and ").join(term.text for term in rule.terms)


def _rule_span(rule: Rule, config: Config, rows: list[Patience]) -> _Span:
    """Of any: the quickest term, at worst the slowest. Of all: the slowest, and it is over when the first is."""
    spans = [span for term in rule.terms if (span := _term_span(term, config, rows)) is not None]
    if not spans or (rule.mode == "all" and len(spans) < len(rule.terms)):
        return _Span(math.inf, math.inf, 0.0)
    if rule.mode == "any":
        return _merged(spans)
    slowest = max(span.soonest for span in spans)
    return _Span(slowest, max(span.latest for span in spans), min(span.lingers for span in spans))


def _merged(spans: Iterable[_Span]) -> _Span:
    """Whichever of these happens. What lingers counts from the one with the least room before it holds."""
    spans = list(spans)
    soonest = min(span.soonest for span in spans)
    room = min(span.soonest - span.lingers for span in spans)
    return _Span(soonest, max(span.latest for span in spans), soonest - room)


def _term_span(term: Term, config: Config, rows: list[Patience]) -> _Span | None:
    if term.kind == "scenario":
        return _scenario_span(term, rows)
    probe = config.probes.get(term.name)
    if probe is None or not probe.enabled:
        return None
    spans = [_why_span(probe, condition, config) for condition in _conditions(probe, term)]
    if term.why is None or not spans:
        spans.append(_why_span(probe, None, config))
    return _merged(spans)


def _scenario_span(term: Term, rows: list[Patience]) -> _Span | None:
    """The scenario's rules at this severity or worse; they come before this one in the runbook."""
    worst = term.severity or Severity.P4
    reached = [row for row in rows if row.scenario == term.name and row.severity.at_least(worst)]
    reached = [row for row in reached if math.isfinite(row.soonest)]
    if not reached:
        return None
    return _merged(_Span(row.soonest, row.latest, row.soonest - row.passes) for row in reached)


def _conditions(probe: ProbeConfig, term: Term) -> list[Condition]:
    """The conditions that make this term hold; none of them does where it asks for unknown."""
    if term.at is Level.UNKNOWN:
        return []
    limits = (*probe.fail, *probe.warn) if term.at is Level.WARN else probe.fail
    return [limit for limit in limits if term.why in {None, limit.why}]


def _why_span(probe: ProbeConfig, condition: Condition | None, config: Config) -> _Span:
    """From the outage's begin: up to an interval until a run sees it, then retries until it is confirmed.

    At best the first run begins at once, or `watch` wakes it, and fails at once; at worst each run takes all of its
    timeout. A number over a window moves as the window fills, and goes on showing the outage until it is emptied; an
    age only begins to count.
    """
    retries = (probe.fail_after.count - 1) * probe.retry_interval
    needs = [config.probes[name] for name in probe.needs if name in config.probes]
    asked = max((need.timeout for need in needs), default=0.0)
    window = float(getattr(probe.options, "window", 0.0)) if condition is not None else 0.0
    waits = condition.limit if condition is not None and _is_age(probe, condition) else 0.0
    soonest = retries + waits
    latest = soonest + probe.interval + probe.fail_after.count * probe.timeout + asked + window
    lingers = window + probe.interval + (probe.recover_after - 1) * probe.retry_interval
    return _Span(soonest, latest, lingers)


def _is_age(probe: ProbeConfig, condition: Condition) -> bool:
    return probe.type.measures[condition.name].kind == "age" and condition.op in {">", ">="}
