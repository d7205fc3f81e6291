"""One look at some probes: what they need and what they read is looked at first."""

from __future__ import annotations

import pytest
from redis import Redis

from monitor.commands.glance import look_once
from monitor.core.loading import load
from monitor.probes import discover
from monitor.sandbox.servers import RedisServer
from tests.core.test_evidence import RUNBOOK

PROBES = """
runbook: runbook.yaml
probes:
  replay: {type: replay, url: "%(url)s", evidence: {waiting: redis.ping_seconds, enqueued: other.ping_seconds}}
  redis: {type: redis, url: "%(url)s", needs: %(needs)s}
  other: {type: redis, url: "%(url)s", enabled: false}
"""


@pytest.mark.parametrize(
    ("needs", "silent"),
    [("[]", "other"), ("[replay]", "other, redis")],  # where each waits for the other, neither can be first
)
async def test_evidence_is_gathered_first_and_a_disabled_probe_gives_none(
    redis_server: RedisServer, needs: str, silent: str
) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.set("sf:pe:replay:/event/Order__e", "12907414")
    text = PROBES % {"url": redis_server.url, "needs": needs}
    loaded = load("probes.yaml", text, types=discover(), env={}, read=lambda name: RUNBOOK)
    (view,) = await look_once(loaded.config, ["replay"])
    assert view.result is not None
    assert view.result.details["evidence"] == f"nothing fresh from {silent}"
