"""The postgres probe on a primary and a real standby that follows it: lag, slots, and what is left when one is gone."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from monitor.core.probe import ProbeError
from monitor.probes.postgres import PROBE
from monitor.sandbox.servers import PostgresServer, _other_user, postgres_programs
from tests.conftest import MakePostgres
from tests.probing import Held, eventually, held
from tests.servers import free_port

SETTINGS = {"wal_level": "replica", "max_wal_senders": "4", "max_replication_slots": "4", "hot_standby": "on",
            "wal_receiver_status_interval": "1s", "wal_retrieve_retry_interval": "100ms"}  # fmt: skip


@dataclass
class Pair:
    """A primary, and a standby that streams from it through the slot `standby`."""

    primary: PostgresServer
    standby: PostgresServer

    def tell(self, server: PostgresServer, statement: str) -> Any:
        with psycopg.connect(server.url, autocommit=True) as admin:
            cursor = admin.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def write(self) -> None:
        """Something for the standby to play."""
        self.tell(self.primary, "CREATE TABLE IF NOT EXISTS filler (words text)")
        self.tell(self.primary, "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 500)")

    def position(self, server: PostgresServer, function: str) -> int:
        return int(self.tell(server, f"SELECT pg_wal_lsn_diff({function}(), '0/0')"))

    def is_level(self) -> bool:
        """Whether the standby has played all that the primary has written."""
        written = self.position(self.primary, "pg_current_wal_lsn")
        return self.position(self.standby, "pg_last_wal_replay_lsn") >= written


@pytest.fixture
def pair(make_postgres: MakePostgres, servers_folder: Path) -> Iterator[Pair]:
    """Made with pg_basebackup, of the newest PostgreSQL that there is."""
    programs = max(postgres_programs(), key=lambda folder: "embedded" in str(folder))
    primary = make_postgres(SETTINGS, programs=programs)
    folder = Path(tempfile.mkdtemp(prefix="standby-", dir=servers_folder))
    folder.chmod(0o711)
    user = _other_user()
    if user:
        shutil.chown(folder, user.pw_name)
    tools = primary._reachable_programs(user)
    subprocess.run(
        [str(tools / "pg_basebackup"), "-d", primary.url, "-D", str(folder / "data"), "-R", "-X", "stream",
         "-c", "fast", "-C", "-S", "standby"],
        check=True, capture_output=True, user=user and user.pw_uid, group=user and user.pw_gid,
        extra_groups=[] if user else None,
    )  # fmt: skip
    shutil.copy(primary.folder / "password", folder / "password")
    standby = PostgresServer(folder, free_port(), SETTINGS, programs=programs)
    standby.start(wait=False)
    made = Pair(primary, standby)
    try:
        yield made
    finally:
        standby.stop()
        primary.stop()


@asynccontextmanager
async def watched(server: PostgresServer, **options: Any) -> AsyncIterator[Held]:
    async def answers() -> bool:
        try:
            async with held(PROBE, url=server.url, role="any"):
                return True
        except ProbeError:
            return False

    await eventually(20, answers)
    async with held(PROBE, url=server.url, **options) as target:
        yield target


async def measured(target: Held) -> dict[str, float]:
    return dict((await target.run()).measurements)  # type: ignore[arg-type]


async def streams(pair: Pair) -> None:
    async with watched(pair.standby, role="any"):
        await eventually(20, lambda: pair.tell(pair.primary, "SELECT count(*) FROM pg_stat_replication") == 1)
        pair.write()
        await eventually(20, pair.is_level)


async def test_lag_and_slots_tell_how_far_a_standby_is_behind_and_what_is_kept_for_one_that_is_gone(pair: Pair) -> None:
    await streams(pair)
    async with watched(pair.primary) as primary:
        async with watched(pair.standby, role="any") as standby:
            await keeps_up(primary, standby)
            await stops_playing(pair, primary, standby)
        await is_gone(pair, primary)


async def keeps_up(primary: Held, standby: Held) -> None:
    """No lag, and the slot keeps next to nothing."""

    async def is_settled() -> bool:
        found = await measured(primary)
        return found["replication_lag_seconds"] < 1 and found["slots_retained_bytes"] < 2**20

    await eventually(20, is_settled)
    at_primary, at_standby = await measured(primary), await measured(standby)
    assert (at_primary["replicas"], at_primary["slots_inactive"]) == (1, 0)
    assert at_standby["replication_lag_seconds"] == 0
    assert "replicas" in at_standby


async def stops_playing(pair: Pair, primary: Held, standby: Held) -> None:
    """It falls behind, as both sides see it, and catches up."""
    pair.tell(pair.standby, "SELECT pg_wal_replay_pause()")

    async def is_behind() -> bool:
        pair.write()
        return (await measured(primary))["replication_lag_seconds"] > 0.5

    await eventually(20, is_behind)
    first = (await measured(standby))["replication_lag_seconds"]
    assert first > 0
    await asyncio.sleep(0.05)
    assert (await measured(standby))["replication_lag_seconds"] > first
    pair.tell(pair.standby, "SELECT pg_wal_replay_resume()")

    async def is_level() -> bool:
        return (await measured(standby))["replication_lag_seconds"] == 0

    await eventually(20, is_level)


async def is_gone(pair: Pair, primary: Held) -> None:
    """Its slot keeps more and more."""
    pair.standby.kill()

    async def is_missed() -> bool:
        return (await measured(primary))["replicas"] == 0

    await eventually(20, is_missed)
    before = await measured(primary)
    pair.write()
    after = await measured(primary)
    assert before["slots_inactive"] == after["slots_inactive"] == 1
    assert after["slots_retained_bytes"] > before["slots_retained_bytes"] + 100_000
    assert "replication_lag_seconds" not in after  # nobody follows, so nobody lags: the slot tells


async def test_a_standby_that_is_cut_off_grows_old_though_it_has_played_all_it_has(pair: Pair) -> None:
    await streams(pair)
    async with watched(pair.standby, role="any") as standby:
        pair.primary.kill()

        async def is_cut_off() -> bool:
            return (await measured(standby))["replication_lag_seconds"] > 0

        await eventually(20, is_cut_off)
        first = (await measured(standby))["replication_lag_seconds"]
        await asyncio.sleep(0.05)
        assert (await measured(standby))["replication_lag_seconds"] > first


async def test_a_failover_leaves_a_standby_where_the_primary_was_and_promoting_it_makes_it_well(pair: Pair) -> None:
    await streams(pair)
    async with watched(pair.standby) as target:
        assert (await target.failure()).reason == "readonly"
        pair.tell(pair.standby, "SELECT pg_promote(true, 30)")
        found = await measured(target)
    assert "replication_lag_seconds" not in found
