"""Business days and hours as a calendar on the wall has them: zones, changes of the clock, holidays."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from monitor.core.calendar import Calendar

EIGHTEEN = time(18)


def wall(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def in_utc(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%a %Y-%m-%d %H:%M}"


def calendar(zone: str = "UTC", *holidays: str, workdays: range = range(5)) -> Calendar:
    return Calendar(ZoneInfo(zone), frozenset(workdays), frozenset(map(date.fromisoformat, holidays)))


@pytest.mark.parametrize(
    ("zone", "holidays", "resolved", "due"),
    [
        # Friday 16:00 UTC is Saturday 01:00 in Tokyo, whose three business days are Monday to Wednesday.
        ("Asia/Tokyo", (), "2026-11-27 16:00", "Wed 2026-12-02 09:00"),
        ("UTC", (), "2026-11-27 16:00", "Wed 2026-12-02 18:00"),
        ("Asia/Tokyo", (), "2026-11-27 14:59", "Wed 2026-12-02 09:00"),  # Friday 23:59 there
        # Monday to Friday: Monday 16:00 UTC is Tuesday there.
        ("Asia/Tokyo", (), "2026-11-30 16:00", "Fri 2026-12-04 09:00"),
        ("Asia/Tokyo", (), "2026-11-30 14:00", "Thu 2026-12-03 09:00"),
        # 18:00 in Berlin is another time in UTC after the last Sunday of March, and back in October.
        ("Europe/Berlin", (), "2026-03-26 12:00", "Tue 2026-03-31 16:00"),
        ("Europe/Berlin", (), "2026-03-24 12:00", "Fri 2026-03-27 17:00"),
        ("Europe/Berlin", (), "2026-10-22 12:00", "Tue 2026-10-27 17:00"),
        # Holidays are no business days, wherever they fall.
        ("Asia/Tokyo", ("2026-12-01",), "2026-11-27 16:00", "Thu 2026-12-03 09:00"),
        ("Asia/Tokyo", ("2026-11-28",), "2026-11-27 16:00", "Wed 2026-12-02 09:00"),  # a Saturday all the same
        ("Asia/Tokyo", ("2026-12-30", "2026-12-31", "2027-01-01"), "2026-12-28 00:00", "Tue 2027-01-05 09:00"),
        # A leap day is a day like any other.
        ("UTC", (), "2028-02-28 12:00", "Thu 2028-03-02 18:00"),
    ],
)
def test_a_review_is_due_three_business_days_later(
    zone: str, holidays: tuple[str, ...], resolved: str, due: str
) -> None:
    assert in_utc(calendar(zone, *holidays).within_business_days(wall(resolved), 3, EIGHTEEN)) == due


def test_a_week_may_have_other_workdays() -> None:
    sunday_to_thursday = Calendar(ZoneInfo("Asia/Riyadh"), frozenset({6, 0, 1, 2, 3}))
    assert in_utc(sunday_to_thursday.within_business_days(wall("2026-11-26 12:00"), 3, EIGHTEEN)) == (
        "Tue 2026-12-01 15:00"
    )


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-11-24 12:00", "Tue 2026-11-24 12:00"),
        ("2026-11-24 03:00", "Tue 2026-11-24 09:00"),
        ("2026-11-24 18:00", "Wed 2026-11-25 09:00"),
        ("2026-11-27 18:00", "Mon 2026-11-30 09:00"),
        ("2026-11-28 12:00", "Mon 2026-11-30 09:00"),
        ("2026-12-24 19:00", "Mon 2026-12-28 09:00"),  # the 25th is a holiday
    ],
)
def test_what_can_wait_waits_until_people_are_there(at: str, expected: str) -> None:
    assert in_utc(calendar("UTC", "2026-12-25").in_hours(wall(at))) == expected


def test_mornings_are_those_of_business_days_at_local_time() -> None:
    mornings = calendar("Europe/Berlin", "2026-03-30").mornings(wall("2026-03-27 07:00"), wall("2026-04-01 12:00"))
    assert list(map(in_utc, mornings)) == ["Fri 2026-03-27 08:00", "Tue 2026-03-31 07:00", "Wed 2026-04-01 07:00"]


def test_a_calendar_of_holidays_alone_does_not_hang() -> None:
    nothing = Calendar(workdays=frozenset())
    assert nothing.within_business_days(wall("2026-11-24 12:00"), 3, EIGHTEEN) > wall("2050-01-01 00:00")
