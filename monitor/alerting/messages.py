"""What people are told, in the runbook's fields: the status update, the words for customers, the vendor's report.

Each is made of facts alone. What the monitor does not know it does not say, and what customers feel it never invents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monitor.alerting.facts import SETTINGS, WITHHELD, Facts, capped, clock, in_words, utc
from monitor.core import escalation, incident
from monitor.core.config import ProbeConfig
from monitor.core.incident import Incident, Notice, Origin, Page, State
from monitor.core.phrasing import phrase
from monitor.core.probe import Outcome
from monitor.core.quantity import format_duration
from monitor.core.runbook import Level, Scenario
from monitor.core.snapshot import ProbeView
from monitor.core.wording import fill

UNDER_ASSESSMENT = "Under assessment"

UNDELIVERED_SECONDS = 60.0
"""How long a page may be on its way before others are told that it did not arrive."""

MANUAL = "manual"
"""`customer_comms` of what is declared: its words for customers are written by hand."""

_ORIGINS = {Origin.CUSTOMER: "a customer", Origin.INTERNAL: "a colleague"}
_NETWORK = frozenset({"tcp", "http"})  # types of probes that show whether our own way out is open
_TO_VENDORS = ("answer", "address", "request_id", "request_ids")  # details of a run that are the vendor's business


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that a person may send; or none, and why not."""

    text: str | None
    reason: str = ""


# --- status update ---------------------------------------------------------------------------------------------------


def status_update(item: Incident, facts: Facts) -> str:
    """The runbook's internal status update, in its fields."""
    words = {
        "incident": item.key,
        "severity": str(item.severity),
        "title": facts.title(item),
        "status": item.state.value.capitalize(),
        "impact": impact(item, facts),
        "started": started(item),
        "updated": utc(_last_content(item, facts)),
        "actions": list(_actions(item, facts)),
        "next_update": _next_update(item, facts),
        "notes": list(_notes(item, facts)),
    }
    return capped(phrase("status_update", facts.runbook.wording, words))


def impact(item: Incident, facts: Facts) -> str:
    """What customers feel: a person's words, else the runbook's with their live values, else that it is not known."""
    if facts.redacted(item):
        return WITHHELD.capitalize()
    if item.impact:
        return facts.said(item.impact)
    scenario = facts.scenario(item)
    return facts.filled(scenario.impact, item) if scenario and scenario.impact else UNDER_ASSESSMENT


def started(item: Incident) -> str:
    """When it began, with the last good run before, or who reported that it had."""
    told = utc(item.started_at)
    if item.origin is not Origin.ALERT:
        return f"{told} (reported by {_ORIGINS[item.origin]})"
    return told if item.last_good_at is None else f"{told} (last good {clock(item.last_good_at, item.started_at)})"


def _last_content(item: Incident, facts: Facts) -> float:
    """When what this says last changed; not when it was written out."""
    moments = [item.updated_at, item.resolved_at, item.ack.at if item.ack else None]
    moments += [page.fired_at for page in facts.pages_of(item)]
    return max((at for at in moments if at is not None), default=item.opened_at)


def _actions(item: Incident, facts: Facts) -> Iterator[str]:
    """What was done, as far as the monitor knows it, and what a person says is being done."""
    pages = facts.pages_of(item)
    for page in pages:
        yield _paged(page, facts)
    if not pages:
        yield f"Nobody is paged: {_unpaged(item)}"
    if item.customer_impact_at is not None:
        yield f"Customer impact declared {clock(item.customer_impact_at, facts.now)}"
    if pages and (answer := _answer(item, facts)):
        yield answer
    if item.cause and not facts.redacted(item):
        yield f"Cause identified: {facts.said(item.cause)}"
    if item.doing and not facts.redacted(item) and item.open:
        yield facts.said(item.doing)
    if item.state is State.MONITORING and item.mitigated_at is not None:
        clear = f"All its rules clear since {clock(item.mitigated_at, facts.now)}"
        until = incident.next_change(item, facts.runbook.lifecycle)
        yield clear + (f"; watched until {clock(until, facts.now)}" if until is not None and not item.by_hand else "")
    if item.resolved_at is not None:
        yield f"Resolved {clock(item.resolved_at, facts.now)}"


def _unpaged(item: Incident) -> str:
    return f"a symptom of {item.parent}, of which they are" if item.parent else "nothing is due yet"


def _paged(page: Page, facts: Facts) -> str:
    row = facts.runbook.escalation.get(page.escalation_level)
    who = f"{page.escalation_level} {row.to}" if row else page.escalation_level
    call = f"{call}," if (call := escalation.call_of(page.attempt)) else ""
    vendor = f", with a report for {page.vendor}" if page.vendor != "none" else ""
    told = f"{who}{call} paged at {page.severity} {clock(page.fired_at, facts.now)}{vendor}"
    return told if page.fell_back_at is None else f"{told}; by the fallback {clock(page.fell_back_at, facts.now)}"


