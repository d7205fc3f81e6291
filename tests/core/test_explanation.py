"""Explanations: each sentence where it belongs, what is not known and why, and deadlines that never contradict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from monitor.core.explanation import Explanation, deadlines, explain
from monitor.core.incident import Ack, Incident, Page, State, Taken
from monitor.core.maintenance import Window
from monitor.core.runbook import Level, Rule, Severity, Term
from monitor.core.severity import RuleVerdict, Verdict
from monitor.core.snapshot import Snapshot
from tests.web import portal

NOW = portal.NOW
P1, P2, P3 = Severity.P1, Severity.P2, Severity.P3
RULE = Rule(P2, (Term("redis", "probe", "redis"), Term("bff/cache", "probe", "bff", "cache")), "any", 45.0)
OPEN = portal.REDIS_DOWN.takes(P2, NOW - 230)


def verdict(holds: bool | None, *, matured: bool = True, maintained: bool = False, severity: Severity = P2) -> Verdict:
    rule = replace(RULE, severity=severity)
    since = NOW - 30 if holds or maintained else None
    terms = {"redis": holds, "bff/cache": False if holds is not None else None}
    found = RuleVerdict(rule, holds, since, since and since + 45, bool(holds) and matured, (), maintained, terms)
    return Verdict("redis", severity if found.matured else None, (found,))


def shown(incident: Incident | None, found: Verdict, **more: Any) -> Explanation:
    snapshot = portal.snapshot(incidents=(incident,) if incident else (), verdicts={"redis": found}, **more)
    return explain("redis", snapshot)


HOLDS, RIPENS, CLEAR = verdict(True), verdict(True, matured=False), verdict(False)
UNKNOWN, KEPT_BACK = verdict(None), verdict(None, maintained=True)


@pytest.mark.parametrize(
    ("incident", "found", "because"),
    [
        (OPEN, HOLDS, ["It is P2 because of redis, bff/cache."]),
        (
            replace(OPEN, why=("memory",)),
            verdict(True, severity=P3),
            [
                "It is P2.",
                "The rules say P3 now, because of memory; by itself it does not become less severe.",
            ],
        ),
        (
            OPEN.takes(P1, NOW, "mei"),
            HOLDS,
            [
                "It is P1, set by mei.",
                "The rules say P2 now; by itself it does not become less severe.",
                "The rules make it P2: any of redis, bff/cache for 45s.",
            ],
        ),
        (
            replace(OPEN.takes(P3, NOW, "mei"), waived=P2),
            HOLDS,
            [
                "It is P3, set by mei.",
                "The rules say P2; a person knew better, until they say worse than P2.",
                "The rules make it P2: any of redis, bff/cache for 45s.",
            ],
        ),
        (
            replace(OPEN, state=State.MONITORING, mitigated_at=NOW - 60),
            CLEAR,
            ["It is P2 because of redis, bff/cache.", "All its rules are clear; it is watched for a recurrence."],
        ),
        (
            OPEN,
            UNKNOWN,
            [
                "It is P2 because of redis, bff/cache.",
                "Nothing holds now, but not everything can be judged, so it stays open.",
            ],
        ),
        (
            replace(OPEN, parent="portal-unreachable"),
            HOLDS,
            [
                "It is P2 because of redis, bff/cache.",
                "It is a symptom of portal-unreachable, so nobody is told of it by itself.",
            ],
        ),
        (
            replace(OPEN, by_hand=True, why=(), taken=(Taken(P2, NOW, by="mei"),), customer_impact_at=NOW),
            CLEAR,
            [
                "It is P2, reported by mei.",
                "Customers are affected, says a person.",
                "No probe sees it; only a person ends it.",
            ],
        ),
        (None, CLEAR, ["No incident is open: every rule was judged, and none holds."]),
        (None, UNKNOWN, ["No incident is open, and whether all is well is not known."]),
        (None, RIPENS, ["No incident is open yet: what is wrong has not lasted for long enough."]),
        (None, KEPT_BACK, ["No incident is open: maintenance keeps back what fails."]),
    ],
)
def test_it_says_why(incident: Incident | None, found: Verdict, because: Sequence[str]) -> None:
    assert list(shown(incident, found).because) == because


def test_what_a_person_resolved_although_it_fails_is_not_called_well() -> None:
    over = replace(OPEN, state=State.RESOLVED, resolved_at=NOW - 5, overridden=P2)
    snapshot = portal.snapshot(incidents=(over,), verdicts={"redis": HOLDS})
    assert list(explain("redis", snapshot, over).because) == [
        "It is resolved.",
        "The rules make it P2: any of redis, bff/cache for 45s.",
        "A person resolved it all the same; it opens again when it is worse, or was well in between.",
    ]


@pytest.mark.parametrize(
    ("found", "standing"),
    [(HOLDS, "holds"), (RIPENS, "ripens"), (CLEAR, "clear"), (UNKNOWN, "unknown"), (KEPT_BACK, "maintained")],
)
def test_each_rule_stands_somewhere(found: Verdict, standing: str) -> None:
    (rule,) = shown(None, found).rules
    assert rule.standing == standing


def test_what_is_not_known_says_why() -> None:
    (rule,) = shown(None, UNKNOWN).rules
    redis = rule.terms[0]
    assert (redis.holds, redis.seen) == (
        None, "redis is fail (unreachable), from before the monitor started; not seen since",
    )  # fmt: skip
    window = Window("maintenance-1", ("redis",), NOW - 60, NOW + 60, "a disk", "mei")
    (rule,) = shown(None, KEPT_BACK, windows=(window,)).rules
    assert rule.terms[0].seen == "redis is fail (unreachable); it is under maintenance"
    needs = replace(portal.snapshot().probes["sf-replay"], level=Level.UNKNOWN)
    probes = {**portal.snapshot().probes, "redis": needs}
    (rule,) = shown(None, UNKNOWN, probes=probes).rules
    assert rule.terms[0].seen == "redis is unknown (needs redis). Cannot be judged while redis is not well."


@pytest.mark.parametrize(
    ("term", "holds", "level", "reason", "seen"),
    [
        (Term("redis", "probe", "redis"), True, Level.FAIL, "unreachable", "redis is fail (unreachable)"),
        (
            Term("redis/timeout", "probe", "redis", "timeout"), False, Level.FAIL, "unreachable",
            "redis/timeout: no, redis is fail (unreachable)",
        ),
        (
            Term("redis/timeout", "probe", "redis", "timeout"), True, Level.FAIL, "timeout",
            "redis/timeout: yes, redis is fail (timeout)",
        ),
        (Term("redis@warn", "probe", "redis", at=Level.WARN), False, Level.OK, "", "redis@warn: no, redis is ok"),
        (
            Term("redis@unknown", "probe", "redis", at=Level.UNKNOWN), False, Level.UNKNOWN, "needs egress",
            "redis@unknown: no, redis is unknown (needs egress), for which its need is to blame",
        ),
        (
            Term("scenario:portal", "scenario", "portal"), None, Level.OK, "",
            "scenario:portal: not known, portal cannot be judged",
        ),
    ],
)  # fmt: skip
def test_what_is_seen_agrees_with_whether_the_term_holds(
    term: Term, holds: bool | None, level: Level, reason: str, seen: str
) -> None:
    view = replace(portal.snapshot().probes["redis"], level=level, reason=reason)
    rule = RuleVerdict(Rule(P2, (term,), "any"), holds, None, None, bool(holds), (), terms={term.text: holds})
    found = shown(None, Verdict("redis", None, (rule,)), probes={**portal.snapshot().probes, "redis": view})
    assert found.rules[0].terms[0].seen == seen


def test_what_comes_is_in_order_and_a_milder_rule_is_no_news() -> None:
    milder = verdict(True, matured=False, severity=P3)
    both = Verdict("redis", P2, (*HOLDS.rules, *milder.rules))
    assert not [moment for moment in shown(OPEN, both).coming if "if this still holds" in moment.what]
    worse = verdict(True, matured=False, severity=P1)
    found = shown(OPEN, Verdict("redis", P2, (*HOLDS.rules, *worse.rules)), recorded=True)
    assert [moment.what for moment in found.coming] == [
        "P1, if this still holds: any of redis, bff/cache for 45s",
        "the next status update is due",
        "L1 On-call engineer, second call is paged, unless it is resolved before",
        "somebody must have acknowledged it",
    ]
    assert [moment.at for moment in found.coming] == sorted(moment.at for moment in found.coming)


def page(incident: Incident) -> Page:
    return Page(
        incident.key, incident.opening, incident.severity, "L1", due_at=incident.opened_at, fired_at=incident.opened_at
    )


@pytest.mark.parametrize(
    ("incident", "recorded", "response"),
    [
        (OPEN, True, "due"),
        (OPEN, False, "not recorded"),
        (replace(OPEN, opened_at=NOW - 4000, taken=(Taken(P2, NOW - 4000),)), True, "overdue"),
        (replace(OPEN, ack=Ack(NOW, "mei", P2)), True, "answered"),
        (replace(OPEN, ack=Ack(NOW - 300, "mei", P3)), True, "due"),  # it got worse since
        (replace(OPEN, state=State.RESOLVED, resolved_at=NOW, ack=Ack(NOW, "mei", P3)), True, "answered"),
        (replace(OPEN, state=State.RESOLVED, resolved_at=NOW), True, "unanswered"),
        (replace(OPEN, state=State.RESOLVED, resolved_at=NOW), False, "not recorded"),
    ],
)
def test_whether_somebody_has_answered(incident: Incident, recorded: bool, response: str) -> None:
    snapshot = portal.snapshot(incidents=(incident,), recorded=recorded)
    assert deadlines(incident, [page(incident)], snapshot).response == response


WATCHED = replace(OPEN, state=State.MONITORING, mitigated_at=NOW - 60)
LONG_CLEAR = replace(WATCHED, mitigated_at=NOW - 86400)


@pytest.mark.parametrize(
    ("incident", "found", "held"),
    [
        (WATCHED, CLEAR, ""),
        (WATCHED, UNKNOWN, "redis, bff/cache cannot be judged"),
        (LONG_CLEAR, UNKNOWN, "redis, bff/cache cannot be judged"),
        (LONG_CLEAR, KEPT_BACK, "maintenance keeps back what fails"),
        (WATCHED, RIPENS, ""),
        (LONG_CLEAR, RIPENS, "redis fails again"),
        (replace(WATCHED, by_hand=True), CLEAR, "only a person ends it"),
        (OPEN, UNKNOWN, ""),
    ],
)
def test_what_is_held_is_not_called_overdue(incident: Incident, found: Verdict, held: str) -> None:
    snapshot = portal.snapshot(incidents=(incident,), verdicts={"redis": found})
    ahead, told = deadlines(incident, [], snapshot), explain("redis", snapshot)
    assert ahead.held == held
    assert (ahead.resolves_at is not None) == (incident.state is State.MONITORING and not held)
    assert any(moment.what == "it is resolved, if its rules stay clear" for moment in told.coming) == bool(
        ahead.resolves_at
    )
    said = f"It was clear and is watched for a recurrence; it is not resolved, as {held}."
    assert (said in told.because) == bool(held)


@pytest.mark.parametrize("state", [State.INVESTIGATING, State.RESOLVED])
def test_no_answer_is_owed_of_what_nobody_is_told_of(state: State) -> None:
    old = replace(OPEN, state=state, opened_at=NOW - 4000, taken=(Taken(P2, NOW - 4000),))
    snapshot = portal.snapshot(incidents=(old,), recorded=True)
    found = deadlines(old, [], snapshot)
    assert (found.response, found.response_due_at) == ("not owed", None)
    symptom = replace(old, state=State.INVESTIGATING, parent="portal-unreachable")
    found = deadlines(symptom, [page(symptom)], snapshot)  # it was told of before its cause was known
    assert (found.response, found.response_due_at) == ("not owed", None)


@pytest.mark.parametrize(
    ("changes", "paged", "review"),
    [
        ({"resolved_at": None, "state": State.INVESTIGATING}, True, "none"),
        ({}, True, "due"),
        ({}, False, "none"),  # a symptom of which nobody was told: its cause is reviewed
        ({"resolved_at": NOW - 9 * 86400}, True, "overdue"),
        ({"false_alarm": "a drill"}, True, "waived"),
        ({"reviewed_at": NOW, "reviewed_by": "mei"}, True, "done"),
        ({"peak": P3}, True, "none"),
    ],
)
def test_whether_a_review_is_owed(changes: dict[str, Any], paged: bool, review: str) -> None:
    over = replace(OPEN, **{"state": State.RESOLVED, "resolved_at": NOW, **changes})
    snapshot: Snapshot = portal.snapshot(incidents=(over,))
    found = deadlines(over, [page(over)] if paged else [], snapshot)
    assert found.review == review
    assert (found.review_due_at is not None) == (review in {"due", "overdue", "done"})
