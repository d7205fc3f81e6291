"""How alerts are written and answers are read, by tables."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from monitor.alerting.ledger import Alert
from monitor.alerting.wire import Verdict, alerts_body, name_of, retry_after_seconds, skew_seconds, verdict_of

NOON = 1795348800.0  # 2026-11-22T12:00:00Z
DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


def written(offset_seconds: float = 0.0, **changes: Any) -> dict[str, Any]:
    alert = Alert(**{"labels": {"alertname": "Redis"}, "annotations": {}, "starts_at": NOON, **changes})
    (body,) = json.loads(alerts_body([alert], NOON + 60, offset_seconds))
    return dict(body)


def moment(text: str) -> float:
    at = datetime.fromisoformat(text)
    assert at.tzinfo is not None, "Alertmanager takes a time without a zone for UTC"
    return at.timestamp()


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, NOON + 60 + 12 * 3600),
        ({"lease_seconds": 300.0}, NOON + 360),
        ({"ends_at": NOON + 5}, NOON + 5),
        ({"ends_at": NOON - 5}, NOON),  # an end before the start would be refused
    ],
)
def test_the_end_is_a_lease_while_it_fires(changes: dict[str, float], ends: float) -> None:
    body = written(**changes)
    assert (moment(body["startsAt"]), moment(body["endsAt"])) == (NOON, ends)
    shifted = written(100, **changes)
    assert (moment(shifted["startsAt"]), moment(shifted["endsAt"])) == (NOON + 100, ends + 100)


def test_long_annotations_are_cut_and_broken_characters_replaced() -> None:
    body = written(annotations={"long": "日" * 2000, "exact": "x" * 4096, "broken": "a\udc80b", "empty": ""})
    assert len(body["annotations"]["long"].encode()) <= 4096
    assert body["annotations"]["long"].endswith("日…")
    assert body["annotations"]["exact"] == "x" * 4096
    assert body["annotations"]["broken"] == "a?b"
    assert "empty" not in body["annotations"]


@pytest.mark.parametrize(
    ("link", "sent"),
    [
        ("https://monitor.example.com/incidents/redis-1?a=b#c", True),
        ("http://[::1]:9877/", True),
        ("monitor.example.com", False),
        ("http://monitor example.com/", False),
        ("ftp://monitor.example.com", False),
        ("", False),
    ],
)
def test_a_link_that_is_none_is_left_out_and_the_page_goes(link: str, sent: bool) -> None:
    assert written(generator_url=link)["generatorURL"] == (link if sent else "")


@pytest.mark.parametrize(
    ("status", "content_type", "verdict"),
    [
        (200, "", Verdict.TAKEN),
        (202, "application/json", Verdict.TAKEN),
        (200, "text/html; charset=utf-8", Verdict.MISCONFIGURED),
        *((status, "", Verdict.INVALID) for status in (400, 413, 422)),
        *((status, "", Verdict.MISCONFIGURED) for status in (301, 302, 401, 403, 404, 405, 415)),
        *((status, "", Verdict.LATER) for status in (408, 429, 500, 502, 503, 504)),
    ],
)
def test_what_a_status_means(status: int, content_type: str, verdict: Verdict) -> None:
    assert verdict_of(status, content_type) is verdict


@pytest.mark.parametrize(
    ("sent", "answered", "skew"),
    [
        (NOON, NOON, 0),
        (NOON + 0.9, NOON + 0.95, 0),  # the header names the whole second
        (NOON - 9, NOON + 0.5, 0),  # slow is not skewed
        (NOON - 100, NOON - 99, 99),
        (NOON + 100, NOON + 101, -99),
    ],
)
def test_only_a_clock_that_cannot_be_right_is_skewed(sent: float, answered: float, skew: float) -> None:
    assert skew_seconds(DATE, sent, answered) == pytest.approx(skew)


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 2026 12:00:00 GMT"])
def test_a_date_that_cannot_be_read_is_no_date(date: str) -> None:
    assert skew_seconds(date, NOON, NOON) is None
    assert retry_after_seconds(date, NOON) is None


@pytest.mark.parametrize(("header", "seconds"), [("30", 30), ("0", 0), (DATE, 10), ("-5", None), ("1.5", None)])
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOON - 10) == seconds


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:9093", "http://127.0.0.1:9093"),
        ("http://127.0.0.1:9093/", "http://127.0.0.1:9093"),
        ("https://user:pass@am.example.com/alerts/?a=b#c", "https://am.example.com/alerts"),
        ("http://[::1]:9093", "http://[::1]:9093"),
    ],
)
def test_the_name_is_the_address_without_credentials(url: str, name: str) -> None:
    assert name_of(url) == name
