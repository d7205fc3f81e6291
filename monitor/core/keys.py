"""The keys of probes.yaml and runbook.yaml, with their types: what a schema can say about the two files.

What the parts mean together (names that exist, cycles, times that fit) is checked by `loading` and `playbook`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, tzinfo
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from monitor.core import recurrence
from monitor.core.condition import did_you_mean
from monitor.core.config import FailAfter
from monitor.core.probe import Secret
from monitor.core.quantity import Delay, Duration, format_duration
from monitor.core.runbook import Severity

NAME = re.compile(r"[a-z][a-z0-9-]{0,59}")
NAME_RULE = 'a name is small letters, digits and "-", and begins with a letter'
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
RESERVED_LABELS = frozenset({
    "alertname", "scenario", "incident", "severity", "escalation_level", "vendor", "attempt", "audience", "kind",
    "source", "update", "reason", "probe", "type",
})  # fmt: skip


class Keys(BaseModel):
    """A mapping whose keys are known: any other is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


# --- values ----------------------------------------------------------------------------------------------------------


def _fail_after(value: object) -> FailAfter:
    match = re.fullmatch(r"(\d{1,3})(?: of (\d{1,3}))?", str(value).strip())
    count, of = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if isinstance(value, bool) or not 1 <= count <= of <= 100:
        raise ValueError(f'"{value}" is not so many samples; write 3 (in a row) or "3 of 5", at most 100')
    return FailAfter(count, of)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _label_names(labels: Mapping[str, str]) -> Mapping[str, str]:
    for name in labels:
        if not LABEL.fullmatch(name) or name.startswith("__"):
            raise ValueError(f'"{name}" is not the name of a label; write letters, digits and "_"')
        if name in RESERVED_LABELS:
            raise ValueError(f'the label "{name}" is the monitor\'s own; name yours otherwise')
    return labels


def _severity(value: object) -> Severity:
    if isinstance(value, str) and value in Severity.__members__:
        return Severity[value]
    raise ValueError(f'"{value}" is no severity; write P1, P2, P3 or P4')


def _store(value: str) -> str:
    match = re.fullmatch(r"sqlite:(?:///+(?P<absolute>[^/\s].*)|(?P<relative>[^/\s].*))", value)
    if not match:
        raise ValueError('write "sqlite:///var/lib/portal-monitor/state.db", or "sqlite:state.db" beside this file')
    return f"/{match['absolute']}" if match["absolute"] else str(match["relative"])


def _listen(value: object) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]]*)):(\d{1,5})", str(value))
    if not match or int(match[3]) > 65535:
        raise ValueError(f'"{value}" is no address; write host:port, as in "127.0.0.1:9877" or "[::1]:9877"')
    return match[1] or match[2] or "0.0.0.0", int(match[3])


def _http_url(value: str) -> str:
    match = re.fullmatch(r"https?://([^\s/?#]+)[^\s?#]*", value)
    if not match:
        raise ValueError("write an address such as https://host:port, without ? or #")
    if "@" in match[1]:
        raise ValueError("a login does not belong in this address; use the keys for it")
    return value.rstrip("/")


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(NAME_RULE)
    return value


def _not_hammering(seconds: float) -> float:
    if seconds < 0.05:
        raise ValueError("this often would be a load on what is watched; write at least 50ms")
    return seconds


def _clock_time(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError(f'"{value}" is no time of day; write "18:00"')
    return value


def _zone(value: object) -> tzinfo:
    try:
        return ZoneInfo(str(value))
    except (KeyError, ValueError, OSError):  # no such file, or no file at all, such as "Asia"
        meant = did_you_mean(str(value)[:80], available_timezones())
        meant = meant if "did you mean" in meant else '; write one such as "Asia/Tokyo"'  # and not all six hundred
        raise ValueError(f'"{value}" is no time zone{meant}') from None


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _workdays(value: object) -> frozenset[int]:
    found: set[int] = set()
    for part in ",".join(map(str, value)).split(",") if isinstance(value, list) else str(value).split(","):
        first, dash, last = (name.strip().lower() for name in part.partition("-"))
        if first not in _DAYS or (last not in _DAYS if dash else last):
            raise ValueError(f'"{part.strip()}" is no day of the week; write "Mon-Fri", or [Sun, Mon, Tue]')
        begin = _DAYS.index(first)
        count = (_DAYS.index(last) - begin) % 7 if dash else 0
        found |= {(begin + step) % 7 for step in range(count + 1)}
    return frozenset(found)


def _day(value: object) -> date:
    try:
        return date.fromisoformat(str(value) if re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)) else "")
    except ValueError:
        raise ValueError(f'"{value}" is no day; write it as 2026-12-31') from None


