"""Whether a URL answers as it should: status, phases, certificate, and what a health page says in JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from monitor.core.probe import (
    COMMON_REASONS,
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
    SecretUrl,
    Value,
)
from monitor.core.quantity import Size
from monitor.probes import _health as health
from monitor.probes._connection import CONNECTION_MEASURES, CONNECTION_REASONS, PHASES, CaFile, Journey
from monitor.probes._exchange import (
    BODY,
    STATUS,
    THROTTLED,
    THROTTLED_REASON,
    Answer,
    Defect,
    Request,
    Url,
    exchange,
    parse_url,
)

AUTH = "auth"
REDIRECT = "redirect"
TOO_LARGE = "too-large"
OTHERS = "others"  # the check, there wherever `checks` are, of the parts that they do not name

_MOST_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STATUS = re.compile(r"any|[1-5]xx|[1-5]\d\d", re.ASCII)
_HEADER = re.compile(r"[!#$%&'*+.^`|~\w-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")

MEASURES: Mapping[str, Measure] = {
    "duration_seconds": Measure("Time until the last byte of the answer, name lookup and redirects included"),
    "status": Measure("Status code of the answer", kind="state"),
    **CONNECTION_MEASURES,
    "check": Measure("1 if the health page calls this part well, 0 if not", split="check", kind="state"),
    "value": Measure("A number out of the JSON body", split="name"),
    "ratio": Measure("One number of the JSON body, of another", split="name"),
    "rate": Measure("By how much a count in the JSON body has grown in a second, since the run before", split="name"),
}

REASONS: Mapping[str, Reason] = {
    **CONNECTION_REASONS,
    STATUS: Reason(Fault.TARGET, "It answers, but with the wrong status: look at its own log at this time."),
    BODY: Reason(Fault.TARGET, "JSON was expected and did not come whole: see what serves this address now."),
    REDIRECT: Reason(Fault.TARGET, "The redirects lead nowhere: follow them by hand with `curl -IL`."),
    AUTH: Reason(
        Fault.ACCESS, "It does not let the monitor in: check the login in `url` or `headers`, and its rights."
    ),
    THROTTLED: THROTTLED_REASON,
    TOO_LARGE: Reason(Fault.ACCESS, "The answer is larger than `max_bytes`: ask for less, or raise the limit."),
}


def _url(value: SecretStr) -> SecretStr:
    parse_url(value.get_secret_value())
    return value


def _statuses(value: object) -> object:
    words = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
    if wrong := [word for word in words if not _STATUS.fullmatch(word)]:
        raise ValueError(f'"{wrong[0]}" is no status; write 200, 2xx or any, or a list of them')
    return words


def _free(checks: Mapping[str, str]) -> Mapping[str, str]:
    if taken := sorted(set(checks) & {"run", OTHERS, *COMMON_REASONS, *REASONS, *MEASURES}):
        raise ValueError(f'"{taken[0]}" already means something here; name the check otherwise')
    return checks


def _headers(value: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    for name, secret in value.items():
        if not _HEADER.fullmatch(name) or name.lower() in {"content-length", "transfer-encoding"}:
            raise ValueError(f'"{name}" is not the name of a header that a request without a body can have')
        if not _HEADER_VALUE.fullmatch(secret.get_secret_value()):
            raise ValueError(f'the value of "{name}" is empty or has characters that a header cannot carry')
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")]
_STATUS_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": "^(any|[1-5]xx|[1-5][0-9][0-9])$"},
        {"type": "integer", "minimum": 100, "maximum": 599},
    ]
}
Statuses = Annotated[
    tuple[str, ...],
    BeforeValidator(_statuses),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [*_STATUS_SCHEMA["anyOf"], {"type": "array", "items": _STATUS_SCHEMA, "minItems": 1}]}),
]


class HttpOptions(Options):
    url: Annotated[SecretUrl, AfterValidator(_url)]
    method: Literal["GET", "HEAD"] = "GET"
    headers: Annotated[Mapping[str, SecretStr], AfterValidator(_headers)] = {}  # sent to the URL's own origin only
    ok: Statuses = ("2xx", "3xx")  # statuses that are a success: 200, 2xx, or `any` (whoever answers is up)
    # Verdicts of a health page about its parts; each is a why.
    checks: Annotated[Mapping[Name, health.Path], AfterValidator(_free)] = {}
    values: Mapping[Name, health.Path] = {}  # numbers to measure
    ratios: Mapping[Name, tuple[health.Path, health.Path]] = {}  # the part, and the whole
    rates: Mapping[Name, health.Path] = {}  # counts that only grow; one that is smaller has begun anew at 0
    max_bytes: Annotated[Size, Field(le=2**24, description="The largest body that is read, decompressed.")] = 2**20
    follow_redirects: bool = False
    ca_file: CaFile | None = None

    @model_validator(mode="after")
    def _body_is_asked_for(self) -> HttpOptions:
        if self.method == "HEAD" and self.wants_body:
            raise ValueError("method HEAD brings no body to read checks or values from")
        return self

    @property
    def wants_body(self) -> bool:
        return bool(self.checks or self.values or self.ratios or self.rates)

    def accepts(self, status: int) -> bool:
        """Whether a status is one of `ok`."""
        return any(word in self.ok for word in ("any", str(status), f"{status // 100}xx"))


async def run(options: HttpOptions, context: ProbeContext) -> Reading:
    """Ask once, on a fresh connection, and judge the answer by its status and, where told, by its body.

    A 5xx with a body that speaks for the parts in `checks` is no failure: the BFF is up, and each part is a why.
    """
    journey = Journey(context.now)
    async with journey.within(context.timeout_seconds):
        answer = await _final_answer(options, journey)
    document = _document(options, answer)
    checks = _checks(options, answer, document)
    counts = _numbers(options.rates, document)
    reading = Reading(
        {
            "duration_seconds": journey.seconds,
            "status": float(answer.status),
            **journey.measurements(),
            **_split("check", {name: float(good) for name, good in checks.items()}),
            **_split("value", _numbers(options.values, document)),
            **_split("ratio", _ratios(options, document)),
            **_split("rate", _rates(counts, context)),
        },
        checks=checks,
        cursor={"at": context.now, "counts": counts} if counts else None,
        details={"address": journey.address, "answer": answer.words, **_unreadable(options, document, checks)},
    )
    if complaint := _complaint(options, answer, document, checks):
        raise ProbeError(*complaint, reading=reading)
    return reading


async def _final_answer(options: HttpOptions, journey: Journey) -> Answer:
    url = parse_url(options.url.get_secret_value())
    secrets = {name.lower(): value.get_secret_value() for name, value in options.headers.items()}
    request = Request(url, options.method, secrets)
    for _ in range(_MOST_REDIRECTS + 1):
        answer = await exchange(request, journey, max_bytes=options.max_bytes, ca_file=options.ca_file)
        if not options.follow_redirects or answer.status not in _REDIRECTS:
            return answer
        request = replace(request, url=_next_url(request.url, answer, journey))
        if request.url.origin != url.origin:
            request = replace(request, headers={})
    raise journey.failure(REDIRECT, f"still redirected after {_MOST_REDIRECTS} redirects")


def _next_url(url: Url, answer: Answer, journey: Journey) -> Url:
    try:
        following = url.join(answer.headers["location"])
    except (KeyError, ValueError):
        raise journey.failure(REDIRECT, f"{answer.words} from {url.host} leads to no address of HTTP") from None
    same_place = following.origin == url.origin
    return replace(following, login=url.login) if same_place else following


def _document(options: HttpOptions, answer: Answer) -> object:
    """The JSON body where one is wanted and came, else MISSING."""
    if not options.wants_body or answer.defect:
        return health.MISSING
    try:
        return health.parse(answer.body)
    except ValueError:
        return health.MISSING


def _checks(options: HttpOptions, answer: Answer, document: object) -> dict[str, bool]:
    """The parts that say whether they are well, and OTHERS: a bad status that none of them explains is another's."""
    verdicts = {name: health.verdict(health.pick(document, path)) for name, path in options.checks.items()}
    named = {name: good for name, good in verdicts.items() if good is not None}
    explained = options.accepts(answer.status) or False in named.values()
    return {**named, OTHERS: explained} if named else {}


