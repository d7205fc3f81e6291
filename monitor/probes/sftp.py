"""Whether an SFTP server greets as an SSH server does, and whether it still has a host key that was pinned.

Nobody logs in. A run opens one TCP connection to read the greeting, and with `host_keys` a second one for a key
exchange, which is left to asyncssh (an optional package: nothing else needs it).

Source: RFC 4253, sections 4.2 (the greeting) and 7 (key exchange); fingerprints as `ssh-keygen -l` prints them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from monitor.core.probe import Cost, Fault, Measure, Options, ProbeContext, ProbeType, Reading, Reason
from monitor.probes._connection import CONNECTION_MEASURES, CONNECTION_REASONS, UNREACHABLE, Journey, broken, connected
from monitor.probes._socket import dial
from monitor.probes.tcp import Target, place

GREETING, HOST_KEY, EXCHANGE = "greeting", "host-key", "key-exchange"
_GREETING = re.compile(rb"SSH-(?:2\.0|1\.99)-(?P<software>[!-~]{1,100}).*", re.DOTALL)
_LINE_BYTES = 1024  # of the standard's 255 for a greeting; what comes before may be longer
_LINES_MOST = 50

REASONS: Mapping[str, Reason] = {
    UNREACHABLE: CONNECTION_REASONS[UNREACHABLE],
    GREETING: Reason(
        Fault.TARGET, "Something answers there, but not as SSH: see what serves this port now, or stands before it."
    ),
    HOST_KEY: Reason(
        Fault.TARGET,
        "The server has another host key than those pinned: ask its operator whether it was changed, send nothing there"
        " until he has said so, then correct `host_keys`.",
    ),
    EXCHANGE: Reason(
        Fault.TARGET, "The server greets, but no key exchange comes about: ask its operator what its log says."
    ),
}


def _checkable(keys: tuple[str, ...]) -> tuple[str, ...]:
    if keys and not find_spec("asyncssh"):
        raise ValueError("needs the package asyncssh; install portal-monitor[sftp]")
    return keys


Fingerprint = Annotated[str, StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]


class SftpOptions(Options):
    target: Target
    # Any of the server's keys may be the one that is negotiated, so pin all that `ssh-keyscan host | ssh-keygen -lf -`
    # prints.
    host_keys: Annotated[tuple[Fingerprint, ...], AfterValidator(_checkable)] = ()


async def run(options: SftpOptions, context: ProbeContext) -> Reading:
    """Read the greeting, and the host key where one is pinned."""
    journey = Journey(context.now)
    async with journey.within(context.timeout_seconds):
        software = await _greeting(options, journey)
        if options.host_keys:
            found = await _host_key(options, journey)
            if found not in options.host_keys:
                raise journey.failure(HOST_KEY, f"its key is {found}")
    measurements = {"duration_seconds": journey.seconds, **journey.measurements()}
    return Reading(measurements, details={"address": journey.address, "software": software})


async def _greeting(options: SftpOptions, journey: Journey) -> str:
    """The software that the server says it is."""
    host, port = place(options.target)
    async with connected(journey, host, port, tls=False) as (reader, _):
        with journey.during("processing"):
            try:
                return await _software(reader, journey)
            except OSError as error:
                raise broken(journey, error, options.target) from None


async def _software(reader: asyncio.StreamReader, journey: Journey) -> str:
    for _ in range(_LINES_MOST):
        line = await _line(reader)
        if match := _GREETING.fullmatch(line):
            return match["software"].decode()
        if not line.endswith(b"\n"):
            break
    raise journey.failure(GREETING, "no line SSH-2.0-…" if line else "it hung up without a word")


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line, or what there was of it when the other side ended it or wrote too much."""
    line = bytearray()
    while len(line) < _LINE_BYTES and not line.endswith(b"\n") and (byte := await reader.read(1)):
        line += byte
    return bytes(line)


async def _host_key(options: SftpOptions, journey: Journey) -> str:
    """The fingerprint of the key by which the server proves itself."""
    asyncssh = await asyncio.to_thread(import_module, "asyncssh")  # slow, the first time
    host, port = place(options.target)
    with journey.during("processing"):
        try:
            key = await asyncssh.get_server_host_key(host, port, sock=await dial(host, port), config=None)
        except asyncssh.Error as error:
            raise journey.failure(EXCHANGE, type(error).__name__) from None
        except OSError as error:
            raise broken(journey, error, options.target) from None
    return str(key.get_fingerprint()) if key else "none"


def _parts(_options: SftpOptions) -> Mapping[str, frozenset[str]]:
    return {"phase_seconds": frozenset({"resolve", "connect", "processing"})}


PROBE = ProbeType(
    name="sftp",
    help="An SFTP server greets, and has a host key that was pinned.",
    options=SftpOptions,
    measures={
        "duration_seconds": Measure("Time until the greeting, and the key exchange where a key is pinned"),
        "phase_seconds": CONNECTION_MEASURES["phase_seconds"],
    },
    reasons=REASONS,
    run=run,
    target_keys=frozenset({"target"}),
    parts=_parts,
    cost=Cost(
        "One connection, for the greeting; with `host_keys` a second one, for a key exchange. Nobody logs in.",
        "connections",
        most=lambda options: 2 if options.host_keys else 1,
    ),
    privileges=("None: the port must be open to the monitor's host",),
    example="""
type: sftp
target: fs.mvno.net:22
interval: 5m
needs: [egress]
""",
)
