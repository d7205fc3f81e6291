"""How the probes speak to Redis: one held connection without retries, replies as they come, errors as reasons."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import AfterValidator, SecretStr
from redis._parsers import _AsyncRESP2Parser
from redis.asyncio.connection import Connection as TcpConnection
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from monitor.core.probe import Fault, ProbeError, Reason, SecretUrl
from monitor.probes._socket import dial, hung_up

REPLY_BYTES = 2**20
"""The largest single value that is read; INFO has some 10 kB."""

UNREACHABLE = "unreachable"
PROTOCOL = "protocol"

REDIS_REASONS: Mapping[str, Reason] = {
    UNREACHABLE: Reason(
        Fault.TARGET, "Nothing answers there: see whether Redis runs, then REDIS_URL and the network between."
    ),
    "maxclients": Reason(
        Fault.TARGET,
        "Redis has no place for another client: `CLIENT LIST` shows who holds them; look for a leak before raising"
        " `maxclients`.",
    ),
    "loading": Reason(
        Fault.TARGET, "Redis is reading its data from disk after a start: wait, and find out why it was started."
    ),
    "busy": Reason(
        Fault.TARGET, "A script holds up everybody: `SCRIPT KILL` ends it unless it has written; then find its sender."
    ),
    "misconf": Reason(
        Fault.TARGET,
        "Redis cannot save to disk and refuses writes: look at its disk space, the rights of its folder and its log.",
    ),
    "masterdown": Reason(
        Fault.TARGET, "A replica that has lost its primary, and serves old data or none: look at the primary first."
    ),
    "clusterdown": Reason(
        Fault.TARGET, "The cluster does not cover all slots: `CLUSTER INFO` and `CLUSTER NODES` say which node is away."
    ),
    "oom": Reason(
        Fault.TARGET,
        "Redis is full and refuses writes: see what grows (`redis-cli --bigkeys`) before raising `maxmemory`."
        " FLUSHDB would also take sessions, queues and replay ids.",
    ),
    "readonly": Reason(
        Fault.TARGET,
        "This is a replica and refuses writes: a failover left the address behind, or REDIS_URL names the wrong one.",
    ),
    "certificate": Reason(Fault.TARGET, "Redis's certificate has expired: renew it and reload Redis."),
    # A database's certificate is mostly of a private CA, so a refused one is more often our setup than an outage.
    "tls": Reason(
        Fault.ACCESS,
        "No TLS with this address: see whether it wants `rediss://` or `redis://`, and that its CA is known here.",
    ),
    PROTOCOL: Reason(Fault.ACCESS, "What answers there is not Redis: check the host and port in `url`."),
    "auth": Reason(Fault.ACCESS, "Redis does not accept the monitor's login: check the user and password in `url`."),
    "noperm": Reason(
        Fault.ACCESS, "The monitor's Redis user lacks a right that the detail names: grant it with `ACL SETUSER`."
    ),
    "database": Reason(Fault.ACCESS, "Redis has no database of the number in `url`; a cluster has only 0."),
    "cluster": Reason(Fault.ACCESS, "One node of a cluster does not hold all keys: give the address of the key's node."),
    "refused": Reason(Fault.TARGET, "Redis answers with an error that the detail quotes: look at its log."),
}  # fmt: skip

_BY_TYPE: Sequence[tuple[type[RedisError], str]] = (
    (AuthenticationError, "auth"),  # a ConnectionError, so it must come before what is merely not connected
    (BusyLoadingError, "loading"),  # likewise
    (NoPermissionError, "noperm"),
    (MasterDownError, "masterdown"),  # a ClusterDownError
    (ClusterDownError, "clusterdown"),
    (OutOfMemoryError, "oom"),
    (ReadOnlyError, "readonly"),
    (MovedError, "cluster"),
    (AskError, "cluster"),
)
_BY_WORDS: Sequence[tuple[str, str]] = (
    ("max number of clients reached", "maxclients"),
    ("MISCONF", "misconf"),
    ("BUSY ", "busy"),
    ("DENIED", "auth"),  # protected mode: no password is set, so only loopback may enter
    ("DB index", "database"),
    ("SELECT is not allowed in cluster mode", "database"),
)
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL's x509_vfy.h
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_TLS_PARAMETERS = frozenset({
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version",
})  # fmt: skip


def _checked(value: SecretStr) -> SecretStr:
    """The URL if one server can be reached by it. The messages never quote it."""
    parts = urlsplit(value.get_secret_value())
    if "sentinel" in parts.scheme:
        raise ValueError(
            "is Sentinel's, which is not asked; write the address of Redis itself, redis://host:6379/0, a probe for each"
            " server: the primary's says `readonly` after a failover, a replica's has `role: any`"
        )
    if "cluster" in parts.scheme:
        raise ValueError(
            "is a cluster's, which is not asked as one; write a probe for each node, redis://host:6379, and for the keys"
            " of replay or bullmq the node that holds them"
        )
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("not the address of a Redis server; write redis://, rediss:// or unix://")
    if "," in parts.netloc:
        raise ValueError("names several servers; write one probe for each")
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("names no socket; write unix:///path/to/redis.sock")
        return value
    try:
        port = parts.port
    except ValueError:
        raise ValueError("has a port that is no number (encode special characters of a password: %40 for @)") from None
    if not parts.hostname or port == 0:
        raise ValueError("names no server; write redis://host:6379/0")
    if not re.fullmatch(r"/?\d{0,5}", parts.path):
        raise ValueError("ends in something other than a database number; write redis://host:6379/0")
    try:
        _connection(value.get_secret_value())
    except (RedisError, ValueError, TypeError):
        raise ValueError("has a parameter with a value that it cannot have (`db` is a number)") from None
    return value


RedisUrl = Annotated[SecretUrl, AfterValidator(_checked)]
"""The address of one Redis server: redis, rediss or unix. Parameters meant for the portal's client are ignored."""


