"""A silence on a page to those on call is an answer, once; what it covers is not delivered. It holds nothing back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.alerting.alertmanager import Held, Silence
from monitor.alerting.silences import answers, silenced
from monitor.core.action import Acknowledge, Refused, act
from monitor.core.incident import Ack, Incident, Page, State
from monitor.core.runbook import Severity
from monitor.core.snapshot import Silenced

FIRED = 1000.0
INCIDENT = Incident("redis-1", "redis", State.INVESTIGATING, Severity.P2, Severity.P2, 0.0, FIRED)
SILENCE = Silence("id-1", "ann", "on it", FIRED + 60, FIRED + 3660, FIRED + 60)


def page(level: str = "L1", severity: Severity = Severity.P2, **more: object) -> Page:
    labels = {"incident": "redis-1", "escalation_level": level, "severity": str(severity), "kind": "page"}
    return Page("redis-1", 1, severity, level, labels=labels, fired_at=FIRED, **more)  # type: ignore[arg-type]


def held(*pages: Page, by: tuple[Silence, ...] = (SILENCE,)) -> list[Held]:
    return [Held(each.labels, {}, FIRED, FIRED + 9e4, by) for each in pages]


def test_a_silence_on_l1_is_an_answer_of_its_creator() -> None:
    (answer,) = answers([INCIDENT], [page()], held(page()))
    assert (answer.incident, answer.by) == ("redis-1", "ann")
    assert answer.action == Acknowledge("a silence in Alertmanager: on it", opening=1, silence="id-1")
    acked = act(INCIDENT, answer.action, FIRED + 61, answer.by, scenario=None, verdict=None).incident
    assert acked is not None
    assert (acked.acknowledged, acked.silences) == (True, ("id-1",))


def test_it_answers_once_and_not_again_when_things_get_worse() -> None:
    worse = replace(INCIDENT, ack=Ack(FIRED + 60, "ann", Severity.P2), silences=("id-1",)).takes(Severity.P1, 2000.0)
    first = replace(page(severity=Severity.P1), fired_at=FIRED)
    assert not worse.acknowledged
    assert not answers([worse], [page(), first], held(page(), first))
    with pytest.raises(Refused, match="once"):
        act(worse, Acknowledge(silence="id-1"), 2001.0, "ann", scenario=None, verdict=None)


def test_a_silence_of_before_the_page_has_seen_nothing_but_holds_it() -> None:
    before = replace(SILENCE, updated_at=FIRED - 3600, starts_at=FIRED - 3600)
    assert not answers([INCIDENT], [page()], held(page(), by=(before,)))
    assert silenced([page()], held(page(), by=(before,))) == {page().identity: Silenced("ann", FIRED + 3660, "on it")}


def test_a_silence_of_the_page_at_a_lesser_severity_answers_no_worse_one() -> None:
    worse = INCIDENT.takes(Severity.P1, FIRED)
    assert not answers([worse], [page()], held(page()))


@pytest.mark.parametrize("level", ["L2", "L3", "L4"])
def test_a_silence_on_another_level_answers_nothing_and_is_shown(level: str) -> None:
    assert not answers([INCIDENT], [page(level)], held(page(level)))
    assert set(silenced([page(level)], held(page(level)))) == {page(level).identity}


def test_what_is_acknowledged_resolved_or_of_another_opening_is_not_answered() -> None:
    acked = replace(INCIDENT, ack=Ack(FIRED, "bob", Severity.P2))
    for incident in (acked, replace(INCIDENT, state=State.RESOLVED), replace(INCIDENT, opening=2)):
        assert not answers([incident], [page()], held(page()))


def test_what_ended_or_is_not_silenced_is_delivered() -> None:
    assert not silenced([page(ended_at=2000.0)], held(page()))
    assert not silenced([page()], held(page(), by=()))
    assert not silenced([page()], held(page("L2")))


def test_of_several_silences_the_first_answers_and_the_last_to_end_is_shown() -> None:
    longer = Silence("id-0", "", "", FIRED + 90, FIRED + 9000, FIRED + 90)
    (answer,) = answers([INCIDENT], [page()], held(page(), by=(longer, SILENCE)))
    assert answer.by == "ann"
    assert silenced([page()], held(page(), by=(longer, SILENCE)))[page().identity].by == "somebody, by a silence"


def test_what_people_wrote_is_made_safe_before_it_is_kept() -> None:
    wild = replace(SILENCE, created_by="ann\x1b[31m\n" + "x" * 200, comment="the key is\nS3CRET-word\x07" + "y" * 9000)
    (answer,) = answers([INCIDENT], [page()], held(page(), by=(wild,)), ["S3CRET-word"])
    assert answer.by.isprintable()
    assert len(answer.by) <= 101
    assert isinstance(answer.action, Acknowledge)
    assert answer.action.text.startswith("a silence in Alertmanager: the key is [secret]")
    assert len(answer.action.text) < 600
    shown = silenced([page()], held(page(), by=(wild,)), ["S3CRET-word"])[page().identity]
    assert shown.by.isprintable()
    assert "S3CRET" not in shown.comment
