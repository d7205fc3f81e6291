"""What one Alertmanager must be told when, by tables: no clock, no network."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerting.ledger import FIRST_DELAY_SECONDS, RESOLVE_SECONDS, Alert, Ledger, Patience

RESEND = 60.0


def alert(
    name: str = "redis", *, incident: str | None = None, ends_at: float | None = None, **annotations: str
) -> Alert:
    labels = {"alertname": name, "incident": incident if incident is not None else name}
    return Alert(labels, annotations, starts_at=1000.0, ends_at=ends_at)


def want(ledger: Ledger, *alerts: Alert, now: float = 0.0) -> bool:
    return ledger.want({one.fingerprint: one for one in alerts}, now)


def told(*alerts: Alert, now: float = 0.0) -> Ledger:
    """A ledger whose Alertmanager took these."""
    ledger = Ledger(RESEND)
    want(ledger, *alerts, now=now)
    ledger.took(alerts, now)
    return ledger


FIRING, ENDED = alert(), alert(ends_at=1100.0)


@pytest.mark.parametrize(
    ("ledger", "wanted", "now", "due"),
    [
        pytest.param(Ledger(RESEND), [FIRING], 0, [[FIRING]], id="new"),
        pytest.param(told(FIRING), [FIRING], 59, [], id="told lately"),
        pytest.param(told(FIRING), [FIRING], 60, [[FIRING]], id="told a resend interval ago"),
        pytest.param(told(FIRING), [alert(summary="worse")], 1, [[alert(summary="worse")]], id="other words"),
        pytest.param(told(FIRING), [ENDED], 1, [[ENDED]], id="ended"),
        pytest.param(told(ENDED), [FIRING], 1, [[FIRING]], id="fires again"),
        pytest.param(told(ENDED), [ENDED], 60, [[ENDED]], id="its end is repeated"),
        pytest.param(told(FIRING), [], 60, [], id="no longer listed while it fires: left to its lease"),
        pytest.param(told(ENDED), [], 60, [[ENDED]], id="no longer listed: its end is repeated all the same"),
        pytest.param(
            Ledger(RESEND), [ENDED], 0, [[ENDED]], id="an end of which only an earlier process told the start"
        ),
    ],
)
def test_what_is_due(ledger: Ledger, wanted: list[Alert], now: float, due: list[list[Alert]]) -> None:
    ledger = replace_lines(ledger)
    want(ledger, *wanted, now=now)
    assert ledger.due(now) == due


def replace_lines(ledger: Ledger) -> Ledger:
    """A copy, so that a table's row does not change the next."""
    copy = Ledger(ledger.resend_seconds)
    copy._lines = dict(ledger._lines)
    return copy


def test_a_resolve_is_repeated_for_fifteen_minutes_and_no_longer() -> None:
    ledger = told(ENDED)
    sent = []
    for now in range(1, 3600):
        for group in ledger.due(now):
            ledger.took(group, now)
            sent.append(now)
    assert sent == [60 * minute for minute in range(1, 16)]
    assert sent[-1] <= RESOLVE_SECONDS
    assert ledger.next_due() == math.inf


def test_a_resolve_is_owed_until_it_was_taken_though_nobody_lists_it_any_more() -> None:
    ledger = told(FIRING)
    want(ledger, ENDED, now=1)
    want(ledger, now=2)  # the store forgot it; this Alertmanager was away
    assert ledger.due(6 * 3600) == [[ENDED]]
    assert ledger.due(2 + FIRING.lease_seconds) == [], "no lease can be left"


def test_what_fires_again_ends_again() -> None:
    ledger = told(ENDED)
    want(ledger, FIRING, now=10)
    ledger.took([FIRING], 10)
    again = alert(ends_at=1200.0)
    assert want(ledger, again, now=2000)
    ledger.took([again], 2000)
    assert ledger.due(2000 + RESEND) == [[again]], "the fifteen minutes begin anew"


def test_all_alerts_of_an_incident_go_together() -> None:
    first, second = alert("L1", incident="redis-1"), alert("L2", incident="redis-1")
    other = alert("whmcs")
    ledger = told(first, other)
    want(ledger, first, second, other, now=30)
    assert ledger.due(30) == [[first, second]]


