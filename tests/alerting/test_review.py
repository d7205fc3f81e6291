"""The draft of the review: what is known, honestly; what only people know, as a blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from monitor.alerting.review import MOST_EVENTS, review
from monitor.core.incident import Ack, Event, Incident, Origin, Page, State, Taken
from monitor.core.runbook import Wording
from tests.alerting.incidents import BOOK, KEY, P1, P2, SECRET, at, facts, incident, page, view

OVER: dict[str, Any] = {
    "state": State.RESOLVED, "mitigated_at": at("17:35:00"), "resolved_at": at("17:50:00"), "updated_at": at("17:50:00"),
}  # fmt: skip
ACK = Ack(at("17:05:10"), "ann", P2)


def events(*told: tuple[str, str, str] | tuple[str, str, str, str]) -> list[Event]:
    """Of (time, kind, text) and by whom."""
    return [Event(KEY, number, at(each[0]), each[1], each[2], *each[3:]) for number, each in enumerate(told, 1)]


BASE = (
    ("17:02:10", "opened", "P2: redis"),
    ("17:02:10", "found", "redis fail, unreachable, for 2m; errors warn, error_ratio (3.4 %, limit > 1%), for 30s"),
    ("17:02:10", "paged", "L1 On-call engineer at P2"),
)
TOLD_AT_P1 = (*BASE[:2], ("17:02:10", "paged", "L1 On-call engineer at P1"))


def draft(
    item: Incident, told: Sequence[Event] = (), *pages: Page, previous: Sequence[Incident] = (), **more: Any
) -> str:
    return review(item, told or events(*BASE), pages or (page(),), previous, facts(**{"now": "18:00:00", **more}))


def lines(text: str, begin: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(begin)]


def section(text: str, heading: str) -> list[str]:
    """The lines with something on them between a heading and the next."""
    after = text.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return [line for line in after.splitlines() if line]


def test_times_stand_against_their_targets_and_the_gap_is_honest() -> None:
    item = incident(**OVER, ack=ACK, first_ack=ACK)
    told = events(
        *BASE, ("17:05:10", "ack", "Acknowledged at P2, 3m after it opened", "ann"), ("17:50:00", "resolved", "x")
    )
    assert section(draft(item, told), "## 2. Timeline") == [
        "- Detection time: failing since ≤ 17:00:10 UTC, last good 16:59:55 UTC; detected 17:02:10 UTC, 2m later",
        "- Response time: acknowledged 17:05:10 UTC by ann, after 3m; target of P2 1h: kept",
        "- Resolution time: resolved 17:50:00 UTC, 47m 50s after detection: clear after 32m 50s, then watched for 15m",
    ]


@pytest.mark.parametrize(
    ("item", "told", "more", "expected"),
    [
        (incident(severity=P1, **OVER), TOLD_AT_P1, {}, "nobody has acknowledged it; target of P1 15m: **BREACHED**"),
        (
            incident(severity=P1, first_ack=replace(ACK, at=at("17:20:10")), **OVER),
            (*TOLD_AT_P1, ("17:20:10", "ack", "x", "ann")), {},
            "acknowledged 17:20:10 UTC by ann, after 18m; target of P1 15m: **BREACHED** by 3m",
        ),
        (incident(**OVER), BASE, {"recorded": False}, "not recorded: no way to acknowledge was in use"),
        (incident(**OVER), BASE, {}, "over before one was due"),
        (incident(), BASE, {}, "nobody has acknowledged it; target of P2 1h: until 18:02:10 UTC"),
        (
            incident(severity=P1, taken=(Taken(P2, at("17:02:10")), Taken(P1, at("17:20:00"))), first_ack=ACK, **OVER),
            (*BASE, ("17:05:10", "ack", "x", "ann"), ("17:20:00", "paged", "L1 On-call engineer at P1")), {},
            "acknowledged 17:05:10 UTC by ann, after 3m; target of P2 1h: kept; target of P1 15m: **BREACHED**",
        ),
    ],
)  # fmt: skip
def test_a_breach_is_marked_and_what_is_not_known_is_not_called_one(
    item: Incident, told: Any, more: dict[str, Any], expected: str
) -> None:
    assert lines(draft(item, events(*told), **more), "- Response time") == [f"- Response time: {expected}"]


def test_who_was_affected_is_not_told_with_the_values_of_today() -> None:
    probes = {"redis": view("redis", "redis", measured={"memory_used_ratio": 0.21})}
    text = draft(incident(**OVER), probes=probes)
    assert "Sign-in can fail; memory is at not recorded." in text
    assert "21 %" not in text


def test_an_ack_that_breaches_is_a_gap_of_the_monitoring_too() -> None:
    assert "- [ ] The response was late: does the page reach the person on call?" in draft(
        incident(severity=P1, **OVER), events(*TOLD_AT_P1)
    )


def test_what_failed_first_stands_first_and_the_effects_are_those_that_were_measured() -> None:
    text = draft(incident(**OVER))
    assert section(text, "### What was the direct cause?") == [
        "**[FILL IN]**",
        "The order in which things failed, as the monitor saw it:",
        "- 17:02:10 UTC rule: P2: redis",
        "- 17:02:10 UTC 1. redis fail, unreachable, for 2m",
        "- 17:02:10 UTC 2. errors warn, error_ratio (3.4 %, limit > 1%), for 30s",
    ]
    assert (
        "- Measured 17:02:10 UTC: redis fail, unreachable, for 2m; errors warn, error_ratio (3.4 %, limit > 1%), for 30s"
    ) in text.splitlines()


def test_what_people_did_is_in_its_place() -> None:
    told = events(
        *BASE,
        ("17:10:00", "note", "Looks like memory", "ann"),
        ("17:20:00", "fix", "Restarted Redis", "bob"),
        ("17:35:00", "mitigated", "All its rules are clear; watching for a recurrence"),
        ("17:35:00", "told", "Status update 1"),
    )
    text = draft(incident(**OVER, cause="The cache had no limit", impact="Nobody could sign in"), told)
    assert section(text, "### Immediate fixes applied") == [
        "- 17:20:00 UTC Fix: Restarted Redis (bob)",
        "Done for a time? Then undo it:",
        "- [ ] Raise the limit for a time",
    ]
    assert section(text, "### Key milestones") == [
        "- 17:02:10 UTC Opened: P2: redis",
        "- 17:02:10 UTC Paged: L1 On-call engineer at P2",
        "- 17:10:00 UTC Note: Looks like memory (ann)",
        "- 17:20:00 UTC Fix: Restarted Redis (bob)",
        "- 17:35:00 UTC Clear: All its rules are clear; watching for a recurrence",
    ]
    assert section(text, "### What was the direct cause?")[:2] == [
        "Identified during the incident: The cache had no limit",
        "**[FILL IN: is that the whole of it?]**",
    ]
    assert section(text, "### Who was affected?") == [
        "Nobody could sign in",
        "**[FILL IN: who, how many, and what they noticed.]**",
    ]


def test_the_path_of_the_severity_and_who_was_told_of_it() -> None:
    path = (Taken(P2, at("17:02:10")), Taken(P1, at("17:20:00"), by="ann"), Taken(P1, at("17:48:00"), 2))
    item = incident(severity=P1, taken=path, opening=2, **OVER)
    pages = (
        page(), page("L2", "17:32:10", due_at=at("17:32:10")), page("L3", "17:55:00", due_at=at("17:48:00")),
        page(attempt=2, fired_at=at("17:17:10"), due_at=at("17:17:10")), page("L4", "17:05:00", vendor="whmcs"),
    )  # fmt: skip
    text = draft(item, (), *pages)
    assert lines(text, "- P") == [
        "- P2 from 17:02:10 UTC",
        "- P1 from 17:20:00 UTC (ann)",
        "- P1 from 17:48:00 UTC, reopened",
    ]
    assert lines(text, "- Escalated") == [
        "- Escalated 17:05:00 UTC to L4 Vendor support (whmcs)",
        "- Escalated 17:17:10 UTC to L1 On-call engineer, second call: nobody had answered",
        "- Escalated 17:32:10 UTC to L2 Development lead",
        "- Escalated 17:55:00 UTC to L3 Engineering manager, 7m late",
    ]


@pytest.mark.parametrize(
    ("item", "told", "pages", "expected"),
    [
        (incident(origin=Origin.CUSTOMER, **OVER), (*BASE, ("17:09:10", "joined", "A probe fails too: redis")), (page(),),
         "A customer's report came first; a probe saw it 7m later"),
        (incident(origin=Origin.INTERNAL, **OVER), BASE, (page(),), "A colleague came first; no probe saw it"),
        (incident(started_at=at("16:40:00"), **OVER), BASE, (page(),),
         "Detection took 22m 10s of a response time of 1h: shorter interval or hold?"),
        (incident(**OVER), BASE, (page(fell_back_at=at("17:03:10")), page("L2", "17:32:10")),
         "No Alertmanager took 1 of 2 pages in time; the fallback carried them"),
        (incident(**OVER), (*BASE, ("17:03:00", "found", "redis fail, run; sf-orders unknown, auth; pool unknown, needs redis")),
         (page(),), "Could not be judged at the time: sf-orders"),
        (incident(relapsed_at=(at("17:40:00"),), **OVER), BASE, (page(),),
         "It came back: are 15m of watching enough, and was the cause found?"),
        (incident(false_alarm="a rehearsal", **OVER), BASE, (page(),),
         "It was a false alarm: which limit or hold would have kept it back?"),
    ],
)  # fmt: skip
def test_the_monitor_names_its_own_gaps(item: Incident, told: Any, pages: tuple[Page, ...], expected: str) -> None:
    suggested = section(draft(item, events(*told), *pages), "### Monitoring improvements")
    assert suggested == [f"- [ ] {expected}", "- [ ] **[FILL IN: what would have shown it sooner?]**"]


def test_where_all_went_well_only_the_blank_is_left() -> None:
    assert section(draft(incident(**OVER)), "### Monitoring improvements") == [
        "- [ ] **[FILL IN: what would have shown it sooner?]**"
    ]


@pytest.mark.parametrize(
    ("more", "now", "expected"),
    [
        (OVER, "18:00:00", "Due 2026-11-26 18:00:00 UTC."),
        ({**OVER, "resolved_at": at("17:50:00") - 9 * 86400}, "18:00:00", "Overdue since 2026-11-18 18:00:00 UTC."),
        (
            {**OVER, "reviewed_at": at("17:55:00"), "reviewed_by": "bob"},
            "18:00:00",
            "Reviewed 2026-11-23 17:55:00 UTC by bob.",
        ),
        ({**OVER, "false_alarm": "a rehearsal"}, "18:00:00", "Waived, as a false alarm: a rehearsal."),
        ({}, "18:00:00", "The incident is still open."),
    ],
)
def test_it_says_when_the_review_is_due(more: dict[str, Any], now: str, expected: str) -> None:
    head = draft(incident(**more), now=now).splitlines()[2]
    assert head == f"{KEY}, P2. Draft of 2026-11-23 18:00:00 UTC. {expected}"


def test_up_to_three_earlier_ones_of_the_same_scenario_newest_first() -> None:
    def earlier(number: int, **more: Any) -> Incident:
        day = 86400.0 * number
        return incident(
            key=f"redis-{number}", started_at=at("10:00:00") - day, opened_at=at("10:02:00") - day, state=State.RESOLVED,
            resolved_at=at("11:00:00") - day, **more,
        )  # fmt: skip

    others = [
        earlier(5), earlier(2, cause=f"A full disk {SECRET}"), earlier(1, false_alarm="x"),
        earlier(3, reviewed_at=1.0, cause="[b](c)"), incident("whmcs"), incident(**OVER),
    ]  # fmt: skip
    assert section(draft(incident(**OVER), previous=others), "## Earlier incidents of this kind") == [
        "- redis-1, P2, 1h: a false alarm",
        "- redis-2, P2, 1h: A full disk [secret]".replace("[secret]", r"\[secret\]"),
        r"- redis-3, P2, 1h, reviewed: \[b\](c)",
    ]


def test_hostile_words_are_text_and_stay_in_their_line() -> None:
    hostile = f"<script>x</script>\n# Not a heading\n- [ ] [a](javascript:b) `c` **d** {{{{ 7 * 7 }}}} {SECRET}"
    told = events(*BASE, ("17:10:00", "note", hostile, "ann <b>\nof"))
    text = draft(incident(impact=hostile, cause=hostile, **OVER), told)
    assert SECRET not in text
    assert "<script>" not in text.replace(r"\<script>", "")
    assert "# Not a heading" not in text.splitlines()
    assert r"\[a\](javascript:b) \`c\` \*\*d\*\* {{ 7 * 7 }}".replace("7 * 7", r"7 \* 7") in text
    assert lines(text, "- 17:10:00 UTC Note")[0].endswith(r"(ann \<b> of)")


def test_details_of_a_declared_incident_are_withheld_and_the_times_are_not() -> None:
    told = events(
        ("17:02:10", "opened", "P1, declared: Hidden-5", "ann"),
        ("17:02:20", "found", "Hidden-6 warn, matches (40, limit > 30), for 1m"),
        ("17:02:20", "paged", "L1 On-call engineer at P1"),
        ("17:05:10", "ack", "Acknowledged at P1, 3m after it opened: Hidden-7", "ann"),
        ("17:10:00", "note", "Hidden-1", "ann"),
        ("17:11:00", "fix", "Hidden-2", "ann"),
        ("17:55:00", "reviewed", "Hidden-8", "ann"),
    )
    item = incident(
        "security", P1, declared_at=at("17:03:00"), evidence=True, impact="Hidden-3", cause="Hidden-4", **OVER
    )
    text = draft(item, told, page(of=item))
    assert "Hidden" not in text
    assert "- 17:02:10 UTC Opened: withheld (ann)" in text.splitlines()
    assert "- 17:10:00 UTC Note: withheld (ann)" in text.splitlines()
    assert "- 17:02:20 UTC Paged: L1 On-call engineer at P1" in text.splitlines()


def test_a_long_timeline_is_cut_in_its_middle_and_says_so() -> None:
    told = events(*BASE, *(("17:10:00", "note", f"number {number}", "ann") for number in range(400)))
    milestones = section(draft(incident(**OVER), told), "### Key milestones")
    assert len(milestones) == MOST_EVENTS + 1
    assert f"- … {402 - MOST_EVENTS} more, in `portal-monitor incident show {KEY}`" in milestones
    assert milestones[-1] == "- 17:10:00 UTC Note: number 399 (ann)"


def test_an_incident_that_is_open_says_so() -> None:
    text = draft(incident())
    assert lines(text, "- Ended") == ["- Ended: not yet; it is open"]
    assert lines(text, "- Resolution") == ["- Resolution time: still open"]


def test_the_wording_is_the_runbooks() -> None:
    book = replace(BOOK, wording=Wording(review="{{ title }}: {% for line in fixes %}{{ line }}{% endfor %}"))
    text = draft(incident(**OVER), events(*BASE, ("17:20:00", "fix", "Restarted", "bob")), runbook=book)
    assert text == "Redis connection failures: 17:20:00 UTC Fix: Restarted (bob)\n"
