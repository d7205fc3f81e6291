"""alerts/runbook.yaml as a frozen model: the severity table, the escalation matrix and the scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Literal


class Severity(IntEnum):
    """The runbook's P1 to P4; the smaller number is the worse one."""

    P1 = 1
    P2 = 2
    P3 = 3
    P4 = 4

    def at_least(self, other: Severity) -> bool:
        """Whether this is as bad as the other, or worse."""
        return self <= other

    def __str__(self) -> str:
        return self.name


class Level(StrEnum):
    """Of a probe, after confirmation. `unknown` is never `ok`."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SeverityRow:
    """One row of the severity table. Times in seconds."""

    name: str
    respond: float
    update_every: float
    customer_comms: bool = False
    review: bool = False


@dataclass(frozen=True, slots=True)
class EscalationRow:
    """One row of the matrix: who, and after how long unresolved at which severities (none: at once, all)."""

    to: str
    severity: tuple[Severity, ...] = ()
    unresolved: float = 0.0
    or_declared: str | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that a rule speaks of.

    `redis` (kind probe, at fail), `redis@warn` (warn or worse), `redis@unknown`, `postgres/saturated` (one why),
    `scenario:redis@P2` (kind scenario: P2 or worse).
    """

    text: str
    kind: Literal["probe", "scenario"]
    name: str
    why: str | None = None
    at: Level = Level.FAIL
    severity: Severity | None = None


@dataclass(frozen=True)
class Rule:
    """One line of a scenario: which severity, when any (or all) of the terms hold, for how long (seconds)."""

    severity: Severity
    terms: tuple[Term, ...]
    mode: Literal["any", "all"]
    hold: float = 0.0
    flag: str | None = None
    links: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """By which the rule's history is kept: what it says, not where it stands."""
        return f"{self.severity} {self.mode} {' '.join(sorted(term.text for term in self.terms))}"


@dataclass(frozen=True, slots=True)
class Vendor:
    """The vendor to page (L4): when one of `when` holds (any rule, if none), `unresolved` seconds after."""

    name: str
    when: tuple[Term, ...] = ()
    unresolved: float = 0.0


@dataclass(frozen=True, slots=True)
class Declared:
    """What a person's declaration makes of the scenario."""

    severity: Severity
    escalate_now: tuple[str, ...] = ()
    audience: str | None = None
    evidence_hold: bool = False
    redact: bool = False
    customer_comms: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the playbook: shown, with the live value of `show` beside it, never executed."""

    do: str
    show: str | None = None
    remind: bool = False


@dataclass(frozen=True, slots=True)
class CustomerText:
    """Pre-approved words for customers."""

    what: str
    impact: str


@dataclass(frozen=True, slots=True)
class Notes:
    """A flag that the scenario raises while the portal's environment has these values."""

    flag: str
    if_env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of the runbook's situations; its rules turn levels into a severity. Texts are Jinja2 templates."""

    name: str
    title: str
    rules: tuple[Rule, ...]
    service: str = ""
    impact: str = ""
    customer: CustomerText | None = None
    vendor: Vendor | None = None
    declared: Declared | None = None
    parent_of: tuple[str, ...] = ()
    notes: Notes | None = None
    symptoms: tuple[str, ...] = ()
    diagnosis: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    links: tuple[str, ...] = ()

    @property
    def alertname(self) -> str:
        """`salesforce-events` as `SalesforceEvents`."""
        return "".join(word.capitalize() for word in self.name.replace("_", "-").split("-"))

    @property
    def severities(self) -> tuple[Severity, ...]:
        """Each severity that the scenario can reach, worst first."""
        reach = {rule.severity for rule in self.rules}
        return tuple(sorted(reach | ({self.declared.severity} if self.declared else set())))


@dataclass(frozen=True, slots=True)
class Contact:
    """How a role is reached; placeholders in brackets until filled in."""

    method: str
    backup: str = ""


@dataclass(frozen=True, slots=True)
class ReviewRule:
    """When a post-incident review is due."""

    severity: tuple[Severity, ...] = (Severity.P1, Severity.P2)
    within_business_days: int = 3
    by: str = "18:00"


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """How long an incident stays in `monitoring` with its pages open, and how long it may still be reopened."""

    monitor: float = 900.0
    reopen_within: float = 1800.0


@dataclass(frozen=True, slots=True)
class Wording:
    """What is said, as Jinja2 templates; an empty one is our own wording."""

    status_update: str = ""
    customer: str = ""
    vendor_report: str = ""
    review: str = ""


@dataclass(frozen=True, slots=True)
class Runbook:
    """The whole of runbook.yaml, checked: scenarios in an order in which none speaks of a later one."""

    severities: Mapping[Severity, SeverityRow]
    escalation: Mapping[str, EscalationRow]
    scenarios: Mapping[str, Scenario]
    review: ReviewRule = ReviewRule()
    lifecycle: Lifecycle = Lifecycle()
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    wording: Wording = Wording()

    def parents(self, scenario: str) -> tuple[str, ...]:
        """The scenarios that name this one as their symptom."""
        return tuple(name for name, other in self.scenarios.items() if scenario in other.parent_of)


OTHER = "other"
"""The scenario, always there, in which a failing probe that no rule names opens P3."""
