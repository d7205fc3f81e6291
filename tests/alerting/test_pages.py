"""For how long Alertmanager is told that a page ended."""

from __future__ import annotations

import pytest

from monitor.alerting.pages import still_told

NOW = 1_795_000_000.0
MINUTE, HOUR = 60.0, 3600.0


@pytest.mark.parametrize(
    ("ended", "up", "told"),
    [
        (None, 30 * 24 * HOUR, True),
        (14 * MINUTE, 24 * HOUR, True),
        (15 * MINUTE, 24 * HOUR, False),
        (15 * MINUTE, MINUTE, True),  # before this start: nobody knows who was told
        (11 * HOUR, 14 * MINUTE, True),
        (11 * HOUR, 15 * MINUTE, False),
        (12 * HOUR, MINUTE, False),  # every lease has run out
    ],
)
def test_an_end_is_told_while_somebody_may_not_know_of_it(ended: float | None, up: float, told: bool) -> None:
    assert still_told(None if ended is None else NOW - ended, NOW, up) is told