def test_alerts_without_an_incident_are_no_group() -> None:
    watchdog, test = alert("Watchdog", incident=""), alert("Test", incident="")
    ledger = Ledger(RESEND)
    want(ledger, watchdog, test)
    assert ledger.due(0) == [[watchdog], [test]]


def test_news_go_before_repetitions() -> None:
    ledger = told(alert("a"), alert("b"))
    want(ledger, alert("a"), alert("b"), alert("new"), now=60)
    assert ledger.due(60)[0] == [alert("new")]


def test_only_a_beginning_or_an_end_is_news() -> None:
    ledger = Ledger(RESEND)
    assert want(ledger, FIRING)
    assert not want(ledger, FIRING)
    assert not want(ledger, alert(summary="other words"))
    assert want(ledger, ENDED)


def test_what_changed_while_it_was_under_way_is_due_again() -> None:
    ledger = Ledger(RESEND)
    want(ledger, FIRING)
    want(ledger, ENDED, now=1)
    ledger.took([FIRING], 2)
    assert ledger.due(2) == [[ENDED]]
    assert not ledger.knows(FIRING.fingerprint)


def test_a_refused_alert_goes_alone_and_a_changed_one_joins_the_others_again() -> None:
    poison, mate = alert("poison", incident="one"), alert("mate", incident="one")
    ledger = told(mate)
    want(ledger, mate, poison)
    assert ledger.refused(poison, 0)
    assert not ledger.behind()
    assert (ledger.due(RESEND), ledger.refused_due(RESEND - 1)) == ([[mate]], [])
    assert ledger.refused_due(RESEND) == [poison]
    assert not ledger.refused(poison, RESEND), "said once"
    mended = replace(poison, generator_url="http://example.com")
    want(ledger, mate, mended, now=70)
    assert ledger.due(70) == [[mate, mended]]


def test_after_wrong_times_everything_is_told_again_and_a_farewell_knows_it_all() -> None:
    ledger = told(FIRING, alert("other"))
    ledger.distrust()
    assert ledger.due(1) == [[FIRING], [alert("other")]]
    ledger.farewell(2, at=1500.0)
    assert [[one.ends_at for one in group] for group in ledger.due(2)] == [[1500.0], [1500.0]]


def test_a_farewell_speaks_only_of_what_was_told() -> None:
    ledger = told(FIRING)
    want(ledger, FIRING, alert("never told"), now=1)
    ledger.farewell(2, at=1500.0)
    assert ledger.due(2) == [[replace(FIRING, ends_at=1500.0)]]
    ledger.took([replace(FIRING, ends_at=1500.0)], 2)
    assert not ledger.behind()


@given(st.integers(0, 5000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_nobody_is_left_alone_for_longer_than_a_resend_interval(
    failures: int, jitter: float, asked: float | None
) -> None:
    patience = Patience(failures).longer(100.0, RESEND, jitter, asked)
    assert 100.0 + FIRST_DELAY_SECONDS / 2 <= patience.until <= 100.0 + RESEND
    assert patience.failures == failures + 1


def test_patience_grows_and_news_end_it_unless_it_was_asked_for() -> None:
    once = Patience().longer(0.0, RESEND, 1.0)
    assert once.until == FIRST_DELAY_SECONDS
    assert once.longer(0.0, RESEND, 1.0).until == 2 * FIRST_DELAY_SECONDS
    assert once.at_news().until < 0
    asked = Patience().longer(0.0, RESEND, 1.0, asked_seconds=20.0)
    assert asked.at_news().until == 20.0


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, float]]:
    return draw(
        st.lists(st.tuples(st.sampled_from(["fire", "end", "drop", "fail", "take"]), st.floats(0, 200)), max_size=40)
    )


@given(histories())
def test_an_alertmanager_that_answers_ends_up_knowing_the_present_state(history: list[tuple[str, float]]) -> None:
    ledger, now, wanted = Ledger(RESEND), 0.0, None
    for event, seconds in history:
        now += seconds
        if event in {"fire", "end"}:
            wanted = FIRING if event == "fire" else ENDED
            want(ledger, wanted, now=now)
        elif event == "drop":
            wanted = None
            want(ledger, now=now)
        elif event == "take":
            for group in ledger.due(now):
                ledger.took(group, now)
    for group in ledger.due(now):
        ledger.took(group, now)
    assert not ledger.behind()
    assert wanted is None or ledger.knows(wanted.fingerprint)
    assert ledger.next_due() >= now
