"""The salesforce probe against a server that answers as Salesforce is documented to, down to the signature it checks."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from pydantic import ValidationError

from monitor.core.probe import Fault, ProbeError, Reading
from monitor.probes.salesforce import LOGIN_SECONDS, PROBE, SalesforceOptions
from tests.probing import NOW, Held, held
from tests.replies import Replies, http, request, says, serving

ORDERS = (
    "SELECT COUNT(Id) waiting, MIN(LastModifiedDate) oldest FROM Order"
    " WHERE Activation_Status__c = 'Activating' AND LastModifiedDate < {before}"
)
REVIEW = "SELECT COUNT() FROM Order WHERE Status = 'Pending Review'"
VERSIONS = [{"label": "Winter '25", "url": "/services/data/v62.0", "version": "62.0"}]
LIMITS = {
    "DailyApiRequests": {"Max": 15000, "Remaining": 12000},
    "DailyDeliveredPlatformEvents": {"Max": 50000, "Remaining": 49900},
}
WAITING = {"totalSize": 1, "done": True, "records": [
    {"attributes": {"type": "AggregateResult"}, "waiting": 3, "oldest": "2026-11-18T10:06:40.000+0000"}
]}  # fmt: skip
DATA = "/services/data/v62.0"


@cache
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key: Any = None, encryption: KeySerializationEncryption | None = None) -> str:
    key = key or private_key()
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode())


def answer(body: object, status: int = 200) -> bytes:
    return http(body if isinstance(body, str) else json.dumps(body), status)


def refused(code: str, status: int = 400) -> bytes:
    return answer([{"message": "jane@example.com is to blame", "errorCode": code}], status)


@dataclass
class Org:
    """An organisation that checks logins and tokens as Salesforce does, and answers each path as a test wants it."""

    answers: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    logins: list[dict[str, Any]] = field(default_factory=list)  # the claims of each
    asked: list[str] = field(default_factory=list)
    login_answer: bytes = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        asked = await request(reader)
        head, _, body = asked.decode().partition("\r\n\r\n")
        path = head.split()[1]
        self.asked.append(unquote(path))
        writer.write(self._answer(path, head, body))
        await writer.drain()
        return asked

    def _answer(self, path: str, head: str, body: str) -> bytes:
        if path == "/services/oauth2/token":
            return self.login_answer or self._log_in(parse_qs(body))
        if path == "/services/data/":
            return self.answers.get(path, answer(VERSIONS))
        sent = [line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith("authorization:")]
        if not sent or sent[0].removeprefix("Bearer ") not in self.tokens:
            return refused("INVALID_SESSION_ID", 401)
        return self.answers[path.partition("?")[0].removeprefix(DATA)]

    def _log_in(self, fields: dict[str, list[str]]) -> bytes:
        assert fields["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        signed, _, signature = fields["assertion"][0].rpartition(".")
        private_key().public_key().verify(decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        header, claims = (json.loads(decoded(part)) for part in signed.split("."))
        assert header["alg"] == "RS256"
        self.logins.append(claims)
        token = f"00D!token-canary-{len(self.logins)}"
        self.tokens = {token}
        return answer({"access_token": token, "instance_url": "https://elsewhere.example.com", "token_type": "Bearer"})


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def login(server: Replies, **more: object) -> dict[str, Any]:
    place = f"http://127.0.0.1:{server.port}"
    who = {"client_id": "client-canary", "username": "monitor@example.com", "private_key": pem()}
    return {"instance_url": place, "login_url": place, "login": True, **who, **more}


@asynccontextmanager
async def watched(org: Org, **more: object) -> AsyncIterator[Held]:
    async with serving(org) as server, held(PROBE, **login(server, **more)) as target:
        yield target


# --- what it brings home ----------------------------------------------------------------------------------------------


async def test_the_front_door_needs_no_login() -> None:
    org = Org()
    async with serving(org) as server, held(PROBE, instance_url=f"http://127.0.0.1:{server.port}") as target:
        reading = await target.run()
    assert org.asked == ["/services/data/"]
    assert reading.details["versions"] == "up to 62.0"
    assert set(reading.measurements) == {"duration_seconds", "phase_seconds"}


async def test_a_signed_login_asks_what_is_configured_and_nothing_else() -> None:
    org = Org({"/query": answer(WAITING), "/limits": answer(LIMITS)})
    async with watched(org, orders=ORDERS, counts={"review": REVIEW}, limits=True, audience="https://aud") as target:
        reading = await target.run()
        again = await target.run(after=60)
    assert org.logins == [
        {"iss": "client-canary", "sub": "monitor@example.com", "aud": "https://aud", "exp": int(NOW) + 180}
    ]
    expected = ORDERS.replace("{before}", "2026-11-18T10:51:40Z")  # a quarter of an hour before now
    assert org.asked[:4] == [
        "/services/oauth2/token", f"{DATA}/query?q={expected}", f"{DATA}/query?q={REVIEW}", f"{DATA}/limits",
    ]  # fmt: skip
    assert len(org.asked) == 4 + 3  # a run costs one request for each question
    numbers = {name: value for name, value in reading.measurements.items() if not name.endswith("_seconds")}
    assert numbers == {
        "orders_waiting": 3,
        "rows": {"review": 1},
        "api_requests_left_ratio": 0.8,
        "event_deliveries_left_ratio": 0.998,
        "events_delivered": 100,
    }
    assert reading.measurements["orders_oldest_seconds"] == 3600
    assert again.measurements.keys() == reading.measurements.keys()
    assert "canary" not in repr(reading) + repr(target.resource)


async def test_nothing_waiting_is_measured_as_nothing() -> None:
    org = Org({"/query": answer({"totalSize": 1, "records": [{"waiting": 0, "oldest": None}]})})
    async with watched(org, orders=ORDERS) as target:
        measured = (await target.run()).measurements
    assert (measured["orders_waiting"], measured["orders_oldest_seconds"]) == (0, 0)


async def test_slopes_are_of_everybodys_requests_and_deliveries() -> None:
    org = Org({"/limits": answer(LIMITS)})

    def left(requests: int, deliveries: int) -> None:
        org.answers["/limits"] = answer({
            "DailyApiRequests": {"Max": 15000, "Remaining": requests},
            "DailyDeliveredPlatformEvents": {"Max": 50000, "Remaining": deliveries},
        })  # fmt: skip

    async with watched(org, limits=True) as target:
        slopes = []
        for after, requests, deliveries in [
            (0, 12000, 50000), (900, 11900, 49975), (60, 11890, 49970), (840, 11800, 49975), (900, 11900, 49900), (7 * 3600, 9000, 9),
        ]:  # fmt: skip
            left(requests, deliveries)
            measured = (await target.run(after=after)).measurements
            slopes.append((measured.get("api_requests_per_hour"), measured.get("event_deliveries_per_hour")))
    assert slopes == [(None, None), (400, 100), (None, None), (400, 0), (0, 300), (None, None)]


@pytest.mark.parametrize(
    "cursor", [[], {"used": 7, "at": NOW - 900}, {"used": {"x": 1}, "at": NOW - 900}, {"used": {}, "at": "x"}]
)
async def test_a_reading_that_makes_no_sense_makes_no_slope(cursor: Any) -> None:
    async with watched(Org({"/limits": answer(LIMITS)}), limits=True) as target:
        target.cursor = cursor
        assert "api_requests_per_hour" not in (await target.run()).measurements


async def test_limits_that_the_user_does_not_see_are_absent() -> None:
    async with watched(Org({"/limits": answer({"DataStorageMB": {"Max": 5, "Remaining": 5}})}), limits=True) as target:
        reading = await target.run()
    assert "api_requests_left_ratio" not in reading.measurements
    assert reading.details["limits"] == "not visible to this user"


async def test_questions_without_a_login_are_said_not_to_be_asked() -> None:
    org = Org()
    async with serving(org) as server:
        place = f"http://127.0.0.1:{server.port}"
        async with held(PROBE, instance_url=place, orders=ORDERS, private_key="") as target:
            assert (await target.run()).details["login"] == "off, so orders, counts and limits are not asked"
    assert org.asked == ["/services/data/"]


# --- logins -----------------------------------------------------------------------------------------------------------

# https://help.salesforce.com: "OAuth 2.0 JWT Bearer Flow", "OAuth Authorization Errors"
LOGIN_ERRORS = [
    ("invalid_grant", "user hasn't approved this consumer", "unauthorised-app"),
    ("invalid_app_access", "user is not admin approved to access this app", "unauthorised-app"),
    ("invalid_grant", "audience is invalid", "audience"),
    ("invalid_grant", "Audience validation failed", "audience"),
    ("invalid_grant", "expired authorization code", "clock"),
    ("invalid_grant", "user is locked", "locked"),
    ("inactive_user", "user is inactive", "inactive-user"),
    ("inactive_org", "organization is locked, closed, or suspended", "org-inactive"),
    ("invalid_client_id", "client identifier invalid", "client-id"),
    ("invalid_client", "invalid client credentials", "client-credentials"),
    ("invalid_grant", "invalid assertion", "client-credentials"),
    ("invalid_grant", "ip restricted or invalid login hours", "login-address"),
    ("rate_limit_exceeded", "login rate exceeded", "login-rate"),
    ("invalid_grant", "authentication failure of jane@example.com", "login-refused"),
    ("<b>", "", "login-refused"),
]


@pytest.mark.parametrize(("error", "description", "reason"), LOGIN_ERRORS)
async def test_every_documented_refusal_of_a_login_has_its_reason(error: str, description: str, reason: str) -> None:
    org = Org(login_answer=answer({"error": error, "error_description": description}, 400))
    async with watched(org, limits=True) as target:
        told = await target.failure()
    assert told.reason == reason
    assert "jane" not in told.detail
    assert "<" not in told.detail
    assert target.fault(told) is (Fault.TARGET if reason == "org-inactive" else Fault.ACCESS)


async def test_a_refused_login_is_not_tried_again_for_a_quarter_of_an_hour_not_even_by_a_new_process() -> None:
    org = Org(login_answer=answer({"error": "invalid_grant", "error_description": "user is locked"}, 400))
    async with serving(org) as server:
        async with held(PROBE, **login(server, limits=True)) as target:
            await target.failure()
            again = await target.failure(after=LOGIN_SECONDS - 1)
            memory = target.resource.opening.saved
        assert (again.reason, server.connections) == ("locked", 1)
        assert again.detail == "the login is refused: invalid_grant; not tried again before 11:21:40 UTC"
        async with held(PROBE, saved=memory, **login(server, limits=True)) as target:
            assert (await target.failure(after=LOGIN_SECONDS - 1)).reason == "locked"
            assert server.connections == 1
            org.login_answer, org.answers["/limits"] = b"", answer(LIMITS)
            await target.run(after=2)
    assert len(org.logins) == 1


@pytest.mark.parametrize("memory", [b"x", b"[]", b'["no-such-reason", "", 1]', b'["locked", "", "soon"]', b'{"a": 1}'])
async def test_a_memory_that_makes_no_sense_is_passed_over(memory: bytes) -> None:
    org = Org({"/limits": answer(LIMITS)})
    async with serving(org) as server, held(PROBE, saved=memory, **login(server, limits=True)) as target:
        await target.run()


async def test_a_session_that_has_ended_is_begun_anew_once() -> None:
    org = Org({"/limits": answer(LIMITS)})
    async with watched(org, limits=True) as target:
        await target.run()
        org.tokens.clear()
        early = await target.failure(after=60)
        assert (early.reason, target.fault(early)) == ("session", Fault.ACCESS)
        assert len(org.logins) == 1
        await target.run(after=LOGIN_SECONDS)
        assert len(org.logins) == 2
        await target.run(after=7200)
    assert len(org.logins) == 2


async def test_probes_of_one_login_share_a_session_and_log_in_once() -> None:
    org = Org({"/limits": answer(LIMITS), "/query": answer(WAITING)})
    async with serving(org) as server, held(PROBE, **login(server, limits=True)) as target:
        other = Held(PROBE, SalesforceOptions.model_validate(login(server, orders=ORDERS)), target.resource)
        assert PROBE.resource_key is not None
        assert PROBE.resource_key(target.options) == PROBE.resource_key(other.options)
        await asyncio.gather(target.run(), other.run(), target.run())
    assert len(org.logins) == 1


async def test_a_key_may_come_as_environments_carry_it() -> None:
    plain = pem()
    for written in (plain, plain.replace("\n", "\\n"), base64.b64encode(plain.encode()).decode()):
        async with watched(Org({"/limits": answer(LIMITS)}), limits=True, private_key=written) as target:
            await target.run()


# --- answers that are no success --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (refused("REQUEST_LIMIT_EXCEEDED", 403), "quota"),
        (refused("SERVER_UNAVAILABLE", 503), "maintenance"),
        (refused("API_CURRENTLY_DISABLED", 403), "maintenance"),
        (refused("API_DISABLED_FOR_ORG", 403), "rights"),
        (refused("INSUFFICIENT_ACCESS", 403), "rights"),
        (refused("MALFORMED_QUERY"), "query"),
        (refused("INVALID_FIELD"), "query"),
        (refused("INVALID_TYPE"), "query"),
        (refused("NOT_FOUND", 404), "version"),
        (refused("UNKNOWN_EXCEPTION", 500), "status"),
        (answer("", 503), "maintenance"),
        (answer("<html>We are down for maintenance.</html>"), "maintenance"),
        (answer("<!DOCTYPE html><title>Login</title>", 200), "maintenance"),
        (answer("slow down", 429), "throttled"),
        (answer("", 301), "status"),
        (answer("", 500), "status"),
        (answer("", 404), "status"),
        (answer("{not json"), "degraded"),
        (answer("7"), "degraded"),
        (answer([]), "degraded"),
        (answer({}), "degraded"),
        (answer({"records": [{"waiting": "3"}]}), "degraded"),
        (http('{"records": [', whole=False), "degraded"),
        (http("x" * 300_000), "degraded"),
    ],
)
async def test_every_answer_has_its_reason(reply: bytes, reason: str) -> None:
    async with watched(Org({"/query": reply}), orders=ORDERS) as target:
        told = await target.failure()
    assert told.reason == reason
    assert "jane" not in told.detail
    assert "phase_seconds" in told.reading.measurements


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer("<html>down</html>", 503), "maintenance"),
        (answer({"no": "list"}), "degraded"),
        (answer("", 502), "status"),
        (answer("", 401), "session"),
        (answer("slow down", 429), "throttled"),
    ],
)
async def test_a_front_door_that_is_shut_is_told(reply: bytes, reason: str) -> None:
    org = Org({"/services/data/": reply})
    async with serving(org) as server, held(PROBE, instance_url=f"http://127.0.0.1:{server.port}") as target:
        assert (await target.failure()).reason == reason


@pytest.mark.parametrize(
    ("reply", "reason"), [(answer("<html>", 503), "maintenance"), (answer({"token": 1}), "degraded"), (answer("", 500), "status")]
)  # fmt: skip
async def test_a_login_that_was_not_answered_is_no_refusal(reply: bytes, reason: str) -> None:
    org = Org({"/limits": answer(LIMITS)}, login_answer=reply)
    async with watched(org, limits=True) as target:
        assert (await target.failure()).reason == reason
        org.login_answer = b""
        await target.run(after=1)


async def test_every_reason_of_an_answer_can_be_reached() -> None:
    connection = {"unreachable", "tls", "certificate"}  # the connection's own tests
    told = {reason for *_, reason in LOGIN_ERRORS}
    for test in (test_every_answer_has_its_reason, test_a_front_door_that_is_shut_is_told):
        (mark,) = test.pytestmark  # type: ignore[attr-defined]
        told |= {reason for _, reason in mark.args[1]}
    assert set(PROBE.reasons) == told | connection


# --- options ----------------------------------------------------------------------------------------------------------

PLACE = "https://example.my.salesforce.com"


def options(**more: object) -> SalesforceOptions:
    return SalesforceOptions.model_validate({"instance_url": PLACE, **more})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"instance_url": "example.com"}, "not a URL of HTTP"),
        ({"instance_url": f"{PLACE}/services"}, "write the address alone"),
        ({"instance_url": "https://me:canary@example.com"}, "write the address alone"),
        ({"login": True}, "login: true needs client_id, username, private_key too"),
        ({"private_key": "canary"}, "is no private key"),
        ({"private_key": base64.b64encode(b"canary").decode()}, "is no private key"),
        ({"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, "is not an RSA key"),
        ({"private_key": pem(encryption=BestAvailableEncryption(b"word"))}, "with a passphrase"),
        ({"orders": REVIEW}, "write a query for a count and the oldest"),
        ({"orders": "DELETE FROM Order"}, "write a query for a count and the oldest"),
        ({"counts": {"x": "SELECT Id, Name FROM Contact"}}, "write a query that only counts"),
        ({"counts": {"a b": REVIEW}}, "pattern"),
        ({"api_version": "62"}, "pattern"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_mistake_in_the_options_is_told_without_a_secret(wrong: Mapping[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        options(**wrong)
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)


def test_options_keep_their_secrets() -> None:
    made = options(client_id="client-canary", private_key=pem())
    assert "canary" not in repr(made)
    assert "PRIVATE KEY" not in repr(made) + made.model_dump_json()


async def test_one_answer_of_a_stranger_is_enough_to_be_no_success() -> None:
    async with (
        serving(says(answer([{"hello": "world"}]))) as server,
        held(PROBE, **login(server, limits=True)) as target,
    ):
        with pytest.raises(ProbeError) as caught:
            await target.run()
    assert caught.value.reason == "degraded"
    assert isinstance(caught.value.reading, Reading)
