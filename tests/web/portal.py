"""A portal in trouble, as a snapshot made by hand: what the tests of metrics and web look at."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from monitor.core import history
from monitor.core.action import Action, Open, Refused
from monitor.core.condition import parse_condition
from monitor.core.config import Config, FailAfter, ProbeConfig
from monitor.core.history import Bucket, Past
from monitor.core.incident import Event, Incident, Page, State
from monitor.core.level import ProbeState
from monitor.core.maintenance import Window
from monitor.core.probe import (
    Family,
    Fault,
    Measure,
    Options,
    Outcome,
    ProbeContext,
    ProbeType,
    Quiet,
    Reading,
    Reason,
    Result,
    SecretUrl,
    Value,
)
from monitor.core.request import Maintenance
from monitor.core.runbook import (
    EscalationRow,
    Level,
    Rule,
    Runbook,
    Scenario,
    Severity,
    SeverityRow,
    Step,
    Term,
)
from monitor.core.snapshot import MonitorView, ProbeView, ScenarioView, Snapshot, Tally
from monitor.store import Record
from monitor.web import ReloadReport

NOW = 1795453200.0  # 2026-11-23T17:00:00Z
CANARY = "canary-4f1e-s3cret"
SCRIPT = "<script>alert(1)</script>{{ 99991 * 99991 }}\x1b[31m"


async def never(options: Any, context: ProbeContext) -> Reading:
    raise NotImplementedError


class Target(Options):
    url: SecretUrl


def probe_type(
    name: str, measures: Mapping[str, Measure], reasons: Mapping[str, Reason] | None = None, checks: Sequence[str] = ()
) -> ProbeType:
    return ProbeType(
        name=name,
        help=f"Looks at {name}.",
        options=Target,
        measures=measures,
        reasons={"unreachable": Reason(Fault.TARGET, "Nothing accepts connections: is it running?"), **(reasons or {})},
        run=never,
        target_keys=frozenset({"url"}),
        checks=lambda options: frozenset(checks),
    )


REDIS = probe_type(
    "redis",
    {
        "ping_seconds": Measure("Time to answer PING."),
        "memory_used_bytes": Measure("Memory used."),
        "memory_used_ratio": Measure("Memory used of what it may use."),
        "hit_ratio": Measure("Lookups that found something."),
    },
    {"auth": Reason(Fault.ACCESS, "The password is wrong: give the monitor its own user.")},
)
REPLAY = probe_type(
    "replay",
    {"age_seconds": Measure("Age of the newest event.", split="channel", kind="age"), "keys": Measure("Keys found.")},
)
HTTP = probe_type(
    "http",
    {"duration_seconds": Measure("Time to answer."), "phase_seconds": Measure("Time by phase.", split="phase")},
    checks=("cache", "database"),
)
LOG = probe_type(
    "log",
    {
        "error_ratio": Measure("Requests answered 5xx, of all."),
        "latency_mean_seconds": Measure("Mean time to answer.", split="upstream"),
        "silent_seconds": Measure("Since the last line.", kind="age"),
        "last_match_age_seconds": Measure("Since the last match.", split="pattern", kind="age"),
    },
)
TCP = probe_type("tcp", {"connect_seconds": Measure("Time to connect.")})


def configure(
    name: str, kind: ProbeType, *, url: str = "tcp://127.0.0.1:1", warn: str = "", fail: str = "", **more: Any
) -> ProbeConfig:
    def conditions(text: str) -> Any:
        return tuple(parse_condition(line, kind.measures, {}) for line in text.split(",") if line)

    return ProbeConfig(
        name=name,
        type=kind,
        options=Target(url=SecretStr(url)),
        interval=15.0,
        timeout=5.0,
        fail_after=FailAfter(),
        recover_after=2,
        retry_interval=1.0,
        warn=conditions(warn),
        fail=conditions(fail),
        **more,
    )


def ran(config: ProbeConfig, outcome: Outcome = Outcome.SUCCESS, /, **more: Any) -> Result:
    return Result(
        probe=config.name,
        type=config.type.name,
        at=more.pop("at", NOW - 3),
        mono=100.0,
        duration_seconds=0.012,
        outcome=outcome,
        **more,
    )


def view(config: ProbeConfig, level: Level = Level.OK, /, **more: Any) -> ProbeView:
    result = more.pop("result", None) or ran(config)
    return ProbeView(
        config=config,
        level=level,
        since=NOW - 260,
        result=result,
        last_success_at=more.pop("last_success_at", NOW - 3),
        tally=Tally(failures={"unreachable": 4}, errors=1, buckets=(3, 2, 0, 0, 0, 0, 0, 0, 1), seconds=12.5),
        **more,
    )


def hour(config: ProbeConfig, values: Callable[[int], Result] | None = None, *, per_minute: int = 4) -> Past:
    """An hour of runs; `values` makes the result of minute 0 to 59, where all is well otherwise."""
    past = Past()
    for number in range(60 * per_minute):
        minute = number // per_minute
        at = NOW - 3600 + number * 60 / per_minute
        result = replace(values(minute) if values else ran(config), at=at)
        level = Level.OK if result.outcome is Outcome.SUCCESS else Level.FAIL
        past, _ = history.take(past, config, result, ProbeState(), ProbeState(level=level))
    return past


CONFIGS = {
    config.name: config
    for config in (
        configure(
            "redis",
            REDIS,
            url=f"redis://:{CANARY}@10.0.0.5:6379/0",
            warn="memory_used_ratio > 80%",
            fail="memory_used_ratio > 95%,ping_seconds > 1s",
        ),
        configure("redis-cache", REDIS, warn="memory_used_ratio > 80%", fail="memory_used_ratio > 95%"),
        configure("sf-replay", REPLAY, warn="age_seconds > 2h", needs=("redis",)),
        configure("bff", HTTP, warn="duration_seconds > 1s"),
        configure("whmcs", HTTP, needs=("egress",)),
        configure("latency", LOG, fail="latency_mean_seconds > 2s"),
        configure("errors", LOG, warn="error_ratio > 1%", fail="error_ratio > 50%"),
        configure("egress", TCP),
        configure("old", TCP, enabled=False),
    )
}


def probes() -> dict[str, ProbeView]:
    def measured(name: str, level: Level = Level.OK, /, *, reason: str = "", **values: Value) -> ProbeView:
        config = CONFIGS[name]
        return view(config, level, result=ran(config, measurements=values), reason=reason)

    down = ran(
        CONFIGS["redis"],
        Outcome.FAILURE,
        reason="unreachable",
        detail=f"connection refused by redis://:{CANARY}@10.0.0.5:6379 {SCRIPT}",
    )
    unreadable = ran(CONFIGS["errors"], quiet=Quiet.HOLD, reason="quiet", measurements={"silent_seconds": 2.0})
    sick = ran(CONFIGS["bff"], checks={"cache": False, "database": True}, measurements={"duration_seconds": 0.031})
    views = (
        view(CONFIGS["redis"], Level.FAIL, reason="unreachable", result=down, last_success_at=NOW - 264),
        measured(
            "redis-cache",
            Level.WARN,
            reason="memory_used_ratio",
            ping_seconds=0.0004,
            memory_used_bytes=900 * 2**20,
            memory_used_ratio=0.879,
            hit_ratio=math.nan,
        ),
        view(
            CONFIGS["sf-replay"], Level.UNKNOWN, reason="needs redis", result=ran(CONFIGS["sf-replay"], Outcome.ERROR)
        ),
        view(CONFIGS["bff"], Level.FAIL, reason="cache", result=sick),
        measured("whmcs", duration_seconds=0.21, phase_seconds={"connect": 0.04, "tls": 0.11}),
        measured(
            "latency",
            latency_mean_seconds={"": 0.8, "whmcs": 2.1, "salesforce": 0.4},
            last_match_age_seconds={"events": 40.0},
        ),
        view(CONFIGS["errors"], Level.OK, reason="quiet", result=unreadable),
        measured("egress", connect_seconds=0.004),
        ProbeView(config=CONFIGS["old"]),
    )
    return {one.config.name: one for one in views}


def scenario(name: str, title: str, terms: Sequence[str], severity: Severity, /, **more: Any) -> Scenario:
    rule = Rule(severity, tuple(Term(term, "probe", term.split("@")[0]) for term in terms), "any", 30.0)
    return Scenario(name, title, (rule, Rule(Severity.P3, (Term("other@warn", "probe", "other"),), "any")), **more)


REDIS_DOWN = Incident(
    key="redis-20261123-1655",
    scenario="redis",
    state=State.INVESTIGATING,
    severity=Severity.P2,
    peak=Severity.P2,
    started_at=NOW - 262,
    opened_at=NOW - 230,
    why=("redis", "bff/cache"),
)
SLOW = replace(
    REDIS_DOWN,
    key="performance-20261123-1657",
    scenario="performance",
    severity=Severity.P3,
    opened_at=NOW - 120,
    parent="redis",
    why=("latency",),
)
WHMCS_OVER = replace(
    REDIS_DOWN,
    key="whmcs-20261123-0901",
    scenario="whmcs",
    state=State.RESOLVED,
    opened_at=NOW - 28000,
    resolved_at=NOW - 26000,
    why=("whmcs",),
)
LABELS = {
    "alertname": "Redis",
    "scenario": "redis",
    "incident": REDIS_DOWN.key,
    "severity": "P2",
    "escalation_level": "L1",
    "vendor": "none",
    "attempt": "1",
    "audience": "oncall",
    "kind": "page",
    "source": "push",
}
RUNBOOK = Runbook(
    severities={
        Severity.P1: SeverityRow("Critical", 900, 1800, customer_comms=True, review=True),
        Severity.P2: SeverityRow("High", 3600, 3600, customer_comms=True, review=True),
        Severity.P3: SeverityRow("Medium", 14400, 14400),
        Severity.P4: SeverityRow("Low", 86400, 86400),
    },
    escalation={"L1": EscalationRow("On-call engineer")},
    scenarios={
        "redis": scenario(
            "redis",
            "Redis connection failures",
            ["redis", "bff/cache"],
            Severity.P2,
            impact="Sign-in can fail; pages are slow; rate limiting is off.",
            parent_of=("performance",),
            steps=(Step("Check Redis is running"), Step("Check memory use and eviction", show="redis")),
            diagnosis=("redis-cli ping", "redis-cli INFO memory"),
            links=("https://wiki.example.com/redis", "database-operations.md", "javascript:alert(1)"),
        ),
        "whmcs": scenario("whmcs", "WHMCS API unavailable", ["whmcs"], Severity.P2),
        "performance": scenario("performance", "High error rate or slow answers", ["latency"], Severity.P3),
    },
)

LOG_FAMILIES = (
    Family(
        "portal_log_lines_total",
        "counter",
        "Lines read.",
        [({"log": "/var/log/bff/combined.log"}, 1200.0), ({"log": "/var/log/bff/error.log"}, 12.0)],
    ),
    Family("portal_log_lines_total", "counter", "Lines read.", [({"log": "/var/log/other.log"}, 7.0)]),
    Family(
        "portal_log_request_duration_seconds",
        "histogram",
        "Time to answer.",
        [
            ({"__name__": "_bucket", "le": "1", "log": "/x"}, 1.0),
            ({"__name__": "_bucket", "le": "+Inf", "log": "/x"}, 2.0),
            ({"__name__": "_count", "log": "/x"}, 2.0),
            ({"__name__": "_sum", "log": "/x"}, 3.5),
        ],
    ),
)


def snapshot(**changes: Any) -> Snapshot:
    """The portal of 17:00 with Redis down; every part can be given differently."""
    scenarios = {
        "redis": ScenarioView("redis", Severity.P2, False, REDIS_DOWN, 1, {Severity.P2: 3}),
        "whmcs": ScenarioView("whmcs", None, False, None, 0, {Severity.P2: 1}),
        "performance": ScenarioView("performance", Severity.P3, False, SLOW, 0, {Severity.P3: 9}),
    }
    given: dict[str, Any] = {
        "at": NOW,
        "config": Config(CONFIGS, "runbook.yaml", "state.db", secrets=frozenset({CANARY})),
        "runbook": RUNBOOK,
        "monitor": MonitorView("0.1.0", NOW - 4000, NOW - 4000, ticking=True, loop_lag_seconds=0.002),
        "probes": probes(),
        "scenarios": scenarios,
        "incidents": (REDIS_DOWN, SLOW, WHMCS_OVER),
        "pages": (Page(REDIS_DOWN.key, 1, Severity.P2, "L1", labels=LABELS, due_at=NOW - 230, fired_at=NOW - 229.5),),
        "families": LOG_FAMILIES,
    }
    return Snapshot(**{**given, **changes})


def quiet_snapshot() -> Snapshot:
    """The same portal on a good day."""
    config = CONFIGS["redis"]
    well = {
        name: view(CONFIGS[name], result=ran(CONFIGS[name], measurements=found.result.measurements))
        for name, found in probes().items()
        if found.result and name != "redis"
    }
    redis = view(config, result=ran(config, measurements={"ping_seconds": 0.0003, "memory_used_ratio": 0.41}))
    return snapshot(probes={"redis": redis, **well}, incidents=(WHMCS_OVER,), pages=(), scenarios={})


class Source:
    """What the daemon is to the web: it shows a snapshot, and another when a test says so."""

    def __init__(self, first: Snapshot | None = None, report: ReloadReport | None = None) -> None:
        self.now = first or snapshot()
        self.report = report or ReloadReport(added=("new",), changed=("redis",), removed=("old",))
        self.link_secret = SecretStr("signs-links")
        self.reloads = 0
        self.acted: list[tuple[str, Action, str]] = []
        self._changed = asyncio.Event()

    def snapshot(self) -> Snapshot:
        return self.now

    async def changed(self) -> None:
        await self._changed.wait()

    async def history(self, probe: str, since: float) -> list[Bucket]:
        found = self.now.probes[probe].past
        return [bucket for bucket in found.minutes if bucket.at >= since - 60]

    async def reload(self) -> ReloadReport:
        self.reloads += 1
        return self.report

    def record(self, key: str) -> Record | None:
        found = [incident for incident in self.now.incidents if incident.key == key]
        return Record(found[0], events=(Event(key, 1, NOW, "opened", SCRIPT),)) if found else None

    def incidents_since(self, since: float) -> tuple[Incident, ...]:
        return tuple(item for item in self.now.incidents if item.open or (item.resolved_at or 0) > since)

    def pages_since(self, since: float) -> tuple[Page, ...]:
        return self.now.pages

    def timelines_since(self, since: float) -> dict[str, list[Event]]:
        return {item.key: [Event(item.key, 1, NOW, "paged", SCRIPT)] for item in self.incidents_since(since)}

    async def act(self, key: str, what: Action, by: str) -> Incident:
        self.acted.append((key, what, by))  # what becomes of it is tested on a daemon, in tests/test_desk.py
        return next(incident for incident in self.now.incidents if incident.key == key)

    async def open(self, what: Open, by: str) -> Incident:
        raise Refused(f"there is no scenario {what.scenario!r}")

    async def begin_maintenance(self, what: Maintenance, by: str) -> Window:
        raise Refused(f"there is no probe and no scenario {what.of[0]!r}")

    async def end_maintenance(self, key: str) -> Window:
        raise Refused(f"no maintenance {key!r} is under way")

    def show(self, next_one: Snapshot) -> None:
        self.now = next_one
        self._changed.set()
        self._changed = asyncio.Event()
