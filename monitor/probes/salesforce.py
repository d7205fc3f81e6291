"""Whether Salesforce answers, and, with a login, whether orders wait in it and how much of its limits is left.

A run costs Salesforce one request without a login (`GET /services/data/`, which it does not count). With `login: true`
it costs one API request for `orders`, one for `limits` and one for each of `counts`, and a login when there is no
session: at most one in 15 minutes, refused or not (one that was never answered is tried again). Only numbers are taken
out of the answers, and nothing is written.

The login should be the monitor's own integration user, with the permissions "API Enabled", "View Setup and
Configuration" (for `limits`) and read access to Order. So what is wrong with it is no fault of Salesforce and pages
nobody: the portal's own login shows in the BFF's log when it is refused.

Sources: Salesforce REST API Developer Guide (versions, limits, query, status codes and error responses); Salesforce
Help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration" and "OAuth Authorization Errors".
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, NoReturn
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from monitor.core.probe import (
    Cost,
    Fault,
    Json,
    Measure,
    Opening,
    Options,
    ProbeContext,
    ProbeError,
    ProbeType,
    Reading,
    Reason,
    Secret,
    Value,
)
from monitor.core.quantity import Duration
from monitor.probes import _health as health
from monitor.probes import _jwt as jwt
from monitor.probes._connection import CONNECTION_MEASURES, CONNECTION_REASONS, PHASES, CaFile, Journey
from monitor.probes._exchange import STATUS, THROTTLED, THROTTLED_REASON, Answer, Request, exchange, parse_url

LOGIN_SECONDS = 900.0  # at least between two logins: Salesforce limits how often a user may log in
SLOPE_SECONDS = 300.0  # at least between the two readings that a slope is made of
SLOPE_MOST_SECONDS = 6 * 3600.0
_MAX_BYTES = 256 * 1024

MAINTENANCE, QUOTA, DEGRADED = "maintenance", "quota", "degraded"
SESSION, QUERY, RIGHTS, VERSION, REFUSED = "session", "query", "rights", "version", "login-refused"

MEASURES: Mapping[str, Measure] = {
    "duration_seconds": Measure("Time until the last byte of the last answer, all requests of the run together"),
    **CONNECTION_MEASURES,
    "orders_waiting": Measure("Orders that `orders` counts: those that have waited longer than `older_than`"),
    "orders_oldest_seconds": Measure("How long the oldest of them has waited; 0 without one"),
    "rows": Measure("What a query of `counts` counts", split="query"),
    "api_requests_left_ratio": Measure("API requests that are left of those of 24 hours"),
    "api_requests_per_hour": Measure("API requests of everybody, since the run before"),
    "event_deliveries_per_hour": Measure("Event deliveries to all subscribers, since the run before"),
    "event_deliveries_left_ratio": Measure("Event deliveries that are left of those of 24 hours"),
    "events_delivered": Measure("Events delivered to all subscribers in the last 24 hours"),
}

_OURS = "It is the monitor's login that is refused; the portal's own shows in the BFF's log."
_LOGIN_REASONS: Mapping[str, str] = {
    "unauthorised-app": "The user has not approved the connected app: pre-authorise its profile or permission set"
    " (Manage Connected Apps); a sandbox refresh undoes that.",
    "audience": "`audience` (or `login_url`) is not what Salesforce expects: https://login.salesforce.com, or"
    " https://test.salesforce.com for a sandbox.",
    "clock": "The assertion had expired when it came: compare this host's clock with a time server.",
    "locked": "The user is locked: unlock it in Setup, Users.",
    "inactive-user": "The user is deactivated: activate it in Setup, Users, or name another.",
    "client-id": "Salesforce does not know `client_id`: compare it with the connected app's consumer key.",
    "client-credentials": "The key does not fit the certificate of the connected app: upload the new one, or correct"
    " `private_key`.",
    "login-address": "The user or its profile may not log in from this address or at this hour: see its login IP"
    " ranges and hours.",
    "login-rate": "This user logs in too often: see who else uses it.",
    REFUSED: "Salesforce refuses the login: look at the user's Login History in Setup.",
}

REASONS: Mapping[str, Reason] = {
    **CONNECTION_REASONS,
    MAINTENANCE: Reason(
        Fault.TARGET, "Salesforce is down or in maintenance: see https://status.salesforce.com for your instance."
    ),
    QUOTA: Reason(
        Fault.TARGET,
        "The organisation has used up its API requests of 24 hours, so the portal's are refused too: find who makes so"
        " many (Setup, System Overview), or ask Salesforce for more.",
    ),
    "org-inactive": Reason(Fault.TARGET, "The organisation is not active any more: ask the Salesforce administrator."),
    DEGRADED: Reason(Fault.TARGET, "Salesforce answers, but not as its API should: look at what stands before it."),
    STATUS: Reason(Fault.TARGET, "Salesforce answers with an error: see the status page, and `instance_url`."),
    THROTTLED: THROTTLED_REASON,
    VERSION: Reason(
        Fault.ACCESS, "This organisation does not have `api_version`: choose one that /services/data/ lists."
    ),
    SESSION: Reason(
        Fault.ACCESS, "Salesforce ended the monitor's session early: see Session Settings, or who revokes its tokens."
    ),
    QUERY: Reason(
        Fault.ACCESS, "Salesforce does not understand a query: correct `orders` or `counts`, or let the user read it."
    ),
    RIGHTS: Reason(Fault.ACCESS, "The monitor's user lacks a permission: API Enabled; for limits, View Setup."),
    **{name: Reason(Fault.ACCESS, f"{advice} {_OURS}") for name, advice in _LOGIN_REASONS.items()},
}

_CODES: Mapping[str, str] = {
    "INVALID_SESSION_ID": SESSION,
    "REQUEST_LIMIT_EXCEEDED": QUOTA,
    "SERVER_UNAVAILABLE": MAINTENANCE,
    "API_CURRENTLY_DISABLED": MAINTENANCE,
    "API_DISABLED_FOR_ORG": RIGHTS,
    "INSUFFICIENT_ACCESS": RIGHTS,
    "FORBIDDEN": RIGHTS,
    "FUNCTIONALITY_NOT_ENABLED": RIGHTS,
    "MALFORMED_QUERY": QUERY,
    "INVALID_FIELD": QUERY,
    "INVALID_TYPE": QUERY,
    "INVALID_QUERY_FILTER_OPERATOR": QUERY,
    "QUERY_TIMEOUT": QUERY,
    "NOT_FOUND": VERSION,
    "UNSUPPORTED_API_VERSION": VERSION,
}
_LOGIN_WORDS: tuple[tuple[str, str], ...] = (  # the first that occurs in error or error_description
    ("inactive_org", "org-inactive"),
    ("inactive organization", "org-inactive"),
    ("hasn't approved this consumer", "unauthorised-app"),
    ("not admin approved", "unauthorised-app"),
    ("not approved", "unauthorised-app"),
    ("audience", "audience"),
    ("expired", "clock"),
    ("locked", "locked"),
    ("inactive_user", "inactive-user"),
    ("inactive user", "inactive-user"),
    ("ip restricted", "login-address"),
    ("login hours", "login-address"),
    ("rate_limit", "login-rate"),
    ("rate exceeded", "login-rate"),
    ("invalid_client_id", "client-id"),
    ("client identifier invalid", "client-id"),
    ("invalid client credentials", "client-credentials"),
    ("invalid assertion", "client-credentials"),
    ("invalid_client", "client-credentials"),
)
_CODE = re.compile(r"[A-Za-z_]{1,60}")
_COUNT = re.compile(r"\s*SELECT\s+COUNT\(\s*\)\s+FROM\s+\w+\b[^;]*", re.IGNORECASE)
_ORDERS = re.compile(
    r"\s*SELECT\s+COUNT\(\s*\w+\s*\)\s+waiting\s*,\s*MIN\(\s*\w+\s*\)\s+oldest\s+FROM\s+\w+\b[^;]*", re.IGNORECASE
)
_FROM = re.compile(r"\bFROM\s+(\w+)", re.IGNORECASE)
_POWERS = {"queryable": "read", "createable": "create", "updateable": "update", "deletable": "delete"}
BEFORE = "{before}"


def _origin(text: str) -> str:
    url = parse_url(text)
    if url.path != "/" or url.login:
        raise ValueError("write the address alone, as in https://example.my.salesforce.com")
    return text.strip().rstrip("/")


def _private_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    return SecretStr(jwt.pem(text)) if text else value


def _count_query(text: str) -> str:
    if not _COUNT.fullmatch(text):
        raise ValueError('write a query that only counts, as in "SELECT COUNT() FROM Case WHERE IsClosed = false"')
    return text


def _orders_query(text: str) -> str:
    if not _ORDERS.fullmatch(text):
        raise ValueError(
            "write a query for a count and the oldest, with {before} for the moment since which they wait too long:"
            " SELECT COUNT(Id) waiting, MIN(LastModifiedDate) oldest FROM Order WHERE … AND LastModifiedDate < {before}"
        )
    return text


Origin = Annotated[str, AfterValidator(_origin)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]


class SalesforceOptions(Options):
    instance_url: Origin  # of the organisation: https://example.my.salesforce.com
    login: bool = False  # without it only the front door is looked at, and what follows is not asked
    login_url: Origin = "https://login.salesforce.com"  # https://test.salesforce.com for a sandbox
    audience: str = ""  # of the assertion; else `login_url`
    client_id: Secret = SecretStr("")  # the connected app's consumer key
    username: str = ""
    private_key: Annotated[Secret, AfterValidator(_private_key)] = SecretStr("")  # RSA, in PEM or base64 of it
    api_version: Annotated[str, StringConstraints(pattern=r"^\d{2,3}\.0$")] = "62.0"
    orders: Annotated[str, AfterValidator(_orders_query)] | None = None
    older_than: Duration = Field(default=900.0, description="How long an order may wait before `orders` counts it.")
    counts: Mapping[Name, Annotated[str, AfterValidator(_count_query)]] = Field(default={}, max_length=10)
    limits: bool = False
    ca_file: CaFile | None = None

    @model_validator(mode="after")
    def _login_is_whole(self) -> SalesforceOptions:
        missing = [name for name in ("client_id", "username", "private_key") if not _plain(getattr(self, name))]
        if self.login and missing:
            raise ValueError(f"login: true needs {', '.join(missing)} too")
        return self


def _plain(value: SecretStr | str) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


# --- the session ------------------------------------------------------------------------------------------------------


@dataclass
class Session:
    """What is held between runs: the token, which is kept nowhere else, and when Salesforce last had a login of ours.

    A refusal outlives the process, so that a monitor that is restarted again and again does not go on knocking.
    """

    opening: Opening
    token: str = field(default="", repr=False)
    logged_in_at: float | None = None
    refusal: tuple[str, str, float] | None = None  # reason, detail, when
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def refuse(self, reason: str, detail: str, now: float) -> None:
        self.refusal = reason, detail, now
        await self.opening.save(json.dumps(self.refusal).encode())


@asynccontextmanager
async def _open(options: SalesforceOptions, opening: Opening) -> AsyncIterator[Session]:  # noqa: ARG001
    session = Session(opening)
    if opening.saved:
        try:
            reason, detail, at = json.loads(opening.saved)
            session.refusal = (reason, str(detail), float(at)) if reason in REASONS else None
        except (ValueError, TypeError):
            session.refusal = None
    yield session


def _session_key(options: SalesforceOptions) -> str:
    """Probes with the same login share its session."""
    chosen = (options.login_url, options.audience, options.client_id, options.username, options.private_key)
    return "\0".join(_plain(value) for value in chosen) if options.login else ""


# --- a run ------------------------------------------------------------------------------------------------------------


@dataclass
class _Visit:
    """The requests of one run."""

    options: SalesforceOptions
    session: Session
    journey: Journey
    now: float

    async def versions(self) -> list[Json]:
        """What the front door shows to everybody: the API's versions."""
        answer = await self._exchange(Request(parse_url(f"{self.options.instance_url}/services/data/")))
        document = self._document(answer)
        return (
            document if isinstance(document, list) else self.fail(DEGRADED, f"{answer.words}, but no list of versions")
        )

    async def get(self, path: str) -> dict[str, Json]:
        """What the API answers to a request with our token. A session that has ended is begun anew, once."""
        url = parse_url(f"{self.options.instance_url}/services/data/v{self.options.api_version}/{path}")
        token = await self._token()
        answer = await self._exchange(Request(url, headers=_bearer(token)))
        if (complaint := _judge(answer, _parsed(answer))) and complaint[0] == SESSION:
            self.session.token = "" if self.session.token == token else self.session.token
            answer = await self._exchange(Request(url, headers=_bearer(await self._token())))
        document = self._document(answer)
        return document if isinstance(document, dict) else self.fail(DEGRADED, f"{answer.words}, but no JSON object")

    async def query(self, soql: str) -> dict[str, Json]:
        return await self.get(f"query?q={quote(soql, safe='')}")

    async def _token(self) -> str:
        session = self.session
        async with session.lock:
            if session.token:
                return session.token
            if session.refusal and abs(self.now - session.refusal[2]) < LOGIN_SECONDS:
                reason, detail, at = session.refusal
                self.fail(reason, f"{detail}; not tried again before {_clock(at + LOGIN_SECONDS)}")
            if session.logged_in_at is not None and abs(self.now - session.logged_in_at) < LOGIN_SECONDS:
                self.fail(
                    SESSION, f"ended early; a new login is tried at {_clock(session.logged_in_at + LOGIN_SECONDS)}"
                )
            session.token = await self._log_in()
            session.logged_in_at, session.refusal = self.now, None
            return session.token

    async def _log_in(self) -> str:
        options = self.options
        signed = jwt.assertion(
            _plain(options.private_key),
            client_id=_plain(options.client_id),
            username=options.username,
            audience=options.audience or options.login_url,
            now=self.now,
        )
        fields = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": signed}
        kind = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        url = parse_url(f"{options.login_url}/services/oauth2/token")
        answer = await self._exchange(Request(url, "POST", kind, urlencode(fields).encode()))
        document = _parsed(answer)
        if isinstance(document, dict) and 400 <= answer.status < 500 and "error" in document:
            reason, detail = _login_refusal(document)
            await self.session.refuse(reason, detail, self.now)
            self.fail(reason, detail)
        token = self._document(answer)
        if not isinstance(token, dict) or not isinstance(token.get("access_token"), str):
            self.fail(DEGRADED, f"{answer.words} to the login, but no token")
        return str(token["access_token"])

    async def _exchange(self, request: Request) -> Answer:
        return await exchange(request, self.journey, max_bytes=_MAX_BYTES, ca_file=self.options.ca_file)

    def _document(self, answer: Answer) -> object:
        document = _parsed(answer)
        if complaint := _judge(answer, document):
            self.fail(*complaint)
        return document

    def fail(self, reason: str, detail: str) -> NoReturn:
        """End the run; what was measured on the way comes along."""
        raise self.journey.failure(reason, detail)


