"""Whether the WHMCS API answers the portal: reachable, authenticated, allowed in from this address.

Protocol: https://developers.whmcs.com/api/ (`includes/api.php`). `result` must be read: a failure may come as HTTP 200
or 403, as JSON or as bare text.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated
from urllib.parse import urlencode

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from monitor.core.probe import (
    Cost,
    Fault,
    Json,
    Measure,
    Options,
    ProbeContext,
    ProbeError,
    ProbeType,
    Reading,
    Reason,
    Secret,
    SecretUrl,
)
from monitor.core.quantity import Duration, format_duration
from monitor.probes import _health as health
from monitor.probes._connection import (
    CONNECTION_MEASURES,
    CONNECTION_REASONS,
    PHASES,
    UNREACHABLE,
    CaFile,
    Journey,
)
from monitor.probes._exchange import STATUS, THROTTLED, THROTTLED_REASON, Answer, Request, exchange, parse_url

CREDENTIALS = "credentials"
ALLOW_LIST = "allow-list"
ACTION = "action"
MAINTENANCE = "maintenance"
DEGRADED = "degraded"

_MAX_BYTES = 256 * 1024
_TEXT_BYTES = 16 * 1024  # of a page that is no JSON, as much as is looked at

REASONS: Mapping[str, Reason] = {
    **CONNECTION_REASONS,
    MAINTENANCE: Reason(
        Fault.TARGET, "WHMCS says that it is down for maintenance: ask who works on it, or finish its upgrade."
    ),
    CREDENTIALS: Reason(
        Fault.TARGET,
        "WHMCS refuses WHMCS_API_IDENTIFIER and WHMCS_API_SECRET, which are the portal's own: compare them with WHMCS"
        " (Setup, Staff Management, API Credentials).",
    ),
    ALLOW_LIST: Reason(
        Fault.ACCESS,
        "WHMCS does not accept requests from the monitor's address; the BFF, from its own, may be fine. Add the address"
        " to the API IP access restriction, or lift its ban.",
    ),
    ACTION: Reason(
        Fault.ACCESS, "This WHMCS does not know the probe's `action`: choose an older one, such as GetCurrencies."
    ),
    DEGRADED: Reason(
        Fault.TARGET,
        "WHMCS answers, but not as its API should: look at its PHP error log, its load and the proxy before it.",
    ),
    STATUS: Reason(Fault.TARGET, "The web server of WHMCS answers with an error: look at its log at this time."),
    THROTTLED: THROTTLED_REASON,
}

_CREDENTIALS = ("authentication failed", "invalid or missing credentials")
_ALLOW_LIST = ("invalid ip", "ip banned", "access denied")
_PERMISSIONS = "invalid permissions"
_ACTION = "invalid api action"
_MAINTENANCE = ("down for maintenance", "maintenance mode", "under maintenance")
_FIREWALL = ("just a moment", "attention required! | cloudflare")
_GATEWAY = frozenset({502, 503, 504, *range(520, 531)})  # a proxy speaks for a server that is gone; 52x: Cloudflare
_ADDRESS = re.compile(r"invalid ip:?\s+([0-9a-f.:]{3,45})", re.IGNORECASE)
_VERSION = re.compile(r"[\w.+-]{1,40}")


def _url(value: SecretStr) -> SecretStr:
    parse_url(value.get_secret_value())
    return value


class WhmcsOptions(Options):
    url: Annotated[SecretUrl, AfterValidator(_url)]  # of includes/api.php
    identifier: Secret
    secret: Secret
    access_key: Secret | None = None  # lets in from any address, where WHMCS has one configured
    action: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{1,60}$")] = "WhmcsDetails"
    ca_file: CaFile | None = None
    # WHMCS bans an address for repeated bad logins, and the portal may share ours.
    back_off: Annotated[Duration, Field(description="How long refused credentials are not tried again.")] = 600.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means: a reason and its detail, or a success (`reason` empty), with what people should know."""

    reason: str = ""
    detail: str = ""
    permitted: bool = True
    version: str = ""


def judge(answer: Answer) -> Verdict:
    """Classify an answer of `includes/api.php`. Nothing of its text is repeated but what is known to be harmless."""
    document = _document(answer)
    result = str(document.get("result", "")).lower()
    if result == "success" and 200 <= answer.status < 300:
        return Verdict(version=_version(document))
    text = str(document.get("message", "")) if document else answer.body[:_TEXT_BYTES].decode(errors="replace")
    return _by_message(text) or _by_status(answer) or _by_shape(answer, result)


def _by_message(text: str) -> Verdict | None:
    """WHMCS's own words, and those of what stands before it."""
    said = text.lower()
    if _any_in(_FIREWALL, said):
        return Verdict(UNREACHABLE, "a firewall's page (Cloudflare) answers in its place")
    if _any_in(_MAINTENANCE, said):
        return Verdict(MAINTENANCE, "its page says that it is down for maintenance")
    if _any_in(_CREDENTIALS, said):
        return Verdict(CREDENTIALS, "authentication failed")
    if _any_in(_ALLOW_LIST, said):
        return Verdict(ALLOW_LIST, _address_refused(text))
    if _ACTION in said:
        return Verdict(ACTION, "not a valid API action")
    return Verdict(permitted=False) if _PERMISSIONS in said else None


def _any_in(phrases: Iterable[str], text: str) -> bool:
    return any(phrase in text for phrase in phrases)


