"""What is known right now, as one immutable value. Metrics, console, API and commands read this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.core.config import Config, ProbeConfig
from monitor.core.history import Past
from monitor.core.incident import Incident, Notice, Page
from monitor.core.maintenance import Window
from monitor.core.probe import Family, Result
from monitor.core.runbook import Level, Runbook, Severity
from monitor.core.severity import Verdict

DURATION_EDGES = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper edges, in seconds, of the histogram of run durations (a last bucket, +Inf, follows)."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What has been counted of one probe, over restarts. Counters never go back."""

    failures: Mapping[str, int] = field(default_factory=dict)  # by reason; the target's fault
    errors: int = 0  # runs that were ours to blame
    skipped: int = 0  # runs that were due while the one before was still going
    buckets: tuple[int, ...] = (0,) * (len(DURATION_EDGES) + 1)  # not cumulative
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeView:
    """One probe: how it is configured, what its last run said, what level that makes after confirmation."""

    config: ProbeConfig
    level: Level = Level.UNKNOWN
    reason: str = ""  # the why of the level, as in runbook rules: a reason, a measurement or a check; "" at ok
    since: float | None = None  # when the level was taken
    whys: Mapping[str, Level] = field(default_factory=dict)  # each confirmed why; a run's reasons, conditions, checks
    unconfirmed: bool = False  # failing samples that are not confirmed yet
    result: Result | None = None  # the last run
    last_success_at: float | None = None
    tally: Tally = Tally()
    past: Past = field(default_factory=Past)  # the last hour


@dataclass(frozen=True, slots=True)
class ScenarioView:
    """One scenario: the severity its rules derive now, and its open incident, if any."""

    name: str
    derived: Severity | None
    unknown: bool  # no rule holds and at least one cannot be judged
    incident: Incident | None
    escalation_level: int = 0  # of L1-L3, the highest that was paged in this opening; 0 when closed
    opened_total: Mapping[Severity, int] = field(default_factory=dict)  # severities taken, each once an opening
    response_overdue: bool = False  # the response time has passed without an answer, where answers are recorded


@dataclass(frozen=True, slots=True)
class MonitorView:
    """The daemon about itself."""

    version: str
    started_at: float
    reloaded_at: float  # the last successful load
    reload_ok: bool = True
    ticking: bool = False  # the scheduler has started and is on time: "ready"
    loop_lag_seconds: float = 0.0
    schedule_lag_seconds: float = 0.0
    store_error: str = ""  # in words, while the store cannot be written


@dataclass(frozen=True, slots=True)
class Silenced:
    """By whom a page is held back in Alertmanager, and until when (wall seconds)."""

    by: str
    until: float
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything, at one moment (`at`, wall seconds)."""

    at: float
    config: Config
    runbook: Runbook
    monitor: MonitorView
    probes: Mapping[str, ProbeView] = field(default_factory=dict)
    scenarios: Mapping[str, ScenarioView] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()  # open ones first, then those resolved lately
    pages: tuple[Page, ...] = ()  # open ones
    families: tuple[Family, ...] = ()  # of resources (followed logs) and of the notifier
    ended_pages: tuple[Page, ...] = ()  # of the same incidents
    notices: tuple[Notice, ...] = ()  # likewise
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)  # what the rules say, by scenario
    windows: tuple[Window, ...] = ()  # maintenance that is on
    recorded: bool = False  # a way to acknowledge is in use
    silenced: Mapping[tuple[object, ...], Silenced] = field(default_factory=dict)  # by a page's identity: not delivered
