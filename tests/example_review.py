"""The review of a scripted P1 of forty minutes, in fast-forward: `python -m tests.example_review > docs/example-review.md`."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from monitor.alerting.review import review
from monitor.cli import load
from monitor.core.action import Acknowledge, Action, Identify, Note, SetImpact, Update
from monitor.core.calendar import Calendar
from monitor.core.loading import Loaded
from monitor.core.probe import Outcome
from monitor.core.schedule import phase
from tests.simulation import Simulation
from tests.test_shipped import ENVIRONMENT, Portal

BREAKS_AT, LASTS_SECONDS = 1_100.0, 2_400.0
FAILING = {"postgres": "unreachable", "db-pool": "unreachable", "bff": "check:database"}
SCRIPT: tuple[tuple[float, str, Action], ...] = (  # seconds after it broke, who, what
    (240, "aoki", Acknowledge()),
    (420, "aoki", Note("The server has no disk left: pg_wal fills it, held back by an old replication slot")),
    (900, "aoki", Update("Freeing space on the database server; its restart is being prepared")),
    (1080, "tanaka", Identify("A replication slot that nobody read kept the write-ahead log until the disk was full")),
    (1200, "tanaka", SetImpact("No customer can sign in or place an order", customers=True)),
    (2280, "aoki", Note("Dropped the slot standby_old and started PostgreSQL", fix=True)),
    (2460, "tanaka", Note("The disk of the database server is at 41 % again")),
)
SEEN_SECONDS = 3600.0  # after the start: when the draft is read


async def example(loaded: Loaded, folder: Path) -> str:
    """The draft as the shipped files make it, by the calendar of Tokyo, a few minutes after it was over."""
    loaded = replace(loaded, config=replace(loaded.config, calendar=Calendar(ZoneInfo("Asia/Tokyo"))))
    portal = Portal(loaded, BREAKS_AT, LASTS_SECONDS, FAILING, 0.9)
    offsets = {item.name: phase(item.name, min(item.interval, 10.0)) for item in loaded.config.enabled()}
    run = Simulation(loaded.config, loaded.runbook, folder, lambda *_: (Outcome.SUCCESS, ""), offsets=offsets)
    run.result = portal.result
    await run.start()
    for after, who, what in SCRIPT:
        await run.run(BREAKS_AT + after - run.clock.monotonic())
        await run.cycle.act(run.cycle.incidents()[0].key, what, who)
    await run.run(SEEN_SECONDS - run.elapsed)
    (item,) = (item for item in run.cycle.incidents() if item.scenario == "database")
    text = review(item, run.store.events(item.key), run.cycle.told().pages, run.cycle.incidents(), run.cycle.facts())
    run.close()
    return text


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    os.environ.update(ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(asyncio.run(example(load("probes.yaml"), Path(folder))))


if __name__ == "__main__":
    main()
