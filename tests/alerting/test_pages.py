"""That a page goes out whatever is wrong with its words, and for how long its end is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from monitor.alerting.pages import page_words, still_told, vendor_words
from tests.alerting.incidents import BOOK, KEY, facts, incident, page

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


def test_a_page_goes_out_though_its_words_cannot_be_made() -> None:
    """No runbook that is loaded lacks its table; it stands for the mistake that nobody has found yet."""
    torn = replace(facts(), runbook=replace(BOOK, severities={}))
    item = incident()
    with capture_logs() as logged:
        words = page_words(item, torn)
        report = vendor_words(page("L4", of=item, vendor="whmcs"), item, replace(torn, probes=None))  # type: ignore[arg-type]
    assert words == {"title": "[P2] redis", "summary": f"[P2] redis ({KEY})", "severity_now": "P2"}
    assert report == {}
    assert [line["event"] for line in logged] == ["page_words_failed", "vendor_report_failed"]
