"""What a probe is: its declaration, what it brings home, and how a run of it ended.

A probe type is one file in `monitor/probes/` that defines `PROBE = ProbeType(...)`: an async function
`(options, context) -> Reading` and a declaration of its options, measurements and reasons. The function
returns measurements or raises `ProbeError`; the runner alone turns that into a `Result`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, SecretStr

Json = Any
"""A value that the store can keep: None, a bool, a number, a text, or lists and dictionaries of these."""

Value = float | Mapping[str, float]
"""A measurement: a number in base units, or one for each part (`{"whmcs": 1.2}`); the part "" is the whole."""


class Outcome(StrEnum):
    """How one run ended. An `error` is ours and says nothing about the target."""

    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


class Fault(StrEnum):
    """Whose fault a reason is: the target's, our access to it, or our own."""

    TARGET = "target"
    ACCESS = "access"
    SELF = "self"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a run did not succeed: whose fault it is, and a sentence that says what to do next."""

    fault: Fault
    advice: str


TIMEOUT = "timeout"  # the deadline of the run passed; a reason of every type, the target's fault
BUG = "bug"  # the probe raised what it should not; a reason of every type, our fault
STALLED = "stalled"  # our own loop stood still during the run, so nothing it says can be trusted

COMMON_REASONS: Mapping[str, Reason] = {
    TIMEOUT: Reason(Fault.TARGET, "The target did not answer in time: look at its load, and at the network between."),
    BUG: Reason(Fault.SELF, "The monitor made a mistake: its log has the traceback; please report it."),
    STALLED: Reason(Fault.SELF, "The monitor itself stood still for over a second: look at the load of its own host."),
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A measurement that a probe type brings home.

    `split` names the label of its parts, if it has parts. `kind` says what the number is: a `gauge`, an
    `age` in seconds (exported as the timestamp it counts from), or `state`, one of a few numbers. A ratio with `beyond`
    is of something that is not the whole.
    """

    help: str
    split: str | None = None
    kind: Literal["gauge", "age", "state"] = "gauge"
    beyond: bool = False

    def is_share(self, name: str) -> bool:
        """Whether, by this name, it is a share of a whole: 1 at the most."""
        return name.endswith("_ratio") and not self.beyond


class Options(BaseModel):
    """The keys of a probe in probes.yaml that its type adds. Unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # a URL that is refused may hold a password
    )


class _Mark(StrEnum):
    SECRET = "secret"  # noqa: S105 (a word, not a password)
    URL = "url"


Secret = Annotated[SecretStr, _Mark.SECRET]
"""An option that may only come from `${NAME}` or `<key>_file`."""

SecretUrl = Annotated[SecretStr, _Mark.URL]
"""A URL that may carry a password; one that does may only come from `${NAME}` or `<key>_file`."""


def is_secret(metadata: Sequence[object]) -> bool:
    """Whether a field with these annotations must not be written down in YAML."""
    return _Mark.SECRET in metadata


def is_secret_url(metadata: Sequence[object]) -> bool:
    """Whether a field with these annotations is a URL that must not be written down with a password."""
    return _Mark.URL in metadata


class Quiet(StrEnum):
    """Too little was seen to judge by: `hold` confirms and clears nothing; `clear` is long and clean enough for ok."""

    HOLD = "hold"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a successful run brought home.

    `checks` are named verdicts of the target about its own parts (True is good); each is a why of its own.
    `cursor` is what the next run must remember (None keeps the last one). `details` are facts for people: short
    texts without secrets or customer data, never judged.
    """

    measurements: Mapping[str, Value] = field(default_factory=dict)
    checks: Mapping[str, bool] = field(default_factory=dict)
    cursor: Json = None
    quiet: Quiet | None = None
    details: Mapping[str, str] = field(default_factory=dict)


class ProbeError(Exception):
    """A run that did not succeed, for a reason that its type declares.

    `detail` is one line for people, without secrets. What was measured all the same may come along.
    """

    def __init__(self, reason: str, detail: str = "", *, reading: Reading | None = None) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.reading = reading or Reading()


@dataclass(frozen=True, slots=True)
class Reference:
    """A measurement of another probe: `orders.waiting`, or one part of it, `events.matches[refused]`."""

    probe: str
    name: str
    part: str | None = None

    def __str__(self) -> str:
        return f"{self.probe}.{self.name}" + (f"[{self.part}]" if self.part else "")


