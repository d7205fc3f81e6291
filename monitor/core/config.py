"""probes.yaml as a frozen model: what is watched, how often, and where its limits lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import SecretStr

from monitor.core.calendar import Calendar
from monitor.core.condition import Condition
from monitor.core.maintenance import Plan
from monitor.core.probe import Options, ProbeType


@dataclass(frozen=True, slots=True)
class FailAfter:
    """How many failing samples confirm a level: `count` of the last `of` (`3` is 3 of 3)."""

    count: int = 3
    of: int = 3

    def __str__(self) -> str:
        return str(self.count) if self.count == self.of else f"{self.count} of {self.of}"


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """One probe: a named, scheduled check of one target. Times in seconds."""

    name: str
    type: ProbeType
    options: Options
    interval: float
    timeout: float
    fail_after: FailAfter
    recover_after: int
    retry_interval: float
    warn: tuple[Condition, ...] = ()
    fail: tuple[Condition, ...] = ()
    clear_warn: tuple[Condition, ...] = ()  # while at warn, only these bring it back (hysteresis); none: `warn` decides
    clear_fail: tuple[Condition, ...] = ()
    needs: tuple[str, ...] = ()
    enabled: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def whys(self) -> frozenset[str]:
        """Everything a level of this probe can be filed under: its reasons, conditions and checks."""
        conditions = {condition.why for condition in (*self.warn, *self.fail)}
        return frozenset({*self.type.reasons, "timeout", *conditions, *self.type.checks(self.options)})

    @property
    def limits(self) -> Mapping[str, frozenset[float]]:
        """What each measurement is held against."""
        conditions = (*self.warn, *self.fail, *self.clear_warn, *self.clear_fail)
        return {
            name: frozenset(one.limit for one in conditions if one.name == name)
            for name in {one.name for one in conditions}
        }

    @property
    def target(self) -> str:
        """What is watched, as text that two configurations can be compared by. Holds secrets: never shown."""
        chosen = {key: str(_plain(getattr(self.options, key))) for key in sorted(self.type.target_keys)}
        return f"{self.type.name} {chosen}"


@dataclass(frozen=True, slots=True)
class AlertmanagerConfig:
    """One member of the Alertmanager cluster. The password is read from its file at each use."""

    url: str
    username: str | None = None
    password_file: str | None = None
    bearer_token_file: str | None = None
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Where the daemon listens, and the address by which people reach it."""

    host: str = "127.0.0.1"
    port: int = 9877
    external_url: str = ""

    @property
    def linked(self) -> bool:
        """Whether links in pages lead here from elsewhere, as from the phone of whoever is on call."""
        host = urlsplit(self.external_url).hostname or ""
        return bool(host) and host != "localhost" and not host.startswith("127.") and host != "::1"


@dataclass(frozen=True, slots=True)
class Fallback:
    """What carries P1 pages that no Alertmanager took for so long: a command, or an address to POST to."""

    after: float = 60.0
    command: tuple[str, ...] = ()
    webhook: SecretStr | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An address that is asked for every so often, past Alertmanager: its silence is somebody else's alarm."""

    url: SecretStr
    every: float = 60.0


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of probes.yaml, checked. `runbook` and `store` are paths as written, made absolute by the reader."""

    probes: Mapping[str, ProbeConfig]
    runbook: str
    store: str  # path of the SQLite file
    web: WebConfig = WebConfig()
    alertmanagers: tuple[AlertmanagerConfig, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)  # added to every alert
    calendar: Calendar = field(default_factory=Calendar)
    maintenance: tuple[Plan, ...] = ()
    fallback: Fallback | None = None
    heartbeat: Heartbeat | None = None
    force_store: bool = False
    secrets: frozenset[str] = frozenset()  # every secret value read; each sink scrubs them. Never shown

    def enabled(self) -> list[ProbeConfig]:
        """The probes that run, in the order of the file."""
        return [probe for probe in self.probes.values() if probe.enabled]


def _plain(value: object) -> object:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value
