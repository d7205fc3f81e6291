"""The sandbox's configuration against the shipped one: other times, other addresses, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.config import Config
from monitor.core.loading import Loaded, load
from monitor.core.quantity import parse_delay
from monitor.core.runbook import Severity
from monitor.logs.window import BUCKET_SECONDS
from monitor.probes import discover
from monitor.sandbox import pace, pair
from monitor.sandbox.outages import OUTAGES
from monitor.sandbox.portal import ROOT
from monitor.sandbox.vendors import Salesforce

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ADDRESSES = pair.addresses(
    portal="http://127.0.0.1:4000", log="/tmp/combined.log", redis="redis://127.0.0.1:6379/0",
    database="postgresql://monitor:canary-db@127.0.0.1:5432/postgres", egress="127.0.0.1:1",
    whmcs="http://127.0.0.1:2/includes/api.php", whmcs_identifier="canary-id", whmcs_secret="canary-secret",
    salesforce="http://127.0.0.1:3", salesforce_key=Salesforce.private_key(), freebit="http://127.0.0.1:4/api/",
)  # fmt: skip
TIMES = {"interval", "silent_after", "failed_window", "retry_interval", "back_off", "timeout", "window", "stale_after", "older_than", "for", "unresolved", "respond", "update_every", "monitor", "reopen_within"}  # fmt: skip
SHIPPED = {
    "REDIS_URL": "redis://r", "DATABASE_URL": "postgresql://d/d", "PORTAL_URL": "https://p", "WHMCS_API_URL": "https://w",
    "WHMCS_API_IDENTIFIER": "i", "WHMCS_API_SECRET": "s", "SF_INSTANCE_URL": "https://s",
}  # fmt: skip


def places(alertmanager: str | None = "http://127.0.0.1:9093") -> pair.Places:
    return pair.Places("sqlite:///tmp/state.db", "127.0.0.1:9877", alertmanager)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return pair.write(tmp_path, ROOT, ADDRESSES, places())


def loaded(path: Path, env: dict[str, str]) -> Loaded:
    return load(
        str(path), path.read_text(), types=discover(), env=env,
        read=lambda name: (path.parent / name).read_text(),
    )  # fmt: skip


@pytest.fixture
def both(written: Path) -> tuple[Loaded, Loaded]:
    """What the shipped pair says, and what ours does."""
    return loaded(ROOT / "probes.yaml", SHIPPED), loaded(written, {})


def tree(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=LOADER)


def differences(ours: Any, shipped: Any, where: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where the two are not the same. A key and its `_file` twin are one."""
    if isinstance(ours, dict) and isinstance(shipped, dict):
        ours = {name.removesuffix("_file"): value for name, value in ours.items()}
        assert list(ours) == list(shipped), where
        return [spot for name in shipped for spot in differences(ours[name], shipped[name], (*where, str(name)))]
    if isinstance(ours, list) and isinstance(shipped, list):
        assert len(ours) == len(shipped), where
        pairs = enumerate(zip(ours, shipped, strict=True))
        return [spot for number, (one, other) in pairs for spot in differences(one, other, (*where, str(number)))]
    return [] if ours == shipped else [where]


def test_the_runbook_differs_in_times_only(written: Path) -> None:
    found = differences(tree(written.parent / "alerts/runbook.yaml"), tree(ROOT / "alerts/runbook.yaml"))
    assert found
    assert {where[-1] for where in found} <= TIMES


def test_the_probes_differ_in_times_and_addresses_only(written: Path) -> None:
    shipped = tree(ROOT / "probes.yaml")
    for where in differences(tree(written), shipped):
        was = shipped
        for name in where:
            was = was[int(name) if isinstance(was, list) else name]
        places_of_ours = where[0] in {"store", "web", "alertmanagers"}
        assert where[-1] in TIMES or places_of_ours or "${" in str(was) or "age_seconds" in str(was), where


def test_comments_and_layout_stay(written: Path) -> None:
    shipped, ours = (ROOT / "probes.yaml").read_text().splitlines(), written.read_text().splitlines()
    assert len(ours) == len(shipped)
    comments = [line.partition(" #")[2] for line in shipped]
    assert [line.partition(" #")[2] for line in ours] == comments


