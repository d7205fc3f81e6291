"""The runbook's severity table and matrix as rows, with a few scenarios of made-up probes: what several tests judge by."""

from __future__ import annotations

from monitor.core.level import RUN, ProbeState, WhyState
from monitor.core.runbook import (
    Declared,
    EscalationRow,
    Level,
    Rule,
    Runbook,
    Scenario,
    Severity,
    SeverityRow,
    Step,
    Term,
    Vendor,
)
from monitor.core.severity import RuleVerdict, Verdict

P1, P2, P3, P4 = Severity
MINUTE, HOUR = 60.0, 3600.0
NOON = 1_795_608_000.0  # Wednesday 2026-11-25 12:00 UTC

SEVERITIES = {
    P1: SeverityRow("Critical", 15 * MINUTE, 30 * MINUTE, customer_comms=True, review=True),
    P2: SeverityRow("High", HOUR, HOUR, customer_comms=True, review=True),
    P3: SeverityRow("Medium", 4 * HOUR, 4 * HOUR),
    P4: SeverityRow("Low", 24 * HOUR, 24 * HOUR),
}
MATRIX = {
    "L1": EscalationRow("On-call engineer"),
    "L2": EscalationRow("Development lead", (P1, P2), 30 * MINUTE),
    "L3": EscalationRow("Engineering manager", (P1,), HOUR, "customer_impact"),
    "L4": EscalationRow("Vendor support"),
}


def term(text: str) -> Term:
    """`redis`, `redis@warn`."""
    name, _, at = text.partition("@")
    return Term(text, "probe", name, at=Level(at or "fail"))


def rules(*of: tuple[Severity, str]) -> tuple[Rule, ...]:
    return tuple(Rule(level, (term(text),), "any") for level, text in of)


SCENARIOS = (
    Scenario("portal", "Portal unreachable", rules((P1, "portal")), parent_of=("redis", "whmcs")),
    Scenario(
        "redis", "Redis", rules((P4, "evictions"), (P3, "memory"), (P2, "redis"), (P1, "both")),
        steps=(Step("Raise the limit", remind=True),),
    ),
    Scenario(
        "whmcs", "WHMCS", rules((P2, "whmcs"), (P2, "whmcs-server")), vendor=Vendor("whmcs", (term("whmcs-server"),), 0.0)
    ),
    Scenario("salesforce", "Salesforce", rules((P3, "salesforce")), vendor=Vendor("salesforce", (), 30 * MINUTE)),
    Scenario(
        "security", "Security incident", rules((P4, "logins")),
        declared=Declared(P1, ("L2", "L3"), "security", evidence_hold=True),
    ),
)  # fmt: skip

BOOK = Runbook(SEVERITIES, MATRIX, {scenario.name: scenario for scenario in SCENARIOS})


def verdict(level: Severity | None, scenario: str = "redis", *, unknown: bool = False) -> Verdict:
    """What the rules say: this severity, or that all is clear, or that nothing can be told."""
    rule = Rule(level or P3, (term("redis"),), "any")
    holds = None if unknown else level is not None
    return Verdict(scenario, level, (RuleVerdict(rule, holds, None, None, bool(level), ("redis",) if level else ()),))


def probe(level: Level) -> ProbeState:
    return ProbeState({RUN: WhyState(confirmed=level, shown=level)}, level)