@dataclass(frozen=True, slots=True)
class Sample:
    """What another probe measured last, in a run that began at `at` (wall seconds)."""

    at: float
    measurements: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class ProbeContext:
    """What a run is given: the time it began, how long it may take, what it remembered, what is held open for it.

    `now` is wall time (seconds since 1970, UTC), `timeout_seconds` the hard deadline that the runner keeps.
    `resource` is what the type's `open` yielded. `fresh` says that it was opened for this very run. `measured` holds
    what the probes that the type `reads` measured last, as far as it is to be believed now (`monitor.core.evidence`).
    `limits` are the numbers that the probe's conditions hold a measurement against.
    """

    probe: str
    now: float
    timeout_seconds: float
    cursor: Json = None
    resource: Any = None
    fresh: bool = True
    measured: Mapping[str, Sample] = field(default_factory=dict)
    limits: Mapping[str, frozenset[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family beside the measurements, such as a log's true counters: `samples` are (labels, value).

    A histogram's samples carry the suffix in the label `__name__`: `_bucket`, `_count` or `_sum`.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[tuple[Mapping[str, str], float]]


class Opening(Protocol):
    """What `open` is given: where to keep what must survive a restart, and what time it is."""

    @property
    def key(self) -> str:
        """The name under which `save` keeps, the same at every start."""

    @property
    def saved(self) -> bytes | None:
        """What was saved last under this key, by this or an earlier process."""

    def now(self) -> float:
        """Wall time, seconds since 1970."""

    async def save(self, state: bytes) -> None:
        """Keep `state`; returns once it is committed, so that what follows from it may be shown."""


Run = Callable[[Any, ProbeContext], Awaitable[Reading]]
Open = Callable[[Any, Opening], AbstractAsyncContextManager[Any]]
Watch = Callable[[Any, Any], AsyncIterator[str]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run asks of its target, so that nobody has to guess what watching costs.

    `words` says it for people. `most` is how many of `unit` a run makes at the most with the options given, and `rows`
    how many rows, keys or elements it looks at; 0 where the target has none. A test holds both against what the
    target's own counters say.
    """

    words: str
    unit: Literal["commands", "statements", "requests", "connections", "files"]
    most: Callable[[Any], int]
    rows: Callable[[Any], int] = lambda options: 0


@dataclass(frozen=True, slots=True)
class ProbeType:
    """One `type:` of probes.yaml. The file in `monitor/probes/` has the type's name.

    `open` holds something open between runs (a connection, a followed log); probes whose `resource_key` is
    equal share it. `exclusive`: runs queue for it, and the runner tries a fresh one at least once a minute; a
    resource that is not exclusive is opened once and read by all. `watch` yields a word whenever the probes
    that share the resource should look now. `reads` are the measurements of other probes that the options name, by
    the place of the option (`evidence.waiting`). `cost`, `privileges` (what its credential or user must be allowed to
    do, a line for each right and no more) and `example` (its keys in probes.yaml, with `type:`) are for people.
    """

    name: str
    help: str
    options: type[Options]
    measures: Mapping[str, Measure]
    reasons: Mapping[str, Reason]
    run: Run
    target_keys: frozenset[str]  # options that say *what* is watched: a change of one drops state and cursor
    open: Open | None = None
    watch: Watch | None = None
    resource_key: Callable[[Any], str] | None = None  # defaults to all options; may hold secrets: never shown
    exclusive: bool = True
    work: Literal["network", "log"] = "network"  # the kind of work, for which concurrency is bounded
    checks: Callable[[Any], frozenset[str]] = lambda options: frozenset()
    parts: Callable[[Any], Mapping[str, frozenset[str]]] = lambda options: {}  # known parts of a split measurement
    reads: Callable[[Any], Mapping[str, Reference]] = lambda options: {}
    cost: Cost | None = None
    privileges: tuple[str, ...] = ()
    example: str = ""

    def reason(self, name: str) -> Reason:
        """The declared reason; KeyError for one that the type does not declare (our bug)."""
        return self.reasons[name] if name in self.reasons else COMMON_REASONS[name]


@dataclass(frozen=True, slots=True)
class Result:
    """How one run of one probe ended. Only the runner makes these.

    `at` is the wall time at which the run began, `mono` the monotonic one. `reason` is "" on success, or `quiet`.
    """

    probe: str
    type: str
    at: float
    mono: float
    duration_seconds: float
    outcome: Outcome
    reason: str = ""
    detail: str = ""
    measurements: Mapping[str, Value] = field(default_factory=dict)
    checks: Mapping[str, bool] = field(default_factory=dict)
    quiet: Quiet | None = None
    cursor: Json = None
    details: Mapping[str, str] = field(default_factory=dict)
    waited_seconds: float = 0.0  # for a place or a shared resource; counts in no timeout and no duration
