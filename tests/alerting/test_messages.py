"""What people are told, word by word: the status update, the words for customers, the vendor's report, reminders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.alerting.facts import LONGEST_BYTES, capped, in_words
from monitor.alerting.messages import Draft, customer, for_vendor, impact, reminder, status_update, vendor_report
from monitor.alerting.pages import page_words, vendor_words
from monitor.core.calendar import Calendar
from monitor.core.incident import Ack, Incident, Notice, NoticeKind, Origin, Page, State, Taken
from monitor.core.runbook import Level, Rule, Vendor, Wording
from tests.alerting.incidents import BOOK, KEY, P1, P2, P3, PROBES, SECRET, at, facts, incident, page, term, view

TOKYO = Calendar(ZoneInfo("Asia/Tokyo"))
DECLARED: dict[str, Any] = {"declared_at": at("17:03:00"), "evidence": True}
HOSTILE = f"gone\nStatus: Resolved\x1b[31m \u202e<!channel> {{{{ 7 * 7 }}}} {SECRET}"


def lines(text: str, begin: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(begin)]


def actions(item: Incident, *pages: Page, **more: Any) -> list[str]:
    return [line.removeprefix("- ") for line in lines(status_update(item, facts(*pages, **more)), "- ")]


# --- status update ---------------------------------------------------------------------------------------------------


def test_a_fresh_incident_in_the_fields_of_the_runbook() -> None:
    assert (
        status_update(incident(), facts(page()))
        == """\
INCIDENT UPDATE - P2 - Redis connection failures

Status: Investigating
Impact: Sign-in can fail; memory is at unknown.
Started: 2026-11-23 17:00:10 UTC (last good 16:59:55 UTC)
Last Update: 2026-11-23 17:02:10 UTC

Current Actions:
- L1 On-call engineer paged at P2 17:02:10 UTC
- Not yet acknowledged; a response is due 18:02:10 UTC

Next Update: 2026-11-23 18:02:10 UTC
Note: security_exposure: AUTH_BLACKLIST_FAIL_CLOSED=false"""
    )


def test_a_page_that_nobody_took_is_named_after_a_minute_and_how_it_went_out() -> None:
    lost = replace(page("L2", "17:32:10"), delivered_at=None)
    late, soon = "17:33:10", "17:33:09"
    note = "Note: not delivered: L2 of redis-20261123-1700 at P2, due 17:32:10 UTC"
    assert lines(status_update(incident(), facts(page(), lost, now=late)), "Note: not") == [note]
    carried = replace(lost, fell_back_at=at("17:33:10"))
    told = lines(status_update(incident(), facts(page(), carried, now=late)), "Note: not")
    assert told == [f"{note}, but by the fallback 17:33:10 UTC"]
    for pages, now in (((page(), lost), soon), ((page(), replace(lost, ended_at=at(late))), late), ((page(),), late)):
        assert not lines(status_update(incident(), facts(*pages, now=now)), "Note: not")


def test_what_people_said_and_did_stands_in_it_and_the_time_of_the_calendars_zone() -> None:
    item = incident(
        state=State.IDENTIFIED, ack=Ack(at("17:05:00"), "ann", P2), cause="a full disk", doing="Restarting Redis",
        impact="Nobody can sign in", customer_impact_at=at("17:20:00"), relapsed_at=(at("17:30:00"),),
        flags=("data_loss",),
    )  # fmt: skip
    pages = (page("L2", "17:32:10"), page(), page("L4", "17:10:00", vendor="whmcs"))
    assert (
        status_update(item, facts(*pages, calendar=TOKYO))
        == """\
INCIDENT UPDATE - P2 - Redis connection failures

Status: Identified
Impact: Nobody can sign in
Started: 2026-11-23 17:00:10 UTC (last good 16:59:55 UTC)
Last Update: 2026-11-23 17:32:10 UTC

Current Actions:
- L1 On-call engineer paged at P2 17:02:10 UTC
- L4 Vendor support paged at P2 17:10:00 UTC, with a report for whmcs
- L2 Development lead paged at P2 17:32:10 UTC
- Customer impact declared 17:20:00 UTC
- Acknowledged by ann 17:05:00 UTC
- Cause identified: a full disk
- Restarting Redis