async def run(options: SalesforceOptions, context: ProbeContext) -> Reading:
    """Ask what the options name, or look at the front door where they name nothing."""
    journey = Journey(context.now)
    visit = _Visit(options, context.resource, journey, context.now)
    asked = options.login and (options.orders or options.counts or options.limits)
    measured: dict[str, Value] = {}
    details: dict[str, str] = {}
    cursor: Json = None
    async with journey.within(context.timeout_seconds):
        if not asked:
            details["versions"] = _newest(await visit.versions())
        elif options.orders:
            measured |= await _orders(visit, options.orders)
        if asked and options.counts:
            measured["rows"] = {name: await _count(visit, soql) for name, soql in options.counts.items()}
        if asked and options.limits:
            limits = _limits(await visit.get("limits"))
            slope, cursor = _slope(limits, context)
            measured |= {**limits.measured, **slope}
            details |= {} if limits.measured else {"limits": "not visible to this user"}
    if not options.login and (options.orders or options.counts or options.limits):
        details["login"] = "off, so orders, counts and limits are not asked"
    measurements = {"duration_seconds": journey.seconds, **journey.measurements(), **measured}
    return Reading(measurements, cursor=cursor, details={"address": journey.address, **details})


async def powers(options: SalesforceOptions, context: ProbeContext, kind: str) -> frozenset[str]:
    """What this login may do with a kind of object: some of `read`, `create`, `update`, `delete`; none if it sees none.

    One API request, of its description (`/sobjects/Order/describe`).
    """
    journey = Journey(context.now)
    visit = _Visit(options, context.resource, journey, context.now)
    try:
        async with journey.within(context.timeout_seconds):
            found = await visit.get(f"sobjects/{kind}/describe")
    except ProbeError as error:
        if error.reason in {VERSION, RIGHTS}:  # so Salesforce says that there is no such kind for this user
            return frozenset()
        raise
    return frozenset(power for flag, power in _POWERS.items() if found.get(flag) is True)