def _answer(item: Incident, facts: Facts) -> str:
    if item.acknowledged and item.ack is not None:
        return f"Acknowledged by {facts.said(item.ack.by, 60)} {clock(item.ack.at, facts.now)}"
    if not item.open:
        return ""
    due = escalation.response_due(facts.runbook, item, facts.pages_of(item))
    if not facts.recorded:
        return "Response not recorded"
    lapsed = f" at {item.severity}" if item.ack is not None else ""
    if due is None or item.parent is not None:
        return f"Not yet acknowledged{lapsed}"
    was = "was due" if facts.now >= due else "is due"
    return f"Not yet acknowledged{lapsed}; a response {was} {clock(due, facts.now)}"


def _next_update(item: Incident, facts: Facts) -> str:
    due = escalation.next_update(facts.runbook, item)
    if due is None:
        return "none, it is resolved"
    return f"{facts.local(due)}, overdue" if facts.now >= due else facts.local(due)


def _notes(item: Incident, facts: Facts) -> Iterator[str]:
    if not facts.redacted(item):
        yield from facts.flags(item)
    if item.relapses:
        yield "it has relapsed once" if item.relapses == 1 else f"it has relapsed {item.relapses} times"
    if item.false_alarm and not facts.redacted(item):
        yield f"a false alarm: {facts.said(item.false_alarm)}"
    yield from undelivered(facts)
    if facts.store_error:
        yield f"the monitor cannot save what it knows: {facts.said(facts.store_error)}"


def undelivered(facts: Facts) -> Iterator[str]:
    """The open pages, of any incident, that no Alertmanager has taken for a while: whoever reads this is to know."""
    for page in sorted(facts.pages, key=lambda page: page.fired_at):
        if page.ended_at is None and page.delivered_at is None and facts.now - page.fired_at >= UNDELIVERED_SECONDS:
            carried = page.fell_back_at is not None
            told = f", but by the fallback {clock(page.fell_back_at or 0.0, facts.now)}" if carried else ""
            due = clock(page.due_at, facts.now)
            yield f"not delivered: {page.escalation_level} of {page.incident} at {page.severity}, due {due}{told}"


# --- reminders -------------------------------------------------------------------------------------------------------


def reminder(item: Incident, notice: Notice, facts: Facts) -> str:
    """What is to be done, by whom, and since when it is due."""
    scenario = facts.scenario(item)
    due = facts.local(notice.due_at)
    if notice.key == "response":
        return f"{item.key}: nobody has acknowledged it; a response was due {due}"
    if notice.key == "update":
        return f"{item.key}: a status update was due {due}"
    if notice.key == "undo":
        steps = "; ".join(step.do for step in scenario.steps if step.remind) if scenario else ""
        return f"{item.key} is resolved. Was any of this done for a time? Then undo it: {steps}"
    review = escalation.review_due(facts.runbook, facts.config.calendar, item)
    at = review if review is not None else notice.due_at
    return f"{item.key}: the post-incident review {'was' if facts.now >= at else 'is'} due {facts.local(at)}"


# --- customers -------------------------------------------------------------------------------------------------------


def customer(item: Incident, facts: Facts) -> Draft:
    """What customers may be told, from words approved beforehand. It is drafted and never sent."""
    scenario, row = facts.scenario(item), facts.runbook.severities[item.severity]
    if not item.open:
        return Draft(None, "it is resolved; the runbook has no words for that")
    if not row.customer_comms:
        told = [str(severity) for severity, each in facts.runbook.severities.items() if each.customer_comms]
        return Draft(None, f"customers are told of {' and '.join(told) or 'nothing'}, and this is a {item.severity}")
    if scenario is None:
        return Draft(None, "its scenario is no longer in the runbook")
    if item.parent is not None:
        return Draft(None, f"it is a symptom of {item.parent}; tell customers of that")
    declared = scenario.declared
    if declared is not None and declared.customer_comms == MANUAL and (item.declared_at is not None or item.evidence):
        return Draft(None, "it is declared; what customers are told is written by hand")
    if scenario.customer is None or not scenario.service:
        return Draft(None, f"the runbook has no approved words for customers (service, customer) for {scenario.name}")
    words = {
        "severity": str(item.severity),
        "service": fill(scenario.service, facts.probes),
        "what": fill(scenario.customer.what, facts.probes),
        "impact": fill(scenario.customer.impact, facts.probes),
        "every": in_words(row.update_every),
    }
    return Draft(phrase("customer", facts.runbook.wording, words))


