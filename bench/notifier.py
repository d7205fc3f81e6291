"""How long a page takes from the decision to a webhook behind a real Alertmanager (group_wait 0s), and a storm of them."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from monitor.alerting.alertmanager import Alert, Notifier
from monitor.clock import SystemClock
from monitor.core.config import AlertmanagerConfig
from tests.alertmanager import Alertmanager, Webhook

ROUNDS = 20
STORM = 1000


def page(name: str) -> Alert:
    labels = {"alertname": "Redis", "incident": name, "severity": "P2", "kind": "page", "source": "push"}
    return Alert(labels, {"title": "Redis is down", "diagnosis": "x" * 1000}, time.time())


async def measure(server: Alertmanager, webhook: Webhook) -> None:
    client = Notifier([AlertmanagerConfig(server.url)], SystemClock())
    task = asyncio.create_task(client.run())
    alerts, took = [], []
    for number in range(ROUNDS):
        alerts.append(page(f"round-{number}"))
        began = time.time()
        client.set(alerts)
        arrived = await asyncio.to_thread(webhook.wait_for_alert, "firing", incident=f"round-{number}")
        took.append(arrived.at - began)
    print(f"decision to webhook, {ROUNDS} rounds: median {statistics.median(took) * 1000:.1f} ms,", end=" ")
    print(f"worst {max(took) * 1000:.1f} ms")
    storm = [page(f"storm-{number}") for number in range(STORM)]
    began = time.perf_counter()
    client.set(storm)
    wanted = time.perf_counter() - began
    while client.oldest_undelivered_seconds > 0:
        await asyncio.sleep(0.001)
    print(f"{STORM} pages at once: wanted in {wanted * 1000:.1f} ms,", end=" ")
    print(f"taken by Alertmanager in {(time.perf_counter() - began) * 1000:.0f} ms")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Webhook() as webhook:
        server = Alertmanager(Path(folder), webhook.url)
        server.start()
        try:
            asyncio.run(measure(server, webhook))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