def kinds(options: SalesforceOptions) -> list[str]:
    """The kinds of object that the queries are about."""
    queries = [*([options.orders] if options.orders else []), *options.counts.values()]
    return list(dict.fromkeys(match[1] for query in queries if (match := _FROM.search(query))))


async def _orders(visit: _Visit, soql: str) -> dict[str, Value]:
    moment = datetime.fromtimestamp(visit.now - visit.options.older_than, UTC)
    answer = await visit.query(soql.replace(BEFORE, moment.strftime("%Y-%m-%dT%H:%M:%SZ")))
    waiting = health.number(health.pick(answer, ".records[0].waiting"))
    if waiting is None:
        visit.fail(DEGRADED, "the answer to `orders` has no count")
    oldest = _moment(health.pick(answer, ".records[0].oldest")) if waiting else visit.now
    found: dict[str, Value] = {"orders_waiting": waiting}
    return found if oldest is None else found | {"orders_oldest_seconds": max(0.0, visit.now - oldest)}


async def _count(visit: _Visit, soql: str) -> float:
    count = health.number((await visit.query(soql)).get("totalSize"))
    return visit.fail(DEGRADED, "the answer to a query has no totalSize") if count is None else count


@dataclass(frozen=True)
class _Limits:
    """What `/limits` says; numbers that this user does not see are left out."""

    used: Mapping[str, float]  # of each allowance of 24 hours, by the measurement of its slope
    measured: Mapping[str, Value]