def _hours(value: object) -> tuple[time, time]:
    match = re.fullmatch(r"(\d\d:\d\d) ?- ?(\d\d:\d\d)", str(value))
    try:
        begin, end = (time.fromisoformat(text) for text in (match.groups() if match else ("", "")))
    except ValueError:
        raise ValueError(f'"{value}" are no hours; write them as "09:00-18:00"') from None
    if begin >= end:
        raise ValueError(f'"{value}" ends before it begins; write the hours of one day, such as "09:00-18:00"')
    return begin, end


def _local_time(value: object) -> datetime:
    try:
        match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(:\d\d)?)", str(value))
        return datetime.fromisoformat(f"{match[1]}T{match[2]}" if match else "")
    except ValueError:
        raise ValueError(
            f'"{value}" is no time of a day; write it as 2026-12-01T02:00, on the clocks of `zone`'
        ) from None


def _secret_address(value: SecretStr) -> SecretStr:
    """What is wrong with it must not be shown: all of it is secret."""
    try:
        parts = urlsplit(value.get_secret_value())
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"\s", value.get_secret_value()):
        raise ValueError("is no address; it must be one such as https://host/path")
    return value


_TEXT = {"type": "string", "minLength": 1}

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[
    tuple[Text, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}),
]
Severities = Annotated[
    Severity, BeforeValidator(_severity), WithJsonSchema({"type": "string", "enum": list(Severity.__members__)})
]
Samples = Annotated[
    FailAfter,
    BeforeValidator(_fail_after),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 100},
                {"type": "string", "pattern": r"^([0-9]+( of [0-9]+)?|\$\{[^}]+\})$"},
            ]
        }
    ),
]
Pace = Annotated[Duration, AfterValidator(_not_hammering)]
Labels = Annotated[dict[str, str], AfterValidator(_label_names)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Zone = Annotated[InstanceOf[tzinfo], BeforeValidator(_zone), WithJsonSchema(_TEXT | {"examples": ["Asia/Tokyo"]})]
Workdays = Annotated[
    frozenset[int],
    BeforeValidator(_workdays),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}),
]
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
Hours = Annotated[
    tuple[time, time],
    BeforeValidator(_hours),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]{2}:[0-9]{2} *- *[0-9]{2}:[0-9]{2}|\$\{[^}]+\})$"}),
]
LocalTime = Annotated[
    datetime,
    BeforeValidator(_local_time),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?|\$\{[^}]+\})$",
        }
    ),
]
CronText = Annotated[str, AfterValidator(recurrence.checked)]
SecretAddress = Annotated[Secret, AfterValidator(_secret_address)]


# --- probes.yaml -----------------------------------------------------------------------------------------------------


class DefaultsKeys(Keys):
    interval: Pace = 30.0
    """How often a probe runs."""
    timeout: Duration = 5.0
    """The hard deadline of one run; shorter than the interval."""
    fail_after: Samples = FailAfter()
    """How many failing samples confirm a level: 3 (in a row) or "3 of 5"."""
    recover_after: Annotated[int, Field(ge=1, le=100)] = 2
    """How many good samples in a row bring it back."""
    retry_interval: Pace = 1.0
    """How soon to look again while a change is not confirmed."""


class ClearKeys(Keys):
    warn: Texts = ()
    """While at warn, only these conditions bring it back to ok."""
    fail: Texts = ()
    """While at fail, only these conditions bring it back."""


class ProbeKeys(Keys):
    type: Text
    """Which implementation."""
    enabled: bool = True
    """false: does not run, but its name stays valid."""
    interval: Pace | None = None
    """How often it runs."""
    timeout: Duration | None = None
    """The hard deadline of one run; shorter than the interval."""
    fail_after: Samples | None = None
    """How many failing samples confirm a level: 3 (in a row) or "3 of 5"."""
    recover_after: Annotated[int, Field(ge=1, le=100)] | None = None
    """How many good samples in a row bring it back."""
    retry_interval: Pace | None = None
    """How soon to look again while a change is not confirmed."""
    warn: Texts = ()
    """Conditions on measurements, any of which means warn: memory_used_ratio > 80%"""
    fail: Texts = ()
    """Conditions on measurements, any of which means fail."""
    clear: ClearKeys = ClearKeys()
    """Hysteresis: conditions that bring a level back."""
    needs: Texts = ()
    """Probes without which this one cannot be judged: while one fails, this one is unknown."""
    labels: Labels = {}