def test_the_pair_is_a_configuration_without_a_variable(both: tuple[Loaded, Loaded]) -> None:
    shipped, ours = both
    assert set(ours.config.probes) == set(shipped.config.probes)
    assert set(ours.runbook.scenarios) == set(shipped.runbook.scenarios)
    assert ours.config.probes["redis"].enabled
    assert not ours.config.probes["portal-certificate"].enabled


def test_secrets_stand_in_files_of_their_own(written: Path) -> None:
    assert "canary" not in written.read_text() + (written.parent / "alerts/runbook.yaml").read_text()
    assert (written.parent / "secrets/whmcs-api-secret").read_text() == "canary-secret"


def intervals(config: Config) -> dict[str, float]:
    return {name: probe.interval for name, probe in config.probes.items()}


def same_order(ours: dict[Any, float], shipped: dict[Any, float]) -> bool:
    """Whether no two of them changed places, and none became equal that was not."""
    return all(
        (ours[one] < ours[other]) == (shipped[one] < shipped[other]) for one in shipped for other in shipped
    )  # fmt: skip


def test_times_keep_their_order(both: tuple[Loaded, Loaded]) -> None:
    shipped, ours = both
    assert same_order(intervals(ours.config), intervals(shipped.config))
    holds = [
        {(name, rule.key): rule.hold for name, scenario in one.runbook.scenarios.items() for rule in scenario.rules}
        for one in (ours, shipped)
    ]
    assert same_order(*holds)


def test_what_must_outlast_a_window_does(both: tuple[Loaded, Loaded]) -> None:
    """Monitoring outlasts every window, so that symptoms clear before their cause is resolved; so do their holds."""
    for one in both:
        windows = {name: probe.options.window for name, probe in one.config.probes.items() if probe.type.name == "log"}  # type: ignore[attr-defined]
        assert one.runbook.lifecycle.monitor >= max(windows.values())
        for rule in one.runbook.scenarios["performance"].rules:
            watched = [windows[term.name] for term in rule.terms if term.name in windows]
            assert rule.hold > max((window + BUCKET_SECONDS for window in watched), default=0)


def test_every_outage_leads_where_the_runbook_can_go(both: tuple[Loaded, Loaded]) -> None:
    for outage in OUTAGES.values():
        if outage.scenario:
            assert outage.severity in both[1].runbook.scenarios[outage.scenario].severities, outage.name
        else:
            assert outage.severity is None
            assert outage.heals_itself_after, outage.name


def test_outages_that_page_nobody_are_over_before_any_hold_is(both: tuple[Loaded, Loaded]) -> None:
    rules = both[1].runbook.scenarios
    bff = min(rule.hold for rule in rules["portal-unreachable"].rules if "bff" in str(rule.terms))
    redis = min(rule.hold for rule in rules["redis"].rules if rule.severity is Severity.P2)
    assert (OUTAGES["deploy"].heals_itself_after or 0) < bff
    assert (OUTAGES["redis-failover"].heals_itself_after or 0) < redis


def test_without_an_alertmanager_none_is_configured() -> None:
    text = pair.probes_for((ROOT / "probes.yaml").read_text(), ADDRESSES, places(None))
    assert yaml.load(text, Loader=LOADER)["alertmanagers"] == []


def test_a_variable_that_the_sandbox_does_not_know_is_told() -> None:
    with pytest.raises(pair.PairError, match="MOON_URL"):
        pair.probes_for("probes: {moon: {url: '${MOON_URL}'}}", ADDRESSES, places())


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_longer_wait_stays_longer(one: int, other: int) -> None:
    for scale in (pace.beat, pace.wait, pace.life, pace.age, pace.window):
        assert (scale(one) < scale(other)) == (one < other)


@given(st.floats(0.01, 1e5))
def test_a_time_that_is_written_can_be_read(seconds: float) -> None:
    assert parse_delay(pace.written(seconds)) == pytest.approx(seconds, abs=0.006, rel=1e-4)
