"""What PostgreSQL and the poolers before it say when they refuse, down to the bytes, and the reason that is made of it.

While it connects, libpq passes on only the words; in a session the SQLSTATE counts. Texts: PostgreSQL's errcodes
appendix and its own messages (17 and older), PgBouncer's.
"""

from __future__ import annotations

import pytest

from monitor.core.probe import Fault
from monitor.probes.postgres import PROBE
from tests import wires
from tests.probing import held, open_failure
from tests.replies import serving

AT_THE_DOOR = [
    ("53300", "sorry, too many clients already", "saturated"),
    ("53300", 'remaining connection slots are reserved for roles with privileges of the "pg_use_reserved_connections" role',
     "saturated"),
    ("53300", "remaining connection slots are reserved for roles with the SUPERUSER attribute", "saturated"),
    ("53300", "remaining connection slots are reserved for non-replication superuser connections", "saturated"),
    ("53300", 'too many connections for role "portal_monitor"', "saturated"),
    ("53300", 'too many connections for database "portal"', "saturated"),
    ("08P01", "no more connections allowed (max_client_conn)", "saturated"),
    ("08P01", "query_wait_timeout", "saturated"),
    ("57P03", "the database system is starting up", "starting"),
    ("57P03", "the database system is shutting down", "starting"),
    ("57P03", "the database system is in recovery mode", "starting"),
    ("57P03", "the database system is not accepting connections", "starting"),
    ("57P03", "the database system is not yet accepting connections", "starting"),
    ("28P01", 'password authentication failed for user "portal_monitor"', "auth"),
    ("28000", 'no pg_hba.conf entry for host "203.0.113.9", user "portal_monitor", database "portal", no encryption', "auth"),
    ("28000", 'pg_hba.conf rejects connection for host "203.0.113.9", user "portal_monitor"', "auth"),
    ("28000", 'role "portal_monitor" does not exist', "auth"),
    ("28000", 'role "portal_monitor" is not permitted to log in', "auth"),
    ("3D000", 'database "portal" does not exist', "config"),
    ("55000", 'database "portal" is not currently accepting connections', "config"),
    ("42501", 'permission denied for database "portal"', "privileges"),
    ("XX000", "could not fork new process for connection", "refused"),
]  # fmt: skip
IN_A_SESSION = [
    ("53300", "sorry, too many clients already", "saturated"),
    ("57P01", "terminating connection due to administrator command", "unreachable"),
    ("57P02", "terminating connection because of crash of another server process", "unreachable"),
    ("57P03", "cannot connect now", "starting"),
    ("57P05", "terminating connection due to idle-session timeout", "unreachable"),
    ("57014", "canceling statement due to statement timeout", "slow"),
    ("55P03", "canceling statement due to lock timeout", "slow"),
    ("42501", "permission denied for view pg_stat_activity", "privileges"),
    ("28P01", "password authentication failed", "auth"),
    ("3D000", 'database "portal" does not exist', "config"),
    ("53100", 'could not extend file "base/16384/16399": No space left on device', "resources"),
    ("53200", "out of memory", "resources"),
    ("53400", "configuration limit exceeded", "resources"),
    ("58030", 'could not read block 0 in file "base/16384/1259": Input/output error', "resources"),
    ("XX001", "invalid page in block 7 of relation base/16384/16399", "corrupt"),
    ("XX002", 'index "orders_pkey" contains unexpected zero page at block 3', "corrupt"),
    ("XX000", "cache lookup failed for relation 16399", "refused"),
    ("08P01", "server conn crashed?", "unreachable"),
    ("08006", "connection failure", "unreachable"),
]
TARGETS = {"saturated", "starting", "slow", "resources", "corrupt", "refused", "unreachable"}


def url(port: int) -> str:
    return f"postgresql://portal_monitor:secret-word@127.0.0.1:{port}/portal?sslmode=disable"


@pytest.mark.parametrize(("state", "message", "reason"), AT_THE_DOOR)
async def test_a_refusal_at_the_door_has_its_reason(state: str, message: str, reason: str) -> None:
    async with serving(wires.postgres(state, message, at_the_door=True)) as server:
        error = await open_failure(PROBE, url=url(server.port))
    assert error.reason == reason
    assert message[:40] in error.detail
    assert PROBE.reason(reason).fault is (Fault.TARGET if reason in TARGETS else Fault.ACCESS)
    assert "secret-word" not in error.detail


@pytest.mark.parametrize(("state", "message", "reason"), IN_A_SESSION)
async def test_a_refusal_in_a_session_has_its_reason(state: str, message: str, reason: str) -> None:
    async with (
        serving(wires.postgres(state, message, severity="ERROR")) as server,
        held(PROBE, url=url(server.port)) as it,
    ):
        error = await it.failure()
    assert error.reason == reason
    assert PROBE.reason(reason).fault is (Fault.TARGET if reason in TARGETS else Fault.ACCESS)
