"""Requests: any body is an action or refused in one line, and what people write is safe to keep."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.core import request
from monitor.core.action import VERBS, Acknowledge, Note, Open, SetSeverity
from monitor.core.incident import Origin
from monitor.core.request import BadRequest
from monitor.core.runbook import Severity

NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC).timestamp()
TOKYO = timezone(timedelta(hours=9))
NAMES = ("text", "fix", "why", "severity", "what", "customers", "opening", "force", "false_alarm", "by", "silence", "x")
TEXT = st.text(st.sampled_from("aé語 \n\t\r\0\x1b\u202e\u2028\ud800\udfff\U0001f525"), max_size=12)
JSON = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.lists(TEXT, max_size=2),
    st.dictionaries(TEXT, st.integers(), max_size=2),
)  # fmt: skip
BODIES = st.dictionaries(st.sampled_from(NAMES), JSON | st.sampled_from(["P1", "text", True]), max_size=4)


def outcome(ask: Callable[[], Any]) -> Any:
    """What came of it: a value, or the refusal."""
    try:
        return ask()
    except BadRequest as error:
        return error


@settings(suppress_health_check=[HealthCheck.too_slow])  # a machine with much to do is no fault of ours
@given(st.sampled_from([*VERBS, "nonsense"]), BODIES)
def test_any_fields_are_an_action_or_refused_in_one_line(verb: str, fields: dict[str, Any]) -> None:
    made = outcome(lambda: request.action(verb, fields))
    if isinstance(made, BadRequest):
        assert str(made).isprintable()
        return
    assert isinstance(made, VERBS[verb])
    assert getattr(made, "silence", "") == ""
    for value in (getattr(made, name, "") for name in ("text", "why", "what", "force", "false_alarm")):
        assert isinstance(value, str)
        value.encode()


@given(st.binary(max_size=80))
def test_any_body_is_fields_or_refused_in_one_line(body: bytes) -> None:
    found = outcome(lambda: request.parse(body))
    assert isinstance(found, dict) or "\n" not in str(found)


@given(TEXT)
def test_what_is_said_can_be_kept_and_printed_and_holds_no_secret(text: str) -> None:
    kept = request.said("text", f"{text} hunter2-canary", ["hunter2-canary"])
    assert "hunter2-canary" not in kept
    assert all(letter.isprintable() or letter in "\n\t" for letter in kept)
    kept.encode()
    assert request.said("text", kept) == kept


@pytest.mark.parametrize(
    ("verb", "fields", "made"),
    [
        ("ack", {}, Acknowledge()),
        ("ack", {"opening": 2, "by": "mei"}, Acknowledge(opening=2)),
        ("note", {"text": " two\nlines ", "fix": True}, Note("two\nlines", fix=True)),
        ("severity", {"severity": "P2", "why": "x"}, SetSeverity(Severity.P2, "x")),
    ],
)
def test_fields_become_an_action(verb: str, fields: dict[str, Any], made: object) -> None:
    assert request.action(verb, fields) == made


def test_a_report_may_say_who_noticed_and_since_when() -> None:
    fields = {"scenario": "redis", "why": "Ten calls", "origin": "customer", "since": "30m", "severity": "P1"}
    assert request.opening(fields, NOW) == Open("redis", "Ten calls", Severity.P1, Origin.CUSTOMER, NOW - 1800)
    assert request.opening({"scenario": "redis", "why": "x", "since": None, "severity": None}, NOW) == Open(
        "redis", "x"
    )


@pytest.mark.parametrize(
    ("text", "zone", "ago"),
    [
        ("30m", None, 1800),
        ("2026-11-26T14:00:00Z", None, 1800),
        ("2026-11-26T23:00:00+09:00", None, 1800),
        ("23:00", TOKYO, 1800),
        ("9:30:30", TOKYO, 14 * 3600 - 30),  # this morning there
        ("23:45", TOKYO, 24 * 3600 - 900),  # not in the future: yesterday
        ("2026-11-26 23:00", TOKYO, 1800),
        ("2026-11-26", TOKYO, 23.5 * 3600),
    ],
)
def test_when_it_began_is_written_in_many_ways(text: str, zone: timezone | None, ago: float) -> None:
    assert request.since(text, NOW, zone) == NOW - ago


@pytest.mark.parametrize("text", ["", "14:05", "25:00", "yesterday", "2026-11-26T14:00:00", "0s", 5, None, "9" * 400])
def test_when_it_began_is_refused_where_it_is_not_clear(text: object) -> None:
    with pytest.raises(BadRequest, match=r"^since: .* was found; write a time with its zone"):
        request.since(text, NOW)


@pytest.mark.parametrize(
    ("by", "user", "name"),
    [
        ("mei", "", "mei"),
        ("", "ann", "ann"),
        ("ann", "ann", "ann"),
        ("bob", "ann", "bob (as ann)"),
        (" a\tb ", "", "a b"),
    ],
)
def test_who_does_it(by: str, user: str, name: str) -> None:
    assert request.who({"by": by}, user) == name


@pytest.mark.parametrize("by", ["", " \x00 ", "monitor", "Monitor", 5, None, "m" * 101])
def test_nobody_is_nobody_and_the_monitor_is_not_impersonated(by: object) -> None:
    with pytest.raises(BadRequest, match=r"^by: "):
        request.who({"by": by})


def test_a_secret_is_nobodys_name() -> None:
    assert request.who({"by": "mei s3cret"}, "ann", ["s3cret"]) == "mei [secret] (as ann)"
