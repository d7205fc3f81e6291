"""What every probe type owes, whatever it watches: no misbehaving target makes it late, green, silent or indiscreet.

Each type has a row in `TYPES`. Through the real runner it meets servers that refuse, hang, drop, babble and flood, and
a canary stands in for each of its secrets.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError
from redis import Redis

import monitor.probes
from monitor.clock import SystemClock
from monitor.core.config import FailAfter, ProbeConfig
from monitor.core.probe import BUG, COMMON_REASONS, STALLED, TIMEOUT, Fault, Outcome, ProbeType, Result, Value
from monitor.probes import discover
from monitor.runner import Runner
from tests import replies
from tests.conftest import MakeRedis
from tests.replies import Handler, serving, swallowing
from tests.servers import free_port

CANARY = "canary7f3a9c"
TIMEOUT_SECONDS = 0.3

Raw = Mapping[str, Any]
"""The keys of a probe in probes.yaml that its type adds, every secret among them the canary."""


@dataclass(frozen=True)
class Row:
    """How a type is pointed at a server of the tests, or, if it reads files, at a file."""

    at: Callable[[str], Raw]  # for a network type "host:port", else a path
    watches: Literal["server", "file", "host"] = "server"
    silence_is_fine: bool = False  # an accepted connection is all it asks for
    silent: Outcome = Outcome.FAILURE  # of a server that answers nothing; an error where it only keeps what is watched
    wrong: Raw | None = None  # options that are refused, with the canary in them


@cache
def private_key() -> str:
    """An RSA key in PEM."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


TYPES: Mapping[str, Row] = {
    "http": Row(
        lambda place: {
            "url": f"http://user:{CANARY}@{place}/{CANARY}?token={CANARY}",
            "headers": {"X-Api-Key": CANARY},
            "checks": {"cache": ".checks.cache"},
        },
        wrong={"url": f"ftp://user:{CANARY}@host/"},
    ),
    "tcp": Row(lambda place: {"target": place}, silence_is_fine=True),
    "whmcs": Row(
        lambda place: {
            "url": f"http://{place}/includes/api.php?key={CANARY}",
            "identifier": CANARY,
            "secret": CANARY,
            "access_key": CANARY,
        },
        wrong={"url": f"host:{CANARY}", "identifier": CANARY, "secret": CANARY},
    ),
    "redis": Row(
        lambda place: {"url": f"redis://user:{CANARY}@{place}/0"}, wrong={"url": f"mysql://user:{CANARY}@host/0"}
    ),
    "replay": Row(
        lambda place: {"url": f"redis://user:{CANARY}@{place}/0", "keys": "sf:pe:replay:*"},
        silent=Outcome.ERROR,
        wrong={"url": f"mysql://user:{CANARY}@host/0", "keys": "sf:*"},
    ),
    "bullmq": Row(
        lambda place: {"url": f"redis://user:{CANARY}@{place}/0", "queues": ["order-provisioning"]},
        silent=Outcome.ERROR,
        wrong={"url": f"mysql://user:{CANARY}@host/0", "queues": ["order-provisioning"]},
    ),
    "salesforce": Row(
        lambda place: {
            "instance_url": f"http://{place}",
            "login": True,
            "login_url": f"http://{place}",
            "client_id": CANARY,
            "username": "monitor@example.com",
            "private_key": f"{CANARY}\n{private_key()}",
            "orders": "SELECT COUNT(Id) waiting, MIN(LastModifiedDate) oldest FROM Order WHERE Status = 'Activating'",
            "counts": {"reviews": "SELECT COUNT() FROM Order WHERE Status = 'Pending Review'"},
            "limits": True,
        },
        wrong={"instance_url": f"https://user:{CANARY}@host", "client_id": CANARY, "private_key": CANARY},
    ),
    "freebit": Row(
        lambda place: {
            "url": f"http://{place}/emptool/api/authOem/",
            "login": True,
            "oem_id": CANARY,
            "oem_key": CANARY,
        },
        wrong={"url": f"https://user:{CANARY}@host", "login": True, "oem_key": CANARY},
    ),
    "sftp": Row(lambda place: {"target": place, "host_keys": [f"SHA256:{'A' * 43}"]}),
    "postgres": Row(
        lambda place: {"url": f"postgresql://user:{CANARY}@{place}/portal?schema=public&connection_limit=5"},
        wrong={"url": f"mysql://user:{CANARY}@host/0"},
    ),
    "log": Row(lambda path: {"path": path, "window": "5m", "min_samples": 20}, watches="file"),
    "settings": Row(lambda path: {"path": path, "expect": {"SF_EVENTS_ENABLED": True}}, watches="file"),
    "process": Row(lambda _: {"pattern": "node.*bff"}, watches="host"),
}

