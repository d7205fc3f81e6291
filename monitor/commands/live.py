"""What the monitor's credentials can do, tried out: what each lacks for its probes, and what it has too much of.

Nothing is changed: what is tried reads, or deletes a key that is not there. Redis notes what it refuses in its ACL LOG.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from redis.exceptions import NoPermissionError

from monitor.core.config import Config, ProbeConfig
from monitor.core.probe import Fault, ProbeContext, ProbeError, ProbeType
from monitor.core.scrub import scrub
from monitor.probes import bullmq, salesforce
from monitor.probes._exchange import parse_url
from monitor.probes._redis import ask, translated

PATIENCE_SECONDS = 10.0


class Verdict(StrEnum):
    """What is to be said of a credential."""

    FITS = "fits"
    LACKS = "lacks"
    TOO_MUCH = "too much"
    NOT_TRIED = "not tried"  # what it is for was not reached


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to be said of the credential that these probes use. `text` says what, and what to do."""

    probes: tuple[str, ...]
    verdict: Verdict
    text: str


Finding = tuple[Verdict, str]
Look = Callable[[Sequence[ProbeConfig]], Awaitable[list[Finding]]]


async def look(config: Config) -> list[Row]:
    """Try every credential of the enabled probes; one row at least for each, in the order of the file.

    Probes that use the same address share its rows. Types that need no credential have none.
    """
    groups: dict[str, list[ProbeConfig]] = {}
    for probe in config.enabled():
        if probe.type.name in _LOOKS and _has_login(probe):
            groups.setdefault(_target(probe), []).append(probe)
    found = await asyncio.gather(*(_tried(probes) for probes in groups.values()))
    return [
        Row(tuple(probe.name for probe in probes), verdict, scrub(text, config.secrets))
        for probes, findings in zip(groups.values(), found, strict=True)
        for verdict, text in findings
    ]


def _target(probe: ProbeConfig) -> str:
    """What the probes of one credential have in common. Holds secrets: never shown."""
    options: Any = probe.options
    if probe.type.name in {"redis", "replay", "bullmq", "postgres"}:
        return str(options.url.get_secret_value())
    if probe.type.name == "salesforce" and probe.type.resource_key:
        return f"salesforce {options.instance_url} {probe.type.resource_key(options)}"
    if probe.type.name in {"log", "settings"}:
        return f"file {options.path}"
    return f"{probe.name} alone"


async def _tried(probes: Sequence[ProbeConfig]) -> list[Finding]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            findings = await _LOOKS[probes[0].type.name](probes)
    except TimeoutError:
        return [(Verdict.NOT_TRIED, f"no answer within {PATIENCE_SECONDS:.0f} s")]
    except ProbeError as error:
        return [_refused(probes[0].type, error)]
    return findings or [(Verdict.FITS, "it can do what it must, and nothing more was found")]


def _refused(probe_type: ProbeType, error: ProbeError) -> Finding:
    reason = probe_type.reason(error.reason)
    verdict = Verdict.LACKS if error.reason in _DENIALS or reason.fault is Fault.ACCESS else Verdict.NOT_TRIED
    if error.reason in {"unreachable", "timeout"}:
        verdict = Verdict.NOT_TRIED
    return verdict, f"{error}. {reason.advice}"


_DENIALS = frozenset({"credentials", "refused"})  # the portal's own, so the target's fault to the probe


# --- Redis ------------------------------------------------------------------------------------------------------------

_WILDCARD = re.compile(r"[*?\[\\]")


def _needed(probe: ProbeConfig) -> list[Sequence[object]]:
    """The commands of a probe, on its own keys; all of them read, and what they find does not matter."""
    options: Any = probe.options
    if probe.type.name == "redis":
        return [["PING"], ["INFO"], *([["SCAN", 0, "COUNT", 1]] if options.prefixes else [])]
    if probe.type.name == "replay":
        scan = [["SCAN", 0, "COUNT", 1]] if _WILDCARD.search(options.keys) else []
        return [*scan, ["GETRANGE", _WILDCARD.split(options.keys)[0], 0, 0]]
    return bullmq.commands(options)


def _beyond() -> list[tuple[str, Sequence[object]]]:
    """What no probe needs, tried in a way that changes nothing."""
    absent = f"portal-monitor:check:{secrets.token_hex(8)}"
    return [
        (
            "it reads every key, sessions among them: grant only the patterns that its probes look at",
            ["EXISTS", absent],
        ),
        ("it may write (DEL): a monitor only reads", ["DEL", absent]),
        ("it may run scripts (EVAL)", ["EVAL", "return 1", 0]),
        ("it may read the configuration, with passwords in it (CONFIG GET)", ["CONFIG", "GET", "maxmemory"]),
        ("it may see other clients (CLIENT)", ["CLIENT", "ID"]),
        ("it may look at users (ACL)", ["ACL", "WHOAMI"]),
    ]


