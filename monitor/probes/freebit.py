"""Whether Freebit can be reached, and, where that is asked for, whether its API takes the portal's credentials.

A run opens one TCP connection, with TLS where the URL says so, and asks nothing: Freebit counts calls and locks lines,
and polling disturbs other operators. With `login: true` it also authenticates (`authOem`), at most once in ten minutes;
runs between repeat what it said. Whether that ends the BFF's own key is not public: ask Freebit before turning it on.

Source: public clients of the API (`POST /emptool/api/authOem/` with the form field `json`; success is resultCode 100,
whatever the HTTP status).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from pydantic import AfterValidator, SecretStr, model_validator

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
)
from monitor.probes import _health as health
from monitor.probes._connection import CONNECTION_MEASURES, CONNECTION_REASONS, PHASES, CaFile, Journey, connected
from monitor.probes._exchange import STATUS, THROTTLED, THROTTLED_REASON, Answer, Request, exchange, parse_url

LOGIN_SECONDS = 600.0
REFUSED, DEGRADED = "refused", "degraded"
_MAX_BYTES = 64 * 1024
_CODE = re.compile(r"\w{1,12}", re.ASCII)

REASONS: Mapping[str, Reason] = {
    **CONNECTION_REASONS,
    REFUSED: Reason(
        Fault.TARGET,
        "Freebit answers and refuses the portal's own OEM id and key: compare them with what Freebit issued, and ask"
        " its support what the resultCode in the detail means.",
    ),
    DEGRADED: Reason(
        Fault.TARGET, "Freebit answers, but not as its API should: look for a maintenance notice, and at `url`."
    ),
    STATUS: Reason(Fault.TARGET, "Freebit's web server answers with an error: ask its support if it stays so."),
    THROTTLED: THROTTLED_REASON,
}


def _url(text: str) -> str:
    if parse_url(text).login:
        raise ValueError("holds a login; Freebit takes oem_id and oem_key")
    return text


class FreebitOptions(Options):
    url: Annotated[str, AfterValidator(_url)] = "https://i1.mvno.net/emptool/api/authOem/"
    login: bool = False
    oem_id: Secret = SecretStr("")
    oem_key: Secret = SecretStr("")
    ca_file: CaFile | None = None

    @model_validator(mode="after")
    def _login_is_whole(self) -> FreebitOptions:
        if self.login and not (self.oem_id.get_secret_value() and self.oem_key.get_secret_value()):
            raise ValueError("login: true needs oem_id and oem_key too")
        return self


async def run(options: FreebitOptions, context: ProbeContext) -> Reading:
    """Connect; where a login is due, log in. `duration_seconds` is of whichever was done."""
    journey = Journey(context.now)
    last = _last(context) if options.login else {}
    if last is None:
        return await _log_in(options, context, journey)
    url = parse_url(options.url)
    async with (
        journey.within(context.timeout_seconds),
        connected(journey, url.host, url.port, tls=url.tls, ca_file=options.ca_file),
    ):
        return _repeated(_reading(journey), last)


async def _log_in(options: FreebitOptions, context: ProbeContext, journey: Journey) -> Reading:
    try:
        async with journey.within(context.timeout_seconds):
            answer = await exchange(_request(options), journey, max_bytes=_MAX_BYTES, ca_file=options.ca_file)
    except ProbeError as error:  # it may have come through all the same
        unknown = {"at": context.now, "reason": None}
        raise ProbeError(error.reason, error.detail, reading=replace(error.reading, cursor=unknown)) from None
    reason, detail = _judge(answer)
    reading = replace(_reading(journey), cursor={"at": context.now, "reason": reason, "detail": detail})
    if reason:
        raise ProbeError(reason, detail, reading=reading)
    return replace(reading, measurements={**reading.measurements, "authenticated": 1.0})


def _request(options: FreebitOptions) -> Request:
    fields = {"oemId": options.oem_id.get_secret_value(), "oemKey": options.oem_key.get_secret_value()}
    kind = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    return Request(parse_url(options.url), "POST", kind, urlencode({"json": json.dumps(fields)}).encode())


def _judge(answer: Answer) -> tuple[str, str]:
    """Reason and detail of an answer; both empty for a success. Its text is not repeated."""
    if not 200 <= answer.status < 300:
        return (THROTTLED if answer.status == 429 else STATUS), answer.words
    try:
        code = health.pick(health.parse(answer.body), ".resultCode") if not answer.defect else health.MISSING
    except ValueError:
        code = health.MISSING
    if isinstance(code, bool) or not isinstance(code, str | int):
        return DEGRADED, f"{answer.words}, {answer.defect or 'but no resultCode'}"
    if str(code) == "100":
        return "", ""
    return REFUSED, f"resultCode {code}" if _CODE.fullmatch(str(code)) else "a resultCode that is none"


def _last(context: ProbeContext) -> Mapping[str, Json] | None:
    """What the last login came to, if it is too early for another; a clock that was set back does not hold it for ever."""
    last = context.cursor if isinstance(context.cursor, dict) else {}
    at, reason = last.get("at"), last.get("reason")
    known = isinstance(at, int | float) and (not reason or reason in REASONS)
    return last if known and abs(context.now - float(at or 0)) < LOGIN_SECONDS else None


def _repeated(reading: Reading, last: Mapping[str, Json]) -> Reading:
    """The reading of a mere connection, with the verdict of the last login if there was one."""
    reason = last.get("reason")
    if reason is None:
        return reading
    when = datetime.fromtimestamp(last["at"], UTC).strftime("%H:%M:%S UTC")
    if reason:
        raise ProbeError(reason, f"{last.get('detail', '')}, at {when}; asked every ten minutes", reading=reading)
    return Reading({**reading.measurements, "authenticated": 1.0}, details={**reading.details, "login": f"at {when}"})


def _reading(journey: Journey) -> Reading:
    measured = {"duration_seconds": journey.seconds, **journey.measurements()}
    return Reading(measured, details={"address": journey.address})


def _parts(options: FreebitOptions) -> Mapping[str, frozenset[str]]:
    asked = frozenset(PHASES) if options.login else frozenset({"resolve", "connect", "tls"})
    return {"phase_seconds": asked - (frozenset() if parse_url(options.url).tls else {"tls"})}


PROBE = ProbeType(
    name="freebit",
    help="Freebit can be reached; with a login also that it takes the portal's credentials.",
    options=FreebitOptions,
    measures={
        "duration_seconds": Measure("Time until connected, or until the last byte of the answer to a login"),
        **CONNECTION_MEASURES,
        "authenticated": Measure("1 if the last login was taken; absent without one", kind="state"),
    },
    reasons=REASONS,
    run=run,
    target_keys=frozenset({"url", "oem_id", "oem_key"}),  # other credentials are another question: ask at once
    parts=_parts,
    cost=Cost(
        "One connection, with TLS, that asks nothing. With `login` in its place one request, at most every ten minutes.",
        "connections",
        most=lambda options: 2,
    ),
    privileges=(
        "None: the address must be open to the monitor's host",
        "For `login` the portal's own OEM id and key; ask Freebit first whether another login ends the BFF's",
    ),
    example="""
type: freebit
interval: 30s
timeout: 10s
needs: [egress]
""",
)
