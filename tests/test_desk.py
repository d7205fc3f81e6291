"""Incidents, maintenance and explanations over HTTP: on a daemon that runs, with its store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import jsonschema
import pytest
from pydantic import SecretStr

from monitor.alerting import links
from tests.daemon import Daemon
from tests.servers import free_port, wait_until

SCRIPT = "<script>alert(1)</script>{{ 99991 * 99991 }}\x1b[31m\u202e"
CANARY = "canary-7d2e91c0"
PARTS = [f"part-{number}" for number in range(40)]
"""Scenarios that no probe ever fails: what a test opens by hand."""

_numbers = count()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all tests here: each test opens incidents of its own."""
    closed = {"type": "tcp", "target": f"127.0.0.1:{free_port()}", "interval": "1s", "timeout": "500ms"}
    never = {"type": "tcp", "target": "127.0.0.1:1", "enabled": False}
    declared = {"severity": "P1", "escalate_now": ["L2", "L3"], "evidence_hold": True}

    def scenario(title: str, severity: str, probe: str, **more: Any) -> dict[str, Any]:
        return {"title": title, "rules": [{"severity": severity, "any": [probe], **more}]}

    found = Daemon(
        tmp_path_factory.mktemp("daemon"),
        probes={
            "closed": closed,
            "slowly": closed,
            "kept-back": closed,
            "never": never,
            "secret": {**never, "type": "redis", "url": "redis://:${CANARY}@127.0.0.1:1/0"} | {"target": None},
        },
        scenarios={
            "broken": scenario("It is broken", "P2", "closed"),
            "slow": scenario("It breaks slowly", "P2", "slowly", **{"for": "5d"}),
            "held": scenario("It is held back", "P3", "kept-back"),
            "security": {**scenario("Security incident", "P4", "never"), "declared": declared},
            **{name: scenario(f"Title of {name}", "P3", "never") for name in PARTS},
        },
        env={"CANARY": CANARY},
        lifecycle={"monitor": "1h", "reopen_within": "0s"},
    )
    del found.probes["secret"]["target"]
    found.more = {"web": {"listen": f"127.0.0.1:{found.port}", "external_url": "https://monitor.example.com"}}
    try:
        found.start()
        wait_until(lambda: _derived(found, "broken") == "P2", what="the scenario to break")
        yield found
    finally:
        found.kill()


def _derived(daemon: Daemon, scenario: str) -> Any:
    return daemon.get(f"/api/v1/explain/{scenario}").json()["derived"]


def post(daemon: Daemon, route: str, **fields: Any) -> httpx.Response:
    return daemon.post(f"/api/v1/{route}", json={"by": "mei", **fields})


def opened(daemon: Daemon, **fields: Any) -> str:
    """The key of an incident that a person just opened."""
    scenario = PARTS[next(_numbers)]
    answer = post(daemon, "incidents", **{"scenario": scenario, "why": "A customer rang", **fields})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/incidents/{answer.json()['key']}"
    return str(answer.json()["key"])