class WebKeys(Keys):
    listen: Annotated[tuple[str, int], BeforeValidator(_listen), WithJsonSchema(_TEXT)] = ("127.0.0.1", 9877)
    """host:port"""
    external_url: HttpUrl | None = None
    """The address by which people reach the console; links in pages begin with it."""


class AlertmanagerKeys(Keys):
    url: HttpUrl
    username: Text | None = None
    password_file: Text | None = None
    bearer_token_file: Text | None = None
    ca_file: Text | None = None

    @model_validator(mode="after")
    def _one_login(self) -> AlertmanagerKeys:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together; write both or neither")
        if self.username is not None and self.bearer_token_file is not None:
            raise ValueError("a password and a token; keep one")
        return self


class CalendarKeys(Keys):
    tz: Zone = Field(default_factory=lambda: UTC)
    """The time zone of everything below, and of maintenance that names none: Asia/Tokyo"""
    workdays: Workdays = frozenset(range(5))
    """Mon-Fri"""
    holidays: tuple[Day, ...] = ()
    """Days on which nobody works: 2026-12-31"""
    hours: Hours = (time(9), time(18))
    """When people are there for what can wait: "09:00-18:00\""""


class MaintenanceKeys(Keys):
    of: Texts
    """Probes and scenarios of which no incident opens meanwhile. Of one name a probe comes first: scenario:redis"""
    once: LocalTime | None = None
    """When it begins: 2026-12-01T02:00"""
    cron: CronText | None = None
    """Or when it begins again and again: minute, hour, day, month, weekday: "0 3 * * sun\""""
    zone: Zone | None = None
    """On whose clocks; none: those of the calendar."""
    hold: Duration = Field(alias="for")
    """How long it lasts."""
    reason: Text
    """What is done; it is shown."""

    @model_validator(mode="after")
    def _one_beginning(self) -> MaintenanceKeys:
        if not self.of:
            raise ValueError("say of what: `of:` names probes and scenarios")
        if (self.once is None) == (self.cron is None):
            raise ValueError("it begins either `once:` or as `cron:` says; write one of them")
        if self.cron is not None and not recurrence.leaves_a_gap(self.cron, self.hold):
            lasts = format_duration(self.hold)
            raise ValueError(f'it would never end: "{self.cron}" comes again before {lasts} are over')
        return self


class FallbackKeys(Keys):
    after: Duration = 60.0
    """For how long no Alertmanager has taken a P1 page."""
    command: tuple[Text, ...] = ()
    """A program and its arguments, no shell; the page comes to it as JSON."""
    webhook: SecretAddress | None = None
    """An address to which the page is sent as JSON."""

    @model_validator(mode="after")
    def _one_way(self) -> FallbackKeys:
        if bool(self.command) == (self.webhook is not None):
            raise ValueError("it is carried either by `command:` or by `webhook:`; write one of them")
        return self


class HeartbeatKeys(Keys):
    url: SecretAddress
    """The address whose silence is somebody else's alarm."""
    every: Pace = 60.0
    """How often it is asked for."""


class ProbesKeys(Keys):
    runbook: Text
    """Path of runbook.yaml, beside this file or absolute."""
    store: Annotated[str, AfterValidator(_store)] = "state.db"
    """Where history is kept: sqlite:///absolute/path or sqlite:path-beside-this-file"""
    web: WebKeys = WebKeys()
    alertmanagers: tuple[AlertmanagerKeys, ...] = ()
    """Every member of the cluster, no load balancer."""
    defaults: DefaultsKeys = DefaultsKeys()
    """Timing of probes that do not say otherwise."""
    probes: dict[str, Any]
    """What is watched, by name."""
    labels: Labels = {}
    """Added to every alert."""
    calendar: CalendarKeys = Field(default_factory=CalendarKeys)
    """When people work: for reviews and for reminders that can wait. Pages never wait."""
    maintenance: tuple[MaintenanceKeys, ...] = ()
    """Planned work, during which no incident opens; what still fails at its end opens then."""
    fallback: FallbackKeys | None = None
    """What carries P1 pages that no Alertmanager takes."""
    heartbeat: HeartbeatKeys | None = None
    """What is told, past Alertmanager, that the monitor is alive."""


