"""The outages: what can be broken, what that must lead to, and how it is done and undone.

`OUTAGES` is what `sandbox list` shows and what the end-to-end test expects of the daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from monitor.core.runbook import Severity
from monitor.sandbox import pace
from monitor.sandbox.portal import REDIS_BYTES, Portal
from monitor.sandbox.vendors import Trouble

SLOW_SECONDS = 2.6
BUG_RATIO = 0.1
FAILED_LOGINS_PER_SECOND = 20.0
DEPLOY_SECONDS = pace.wait(30)
FAILOVER_SECONDS = pace.wait(20)
BALLAST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Outage:
    """One way to break the portal, and the scenario and severity that the runbook has for it (None: no page)."""

    name: str
    sentence: str
    scenario: str | None
    severity: Severity | None
    begin: Callable[[Portal], Awaitable[None]]
    end: Callable[[Portal], Awaitable[None]]
    heals_itself_after: float | None = None  # seconds


async def _kill_redis(portal: Portal) -> None:
    await asyncio.to_thread(portal.redis.kill)


async def _start_redis(portal: Portal) -> None:
    if not portal.redis.running:
        await portal.start_redis()


async def _fill_redis(portal: Portal) -> None:
    """Ballast up to the limit; then the limit is lowered a little, so that no small write slips through."""
    async with Redis.from_url(portal.redis.url) as client:
        try:
            for number in range(2 * REDIS_BYTES // BALLAST_BYTES):
                await client.set(f"sandbox:ballast:{number}", b"x" * BALLAST_BYTES)
        except OutOfMemoryError:
            await client.config_set("maxmemory", REDIS_BYTES - 2**20)


async def _empty_redis(portal: Portal) -> None:
    async with Redis.from_url(portal.redis.url) as client:
        await client.config_set("maxmemory", REDIS_BYTES)
        ballast = [key async for key in client.scan_iter("sandbox:ballast:*", count=1000)]
        if ballast:
            await client.unlink(*ballast)


async def _fail_over_redis(portal: Portal) -> None:
    """The old primary becomes a replica, goes away, and comes back as the new primary."""
    async with Redis.from_url(portal.redis.url) as client:
        await client.replicaof("127.0.0.1", "1")
    await asyncio.sleep(FAILOVER_SECONDS / 2)
    await _kill_redis(portal)
    await asyncio.sleep(FAILOVER_SECONDS / 2)
    await _start_redis(portal)


async def _kill_postgres(portal: Portal) -> None:
    await asyncio.to_thread(portal.postgres.kill)


async def _start_postgres(portal: Portal) -> None:
    if not portal.postgres.running:
        await portal.start_postgres()


async def _take_slots(portal: Portal) -> None:
    portal.keep("postgres-connections", portal.take_slots())
    await portal.slots_taken.wait()


async def _leave_slots(portal: Portal) -> None:
    await portal.drop("postgres-connections")


async def _kill_bff(portal: Portal) -> None:
    await portal.bff.kill()


async def _start_bff(portal: Portal) -> None:
    if not portal.bff.pid:
        portal.bff = await portal.new_bff()
        await portal.bff.tell(portal.order)


async def _deploy(portal: Portal) -> None:
    """The new one is warm before the old one goes, so that the gap is as long as it says."""
    fresh = await portal.new_bff()
    await portal.bff.stop()
    portal.bff = fresh
    await asyncio.sleep(DEPLOY_SECONDS)
    await portal.bff.tell(portal.order)


async def _nothing(_portal: Portal) -> None:
    """It heals by itself."""


def _events(flow: bool) -> Callable[[Portal], Awaitable[None]]:
    async def change(portal: Portal) -> None:
        portal.salesforce.events_flow = flow

    return change


def _whmcs(trouble: Trouble | None) -> Callable[[Portal], Awaitable[None]]:
    async def change(portal: Portal) -> None:
        portal.whmcs.trouble = trouble

    return change


def _site(name: str, up: bool) -> Callable[[Portal], Awaitable[None]]:
    async def change(portal: Portal) -> None:
        site = portal.sites[name]
        if up:
            await site.open()
        else:
            site.shut()

    return change


def _bff(**changes: float) -> Callable[[Portal], Awaitable[None]]:
    async def change(portal: Portal) -> None:
        await portal.tell_bff(**changes)

    return change


async def _cut_the_way_out(portal: Portal) -> None:
    """Only the monitor's: the BFF still reaches every vendor, so nothing but the monitor is blind."""
    portal.egress.shut_all()
    for site in portal.sites.values():
        site.cut()


