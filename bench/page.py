"""How long from a killed Redis to a page: `kill -9`, then the moment a webhook behind a real Alertmanager is called.

The probe has `interval: 15s, fail_after: 3, retry_interval: 300ms`, the rule no hold, Alertmanager `group_wait: 0s`.
Ten kills, each with a fresh daemon, so that no flapping shortens the way; the README quotes the median. Everything runs on loopback and ends by itself.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from monitor.sandbox.servers import RedisServer
from tests.alertmanager import Alertmanager, Webhook
from tests.daemon import Daemon
from tests.servers import free_port, wait_until

KILLS = 10
PROBE = {
    "type": "redis",
    "url": "${BENCH_REDIS_URL}",
    "interval": "15s",
    "timeout": "5s",
    "fail_after": 3,
    "retry_interval": "300ms",
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="portal-monitor-bench-") as name, Webhook() as webhook:
        folder = Path(name)
        folder.chmod(0o711)
        redis = RedisServer(folder / "redis", free_port())
        redis.start()
        alertmanager = Alertmanager(folder / "alertmanager", webhook.url)
        alertmanager.start()
        scenario = {"title": "Redis connection failures", "rules": [{"severity": "P2", "any": ["redis"]}]}
        try:
            seconds = []
            for number in range(1, KILLS + 1):
                daemon = Daemon(
                    folder / str(number), {"redis": PROBE}, {"redis": scenario}, (alertmanager.url,),
                    env={"BENCH_REDIS_URL": redis.url}, more={"labels": {"kill": str(number)}},
                )  # fmt: skip
                seconds.append(_one(daemon, redis, webhook, str(number)))
        finally:
            alertmanager.stop()
            redis.kill()
    low, high = min(seconds), max(seconds)
    print(
        f"kill -9 of Redis to the webhook: median {statistics.median(seconds):.2f} s, {low:.2f} to {high:.2f} s, {KILLS} kills"
    )


def _one(daemon: Daemon, redis: RedisServer, webhook: Webhook, kill: str) -> float:
    daemon.start()
    try:
        daemon.wait_for_level("redis", "ok", seconds=60)
        killed = time.monotonic()
        redis.kill()
        wait_until(lambda: bool(webhook.of("firing", scenario="redis", kill=kill)), what="the page", seconds=30)
        took = time.monotonic() - killed
        redis.start()
        wait_until(lambda: bool(webhook.of("resolved", scenario="redis", kill=kill)), what="its end", seconds=60)
        return took
    finally:
        daemon.stop()


if __name__ == "__main__":
    main()