ANSWERS_NOTHING: Mapping[str, Handler] = {
    "hangs": replies.hangs,
    "drops": replies.drops,
    "resets": replies.resets,
}
BABBLES: Mapping[str, Handler] = {
    "says nothing of sense": replies.blurts(b"\0\xff\x16\x03 what?\r\n\r\n" * 50),
    "speaks mail": replies.blurts(b"220 mail.example.com ESMTP\r\n"),
    "trickles": replies.trickles(b"x", every=0.01),
    "floods": replies.floods(b"", b"x" * 65536),
    "floods a body": replies.floods(b"HTTP/1.1 200 OK\r\n\r\n"),
    "floods a bulk string": replies.floods(b"$999999999999\r\n"),
    "floods rows": replies.floods(b"R\0\0\0\x08\0\0\0\0", b"D\x7f\xff\xff\xff" + b"x" * 65536),
    "answers garbage": replies.says(replies.http("<html>no</html>")),
    "answers empty": replies.says(replies.http("")),
    "answers half": replies.says(replies.http('{"checks": {"cache": "ok"', whole=False)),
}


def types(watches: str) -> list[str]:
    return [name for name, row in TYPES.items() if row.watches == watches]


def declared(name: str) -> ProbeType:
    return discover()[name]


def configured(probe_type: ProbeType, raw: Raw, timeout: float = TIMEOUT_SECONDS) -> ProbeConfig:
    return ProbeConfig(
        name="subject",
        type=probe_type,
        options=probe_type.options.model_validate(raw),
        interval=30.0,
        timeout=timeout,
        fail_after=FailAfter(1, 1),
        recover_after=1,
        retry_interval=1.0,
    )


Look = Callable[..., Awaitable[Result]]


@pytest.fixture
async def look() -> AsyncIterator[Look]:
    """Run a probe once through a runner that scrubs nothing, and hold the result against the contract."""
    runner = Runner(SystemClock())
    watch = asyncio.create_task(runner.watch.run())

    async def run(config: ProbeConfig, cursor: Any = None) -> Result:
        result = await runner.run(config, cursor)
        for _ in range(3):  # a machine so busy that our own loop stands still says nothing about the type
            if result.reason == STALLED:
                result = await runner.run(config, cursor)
        hold_to_the_contract(config, result)
        return result

    yield run
    watch.cancel()
    await runner.close()


def hold_to_the_contract(config: ProbeConfig, result: Result) -> None:
    assert result.reason not in {BUG, STALLED}, result
    if result.outcome is not Outcome.SUCCESS:
        expected = Outcome.FAILURE if config.type.reason(result.reason).fault is Fault.TARGET else Outcome.ERROR
        assert result.outcome is expected
    assert result.duration_seconds < config.timeout + 1.0
    assert CANARY not in repr(result)
    assert "\n" not in result.detail
    assert set(result.checks) <= config.type.checks(config.options)
    for name, value in result.measurements.items():
        assert_declared(config, name, value)


