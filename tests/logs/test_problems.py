"""What goes wrong most: told alike, masked, and never at the cost of reading."""

from __future__ import annotations

import json
import math

from monitor.logs.problems import LONGEST, NEW_MOST, Problems, said
from monitor.logs.scan import Scanner, Spec
from monitor.logs.window import PROBLEMS_MOST, Bucket, Ring


def scan(lines: list[bytes], **spec: str) -> Bucket:
    scanner = Scanner(Spec(**spec))  # type: ignore[arg-type]
    scanner.begin(now=math.inf, oldest=math.inf, last_event=None)
    scanner.feed(lines, b"".join(lines))
    whole = Bucket()
    for bucket in scanner.end().buckets.values():
        whole.add(bucket)
    return whole


def line(message: str, level: int = 50, **more: object) -> bytes:
    return json.dumps({"level": level, "time": 1795453200000, **more, "msg": message}).encode() + b"\n"


def test_errors_that_differ_in_numbers_only_are_one_problem() -> None:
    found = scan(
        [line(f"Order {n} failed after {n / 10} s") for n in range(30)] + [line("Redis gone")] * 4 + [line("x", 30)]
    )
    assert found.problems == {"Order # failed after # s": 30, "Redis gone": 4}
    assert found.errors == 34


def test_an_answer_at_error_counts_with_its_words() -> None:
    assert scan([line("request errored", res={"statusCode": 503}, responseTime=12)]).problems == {"request errored": 1}


def test_lines_of_plain_text_have_problems_too() -> None:
    text = b"2026-11-23 17:00:00 ERROR connect ECONNREFUSED 10.0.0.7:6379\n"
    assert scan([text, text, b"2026-11-23 17:00:01 INFO all is well\n"], format="text").problems == {
        "connect ECONNREFUSED #.x.x:#": 2
    }


def test_what_identifies_or_opens_is_not_told() -> None:
    told = said(b'"login of ann@example.com failed: password=hunter2 Bearer abc.def \\u001b[31m from 203.0.113.9"')
    assert "ann" not in told
    assert "hunter2" not in told
    assert "abc.def" not in told
    assert "113" not in told
    assert "\x1b" not in told
    assert len(said(b"x y " * 10_000)) == LONGEST


def test_what_is_broken_is_told_as_far_as_it_goes() -> None:
    assert said(b'"half a str') == '"half a str'
    assert said(b"\xff\xfe") == "\ufffd\ufffd"
    assert said(b"") == ""


def test_errors_that_are_never_the_same_twice_cost_no_more_than_some() -> None:
    problems, found = Problems(), dict[str, int]()
    for number in range(10_000):
        problems.count(found, f"{chr(97 + number % 26)}{chr(97 + number // 26 % 26)} is odd".encode())
    assert len(problems._memo) == NEW_MOST
    assert len(found) == PROBLEMS_MOST


def test_a_window_shows_its_own_problems() -> None:
    ring = Ring(100.0)
    ring.add({1000: Bucket(problems={"old": 5}), 1050: Bucket(problems={"new": 2})}, 1060.0)
    ring.add({1050: Bucket(problems={"new": 1, "other": 1})}, 1060.0)
    assert ring.view(1040.0, math.inf).problems == {"new": 3.0, "other": 1.0}