def _limits(answer: dict[str, Json]) -> _Limits:
    measured: dict[str, Value] = {}
    requests, deliveries = _limit(answer, "DailyApiRequests"), _limit(answer, "DailyDeliveredPlatformEvents")
    if requests:
        measured["api_requests_left_ratio"] = requests[1] / requests[0]
    if deliveries:
        measured["event_deliveries_left_ratio"] = deliveries[1] / deliveries[0]
        measured["events_delivered"] = deliveries[0] - deliveries[1]
    allowances = {"api_requests_per_hour": requests, "event_deliveries_per_hour": deliveries}
    return _Limits({name: limit[0] - limit[1] for name, limit in allowances.items() if limit}, measured)


def _limit(answer: dict[str, Json], name: str) -> tuple[float, float] | None:
    most = health.number(health.pick(answer, f".{name}.Max"))
    left = health.number(health.pick(answer, f".{name}.Remaining"))
    return None if not most or left is None else (most, left)


def _slope(limits: _Limits, context: ProbeContext) -> tuple[dict[str, Value], Json]:
    """What is used in an hour, since the reading in the cursor, and the cursor of the next run.

    The counts are of 24 hours that move along, so what is forgotten meanwhile makes it look a little slower.
    """
    if not limits.used:
        return {}, None
    last = context.cursor if isinstance(context.cursor, dict) else {}
    used, at = last.get("used"), last.get("at")
    this: Json = {"used": dict(limits.used), "at": context.now}
    if not isinstance(used, dict) or not isinstance(at, int | float):
        return {}, this
    passed = context.now - at
    if 0 <= passed < SLOPE_SECONDS:
        return {}, None
    if not SLOPE_SECONDS <= passed <= SLOPE_MOST_SECONDS:
        return {}, this
    known = {name: then for name in limits.used if isinstance(then := used.get(name), int | float)}
    return {name: max(0.0, limits.used[name] - then) / passed * 3600 for name, then in known.items()}, this