def assert_declared(config: ProbeConfig, name: str, value: Value) -> None:
    measure = config.type.measures[name]
    parts = value if isinstance(value, Mapping) else {"": value}
    assert isinstance(value, Mapping) == (measure.split is not None), name
    known = config.type.parts(config.options).get(name)
    if isinstance(value, Mapping) and known is not None:
        assert set(value) <= known | {""}  # the whole beside its parts
    for number in parts.values():
        assert isinstance(number, int | float), name
        assert math.isfinite(number), name


# --- what is declared -------------------------------------------------------------------------------------------------


def test_every_type_has_a_row_here() -> None:
    assert set(discover()) == set(TYPES), "a new probe type needs a row in TYPES"


@pytest.mark.parametrize("name", TYPES)
def test_a_declaration_is_complete(name: str) -> None:
    probe_type = declared(name)
    assert probe_type.help.endswith(".")
    assert probe_type.measures
    assert probe_type.target_keys
    assert probe_type.target_keys <= set(probe_type.options.model_fields)
    if TYPES[name].watches == "server":  # what is wrong with the others' subject stands in what they measure
        assert any(reason.fault is Fault.TARGET for reason in probe_type.reasons.values())
    for measure in probe_type.measures.values():
        assert measure.help


@pytest.mark.parametrize("name", TYPES)
def test_every_reason_can_be_told_and_says_what_to_do(name: str) -> None:
    probe_type = declared(name)
    assert not set(probe_type.reasons) & {BUG, STALLED}, "our own fault is the same for every type"
    for word in [*probe_type.reasons, *COMMON_REASONS]:
        reason = probe_type.reason(word)
        assert reason.fault in Fault
        assert reason.advice.endswith((".", "?")), word
        assert word == word.lower().strip()
        assert " " not in word


@pytest.mark.parametrize("name", TYPES)
def test_an_unknown_key_is_refused(name: str) -> None:
    probe_type = declared(name)
    with pytest.raises(ValidationError, match="Extra inputs"):
        probe_type.options.model_validate({**TYPES[name].at("127.0.0.1:1"), "no_such_key": 1})


LEAST: Mapping[str, str] = {  # the measurements that operators script against
    "redis": "ping_seconds memory_used_bytes memory_max_bytes memory_used_ratio clients_used_ratio"
    " evicted_keys_per_second rejected_connections_per_second hit_ratio",
    "postgres": "query_seconds connections connections_limit connections_used_ratio idle_in_transaction"
    " longest_transaction_seconds longest_query_seconds locks_waiting stats_visible",
    "replay": "age_seconds keys retention_left_seconds unexplained_age_seconds oddities",
    "bullmq": "backlog oldest_waiting_seconds delayed delayed_overdue delayed_overdue_seconds active stalled"
    " failed_recently failure_ratio added_per_second paused workerless",
    "http": "duration_seconds status certificate_left_seconds phase_seconds",
    "tcp": "connect_seconds",
    "whmcs": "duration_seconds",
    "salesforce": "duration_seconds orders_waiting orders_oldest_seconds api_requests_left_ratio api_requests_per_hour"
    " event_deliveries_per_hour"
    " event_deliveries_left_ratio events_delivered certificate_left_seconds",
    "freebit": "duration_seconds certificate_left_seconds",
    "sftp": "duration_seconds",
    "log": "lines error_lines requests requests_per_second server_errors error_ratio latency_mean_seconds"
    " latency_p95_seconds silent_seconds",
    "settings": "as_expected",
    "process": "processes cpu_ratio memory_bytes memory_host_ratio threads uptime_seconds",
}
ONLY_AT_TIMES = {
    "api_requests_per_hour",
    "event_deliveries_per_hour",
    "memory_max_bytes",
    "hit_ratio",
    "failure_ratio",
    "certificate_left_seconds",
}  # a limit, lookups, jobs, TLS


@pytest.mark.parametrize("name", TYPES)
def test_the_documented_measurements_are_declared(name: str) -> None:
    assert set(LEAST[name].split()) <= set(declared(name).measures)