def _numbers(paths: Mapping[str, str], document: object) -> dict[str, float]:
    numbers = {name: health.number(health.pick(document, path)) for name, path in paths.items()}
    return {name: value for name, value in numbers.items() if value is not None}


def _ratios(options: HttpOptions, document: object) -> dict[str, float]:
    parts = _numbers({name: part for name, (part, _) in options.ratios.items()}, document)
    wholes = _numbers({name: whole for name, (_, whole) in options.ratios.items()}, document)
    return {name: part / wholes[name] for name, part in parts.items() if wholes.get(name, 0.0) > 0}


def _rates(counts: Mapping[str, float], context: ProbeContext) -> dict[str, float]:
    """Counts of the BFF's memory are 0 after its restart: one that is smaller has grown to what it is."""
    before = context.cursor if isinstance(context.cursor, dict) else {}
    seconds = context.now - before.get("at", context.now)
    then: Mapping[str, Json] = before.get("counts", {})
    grown = {
        name: count - then[name] if count >= then[name] else count for name, count in counts.items() if name in then
    }
    return {name: growth / seconds for name, growth in grown.items()} if seconds > 0 else {}


def _split(name: str, parts: Mapping[str, float]) -> dict[str, Value]:
    return {name: parts} if parts else {}


def _unreadable(options: HttpOptions, document: object, checks: Mapping[str, bool]) -> dict[str, str]:
    """Why a check has no verdict, for people: the path finds nothing, or a word that is neither good nor bad."""
    if document is health.MISSING:
        return {}
    silent = {name: path for name, path in options.checks.items() if name not in checks}
    return {
        f"check {name}": f"nothing at {path}"
        if health.pick(document, path) is health.MISSING
        else f"what stands at {path} is neither good nor bad"
        for name, path in silent.items()
    }