def did(daemon: Daemon, key: str, verb: str, **fields: Any) -> dict[str, Any]:
    answer = post(daemon, f"incidents/{key}/{verb}", **fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found == daemon.get(f"/api/v1/incidents/{key}").json() | {"deadlines": found["deadlines"]}
    return found


def refused(daemon: Daemon, key: str, verb: str, **fields: Any) -> str:
    answer = post(daemon, f"incidents/{key}/{verb}", **fields)
    assert answer.status_code == 409, answer.text
    return str(answer.json()["error"])


def last(found: dict[str, Any]) -> tuple[str, str, str]:
    """(kind, text, by) of the newest line that a person, or what they did, put on the timeline."""
    event = [event for event in found["events"] if event["kind"] not in {"paged", "told"}][-1]
    return event["kind"], event["text"], event["by"]


# --- the life of an incident, by hand --------------------------------------------------------------------------------


def test_a_customer_reports_an_incident_and_it_is_carried_to_its_review(daemon: Daemon) -> None:
    since = datetime.fromtimestamp(time.time() - 1800, UTC).isoformat(timespec="seconds")
    key = opened(daemon, severity="P1", origin="customer", since=since, why="Nobody can pay")
    found = daemon.get(f"/api/v1/incidents/{key}").json()
    assert (found["severity"], found["origin"], found["by_hand"], found["state"]) == (
        "P1",
        "customer",
        True,
        "investigating",
    )
    assert found["started_at"] == since.replace("+00:00", ".000Z")
    assert [page["escalation_level"] for page in found["pages"]] == ["L1"]
    assert found["deadlines"]["response"] == "due"
    assert [step["escalation_level"] for step in found["deadlines"]["steps"]] == ["L1", "L2", "L3"]

    found = did(daemon, key, "ack", text="On it")
    assert (found["acknowledged"], found["ack"]["by"], found["deadlines"]["response"]) == (True, "mei", "answered")
    assert last(found)[0::2] == ("ack", "mei")
    assert refused(daemon, key, "ack") == "mei has acknowledged it already"

    found = did(daemon, key, "note", text="Restarted the BFF", fix=True)
    assert last(found) == ("fix", "Restarted the BFF", "mei")
    found = did(daemon, key, "identify", text="A certificate expired")
    assert (found["state"], found["cause"]) == ("identified", "A certificate expired")
    found = did(daemon, key, "impact", text="Nobody can pay by card", customers=True)
    assert found["impact"] == "Nobody can pay by card"
    assert found["customer_impact_at"] is not None
    found = did(daemon, key, "update", text="Ordering a new certificate")
    assert found["doing"] == "Ordering a new certificate"
    assert [notice["key"] for notice in found["notices"]] == ["1", "2", "3"]
    assert "/ack?token=" not in daemon.get(f"/api/v1/incidents/{key}").text  # whoever may look may not acknowledge
    with sqlite3.connect(f"file:{daemon.folder}/state.db?mode=ro", uri=True) as db:
        assert "/ack?token=" in str(db.execute("SELECT words FROM notice WHERE incident = ?", (key,)).fetchall())
    db.close()
    assert refused(daemon, key, "review") == f"{key} is still open; it is reviewed after it is resolved"

    found = did(daemon, key, "resolve", text="The certificate is new")
    assert (found["state"], found["deadlines"]["review"]) == ("resolved", "due")
    assert all(page["ended_at"] for page in found["pages"])
    assert refused(daemon, key, "identify", text="x") == f"{key} is resolved"
    found = did(daemon, key, "review", text="Held on Friday")
    assert (found["reviewed_by"], found["deadlines"]["review"]) == ("mei", "done")


def test_a_severity_is_set_by_a_person_who_says_why(daemon: Daemon) -> None:
    key = opened(daemon)
    found = did(daemon, key, "severity", severity="P1", why="The whole shop is down")
    assert (found["severity"], found["peak"]) == ("P1", "P1")
    assert last(found) == ("severity", "P3 to P1 by hand: The whole shop is down", "mei")
    assert refused(daemon, key, "severity", severity="P1", why="again") == f"{key} is at P1 already"
    assert did(daemon, key, "severity", severity="P4", why="Only the test shop")["peak"] == "P1"


def test_a_false_alarm_owes_no_review(daemon: Daemon) -> None:
    key = opened(daemon, severity="P2")
    found = did(daemon, key, "resolve", false_alarm="It was a drill")
    assert (found["false_alarm"], found["deadlines"]["review"]) == ("It was a drill", "waived")


def test_customer_impact_is_declared_once(daemon: Daemon) -> None:
    key = opened(daemon, severity="P2")
    assert last(did(daemon, key, "declare", what="customer_impact", why="Ten calls")) == (
        "declared",
        "Customers are affected: Ten calls",
        "mei",
    )
    assert refused(daemon, key, "declare", what="customer_impact", why="More") == (
        f"customer impact of {key} is declared already"
    )
    assert "cannot be declared" in refused(daemon, key, "declare", what="security", why="x")


def test_security_is_declared_and_tells_all_levels_at_once(daemon: Daemon) -> None:
    answer = post(daemon, "incidents", scenario="security", why="A stranger in the logs", declare=True)
    found = answer.json()
    assert (found["severity"], bool(found["declared_at"])) == ("P1", True)
    assert sorted(page["escalation_level"] for page in found["pages"]) == ["L1", "L2", "L3"]
    again = post(daemon, "incidents", scenario="security", why="Another")
    assert (again.status_code, "is open already" in again.json()["error"]) == (409, True)


def test_what_still_fails_is_resolved_only_with_a_reason(daemon: Daemon) -> None:
    (broken,) = [item for item in daemon.status()["incidents"] if item["scenario"] == "broken"]
    assert refused(daemon, broken["key"], "resolve").startswith("closed still fails; ")


def test_of_many_who_acknowledge_at_once_one_did(daemon: Daemon) -> None:
    key = opened(daemon)
    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(lambda name: post(daemon, f"incidents/{key}/ack", by=f"ann-{name}"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
    acks = [event for event in daemon.get(f"/api/v1/incidents/{key}").json()["events"] if event["kind"] == "ack"]
    assert len(acks) == 1


def test_the_signed_link_of_a_page_acknowledges_without_the_token(daemon: Daemon) -> None:
    key = opened(daemon)
    secret = SecretStr((daemon.folder / "link-secret").read_text().strip())
    address = f"/incidents/{key}/ack?token={links.token(secret, key, 1)}"
    assert "Acknowledge this incident?" in daemon.get(address).text
    assert not daemon.get(f"/api/v1/incidents/{key}").json()["acknowledged"]
    assert "Thank you, Mei." in daemon.post(address, token=False, data={"by": "Mei"}).text
    assert daemon.get(f"/api/v1/incidents/{key}").json()["ack"]["by"] == "Mei"
    assert "Mei did," in daemon.post(address, token=False, data={"by": "Ann"}).text


def test_an_ack_of_an_earlier_opening_is_refused(daemon: Daemon) -> None:
    key = opened(daemon)
    assert "an earlier opening" in refused(daemon, key, "ack", opening=7)
    assert did(daemon, key, "ack", opening=1)["acknowledged"]


def test_the_messages_and_the_review_are_drafted_from_what_happened(daemon: Daemon) -> None:
    key = opened(daemon, severity="P2", why="Ten calls")
    did(daemon, key, "update", text="Looking at the queue")
    said = daemon.get(f"/api/v1/incidents/{key}/messages").json()
    assert said["status_update"].startswith("INCIDENT UPDATE - P2 - Title of part-")
    assert "Looking at the queue" in said["status_update"]
    assert (said["customer"], said["customer_reason"]) == (None, "customers are told of nothing, and this is a P2")
    assert (said["vendor"], said["vendor_report"]) == (None, None)
    assert said["vendor_reason"] == "the scenario names no vendor"
    did(daemon, key, "note", text="Restarted the BFF", fix=True)
    did(daemon, key, "resolve", text="The queue is empty")
    review = daemon.get(f"/api/v1/incidents/{key}/review")
    assert review.headers["content-type"].startswith("text/markdown")
    assert review.text.startswith("# Post-incident review: Title of part-")
    assert "Restarted the BFF" in review.text


def test_the_month_in_numbers(daemon: Daemon) -> None:
    key = opened(daemon, severity="P1", why="=HYPERLINK(1)")
    did(daemon, key, "ack")
    did(daemon, key, "resolve", false_alarm="=1+1")
    found = daemon.get("/api/v1/report?since=1d").json()
    (row,) = [row for row in found["rows"] if row["incident"] == key]
    assert (row["peak"], row["response"], row["false_alarm"], row["review"]) == ("P1", "in time", "=1+1", "waived")
    (sums,) = [sums for sums in found["totals"] if sums["severity"] == "P1"]
    assert sums["false_alarms"] >= 1
    table = daemon.get("/api/v1/report.csv?since=1d")
    assert table.headers["content-type"].startswith("text/csv")
    head, *lines = table.text.splitlines()
    assert head.startswith("incident,scenario,severity,peak,origin,started_at")
    assert len(lines) == len(found["rows"])
    assert all(",=1" not in line for line in lines)  # a spreadsheet would run it


# --- what is wrong is said in one line -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "body", "said"),
    [
        ("note", {}, "text: nothing was found; write a text"),
        ("note", {"text": 5}, "text: 5 was found; write a text"),
        ("note", {"text": None}, "text: null was found; write a text"),
        ("note", {"txt": "x"}, 'txt: there is no such field; did you mean "text"?'),
        ("note", {"text": "x", "fix": "yes"}, 'fix: "yes" was found; write true or false'),
        ("note", {"text": "x" * 5000}, "text: 5000 characters were found; write at most 4000"),
        ("note", {"text": "x", "by": 3}, "by: 3 was found; write who does this"),
        ("note", {"text": "x", "by": " \n "}, "by: nothing was found; write who does this"),
        ("note", {"text": "x", "by": "m" * 101}, "by: 101 characters were found; write at most 100"),
        ("severity", {"severity": "P5", "why": "x"}, 'severity: "P5" was found; write P1, P2, P3 or P4'),
        ("severity", {"severity": 1, "why": "x"}, "severity: 1 was found; write P1, P2, P3 or P4"),
        ("severity", {"severity": ["P1"], "why": "x"}, 'severity: ["P1"] was found; write P1, P2, P3 or P4'),
        ("severity", {"severity": "P1"}, "why: nothing was found; write a text"),
        ("declare", {"why": "x"}, "what: nothing was found; write customer_impact, or the name of the scenario"),
        ("ack", {"opening": "1"}, 'opening: "1" was found; write the number of the opening that was seen'),
        ("ack", {"silence": "1"}, "silence: there is no such field; known: by, opening, text"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found_and_what_is_right(
    daemon: Daemon, verb: str, body: dict[str, Any], said: str
) -> None:
    (broken,) = [item for item in daemon.status()["incidents"] if item["scenario"] == "broken"]
    answer = post(daemon, f"incidents/{broken['key']}/{verb}", **body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"why": "x"}, "scenario: nothing was found; write the name of a scenario of the runbook"),
        ({"scenario": "redis"}, "why: nothing was found"),
        ({"scenario": "redis", "why": "x", "origin": "alert"}, 'origin: "alert" was found; write customer or internal'),
        ({"scenario": "redis", "why": "x", "origin": "me"}, 'origin: "me" was found; write customer or internal'),
        ({"scenario": "redis", "why": "x", "since": "14:05"}, 'since: "14:05" was found; write a time with its zone'),
        ({"scenario": "redis", "why": "x", "since": 1795453200}, "since: 1795453200 was found; write a time"),
        ({"scenario": "redis", "why": "x", "since": "2026-11-23T17:00:00"}, 'since: "2026-11-23T17:00:00" was found'),
    ],
)
def test_a_wrong_report_likewise(daemon: Daemon, body: dict[str, Any], said: str) -> None:
    answer = post(daemon, "incidents", **body)
    assert (answer.status_code, answer.json()["error"][: len(said)]) == (400, said)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "the body is no JSON: "),
        (b"[]", 400, "the body: [] was found; write an object"),
        (b'{"text": "\xff", "by": "mei"}', 400, "the body is no JSON: "),
        (b" " * 70_000, 400, "the body: over 65536 bytes were found"),
        (b"", 400, "by: nothing was found; write who does this"),
    ],
)
def test_a_body_that_is_none_is_refused(daemon: Daemon, body: bytes, status: int, said: str) -> None:
    (broken,) = [item for item in daemon.status()["incidents"] if item["scenario"] == "broken"]
    answer = daemon.post(f"/api/v1/incidents/{broken['key']}/note", content=body)
    assert (answer.status_code, answer.json()["error"][: len(said)]) == (status, said)


