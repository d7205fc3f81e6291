"""Every reason that a probe type declares can be reached: one way to each, through the real runner.

`WAYS` has a row for each (type, reason), and a test fails where a declared reason has none. So no reason is declared
for show, and what operators read of it in the documentation is what they may meet.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from monitor.clock import SystemClock
from monitor.core.probe import TIMEOUT, Fault, Json, Outcome, ProbeError, Result, Sample
from monitor.logs.journal import Journal
from monitor.logs.worker import Worker
from monitor.probes import bullmq, discover, log, replay
from monitor.runner import Runner
from tests import wires
from tests.probes.test_contract import TYPES, configured
from tests.probes.test_salesforce import LOGIN_ERRORS
from tests.replies import Certificates, Handler, blurts, hangs, http, says, serving
from tests.servers import free_port


@dataclass
class Scene:
    """What a way may use: a folder of its own, and the worker's real servers, started when they are asked for."""

    folder: Path
    request: pytest.FixtureRequest

    @property
    def redis_url(self) -> str:
        return str(self.request.getfixturevalue("redis_server").url)

    @property
    def postgres_url(self) -> str:
        return str(self.request.getfixturevalue("postgres_url"))


Way = Callable[[str, Scene], Awaitable[str]]
"""Brings a probe of this type to its reason, and gives the reason told."""


async def told(
    name: str, options: Mapping[str, Any], *, cursor: Json = None, timeout: float = 2.0, runs: int = 1, **more: Any
) -> str:
    """The reason of the last of so many runs."""
    runner, result = Runner(SystemClock()), None
    try:
        for _ in range(runs):
            result = await runner.run(configured(discover()[name], options, timeout), cursor, **more)
            cursor = result.cursor
    finally:
        await runner.close()
    assert isinstance(result, Result)
    fault = discover()[name].reason(result.reason).fault
    assert result.outcome is (Outcome.FAILURE if fault is Fault.TARGET else Outcome.ERROR)
    return result.reason


def at(name: str, port: int) -> dict[str, Any]:
    """Options for a server on this port of loopback."""
    return dict(TYPES[name].at(f"127.0.0.1:{port}"))


def server(handler: Handler, *, cursor: Json = None, timeout: float = 2.0, **options: Any) -> Way:
    """A server that behaves so."""

    async def way(name: str, scene: Scene) -> str:
        async with serving(handler) as running:
            return await told(name, {**at(name, running.port), **options}, cursor=cursor, timeout=timeout)

    return way


async def nobody(name: str, scene: Scene) -> str:
    """Nobody listens there."""
    return await told(name, at(name, free_port()))


def answers(body: object, status: int = 200, **options: Any) -> Way:
    """A web server with this answer to everything."""
    return server(says(http(body if isinstance(body, str) else json.dumps(body), status)), **options)


# --- certificates -----------------------------------------------------------------------------------------------------

_SECURE: Mapping[str, Callable[[int, Path], dict[str, Any]]] = {
    "http": lambda port, ca: {"url": f"https://127.0.0.1:{port}/", "ca_file": ca},
    "tcp": lambda port, ca: {"target": f"127.0.0.1:{port}", "tls": True, "ca_file": ca},
    "whmcs": lambda port, ca: {"url": f"https://127.0.0.1:{port}/includes/api.php", "ca_file": ca},
    "salesforce": lambda port, ca: {"instance_url": f"https://127.0.0.1:{port}", "login": False, "ca_file": ca},
    "freebit": lambda port, ca: {"url": f"https://127.0.0.1:{port}/", "ca_file": ca},
    **dict.fromkeys(
        ("redis", "replay", "bullmq"), lambda port, ca: {"url": f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}"}
    ),
}


async def expired(name: str, scene: Scene) -> str:
    """A certificate that ended yesterday."""
    certificates = Certificates(scene.folder)
    then = datetime.now(UTC) - timedelta(days=1)
    tls = certificates.server(not_before=then - timedelta(days=30), not_after=then)
    async with serving(hangs, tls=tls) as running:
        return await told(name, {**at(name, running.port), **_SECURE[name](running.port, certificates.ca_file)})


async def no_tls(name: str, scene: Scene) -> str:
    """Plain words where TLS is expected."""
    certificates = Certificates(scene.folder)
    async with serving(blurts(b"-ERR Protocol error\r\n")) as running:
        return await told(name, {**at(name, running.port), **_SECURE[name](running.port, certificates.ca_file)})