def _complaint(
    options: HttpOptions, answer: Answer, document: object, checks: Mapping[str, bool]
) -> tuple[str, str] | None:
    """The reason and detail of an answer that is no success; None for one that is.

    A health page that is down in parts answers 5xx and is up itself.
    """
    told = 500 <= answer.status < 600 and bool(checks)
    if not options.accepts(answer.status) and not told:
        reason = {401: AUTH, 403: AUTH, 407: AUTH, 429: THROTTLED}.get(answer.status, STATUS)
        return reason, answer.words
    if answer.defect is Defect.TOO_LARGE:
        return TOO_LARGE, f"{answer.words}, {answer.defect} ({options.max_bytes} bytes)"
    if answer.defect is Defect.BROKEN or (options.wants_body and document is health.MISSING):
        return BODY, f"{answer.words}, {answer.defect or 'but the body is not JSON'}"
    return None


def _check_names(options: HttpOptions) -> frozenset[str]:
    return frozenset({*options.checks, OTHERS}) if options.checks else frozenset()


def _parts(options: HttpOptions) -> Mapping[str, frozenset[str]]:
    tls = parse_url(options.url.get_secret_value()).tls or options.follow_redirects
    return {
        "phase_seconds": frozenset(PHASES) - (frozenset() if tls else {"tls"}),
        "check": _check_names(options),
        "value": frozenset(options.values),
        "ratio": frozenset(options.ratios),
        "rate": frozenset(options.rates),
    }


PROBE = ProbeType(
    name="http",
    help="A URL answers with the right status; a health page in JSON may speak for its parts (`checks`, `values`).",
    options=HttpOptions,
    measures=MEASURES,
    reasons=REASONS,
    run=run,
    target_keys=frozenset({"url"}),
    checks=_check_names,
    parts=_parts,
    cost=Cost(
        "One request on a fresh connection; with `follow_redirects`, one for each of up to 10 redirects. A certificate that"
        " is refused costs one more connection, which asks nothing.",
        "requests",
        most=lambda options: 1 + (_MOST_REDIRECTS if options.follow_redirects else 0),
    ),
    privileges=("None, where the address is public; else a login in `url` or `headers` that may read this page only",),
    example="""
type: http
url: http://localhost:4000/health
checks: {cache: .checks.cache, database: .checks.database}
warn: duration_seconds > 2s
""",
)
