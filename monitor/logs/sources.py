"""Who is behind a line, as a word that only tells the same one again: enough to count by, and nobody can be named by it.

The word is a digest under a key that this process makes up and keeps nowhere, so what is saved of it is of no use to
anybody, and a reading process that is started anew counts a source of before as another one.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from ipaddress import ip_address, ip_network

import msgspec

_KEY = os.urandom(32)
_DIGEST_BYTES = 6
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::\d{1,5})?|([\d.]+):\d{1,5}")
# Addresses that a proxy has, and no customer: of them a log without `x-forwarded-for` is full.
_INSIDE = [ip_network(text) for text in (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "::1/128",
    "fc00::/7", "fe80::/10",
)]  # fmt: skip


class _Request(msgspec.Struct, rename="camel"):
    headers: dict[str, object] | None = None
    remote_address: str | None = None
    ip: str | None = None


class _Line(msgspec.Struct):
    req: _Request | None = None


_decode = msgspec.json.Decoder(_Line).decode


def source(line: bytes) -> str | None:
    """The word for who made the request that a line speaks of; None where the line does not tell.

    It is the first address of `x-forwarded-for`, else the one that is connected, unless that is a proxy's.
    """
    try:
        request = _decode(line.strip(b"\0\r\n\t ")).req
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if request is None:
        return None
    forwarded = (request.headers or {}).get("x-forwarded-for")
    if isinstance(forwarded, str) and (first := _plain(forwarded.partition(",")[0])):
        return _word(first)
    peer = _plain(request.remote_address or request.ip or "")
    return _word(peer) if peer and not _is_inside(peer) else None


def _plain(text: str) -> str:
    """An address without its port and brackets, in the one way to write it; empty for what is none."""
    clean = text.strip()
    match = _WITH_PORT.fullmatch(clean)
    try:
        address = ip_address((match[1] or match[2]) if match else clean)
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _is_inside(address: str) -> bool:
    return any(ip_address(address) in network for network in _INSIDE)


def _word(address: str) -> str:
    return blake2b(address.encode(), key=_KEY, digest_size=_DIGEST_BYTES).hexdigest()