Next Update: 2026-11-23 18:02:10 UTC (Tue 03:02 JST)
Note: data_loss
Note: security_exposure: AUTH_BLACKLIST_FAIL_CLOSED=false
Note: it has relapsed once"""
    )


@pytest.mark.parametrize(
    ("item", "more", "expected"),
    [
        (incident(), {}, "Not yet acknowledged; a response is due 18:02:10 UTC"),
        (incident(), {"now": "18:03:00"}, "Not yet acknowledged; a response was due 18:02:10 UTC"),
        (incident(), {"recorded": False}, "Response not recorded"),
        (incident(ack=Ack(at("17:05:00"), "ann", P2)), {"recorded": False}, "Acknowledged by ann 17:05:00 UTC"),
        # What was seen was a P2; what it has become since, nobody has answered for.
        (incident(severity=P1, taken=(Taken(P2, at("17:02:10")), Taken(P1, at("17:20:00"))), ack=Ack(at("17:05:00"), "ann", P2)),
         {}, "Not yet acknowledged at P1; a response was due 17:35:00 UTC"),
        (incident(ack=Ack(at("17:05:00") - 86400, "ann", P1)), {}, "Acknowledged by ann 2026-11-22 17:05:00 UTC"),
    ],
)  # fmt: skip
def test_the_answer_is_what_is_recorded_and_nothing_else(item: Incident, more: dict[str, Any], expected: str) -> None:
    assert actions(item, page(of=item), **more)[-1] == expected


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ((page(attempt=2, fired_at=at("18:02:10")),), "L1 On-call engineer, second call, paged at P2 18:02:10 UTC"),
        (
            (page(fell_back_at=at("17:03:20")),),
            "L1 On-call engineer paged at P2 17:02:10 UTC; by the fallback 17:03:20 UTC",
        ),
        ((page("L9"),), "L9 paged at P2 17:02:10 UTC"),  # the matrix has changed since
        ((page(opening=2),), "Nobody is paged: nothing is due yet"),
        ((), "Nobody is paged: nothing is due yet"),
    ],
)
def test_it_says_who_was_paged(pages: tuple[Page, ...], expected: str) -> None:
    assert actions(incident(), *pages, now="18:10:00")[0] == expected


def test_a_page_that_nobody_has_taken_is_named_whichever_incident_it_is_of() -> None:
    lost = [
        page(delivered_at=None), page("L2", "17:32:10", delivered_at=None, fell_back_at=at("17:33:10")),
        page(of=incident("whmcs"), delivered_at=None), page(of=incident("bare"), delivered_at=None, ended_at=at("17:20:00")),
    ]  # fmt: skip
    assert lines(status_update(incident(), facts(*lost)), "Note: not") == [
        "Note: not delivered: L1 of redis-20261123-1700 at P2, due 17:02:10 UTC",
        "Note: not delivered: L1 of whmcs-20261123-1700 at P2, due 17:02:10 UTC",
        "Note: not delivered: L2 of redis-20261123-1700 at P2, due 17:32:10 UTC, but by the fallback 17:33:10 UTC",
    ]


def test_a_symptom_says_whose() -> None:
    assert actions(incident(parent="portal-unreachable")) == [
        "Nobody is paged: a symptom of portal-unreachable, of which they are"
    ]


def test_what_is_clear_says_until_when_it_is_watched_and_what_is_over_that_it_is() -> None:
    clear = incident(state=State.MONITORING, mitigated_at=at("17:35:00"), updated_at=at("17:35:00"))
    assert actions(clear, page())[-1] == "All its rules clear since 17:35:00 UTC; watched until 17:50:00 UTC"
    assert actions(replace(clear, by_hand=True), page())[-1] == "All its rules clear since 17:35:00 UTC"
    over = replace(clear, state=State.RESOLVED, resolved_at=at("17:50:00"), doing="Restarting")
    told = status_update(over, facts(page(), now="17:55:00"))
    assert lines(told, "- ") == ["- L1 On-call engineer paged at P2 17:02:10 UTC", "- Resolved 17:50:00 UTC"]
    assert lines(told, "Status") + lines(told, "Next") == ["Status: Resolved", "Next Update: none, it is resolved"]
    assert lines(told, "Last Update") == ["Last Update: 2026-11-23 17:50:00 UTC"]


def test_an_update_that_is_late_says_so_and_the_last_one_is_not_the_time_of_writing() -> None:
    told = status_update(incident(), facts(page(), now="18:30:00"))
    assert lines(told, "Next") == ["Next Update: 2026-11-23 18:02:10 UTC, overdue"]
    assert lines(told, "Last") == ["Last Update: 2026-11-23 17:02:10 UTC"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"origin": Origin.CUSTOMER}, "2026-11-23 17:00:10 UTC (reported by a customer)"),
        ({"origin": Origin.INTERNAL}, "2026-11-23 17:00:10 UTC (reported by a colleague)"),
        ({"last_good_at": None}, "2026-11-23 17:00:10 UTC"),
        ({"last_good_at": at("16:59:55") - 86400}, "2026-11-23 17:00:10 UTC (last good 2026-11-22 16:59:55 UTC)"),
    ],
)
def test_it_says_since_when_and_how_that_is_known(more: dict[str, Any], expected: str) -> None:
    assert lines(status_update(incident(**more), facts()), "Started")[0] == f"Started: {expected}"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (incident("bare", P3), "Under assessment"),
        (incident("gone-from-the-runbook", P3), "Under assessment"),
        (incident(), "Sign-in can fail; memory is at unknown."),
        (incident(impact="Nobody can pay"), "Nobody can pay"),
        (incident("security", impact="A list of names", **DECLARED), "Withheld"),
    ],
)
def test_the_impact_is_never_invented(item: Incident, expected: str) -> None:
    assert impact(item, facts()) == expected


def test_what_is_over_is_not_told_with_the_values_of_today() -> None:
    over = incident(state=State.RESOLVED, resolved_at=at("17:30:00"))
    today = facts(probes={"redis": view("redis", "redis", measured={"memory_used_ratio": 0.21})})
    assert impact(over, today) == "Sign-in can fail; memory is at not recorded."
    assert "21 %" not in status_update(over, today)


def test_the_impact_has_the_live_value() -> None:
    probes = {**PROBES, "redis": view("redis", "redis", measured={"memory_used_ratio": 0.881})}
    assert impact(incident(), facts(probes=probes)) == "Sign-in can fail; memory is at 88.1 %."


def test_a_store_that_cannot_be_written_is_said() -> None:
    told = status_update(incident(), facts(page(), store_error="no space left"))
    assert "Note: the monitor cannot save what it knows: no space left" in told.splitlines()


@pytest.mark.parametrize("key", ["impact", "doing", "cause"])
def test_hostile_words_stay_one_line_without_secrets_commands_or_calls(key: str) -> None:
    told = status_update(replace(incident(), **{key: HOSTILE}), facts(page()))  # type: ignore[arg-type]
    assert lines(told, "Status") == ["Status: Investigating"]
    assert "gone Status: Resolved [31m < !channel> {{ 7 * 7 }} [secret]" in told
    assert not set("\x1b\u202e") & set(told)


def test_a_name_is_hostile_as_well() -> None:
    told = status_update(incident(ack=Ack(at("17:05:00"), "ann\nStatus: Resolved " + "x" * 999, P2)), facts(page()))
    assert lines(told, "Status") == ["Status: Investigating"]
    assert len(told) < 1000


def test_it_never_grows_beyond_what_receivers_take() -> None:
    many = [page("L2", "17:02:10", fired_at=at("17:02:10") + each) for each in range(500)]
    told = status_update(incident(impact="日" * 5000), facts(*many))
    assert len(told.encode()) <= LONGEST_BYTES
    assert told.endswith("\n… (cut)")


# --- what is withheld ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [DECLARED, {"evidence": True}])  # a reopening forgets when it was declared
def test_a_declared_incident_whose_details_are_withheld_has_none_in_any_text(more: dict[str, Any]) -> None:
    item = incident(
        "security", P1, impact="Hidden-1", cause="Hidden-2", doing="Hidden-3", flags=("Hidden-4",),
        false_alarm="Hidden-5", **more,
    )  # fmt: skip
    given = facts(page(of=item))
    words = page_words(item, given) | vendor_words(page("L4", of=item, vendor="freebit"), item, given)
    assert "Hidden" not in str(words)
    assert "orders" not in str(words)
    assert "vendor_report" not in words
    assert words["diagnosis"] == "Details are withheld.\n1. DO NOT modify logs or evidence"


def test_before_it_is_declared_it_is_an_incident_like_any_other() -> None:
    assert impact(incident("security", P3), facts()) == "Somebody may have read orders."


# --- customers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "every"), [(P1, "30 minutes"), (P2, "1 hour")])
def test_customers_are_told_in_words_approved_beforehand(severity: Any, every: str) -> None:
    draft = customer(incident(severity=severity, impact="An internal detail"), facts())
    assert (draft.reason, draft.text) == (
        "",
        f"""\