class _OnSocket:
    """The library's connection, except that we look the name up and connect."""

    sock: socket.socket | None = None

    def _connection_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = dict(super()._connection_arguments())  # type: ignore[misc]
        host, _ = arguments.pop("host"), arguments.pop("port")
        return {**arguments, "sock": self.sock, **({"server_hostname": host} if "ssl" in arguments else {})}


class _Tcp(_OnSocket, TcpConnection):
    pass


class _Tls(_OnSocket, SSLConnection):
    pass


class _BoundedParser(_AsyncRESP2Parser):
    """The library's parser, except that it does not gather whatever length the other side announces."""

    async def _read(self, length: int) -> bytes:
        if length > REPLY_BYTES:
            raise InvalidResponse(f"a value of {length} bytes")
        data: bytes = await super()._read(length)
        return data


Connection = Any
"""The library's connection, which is not typed."""

Reply = Any
"""Bytes, a number, a list of replies, None, or the ResponseError that Redis answered with."""


@asynccontextmanager
async def connected(url: SecretStr) -> AsyncIterator[Connection]:
    """A connection to what has shown itself to be Redis; what it says about its state comes with the first run.

    No retries and no timeouts of its own: the runner has the deadline. RESP2 and no CLIENT commands, so that no
    right is needed beyond those of the probes. Raises ProbeError with one of REDIS_REASONS.
    """
    connection = _connection(url.get_secret_value())
    try:
        with translated():
            if isinstance(connection, _OnSocket):
                connection.sock = await dial(connection.host, connection.port)  # type: ignore[attr-defined]
            await connection.connect()
            (pong,) = await ask(connection, ["PING"])
            if isinstance(pong, AuthenticationError):
                raise pong
            if pong != b"PONG" and not isinstance(pong, RedisError):
                raise InvalidResponse("no PONG")
        yield connection
    finally:
        if writer := connection._writer:  # noqa: SLF001 a polite TLS goodbye may take the other side for ever
            writer.transport.abort()
        elif sock := getattr(connection, "sock", None):
            sock.close()
        await connection.disconnect(nowait=True)


async def ask(connection: Connection, *commands: Sequence[object]) -> list[Reply]:
    """The replies to these commands, sent at once. Raises what the library raises when no reply comes."""
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    return [await _reply(connection) for _ in commands]


async def _reply(connection: Connection) -> Reply:
    # Two replies are ConnectionErrors to the library, which would hang up on a Redis that is loading and answers.
    try:
        return await connection.read_response(disconnect_on_error=False)
    except (ResponseError, BusyLoadingError, AuthenticationError) as error:
        return error


async def closed(connection: Connection) -> AsyncIterator[str]:
    """Says "closed" once the connection is."""
    await hung_up(lambda: _fileno(connection))
    yield "closed"


@contextmanager
def translated() -> Iterator[None]:
    """Turn the library's errors into ProbeErrors; what is our own fault passes through."""
    try:
        yield
    except (RedisError, OSError, ValueError, RecursionError) as error:
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        if isinstance(cause, OSError) and cause.errno in _OURS:
            raise cause from None
        raise ProbeError(*_judged(error, cause)) from error


def refusal(reply: ResponseError | RedisError) -> ProbeError:
    """The ProbeError that an error reply stands for."""
    return ProbeError(*_judged(reply, reply))


def parse_info(reply: bytes) -> dict[str, str]:
    """The fields of INFO (https://redis.io/docs/latest/commands/info/)."""
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _judged(error: Exception, cause: BaseException) -> tuple[str, str]:
    """The reason, and a line that is safe to show."""
    code = getattr(error, "status_code", None)
    words = " ".join(f"{code or ''} {error}".split())[:200]
    for kind, reason in _BY_TYPE:
        if isinstance(error, kind):
            return reason, words
    for beginning, reason in _BY_WORDS:
        if beginning in words:
            return reason, words
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ("certificate" if cause.verify_code == _EXPIRED else "tls"), cause.verify_message
    if isinstance(cause, ssl.SSLError):
        return "tls", (cause.reason or "handshake failed").replace("_", " ").lower()
    if isinstance(error, ResponseError):
        return "refused", words
    if isinstance(error, InvalidResponse | ValueError | RecursionError):
        return PROTOCOL, "the answer is not Redis's"  # which is not quoted: it may be anything
    if isinstance(cause, OSError) and cause.errno:
        return UNREACHABLE, os.strerror(cause.errno) if cause.errno > 0 else f"DNS: {cause.strerror}"
    return UNREACHABLE, words


def _connection(url: str) -> Connection:
    base, _, query = url.partition("?")
    known = [(name, value) for name, value in parse_qsl(query) if name in _TLS_PARAMETERS or name == "db"]
    arguments: dict[str, Any] = dict(parse_url(f"{base}?{urlencode(known)}"))
    make = {SSLConnection: _Tls, UnixDomainSocketConnection: UnixDomainSocketConnection}.get(
        arguments.pop("connection_class", None), _Tcp
    )
    return make(
        **arguments, protocol=2, parser_class=_BoundedParser, driver_info=None, socket_timeout=None,
        socket_connect_timeout=None,
    )  # fmt: skip


def _fileno(connection: Connection) -> int:
    writer = connection._writer  # noqa: SLF001 the library has no public way to its socket
    return writer.get_extra_info("socket").fileno() if writer else -1