# --- answers ----------------------------------------------------------------------------------------------------------


def _parsed(answer: Answer) -> object:
    if answer.defect:
        return health.MISSING
    try:
        return health.parse(answer.body)
    except ValueError:
        return health.MISSING


def _judge(answer: Answer, document: object) -> tuple[str, str] | None:
    """Reason and detail of an answer that is no success; None for one that is. Its text is not repeated."""
    if 200 <= answer.status < 300 and isinstance(document, dict | list):
        return None
    code = health.pick(document, "[0].errorCode")
    if isinstance(code, str) and code in _CODES:
        return _CODES[code], f"{answer.words}, {code}"
    if answer.status in {401, 429}:
        return {401: SESSION, 429: THROTTLED}[answer.status], answer.words
    if 300 <= answer.status < 400:
        return STATUS, f"{answer.words}: redirected; correct the URL"
    if answer.status == 503 or _is_page(answer):
        return MAINTENANCE, f"{answer.words}, with a page in place of the API's answer"
    if 200 <= answer.status < 300:
        return DEGRADED, f"{answer.words}, {answer.defect or 'but the body is not JSON'}"
    return STATUS, f"{answer.words}{f', {code}' if isinstance(code, str) and _CODE.fullmatch(code) else ''}"


def _is_page(answer: Answer) -> bool:
    return answer.body[:512].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def _login_refusal(document: dict[str, Json]) -> tuple[str, str]:
    """Reason and detail of an answer `{"error", "error_description"}`."""
    error = str(document.get("error", ""))
    said = f"{error} {document.get('error_description', '')}".lower()
    reason = next((reason for words, reason in _LOGIN_WORDS if words in said), REFUSED)
    return reason, f"the login is refused: {error if _CODE.fullmatch(error) else 'no known error'}"


