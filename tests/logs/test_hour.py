"""What is usual: minute by minute over the hour before the window, remembered over restarts."""

from __future__ import annotations

import json

import pytest

from monitor.core.probe import Json
from monitor.logs import hour
from monitor.logs.window import Bucket, Ring, Series

NOW = 1_795_453_620.0  # a whole minute
WINDOW = 300.0
PATTERNS = {"refused": "login failed"}


def filled(*, now: float, per_bucket: int, matches: int = 0, seconds: int = 610) -> Ring:
    """A ring of the last `seconds`, with so many requests and matches in each ten of them."""
    made = Ring(610.0)
    found = {"login failed": matches} if matches else {}
    last = int(now // 10) * 10
    for start in range(last - seconds, last, 10):
        made.buckets[start] = Bucket(requests=per_bucket, matches=dict(found), series={"": Series(per_bucket)})
    return made


def watched(minutes: int, *, per_bucket: int = 10, matches: int = 0, since: float = 0.0) -> hour.Minutes:
    """What is remembered after looking on for so long, a run every half minute."""
    kept: hour.Minutes = {}
    for run in range(2 * minutes + 1):
        now = NOW - 60 * minutes + 30 * run
        kept = hour.remember(
            kept, filled(now=now, per_bucket=per_bucket, matches=matches), PATTERNS, since=since, window=WINDOW, now=now
        )
    return kept


def test_an_hour_is_known_by_its_minutes() -> None:
    kept = watched(90, matches=1)
    found = hour.usual(kept, window=WINDOW, now=NOW)
    assert found is not None
    assert found.requests == pytest.approx(1.0)
    assert found.matches == {"refused": pytest.approx(0.1)}
    assert len(kept) <= 66


def test_the_window_itself_is_not_part_of_what_is_usual() -> None:
    kept = {at: hour.Minute(60.0) for at in range(int(NOW // 60) - 65, int(NOW // 60))}
    for at in range(int(NOW // 60) - 5, int(NOW // 60)):
        kept[at] = hour.Minute(60_000.0)
    found = hour.usual(kept, window=WINDOW, now=NOW)
    assert found is not None
    assert found.requests == pytest.approx(1.0)


def test_too_short_a_time_tells_nothing() -> None:
    assert hour.usual(watched(20), window=WINDOW, now=NOW) is None
    assert hour.usual(watched(40), window=WINDOW, now=NOW) is not None


def test_minutes_from_before_the_log_was_read_whole_are_not_known() -> None:
    ring = filled(now=NOW, per_bucket=10)
    known = hour.remember({}, ring, PATTERNS, since=NOW - 130, window=WINDOW, now=NOW)
    assert sorted(at * 60 for at in known) == [NOW - 120]  # the last one may still grow


def test_a_gap_of_a_restart_is_filled_from_the_windows_and_older_minutes_are_kept() -> None:
    before = watched(60)
    later = NOW + 480
    ring = filled(now=later, per_bucket=10)
    after = hour.remember(before, ring, PATTERNS, since=0.0, window=WINDOW, now=later)
    assert set(range(int(NOW // 60), int(later // 60) - 1)) <= set(after)
    assert min(after) >= (later - 3900) // 60


def test_what_is_remembered_is_plain_and_comes_back() -> None:
    kept = watched(60, matches=2)
    assert hour.load(json.loads(json.dumps(hour.dump(kept)))) == kept
    assert len(json.dumps(hour.dump(kept))) < 4000


@pytest.mark.parametrize(
    "cursor", [None, [], 7, {}, {"minutes": 7}, {"minutes": {"x": [1, {}]}}, {"minutes": {"1": [1]}}]
)
def test_a_cursor_that_makes_no_sense_is_passed_over(cursor: Json) -> None:
    assert hour.load(cursor) == {}


def test_a_clock_that_was_set_forgets_what_lies_ahead() -> None:
    kept = watched(60)
    back = NOW - 7200
    assert all(at * 60 < back for at in hour.remember(kept, Ring(610.0), {}, since=back, window=WINDOW, now=back))
