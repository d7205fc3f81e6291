"""Planned maintenance: when it begins, and that it ends."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from monitor.core.maintenance import Plan, active, next_change
from monitor.core.recurrence import Cron, Once, checked, leaves_a_gap

TOKYO, BERLIN = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Berlin")
HOUR = 3600.0


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def starts(cron: Cron, first: str, until: str) -> list[str]:
    found = cron(utc(first), utc(until))
    return [f"{datetime.fromtimestamp(at, UTC):%m-%d %H:%M}" for at in found]


def test_cron_speaks_of_the_clocks_of_its_zone() -> None:
    sundays = Cron("0 3 * * sun", TOKYO)
    assert starts(sundays, "2026-11-26T00:00", "2026-12-10T00:00") == ["11-28 18:00", "12-05 18:00"]


@pytest.mark.parametrize(
    "day, expected",
    [
        ("2026-03-28", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),  # 02:30 does not exist on the 29th
        ("2026-10-24", ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),  # and exists twice on the 25th
    ],
)
def test_a_night_of_daylight_saving_has_it_once(day: str, expected: list[str]) -> None:
    found = Cron("30 2 * * *", BERLIN)(utc(f"{day}T00:00"), utc(f"{day}T00:00") + 73 * HOUR)
    assert [f"{datetime.fromtimestamp(at, UTC):%m-%d %H:%M}" for at in found][: len(expected)] == expected


def test_the_bounds_are_after_the_first_and_up_to_the_second() -> None:
    daily = Cron("0 3 * * *", UTC)
    at = utc("2026-12-01T03:00")
    assert list(daily(at - 0.5, at)) == [at]
    assert list(daily(at, at + 1)) == []
    assert list(Once(at)(at - 1, at)) == [at]
    assert list(Once(at)(at, at + 1)) == []


def plan(starts: Once | Cron, seconds: float = 2 * HOUR) -> Plan:
    return Plan("plan-1", ("redis",), seconds, "a new disk", starts)


def test_it_is_on_from_its_beginning_to_before_its_end() -> None:
    at = utc("2026-12-01T03:00")
    for begins in (Once(at), Cron("0 3 1 12 *", UTC)):
        one = plan(begins)
        assert [active([one], [], at + seconds) != [] for seconds in (-0.5, 0, 7199.5, 7200)] == [
            False, True, True, False,
        ]  # fmt: skip


def test_it_is_looked_at_again_when_it_begins_and_when_it_ends() -> None:
    weekly = plan(Cron("0 3 * * sun", TOKYO))
    begins, ends = utc("2026-11-28T18:00"), utc("2026-11-28T20:00")
    assert next_change([weekly], [], utc("2026-11-26T00:00")) == begins
    assert next_change([weekly], [], begins) == ends
    assert next_change([weekly], [], ends) == begins + 7 * 24 * HOUR
    assert next_change([plan(Once(begins))], [], ends) is None


@pytest.mark.parametrize(
    "expression, seconds, gap",
    [
        ("0 3 * * sun", 2 * HOUR, True),
        ("0 * * * *", HOUR - 60, True),
        ("0 * * * *", HOUR, False),
        ("* 9-17 * * *", 2 * HOUR, True),  # not by day, but every night
        ("* * * * *", 60, False),
        ("*/2 * * * *", 90, True),
        ("0 0 1 * *", 31 * 24 * HOUR, False),
        ("0 0 1 * *", 30 * 24 * HOUR, True),
        ("0 0 29 2 *", 24 * HOUR, True),
    ],
)
def test_whether_it_ever_ends(expression: str, seconds: float, gap: bool) -> None:
    assert leaves_a_gap(expression, seconds) is gap


@pytest.mark.parametrize("expression", ["0 3 * * son", "@daily", "", "0 3 * * 1 2026", "0 0 */30 2 2#5", "* " * 500])
def test_what_cron_would_not_take_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"no cron expression|never comes"):
        checked(expression)