We are currently experiencing issues with sign-in, caching and rate limiting.

What's happening: Some customers cannot sign in.
Impact: You may be signed out or see slow pages.
Status: Our team is actively working to resolve this issue.

We will provide updates every {every}.

We apologize for any inconvenience.""",
    )


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (incident(severity=P3), "customers are told of P1 and P2, and this is a P3"),
        (incident("whmcs"), "the runbook has no approved words for customers (service, customer) for whmcs"),
        (incident("security", P1, **DECLARED), "it is declared; what customers are told is written by hand"),
        (incident("security", P1, evidence=True), "it is declared; what customers are told is written by hand"),
        (incident("gone"), "its scenario is no longer in the runbook"),
        (incident(parent="portal-unreachable"), "it is a symptom of portal-unreachable; tell customers of that"),
        (incident(state=State.RESOLVED), "it is resolved; the runbook has no words for that"),
    ],
)
def test_where_there_is_nothing_to_send_it_says_why(item: Incident, reason: str) -> None:
    draft = customer(item, facts())
    assert (draft.text, draft.reason) == (None, reason)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1800, "30 minutes"),
        (3600, "1 hour"),
        (5400, "90 minutes"),
        (7200, "2 hours"),
        (86400, "1 day"),
        (45, "45 seconds"),
    ],
)
def test_times_for_customers_are_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


# --- vendors ---------------------------------------------------------------------------------------------------------

DOWN = view(
    "whmcs", "whmcs", Level.FAIL, "unreachable", needs=("egress",), since=at("17:01:10"), good=at("17:00:00"),
    measured={"duration_seconds": 0.25},
    details={"answer": "HTTP 503 Service Unavailable", "address": "203.0.113.7:443", "request_id": "abc-1",
             "body": "clients of ours"},
)  # fmt: skip


def test_a_vendor_gets_what_fails_since_when_and_proof_of_our_own_network() -> None:
    item = incident("whmcs", vendor_since=at("17:02:10"), impact="Internal", cause="Internal", doing="Internal")
    assert (
        vendor_report(item, "whmcs", facts(probes={**PROBES, "whmcs": DOWN}))
        == """\
