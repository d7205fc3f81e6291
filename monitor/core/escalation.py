"""Which page is due when: a pure function of saved history. Here the first level; the matrix's others join it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monitor.core.incident import Incident, Page, State
from monitor.core.level import ProbeState
from monitor.core.runbook import Runbook, Severity
from monitor.core.severity import Verdict, truth

PARENT_PATIENCE_SECONDS = 2.0
"""How long a first page waits at most while something that a parent's rule names may be failing too."""


def silenced_by(runbook: Runbook, incident: Incident, incidents: Mapping[str, Incident]) -> str | None:
    """The scenario whose open incident is the cause of this one, so that this one tells nobody.

    A parent at P3 or P4 is a warning: it does not silence a child that is worse than itself. One that has been clear
    since before the child began did not cause it.
    """
    for name in runbook.parents(incident.scenario):
        parent = incidents.get(name)
        if parent and parent.mitigated_at is not None and incident.started_at > parent.mitigated_at:
            continue
        if parent and parent.open and (parent.severity <= Severity.P2 or parent.severity <= incident.severity):
            return name
    return None


def due_pages(incident: Incident, pages: Iterable[Page], now: float, *, parent_coming: bool) -> list[Page]:
    """The pages that are due now and were not fired in this opening. Their labels are not filled in yet."""
    if incident.state not in {State.INVESTIGATING, State.IDENTIFIED} or incident.parent is not None:
        return []
    taken = {page.severity for page in pages if page.opening == incident.opening}
    if incident.severity in taken:
        return []
    if parent_coming and now < incident.opened_at + PARENT_PATIENCE_SECONDS:
        return []
    return [Page(incident.key, incident.opening, incident.severity, "L1", due_at=incident.opened_at, fired_at=now)]


def parent_coming(
    runbook: Runbook, scenario: str, probes: Mapping[str, ProbeState], verdicts: Mapping[str, Verdict], horizon: float
) -> bool:
    """Whether a parent of this scenario may be about to open, by `horizon` at the latest.

    That is so while a rule of it ripens, or names another probe that is failing unconfirmed, or another
    scenario one of whose rules ripens.
    """
    own = {term.name for rule in runbook.scenarios[scenario].rules for term in rule.terms}
    for name in runbook.parents(scenario):
        verdict = verdicts[name]
        if verdict.severity is None and verdict.ripens_before(horizon):
            return True
        terms = [term for rule in runbook.scenarios[name].rules for term in rule.terms]
        for term in terms:
            if truth(term, probes, verdicts):
                continue
            if term.kind == "probe" and term.name not in own and term.name in probes and probes[term.name].unconfirmed:
                return True
            if (
                term.kind == "scenario"
                and term.name != scenario
                and _stirs(runbook, term.name, probes, verdicts, horizon)
            ):
                return True
    return False


def _stirs(
    runbook: Runbook, scenario: str, probes: Mapping[str, ProbeState], verdicts: Mapping[str, Verdict], horizon: float
) -> bool:
    """Whether a scenario may reach a severity soon: a rule ripens, or a probe it names is failing unconfirmed."""
    names = {term.name for rule in runbook.scenarios[scenario].rules for term in rule.terms if term.kind == "probe"}
    unconfirmed = any(name in probes and probes[name].unconfirmed for name in names)
    return unconfirmed or verdicts[scenario].ripens_before(horizon)