def _by_status(answer: Answer) -> Verdict | None:
    if answer.status in _GATEWAY:
        return Verdict(UNREACHABLE, f"{answer.words}, from the proxy before it")
    if answer.status == 429:
        return Verdict(THROTTLED, answer.words)
    if 300 <= answer.status < 400:
        return Verdict(STATUS, f"{answer.words}: redirected, and credentials are not sent after; correct the URL")
    return None if 200 <= answer.status < 300 else Verdict(STATUS, answer.words)


def _by_shape(answer: Answer, result: str) -> Verdict:
    if answer.defect:
        return Verdict(DEGRADED, str(answer.defect))
    if not answer.body.strip():
        return Verdict(DEGRADED, "the answer is empty")
    if not result:
        return Verdict(DEGRADED, "the answer is not the JSON of the API")
    return Verdict(DEGRADED, "the API answers with an error that says nothing about access")


async def run(options: WhmcsOptions, context: ProbeContext) -> Reading:
    """Call one harmless action. After refused credentials it is not called again for ten minutes, unless they change."""
    _repeat_refusal(options, context)
    journey = Journey(context.now)
    async with journey.within(context.timeout_seconds):
        answer = await exchange(_request(options), journey, max_bytes=_MAX_BYTES, ca_file=options.ca_file)
    verdict = judge(answer)
    measurements = {"duration_seconds": journey.seconds, **journey.measurements()}
    details = {"address": journey.address, "answer": answer.words}
    if verdict.reason:
        refused = _refusal(options, context.now) if verdict.reason == CREDENTIALS else {}
        reading = Reading(measurements, cursor=refused, details=details)
        raise ProbeError(verdict.reason, verdict.detail, reading=reading)
    if verdict.version:
        details["version"] = verdict.version
    if not verdict.permitted:
        details["permissions"] = (
            f"the API role does not allow {options.action}; reachable and authenticated all the same"
        )
    return Reading({**measurements, "permitted": float(verdict.permitted)}, cursor={}, details=details)


def _request(options: WhmcsOptions) -> Request:
    fields = {
        "identifier": options.identifier.get_secret_value(),
        "secret": options.secret.get_secret_value(),
        "action": options.action,
        "responsetype": "json",
    }
    if options.access_key:
        fields["accesskey"] = options.access_key.get_secret_value()
    return Request(
        parse_url(options.url.get_secret_value()),
        "POST",
        {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"},
        urlencode(fields).encode(),
    )


def _repeat_refusal(options: WhmcsOptions, context: ProbeContext) -> None:
    """Raise the last verdict again while it is fresh and the credentials are those that were refused."""
    last = context.cursor if isinstance(context.cursor, dict) else {}
    at, salt, digest = (last.get(key) for key in ("credentials_refused_at", "salt", "digest"))
    if not (isinstance(at, int | float) and isinstance(salt, str) and isinstance(digest, str)):
        return
    if abs(context.now - at) < options.back_off and hmac.compare_digest(digest, _digest(options, salt)):
        when = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
        raise ProbeError(
            CREDENTIALS,
            f"authentication failed at {when}; not tried again for {format_duration(options.back_off)}, to not be banned",
        )


def _refusal(options: WhmcsOptions, now: float) -> Json:
    salt = secrets.token_hex(16)
    return {"credentials_refused_at": now, "salt": salt, "digest": _digest(options, salt)}


def _digest(options: WhmcsOptions, salt: str) -> str:
    """By which changed credentials are known without keeping them."""
    chosen = (options.url, options.identifier, options.secret, options.access_key)
    text = "\0".join(secret.get_secret_value() if secret else "" for secret in chosen)
    return blake2b(text.encode(), key=bytes.fromhex(salt), digest_size=16).hexdigest()


def _document(answer: Answer) -> Mapping[str, Json]:
    try:
        document = health.parse(answer.body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _version(document: Mapping[str, Json]) -> str:
    found = health.pick(document, ".whmcs.canonicalversion")
    return found if isinstance(found, str) and _VERSION.fullmatch(found) else ""


def _address_refused(text: str) -> str:
    match = _ADDRESS.search(text)
    return f"the address {match[1]} is not allowed" if match else "this address is banned or not allowed"


def _parts(options: WhmcsOptions) -> Mapping[str, frozenset[str]]:
    tls = parse_url(options.url.get_secret_value()).tls
    return {"phase_seconds": frozenset(PHASES) - (frozenset() if tls else {"tls"})}


PROBE = ProbeType(
    name="whmcs",
    help="The WHMCS API takes the portal's credentials and answers one harmless action.",
    options=WhmcsOptions,
    measures={
        "duration_seconds": Measure("Time until the last byte of the answer, name lookup included"),
        **CONNECTION_MEASURES,
        "permitted": Measure("1 if the API role allows the action, 0 if it only lets in", kind="state"),
    },
    reasons=REASONS,
    run=run,
    target_keys=frozenset({"url"}),
    parts=_parts,
    cost=Cost(
        "One request, of the one action; none for `back_off` after credentials were refused.",
        "requests",
        most=lambda options: 1,
    ),
    privileges=(
        "An API credential with an API role that allows `action` and nothing else",
        "The monitor's address on the API IP access restriction, or `access_key`",
    ),
    example="""
type: whmcs
url: ${WHMCS_API_URL}
identifier: ${WHMCS_API_IDENTIFIER}
secret: ${WHMCS_API_SECRET}
interval: 20s
timeout: 10s
warn: duration_seconds > 2s
needs: [egress]
""",
)