# --- vendors ---------------------------------------------------------------------------------------------------------


def for_vendor(item: Incident, facts: Facts) -> Draft:
    """What its vendor may be told now: nothing while what fails is not the vendor's, lest it is blamed for another."""
    scenario = facts.scenario(item)
    if scenario is None or scenario.vendor is None:
        return Draft(None, "the scenario names no vendor")
    name = scenario.vendor.name
    if not item.open:
        return Draft(None, "it is resolved; what is seen now is not what was seen then")
    if facts.redacted(item):
        return Draft(None, "it is declared; its details are withheld")
    if item.vendor_since is None and not any(page.vendor == name for page in facts.pages_of(item)):
        watched = ", ".join(term.text for term in scenario.vendor.when)
        return Draft(None, f"nothing that {name} answers for fails" + (f" ({watched})" if watched else ""))
    return Draft(vendor_report(item, name, facts))


def vendor_report(item: Incident, vendor: str, facts: Facts) -> str:
    """What the vendor needs to know: what fails since when and how, and that our own network worked."""
    scenario = facts.scenario(item)
    if scenario is None or facts.redacted(item):
        return ""
    views = _watched(scenario, facts)
    bad = [view for view in views if view.level is not Level.OK] or views
    begun = [view.since for view in bad if view.since is not None and view.level is Level.FAIL]
    began = item.started_at if item.opening == 1 else item.opened_at
    began = began if item.vendor_since is None else item.vendor_since
    begun += [max(began, *item.relapsed_at[-1:])] if item.relapses else [began]
    words = {
        "vendor": vendor,
        "title": facts.title(item),
        "incident": item.key,
        "severity": str(item.severity),
        "service": fill(scenario.service, facts.probes) or UNDER_ASSESSMENT,
        "since": utc(min(begun)),
        "findings": [line for view in bad for line in _seen(view, facts)] or ["nothing that a probe watches"],
        "network": list(_network(views, facts)),
        "requests": [
            facts.said(text) for view in bad if (text := _detail(view, "request_id") or _detail(view, "request_ids"))
        ],
    }
    words["written"] = utc(facts.now)
    return capped(phrase("vendor_report", facts.runbook.wording, words))


def _watched(scenario: Scenario, facts: Facts) -> list[ProbeView]:
    """The probes of what the vendor answers for; our own settings are none of its business."""
    terms = scenario.vendor.when if scenario.vendor and scenario.vendor.when else ()
    terms = terms or tuple(term for rule in scenario.rules for term in rule.terms)
    names = dict.fromkeys(term.name for term in terms if term.kind == "probe")
    views = [facts.probes[name] for name in names if name in facts.probes]
    return [view for view in views if view.config.enabled and view.config.type.name != SETTINGS]


def _seen(view: ProbeView, facts: Facts) -> Iterator[str]:
    """One probe, in the vendor's terms: how it fails, since when, what was answered last."""
    result = view.result
    since = f" since {utc(view.since)}" if view.since is not None and view.level is not Level.OK else ""
    yield f"- {view.config.name}: {view.level.value}" + (f", {view.reason}" if view.reason else "") + since
    if view.last_success_at is not None and view.level is not Level.OK:
        yield f"  last success {utc(view.last_success_at)}"
    if result is None:
        return
    end = "success" if result.outcome is Outcome.SUCCESS else result.reason
    yield f"  last try {utc(result.at)}: {end}, after {format_duration(round(result.duration_seconds, 3))}"
    for name in ("answer", "address"):
        if text := _detail(view, name):
            yield f"  {name}: {facts.said(text, 200)}"


def _detail(view: ProbeView, name: str) -> str:
    assert name in _TO_VENDORS
    return view.result.details.get(name, "") if view.result is not None else ""


def _network(views: list[ProbeView], facts: Facts) -> Iterator[str]:
    """Whether our own way out was open: the probes that these need to be judged at all."""
    names = dict.fromkeys(need for view in views for need in _needs(view.config, facts))
    proofs = [facts.probes[name] for name in names if facts.probes[name].config.type.name in _NETWORK]
    for view in proofs:
        seen = f", last success {utc(view.last_success_at)}" if view.last_success_at is not None else ""
        proof = "" if view.level in {Level.OK, Level.WARN} else "; our own network may be at fault"
        yield f"{view.config.name} ({view.config.type.name}): {view.level.value}{seen}{proof}"
    if not proofs:
        yield "not watched"


def _needs(config: ProbeConfig, facts: Facts) -> Iterator[str]:
    for name in config.needs:
        if name in facts.probes:
            yield name
            yield from _needs(facts.probes[name].config, facts)