def _newest(versions: list[Json]) -> str:
    found = [version for each in versions if isinstance(version := health.pick(each, ".version"), str)]
    return f"up to {found[-1]}" if found and re.fullmatch(r"[\d.]{1,8}", found[-1]) else "none named"


def _moment(found: object) -> float | None:
    """Wall seconds of a date as Salesforce writes it: `2026-11-23T17:00:00.000+0000`."""
    try:
        moment = datetime.fromisoformat(found) if isinstance(found, str) else None
    except ValueError:
        return None
    return moment.timestamp() if moment and moment.tzinfo else None


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "accept": "application/json"}


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def _parts(options: SalesforceOptions) -> Mapping[str, frozenset[str]]:
    tls = any(parse_url(url).tls for url in (options.instance_url, options.login_url))
    phases = frozenset(PHASES) - (frozenset() if tls else {"tls"})
    return {"phase_seconds": phases, "rows": frozenset(options.counts)}


def _asked(options: SalesforceOptions) -> int:
    """The questions of a run."""
    return bool(options.orders) + len(options.counts) + options.limits


PROBE = ProbeType(
    name="salesforce",
    help="Salesforce answers; with a login also whether orders wait in it, and what is left of its limits.",
    options=SalesforceOptions,
    measures=MEASURES,
    reasons=REASONS,
    run=run,
    target_keys=frozenset({"instance_url"}),
    open=_open,
    resource_key=_session_key,
    exclusive=False,
    parts=_parts,
    cost=Cost(
        "Without a login one request, which Salesforce does not count. With one: a request each for `orders`, `limits` and"
        " each of `counts`, twice where the session had ended, and a login at most every 15 minutes.",
        "requests",
        most=lambda options: 2 * max(1, _asked(options)) + 2 if options.login else 1,
    ),
    privileges=(
        "None for the front door (`login: false`)",
        "Else an integration user of its own, pre-authorised in a connected app with the scope `api`",
        "`API Enabled`, read access to Order (and what `counts` names), `View Setup and Configuration` for `limits`",
    ),
    example="""
type: salesforce
instance_url: https://example.my.salesforce.com
login: true
client_id: ${SF_MONITOR_CLIENT_ID}
username: monitor@example.com
private_key_file: /run/secrets/sf-monitor.pem
limits: true
interval: 15m
timeout: 10s
warn: api_requests_left_ratio < 20%
""",
)
