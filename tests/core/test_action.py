"""What people do: every verb in every state, what becomes of it, and every refusal with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from monitor.core import incident
from monitor.core.action import (
    VERBS,
    Acknowledge,
    Action,
    Declare,
    Identify,
    Note,
    Open,
    Refused,
    Resolve,
    Review,
    SetImpact,
    SetSeverity,
    Update,
    act,
    open_by_hand,
)
from monitor.core.incident import Ack, Incident, Origin, State, Step
from monitor.core.severity import Verdict
from tests.runbook_rows import BOOK, HOUR, MINUTE, NOON, P1, P2, P3, P4, verdict

INVESTIGATING, IDENTIFIED, MONITORING, RESOLVED = State
LATER = NOON + 10 * MINUTE
CLEAR, FAILS, UNKNOWN = verdict(None), verdict(P2), verdict(None, unknown=True)

FRESH = Incident("redis-1", "redis", INVESTIGATING, P2, P2, NOON, NOON, updated_at=NOON).takes(P2, NOON)
KNOWN = replace(FRESH, state=IDENTIFIED, cause="a leak", identified_at=NOON)
WATCHED = replace(FRESH, state=MONITORING, mitigated_at=NOON)
OVER = replace(FRESH, state=RESOLVED, resolved_at=NOON)
ACKED = replace(FRESH, ack=Ack(NOON, "bob", P2), first_ack=Ack(NOON, "bob", P2))
DECLARED = replace(FRESH, scenario="security", declared_at=NOON, customer_impact_at=NOON)
REVIEWED = replace(OVER, reviewed_at=NOON, reviewed_by="bob")


def does(item: Incident, action: Action, said: Verdict | None = FAILS) -> Step:
    return act(item, action, LATER, "ann", scenario=BOOK.scenarios.get(item.scenario), verdict=said)


def became(item: Incident, action: Action, said: Verdict | None = FAILS) -> Incident:
    step = does(item, action, said)
    assert step.incident is not None
    return step.incident


ALLOWED: list[tuple[str, Incident, Action, State, list[str], bool]] = [
    # what, from, action, state after, events, whether those who know are told
    ("acknowledge", FRESH, Acknowledge(), INVESTIGATING, ["ack"], False),
    ("acknowledge by a link of this opening", FRESH, Acknowledge(opening=1), INVESTIGATING, ["ack"], False),
    ("acknowledge what is monitored", WATCHED, Acknowledge(), MONITORING, ["ack"], False),
    ("acknowledge anew what got worse", ACKED.takes(P1, NOON), Acknowledge(), INVESTIGATING, ["ack"], False),
    ("note", FRESH, Note("x"), INVESTIGATING, ["note"], False),
    ("note a fix", FRESH, Note("x", fix=True), INVESTIGATING, ["fix"], False),
    ("note what is over", OVER, Note("x"), RESOLVED, ["note"], False),
    ("identify", FRESH, Identify("a leak"), IDENTIFIED, ["identified"], True),
    ("identify something else", KNOWN, Identify("a bug"), IDENTIFIED, ["identified"], True),
    ("resolve what is monitored", WATCHED, Resolve(), RESOLVED, ["resolved"], False),
    ("severity", FRESH, SetSeverity(P1, "x"), INVESTIGATING, ["severity"], True),
    ("severity of what is monitored", WATCHED, SetSeverity(P4, "x"), MONITORING, ["severity"], True),
    ("impact", FRESH, SetImpact("x"), INVESTIGATING, ["impact"], True),
    ("impact on customers", FRESH, SetImpact("x", customers=True), INVESTIGATING, ["impact", "declared"], True),
    (
        "impact on customers who were declared affected before", DECLARED, SetImpact("x", customers=True),
        INVESTIGATING, ["impact"], True,
    ),
    ("declare customer impact", FRESH, Declare("customer_impact", "x"), INVESTIGATING, ["declared"], True),
    ("update", FRESH, Update("x"), INVESTIGATING, ["update"], True),
    ("review", OVER, Review(), RESOLVED, ["reviewed"], False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "action", "state", "events", "update"), [row[1:] for row in ALLOWED], ids=[row[0] for row in ALLOWED]
)
def test_what_is_allowed(item: Incident, action: Action, state: State, events: list[str], update: bool) -> None:
    step = does(item, action, None if isinstance(action, Resolve) else FAILS)
    assert step.incident is not None
    assert (step.incident.state, [kind for kind, _ in step.events], step.update) == (state, events, update)


REFUSED: list[tuple[str, Incident, Action, str]] = [
    ("ack of what is over", OVER, Acknowledge(), "redis-1 is resolved; there is nothing to acknowledge"),
    ("ack twice", ACKED, Acknowledge(), "bob has acknowledged it already"),
    (
        "a link of an earlier opening",
        replace(FRESH, opening=2),
        Acknowledge(opening=1),
        "an earlier opening of redis-1",
    ),
    ("a silence that acknowledged once", replace(FRESH, silences=("s",)), Acknowledge(silence="s"), "once"),
    ("an empty note", FRESH, Note(" "), "say a note"),
    ("identify nothing", FRESH, Identify(""), "say what was identified"),
    ("identify what is monitored", WATCHED, Identify("a leak"), "redis-1 is being monitored already; write a note"),
    ("identify what is over", OVER, Identify("a leak"), "redis-1 is resolved"),
    ("resolve while it fails", FRESH, Resolve("done"), "redis still fails; .*--force WHY"),
    ("resolve while it fails, identified", KNOWN, Resolve(), "redis still fails"),
    ("resolve twice", OVER, Resolve(), "redis-1 is resolved"),
    ("severity without a reason", FRESH, SetSeverity(P1, ""), "say why"),
    ("the severity it has", FRESH, SetSeverity(P2, "x"), "redis-1 is at P2 already"),
    ("severity of what is over", OVER, SetSeverity(P1, "x"), "redis-1 is resolved"),
    ("no impact", FRESH, SetImpact(""), "say the impact"),
    ("impact of what is over", OVER, SetImpact("x"), "redis-1 is resolved"),
    ("customer impact twice", DECLARED, Declare("customer_impact", "x"), "is declared already"),
    ("declare without a reason", FRESH, Declare("customer_impact", ""), "say why"),
    (
        "declare what the scenario does not",
        FRESH,
        Declare("security", "x"),
        "cannot be declared of redis-1; write customer",
    ),
    ("declare twice", DECLARED, Declare("security", "x"), "is declared already"),
    ("declare what is over", OVER, Declare("customer_impact", "x"), "redis-1 is resolved"),
    ("an empty update", FRESH, Update(""), "say what is being done"),
    ("update of what is over", OVER, Update("x"), "redis-1 is resolved"),
    ("review what is open", FRESH, Review(), "redis-1 is still open"),
    ("review twice", REVIEWED, Review(), "bob has reviewed it already"),
]


@pytest.mark.parametrize(("item", "action", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused_is_refused_with_the_reason(item: Incident, action: Action, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        does(item, action)


def test_every_verb_is_in_a_table() -> None:
    assert {type(row[2]) for row in ALLOWED} == set(VERBS.values()) == {type(row[2]) for row in REFUSED}


def test_an_acknowledgement_is_worth_what_was_seen_and_the_first_is_kept() -> None:
    item = became(FRESH, Acknowledge("on it"))
    assert (item.ack, item.first_ack) == (Ack(LATER, "ann", P2), Ack(LATER, "ann", P2))
    assert item.acknowledged
    worse = item.takes(P1, LATER)
    assert not worse.acknowledged
    assert worse.takes(P2, LATER).acknowledged
    again = act(worse, Acknowledge(), LATER + 60, "bob", scenario=None, verdict=FAILS).incident
    assert again is not None
    assert (again.ack, again.first_ack) == (Ack(LATER + 60, "bob", P1), Ack(LATER, "ann", P2))


def test_a_silence_acknowledges_once() -> None:
    item = became(FRESH, Acknowledge(silence="s"))
    with pytest.raises(Refused, match="once"):
        does(item.takes(P1, LATER), Acknowledge(silence="s"))
    assert became(item.takes(P1, LATER), Acknowledge(silence="t")).silences == ("s", "t")


@pytest.mark.parametrize(
    ("action", "said", "overridden", "false_alarm"),
    [
        (Resolve(), CLEAR, None, ""),
        (Resolve(), UNKNOWN, None, ""),
        (Resolve(), None, None, ""),  # its scenario left the runbook
        (Resolve(force="known"), FAILS, P2, ""),
        (Resolve(force="known"), CLEAR, None, ""),
        (Resolve(false_alarm="a test"), FAILS, P2, "a test"),
        (Resolve(false_alarm="a test"), CLEAR, None, "a test"),
    ],
)
def test_how_it_is_resolved_by_hand(action: Resolve, said: Verdict | None, overridden: Any, false_alarm: str) -> None:
    item = became(replace(FRESH, parent="portal"), action, said)
    assert (item.state, item.resolved_at, item.parent) == (RESOLVED, LATER, None)
    assert (item.overridden, item.false_alarm) == (overridden, false_alarm)


@pytest.mark.parametrize(
    ("item", "known"),
    [
        (FRESH, P2),
        (replace(FRESH.takes(P4, NOON), waived=P2), P2),
        (replace(FRESH, by_hand=True), None),
        (WATCHED, None),
    ],
)
def test_while_nothing_is_known_people_go_against_what_was_known_last(item: Incident, known: Any) -> None:
    """No daemon may run, or its probes may not have: what they decided must hold when it does."""
    assert became(item, Resolve(force="known"), UNKNOWN).overridden is known
    assert became(item, Resolve(false_alarm="a test"), UNKNOWN).overridden is known
    assert became(item, SetSeverity(P3, "a workaround"), UNKNOWN).waived is known
    assert became(item, Resolve(), UNKNOWN).overridden is None


def test_a_severity_by_hand_remembers_what_the_rules_said_then() -> None:
    assert became(FRESH, SetSeverity(P4, "a workaround")).waived is P2
    assert became(FRESH, SetSeverity(P4, "a workaround"), CLEAR).waived is None
    item = became(FRESH, SetSeverity(P1, "all customers"))
    assert (item.severity, item.peak, item.stays[-1].by) == (P1, P1, "ann")


@pytest.mark.parametrize("state", [INVESTIGATING, IDENTIFIED, MONITORING])
def test_a_declared_security_incident_is_a_p1_that_only_a_person_ends(state: State) -> None:
    hint = Incident("security-1", "security", state, P4, P4, NOON, NOON).takes(P4, NOON)
    item = became(replace(hint, mitigated_at=NOON if state is MONITORING else None), Declare("security", "a breach"))
    assert (item.severity, item.declared_at, item.by_hand, item.evidence) == (P1, LATER, True, True)
    assert item.state is (IDENTIFIED if state is IDENTIFIED else INVESTIGATING)
    assert item.mitigated_at is None
    assert incident.advance(item, verdict(None, "security"), BOOK.lifecycle, LATER + 9 * HOUR).incident == item


def test_a_declaration_is_refused_where_its_scenario_left_the_runbook() -> None:
    with pytest.raises(Refused, match="write customer_impact"):
        act(replace(FRESH, scenario="security"), Declare("security", "x"), LATER, "ann", scenario=None, verdict=None)


# --- opened by hand --------------------------------------------------------------------------------------------------


def opens(action: Open, last: Incident | None = None) -> Incident:
    step = open_by_hand(action, last, BOOK, NOON, "ann", known={"redis-20261125-1100"})
    assert step.incident is not None
    assert [kind for kind, _ in step.events] == ["opened"]
    return step.incident


def test_what_a_customer_reports_is_open_from_the_report_on() -> None:
    item = opens(Open("redis", "cannot sign in", P3, Origin.CUSTOMER, since=NOON - 2 * HOUR))
    assert (item.key, item.started_at, item.opened_at, item.detected_at) == (
        "redis-20261125-1000", NOON - 2 * HOUR, NOON, NOON,
    )  # fmt: skip
    assert (item.severity, item.origin, item.by_hand, item.state) == (P3, Origin.CUSTOMER, True, INVESTIGATING)
    assert [(taken.severity, taken.at, taken.by) for taken in item.stays] == [(P3, NOON, "ann")]


def test_without_a_severity_it_is_the_worst_of_the_scenario() -> None:
    assert opens(Open("redis", "x")).severity is P1
    assert opens(Open("whmcs", "x")).severity is P2


def test_what_is_opened_for_a_time_that_another_had_gets_a_key_of_its_own() -> None:
    assert opens(Open("redis", "x", since=NOON - HOUR)).key == "redis-20261125-1100-2"
    assert opens(Open("redis", "x"), replace(OVER, key="redis-20261125-1200")).key == "redis-20261125-1200-2"


def test_what_is_opened_as_declared() -> None:
    item = opens(Open("security", "a breach", declare=True))
    assert (item.severity, item.declared_at, item.evidence) == (P1, NOON, True)


@pytest.mark.parametrize(
    ("action", "last", "reason"),
    [
        (Open("nothing", "x"), None, 'there is no scenario "nothing"; there are portal, redis'),
        (Open("redis", "x"), FRESH, "redis-1 is open already"),
        (Open("redis", "x", declare=True), None, "the runbook declares nothing for redis"),
        (Open("redis", "x", since=NOON + 1), None, "in the future"),
    ],
)
def test_what_cannot_be_opened(action: Open, last: Incident | None, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        open_by_hand(action, last, BOOK, NOON, "ann")
