"""What is understood of a line: pino in all its shapes, winston, plain text, and what is nothing of the kind."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import statistics
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.logs.read import Ask, find, read
from monitor.logs.scan import Delta, Scanner, Spec, event_seconds, is_error, milliseconds
from monitor.logs.summary import scan_file
from monitor.logs.window import STEP_BOUNDS_MS, STEPS, Bucket, Ring, Series, step_value
from monitor.probes.log import LogOptions
from tests.terminals import terminal

SAMPLES = (Path(__file__).with_name("pino_samples.ndjson")).read_bytes()
NOW = 1795460000.0

EXTRA = b"".join((
    b"\n",
    b"Server listening on 4000\n",
    b'{"level":30,"time":1795453597824,"msg":"cut he',
    b'{"level":50,"time":1795453597825,"msg":"glued to it"}\n',
    b'{"level":"error","time":"2026-11-23T17:06:37.841Z","res":{"statusCode":"503"},"responseTime":"12ms","msg":"odd"}\n',
    b'{"level":30,"time":1795453597824,"res":"none","responseTime":3}\n',
    b'{"level":30,"time":1795453597824,"res":{"statusCode":200},"responseTime":NaN}\n',
    b'{"level":50,"time":17954535978240000000000000000,"msg":"x"}\r\n',
    b'\xef\xbb\xbf{"level":50,"time":1795453597824}\n',
    b'\0\0{"level":50,"time":1795453597824}\n',
    b'{"level":30,"time":1795453597824,"msg":"\xff\xfe"}\n',
    b'{"level":30,"time":1795453597824,"msg":"\xed\xa0\x80 surrogate"}\n',
    b'{"level":[1],"time":{},"context":["a"],"api":4,"msg":{"a":1},"duration":true}\n',
    b"[1,2]\n", b'"text"\n', b"12\n", b"null\n", b"{}\n",
    b'{"level":true,"duration":-5,"api":"WHMCS"}\n',
    b'{"level":50,"a":' + b"[" * 3000 + b"\n",
    b'{"level":30,"res":{"statusCode":200},"responseTime":' + b"9" * 400 + b"}\n",
    b'{"level":30,"api":"WHMCS","duration":1e308}\n',
    b'{"level":NaN,"time":1e999,"msg":"x"}\n',
    b'{"level":"' + b"5" * 5000 + b'","time":"' + b"1" * 5000 + b'"}\n',
    b'{"level":30,"res":{"statusCode":500},"context":{"duration":5}}\n',
    b'{"level":30,"res":{},"responseTime":5}\n',
    b'{"level":30,"api":"WHMCS","duration":5,"msg":"after salesforce"}\n',
    b"2026-11-23T17:06:37Z INFO WHMCS duration=" + b"9" * 5000 + b"ms status=" + b"5" * 5000 + b"\n",
    b"    at Object.<anonymous> (/app/main.js:1:1)\n",
))  # fmt: skip


def scan(data: bytes, spec: Spec | None = None, **more: Any) -> Delta:
    scanner = Scanner(spec or Spec())
    scanner.begin(**({"now": NOW, "oldest": 0.0, "last_event": None} | more))
    scanner.feed(BytesIO(data).readlines(), data)
    return scanner.end()


def one(record: dict[str, Any], spec: Spec | None = None) -> Delta:
    return scan(json.dumps(record).encode() + b"\n", spec)


def latency(delta: Delta, name: str = "") -> float | None:
    return delta.latencies[name].sum_ms if name in delta.latencies else None


def test_the_fixture_of_real_lines_is_understood_whole() -> None:
    delta = scan(SAMPLES, Spec(patterns={"events": "Platform Event"}))
    assert (delta.lines, delta.errors, delta.requests, delta.server_errors, delta.unparsed) == (99, 24, 30, 9, 0)
    assert delta.matches == {"events": 3}
    assert sum(delta.latencies["whmcs"].below) == 4
    assert sum(delta.latencies["salesforce"].below) == 6


@pytest.mark.parametrize(
    ("record", "errors", "requests", "server_errors"),
    [
        ({"level": 30, "res": {"statusCode": 500}, "responseTime": 1}, 0, 1, 1),  # 5xx at level info
        ({"level": "error", "res": {"statusCode": 502}, "duration": 0}, 1, 1, 1),  # responseTime renamed
        ({"level": 30, "res": {"statusCode": None}, "responseTime": 151}, 0, 1, 0),  # aborted
        ({"level": 30, "res": {"statusCode": 404}, "responseTime": 1}, 0, 1, 0),
        ({"level": 30, "res": {"statusCode": "503"}, "responseTime": "12ms"}, 0, 1, 1),
        ({"level": 50, "context": "ExceptionsHandler", "err": {"statusCode": 500}}, 1, 0, 0),  # twin of the request line
        ({"level": 50, "res": {"statusCode": 500}}, 1, 0, 0),  # a line about a response, not of it
        ({"level": 30, "nested": {"res": {"statusCode": 500}, "responseTime": 1, "level": 60}}, 0, 0, 0),
        ({"level": 30, "msg": '{"level":50,"res":{"statusCode":500},"responseTime":1}'}, 0, 0, 0),
        ({"level": 60}, 1, 0, 0),
        ({"level": "FATAL"}, 1, 0, 0),
        ({"level": 40}, 0, 0, 0),
        ({"level": "50"}, 1, 0, 0),
        ({"level": 35, "msg": None}, 0, 0, 0),
    ],
)  # fmt: skip
def test_errors_requests_and_server_errors(
    record: dict[str, Any], errors: int, requests: int, server_errors: int
) -> None:
    delta = one(record)
    assert (delta.lines, delta.errors, delta.requests, delta.server_errors) == (1, errors, requests, server_errors)
    assert delta.unparsed == 0


@pytest.mark.parametrize(
    ("record", "upstream", "took"),
    [
        (
            {"context": {"duration": 2451, "operation": "query"}, "msg": "Salesforce query completed"},
            "salesforce",
            2451,
        ),
        ({"context": "Salesforce query completed", "duration": 2451}, "salesforce", 2451),
        ({"duration": 2451.37, "operation": "Salesforce.query", "msg": "external call"}, "salesforce", 2451.37),
        ({"duration": "2451ms", "msg": "WHMCS AddOrder"}, "whmcs", 2451),
        ({"duration": "2.5s", "api": "Freebit"}, "freebit", 2500),
        ({"duration": 7, "api": "billing", "msg": "WHMCS request"}, "whmcs", 7),
        ({"duration": 7, "msg": "something else"}, "whmcs", None),
        ({"duration": "soon", "msg": "WHMCS"}, "whmcs", 0),
    ],
)
def test_calls_to_an_upstream(record: dict[str, Any], upstream: str, took: float | None) -> None:
    assert latency(one({"level": 30, **record}), upstream) == (pytest.approx(took) if took is not None else None)


def test_fields_may_lie_elsewhere() -> None:
    fields = {"status": "meta.res.statusCode", "response_time": "meta.took", "level": "severity", "time": "@timestamp"}
    record = {
        "severity": "error",
        "@timestamp": "2026-11-23T17:06:37Z",
        "meta": {"res": {"statusCode": 500}, "took": 40},
    }
    delta = one(record, Spec(fields=fields))
    assert (delta.errors, delta.requests, delta.server_errors, latency(delta)) == (1, 1, 1, 40)
    assert list(delta.buckets) == [1795453590]


def test_winston() -> None:
    record = {
        "level": "error",
        "message": "HTTP GET /",
        "timestamp": "2026-11-23T17:06:37.841Z",
        "res": {"statusCode": 500},
    }
    delta = one({**record, "responseTime": 12}, Spec(format="winston"))
    assert (delta.errors, delta.requests, delta.server_errors) == (1, 1, 1)
    assert list(delta.buckets) == [1795453590]


def test_text_by_a_pattern_with_its_continuation_lines() -> None:
    spec = Spec(
        format="text",
        text=r"(?P<time>\S+) \[(?P<level>\w+)\] (?P<message>\w+ .*?)(?: status=(?P<status>\d+))?(?: took=(?P<duration>\S+))?$",
    )
    data = (
        b"2026-11-23T17:06:37.841Z [ERROR] GET /api status=503 took=12ms\n"
        b"    at Object.<anonymous>\n"
        b"2026-11-23T17:06:41.000Z [INFO] WHMCS GetInvoices took=0.5s\n"
        b"something else entirely\n"
    )
    delta = scan(data, spec)
    assert (delta.lines, delta.errors, delta.requests, delta.server_errors, delta.unparsed) == (4, 1, 1, 1, 1)
    assert (latency(delta), latency(delta, "whmcs")) == (12, 500)
    assert {start: bucket.lines for start, bucket in delta.buckets.items()} == {1795453590: 2, 1795453600: 2}


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23T17:06:37.841Z ERROR it broke",
        "2026-11-23 17:06:37,841 [ERROR] it broke",
        "[2026-11-23T17:06:37Z] error: it broke",
        "2026-11-23T17:06:37.841Z [bff] ERROR it broke",
        "[Nest] 123  - 11/23/2026, 5:06:37 PM   ERROR [RoutesResolver] it broke",
    ],
)
def test_plain_text_is_understood_without_a_pattern(line: str) -> None:
    delta = scan(line.encode() + b"\n")
    assert (delta.lines, delta.errors, delta.unparsed) == (1, 1, 0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1795453597824, 1795453597.824), (1795453597, 1795453597), (1795453597824000000, 1795453597.824),
        (1795453597824000, 1795453597.824), (1795453597.5, 1795453597.5), ("1795453597824", 1795453597.824),
        ("2026-11-23T17:06:37.824Z", 1795453597.824), ("2026-11-24T02:06:37.824+09:00", 1795453597.824),
        ("2026-11-23 17:06:37,824", 1795453597.824), (b"2026-11-23T17:06:37Z", 1795453597), ("x", None), ("", None),
        (None, None), (True, None), (math.nan, None), (12, None), (1e40, None), ([], None),
    ],
)  # fmt: skip
def test_event_times_by_magnitude(value: object, seconds: float | None) -> None:
    assert event_seconds(value) == (pytest.approx(seconds) if seconds else None)


def test_levels_and_durations() -> None:
    assert [is_error(level) for level in (50, 60, 49, "error", "ERROR", b"FATAL", "info", "50", True, "")] == [
        True, True, False, True, True, True, False, True, False, False,
    ]  # fmt: skip
    assert [milliseconds(value) for value in (5, 2.5, "7ms", "2s", "3", -1, math.inf, True, None, "x")] == [
        5, 2.5, 7, 2000, 3, None, None, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("format_", ["auto", "pino", "winston"])
def test_both_ways_count_the_same(format_: Any) -> None:
    spec = Spec(format=format_)
    slow = Scanner(spec)
    slow._decode = slow._decode_untyped
    for line in BytesIO(SAMPLES + EXTRA).readlines():
        for scanner in (fast := Scanner(spec), slow):
            scanner.begin(now=NOW, oldest=0.0, last_event=None)
            scanner.feed([line], line)
        assert comparable(fast.end()) == comparable(slow.end()), line


def test_a_number_that_is_no_latency_spoils_no_mean() -> None:
    good = b'{"level":30,"time":1795453597824,"res":{"statusCode":200},"responseTime":7}\n'
    for bad in (b"9" * 400, b"1e308", b"1e13", b"-1", b'"' + b"9" * 400 + b'ms"'):
        line = good.replace(b":7}", b":%b}" % bad)
        delta = scan(2 * line + good + line)
        assert (delta.lines, delta.requests, sum(delta.latencies[""].below), latency(delta)) == (4, 4, 1, 7.0), bad


@pytest.mark.parametrize(
    ("time", "start"),
    [
        ("2026-11-23T17:06:37.841Z", 1795453590),
        ("2026-11-23T17:06:37.841+09:00", 1795421190),
        ("2026-11-23T17:06+09:00", 1795421160),
        ("20261123T170637.123+0900", 1795421190),
        ("2026-11-23 17:06:37,841", 1795453590),
    ],
)
def test_time_falls_into_its_bucket_however_it_is_written(time: str, start: int) -> None:
    assert list(one({"level": 30, "time": time}).buckets) == [start]


def test_time_of_nests_console_is_read() -> None:
    line = b"[Nest] 829  - 11/23/2026, 5:06:37 PM   ERROR [Worker] boom\n"
    assert {start: bucket.errors for start, bucket in scan(line).buckets.items()} == {1795453590: 1}
    assert not any(bucket.errors for bucket in scan(line, oldest=NOW - 60).buckets.values())


def test_match_takes_the_time_of_the_line_before_it_that_has_one() -> None:
    timed = b'{"level":30,"time":%d}\n'
    data = b"boom\n" + timed % 1795453597824 + b"boom\nboom\n" + timed % 1795453617824 + b"boom\n"
    for pattern in ("boom", "bo+m"):
        delta = scan(data, Spec(patterns={"boom": pattern}), last_event=1795453570.0)
        found = {start: bucket.matches for start, bucket in delta.buckets.items() if bucket.matches}
        assert found == {1795453570: {"boom": 1}, 1795453590: {"boom": 2}, 1795453610: {"boom": 1}}


def test_what_is_remembered_of_a_log_is_small() -> None:
    scanner = Scanner(Spec())
    scanner.begin(now=NOW, oldest=0.0, last_event=None)
    for number in range(20):
        text = f"{number} " + "x" * 100_000
        words = {"msg": text, "duration": 5}, {"level": text}, {"time": text}, {"duration": text, "api": "whmcs"}
        for record in ({"level": 50, "msg": text}, *words):
            line = json.dumps(record).encode() + b"\n"
            scanner.feed([line], line)
    scanner.end()
    memos = scanner._upstream, scanner._steps, scanner._iso_starts, scanner._ordinary, scanner._problems._memo
    kept = [key for memo in memos for key in memo if isinstance(key, str | bytes)]
    assert sum(map(len, kept)) < 100_000


def test_line_without_a_time_takes_that_of_the_line_before() -> None:
    data = b'{"level":30,"time":1795453597824}\n{"level":30}\n'
    assert {start: bucket.lines for start, bucket in scan(data).buckets.items()} == {1795453590: 2}
    assert list(scan(b'{"level":30}\n').buckets) == [int(NOW)]


def test_wrong_clock_ahead_counts_at_arrival_and_old_lines_in_no_window() -> None:
    ahead, old = b'{"level":30,"time":1895453597824}\n', b'{"level":30,"time":1795450000000}\n'
    delta = scan(ahead + old, oldest=NOW - 600)
    assert delta.lines == 2
    assert {start: bucket.lines for start, bucket in delta.buckets.items()} == {int(NOW): 1}


def test_no_sample_leaves_unmasked() -> None:
    delta = scan(b"password=hunter2 for alice@example.com from 203.0.113.77\n")
    assert delta.samples
    assert not any(secret in delta.samples[0] for secret in ("hunter2", "alice", "113.77"))


def fields(line: Any, scanner: Scanner) -> tuple[Any, ...]:
    took = line.duration
    if took is None and hasattr(line.context, "duration"):
        took = line.context.duration
    status = None if line.res is None else (line.res.status,)
    return line.level, line.time or line.timestamp, status, line.response_time, took, scanner._upstream_of(line)


@pytest.mark.parametrize("format_", ["auto", "pino", "winston"])
def test_fast_way_and_slow_way_read_the_same(format_: Any) -> None:
    scanner = Scanner(Spec(format=format_))
    checked = 0
    for line in BytesIO(SAMPLES + EXTRA).readlines():
        try:
            fast = scanner._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        assert fields(fast, scanner) == fields(scanner._by_hand(line), scanner), line
        checked += 1
    assert checked > 100


TEXTS = b"""2026-11-23T17:06:37.001Z [INFO] [Http] GET /a status=200 took=12
2026-11-23T17:06:37.500Z [ERROR] [Http] GET /b status=503 took=7.25
    at somewhere (file.js:1)
