"""What one probe may know of another: names checked at load, numbers handed over while they are fresh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from monitor.core import evidence
from monitor.core.config import FailAfter, ProbeConfig
from monitor.core.loading import ConfigError, load
from monitor.core.probe import Fault, Measure, Outcome, Reading, Reason, Reference, Result, Sample
from monitor.probes import discover

NOW = 1_795_000_000.0
RUNBOOK = """
severities: {P1: {name: a, respond: 15m, update_every: 30m}, P2: {name: b, respond: 1h, update_every: 1h},
  P3: {name: c, respond: 4h, update_every: 4h}, P4: {name: d, respond: 24h, update_every: 24h}}
escalation: {L1: {to: On-call}}
scenarios: {events: {title: Events, rules: [{severity: P2, any: [replay]}]}}
"""
PROBES = """
runbook: runbook.yaml
probes:
  log: {type: log, path: /var/log/bff.log, patterns: {event: Platform Event}}
  redis: {type: redis, url: "redis://localhost"}
  replay: {type: replay, url: "redis://localhost", evidence: {errors: "%s"}}
"""


def problems(reference: str) -> list[str]:
    text = PROBES % reference
    try:
        load("probes.yaml", text, types=discover(), env={}, read=lambda name: RUNBOOK)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("log.last_match_age_seconds[event]", ""),
        ("redis.ping_seconds", ""),
        ("logs.last_match_age_seconds[event]", 'no probe "logs"; did you mean "log"?'),
        ("log.last_match_age[event]",
         'log does not measure "last_match_age"; did you mean "last_match_age_seconds"?'),
        ("log.matches", '"matches" has parts; pick one, as in log.matches[event]'),
        ("log.matches[evnt]", '"matches" has no part "evnt"; did you mean "event"?'),
        ("redis.ping_seconds[x]", '"ping_seconds" has no parts, so "[x]" picks nothing'),
        ("replay.keys", "a circle: replay reads replay; break it"),
        ("matches", "name a measurement of another probe"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_is_told_at_load(reference: str, said: str) -> None:
    found = problems(reference)
    if not said:
        assert found == []
        return
    (problem,) = found
    assert problem.startswith("probes.yaml:6:")
    assert said in problem


async def _never(options: object, context: object) -> Reading:
    raise AssertionError("nothing runs here")


def probe() -> ProbeConfig:
    known = discover()["tcp"]
    made = replace(known, measures={"waiting": Measure("x")}, reasons={"x": Reason(Fault.TARGET, "x")}, run=_never)
    options = known.options.model_validate({"target": "localhost:1"})
    return ProbeConfig("orders", made, options, 60.0, 10.0, FailAfter(), 2, 1.0)


def result(**changes: object) -> Result:
    made = Result("orders", "made-up", NOW, 0.0, 0.1, Outcome.SUCCESS, measurements={"waiting": 3.0})
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "later", "believed"),
    [
        (result(), 0.0, True),
        (result(), 190.0, True),
        (result(), 190.1, False),
        (result(), -191.0, False),  # the clock was set back
        (result(outcome=Outcome.FAILURE, reason="x"), 0.0, False),
        (result(outcome=Outcome.ERROR, reason="x"), 0.0, False),
        (None, 0.0, False),
    ],
)
def test_only_fresh_measurements_of_a_run_that_succeeded_are_evidence(
    last: Result | None, later: float, believed: bool
) -> None:
    measured = evidence.measured([(probe(), last)], NOW + later)
    assert measured == ({"orders": Sample(NOW, {"waiting": 3.0})} if believed else {})


MEASURED: Mapping[str, Sample] = {
    "log": Sample(NOW, {"matches": {"": 9.0, "event": 2.0}, "bad": float("nan"), "flag": True, "text": "7"})  # type: ignore[dict-item]
}


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        (Reference("log", "matches", "event"), 2.0),
        (Reference("log", "matches"), 9.0),
        (Reference("log", "matches", "other"), None),
        (Reference("log", "bad"), None),
        (Reference("log", "flag"), None),
        (Reference("log", "text"), None),
        (Reference("log", "missing"), None),
        (Reference("else", "matches"), None),
    ],
)
def test_what_is_no_number_is_no_evidence(reference: Reference, value: float | None) -> None:
    assert evidence.number(reference, MEASURED) == value
