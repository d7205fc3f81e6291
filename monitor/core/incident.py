"""The lifecycle of an incident: which event leads where. One open incident per scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from monitor.core.runbook import Severity


class State(StrEnum):
    """The runbook's status words. Only a person says `identified`."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Incident:
    """One scenario gone wrong, from opening to resolution. Times are wall seconds."""

    key: str  # redis-20261123-1702: scenario and UTC minute of its start; kept for its life, also through a reopening
    scenario: str
    state: State
    severity: Severity
    peak: Severity
    started_at: float  # the first failing sample, for people; it drives nothing
    opened_at: float  # when this opening began
    opening: int = 1  # 2 after the first reopening
    parent: str | None = None  # the scenario that causes it, while that one is open
    why: tuple[str, ...] = ()  # the rule's terms that held when the severity was last taken
    mitigated_at: float | None = None  # since when all its rules have been clear
    resolved_at: float | None = None
    relapses: int = 0

    @property
    def open(self) -> bool:
        return self.state is not State.RESOLVED


@dataclass(frozen=True, slots=True)
class Page:
    """One alert that says: this incident, at this severity, has reached this level. Its labels never change."""

    incident: str
    opening: int
    severity: Severity
    escalation_level: str
    vendor: str = "none"
    attempt: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)  # complete; stored and sent unchanged to its end
    due_at: float = 0.0
    fired_at: float = 0.0
    ended_at: float | None = None