def test_what_is_not_there_is_not_found_and_named(daemon: Daemon) -> None:
    key = opened(daemon)
    for route, said in (
        (f"incidents/{key}x/note", f'did you mean "{key}"?'),
        (f"incidents/{key}/akc", 'did you mean "ack"?'),
    ):
        answer = post(daemon, route, text="x")
        assert (answer.status_code, said in answer.json()["error"]) == (404, True)
    for route in (f"incidents/{key}x", f"incidents/{key}x/messages", "explain/brokn"):
        answer = daemon.get(f"/api/v1/{route}")
        assert (answer.status_code, "did you mean" in answer.json()["error"]) == (404, True)
    unknown = post(daemon, "incidents", scenario="nothing", why="x")
    assert (unknown.status_code, "there are broken, slow, " in unknown.json()["error"]) == (409, True)
    future = post(daemon, "incidents", scenario=PARTS[next(_numbers)], why="x", since="2099-01-01T00:00:00Z")
    assert (future.status_code, future.json()["error"]) == (409, "it cannot have begun in the future")


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("POST", "incidents"),
        ("POST", "incidents/broken-1/ack"),
        ("POST", "incidents/broken-1/nonsense"),
        ("POST", "maintenance"),
        ("DELETE", "maintenance/x"),
    ],
)
def test_nothing_is_changed_without_the_token_nor_from_another_site(daemon: Daemon, method: str, route: str) -> None:
    before = daemon.get("/api/v1/incidents").json()
    asked: dict[str, Any] = {"method": method, "json": {"by": "x", "scenario": "security", "why": "x"}}
    assert daemon.post(f"/api/v1/{route}", token=False, **asked).status_code == 401
    for header in ({"Origin": "https://evil.example.com"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert daemon.post(f"/api/v1/{route}", headers=header, **asked).status_code == 403
    assert [item["key"] for item in daemon.get("/api/v1/incidents").json()] == [item["key"] for item in before]


# --- hostile words ---------------------------------------------------------------------------------------------------


def test_hostile_words_are_kept_as_words(daemon: Daemon) -> None:
    key = opened(daemon, why=SCRIPT)
    for verb, fields in (
        ("note", {"text": f"two\nlines {SCRIPT} \x00"}),
        ("identify", {"text": SCRIPT}),
        ("impact", {"text": SCRIPT}),
        ("update", {"text": SCRIPT}),
    ):
        found = did(daemon, key, verb, by=SCRIPT, **fields)
    said = "".join(str(event) for event in found["events"])
    assert "<script>alert(1)</script>{{ 99991 * 99991 }} [31m" in said
    assert "\\x1b" not in said
    assert "\\x00" not in said
    assert "\\u202e" not in said
    assert "two\\nlines" in said
    page = daemon.get(f"/incidents/{key}").text
    assert "<script>alert" not in page
    assert "9998200081" not in daemon.get(f"/api/v1/incidents/{key}/messages").json()["status_update"]


def test_half_a_letter_cannot_stop_the_store(daemon: Daemon) -> None:
    key = opened(daemon)
    for body in (b'{"by": "mei", "text": "\\ud800"}', b'{"by": "\\udfff", "text": "x"}'):
        assert daemon.post(f"/api/v1/incidents/{key}/note", content=body).status_code in {200, 400}
    assert last(did(daemon, key, "note", text="The store still writes"))[1] == "The store still writes"


def test_a_secret_that_somebody_pastes_is_not_kept(daemon: Daemon) -> None:
    key = opened(daemon, why=f"redis://:{CANARY}@redis refuses")
    did(daemon, key, "note", text=f"The password is {CANARY}")
    assert CANARY not in daemon.get(f"/api/v1/incidents/{key}").text
    daemon.wait_for_level("closed", "fail")
    assert CANARY.encode() not in b"".join(file.read_bytes() for file in daemon.folder.glob("state.db*"))


# --- maintenance -----------------------------------------------------------------------------------------------------


def test_maintenance_holds_and_its_end_opens_what_still_fails(daemon: Daemon) -> None:
    wait_until(lambda: any(item["scenario"] == "held" for item in daemon.status()["incidents"]), what="the incident")
    begun = post(daemon, "maintenance", of=["kept-back"], reason="A new disk", **{"for": "2h"})
    assert begun.status_code == 201
    window = begun.json()
    assert (window["of"], window["reason"], window["by"]) == (["kept-back"], "A new disk", "mei")
    assert window in daemon.get("/api/v1/maintenance").json()
    (held,) = [item for item in daemon.status()["incidents"] if item["scenario"] == "held"]
    assert held["state"] == "investigating"  # it was open before: it stays
    said = daemon.get("/api/v1/explain/held").json()
    assert [rule["standing"] for rule in said["rules"]] == ["maintained"]
    assert [item["key"] for item in said["maintenance"]] == [window["key"]]
    ended = daemon.post(f"/api/v1/maintenance/{window['key']}", method="DELETE")
    assert (ended.status_code, ended.json()["key"]) == (200, window["key"])
    assert daemon.get("/api/v1/maintenance").json() == []
    again = daemon.post(f"/api/v1/maintenance/{window['key']}", method="DELETE")
    assert (again.status_code, again.json()["error"]) == (409, f'no maintenance "{window["key"]}" is under way')


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"of": [], "for": "1h", "reason": "x"}, 400, "of: [] was found; write probes, and scenarios as"),
        ({"of": ["closed"], "for": 3600, "reason": "x"}, 400, "for: 3600 was found; write how long, such as 2h"),
        ({"of": ["closed"], "for": "3600", "reason": "x"}, 400, 'for: "3600" has no unit'),
        ({"of": ["closed"], "for": "1h"}, 400, 'reason: "" was found; write why'),
        ({"of": ["clsed"], "for": "1h", "reason": "x"}, 409, 'there is no probe and no scenario "clsed"'),
        ({"of": ["closed"], "fro": "1h"}, 400, 'fro: there is no such field; did you mean "for"?'),
    ],
)
def test_wrong_maintenance_is_refused(daemon: Daemon, fields: dict[str, Any], status: int, said: str) -> None:
    answer = post(daemon, "maintenance", **fields)
    assert (answer.status_code, answer.json()["error"][: len(said)]) == (status, said)