async def _mend_the_way_out(portal: Portal) -> None:
    for site in portal.sites.values():
        await site.reconnect()
    await portal.egress.open(portal.egress_port)


P1, P2, P3, P4 = Severity
_TABLE = (
    Outage("redis", "Redis is killed", "redis", P2, _kill_redis, _start_redis),
    Outage("redis-memory", "Redis has no memory left and refuses writes", "redis", P2, _fill_redis, _empty_redis),
    Outage("redis-failover", f"Redis is read-only, then away, {FAILOVER_SECONDS:.1f} s in all", None, None,
           _fail_over_redis, _nothing, FAILOVER_SECONDS),
    Outage("postgres", "PostgreSQL is killed", "database", P1, _kill_postgres, _start_postgres),
    Outage("postgres-connections", "Every connection slot of PostgreSQL is taken", "database", P2,
           _take_slots, _leave_slots),
    Outage("events", "Platform events stop coming while orders wait", "salesforce-events", P2,
           _events(False), _events(True)),
    Outage("whmcs", "WHMCS refuses connections", "whmcs", P2, _site("whmcs", False), _site("whmcs", True)),
    Outage("whmcs-maintenance", "WHMCS shows its maintenance page", "whmcs", P2, _whmcs("maintenance"), _whmcs(None)),
    Outage("whmcs-credentials", "WHMCS refuses the API credentials", "whmcs", P2, _whmcs("credentials"), _whmcs(None)),
    # The BFF has another address: WHMCS works for it, only we cannot see that.
    Outage("whmcs-ip", "WHMCS no longer allows the monitor's address", "monitoring-blind", P3, _whmcs("ip"), _whmcs(None)),
    # A single integration down is P3; that its events no longer reach the BFF makes it P2.
    Outage("salesforce", "Salesforce refuses connections", "salesforce-events", P2,
           _site("salesforce", False), _site("salesforce", True)),
    Outage("freebit", "Freebit refuses connections", "performance", P3, _site("freebit", False), _site("freebit", True)),
    Outage("latency", f"Every page takes {SLOW_SECONDS} s longer", "performance", P3,
           _bff(delay_seconds=SLOW_SECONDS), _bff(delay_seconds=0.0)),
    Outage("errors", f"{BUG_RATIO:.0%} of the requests meet a bug", "performance", P3,
           _bff(error_ratio=BUG_RATIO), _bff(error_ratio=0.0)),
    Outage("bff", "The BFF is killed", "portal-unreachable", P1, _kill_bff, _start_bff),
    Outage("deploy", f"A new BFF replaces the old one, {DEPLOY_SECONDS:.1f} s in all", None, None,
           _deploy, _nothing, DEPLOY_SECONDS),
    Outage("logins", f"{FAILED_LOGINS_PER_SECOND:.0f} logins a second fail, from many addresses", "security", P4,
           _bff(failed_logins_per_second=FAILED_LOGINS_PER_SECOND), _bff(failed_logins_per_second=0.0)),
    Outage("egress", "Our own way out is cut, so no vendor can be seen", "monitoring-blind", P3,
           _cut_the_way_out, _mend_the_way_out),
)  # fmt: skip

OUTAGES: Mapping[str, Outage] = {outage.name: outage for outage in _TABLE}