HEALTH = replies.http('{"checks": {"cache": "ok"}}')
WHMCS = replies.http('{"result": "success", "whmcs": {"version": "8.0.0"}}')
SALESFORCE = (
    replies.http('{"access_token": "00D!canary"}'),
    replies.http(
        '{"totalSize": 0, "records": [{"waiting": 0, "oldest": null}], "DailyApiRequests": {"Max": 9, "Remaining": 8},'
        ' "DailyDeliveredPlatformEvents": {"Max": 9, "Remaining": 8}}'
    ),
)
VENDORS: Mapping[str, Callable[[], Handler]] = {  # made anew for each test: one that has answered goes on from there
    "whmcs": lambda: replies.says(WHMCS),
    "salesforce": lambda: replies.says(*SALESFORCE),
    "freebit": lambda: replies.says(replies.http('{"resultCode": "100", "authKey": "x"}')),
    "sftp": lambda: replies.blurts(b"SSH-2.0-OpenSSH_9.2\r\n"),
}
LINE = '{"level":30,"time":%d,"req":{"id":1,"method":"GET","url":"/"},"res":{"statusCode":200},"responseTime":12}\n'


@pytest.fixture
def real_url(name: str, request: pytest.FixtureRequest) -> str:
    """The address of the real server that this type watches, if it watches one; started before the loop is watched."""
    fixture = {
        "redis": "redis_server",
        "replay": "redis_server",
        "bullmq": "redis_server",
        "postgres": "postgres_url",
    }.get(name)
    server = request.getfixturevalue(fixture) if fixture else ""
    return str(getattr(server, "url", server))


@asynccontextmanager
async def healthy(name: str, real_url: str, folder: Path) -> AsyncIterator[Raw]:
    """Options for a target of this type that is well: a real server, or for a vendor one that answers as documented."""
    if name in {"redis", "replay", "bullmq"}:
        with Redis.from_url(real_url) as client:
            client.set("sf:pe:replay:/event/Order__e", "12907414")
            client.hset("bull:order-provisioning:meta", "version", "bullmq:5.81.5")
    if real_url:
        yield {**TYPES[name].at(""), "url": real_url}
    elif name == "log":
        (folder / "combined.log").write_text("")
        yield TYPES[name].at(str(folder / "combined.log"))
    elif name == "settings":
        (folder / "bff.env").write_text(f"SECRET={CANARY}\nSF_EVENTS_ENABLED=true\n")
        yield TYPES[name].at(str(folder / "bff.env"))
    elif name == "process":
        yield {"pattern": "."}
    else:
        async with serving(VENDORS.get(name, lambda: replies.says(HEALTH))()) as server:
            raw = TYPES[name].at(f"127.0.0.1:{server.port}")
            yield {key: value for key, value in raw.items() if key != "host_keys"}


@pytest.mark.parametrize("name", TYPES)
async def test_a_target_that_is_well_is_green_and_measured(
    name: str, real_url: str, tmp_path: Path, look: Look
) -> None:
    probe_type = declared(name)
    promised = set(LEAST[name].split()) - ONLY_AT_TIMES
    async with healthy(name, real_url, tmp_path) as raw:
        config = configured(probe_type, raw, timeout=5.0)
        first = await look(config)
        if name == "log":
            lines = [LINE % (1000 * SystemClock().now()) for _ in range(50)]
            (tmp_path / "combined.log").write_text("".join(lines))
        second = await look(config, first.cursor)
        async with asyncio.timeout(10):
            while not promised <= set(second.measurements):  # a followed log is read beside the runs
                await asyncio.sleep(0.05)
                second = await look(config, second.cursor)
    assert (first.outcome, second.outcome) == (Outcome.SUCCESS, Outcome.SUCCESS), (first, second)


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
def test_options_do_not_show_their_secrets(name: str) -> None:
    options = declared(name).options.model_validate(TYPES[name].at("127.0.0.1:1"))
    for shown in (repr(options), str(options), options.model_dump_json(), f"{options.model_dump()}"):
        assert CANARY not in shown