# --- explanations ----------------------------------------------------------------------------------------------------


def test_explain_says_which_rule_holds_since_when_and_what_comes_next(daemon: Daemon) -> None:
    said = daemon.get("/api/v1/explain/broken").json()
    assert said["because"][0] == "It is P2 because of closed."
    (rule,) = said["rules"]
    assert (rule["standing"], rule["text"], rule["severity"]) == ("holds", "closed", "P2")
    assert rule["since"] is not None
    assert rule["terms"][0]["seen"].startswith("closed is fail (")
    coming = [moment["what"] for moment in said["coming"]]
    assert "L2 Development lead is paged, unless it is resolved before" in coming
    assert "somebody must have acknowledged it" in coming
    assert [moment["at"] for moment in said["coming"]] == sorted(moment["at"] for moment in said["coming"])
    by_key = daemon.get(f"/api/v1/explain/{said['incident']['key']}").json()
    assert by_key["rules"] == said["rules"]


def test_explain_says_that_a_rule_has_not_held_for_long_enough(daemon: Daemon) -> None:
    daemon.wait_for_level("slowly", "fail")
    said = daemon.get("/api/v1/explain/slow").json()
    assert (said["incident"], said["derived"]) == (None, None)
    assert said["because"] == ["No incident is open yet: what is wrong has not lasted for long enough."]
    (rule,) = said["rules"]
    assert (rule["standing"], rule["text"]) == ("ripens", "slowly for 5d")
    assert said["coming"] == [
        {"at": rule["due_at"], "what": "P2, if this still holds: slowly for 5d", "overdue": False}
    ]