# --- Redis, and what is kept in it ------------------------------------------------------------------------------------

# As Redis 7 says it: https://redis.io/docs/latest/, and its source, server.c.
REDIS_SAYS: Mapping[str, bytes] = {
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "busy": b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
    "misconf": b"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."
    b" Commands that may modify the data set are disabled.\r\n",
    "masterdown": b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    "clusterdown": b"-CLUSTERDOWN Hash slot not served\r\n",
    "oom": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "readonly": b"-READONLY You can't write against a read only replica.\r\n",
    "noperm": b"-NOPERM this user has no permissions to run the 'info' command\r\n",
    "cluster": b"-MOVED 3999 127.0.0.1:6381\r\n",
    "refused": b"-ERR unknown command\r\n",
}
REDIS_WAYS: Mapping[str, Way] = {
    "unreachable": nobody,
    "maxclients": server(blurts(b"-ERR max number of clients reached\r\n")),
    "certificate": expired,
    "tls": no_tls,
    "protocol": server(blurts(b"SSH-2.0-OpenSSH_9.2\r\n")),
    "auth": server(
        wires.redis(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", to=frozenset({b"AUTH"}))
    ),
    **{reason: server(wires.redis(words)) for reason, words in REDIS_SAYS.items()},
}


async def no_such_database(name: str, scene: Scene) -> str:
    return await told(name, {**TYPES[name].at(""), "url": scene.redis_url.replace("/0", "/99")})


NOREPLICAS = server(
    wires.redis(b"", to=frozenset(), info=b"run_id:a\r\nrole:master\r\nerrorstat_NOREPLICAS:count=2\r\n"),
    cursor={"at": 0.0, "run_id": "a", "counters": {"errors_NOREPLICAS": 1.0}, "lookups": []},
)


def kept(*, cursor: Callable[[float], Json] = lambda now: None, keys: Mapping[str, str] = {}, **more: Any) -> Way:
    """A real Redis with these keys, and what was remembered at this moment."""

    async def way(name: str, scene: Scene) -> str:
        with Redis.from_url(scene.redis_url) as client:
            for key, value in keys.items():
                client.set(key, value)
        now = SystemClock().now()
        measured = {probe: Sample(now, found) for probe, found in more.pop("measured", {}).items()}
        options = {**TYPES[name].at(""), "url": scene.redis_url, **more}
        return await told(name, options, cursor=cursor(now), measured=measured)

    return way


KEY = "sf:pe:replay:/event/Order__e"


def last_moved(hours: float, **more: Any) -> Callable[[float], Json]:
    """The memory of one channel whose id has stood still for so long."""

    def cursor(now: float) -> Json:
        channel = replay.Channel("1", now - 3600 * hours, format="decimal")
        return replay.Memory({KEY: channel}, scanned=True, **more).dump()

    return cursor


WAITING: dict[str, Any] = {"evidence": {"waiting": "orders.waiting"}}
ORDERS_WAIT = {"measured": {"orders": {"waiting": 3.0}}}

# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def refuses(state: str, message: str, **how: Any) -> Way:
    """A PostgreSQL that refuses every query so, or the connection (`at_the_door`)."""
    return server(wires.postgres(state, message, **how))


async def read_only(name: str, scene: Scene) -> str:
    return await told(name, {"url": f"{scene.postgres_url}?options=-c%20default_transaction_read_only%3Don"})


async def without_tls(name: str, scene: Scene) -> str:
    return await told(name, {"url": f"{scene.postgres_url}?sslmode=require"})


# --- Salesforce -------------------------------------------------------------------------------------------------------

TOKEN = http('{"access_token": "00D!token"}')


def asked(body: object, status: int = 200) -> Way:
    """A Salesforce that logs in and then answers so."""
    return server(says(TOKEN, http(body if isinstance(body, str) else json.dumps(body), status)))


def error_of(code: str, status: int) -> Way:
    return asked([{"message": "told to people", "errorCode": code}], status)


SALESFORCE_LOGINS: Mapping[str, Way] = {
    reason: answers({"error": error, "error_description": description}, 400)
    for error, description, reason in LOGIN_ERRORS
}

# --- files, logs and processes ----------------------------------------------------------------------------------------


def file(content: bytes | None, *, options: Mapping[str, Any] = {}, **how: Any) -> Way:
    """A file with this content; None: there is none."""

    async def way(name: str, scene: Scene) -> str:
        path = scene.folder / "subject"
        if content is not None:
            path.write_bytes(content)
        return await told(name, {**TYPES[name].at(str(path)), **options}, **how)

    return way


async def a_folder(name: str, scene: Scene) -> str:
    return await told(name, TYPES[name].at(str(scene.folder)))


@asynccontextmanager
async def read_by_hand(scene: Scene) -> AsyncIterator[Journal]:
    """A followed log whose every step the test takes."""
    path = scene.folder / "combined.log"
    path.write_text('{"level":30,"msg":"hello"}\n')
    options = log.LogOptions(path=str(path))
    worker = Worker()
    journal = Journal(options.path, options.spec(), worker, time.monotonic, time.time, options.window)
    try:
        yield journal
    finally:
        journal.close()
        worker.stop()


def complaint(journal: Journal, now: float) -> str:
    with pytest.raises(ProbeError) as caught:
        log.check(journal, now)
    return caught.value.reason


async def not_read_to_the_end(name: str, scene: Scene) -> str:
    async with read_by_hand(scene) as journal:
        journal.look()
        return complaint(journal, time.monotonic())


async def not_looked_at(name: str, scene: Scene) -> str:
    async with read_by_hand(scene) as journal:
        journal.look()
        while journal.advance():
            pass
        log.check(journal, time.monotonic())
        return complaint(journal, time.monotonic() + log.STALLED_SECONDS + 1)


async def silent(name: str, scene: Scene) -> str:
    path = scene.folder / "combined.log"
    path.write_text('{"level":30,"msg":"hello"}\n')
    os.utime(path, (time.time() - 700, time.time() - 700))
    return await told(name, {"path": str(path), "silent_after": "10m"})


async def another_host_key(name: str, scene: Scene) -> str:
    asyncssh = pytest.importorskip("asyncssh", reason="needs the package asyncssh")
    listener = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")])
    try:
        return await told(name, at(name, listener.get_port()), timeout=5.0)
    finally:
        listener.close()
        await listener.wait_closed()


async def babbling_ssh(reader: Any, writer: Any) -> bytes:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    if await reader.read(4096):
        writer.write(b"\xff" * 64)
    return await hangs(reader, writer)


def no_process(**how: Any) -> Way:
    async def way(name: str, scene: Scene) -> str:
        return await told(name, {"pattern": "no-such-process-[0-9]{9}"}, **how)

    return way


# --- the table --------------------------------------------------------------------------------------------------------

CONNECTION: Mapping[str, Way] = {"unreachable": nobody, "tls": no_tls, "certificate": expired}
SILENCE = server(hangs, timeout=0.2)
AT_ONCE = 1e-6  # seconds: over before the thread that reads can answer

WAYS: Mapping[str, Mapping[str, Way]] = {
    "redis": {**REDIS_WAYS, "database": no_such_database, "noreplicas": NOREPLICAS, TIMEOUT: SILENCE},
    "replay": {
        **REDIS_WAYS,
        "database": no_such_database,
        TIMEOUT: SILENCE,
        "never-seen": kept(),
        "gone": kept(cursor=last_moved(1)),
        "broken": kept(cursor=last_moved(1), keys={KEY: "1"}, **WAITING, **ORDERS_WAIT),
        "expiring": kept(cursor=last_moved(61), keys={KEY: "1"}, **WAITING, **ORDERS_WAIT),
        "unproved": kept(cursor=last_moved(1, accused_by=["waiting"]), keys={KEY: "1"}, **WAITING),
    },
    "bullmq": {
        **REDIS_WAYS,
        "database": no_such_database,
        TIMEOUT: SILENCE,
        "never-seen": kept(),
        "gone": kept(cursor=lambda now: {"order-provisioning": bullmq.Memory(now - 15, 7.0).dump()}),
        "layout": kept(keys={"bull:order-provisioning:wait": "not a list"}),
    },
    "postgres": {
        "unreachable": nobody,
        "saturated": refuses("53300", "sorry, too many clients already", at_the_door=True),
        "starting": refuses("57P03", "the database system is starting up", at_the_door=True),
        "slow": refuses("57014", "canceling statement due to statement timeout", severity="ERROR"),
        "readonly": read_only,
        "resources": refuses("53100", "could not extend file: No space left on device", severity="ERROR"),
        "corrupt": refuses("XX001", "invalid page in block 0 of relation base/16384/16385", severity="ERROR"),
        "refused": refuses("XX000", "cache lookup failed for relation 1", severity="ERROR"),
        "tls": without_tls,
        "protocol": server(blurts(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        "auth": refuses("28P01", 'password authentication failed for user "monitor"', at_the_door=True),
        "config": refuses("3D000", 'database "portal" does not exist', at_the_door=True),
        "privileges": refuses("42501", "permission denied for view pg_locks", severity="ERROR"),
        TIMEOUT: SILENCE,
    },
    "http": {
        **CONNECTION,
        "status": answers("", 500),
        "body": answers("<html>hello</html>"),
        "redirect": answers("", 302, follow_redirects=True),
        "auth": answers("", 401),
        "throttled": answers("slow down", 429),
        "too-large": answers("x" * 2000, max_bytes="1KiB"),
        TIMEOUT: SILENCE,
    },
    "tcp": {**CONNECTION, TIMEOUT: server(hangs, timeout=0.2, tls=True)},
    "whmcs": {
        **CONNECTION,
        "maintenance": answers("<html><title>Down for Maintenance</title>"),
        "credentials": answers({"result": "error", "message": "Authentication Failed"}, 403),
        "allow-list": answers({"result": "error", "message": "Invalid IP 203.0.113.9"}, 403),
        "action": answers({"result": "error", "message": 'Invalid API Action: "x" is not a valid API action'}),
        "degraded": answers("<html>Fatal error"),
        "status": answers("", 404),
        "throttled": answers("", 429),
        TIMEOUT: SILENCE,
    },
    "salesforce": {
        **CONNECTION,
        **SALESFORCE_LOGINS,
        "maintenance": asked("<html>We are down for maintenance.</html>", 503),
        "quota": error_of("REQUEST_LIMIT_EXCEEDED", 403),
        "degraded": asked("{not json"),
        "status": error_of("UNKNOWN_EXCEPTION", 500),
        "throttled": asked("slow down", 429),
        "version": error_of("NOT_FOUND", 404),
        "session": error_of("INVALID_SESSION_ID", 401),
        "query": error_of("MALFORMED_QUERY", 400),
        "rights": error_of("INSUFFICIENT_ACCESS", 403),
        TIMEOUT: SILENCE,
    },
    "freebit": {
        **CONNECTION,
        "refused": answers({"resultCode": "201"}),
        "degraded": answers("<html>maintenance"),
        "status": answers("", 500),
        "throttled": answers("", 429),
        TIMEOUT: SILENCE,
    },
    "sftp": {
        "unreachable": nobody,
        "greeting": server(blurts(b"220 mail.example.com ESMTP\r\n")),
        "host-key": another_host_key,
        "key-exchange": server(babbling_ssh, timeout=5.0),
        TIMEOUT: SILENCE,
    },
    "log": {
        "missing": file(None),
        "unreadable": a_folder,
        "behind": not_read_to_the_end,
        "read_stalled": not_looked_at,
        "silent": silent,
        "not_understood": file(b"what is this?\n" * 50, options={"format": "pino"}),
    },
    "settings": {
        "not-visible": file(None),
        "not-settings": file(b"no settings\n"),
        TIMEOUT: file(b"A=b\n", timeout=AT_ONCE),
    },
    "process": {"absent": no_process(timeout=5.0), TIMEOUT: no_process(timeout=AT_ONCE)},
}


@pytest.mark.parametrize(("name", "reason"), [(name, reason) for name, ways in WAYS.items() for reason in ways])
async def test_a_reason_can_be_reached(name: str, reason: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert await WAYS[name][reason](name, Scene(tmp_path, request)) == reason


@pytest.mark.parametrize("name", discover())
def test_no_declared_reason_is_without_a_way(name: str) -> None:
    late = set() if name == "log" else {TIMEOUT}  # a run of `log` reads what another thread has read: it is never late
    assert set(WAYS[name]) == {*discover()[name].reasons, *late}
