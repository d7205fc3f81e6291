"""The file of `--web.config.file`: TLS, users and headers, in the YAML of Prometheus' exporter-toolkit.

Source: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. What cannot be honoured
here is an error and never ignored, since every key of this file guards something.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import bcrypt
import structlog
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from monitor.core.condition import did_you_mean

log = structlog.get_logger()

_HASH = re.compile(r"\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}")
_HEADERS = frozenset(
    {
        "Content-Security-Policy",
        "Strict-Transport-Security",
        "X-Content-Type-Options",
        "X-Frame-Options",
        "X-XSS-Protection",
    }
)
_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENT_CERTIFICATES = {
    "NoClientCert": ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_PASSWORD_BYTES = 72  # all that bcrypt looks at
_CACHED = 100
_WAITING = 16


class WebFileError(Exception):
    """The file cannot be used; one line says where and why."""


def _hash(text: str) -> str:
    if not _HASH.fullmatch(text):
        raise ValueError("not a bcrypt hash; make one with: htpasswd -nBC 10 USER")
    return text


def _header(name: str) -> str:
    if name not in _HEADERS:
        raise ValueError(f"the header cannot be set{did_you_mean(name, _HEADERS)}")
    return name


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Tls(_Strict):
    cert_file: str
    key_file: str
    client_ca_file: str = ""
    client_auth_type: Literal[
        "NoClientCert", "RequestClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"
    ] = "NoClientCert"
    min_version: Literal["TLS10", "TLS11", "TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS10", "TLS11", "TLS12", "TLS13"] = "TLS13"
    prefer_server_cipher_suites: Literal[True] = True  # it is what we do


class _Http(_Strict):
    http2: bool = True  # said by many files; we speak HTTP/1.1 either way
    headers: Mapping[Annotated[str, AfterValidator(_header)], str] = {}


class _File(_Strict):
    tls_server_config: _Tls | None = None
    http_server_config: _Http = _Http()
    basic_auth_users: Mapping[str, Annotated[str, AfterValidator(_hash)]] = {}


@dataclass(frozen=True, slots=True)
class WebFile:
    """What the file asks for. `users` are names and bcrypt hashes; `files` all that it was read from."""

    tls: ssl.SSLContext | None = None
    client_certificates: bool = False  # nobody gets in without one that our CA signed
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    @property
    def credentials(self) -> bool:
        """Whether it takes more than the right address to get in."""
        return bool(self.users) or self.client_certificates


def load(path: Path) -> WebFile:
    """The file, checked, with its certificates read; relative paths in it are relative to it. Raises WebFileError."""
    try:
        found = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except OSError as error:
        raise WebFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise WebFileError(
            f"{path}{place}: is not YAML: {getattr(error, 'problem', None) or 'cannot be decoded'}"
        ) from error
    except ValidationError as error:
        raise WebFileError(f"{path}: {_first(error)}") from error
    return WebFile(
        tls=_context(path, found.tls_server_config) if found.tls_server_config else None,
        client_certificates=bool(
            found.tls_server_config and found.tls_server_config.client_auth_type == "RequireAndVerifyClientCert"
        ),
        users=found.basic_auth_users,
        headers=found.http_server_config.headers,
        files=(str(path), *_named(path, found.tls_server_config)),
    )


def _named(path: Path, tls: _Tls | None) -> tuple[str, ...]:
    names = (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ()
    return tuple(str(path.parent / name) for name in names if name)


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = [str(step) for step in problem["loc"] if step != "[key]"]
    if problem["type"] != "extra_forbidden":
        said = "is no mapping" if problem["type"] == "model_type" else problem["msg"].removeprefix("Value error, ")
        return f"{'.'.join(where) or 'the file'}: {said}"
    models: dict[str, type[_Strict]] = {"tls_server_config": _Tls, "http_server_config": _Http}
    known = models.get(where[0], _File).model_fields if len(where) > 1 else _File.model_fields
    return f"{'.'.join(where)}: the key is not known here{did_you_mean(where[-1], known)}"


def _context(path: Path, tls: _Tls) -> ssl.SSLContext:
    verify = _CLIENT_CERTIFICATES[tls.client_auth_type]
    if verify != ssl.CERT_NONE and not tls.client_ca_file:
        raise WebFileError(f"{path}: tls_server_config.client_ca_file: is needed for {tls.client_auth_type}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    try:
        context.load_cert_chain(path.parent / tls.cert_file, path.parent / tls.key_file, password=_no_password)
        if tls.client_ca_file:
            context.load_verify_locations(path.parent / tls.client_ca_file)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        said = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise WebFileError(f"{path}: tls_server_config: the certificate or key cannot be used: {said}") from error
    context.verify_mode = verify
    return context


def _no_password() -> str:
    raise ValueError("the key has a passphrase")  # otherwise OpenSSL asks the terminal, and the daemon hangs


class Toolkit:
    """The file as it is now: read again when it or a certificate changes; a bad change leaves the last good one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = load(path) if path else WebFile()
        self._seen = self._stamp()
        # One thread: a flood of wrong passwords must not take the processor from the probes.
        self._hashing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="web-passwords")
        self._waiting = 0
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, bool] = OrderedDict()

    def close(self) -> None:
        """Let go of the thread."""
        self._hashing.shutdown(wait=False, cancel_futures=True)

    def current(self) -> WebFile:
        """What the file asks for now. Costs a few `stat`s."""
        if self._path and (stamp := self._stamp()) != self._seen:
            self._seen = stamp
            try:
                self._file = load(self._path)
                self._seen = self._stamp()
                log.info("web_file_reloaded", file=str(self._path))
            except WebFileError as error:
                log.error("web_file_refused", error=str(error))
        return self._file

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stat(name) for name in self._file.files)

    async def knows(self, authorization: str) -> bool:
        """Whether a `Basic` header names a user of the file with the right password.

        An unknown user costs the same time as a wrong password. Raises OverloadedError when too many are waiting.
        """
        users = self.current().users
        user, password = _basic(authorization)
        if not users or user is None:
            return False
        hashed = users.get(user) or next(iter(users.values()))
        entry = hmac.digest(self._key, b"\0".join((user.encode(), hashed.encode(), password)), hashlib.sha256)
        if entry not in self._known:
            self._remember(entry, await self._check(password, hashed))
        return self._known.get(entry, False) and user in users

    async def _check(self, password: bytes, hashed: str) -> bool:
        if self._waiting >= _WAITING:
            raise OverloadedError
        self._waiting += 1
        try:
            check = partial(_matches, password[:_PASSWORD_BYTES], hashed.encode())
            return await asyncio.get_running_loop().run_in_executor(self._hashing, check)
        finally:
            self._waiting -= 1

    def _remember(self, entry: bytes, right: bool) -> None:
        self._known[entry] = right
        while len(self._known) > _CACHED:
            self._known.popitem(last=False)


class OverloadedError(Exception):
    """Too many passwords are waiting to be checked."""


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:
        return False


def user_in(authorization: str) -> str:
    """The name that a `Basic` header gives; "" if it is none."""
    return _basic(authorization)[0] or ""


def _basic(authorization: str) -> tuple[str | None, bytes]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None, b""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return user.decode(), password
    except (binascii.Error, ValueError):
        return None, b""


def _stat(name: str) -> tuple[int, int, int] | None:
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
