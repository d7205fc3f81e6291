"""Whether something accepts connections on a port, and how quickly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, model_validator

from monitor.core.probe import Cost, Measure, Options, ProbeContext, ProbeType, Reading
from monitor.probes._connection import CONNECTION_MEASURES, CONNECTION_REASONS, CaFile, Journey, connected

_TARGET = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[^\s:/\[\]@]+)):(?P<port>\d{1,5})")


def _checked(target: str) -> str:
    match = _TARGET.fullmatch(target)
    if not match or not 0 < int(match["port"]) < 2**16:
        raise ValueError('write host:port, as in "db.example.com:5432" or "[2001:db8::1]:443"')
    return target


Target = Annotated[str, AfterValidator(_checked)]
"""Where to connect, as host:port."""


def place(target: str) -> tuple[str, int]:
    """Host (an IPv6 address without its brackets) and port."""
    host, _, port = target.rpartition(":")
    return host.strip("[]"), int(port)


class TcpOptions(Options):
    target: Target
    tls: bool = False  # go on to a TLS handshake, with the certificate verified
    ca_file: CaFile | None = None

    @model_validator(mode="after")
    def _ca_file_needs_tls(self) -> TcpOptions:
        if self.ca_file and not self.tls:
            raise ValueError("ca_file has a meaning only with tls: true")
        return self


async def run(options: TcpOptions, context: ProbeContext) -> Reading:
    """Connect and hang up. `connect_seconds` includes the name lookup and leaves out TLS.

    That a port accepts is the kernel's word: a program that hangs behind it looks well from here.
    """
    journey = Journey(context.now)
    async with (
        journey.within(context.timeout_seconds),
        connected(journey, *place(options.target), tls=options.tls, ca_file=options.ca_file),
    ):
        connect_seconds = journey.phases["resolve"] + journey.phases["connect"]
    return Reading({"connect_seconds": connect_seconds, **journey.measurements()}, details={"address": journey.address})


def _parts(options: TcpOptions) -> Mapping[str, frozenset[str]]:
    return {"phase_seconds": frozenset({"resolve", "connect"} | ({"tls"} if options.tls else set()))}


PROBE = ProbeType(
    name="tcp",
    help="A port accepts connections (and, with `tls: true`, presents a certificate that can be trusted).",
    options=TcpOptions,
    measures={
        "connect_seconds": Measure("Time until connected, name lookup included, TLS not"),
        **CONNECTION_MEASURES,
    },
    reasons=CONNECTION_REASONS,
    run=run,
    target_keys=frozenset({"target"}),
    parts=_parts,
    cost=Cost(
        "One connection, dropped at once; with `tls`, one handshake.",
        "connections",
        most=lambda options: 2 if options.tls else 1,  # a certificate that is refused is read on one of its own
    ),
    privileges=("None: the port must be open to the monitor's host",),
    example="""
type: tcp
target: smtp.example.com:465
tls: true
warn: certificate_left_seconds < 21d
""",
)
