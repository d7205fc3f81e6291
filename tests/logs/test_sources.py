"""Who is behind a pattern, as numbers: what counts as a source, that it is told apart, and that nobody can be named."""

from __future__ import annotations

import json

import msgspec
import pytest

from monitor.logs.scan import Delta, Scanner, Spec
from monitor.logs.sources import source
from monitor.logs.window import BY_SOURCE, SOURCES_MOST, Bucket, Ring, Sources, is_whole

NOW = 1_795_453_600.0
REFUSED, LET_IN = f'"statusCode":401{BY_SOURCE}', f'"statusCode":201{BY_SOURCE}'


def line(status: int = 401, *, at: float = NOW, peer: str | None = "127.0.0.1", forwarded: object = None) -> bytes:
    request: dict[str, object] = {"id": 1, "method": "POST", "url": "/api/auth/login"}
    request |= {"headers": {"x-forwarded-for": forwarded}} if forwarded is not None else {}
    request |= {"remoteAddress": peer} if peer is not None else {}
    record = {"level": 30, "time": int(1000 * at), "req": request, "res": {"statusCode": status}, "responseTime": 3}
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def scanned(*lines: bytes) -> Delta:
    scanner = Scanner(Spec(patterns={REFUSED: REFUSED, LET_IN: LET_IN}))
    scanner.begin(now=NOW, oldest=NOW - 600, last_event=None)
    scanner.feed(lines, b"".join(lines))
    return scanner.end()


def ring(*lines: bytes) -> Ring:
    made = Ring(620.0)
    made.add(scanned(*lines).buckets, NOW)
    return made


def sources(*lines: bytes, burst: int = 3) -> Sources:
    return ring(*lines).sources(NOW - 300, REFUSED, LET_IN, burst)


# --- who a line speaks of ---------------------------------------------------------------------------------------------

SAME = [
    (line(peer="203.0.113.9"), line(peer="203.0.113.9")),
    (line(peer="203.0.113.9"), line(peer="::ffff:203.0.113.9")),
    (line(peer="203.0.113.9"), line(peer="127.0.0.1", forwarded="203.0.113.9")),
    (line(peer="203.0.113.9"), line(peer="10.0.0.7", forwarded="203.0.113.9, 10.0.0.1, 10.0.0.2")),
    (line(peer="203.0.113.9"), line(peer="10.0.0.7", forwarded=" 203.0.113.9:51442 ")),
    (line(peer="2001:db8::1"), line(peer="::1", forwarded="[2001:DB8:0::1]:443")),
    (line(peer="203.0.113.9"), line(peer=None, forwarded="203.0.113.9")),
    (line(forwarded="192.168.1.5"), line(forwarded="192.168.1.5")),  # what a proxy of the house says is believed
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_source_is_told_again(one: bytes, other: bytes) -> None:
    assert source(one) == source(other) is not None


def test_others_are_others() -> None:
    lines = [line(peer=f"203.0.113.{number}") for number in range(50)]
    assert len({source(one) for one in lines}) == 50


@pytest.mark.parametrize(
    "nobody",
    [
        *(line(peer=peer) for peer in ("127.0.0.1", "::1", "10.1.2.3", "172.20.0.1", "192.168.0.1", "fd00::1", None, "", "x")),
        line(forwarded=""), line(forwarded="unknown"), line(forwarded=["203.0.113.9"]), line(forwarded=7),
        b"not json\n", b"[1]\n", b"{}\n", b'{"req":null}\n', b'{"req":"x"}\n', b'{"req":{"headers":7}}\n', b"\xff\xfe\n", b"",
        b"{" * 5000,
    ],
)  # fmt: skip
def test_a_proxy_or_a_line_that_does_not_tell_is_nobody(nobody: bytes) -> None:
    assert source(nobody) is None


# --- counted ----------------------------------------------------------------------------------------------------------


def test_all_matches_count_and_those_of_each_source_beside() -> None:
    lines = [line(peer="203.0.113.9")] * 4 + [line(peer="203.0.113.10")] * 2 + [line(peer="10.0.0.1")]
    assert scanned(*lines).matches == {REFUSED: 7}
    assert sources(*lines) == Sources(count=2, most=4.0)


def test_behind_a_proxy_that_does_not_tell_only_the_whole_is_counted() -> None:
    lines = [line(peer="10.0.0.1")] * 40
    assert scanned(*lines).matches == {REFUSED: 40}
    assert sources(*lines) == Sources()


def test_what_is_older_than_the_window_is_not_counted() -> None:
    assert sources(line(at=NOW - 400, peer="203.0.113.9"), line(at=NOW - 5, peer="203.0.113.10")).count == 1


A, B = "203.0.113.9", "203.0.113.10"


@pytest.mark.parametrize(
    ("lines", "let_in"),
    [
        ([line(at=NOW - 60, peer=A)] * 3 + [line(201, at=NOW - 30, peer=A)], 1),
        ([line(at=NOW - 60, peer=A)] * 2 + [line(201, at=NOW - 30, peer=A)], 0),  # no burst
        ([line(at=NOW - 60, peer=A)] * 3 + [line(201, at=NOW - 30, peer=B)], 0),  # somebody else
        ([line(201, at=NOW - 90, peer=A)] + [line(at=NOW - 60, peer=A)] * 3, 0),  # before
        ([line(at=NOW - 90, peer=A), line(at=NOW - 60, peer=A), line(at=NOW - 40, peer=A), line(201, at=NOW - 9, peer=A)], 1),
        ([line(at=NOW - 60, peer=who) for who in (A, B) * 3] + [line(201, at=NOW - 9, peer=who) for who in (A, B)], 2),
        ([line(at=NOW - 60, peer="10.0.0.1")] * 9 + [line(201, at=NOW - 9, peer="10.0.0.1")], 0),  # a proxy for everybody
    ],
)  # fmt: skip
def test_a_source_that_gets_in_after_a_burst_is_counted(lines: list[bytes], let_in: int) -> None:
    assert sources(*lines).let_in == let_in


def test_a_crowd_of_sources_takes_a_bounded_place_and_the_whole_is_still_right() -> None:
    lines = [line(forwarded=f"198.51.{number // 250}.{number % 250}") for number in range(3000)]
    delta = scanned(*lines)
    assert delta.matches == {REFUSED: 3000}
    (bucket,) = delta.buckets.values()
    assert len(bucket.matches) <= SOURCES_MOST
    more = Bucket(matches={f"{REFUSED}\0{number}": 1 for number in range(3000)} | {REFUSED: 5})
    bucket.add(more)
    assert len(bucket.matches) <= SOURCES_MOST
    assert bucket.matches[REFUSED] == 3005


def test_nothing_that_is_kept_tells_who_it_was() -> None:
    delta = scanned(line(peer="203.0.113.9", forwarded="198.51.100.77"), line(peer="2001:db8::7"))
    kept = msgspec.msgpack.encode(delta)
    for address in (b"203.0.113.9", b"198.51.100.77", b"2001:db8"):
        assert address not in kept
    assert all(is_whole(name) for name in delta.last_matches)
