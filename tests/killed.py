"""A daemon's decisions in a process of their own, killed again and again: `python -m tests.killed FOLDER SEED KILLS`.

Each life goes on from the store that the one before left behind, in made-up time, and does at random what makes writes.
It is killed (SIGKILL) before its n-th statement of SQL, before or after it told somebody for the n-th time, or at any
moment. What was told, and what somebody was told had been done, stands in a file that a kill cannot undo. After each
kill the store is read, and then a daemon that is not killed looks at what it found; what is wrong ends the program.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import mmap
import os
import random
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from monitor.core.action import Acknowledge, Action, Declare, Identify, Note, Open, Refused, Resolve, SetSeverity
from monitor.core.incident import Incident, Page
from monitor.core.runbook import Severity
from monitor.cycle import Told
from monitor.store import StoreError, read
from tests.lifecycle import FAIL, OK, Life, SteadyClock, check_timelines, config
from tests.model import HOUR, MINUTE, RULES, SIGHT, Case, Model
from tests.runbook_rows import BOOK

PROBES = sorted({term.name for item in BOOK.scenarios.values() for rule in item.rules for term in rule.terms})
ACTIONS: list[Action] = [
    Acknowledge(), Identify("a leak"), Note("x"), Declare("customer_impact", "x"), Resolve(force="x"),
    *(SetSeverity(severity, "x") for severity in Severity),
]  # fmt: skip
KINDS = {
    Acknowledge: "ack", Identify: "identified", Note: "note", Declare: "declared", Resolve: "resolved",
    SetSeverity: "severity",
}  # fmt: skip


class SharedClock(SteadyClock):
    """Made-up time that outlives the process that moves it: two numbers in memory that it shares with its children."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        super().__init__(*struct.unpack("dd", memory[:16]))

    def advance_to(self, mono: float) -> None:
        super().advance_to(mono)
        self._keep()

    def step(self, seconds: float) -> None:
        super().step(seconds)
        self._keep()

    def _keep(self) -> None:
        self._memory[:16] = struct.pack("dd", self.wall, self.mono)


