"""Grafana's dashboard: it is what its table says, and every query finds what the daemon really exports."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import SecretStr

from monitor.alerting.fallback import Fallback
from monitor.alerting.heartbeat import Heartbeat
from monitor.clock import SystemClock
from monitor.core import config
from monitor.core.incident import Page
from tests.prometheus import Prometheus
from tests.sandbox.started import Sandbox
from tests.servers import tool, wait_until

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
    "scrape_configs": [{"job_name": "portal-monitor", "static_configs": [{"targets": ["PLACE"]}]}],
}


def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / "tools/dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dashboard"] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It scrapes the daemon that watches a sandbox."""
    if tool("prometheus") is None:
        pytest.skip("Prometheus is missing: tools/fetch brings it where apt is")
    folder = tmp_path_factory.mktemp("dashboard")
    sandbox = Sandbox(folder / "sandbox", "--traffic", "25")
    sandbox.start()
    config = json.dumps(CONFIG).replace("PLACE", sandbox.state["console"].removeprefix("http://"))
    server = Prometheus(folder / "prometheus", config)
    server.start()
    yield server
    server.kill()
    sandbox.end()


def test_the_file_is_what_the_table_says() -> None:
    module = table()
    assert json.loads(module.TARGET.read_text()) == module.dashboard(), "run python tools/dashboard.py"


def test_no_panel_lies_over_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in table().dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_query_finds_something_on_a_portal_that_is_well(prometheus: Prometheus) -> None:
    panels = [panel for row in table().ROWS.values() for panel in row]
    queries = {query.replace("$__rate_interval", "1m"): panel for panel in panels for query in panel.queries}
    assert not [query for query in queries if "$" in query]

    def unanswered() -> list[str]:
        return [query for query, panel in queries.items() if not prometheus.query(query) and not panel.rare]

    try:
        wait_until(lambda: not unanswered(), seconds=60, what="an answer to every query")
    except TimeoutError:
        pytest.fail(f"these find nothing: {unanswered()}")
    known = {name for query in queries for name in re.findall(r"\b(?:portal|process)_\w+", query)}
    exported = {one["metric"]["__name__"] for one in prometheus.query('{job="portal-monitor"}')}
    assert known - exported <= {"portal_page_open"}  # no page is open


def test_the_rules_speak_of_metrics_that_there_are(prometheus: Prometheus) -> None:
    named = set(re.findall(r"\bportal_\w+", (ROOT / "alerts/rules.yml").read_text()))
    wait_until(lambda: bool(prometheus.query("portal_log_read_lag_bytes")), what="the first scrape")
    exported = {one["metric"]["__name__"] for one in prometheus.query('{job="portal-monitor"}')}
    assert named - exported - _of_what_the_sandbox_has_not() == {"portal_page_open"}  # no page is open


def _of_what_the_sandbox_has_not() -> set[str]:
    """The metrics of a heartbeat and a fallback; a heartbeat's last success is told once there was one."""
    never, clock = SecretStr("http://127.0.0.1:1"), SystemClock()
    heartbeat = Heartbeat(config.Heartbeat(never), clock, lambda: True)

    async def carried(_: Page) -> None:
        raise AssertionError("nothing is carried here")

    fallback = Fallback(config.Fallback(60.0, (), never), clock, pages=list, compose=lambda _: {}, carried=carried)
    return {family.name for family in (*heartbeat.families(), *fallback.families())}
