"""Every outage of the sandbox through the daemon and a real Alertmanager: one page, the right one, and its end.

Several sandboxes work off the outages side by side, because an outage is mostly waiting: for a hold to ripen, for a
log's window to forget, for the monitoring phase to pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import httpx
import pytest

from monitor.sandbox import pace, remote
from monitor.sandbox.outages import OUTAGES
from tests.sandbox.started import Sandbox
from tests.servers import tool

SANDBOXES = 7
REQUESTS_PER_SECOND = 4  # enough for `min_samples`; a sandbox then takes a tenth of a core
RIPE_SECONDS = pace.wait(6 * 60) + 4  # the longest hold of a symptom, and the time until it is seen
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Case:
    """Outages that begin within one second, and the one incident that they are."""

    outages: tuple[str, ...]
    scenario: str | None
    severity: str | None

    @property
    def name(self) -> str:
        return " and ".join(self.outages)


CASES = [
    *(Case((name,), outage.scenario, str(outage.severity or "") or None) for name, outage in OUTAGES.items()),
    Case(("redis", "postgres"), "portal-unreachable", "P1"),
]


class Watched:
    """A sandbox with the daemon on it."""

    def __init__(self, folder: Path) -> None:
        self.sandbox = Sandbox(folder, "--traffic", str(REQUESTS_PER_SECOND))
        self.sandbox.start()
        self._client = httpx.Client(trust_env=False, verify=False, timeout=10)

    def close(self) -> None:
        self._client.close()
        self.sandbox.end()

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.get(f"{self.sandbox.state['console']}/api/v1/status").json()
        return answer

    def pages(self, since: int = 0) -> list[dict[str, Any]]:
        """What Alertmanager notified, from this one on: pages only, no updates."""
        kept = remote.pages(self.sandbox.folder)[since:]
        return [page for page in kept if page["labels"]["kind"] == "page"]

    def notified(self) -> int:
        return len(remote.pages(self.sandbox.folder))

    def is_well(self) -> bool:
        status = self.status()
        levels = {probe["level"] for probe in status["probes"] if probe["enabled"]}
        return levels == {"ok"} and not [one for one in status["incidents"] if one["state"] != "resolved"]

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come: {self.story()}")
            time.sleep(0.5)

    def story(self) -> str:
        status = self.status()
        incidents = [
            (one["key"], one["state"], one["severity"], one["parent"], one["why"])
            for one in status["incidents"] if one["state"] != "resolved"
        ]  # fmt: skip
        bad = {probe["name"]: (probe["level"], probe["reason"]) for probe in status["probes"] if probe["level"] != "ok"}
        return f"incidents {incidents}, probes {bad}"


def told(page: dict[str, Any]) -> tuple[str, str, str]:
    return page["labels"]["scenario"], page["labels"]["severity"], page["labels"]["escalation_level"]


def live_through(watched: Watched, case: Case) -> list[str]:
    """Break, watch, heal, watch; what was not as it must be."""
    watched.wait(watched.is_well, "a portal that is well")
    since, began = watched.notified(), time.monotonic()
    before = {one["key"]: one["opening"] for one in watched.status()["incidents"]}
    for name in case.outages:
        watched.sandbox.break_(name)
    if case.scenario:
        wanted = (case.scenario, case.severity, "L1")
        watched.wait(lambda: wanted in [told(page) for page in watched.pages(since)], f"the page {wanted}")
    time.sleep(max(0.0, RIPE_SECONDS - (time.monotonic() - began)))  # its symptoms had the time to be incidents too
    opened = [one for one in watched.status()["incidents"] if before.get(one["key"]) != one["opening"]]
    if OUTAGES[case.outages[0]].heals_itself_after is None:
        for name in case.outages:
            watched.sandbox.heal(name)
    wait_for_the_end(watched, since)
    return judged(case, opened, watched.pages(since))


def wait_for_the_end(watched: Watched, since: int) -> None:
    watched.wait(watched.is_well, "the end of it")
    watched.wait(lambda: not still_firing(watched.pages(since)), "the end of every page")


def still_firing(pages: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {told(page) for page in pages if page["status"] == "firing"} - {
        told(page) for page in pages if page["status"] == "resolved"
    }


def judged(case: Case, opened: list[dict[str, Any]], pages: list[dict[str, Any]]) -> list[str]:
    """One incident, its symptoms silent below it; each page once, and its end once."""
    own = [one for one in opened if one["scenario"] == case.scenario]
    strangers = [one["key"] for one in opened if one["scenario"] != case.scenario and one["parent"] is None]
    problems = [f"an incident of its own: {key}" for key in strangers]
    if case.scenario and len(own) != 1:
        problems.append(f"{len(own)} incidents of {case.scenario}")
    others = [page for page in pages if page["labels"]["scenario"] != case.scenario]
    problems += [f"paged: {told(page)} of {page['labels']['incident']}" for page in others]
    for status in ("firing", "resolved"):
        said = [told(page) for page in pages if page["status"] == status]
        problems += [f"{status} twice: {page}" for page in set(said) if said.count(page) > 1]
    return problems


def work_off(folder: Path, cases: SimpleQueue[Case]) -> dict[str, list[str]]:
    """Live through cases until there is none left; the problems of each."""
    watched = Watched(folder)
    found: dict[str, list[str]] = {}
    try:
        while True:
            case = cases.get_nowait()
            try:
                found[case.name] = live_through(watched, case)
            except TimeoutError as error:
                found[case.name] = [str(error)]
    except Empty:
        return found
    finally:
        watched.close()


def test_every_outage_is_one_incident_and_one_page(servers_folder: Path) -> None:
    if not (tool("prometheus-alertmanager") or tool("alertmanager")):
        pytest.skip("needs Alertmanager: tools/fetch")
    cases: SimpleQueue[Case] = SimpleQueue()
    for case in CASES:
        cases.put(case)
    folders = [servers_folder / f"outages-{number}" for number in range(SANDBOXES)]
    with ThreadPoolExecutor(SANDBOXES) as pool:
        shares = list(pool.map(work_off, folders, [cases] * SANDBOXES))
    problems = {name: told for share in shares for name, told in share.items()}
    assert set(problems) == {case.name for case in CASES}
    assert {name: told for name, told in problems.items() if told} == {}
