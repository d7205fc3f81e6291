"""Updates and reminders fire until everybody who can be reached has had them for a while, and then end."""

from __future__ import annotations

from dataclasses import replace

from monitor.alerting.notices import TOLD_SECONDS, Attention
from monitor.core.incident import Notice, NoticeKind

UPDATE = Notice("redis-1", NoticeKind.UPDATE, "1", 1)
REMINDER = Notice("redis-1", NoticeKind.REMINDER, "review", 1)


def test_one_ends_ten_minutes_after_everybody_took_it_and_not_before() -> None:
    attention = Attention()
    assert not attention.over([UPDATE], lambda notice: False, 0.0)
    assert not attention.over([UPDATE], lambda notice: False, 3600.0)
    assert not attention.over([UPDATE], lambda notice: True, 3700.0)
    assert not attention.over([UPDATE], lambda notice: True, 3700.0 + TOLD_SECONDS - 0.1)
    assert attention.over([UPDATE], lambda notice: True, 3700.0 + TOLD_SECONDS) == {UPDATE.identity}


def test_an_alertmanager_that_comes_back_without_it_is_told_for_as_long() -> None:
    attention = Attention()
    attention.over([UPDATE], lambda notice: True, 0.0)
    attention.over([UPDATE], lambda notice: False, 300.0)
    attention.over([UPDATE], lambda notice: True, 400.0)
    assert not attention.over([UPDATE], lambda notice: True, TOLD_SECONDS + 399.0)
    assert attention.over([UPDATE], lambda notice: True, TOLD_SECONDS + 400.0)


def test_each_has_a_time_of_its_own_and_one_that_ended_none() -> None:
    attention = Attention()
    attention.over([UPDATE], lambda notice: True, 0.0)
    both = [UPDATE, REMINDER, replace(REMINDER, number=2, ended_at=1.0)]
    assert attention.over(both, lambda notice: True, TOLD_SECONDS) == {UPDATE.identity}
    later = [replace(UPDATE, ended_at=TOLD_SECONDS), REMINDER]
    assert attention.over(later, lambda notice: True, 2 * TOLD_SECONDS) == {REMINDER.identity}
