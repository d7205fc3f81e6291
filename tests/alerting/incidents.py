"""Incidents, probes and a runbook made by hand: what the tests of the messages are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from monitor.alerting.facts import Facts
from monitor.core.calendar import Calendar
from monitor.core.condition import parse_condition
from monitor.core.config import Config, FailAfter, ProbeConfig, WebConfig
from monitor.core.incident import Incident, Page, State, Taken
from monitor.core.probe import Fault, Measure, Options, Outcome, ProbeContext, ProbeType, Reading, Reason, Result, Value
from monitor.core.runbook import (
    CustomerText,
    Declared,
    EscalationRow,
    Level,
    Notes,
    Rule,
    Runbook,
    Scenario,
    Severity,
    SeverityRow,
    Step,
    Term,
    Vendor,
)
from monitor.core.snapshot import ProbeView

P1, P2, P3, P4 = Severity
SECRET = "canary-4f1e-s3cret"
KEY = "redis-20261123-1700"


def at(clock: str) -> float:
    """The wall time of `17:02:10` on Monday 2026-11-23, UTC."""
    return datetime.fromisoformat(f"2026-11-23T{clock}+00:00").timestamp()


async def _never(options: Any, context: ProbeContext) -> Reading:
    raise AssertionError("nothing runs here")


def kind(name: str, *measures: str) -> ProbeType:
    reasons = {"unreachable": Reason(Fault.TARGET, "Nothing accepts connections: is it running?")}
    return ProbeType(name, name, Options, {each: Measure(each) for each in measures}, reasons, _never, frozenset())


KINDS = {
    "redis": kind("redis", "memory_used_ratio", "ping_seconds"),
    "whmcs": kind("whmcs", "duration_seconds"),
    "tcp": kind("tcp", "connect_seconds"),
    "log": kind("log", "error_ratio"),
    "settings": kind("settings", "as_expected"),
}


def view(
    name: str,
    type_: str,
    level: Level = Level.OK,
    reason: str = "",
    *,
    warn: str = "",
    fail: str = "",
    needs: tuple[str, ...] = (),
    measured: Mapping[str, Value] | None = None,
    details: Mapping[str, str] | None = None,
    detail: str = "",
    since: float | None = None,
    good: float | None = None,
    ran: float | None = None,
) -> ProbeView:
    """A probe as it stands at 17:40."""
    of = KINDS[type_]
    limits = [tuple(parse_condition(text, of.measures, {}) for text in (each,) if text) for each in (warn, fail)]
    config = ProbeConfig(name, of, Options(), 15, 5, FailAfter(), 2, 1, limits[0], limits[1], needs=needs)
    outcome = Outcome.FAILURE if reason in {*of.reasons, "timeout"} else Outcome.SUCCESS
    result = Result(
        name, type_, at("17:39:55") if ran is None else ran, 0.0, 0.25, outcome,
        reason if outcome is Outcome.FAILURE else "", detail, measured or {}, details=details or {},
    )  # fmt: skip
    return ProbeView(config, level, reason, since, result=result, last_success_at=good)


def term(text: str) -> Term:
    name, _, why = text.partition("/")
    return Term(text, "probe", name, why or None)


REDIS = Scenario(
    "redis",
    "Redis connection failures",
    (Rule(P2, (term("redis"),), "any"),),
    service="sign-in, caching and rate limiting",
    impact='Sign-in can fail; memory is at {{ probe["redis"].memory_used_ratio }}.',
    customer=CustomerText("Some customers cannot sign in.", "You may be signed out or see slow pages."),
    notes=Notes("security_exposure", {"AUTH_BLACKLIST_FAIL_CLOSED": "false"}),
    steps=(
        Step("Verify REDIS_URL in the environment", show="redis"),
        Step("Check Redis's memory", show="redis.memory_used_ratio"),
        Step("Look at the switch", show="bff_env.AUTH_BLACKLIST_FAIL_CLOSED"),
        Step("Restart Redis if its memory is exhausted"),
        Step("Raise the limit for a time", show="whmcs.duration_seconds", remind=True),
    ),
    links=("queue-management.md", "https://wiki.example.com/redis"),
)
WHMCS = Scenario(
    "whmcs",
    "WHMCS API unavailable",
    (Rule(P2, (term("whmcs"),), "any"),),
    service="billing and payment methods",
    vendor=Vendor("whmcs", (term("whmcs/unreachable"),), 0.0),
)
SECURITY = Scenario(
    "security",
    "Security incident",
    (Rule(P4, (term("logins"),), "any"),),
    service="undisclosed",
    impact="Somebody may have read orders.",
    customer=CustomerText("x", "y"),
    declared=Declared(P1, ("L2", "L3"), "security", evidence_hold=True, redact=True, customer_comms="manual"),
    vendor=Vendor("freebit"),
    steps=(Step("DO NOT modify logs or evidence", show="redis"),),
)
BARE = Scenario("bare", "Something else", (Rule(P3, (term("other"),), "any"),))

BOOK = Runbook(
    {
        P1: SeverityRow("Critical", 900, 1800, customer_comms=True, review=True),
        P2: SeverityRow("High", 3600, 3600, customer_comms=True, review=True),
        P3: SeverityRow("Medium", 14400, 14400),
        P4: SeverityRow("Low", 86400, 86400),
    },
    {
        "L1": EscalationRow("On-call engineer"),
        "L2": EscalationRow("Development lead", (P1, P2), 1800),
        "L3": EscalationRow("Engineering manager", (P1,), 3600, "customer_impact"),
        "L4": EscalationRow("Vendor support"),
    },
    {each.name: each for each in (REDIS, WHMCS, SECURITY, BARE)},
)

PROBES = {
    each.config.name: each
    for each in (
        view(
            "redis", "redis", Level.FAIL, "unreachable", warn="memory_used_ratio > 80%", fail="memory_used_ratio > 95%",
            since=at("17:00:40"), good=at("16:59:55"), detail="connection refused",
        ),
        view("whmcs", "whmcs", measured={"duration_seconds": 0.25}, needs=("egress",), good=at("17:39:55")),
        view("egress", "tcp", good=at("17:39:50")),
        view("bff-settings", "settings", details={"AUTH_BLACKLIST_FAIL_CLOSED": "false"}),
    )
}  # fmt: skip


def incident(scenario: str = "redis", severity: Severity = P2, **more: Any) -> Incident:
    """One that began at 17:00:10 and was detected at 17:02:10."""
    made = Incident(
        KEY.replace("redis", scenario), scenario, State.INVESTIGATING, severity, severity, at("17:00:10"), at("17:02:10"),
        taken=(Taken(severity, at("17:02:10")),), detected_at=at("17:02:10"), last_good_at=at("16:59:55"),
        updated_at=at("17:02:10"),
    )  # fmt: skip
    return replace(made, **more)


def page(level: str = "L1", fired: str = "17:02:10", of: Incident | None = None, **more: Any) -> Page:
    """A page that an Alertmanager has taken at once."""
    item, fired_at = of or incident(), at(fired)
    made = Page(item.key, item.opening, item.severity, level, due_at=fired_at, fired_at=fired_at, delivered_at=fired_at)
    return replace(made, **more)


def facts(*pages: Page, now: str = "17:40:00", **more: Any) -> Facts:
    config = Config(
        {},
        "runbook.yaml",
        "state.db",
        WebConfig(external_url="https://monitor.example.com"),
        secrets=frozenset({SECRET}),
    )
    calendar = more.pop("calendar", None)
    config = replace(config, calendar=calendar) if isinstance(calendar, Calendar) else config
    return replace(Facts(BOOK, PROBES, config, at(now), pages, recorded=True), **more)