def test_explain_says_that_all_is_well_only_where_it_is_known(daemon: Daemon) -> None:
    said = daemon.get(f"/api/v1/explain/{PARTS[-1]}").json()
    assert said["because"] == ["No incident is open: every rule was judged, and none holds."]
    assert said["rules"][0]["terms"] == [{"text": "never", "holds": False, "seen": "never is switched off"}]


# --- lists, and the document -----------------------------------------------------------------------------------------


def test_a_month_can_be_asked_for(daemon: Daemon) -> None:
    key = opened(daemon)
    for since in ("30d", "2026-01-01T00:00:00Z"):
        found = daemon.get(f"/api/v1/incidents?since={since}").json()
        assert key in [item["key"] for item in found]
    wrong = daemon.get("/api/v1/incidents?since=yesterday")
    assert wrong.status_code == 400
    assert wrong.json()["error"] == (
        'since: "yesterday" was found; write a time with its zone, such as 2026-11-23T17:02:10Z, or how long ago, '
        "such as 30m"
    )


def test_every_verb_is_in_the_document_and_its_answers_are_as_it_says(daemon: Daemon) -> None:
    document = daemon.get("/api/v1/openapi.json").json()
    key, routes = opened(daemon), document["paths"]
    bodies: dict[str, dict[str, Any]] = {
        "ack": {},
        "note": {"text": "x", "fix": True},
        "identify": {"text": "x"},
        "severity": {"severity": "P2", "why": "x"},
        "impact": {"text": "x", "customers": False},
        "declare": {"what": "customer_impact", "why": "x"},
        "update": {"text": "x"},
        "resolve": {"text": "x"},
        "review": {"text": "x"},
    }
    for verb, body in bodies.items():
        operation = routes[f"/api/v1/incidents/{{key}}/{verb}"]["post"]
        asked = {**body, "by": "mei"}
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.validate(asked, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**asked, "nonsense": 1}, schema)
        answer = did(daemon, key, verb, **body)
        said = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(answer, {**said, "components": document["components"]})
    for route in (
        f"incidents/{key}",
        f"incidents/{key}/messages",
        "explain/broken",
        f"explain/{key}",
        "maintenance",
        "status",
    ):
        path = route.replace(key, "{key}") if not route.startswith("explain") else "explain/{subject}"
        schema = routes[f"/api/v1/{path}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(daemon.get(f"/api/v1/{route}").json(), {**schema, "components": document["components"]})
