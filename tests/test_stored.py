"""What is long over, asked of the store while no daemon runs: it is all there, and its review can still be held."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from monitor.clock import SystemClock
from monitor.commands.access import Access
from monitor.core.config import WebConfig
from monitor.core.loading import Loaded
from tests.lifecycle import Life, SteadyClock, config
from tests.runbook_rows import BOOK
from tests.servers import free_port

AGO = 100 * 86400.0


async def test_an_incident_of_months_ago_is_whole_and_its_review_still_owed(tmp_path: Path) -> None:
    probes = config("whmcs", "redis")
    life = Life(probes, BOOK, tmp_path, SteadyClock(wall=SystemClock().now() - AGO))
    await life.start()
    await life.fail("whmcs")
    await life.mend("whmcs")
    await life.to(20)
    old = life.newest("whmcs").key
    life.stop()
    here = replace(probes, store=str(tmp_path / "state.db"), web=WebConfig(port=free_port()))
    await asyncio.to_thread(look_back, Access(Loaded(here, BOOK, (), ())), old)


def look_back(access: Access, old: str) -> None:
    assert access.get("/api/v1/incidents") == []
    (found,) = access.get("/api/v1/incidents", since="400d")
    assert (found["key"], found["deadlines"]["review"]) == (old, "overdue")
    assert [page["escalation_level"] for page in found["pages"]] == ["L1"]
    detail = access.get(f"/api/v1/incidents/{old}")
    assert {**detail, **found} == detail
    assert [event["kind"] for event in detail["events"]][-1] == "resolved"
    (moment,) = access.get(f"/api/v1/explain/{old}")["coming"]
    assert (moment["what"], moment["overdue"]) == ("the post-incident review is due", True)
    (row,) = access.get("/api/v1/report", since="400d")["rows"]
    assert (row["incident"], row["review"]) == (old, "overdue")
    assert access.text(f"/api/v1/incidents/{old}/review").startswith("# Post-incident review: ")
    assert access.get("/api/v1/report", since="30d")["rows"] == []
    done = access.change("POST", f"/api/v1/incidents/{old}/review", {"text": "wiki/42", "by": "ann"})
    assert (done["reviewed_by"], done["events"][-1]["text"]) == ("ann", "wiki/42")
    assert access.get("/api/v1/incidents", since="400d")[0]["deadlines"]["review"] == "done"