# --- runbook.yaml ----------------------------------------------------------------------------------------------------


class SeverityKeys(Keys):
    name: Text
    respond: Duration
    """The runbook's response time."""
    update_every: Duration
    """How often a status update is due."""
    customer_comms: bool = False
    """Whether customers are told."""
    review: bool = False
    """Whether a post-incident review is owed."""


class EscalationKeys(Keys):
    to: Text
    """Who is told."""
    severity: tuple[Severities, ...] = ()
    """At which severities; none: at all."""
    unresolved: Delay = 0.0
    """After how long without resolution."""
    or_declared: Text | None = None
    """Or as soon as a person declares this."""


class ReviewKeys(Keys):
    severity: tuple[Severities, ...] = (Severity.P1, Severity.P2)
    within_business_days: Annotated[int, Field(ge=1, le=60)] = 3
    by: Annotated[str, AfterValidator(_clock_time)] = "18:00"


class LifecycleKeys(Keys):
    monitor: Delay = 900.0
    """How long an incident stays in `monitoring`, its pages open, before it is resolved."""
    reopen_within: Delay = 1800.0
    """How long after that a relapse reopens it."""


class ContactKeys(Keys):
    method: Text
    backup: str = ""


class RuleKeys(Keys):
    severity: Severities
    any_of: Texts | None = Field(default=None, alias="any")
    """Terms, one of which must hold: redis, redis@warn, redis@unknown, postgres/saturated, scenario:redis@P2"""
    all_of: Texts | None = Field(default=None, alias="all")
    """Terms, all of which must hold."""
    hold: Delay = Field(default=0.0, alias="for")
    """How long it must hold before it is an incident."""
    flag: Text | None = None
    links: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _one_mode(self) -> RuleKeys:
        if (self.any_of is None) == (self.all_of is None):
            raise ValueError("a rule has either `any:` or `all:`; write one of them")
        if not (self.any_of or self.all_of):
            raise ValueError("a rule without terms never holds; name at least one")
        return self


class VendorKeys(Keys):
    name: Annotated[str, AfterValidator(_name)]
    when: Texts = ()
    """Terms, one of which must hold; none: any rule of the scenario."""
    unresolved: Delay = 0.0


class DeclaredKeys(Keys):
    severity: Severities
    escalate_now: tuple[Text, ...] = ()
    """Levels of the matrix that are told at once."""
    audience: Text | None = None
    evidence_hold: bool = False
    redact: bool = False
    customer_comms: Text | None = None


class StepKeys(Keys):
    do: Text
    show: Text | None = None
    """A probe, or one of its measurements (whmcs.duration_seconds), whose live value stands beside the step."""
    remind: bool = False
    """Whether to remind until it is undone."""


class CustomerKeys(Keys):
    what: Text
    impact: Text


class NotesKeys(Keys):
    if_env: dict[str, str] = {}
    flag: Text


class ScenarioKeys(Keys):
    title: Text
    service: str = ""
    impact: str = ""
    customer: CustomerKeys | None = None
    rules: tuple[RuleKeys, ...] = ()
    """The worst rule that holds is the severity."""
    vendor: VendorKeys | None = None
    declared: DeclaredKeys | None = None
    """What a person's declaration makes of it."""
    parent_of: Texts = ()
    """Scenarios that are symptoms of this one: they stay silent while it is open."""
    notes: NotesKeys | None = None
    symptoms: Texts = ()
    diagnosis: Texts = ()
    steps: tuple[StepKeys, ...] = ()
    """The playbook: shown, never executed."""
    links: Texts = ()


class MessagesKeys(Keys):
    status_update: str = ""
    """The internal status update, as a template: text, {{ name }}, {% if name %}, {% for item in names %}."""
    customer: str = ""
    """What customers may be told of a P1 or P2; drafted, never sent."""
    vendor_report: str = ""
    """What a vendor is given: on pages of L4."""
    review: str = ""
    """The draft of the post-incident review, in Markdown."""


class RunbookKeys(Keys):
    severities: dict[str, SeverityKeys]
    escalation: dict[str, EscalationKeys]
    review: ReviewKeys = ReviewKeys()
    lifecycle: LifecycleKeys = LifecycleKeys()
    contacts: dict[str, ContactKeys] = {}
    messages: MessagesKeys = MessagesKeys()
    """The wording of what is said; what is left out is said in the monitor's own."""
    scenarios: dict[str, ScenarioKeys]