Report to whmcs: WHMCS API unavailable
Our reference: whmcs-20261123-1700. Written 2026-11-23 17:40:00 UTC. All times are UTC.

Failing since: 2026-11-23 17:01:10 UTC
Affected on our side: billing and payment methods

What we see:
- whmcs: fail, unreachable since 2026-11-23 17:01:10 UTC
  last success 2026-11-23 17:00:00 UTC
  last try 2026-11-23 17:39:55 UTC: unreachable, after 250ms
  answer: HTTP 503 Service Unavailable
  address: 203.0.113.7:443

Our own network at the same time:
- egress (tcp): ok, last success 2026-11-23 17:39:50 UTC

Requests of ours that failed:
- abc-1"""
    )


@pytest.mark.parametrize(
    ("egress", "expected"),
    [
        (view("egress", "tcp", Level.FAIL, "unreachable"), "- egress (tcp): fail; our own network may be at fault"),
        (view("egress", "tcp", Level.UNKNOWN), "- egress (tcp): unknown; our own network may be at fault"),
        (None, "- not watched"),
    ],
)
def test_a_network_of_ours_that_is_not_proven_is_not_called_well(egress: Any, expected: str) -> None:
    probes = {"whmcs": DOWN} | ({"egress": egress} if egress else {})
    assert expected in vendor_report(incident("whmcs"), "whmcs", facts(probes=probes)).splitlines()


def test_a_vendor_learns_nothing_of_our_settings() -> None:
    scenario = replace(BOOK.scenarios["whmcs"], vendor=Vendor("whmcs"), rules=(
        Rule(P2, (term("whmcs"), term("bff-settings"), term("redis")), "any"),
    ))  # fmt: skip
    settings = view(
        "bff-settings", "settings", Level.WARN, "as_expected", details={"AUTH_BLACKLIST_FAIL_CLOSED": "false"}
    )
    told = vendor_report(
        incident("whmcs"), "whmcs",
        facts(probes={**PROBES, "whmcs": DOWN, "bff-settings": settings}, runbook=replace(BOOK, scenarios={"whmcs": scenario})),
    )  # fmt: skip
    assert "redis: fail" in told
    assert "settings" not in told
    assert "AUTH_BLACKLIST" not in told


def test_a_vendor_is_told_nothing_while_what_it_answers_for_is_well() -> None:
    item, now = incident("whmcs"), facts()
    assert for_vendor(item, now) == Draft(None, "nothing that whmcs answers for fails (whmcs/unreachable)")
    failing = replace(item, vendor_since=at("17:02:10"))
    assert for_vendor(failing, now) == Draft(vendor_report(failing, "whmcs", now))
    told = facts(page("L4", of=item, vendor="whmcs"))  # it is well again, and its desk knows of it
    assert for_vendor(item, told) == Draft(vendor_report(item, "whmcs", told))
    over = replace(failing, state=State.RESOLVED, resolved_at=at("17:30:00"))
    assert for_vendor(over, now).reason == "it is resolved; what is seen now is not what was seen then"
    assert for_vendor(incident(), now).reason == "the scenario names no vendor"
    declared = incident("security", declared_at=at("17:02:10"), vendor_since=at("17:02:10"))
    assert for_vendor(declared, now).reason == "it is declared; its details are withheld"


@pytest.mark.parametrize(
    ("more", "since"),
    [
        ({}, "17:01:10"),
        ({"relapsed_at": (at("17:32:10"),)}, "17:31:10"),
        ({"opening": 2, "opened_at": at("17:32:10"), "vendor_since": None}, "17:31:10"),
    ],
)
def test_a_vendor_is_told_since_when_it_fails_this_time(more: dict[str, Any], since: str) -> None:
    item = incident("whmcs", **{"vendor_since": at("17:02:10"), **more})
    down = replace(DOWN, since=at(since))
    told = vendor_report(item, "whmcs", facts(probes={**PROBES, "whmcs": down}))
    assert f"Failing since: 2026-11-23 {since} UTC" in told.splitlines()


def test_the_report_is_on_the_vendors_page_alone() -> None:
    item = incident("whmcs")
    assert vendor_words(page(of=item), item, facts()) == {}
    assert set(vendor_words(page("L4", of=item, vendor="whmcs"), item, facts())) == {"vendor_report"}
    assert "vendor_report" not in page_words(item, facts())


# --- reminders, wording ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "item", "expected"),
    [
        ("response", incident(), "nobody has acknowledged it; a response was due 2026-11-23 17:30:00 UTC (Tue 02:30 JST)"),
        ("update", incident(), "a status update was due 2026-11-23 17:30:00 UTC (Tue 02:30 JST)"),
        ("review", incident(state=State.RESOLVED, resolved_at=at("17:35:00")),
         "the post-incident review is due 2026-11-27 09:00:00 UTC (Fri 18:00 JST)"),
        ("review", incident(state=State.RESOLVED, resolved_at=at("17:35:00") - 9 * 86400),
         "the post-incident review was due 2026-11-18 09:00:00 UTC (Wed 18:00 JST)"),
    ],
)  # fmt: skip
def test_a_reminder_says_what_is_owed_and_since_when(reason: str, item: Incident, expected: str) -> None:
    notice = Notice(item.key, NoticeKind.REMINDER, reason, 1, due_at=at("17:30:00"))
    assert reminder(item, notice, facts(calendar=TOKYO)) == f"{KEY}: {expected}"


def test_what_was_done_for_a_time_is_to_be_undone() -> None:
    notice = Notice(KEY, NoticeKind.REMINDER, "undo", 1, due_at=at("17:30:00"))
    assert reminder(incident(), notice, facts()) == (
        f"{KEY} is resolved. Was any of this done for a time? Then undo it: Raise the limit for a time"
    )


def test_the_wording_is_the_runbooks_where_it_has_one_and_a_broken_one_is_said() -> None:
    book = replace(BOOK, wording=Wording(status_update="{{ severity }}/{{ status }}", customer="{{ service > 3 }}"))
    assert status_update(incident(), facts(runbook=book)) == "P2/Investigating"
    told = customer(incident(), facts(runbook=book)).text
    assert told is not None
    assert told.startswith("We are currently experiencing issues with sign-in")
    assert told.splitlines()[-1] == (
        "(The runbook's wording messages.customer cannot be used: "
        "'>' not supported between instances of 'str' and 'int')"
    )


def test_severities_by_hand_are_the_heading() -> None:
    item = incident(severity=P1, taken=(Taken(P2, at("17:02:10")), Taken(P1, at("17:20:00"), by="ann")))
    assert status_update(item, facts(page())).startswith("INCIDENT UPDATE - P1 - ")


@pytest.mark.parametrize(
    ("text", "longest", "expected"),
    [
        ("short", 100, "short"),
        ("one\ntwo\nthree", 22, "one\ntwo\nthree"),
        ("one\ntwo\nthree and so on and on", 22, "one\ntwo\n… (cut)"),
        ("日本" * 20, 20, "日本日\n… (cut)"),
    ],
)
def test_a_text_is_cut_after_a_line_and_never_within_a_letter(text: str, longest: int, expected: str) -> None:
    assert capped(text, longest) == expected
    assert len(capped(text, longest).encode()) <= longest
