"""History as pictures: what is drawn is what was."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.history import MINUTE, Bucket, Spread
from monitor.core.runbook import Level
from monitor.web.chart import HEIGHT, STRIP_HEIGHT, WIDTH, Frame, chart, strip
from monitor.web.past import range_seconds
from tests.web import portal

START = 1795453200
HOUR = Frame(START, START + 3600)
CONDITIONS = [
    ("warn", portal.configure("x", portal.REDIS, warn="memory_used_ratio > 80%").warn[0]),
    ("fail", portal.configure("x", portal.REDIS, warn="memory_used_ratio > 95%").warn[0]),
]


def bucket(minute: int, level: Level = Level.OK, low: float = 0.4, high: float = 0.5) -> Bucket:
    spread = Spread(2, low, high, low + high, {})
    return Bucket(START + minute * 60, MINUTE, level, measured={"memory_used_ratio": spread})


def boxes(path: str) -> list[tuple[int, ...]]:
    """Left, top, width and height of each box of a strip's band."""
    return [tuple(map(int, found)) for found in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+z", path)]


def test_equal_levels_are_one_box_and_each_level_has_its_height() -> None:
    found = strip([*map(bucket, range(30)), *(bucket(n, Level.FAIL) for n in range(30, 60))], HOUR, 20)
    bands = {band.level: boxes(band.path) for band in found.bands}
    assert bands["ok"] == [(0, 5, 120, 3)]
    assert bands["fail"] == [(120, 0, 120, STRIP_HEIGHT)]
    assert found.said == "fail for at most 30m"


def test_what_was_not_watched_is_left_empty() -> None:
    [band] = strip([bucket(0), bucket(1), bucket(30)], HOUR, 20).bands
    assert boxes(band.path) == [(0, 5, 8, 3), (120, 5, 4, 3)]


def test_a_probe_that_runs_seldom_has_no_holes() -> None:
    [band] = strip([bucket(0), bucket(5), bucket(10)], HOUR, 1.5 * 300).bands
    assert boxes(band.path) == [(0, 5, 44, 3)]


def test_one_bad_minute_in_a_month_is_still_seen() -> None:
    month = Frame(START - 30 * 86400, START + 60)
    assert [box[2] for box in boxes(strip([bucket(0, Level.FAIL)], month, 20).bands[0].path)] == [1]


def test_no_history_is_no_picture() -> None:
    assert strip([], HOUR, 20).said == "no history yet"
    assert chart([], "memory_used_ratio", CONDITIONS, HOUR, banded=True) is None


def test_a_line_stands_beside_its_limits_and_takes_no_bytes_for_what_stays_the_same() -> None:
    found = chart([bucket(n) for n in range(60)], "memory_used_ratio", CONDITIONS, HOUR, banded=False)
    assert found is not None
    assert found.line == "M0 20H240"
    assert [(mark.level, mark.y) for mark in found.marks] == [("warn", 9), ("fail", 3)]
    assert found.top == 1.0


@given(
    st.lists(
        st.tuples(st.integers(-5, 70), st.floats(0, 5), st.floats(0, 5)), max_size=40, unique_by=lambda one: one[0]
    ),
    st.booleans(),
)
def test_whatever_was_measured_the_picture_stays_in_its_box(
    values: list[tuple[int, float, float]], banded: bool
) -> None:
    buckets = [bucket(minute, Level.WARN, min(a, b), max(a, b)) for minute, a, b in sorted(values)]
    found = chart(buckets, "memory_used_ratio", CONDITIONS, HOUR, banded=banded)
    for path in (found.line, found.band) if found else ():
        assert re.fullmatch(r"(M\d+ \d+([LH]\d+( \d+)?)*z?)?", path)
        points = [(int(x), int(y)) for x, y in re.findall(r"(\d+) (\d+)", path)]
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    for band in strip(buckets, HOUR, 20).bands:
        assert all(x + width <= WIDTH + 1 and width > 0 for x, _, width, _ in boxes(band.path))


@pytest.mark.parametrize(
    "text, seconds",
    [("90m", 5400), ("12h", 43200), ("31d", 2678400), ("32d", None), ("0m", None), ("", None), ("7", None),
     ("7 d", None), ("-1h", None), ("１h", None), ("999999999999999h", None), ("1h\n", None)],
)  # fmt: skip
def test_a_range_is_what_it_says_or_nothing(text: str, seconds: float | None) -> None:
    assert range_seconds(text) == seconds