@dataclass
class Doom:
    """When a life ends: before its n-th event of this kind (`statement`, `tell`, `told`), or at any moment."""

    kind: str
    number: int

    def near(self, kind: str) -> None:
        if kind == self.kind:
            self.number -= 1
            if self.number <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Outbox:
    """What left the process, one line of JSON each, in a file that is written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._known = {tuple(line) for line in self.lines()}

    def put(self, *line: object) -> None:
        if line not in self._known:
            self._known.add(line)
            os.write(self._file, json.dumps(line).encode() + b"\n")

    def lines(self) -> list[list[Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()]


class Mortal(Life):
    """A life that ends as `doom` says, and puts into the outbox what it tells."""

    def __init__(self, folder: Path, clock: SharedClock, outbox: Outbox, doom: Doom) -> None:
        self._outbox, self._doom = outbox, doom
        super().__init__(config(*PROBES), BOOK, folder, clock)
        self.store._db.set_trace_callback(lambda sql: doom.near("statement"))

    def _tell(self, told: Told) -> None:
        super()._tell(told)
        self._doom.near("tell")
        for page in told.pages:
            self._outbox.put("page", *page.identity)
            if page.ended_at is not None:
                self._outbox.put("end", *page.identity)
        for notice in told.notices:
            self._outbox.put("notice", notice.incident, notice.kind.value, notice.key, notice.number)
        self._doom.near("told")


async def live(life: Mortal, dice: random.Random, outbox: Outbox, number: int) -> None:
    """Do things at random, until it is over."""
    for name in PROBES:
        life.world[name] = FAIL if dice.random() < 0.3 else OK
    await life.start()
    for move in range(400):
        life.clock.advance_to(life.clock.mono + 0.37)
        kind = dice.random()
        if kind < 0.35:
            await life.becomes(dice.choice(PROBES), dice.choice([OK, FAIL]))
        elif kind < 0.6:
            await life.wait(dice.choice([1, 5, 16, 31]) * MINUTE)
        elif kind < 0.65:
            life.clock.step(dice.choice([HOUR, -HOUR]))
        elif kind < 0.7:
            with suppress(Refused):
                item = await life.report(Open(dice.choice(list(RULES)), "x", dice.choice(list(Severity))))
                outbox.put("did", item.key, "opened", number, move)
        elif known := life.cycle.incidents():
            item, what = dice.choice(known), dice.choice(ACTIONS)
            with suppress(Refused):
                await life.cycle.act(item.key, what, "ann")
                outbox.put("did", item.key, KINDS[type(what)], number, move)


def end_one_life(folder: Path, memory: mmap.mmap, dice: random.Random, number: int) -> str:
    """Fork, live, die. Returns how."""
    kind = dice.choice(["statement", "statement", "tell", "told", "any"])
    doom = Doom(kind, dice.randrange(1, 150 if kind == "statement" else 20))
    seed, patience = dice.random(), dice.uniform(0.005, 0.15)
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            outbox = Outbox(folder / "outbox")
            life = Mortal(folder, SharedClock(memory), outbox, doom)
            asyncio.run(live(life, random.Random(seed), outbox, number))
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kind == "any":
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"life {number} ended by itself: {doom}"
    return kind if os.WIFSIGNALED(status) else "of old age"


# --- what must be true after each ------------------------------------------------------------------------------------


def has_tables(folder: Path) -> bool:
    """Not so if it was killed before it made them."""
    try:
        read(folder / "state.db")
    except StoreError as error:
        return "no store yet" not in str(error) and "older portal-monitor" not in str(error)
    return True


def check_store(folder: Path, outbox: Outbox) -> None:
    """Everything that left the process is in the store, once, in order."""
    if not has_tables(folder):
        assert outbox.lines() == []
        return
    saved, events = read(folder / "state.db")
    pages = {page.identity: page for page in saved.pages}
    notices = {(item.incident, item.kind.value, item.key, item.number) for item in saved.notices}
    done = Counter((key, event.kind) for key, line in events.items() for event in line)
    did: Counter[tuple[str, str]] = Counter()
    for what, *line in outbox.lines():
        key = tuple(line)
        if what == "page":
            assert key in pages, f"told, not saved: {line}"
        elif what == "end":
            assert pages[key].ended_at is not None, f"told to be over, and it is not: {line}"
        elif what == "notice":
            assert key in notices, f"told, not saved: {line}"
        else:
            did[line[0], line[1]] += 1
    for what_was_done, count in did.items():
        assert done[what_was_done] >= count, f"somebody did it, and it is not saved: {what_was_done}"
    for item in saved.incidents:
        ours = [page for page in saved.pages if page.incident == item.key]
        numbers = [event.number for event in events[item.key]]
        assert numbers == list(range(1, len(numbers) + 1)), (item.key, numbers)
        assert done[item.key, "paged"] == len(ours), (item.key, ours)
        told = done[item.key, "told"] + done[item.key, "reminded"]
        assert told == sum(notice.incident == item.key for notice in saved.notices), item.key
        assert all(page.fired_at >= page.due_at - 0.001 for page in ours), ours
        check_no_page_twice(ours)


def check_no_page_twice(pages: list[Page]) -> None:
    """Each step of an opening is told again only at a worse severity."""
    steps: dict[tuple[object, ...], list[Page]] = {}
    for page in sorted(pages, key=lambda page: page.fired_at):
        steps.setdefault((page.opening, page.escalation_level, page.vendor, page.attempt), []).append(page)
    for ours in steps.values():
        severities = [page.severity for page in ours]
        assert all(a > b for a, b in itertools.pairwise(severities)), ours


async def look(folder: Path, memory: mmap.mmap) -> int:
    """One that is not killed goes on: whatever is due by the history that was saved has been told a moment later."""
    life = Life(config(*PROBES), BOOK, folder, SharedClock(memory))
    try:
        life.clock.advance_to(life.clock.mono + 1)
        await life.start()
        await life.wait(SIGHT + 1)  # for as long a page of before waits for probes that come and go
        told = life.cycle.told()
        check_timelines(life, told.incidents)
        for item in told.incidents:
            if item.open and item.parent is None and item.state.value != "monitoring":
                calls = case_of(item, list(told.pages)).calls
                for due, *step in Model()._dues(item.scenario, case_of(item, list(told.pages)), life.clock.wall):
                    said = [call for call in calls if list(call[2:]) == step and call[1] <= item.severity]
                    assert said or due > life.clock.wall, f"lost: {item.key} {step}, due {life.clock.wall - due} s ago"
        return len(told.pages)
    finally:
        life.stop()


def case_of(item: Incident, pages: list[Page]) -> Case:
    """What the store says of an incident, in the words of the model."""
    ours = [page for page in pages if page.incident == item.key and page.opening == item.opening]
    return Case(
        item.started_at, item.opened_at, [(taken.at, int(taken.severity)) for taken in item.stays],
        opening=item.opening, ack=(item.ack.at, int(item.ack.severity)) if item.ack else None,
        impact=item.customer_impact_at, declared=item.declared_at,
        calls=[(page.opening, int(page.severity), page.escalation_level, page.vendor, page.attempt) for page in ours],
        called_at=[page.fired_at for page in ours],
    )  # fmt: skip


def main(folder: Path, seed: int, kills: int, say: Callable[[str], object] = print) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    dice = random.Random(seed)
    memory = mmap.mmap(-1, 16)
    memory[:16] = struct.pack("dd", SteadyClock().wall, SteadyClock().mono)
    ends: Counter[str] = Counter()
    number = pages = 0
    outbox = Outbox(folder / "outbox")
    while sum(ends.values()) - ends["of old age"] < kills:
        number += 1
        ends[end_one_life(folder, memory, dice, number)] += 1
        check_store(folder, outbox)
        if (folder / "state.db").exists():
            pages = asyncio.run(look(folder, memory))
    say(f"seed {seed}: {dict(ends)}, {pages} pages, {len(outbox.lines())} lines told")
    assert pages > kills / 10, "hardly anything was told: this proves nothing"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