async def _look_at_redis(probes: Sequence[ProbeConfig]) -> list[Finding]:
    needed = [command for probe in probes for command in _needed(probe)]
    beyond = _beyond()
    async with AsyncExitStack() as stack:
        connection = await _opened(stack, probes[0])
        with translated():
            lacks = [command for command in needed if await _is_denied(connection, command)]
            more = [text for text, command in beyond if not await _is_denied(connection, command)]
    told = [(Verdict.LACKS, f"the right to {_shown(command)}: see deploy/redis.acl") for command in lacks]
    return list(dict.fromkeys([*told, *((Verdict.TOO_MUCH, text) for text in more)]))


async def _is_denied(connection: Any, command: Sequence[object]) -> bool:
    """Whether Redis refuses it for want of a right; any other answer shows that it would do it."""
    (reply,) = await ask(connection, command)
    return isinstance(reply, NoPermissionError)


def _shown(command: Sequence[object]) -> str:
    """A command and the beginning of its key: `LLEN bull:order-provisioning:wait`."""
    key = command[1] if len(command) > 1 and isinstance(command[1], str) else ""
    return f"{command[0]} {key}".strip()


async def _opened(stack: AsyncExitStack, probe: ProbeConfig) -> Any:
    assert probe.type.open is not None
    return await stack.enter_async_context(probe.type.open(probe.options, _Nothing()))


class _Nothing:
    """An `Opening` that keeps nothing."""

    key = "check"
    saved: bytes | None = None

    def now(self) -> float:
        return time.time()

    async def save(self, state: bytes) -> None:
        """There is nothing to go on from."""


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

_RIGHTS = """
SELECT
    rolsuper AS superuser, rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS powers,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees,
    current_setting('server_version_num')::int AS version,
    (SELECT array_agg(role.rolname::text ORDER BY role.rolname) FROM pg_roles AS role
        WHERE pg_has_role(role.oid, 'MEMBER') AND role.rolname <> current_user) AS member_of,
    (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') AND own_schema(relnamespace)
        AND has_table_privilege(oid, 'SELECT')) AS readable,
    (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND own_schema(relnamespace)
        AND has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) AS writable,
    (SELECT string_agg(nspname, ', ') FROM pg_namespace WHERE own_schema(oid) AND has_schema_privilege(oid, 'CREATE'))
        AS may_create_in
FROM pg_roles WHERE rolname = current_user
""".replace("own_schema(relnamespace)", "relnamespace::regnamespace::text !~ '^(pg_|information_schema)'").replace(
    "own_schema(oid)", "nspname !~ '^(pg_|information_schema)'"
)

_SEEING = frozenset({"pg_monitor", "pg_read_all_stats", "pg_read_all_settings", "pg_stat_scan_tables"})
_RESERVED = "pg_use_reserved_connections"


async def _look_at_postgres(probes: Sequence[ProbeConfig]) -> list[Finding]:
    async with AsyncExitStack() as stack:
        connection = await _opened(stack, probes[0])
        try:
            cursor = await connection.execute(_RIGHTS)
            row = await cursor.fetchone()
        except psycopg.Error as error:
            raise ProbeError("refused", str(error.sqlstate)) from error
        found = dict(zip((column.name for column in cursor.description), row, strict=True))
    return list(_of_role(found))


def _of_role(found: Mapping[str, Any]) -> list[Finding]:
    member_of = set(found["member_of"] or ())
    lacks = {
        "pg_read_all_stats, so it does not see what other sessions do: see deploy/postgres-role.sql": not found["sees"],
        f"{_RESERVED}, so it is locked out with everybody when all connections are taken": found["version"] >= 160000
        and _RESERVED not in member_of,
    }
    if found["superuser"]:
        return [(Verdict.TOO_MUCH, "it is a superuser: make it a role of its own with deploy/postgres-role.sql")]
    more = ", ".join(sorted(member_of - _SEEING - {_RESERVED}))
    too_much = {
        "it may make roles or databases, replicate or pass by row security": found["powers"],
        f"it is a member of {more}": bool(more),
        f"it may change {found['writable']} tables": found["writable"] > 0,
        f"it may read {found['readable']} tables, customers' data among them": found["readable"] > 0,
        f"it may make tables in {found['may_create_in']} (before PostgreSQL 15 everybody may: REVOKE CREATE ON SCHEMA"
        " public FROM PUBLIC)": bool(found["may_create_in"]),
    }
    return [
        *((Verdict.LACKS, text) for text, so in lacks.items() if so),
        *((Verdict.TOO_MUCH, text) for text, so in too_much.items() if so),
    ]


