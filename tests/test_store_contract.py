"""What every store promises, whatever is behind it: kept together or not at all, once, for one writer, and for a year."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.core.incident import Event, Incident, Notice, NoticeKind, Page, State
from monitor.core.maintenance import Window
from monitor.core.runbook import Severity
from monitor.store import Changes, Locked, SavedProbe, Store
from tests.simulation import FakeClock
from tests.store_contract import KINDS, Kind

DAY = 86400.0
NOW = FakeClock().wall

ITEM = Incident("redis-1", "redis", State.INVESTIGATING, Severity.P2, Severity.P2, NOW - 60, NOW).takes(
    Severity.P2, NOW
)
OVER = replace(ITEM, state=State.RESOLVED, resolved_at=NOW)
PAGE = Page("redis-1", 1, Severity.P2, "L1", labels={"a": "b"}, due_at=NOW, fired_at=NOW)
NOTICE = Notice("redis-1", NoticeKind.REMINDER, "review", 1, {"a": "b"}, {"summary": "x"}, NOW, NOW)
EVENT = Event("redis-1", 1, NOW, "opened", "P2: redis")
WINDOW = Window("maintenance-1", ("redis", "scenario:whmcs"), NOW, NOW + 60, "a disk", "ann")

Open = Callable[[], Store]


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def reopen(kind: Kind, clock: FakeClock, tmp_path: Path) -> Iterator[Open]:
    """Open the store, after closing it if it is open."""
    opened: list[Store] = []

    def again() -> Store:
        while opened:
            opened.pop().close()
        opened.append(kind.open(tmp_path, clock))
        return opened[-1]

    yield again
    for store in opened:
        store.close()


async def test_an_empty_store_says_so_and_one_that_knows_anything_does_not(reopen: Open) -> None:
    store = reopen()
    assert store.load().empty
    assert await store.save(Changes(resources={"log": b"1"}))
    assert not reopen().load().empty


async def test_what_is_saved_is_there_after_a_restart(reopen: Open) -> None:
    changes = Changes(
        {"redis": SavedProbe("digest", cursor={"offset": 12})}, (), {("redis", "P2 any redis"): NOW}, (ITEM,), (PAGE,),
        (NOTICE,), (EVENT,), (WINDOW,), {("redis", Severity.P2): 3}, {"log": b"\x00\xff"},
    )  # fmt: skip
    assert await reopen().save(changes)
    store = reopen()
    saved = store.load()
    assert saved.probes["redis"].cursor == {"offset": 12}
    assert (saved.rules, saved.opened) == (changes.rules, changes.opened)
    assert (saved.incidents, saved.pages, saved.notices, saved.windows) == ((ITEM,), (PAGE,), (NOTICE,), (WINDOW,))
    assert (store.events("redis-1"), saved.numbers) == ([EVENT], {"redis-1": 1})
    assert (store.resource("log"), store.resource("another"), store.events("another")) == (b"\x00\xff", None, [])


async def test_what_is_left_when_it_closes_is_kept(reopen: Open) -> None:
    store = reopen()
    for number in range(50):
        store.save(Changes({"redis": SavedProbe("digest", cursor=number)}))
    assert reopen().load().probes["redis"].cursor == 49


async def test_a_newer_value_takes_the_place_of_an_older_one(reopen: Open) -> None:
    store = reopen()
    await store.save(Changes(incidents=(ITEM,), pages=(PAGE,), rules={("redis", "a"): 1.0, ("redis", "b"): 2.0}))
    ended = replace(PAGE, ended_at=NOW + 9)
    await store.save(Changes(incidents=(OVER,), pages=(ended,), rules={("redis", "a"): None, ("redis", "b"): 3.0}))
    saved = reopen().load()
    assert (saved.incidents, saved.pages, saved.rules) == ((OVER,), (ended,), {("redis", "b"): 3.0})


async def test_a_probe_that_is_gone_is_gone(reopen: Open) -> None:
    store = reopen()
    await store.save(Changes({"redis": SavedProbe("a"), "bff": SavedProbe("b")}, incidents=(ITEM,)))
    await store.save(Changes(gone=("redis",), incidents=(ITEM,)))
    assert list(reopen().load().probes) == ["bff"]


# --- nothing twice ---------------------------------------------------------------------------------------------------


async def test_labels_of_a_page_and_words_of_a_notice_and_a_line_of_a_timeline_never_change(reopen: Open) -> None:
    store = reopen()
    await store.save(Changes(incidents=(ITEM,), pages=(PAGE,), notices=(NOTICE,), events=(EVENT,)))
    other = {"a": "another"}
    await store.save(
        Changes(
            pages=(replace(PAGE, labels=other),),
            notices=(replace(NOTICE, labels=other, words=other),),
            events=(replace(EVENT, text="another"),),
        )
    )
    store = reopen()
    saved = store.load()
    assert (saved.pages, saved.notices, store.events("redis-1")) == ((PAGE,), (NOTICE,), [EVENT])


@pytest.mark.parametrize(
    "other",
    [
        {"opening": 2}, {"severity": Severity.P1}, {"escalation_level": "L2"}, {"vendor": "whmcs"}, {"attempt": 2},
    ],
    ids=str,
)  # fmt: skip
async def test_a_page_is_known_by_opening_severity_level_vendor_and_attempt(
    reopen: Open, other: dict[str, Any]
) -> None:
    store = reopen()
    await store.save(Changes(incidents=(ITEM,), pages=(PAGE, replace(PAGE, **other), PAGE, replace(PAGE, **other))))
    assert len(reopen().load().pages) == 2


@pytest.mark.parametrize("other", [{"kind": NoticeKind.UPDATE}, {"key": "update"}, {"number": 2}], ids=str)
async def test_a_notice_is_known_by_kind_key_and_number(reopen: Open, other: dict[str, Any]) -> None:
    store = reopen()
    await store.save(Changes(incidents=(ITEM,), notices=(NOTICE, replace(NOTICE, **other))))
    await store.save(Changes(notices=(NOTICE, replace(NOTICE, **other))))
    assert len(reopen().load().notices) == 2


async def test_one_incident_of_a_scenario_is_open_and_the_next_may_open_as_it_closes(reopen: Open) -> None:
    store = reopen()
    await store.save(Changes(incidents=(ITEM,)))
    second = replace(ITEM, key="redis-2", started_at=NOW)
    assert not await store.save(Changes(incidents=(second,)))
    assert store.error
    assert [item.key for item in store.load().incidents] == ["redis-1"]
    assert await store.save(Changes(incidents=(second, OVER)))
    assert not store.error
    assert [(item.key, item.open) for item in reopen().load().incidents] == [("redis-1", False), ("redis-2", True)]


async def test_what_contradicts_does_not_hold_up_what_does_not(reopen: Open) -> None:
    store = reopen()
    await store.save(Changes(incidents=(ITEM,)))
    both = (
        store.save(Changes(incidents=(replace(ITEM, key="redis-2"),))),
        store.save(Changes(resources={"log": b"1"})),
    )
    await asyncio.gather(*both)
    assert await store.save(Changes(resources={"another": b"2"}))
    store = reopen()
    assert (store.resource("log"), store.resource("another")) == (b"1", b"2")
    assert [item.key for item in store.load().incidents] == ["redis-1"]


async def test_a_second_writer_is_refused_in_one_line_until_the_first_is_gone(
    kind: Kind, reopen: Open, clock: FakeClock, tmp_path: Path
) -> None:
    reopen()
    with pytest.raises(Locked, match="another portal-monitor is running on this store") as refused:
        kind.open(tmp_path, clock)
    assert "\n" not in str(refused.value)
    reopen()


# --- time ------------------------------------------------------------------------------------------------------------


async def test_it_knows_when_the_last_of_it_was_decided(reopen: Open, clock: FakeClock) -> None:
    store = reopen()
    await store.save(Changes(incidents=(ITEM,)))
    before = clock.moment()
    clock.advance_to(clock.mono + 10)
    assert reopen().load().seen == before


async def test_a_step_of_the_clock_that_nobody_has_seen_yet_is_not_hidden_by_a_slow_disk(
    reopen: Open, clock: FakeClock
) -> None:
    """What was decided by the old clock and written by the new one must not look as if it were of the new one."""
    store = reopen()
    before = clock.moment()
    waiting = [store.save(Changes(resources={str(number): b""})) for number in range(3)]
    clock.step(3600)
    await asyncio.gather(*waiting)
    assert reopen().load().seen == before


async def test_timelines_of_what_is_at_hand_move_with_the_clock_by_every_step_and_only_once(reopen: Open) -> None:
    store = reopen()
    another = replace(OVER, key="whmcs-1", scenario="whmcs")
    await store.save(Changes(incidents=(ITEM, another), events=(EVENT, replace(EVENT, incident="whmcs-1"))))
    waiting = [store.save(Changes(incidents=(ITEM,), shift_seconds=60.0)) for _ in range(2)]
    noted = (replace(EVENT, number=2, kind="clock"),)
    waiting.append(store.save(Changes(incidents=(ITEM,), events=noted, shift_seconds=-5.0)))
    await asyncio.gather(*waiting)
    store = reopen()
    assert [event.at - NOW for event in store.events("redis-1")] == [115.0, 0.0]
    assert [event.at - NOW for event in store.events("whmcs-1")] == [
        0.0
    ]  # it is not at hand, and none of its times move


async def test_maintenance_is_loaded_while_it_is_on_and_also_if_the_clock_was_set_over_its_end(
    reopen: Open, clock: FakeClock
) -> None:
    await reopen().save(Changes(windows=(WINDOW,)))
    clock.step(3600)
    assert reopen().load().windows == (WINDOW,)
    await reopen().save(Changes(resources={"log": b""}))
    assert reopen().load().windows == ()


async def test_a_month_is_at_hand_and_a_key_that_was_ever_given_is_known_for_longer(
    reopen: Open, clock: FakeClock
) -> None:
    open_ = replace(ITEM, key="whmcs-1", scenario="whmcs")
    page, notice = replace(PAGE, ended_at=NOW), replace(NOTICE, ended_at=NOW)
    await reopen().save(Changes(incidents=(OVER, open_), pages=(page,), notices=(notice,), events=(EVENT,)))
    clock.step(32 * DAY)
    saved = reopen().load()
    assert (saved.incidents, saved.pages, saved.notices, saved.numbers) == ((open_,), (), (), {"redis-1": 1})


async def test_after_a_year_and_a_month_it_is_forgotten_but_for_evidence_and_what_is_open(
    reopen: Open, clock: FakeClock
) -> None:
    kinds = {
        "old": replace(OVER, resolved_at=NOW), "young": replace(OVER, resolved_at=NOW + 2 * DAY),
        "evidence": replace(OVER, evidence=True), "open": ITEM,
    }  # fmt: skip
    items = tuple(replace(item, key=name, scenario=name) for name, item in kinds.items())
    pages = tuple(replace(PAGE, incident=name) for name in kinds)
    notices = tuple(replace(NOTICE, incident=name) for name in kinds)
    events = tuple(replace(EVENT, incident=name) for name in kinds)
    await reopen().save(Changes(incidents=items, pages=pages, notices=notices, events=events, windows=(WINDOW,)))
    clock.step(401 * DAY)
    store = reopen()
    await store.save(Changes(resources={"log": b"a"}))
    assert len(store.events("old")) == 1  # not at once: a machine that has just booted may be years ahead
    clock.advance_to(clock.mono + 3601)
    await store.save(Changes(resources={"log": b"b"}))  # the writer looks at the time after what it writes
    await store.save(Changes(resources={"log": b"c"}))
    assert {name: len(store.events(name)) for name in kinds} == {"old": 0, "young": 1, "evidence": 1, "open": 1}
    clock.step(-401 * DAY)
    saved = reopen().load()
    left = {"young", "evidence", "open"}
    assert {item.key for item in saved.incidents} == left
    assert {page.incident for page in saved.pages} == {notice.incident for notice in saved.notices} == left
    assert saved.windows == ()


# --- whatever happens ------------------------------------------------------------------------------------------------

keys = st.sampled_from(["redis-1", "redis-2", "whmcs-1"])
changes = st.builds(
    lambda key, resolved, openings, numbers, rule: Changes(
        incidents=(replace(OVER if resolved else ITEM, key=key, scenario=key, opening=len(openings) + 1),),
        pages=tuple(replace(PAGE, incident=key, opening=opening) for opening in openings),
        events=tuple(replace(EVENT, incident=key, number=number) for number in numbers),
        rules={(key, "rule"): rule},
        resources={key: bytes(numbers)},
    ),
    keys, st.booleans(), st.lists(st.integers(1, 4), max_size=3), st.lists(st.integers(1, 9), max_size=4),
    st.one_of(st.none(), st.floats(0, 1e9)),
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(moments=st.lists(changes, max_size=12), waits=st.lists(st.booleans(), min_size=12, max_size=12))
async def test_whatever_is_saved_in_whatever_groups_is_what_is_loaded(
    kind: Kind, tmp_path_factory: pytest.TempPathFactory, moments: list[Changes], waits: list[bool]
) -> None:
    place, clock = tmp_path_factory.mktemp("store"), FakeClock()
    store = kind.open(place, clock)
    items: dict[str, Incident] = {}
    pages: dict[tuple[str, int], Page] = {}
    events: dict[tuple[str, int], Event] = {}
    rules: dict[tuple[str, str], float] = {}
    resources: dict[str, bytes] = {}
    for moment, waits_for_it in zip(moments, waits, strict=False):
        saved = store.save(moment)
        if waits_for_it:
            assert await saved
        items |= {item.key: item for item in moment.incidents}
        pages |= {(page.incident, page.opening): page for page in moment.pages}
        events |= {(event.incident, event.number): event for event in moment.events}
        resources |= moment.resources
        for rule, since in moment.rules.items():
            rules.pop(rule, None)
            rules |= {} if since is None else {rule: since}
    store.close()
    again = kind.open(place, clock)
    loaded = again.load()
    assert {item.key: item for item in loaded.incidents} == items
    assert {(page.incident, page.opening): page for page in loaded.pages} == pages
    for key in items:
        assert again.events(key) == sorted((e for e in events.values() if e.incident == key), key=lambda e: e.number)
        assert again.resource(key) == resources[key]
    assert loaded.rules == rules
    again.close()
