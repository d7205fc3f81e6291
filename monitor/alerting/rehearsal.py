"""One synthetic page, end to end through each Alertmanager: what `alert-test` sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.alerting.alertmanager import Alert, render
from monitor.alerting.wire import Verdict, Wire, name_of
from monitor.clock import Clock, SystemClock
from monitor.core.config import AlertmanagerConfig, Config

LEASE_SECONDS = 300.0
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the page at one Alertmanager."""

    url: str
    ok: bool
    text: str


async def send_test_page(config: Config, severity: str, timeout_seconds: float) -> list[Report]:
    """Send the page, see that it is held and to whom it is routed, resolve it. A report for each Alertmanager."""
    clock = SystemClock()
    stamp = f"{clock.now():.0f}"
    labels = {
        **config.labels,
        "alertname": "PortalMonitorTest",
        "scenario": "test",
        "incident": f"test-{stamp}",
        "severity": severity,
        "escalation_level": "L1",
        "vendor": "none",
        "attempt": "1",
        "audience": "oncall",
        "kind": "page",
        "source": "push",
    }
    sending = [_rehearse(item, clock, labels, severity, timeout_seconds) for item in config.alertmanagers]
    return list(await asyncio.gather(*sending))


async def _rehearse(
    config: AlertmanagerConfig, clock: Clock, labels: Mapping[str, str], severity: str, timeout_seconds: float
) -> Report:
    url = name_of(config.url)
    words = {
        "title": f"[{severity}] TEST page of portal-monitor",
        "summary": "A test of the way that pages take. Nothing is wrong.",
        "status_update": f"TEST - {severity} - nothing is wrong",
        "severity_now": severity,
    }
    alert = Alert(labels, words, clock.now(), None, LEASE_SECONDS)
    wire = Wire(config, clock, timeout_seconds)
    try:
        sent = await wire.post("/api/v2/alerts", _body(alert, clock))
        if sent.verdict is not Verdict.TAKEN:
            return Report(url, ok=False, text=f"refused: {sent.text}")
        receivers = await _receivers(wire, labels["incident"], timeout_seconds)
        ended = Alert(labels, words, alert.starts_at, clock.now(), LEASE_SECONDS)
        await wire.post("/api/v2/alerts", _body(ended, clock))
    finally:
        await wire.close()
    if not receivers:
        return Report(url, ok=False, text=f"took the page but did not show it within {timeout_seconds:g} s")
    return Report(url, ok=True, text=f"took a {severity} page and routes it to: {', '.join(receivers)}; resolved again")


def _body(alert: Alert, clock: Clock) -> bytes:
    return b"[" + render(alert, clock.now()) + b"]"


async def _receivers(wire: Wire, incident: str, timeout_seconds: float) -> list[str]:
    """To whom Alertmanager routes the page; none if it does not show it in time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            while not (held := await _held(wire, incident)):  # noqa: ASYNC110 (Alertmanager tells nobody when)
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        return []
    return sorted({receiver["name"] for alert in held for receiver in alert["receivers"]})


async def _held(wire: Wire, incident: str) -> list[dict[str, Any]]:
    reply = await wire.get("/api/v2/alerts", {"filter": f'incident="{incident}"'})
    return json.loads(reply.body) if reply.verdict is Verdict.TAKEN else []