@pytest.mark.parametrize("name", [name for name, row in TYPES.items() if row.wrong])
def test_a_refused_option_is_not_repeated(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        declared(name).options.model_validate(TYPES[name].wrong)
    assert CANARY not in str(caught.value)
    assert CANARY not in "".join(detail["msg"] for detail in caught.value.errors())


# --- a network that misbehaves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", types("server"))
async def test_a_closed_port_is_unreachable(name: str, look: Look) -> None:
    result = await look(configured(declared(name), TYPES[name].at(f"127.0.0.1:{free_port()}")))
    assert (result.outcome, result.reason) == (TYPES[name].silent, "unreachable")


@pytest.mark.parametrize("name", types("server"))
async def test_an_unknown_name_is_unreachable(name: str, look: Look) -> None:
    result = await look(configured(declared(name), TYPES[name].at("no-such-host.invalid:4000"), timeout=2.0))
    assert (result.outcome, result.reason) == (TYPES[name].silent, "unreachable")


@pytest.mark.parametrize("name", types("server"))
async def test_a_host_that_swallows_packets_fails_by_the_deadline(name: str, look: Look) -> None:
    with swallowing() as port:
        result = await look(configured(declared(name), TYPES[name].at(f"127.0.0.1:{port}")))
    assert result.outcome is TYPES[name].silent
    assert result.reason in {"unreachable", TIMEOUT}


@pytest.mark.parametrize("peer", [*ANSWERS_NOTHING, *BABBLES])
@pytest.mark.parametrize("name", types("server"))
async def test_nothing_that_a_peer_does_makes_it_green_or_late(name: str, peer: str, look: Look) -> None:
    probe_type = declared(name)
    async with serving({**ANSWERS_NOTHING, **BABBLES}[peer]) as server:
        result = await look(configured(probe_type, TYPES[name].at(f"127.0.0.1:{server.port}")))
    if TYPES[name].silence_is_fine:
        assert result.outcome is Outcome.SUCCESS
        return
    assert result.outcome is not Outcome.SUCCESS
    if peer in ANSWERS_NOTHING:
        assert result.outcome is TYPES[name].silent


@pytest.mark.parametrize("name", [name for name in types("server") if not TYPES[name].silence_is_fine])
async def test_a_run_that_was_cut_off_leaves_nothing_for_the_next(name: str, look: Look) -> None:
    """After a hang the same probe, on the same port, says at once what is the matter now."""
    probe_type = declared(name)
    async with serving(replies.hangs) as server:
        config = configured(probe_type, TYPES[name].at(f"127.0.0.1:{server.port}"))
        assert (await look(config)).reason == TIMEOUT
    assert (await look(config)).reason == "unreachable"


# --- logins that are refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_http_says_when_it_is_not_let_in(status: int, look: Look) -> None:
    async with serving(replies.says(replies.http(f"no {CANARY}", status))) as server:
        result = await look(configured(declared("http"), TYPES["http"].at(f"127.0.0.1:{server.port}")))
    assert (result.outcome, result.reason) == (Outcome.ERROR, "auth")


async def test_whmcs_credentials_are_the_portals_own(look: Look) -> None:
    body = f'{{"result": "error", "message": "Authentication Failed {CANARY}"}}'
    async with serving(replies.says(replies.http(body, 403))) as server:
        config = configured(declared("whmcs"), TYPES["whmcs"].at(f"127.0.0.1:{server.port}"))
        result = await look(config)
        again = await look(config, result.cursor)
    assert {(each.outcome, each.reason) for each in (result, again)} == {(Outcome.FAILURE, "credentials")}
    assert server.connections == 1


@pytest.mark.parametrize("name", ["redis", "replay", "bullmq"])
async def test_a_login_that_redis_refuses_is_ours(name: str, make_redis: MakeRedis, look: Look) -> None:
    server = make_redis({"requirepass": "another password"})
    result = await look(configured(declared(name), TYPES[name].at(f"127.0.0.1:{server.port}"), timeout=2.0))
    assert (result.outcome, declared(name).reason(result.reason).fault) == (Outcome.ERROR, Fault.ACCESS)


async def test_a_login_that_postgres_refuses_is_ours(postgres_url: str, look: Look) -> None:
    place = postgres_url.rpartition("@")[2].partition("/")[0]
    result = await look(configured(declared("postgres"), TYPES["postgres"].at(place), timeout=2.0))
    assert (result.outcome, declared("postgres").reason(result.reason).fault) == (Outcome.ERROR, Fault.ACCESS)


# --- files that misbehave ---------------------------------------------------------------------------------------------


def _missing(path: Path) -> None:
    """Nothing is there."""


FILES: Mapping[str, Callable[[Path], object]] = {
    "missing": _missing,
    "a folder": Path.mkdir,
    "a pipe that nobody writes": os.mkfifo,
    "a loop of links": lambda path: path.symlink_to(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", types("file"))
async def test_what_is_no_file_is_never_green(name: str, kind: str, look: Look, tmp_path: Path) -> None:
    probe_type = declared(name)
    FILES[kind](tmp_path / "subject.log")
    result = await look(configured(probe_type, TYPES[name].at(str(tmp_path / "subject.log")), timeout=2.0))
    assert result.outcome is not Outcome.SUCCESS


GARBAGE: Mapping[str, bytes] = {
    "nothing": b"",
    "zeroes": b"\0" * 4096,
    "noise": os.urandom(65536),
    "one long line": b"x" * 3_000_000,
    "deep nesting": b"{" * 100_000 + b"\n",
}


@pytest.mark.parametrize("content", GARBAGE)
@pytest.mark.parametrize("name", types("file"))
async def test_garbage_in_a_file_breaks_nothing(name: str, content: str, look: Look, tmp_path: Path) -> None:
    probe_type = declared(name)
    (tmp_path / "subject.log").write_bytes(GARBAGE[content])
    config = configured(probe_type, TYPES[name].at(str(tmp_path / "subject.log")), timeout=5.0)
    await look(config)
    await look(config)


# --- a new type -------------------------------------------------------------------------------------------------------

WEATHER = '''
"""A probe that somebody dropped in."""

from monitor.core.probe import Fault, Measure, Options, ProbeType, Reading, Reason


class WeatherOptions(Options):
    city: str


async def run(options, context):
    return Reading({"temperature": 21.5})


PROBE = ProbeType(
    name="weather",
    help="How warm it is.",
    options=WeatherOptions,
    measures={"temperature": Measure("Degrees")},
    reasons={"storm": Reason(Fault.TARGET, "Close the windows.")},
    run=run,
    target_keys=frozenset({"city"}),
)
'''


@pytest.fixture
def dropped_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A further folder of `monitor.probes`, forgotten after the test."""
    monkeypatch.setattr(monitor.probes, "__path__", [*monitor.probes.__path__, str(tmp_path)])
    known = set(sys.modules)
    discover.cache_clear()
    yield tmp_path
    for module in set(sys.modules) - known:
        if module.startswith("monitor.probes."):
            del sys.modules[module]
    discover.cache_clear()


async def test_a_new_probe_is_one_file(dropped_in: Path, look: Look) -> None:
    (dropped_in / "weather.py").write_text(WEATHER)
    (dropped_in / "_shared.py").write_text("raise RuntimeError('not a probe, so not loaded')")
    result = await look(configured(discover()["weather"], {"city": "Tokyo"}))
    assert (result.outcome, result.measurements) == (Outcome.SUCCESS, {"temperature": 21.5})


def test_a_file_that_declares_another_name_is_told(dropped_in: Path) -> None:
    (dropped_in / "climate.py").write_text(WEATHER)
    with pytest.raises(TypeError, match='declares the type "weather"'):
        discover()