# --- Salesforce -------------------------------------------------------------------------------------------------------

_CUSTOMERS = ("Contact", "Account")


async def _look_at_salesforce(probes: Sequence[ProbeConfig]) -> list[Finding]:
    """What the login of these probes, which share it, lacks for them, and what else it may do."""
    async with AsyncExitStack() as stack:
        session = await _opened(stack, probes[0])
        lacks: list[Finding] = []
        for probe in probes:
            context = ProbeContext(probe.name, time.time(), PATIENCE_SECONDS, resource=session)
            try:
                reading = await probe.type.run(probe.options, context)
            except ProbeError as error:
                return [*lacks, _refused(probe.type, error)]
            if "limits" in reading.details:
                lacks.append((Verdict.LACKS, "View Setup and Configuration, so it does not see the limits"))
        options: Any = probes[0].options
        context = ProbeContext(probes[0].name, time.time(), PATIENCE_SECONDS, resource=session)
        asked = {kind for probe in probes for kind in salesforce.kinds(probe.options)}  # type: ignore[arg-type]
        found = {kind: await salesforce.powers(options, context, kind) for kind in sorted({*asked, *_CUSTOMERS})}
    changes = {kind: ", ".join(sorted(powers - {"read"})) for kind, powers in found.items()}
    too_much = [
        *(f"it may {change} {kind}: let its permission set only read" for kind, change in changes.items() if change),
        *(f"it may read {kind}, customers' data" for kind in _CUSTOMERS if {kind} - asked and "read" in found[kind]),
    ]
    return [*lacks, *((Verdict.TOO_MUCH, text) for text in too_much)]


# --- what shows by a run ----------------------------------------------------------------------------------------------


async def _look_by_a_run(probes: Sequence[ProbeConfig]) -> list[Finding]:
    """A login that can only be tried: whether it is taken. What else it may do is not to be seen."""
    (probe,) = probes
    await probe.type.run(probe.options, ProbeContext(probe.name, time.time(), PATIENCE_SECONDS))
    return [(Verdict.FITS, "it is taken; what else it may do cannot be seen from here")]


def _has_login(probe: ProbeConfig) -> bool:
    """Whether a probe of a type that may do without has a login of its own."""
    options: Any = probe.options
    if probe.type.name == "http":
        return bool(options.headers) or parse_url(options.url.get_secret_value()).login is not None
    return probe.type.name not in {"freebit", "salesforce"} or bool(options.login)


# --- WHMCS, files -----------------------------------------------------------------------------------------------------

_ANOTHER_ACTION = "GetCurrencies"  # small, and without personal data


async def _look_at_whmcs(probes: Sequence[ProbeConfig]) -> list[Finding]:
    (probe,) = probes
    options: Any = probe.options
    findings: list[Finding] = []
    if not await _is_permitted(probe, options):
        findings.append((Verdict.LACKS, f"its API role does not allow {options.action}: see deploy/whmcs-api-role.md"))
    if options.action != _ANOTHER_ACTION:
        another = options.model_copy(update={"action": _ANOTHER_ACTION})
        if await _is_permitted(probe, another):
            text = f"its API role allows {_ANOTHER_ACTION} as well; fine where the credential is the portal's own"
            findings.append((Verdict.TOO_MUCH, text))
    return findings


async def _is_permitted(probe: ProbeConfig, options: Any) -> bool:
    reading = await probe.type.run(options, ProbeContext(probe.name, time.time(), PATIENCE_SECONDS))
    return reading.measurements.get("permitted") == 1.0


async def _look_at_file(probes: Sequence[ProbeConfig]) -> list[Finding]:
    options: Any = probes[0].options
    path = str(options.path)
    if not await asyncio.to_thread(os.path.exists, path):
        return [(Verdict.NOT_TRIED, f"{path} is not there")]
    if not await asyncio.to_thread(os.access, path, os.R_OK):
        return [(Verdict.LACKS, f"read access to {path}")]
    if await asyncio.to_thread(os.access, path, os.W_OK):
        who = "the monitor runs as root" if os.geteuid() == 0 else "the monitor's user may write it"
        return [(Verdict.TOO_MUCH, f"write access to {path}, which may be evidence one day: {who}")]
    return []


_LOOKS: Mapping[str, Look] = {
    "redis": _look_at_redis,
    "replay": _look_at_redis,
    "bullmq": _look_at_redis,
    "postgres": _look_at_postgres,
    "whmcs": _look_at_whmcs,
    "salesforce": _look_at_salesforce,
    "freebit": _look_by_a_run,
    "http": _look_by_a_run,
    "log": _look_at_file,
    "settings": _look_at_file,
}