Caused by: something
\t
2026-11-23T17:06:49Z [WARN] WHMCS call took=2451ms
2026-11-23T17:06:49Z [WARN] of=Freebit call took=3
2026-11-23T18:06:50+01:00 [INFO] Salesforce query took=1.5s
2026-11-23T17:06:38Z [INFO] late status=504 took=1
no time at all
\0\0\0 2026-11-23T17:06:51Z [FATAL] GET / status=abc took=9
2026-11-23T17:06:52Z [INFO] status=499
2026-11-23T17:06:53Z [INFO] nobody's call took=x
"""


def test_text_is_counted_the_same_with_and_without_objects() -> None:
    pattern = (
        r"[\0 ]*(?P<time>\S+) \[(?P<level>\w+)\](?P<message>(?:.*of=(?P<upstream>\w+))?.*?)"
        r"(?:status=(?P<status>\w+))?(?: ?took=(?P<duration>\S+))?$"
    )
    lines = BytesIO(TEXTS * 3).readlines()
    found = []
    for way in ("_count_texts", "_count"):
        scanner = Scanner(Spec(format="text", text=pattern))
        scanner.begin(now=NOW, oldest=0.0, last_event=None)
        getattr(scanner, way)(lines if way == "_count_texts" else scanner._from_texts(lines))
        found.append(scanner.end())
    fused, plain = found
    assert fused == plain
    assert (fused.lines, fused.errors, fused.requests, fused.server_errors) == (39, 6, 12, 6)


# ---- any split of any bytes


def in_pieces(path: Path, data: bytes, cuts: Sequence[int], spec: Spec) -> Delta:
    """What is counted when the file grows to each of `cuts` in turn and is read in between."""
    scanner, total = Scanner(spec), Delta()
    offset, anchor, skip = 0, b"", False
    with path.open("wb", buffering=0) as out, path.open("rb") as log:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            out.write(data[start:end])
            ask = Ask(spec=b"", offset=offset, limit=10**9, anchor=anchor, skip=skip, now=NOW, last_event=total.last_event,
                      final=end == len(data) and start == ([0, *cuts])[-1])  # fmt: skip
            answer = read(log.fileno(), scanner, ask)
            assert not answer.moved
            offset, anchor, skip = answer.offset, answer.anchor, answer.skip
            total.add(answer.delta)
            total.add_buckets(answer.delta.buckets)
    return total


def comparable(delta: Delta) -> Any:
    plain = msgspec.to_builtins(delta)
    names = [name for name in Delta.__struct_fields__ if name != "samples"]
    shown = {name: value for name, value in zip(Delta.__struct_fields__, plain, strict=True) if name in names}
    shown["latencies"] = {key: value for key, value in shown["latencies"].items() if any(value[0])}
    return json.loads(json.dumps(shown), parse_float=lambda text: round(float(text), 3))


LINES = BytesIO(SAMPLES + EXTRA).readlines()
chunks = st.lists(
    st.one_of(
        st.sampled_from(LINES),
        st.binary(max_size=60),
        st.just(b"\n"),
        st.just(b"\0" * 70_000),
        st.just(b"x" * 2_000_000),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(parts=chunks, data=st.data())
def test_any_split_of_any_bytes_counts_the_same(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    path = tmp_path_factory.getbasetemp() / "split.log"
    spec = Spec(patterns={"events": "Platform Event", "rx": r"fail\w+"})
    assert comparable(in_pieces(path, whole, cuts, spec)) == comparable(in_pieces(path, whole, [], spec))


# ---- windows


def test_quantiles_are_within_one_percent_of_the_true_value() -> None:
    rng = random.Random(5)
    values = [rng.lognormvariate(4.4, 0.7) * (20 if rng.random() < 0.01 else 1) for _ in range(50_000)]
    lines = b"".join(
        b'{"level":30,"time":%d,"res":{"statusCode":200},"responseTime":%r}\n' % (1795453597824 + n, value)
        for n, value in enumerate(values)
    )
    ring = Ring(600.0)
    delta = scan(lines)
    ring.add(delta.buckets, 1795453650.0)
    ring.prune(1795453900.0)
    found = ring.view(0, math.inf).latencies[""]
    ordered = sorted(values)
    for rank, got in zip((0.5, 0.95, 0.99, 0.999), found.quantiles((0.5, 0.95, 0.99, 0.999)), strict=True):
        true = ordered[math.ceil(rank * len(ordered)) - 1] / 1000
        assert got == pytest.approx(true, rel=0.0101)
    assert found.mean_seconds == pytest.approx(statistics.fmean(values) / 1000)


@given(st.floats(0.001, 1e9))
def test_step_stands_for_all_in_it(value: float) -> None:
    assert step_value(STEPS[bisect_left(STEP_BOUNDS_MS, value)]) == pytest.approx(value, rel=0.0101)


@given(st.lists(st.integers(-400, 1400), max_size=400))
def test_packing_keeps_the_sketch(steps: list[int]) -> None:
    series = Series()
    for start in range(0, len(steps), 150):
        part: dict[int, int] = {}
        for number in steps[start : start + 150]:
            part[number] = part.get(number, 0) + 1
        series.add(Series(sum(part.values()), 0.0, part))
        series.pack()
    counted: dict[int, int] = {}
    for number, count in series.all_steps():
        counted[number] = counted.get(number, 0) + count
    assert counted == {number: steps.count(number) for number in set(steps)}


def test_oldest_bucket_counts_by_its_share_and_late_lines_are_taken_in() -> None:
    ring = Ring(100.0)
    ring.add({1000: Bucket(lines=10), 1010: Bucket(lines=10)}, 1020.0)
    assert ring.view(1005.0, math.inf).lines == pytest.approx(15)
    assert ring.view(900.0, 1015.0).lines == pytest.approx(15)
    ring.add({1000: Bucket(lines=4), 800: Bucket(lines=99)}, 1020.0)
    assert ring.view(0.0, math.inf).lines == 24
    ring.prune(1200.0)
    assert not ring.buckets


# ---- whole files


def test_scan_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "combined.log"
    path.write_bytes(SAMPLES + EXTRA + b'{"level":50,"time":1795453597824,"msg":"no newline"}')
    seen: list[tuple[int, int]] = []
    summary = scan_file(path, Spec(patterns={"events": "Platform Event"}), lambda done, size: seen.append((done, size)))
    assert summary.lines == (SAMPLES + EXTRA).count(b"\n") + 1
    assert summary.bytes == path.stat().st_size == seen[-1][0]
    assert summary.matches == {"events": 3}
    assert summary.latency[""].p99_seconds == pytest.approx(2.303, rel=0.02)
    assert summary.first_event == pytest.approx(1795453592.342)
    assert summary.unparsed_samples
    json.dumps(summary.as_json())
    packed = tmp_path / "combined.log.gz"
    import gzip

    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert replace(scan_file(packed, Spec(patterns={"events": "Platform Event"})), path=str(path)) == summary


@pytest.mark.parametrize(
    "make", [lambda at: b'{"level":30,"time":%d}\n' % (at * 1000), lambda at: b'{"time":%d}\n' % at]
)
def test_begin_of_a_time_is_found_by_halving(tmp_path: Path, make: Callable[[int], bytes]) -> None:
    path = tmp_path / "big.log"
    path.write_bytes(b"".join(make(1795000000 + n) for n in range(100_000)))
    fd = os.open(path, os.O_RDONLY)
    try:
        offset = find(fd, Scanner(Spec()), 1795050000)
        rest = path.read_bytes()[offset:]
        first = int(json.loads(rest.split(b"\n", 1)[0])["time"])
        first = first // 1000 if first > 1e12 else first
        assert 1795040000 < first <= 1795050000
        assert find(fd, Scanner(Spec()), 0) == 0
    finally:
        os.close(fd)


@pytest.mark.parametrize("line", [b"INFO something happened\n", b'{"level":"info","msg":"x"}\n', b"# README\n", b"\n"])
def test_scan_of_a_file_without_a_time(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "combined.log"
    path.write_bytes(30 * line)
    summary = scan_file(path, Spec(patterns={"x": "[xI]"}))
    assert (summary.lines, summary.first_event, summary.last_event) == (30, None, None)
    assert (
        subprocess.run([sys.executable, "-m", "monitor", "scan", path], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.parametrize(
    ("content", "said"), [(b"xx", "Not a gzipped file"), (gzip.compress(SAMPLES)[:500], "cannot be unpacked: ")]
)
def test_scan_of_what_is_not_packed_says_so(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "combined.log.gz"
    path.write_bytes(content)
    done = subprocess.run([sys.executable, "-m", "monitor", "scan", path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def run_scan(path: Path, stderr: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "monitor", "scan", "--json", str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=True, cwd=Path(__file__).parents[2])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_bar_is_shown_on_a_terminal_and_nowhere_else(tmp_path: Path) -> None:
    log, errors = tmp_path / "[bold]app.log", tmp_path / "errors"
    line = b'{"level":50,"time":1795453597824,"padding":"%s","msg":"x"}\n' % (b"x" * 1000)
    log.write_bytes(line * 20_000)
    with errors.open("wb") as out:
        assert run_scan(log, out.fileno())["error_lines"] == 20_000
    assert errors.read_bytes() == b""
    with terminal() as (theirs, shown):
        assert run_scan(log, theirs)["lines"] == 20_000
    assert b"reading [bold]app.log" in shown()


def test_command_reads_as_a_probe_does_of_which_nothing_is_said() -> None:
    assert LogOptions.model_validate({"path": "app.log"}).spec() == Spec()
