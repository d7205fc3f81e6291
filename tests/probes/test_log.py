"""The log probe on real files: what a window says, when it says nothing, and that all of it survives a restart."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.core.probe import ProbeContext, ProbeError, Quiet, Reading
from monitor.logs import hour
from monitor.probes.log import PROBE, LogOptions, LogResource, open_log, run, watch_log


class Keeper:
    """An `Opening` that keeps what is saved in memory, as a store would keep it on disk."""

    key = "log"

    def __init__(self, saved: bytes | None = None) -> None:
        self.saved = saved
        self.saves = 0
        self.broken = False

    def now(self) -> float:
        return time.time()

    async def save(self, state: bytes) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise OSError("disk full")
        self.saved = state
        self.saves += 1


def request(status: int | None = 200, took: int = 12, *, ago: float = 0.0, **more: Any) -> bytes:
    record = {"level": 30, "time": int((time.time() - ago) * 1000), "req": {"id": 1}, "res": {"statusCode": status}}
    return json.dumps({**record, "responseTime": took, **more, "msg": "request completed"}).encode() + b"\n"


def call(upstream: str, took: float, *, ago: float = 0.0) -> bytes:
    record = {"level": 30, "time": int((time.time() - ago) * 1000), "context": {"duration": took}}
    return json.dumps({**record, "msg": f"{upstream} query completed"}).encode() + b"\n"


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as log:
        log.write(b"".join(lines))


def options(path: Path, **more: Any) -> LogOptions:
    return LogOptions.model_validate({"path": str(path), **more})


def context(resource: LogResource, timeout: float = 5.0, later: float = 0.0) -> ProbeContext:
    return ProbeContext("errors", time.time() + later, timeout, resource=resource)


async def once(chosen: LogOptions, keeper: Keeper | None = None) -> Reading:
    async with open_log(chosen, keeper or Keeper()) as resource:
        return await run(chosen, context(resource))


async def until(resource: LogResource, lines: int) -> None:
    async with asyncio.timeout(10):
        while resource.journal.totals.lines < lines:
            await resource.desk.news(1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "combined.log"


async def test_window_counts_requests_errors_and_latency(path: Path) -> None:
    append(path, *[request(200, 100)] * 57, *[request(503, 4000)] * 3, *[call("WHMCS", 2000)] * 20)
    read = await once(options(path))
    measured = read.measurements
    assert (measured["lines"], measured["requests"], measured["server_errors"]) == (80, 60, 3)
    assert measured["error_ratio"] == pytest.approx(0.05)
    mean, p95 = measured["latency_mean_seconds"], measured["latency_p95_seconds"]
    assert isinstance(mean, Mapping)
    assert isinstance(p95, Mapping)
    assert mean[""] == pytest.approx((57 * 0.1 + 3 * 4) / 60)
    assert mean["whmcs"] == pytest.approx(2.0)
    assert p95["whmcs"] == pytest.approx(2.0, rel=0.01)
    assert read.quiet is None


async def test_two_probes_of_one_path_share_the_follower_and_keep_their_own_windows(path: Path) -> None:
    append(path, *[request(500, ago=200)] * 30, *[request(200)] * 30)
    long = options(path, window="5m")
    short = options(path, window="1m", patterns={"events": "Platform Event"})
    assert PROBE.resource_key
    assert PROBE.resource_key(long) == PROBE.resource_key(short)
    async with open_log(long, Keeper()) as resource:
        assert (await run(long, context(resource))).measurements["error_ratio"] == pytest.approx(0.5)
        assert (await run(short, context(resource))).measurements["error_ratio"] == 0


async def test_pattern_of_a_second_probe_is_counted_in_what_was_read_before(path: Path) -> None:
    append(
        path,
        *[request(ago=100)] * 25,
        b'{"level":30,"time":%d,"msg":"Platform Event x"}\n' % (time.time() * 1000 - 60000),
    )
    plain, asking = options(path), options(path, patterns={"events": "Platform Event"})
    async with open_log(plain, Keeper()) as resource:
        await run(plain, context(resource))
        measured = (await run(asking, context(resource))).measurements
        assert measured["matches"] == {"events": 1}
        age = measured["last_match_age_seconds"]
        assert isinstance(age, Mapping)
        assert age["events"] == pytest.approx(60, abs=5)
        append(path, b'{"level":30,"msg":"Platform Event y"}\n')
        await until(resource, 27)
        assert (await run(asking, context(resource))).measurements["matches"] == {"events": 2}


async def test_few_requests_hold_and_two_quiet_windows_clear(path: Path) -> None:
    append(path, *[request()] * 3)
    quiet = options(path, window="1m")
    read = await once(quiet)
    assert read.quiet is Quiet.CLEAR
    assert "error_ratio" not in read.measurements
    append(path, request(500))
    assert (await once(quiet)).quiet is Quiet.HOLD


async def test_missing_log_is_our_access_and_found_when_it_appears(path: Path) -> None:
    chosen = options(path)
    async with open_log(chosen, Keeper()) as resource:
        with pytest.raises(ProbeError) as caught:
            await run(chosen, context(resource))
        assert caught.value.reason == "missing"
        append(path, *[request()] * 30)
        await until(resource, 30)
        assert (await run(chosen, context(resource))).measurements["requests"] == 30


async def test_folder_in_place_of_the_log_is_unreadable(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ProbeError) as caught:
        await once(options(path))
    assert caught.value.reason == "unreadable"


async def test_lines_that_fit_no_format_are_no_success(path: Path) -> None:
    append(path, *[b"token=abc gibberish from user@example.com\n"] * 30)
    with pytest.raises(ProbeError) as caught:
        await once(options(path))
    assert caught.value.reason == "not_understood"
    assert "example.com" not in caught.value.detail
    assert "abc" not in caught.value.detail


async def test_restart_goes_on_and_counts_nothing_twice(path: Path) -> None:
    append(path, *[request()] * 30)
    chosen, keeper = options(path), Keeper()
    await once(chosen, keeper)
    append(path, *[request(500)] * 10)
    async with open_log(chosen, keeper) as resource:
        await until(resource, 40)
        measured = (await run(chosen, context(resource))).measurements
        assert (measured["requests"], measured["server_errors"]) == (40, 10)


async def test_counters_show_only_what_is_saved(path: Path) -> None:
    append(path, *[request()] * 30)
    chosen, keeper = options(path), Keeper()
    keeper.broken = True

    def shown(resource: LogResource) -> float:
        return next(one for one in resource.families() if one.name == "portal_log_lines_total").samples[0][1]

    async with open_log(chosen, keeper) as resource:
        await run(chosen, context(resource))
        assert shown(resource) == 0
        keeper.broken = False
        async with asyncio.timeout(10):
            while not keeper.saves:
                await resource.desk.news(1.0)
        assert shown(resource) == 30


def buckets(resource: LogResource) -> dict[str, float]:
    family = next(one for one in resource.families() if one.name == "portal_log_request_duration_seconds")
    return {labels["le"]: value for labels, value in family.samples if labels["__name__"] == "_bucket"}


async def test_histogram_has_an_edge_at_each_limit_and_no_bucket_goes_back(path: Path) -> None:
    append(path, *[request(took=took) for took in (100, 1800, 2200)] * 10)
    chosen, keeper = options(path), Keeper()
    limits = {
        "latency_mean_seconds": frozenset({1.7}),
        "latency_p95_seconds": frozenset({2.1}),
        "error_ratio": frozenset({0.3}),
    }
    async with open_log(chosen, keeper) as resource:
        await until(resource, 30)
        async with asyncio.timeout(10):
            while not keeper.saves:
                await resource.desk.news(1.0)
        before = buckets(resource)
        assert (before["1"], before["2"], before["+Inf"]) == (10, 20, 30)
        asked = replace(context(resource), limits=limits)
        async with asyncio.timeout(10):
            while "1.7" not in buckets(resource):
                await run(chosen, asked)
                await resource.desk.news(1.0)
        assert {"1.7", "2.1"} <= buckets(resource).keys()
        assert "0.3" not in buckets(resource)
        append(path, *[request(took=took) for took in (1650, 1750, 2050)] * 10)
        async with asyncio.timeout(10):
            while buckets(resource)["+Inf"] < 60:
                await resource.desk.news(1.0)
        after = buckets(resource)
        assert all(after[edge] >= count for edge, count in before.items())
        assert (after["1.7"] - before["1"], after["2"] - before["2"], after["2.1"] - before["2"]) == (10, 20, 30)
    async with open_log(chosen, keeper) as resource:  # before anybody asks
        assert buckets(resource) == after


async def test_watch_speaks_within_a_second_of_the_first_line(path: Path) -> None:
    append(path, request())
    chosen = options(path)
    async with open_log(chosen, Keeper()) as resource:
        await run(chosen, context(resource))
        watching = watch_log(chosen, resource)
        word = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0)
        began = time.monotonic()
        append(path, request(500))
        assert await word == "grew"
        assert time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"patterns": {"x": "("}}, "not a regular expression"),
        ({"patterns": {"x y": "a"}}, "match pattern"),
        ({"text": "no groups"}, "names no group"),
        ({"text": "(?P<livel>x)"}, 'unknown group "livel"'),
        ({"window": "2h"}, "from 10s to 1h"),
        ({"window": 300}, "has no unit"),
        ({"timezone": "Mars/Base"}, "is not a time zone"),
        ({"fields": {"levl": "x"}}, "level"),
        ({"min_samples": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_options_are_told(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LogOptions.model_validate({"path": "x.log", **wrong})


async def test_a_log_that_falls_silent_fails_however_little_is_in_its_window(path: Path) -> None:
    append(path, request())
    chosen = options(path, silent_after="10m")
    async with open_log(chosen, Keeper()) as resource:
        assert (await run(chosen, context(resource))).quiet is not None
        with pytest.raises(ProbeError) as caught:
            await run(chosen, context(resource, later=700.0))
    assert caught.value.reason == "silent"
    assert caught.value.reading.measurements["silent_seconds"] == pytest.approx(700.0, abs=5)


# --- who is behind a pattern, and what is usual -----------------------------------------------------------------------

LOGINS = {
    "patterns": {"rejected": '/auth/login.*"statusCode":4(01|29)', "accepted": '/auth/login.*"statusCode":20[01]'},
    "by_source": {"rejected": "accepted"},
    "burst": 10,
    "min_samples": 1,
}


def login(status: int, address: str, *, ago: float = 0.0) -> bytes:
    record = {"level": 30, "time": int((time.time() - ago) * 1000)}
    asked = {"id": 7, "url": "/api/auth/login", "headers": {"x-forwarded-for": address}, "remoteAddress": "10.0.0.1"}
    return (
        json.dumps(
            {**record, "req": asked, "res": {"statusCode": status}, "responseTime": 5}, separators=(",", ":")
        ).encode()
        + b"\n"
    )


async def test_unusual_logins_are_counted_by_their_sources_and_nobody_is_named(path: Path) -> None:
    append(path, *[request(ago=70)] * 50)  # of the beginning and the end a few bytes are kept, to find the place again
    append(path, *(login(401, "198.51.100.77", ago=60) for _ in range(12)), login(201, "198.51.100.77", ago=30))
    append(
        path, *(login(401, f"203.0.113.{number}", ago=40) for number in range(20)), login(201, "203.0.113.3", ago=20)
    )
    append(path, *[request(ago=1)] * 50)
    keeper = Keeper()
    chosen = options(path, **LOGINS)
    async with open_log(chosen, keeper) as resource:
        measured = (await run(chosen, context(resource))).measurements
        shown = str(resource.families())
    assert measured["matches"] == {"rejected": 32, "accepted": 2}
    assert measured["sources"] == {"rejected": 21}
    assert measured["source_most"] == {"rejected": 12}
    assert measured["let_in_after"] == {"rejected": 1}
    assert keeper.saved is not None
    kept = zlib.decompress(keeper.saved)
    for address in ("198.51.100.77", "203.0.113."):
        assert address not in f"{measured}{shown}"
        assert address.encode() not in kept


async def test_behind_a_proxy_that_hides_them_the_sources_are_none_and_the_whole_still_counts(path: Path) -> None:
    hidden = login(401, "unknown", ago=5)
    append(path, *[hidden] * 40)
    measured = (await once(options(path, **LOGINS))).measurements
    assert (measured["matches"], measured["sources"], measured["source_most"]) == (
        {"rejected": 40, "accepted": 0},
        {"rejected": 0},
        {"rejected": 0},
    )


async def test_a_second_probe_with_the_same_pattern_shares_the_reading(path: Path) -> None:
    append(path, *(login(401, "198.51.100.77", ago=5) for _ in range(5)))
    keeper, plain = Keeper(), options(path, patterns={"rejected": LOGINS["patterns"]["rejected"]}, min_samples=1)  # type: ignore[index]
    chosen = options(path, **LOGINS)
    assert PROBE.resource_key is not None
    assert PROBE.resource_key(chosen) == PROBE.resource_key(plain)
    async with open_log(chosen, keeper) as resource:
        assert (await run(plain, context(resource))).measurements["matches"] == {"rejected": 5}
        assert (await run(chosen, context(resource))).measurements["source_most"] == {"rejected": 5}


async def test_traffic_now_stands_beside_that_of_the_hour_before(path: Path) -> None:
    append(path, *(request(ago=seconds) for seconds in range(0, 300, 3)))  # one every three seconds
    chosen = options(path, hour_before=True, patterns={"done": "request completed"}, min_samples=1)
    now = time.time()
    minutes = {at: hour.Minute(6.0, {"done": 1.0}) for at in range(int(now // 60) - 70, int(now // 60))}
    async with open_log(chosen, Keeper()) as resource:
        first = await run(chosen, context(resource))
        later = replace(context(resource), cursor=hour.dump(minutes))
        second = await run(chosen, later)
    assert "traffic_ratio" not in first.measurements
    assert first.measurements["matches_unusual"] == first.measurements["matches"]
    assert first.cursor is not None
    assert second.measurements["requests_per_second_before"] == pytest.approx(0.1, rel=0.05)
    assert second.measurements["traffic_ratio"] == pytest.approx(100 / 300 / 0.1, rel=0.1)
    assert second.measurements["matches_unusual"] == second.measurements["matches"]  # a hundred, and usual are five


async def test_matches_that_are_as_many_as_ever_are_not_unusual(path: Path) -> None:
    append(path, *(request(ago=seconds) for seconds in range(0, 300, 3)))
    chosen = options(path, hour_before=True, patterns={"done": "request completed"}, min_samples=1)
    now = time.time()
    minutes = {at: hour.Minute(20.0, {"done": 19.0}) for at in range(int(now // 60) - 70, int(now // 60))}
    async with open_log(chosen, Keeper()) as resource:
        measured = (await run(chosen, replace(context(resource), cursor=hour.dump(minutes)))).measurements
    assert measured["matches_unusual"] == {"done": 0}
    assert measured["traffic_ratio"] == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(
    ("usual", "found", "missing"), [(5.0, 0, 1), (5.0, 1, 0), (3.0, 0, 0), (0.0, 0, 0)]
)  # a minute of the hour before; in the window of five minutes
async def test_what_has_stopped_coming_is_missed(path: Path, usual: float, found: int, missing: int) -> None:
    append(path, *[request(ago=10)] * 30, *[request(url="login")] * found)
    chosen = options(path, hour_before=True, patterns={"login": '"login"'})
    now = time.time()
    minutes = {at: hour.Minute(20.0, {"login": usual}) for at in range(int(now // 60) - 70, int(now // 60))}
    async with open_log(chosen, Keeper()) as resource:
        measured = (await run(chosen, replace(context(resource), cursor=hour.dump(minutes)))).measurements
    assert measured["matches_missing"] == {"login": missing}


async def test_what_is_usual_goes_on_over_runs(path: Path) -> None:
    append(path, *(request(ago=seconds) for seconds in range(0, 600, 3)))
    chosen = options(path, hour_before=True)
    async with open_log(chosen, Keeper()) as resource:
        first = await run(chosen, context(resource))
        again = await run(chosen, replace(context(resource), cursor=first.cursor))
    assert again.cursor is None  # no minute has gone by: what is kept stays
    assert isinstance(first.cursor, dict)
    assert "minutes" in first.cursor


@pytest.mark.parametrize("by_source", [{"rejected": "no-such"}, {"no-such": "accepted"}])
def test_a_source_that_is_no_pattern_is_told(by_source: dict[str, str]) -> None:
    with pytest.raises(ValueError, match='by_source names "no-such", which is not among `patterns`'):
        LogOptions.model_validate({"path": "x.log", **LOGINS, "by_source": by_source})
