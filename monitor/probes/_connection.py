"""How the probes connect: name lookup, TCP and TLS, each phase timed, and the certificate read even when it is bad."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated

import aiohappyeyeballs
from pydantic import AfterValidator

from monitor.core.probe import TIMEOUT, Fault, Measure, ProbeError, Reading, Reason, Value
from monitor.probes._lookup import Addresses, lookup

PHASES = ("resolve", "connect", "tls", "processing", "transfer")

UNREACHABLE = "unreachable"
TLS = "tls"
CERTIFICATE = "certificate"

CONNECTION_REASONS: Mapping[str, Reason] = {
    UNREACHABLE: Reason(
        Fault.TARGET,
        "Nothing answers there: see whether the server runs, then the name, the port and the network between.",
    ),
    TLS: Reason(
        Fault.TARGET,
        "The TLS handshake failed, so customers do not get in either: the detail says whether it is the certificate's"
        " name, its issuer (a private one belongs in `ca_file`) or the protocol.",
    ),
    CERTIFICATE: Reason(Fault.TARGET, "The certificate has expired: renew it and reload the server."),
}

CONNECTION_MEASURES: Mapping[str, Measure] = {
    "phase_seconds": Measure("How long each phase took (several connections add up)", split="phase"),
    "certificate_left_seconds": Measure("Seconds until the server's certificate expires; negative once it has"),
}

_STAGGER_SECONDS = 0.25  # RFC 8305: how long one address may keep us waiting before the next is tried beside it
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL's x509_vfy.h
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "no route to the network",
    errno.ETIMEDOUT: "no reply to the connection attempt",
}
_WAITED_FOR = {
    "resolve": "no answer to the name lookup",
    "connect": "no connection",
    "tls": "connected, but no TLS handshake",
    "processing": "connected, but no answer",
    "transfer": "the answer began, but did not end",
}


def _readable_ca_file(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("write an absolute path, so that it means the same wherever the monitor is started")
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # an SSLError is one
        raise ValueError(f"no CA certificates can be read from it ({type(error).__name__})") from None
    return path


CaFile = Annotated[Path, AfterValidator(_readable_ca_file)]
"""A PEM file of the CA certificates to trust instead of the system's."""


class Journey:
    """What one run has seen on its way to a target: how long each phase took, where it arrived, with which certificate.

    Phases add up over several connections (redirects). `certificate_left_seconds` is that of the first one.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self.phases: dict[str, float] = {}
        self.phase = "resolve"
        self.address = ""
        self.certificate_left_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """How long it took so far, all phases together."""
        return sum(self.phases.values())

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Time what is done inside, however it ends."""
        clock = asyncio.get_running_loop().time
        self.phase, began = phase, clock()
        try:
            yield
        finally:
            self.phases[phase] = self.phases.get(phase, 0.0) + clock() - began

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Give up just before the runner's deadline, to say what was waited for and bring home what was measured.

        Without a connection that is `unreachable`: a host that drops packets is as gone as one that refuses.
        """
        try:
            async with asyncio.timeout(max(seconds - 0.05, seconds * 0.9)):
                yield
        except TimeoutError:
            reason = UNREACHABLE if self.phase in {"resolve", "connect"} else TIMEOUT
            raise self.failure(reason, f"{_WAITED_FOR[self.phase]} within {seconds:g} s") from None

    def measurements(self) -> dict[str, Value]:
        """What was measured on the way so far, as in CONNECTION_MEASURES."""
        left = self.certificate_left_seconds
        return {"phase_seconds": dict(self.phases), **({} if left is None else {"certificate_left_seconds": left})}

    def failure(self, reason: str, detail: str) -> ProbeError:
        """The error that ends the run here; what was measured on the way comes along."""
        return ProbeError(reason, detail, reading=Reading(self.measurements()))


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(
    journey: Journey, host: str, port: int, *, tls: bool, ca_file: Path | None = None
) -> AsyncIterator[Streams]:
    """A fresh connection to `host:port`, dropped at the end.

    Raises ProbeError: `unreachable` (name, route, refusal, reset), `tls` or `certificate` (expired).
    """
    addresses = await _resolve(journey, host, port)
    sock = await _dial(journey, addresses, f"{host}:{port}")
    streams = await (_secure(journey, sock, addresses, host, ca_file) if tls else asyncio.open_connection(sock=sock))
    try:
        yield streams
    finally:
        streams[1].transport.abort()  # a polite TLS goodbye may take the other side for ever


def broken(journey: Journey, error: OSError, peer: str) -> ProbeError:
    """What an operating system's error on an open or opening connection means; what is our own fault passes through."""
    if error.errno in _OURS:
        raise error
    words = _WORDS.get(error.errno or 0, f"no connection ({type(error).__name__})")
    return journey.failure(UNREACHABLE, f"{peer}: {words}")


async def _resolve(journey: Journey, host: str, port: int) -> Addresses:
    with journey.during("resolve"):
        try:
            return await lookup(host, port)
        except socket.gaierror as error:
            raise journey.failure(UNREACHABLE, f"DNS: {host}: {error.strerror}") from None


async def _dial(journey: Journey, addresses: Addresses, peer: str) -> socket.socket:
    with journey.during("connect"):
        try:
            sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_STAGGER_SECONDS)
        except OSError as error:
            raise broken(journey, error, peer) from None
    with suppress(OSError):  # it may be gone again already
        journey.address = str(sock.getpeername()[0])
    return sock


async def _secure(
    journey: Journey, sock: socket.socket, addresses: Addresses, host: str, ca_file: Path | None
) -> Streams:
    with journey.during("tls"):
        try:
            streams = await asyncio.open_connection(sock=sock, ssl=_context(ca_file), server_hostname=host)
            _note_certificate(journey, streams)
            return streams
        except ssl.SSLCertVerificationError as error:
            await _read_unverified(journey, addresses, host)
            raise _untrusted(journey, error) from None
        except ssl.SSLError as error:
            raise journey.failure(
                TLS, f"{host}: {(error.reason or 'handshake failed').replace('_', ' ').lower()}"
            ) from None
        except OSError as error:
            raise broken(journey, error, f"{host}, in the TLS handshake") from None


async def _read_unverified(journey: Journey, addresses: Addresses, host: str) -> None:
    """Read the dates of a certificate that was not accepted, on a connection of its own that sends nothing.

    OpenSSL forgets a certificate that it refuses, and the days left must not vanish when they matter most.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_STAGGER_SECONDS)
        streams = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host)
    except OSError:
        return
    _note_certificate(journey, streams)
    streams[1].transport.abort()


def _note_certificate(journey: Journey, streams: Streams) -> None:
    from cryptography import x509

    encoded = streams[1].get_extra_info("ssl_object").getpeercert(binary_form=True)
    if journey.certificate_left_seconds is None and encoded:
        ends = x509.load_der_x509_certificate(encoded).not_valid_after_utc
        journey.certificate_left_seconds = ends.timestamp() - journey.now


def _untrusted(journey: Journey, error: ssl.SSLCertVerificationError) -> ProbeError:
    return journey.failure(CERTIFICATE if error.verify_code == _EXPIRED else TLS, error.verify_message.rstrip("."))


def _context(ca_file: Path | None) -> ssl.SSLContext:
    return _cached_context(ca_file, ca_file.stat().st_mtime_ns if ca_file else 0)


@functools.lru_cache(maxsize=32)
def _cached_context(ca_file: Path | None, changed_at_ns: int) -> ssl.SSLContext:  # noqa: ARG001  part of the key
    return ssl.create_default_context(cafile=ca_file)
