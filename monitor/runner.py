"""Runs probes: deadline, outcome, resources held open. Only here is a `Result` made.

A resource is what a probe type holds open between runs (`ProbeType.open`), shared by the probes whose resource key
is equal. For an exclusive one (a connection) runs queue; a fresh one is tried at least once a minute, so that a held
connection does not hide that new clients are refused; and a failure on a held one counts only if a fresh one fails too.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import structlog

from monitor.clock import Clock
from monitor.core.config import ProbeConfig
from monitor.core.evidence import Measured
from monitor.core.probe import (
    BUG,
    STALLED,
    TIMEOUT,
    Family,
    Fault,
    Json,
    Outcome,
    ProbeContext,
    ProbeError,
    Reading,
    Result,
    Value,
)
from monitor.core.scrub import scrub

FRESH_SECONDS = 60.0
CLOSE_SECONDS = 1.0
STALL_SECONDS = 1.0
_TICK_SECONDS = 0.25
PLACES: Mapping[str, int] = {"network": 64, "log": 8}
"""How many runs of each kind of work go on at once."""

NOTHING: Measured = MappingProxyType({})

log = structlog.get_logger()

Wake = Callable[[str, str], None]
"""Called with a probe's name and a word when its resource says: look now."""


class LoopWatch:
    """Notices when the event loop itself stood still, so that what was measured meanwhile says nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticked = clock.monotonic()
        self._stalled = -1e9
        self._running = False
        self.lag_seconds = 0.0  # the worst of the last ticks, decaying

    async def run(self) -> None:
        self._ticked, self._running = self._clock.monotonic(), True
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._look()

    def stalled_since(self, begun: float) -> bool:
        """Whether the loop stood still for over a second at some time since `begun` (monotonic)."""
        if self._running:
            self._look()
        return self._stalled >= begun

    def _look(self) -> None:
        now = self._clock.monotonic()
        lag = now - self._ticked - _TICK_SECONDS
        self._ticked = now
        self.lag_seconds = round(max(lag, self.lag_seconds * 0.9, 0.0), 6)
        if lag > STALL_SECONDS:
            self._stalled = now


class Keeper(Protocol):
    """Where resources keep what must survive a restart: the store."""

    def resource(self, key: str) -> bytes | None:
        """What was saved last under this key."""

    async def save_resource(self, key: str, state: bytes) -> None:
        """Keep it; returns once it is committed."""


class Memory:
    """A keeper for a single look around: nothing survives."""

    def __init__(self) -> None:
        self._states: dict[str, bytes] = {}

    def resource(self, key: str) -> bytes | None:
        return self._states.get(key)

    async def save_resource(self, key: str, state: bytes) -> None:
        self._states[key] = state


@dataclass
class _Opening:
    """What a type's `open` is given."""

    key: str
    saved: bytes | None
    clock: Clock
    keeper: Keeper

    def now(self) -> float:
        return self.clock.now()

    async def save(self, state: bytes) -> None:
        await self.keeper.save_resource(self.key, state)


@dataclass(frozen=True, slots=True)
class _Look:
    """One run as it was asked for, at a time of the monotonic clock."""

    config: ProbeConfig
    cursor: Json
    asked: float
    measured: Measured


@dataclass
class _Resource:
    """One thing held open: the value that `open` yielded, since when, and who watches it."""

    config: ProbeConfig  # of the probe that opened it first; the others have the same key
    users: set[str] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    value: Any = None
    stack: AsyncExitStack | None = None
    opened: float = 0.0
    watcher: asyncio.Task[None] | None = None


class Runner:
    """Runs probes, one run at a time each, and owns what they hold open."""

    def __init__(
        self,
        clock: Clock,
        *,
        keeper: Keeper | None = None,
        wake: Wake | None = None,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self.watch = LoopWatch(clock)
        self.secrets = secrets  # replaced by a reload; no text leaves with one in it
        self._clock = clock
        self._keeper = keeper or Memory()
        self._wake = wake
        self._resources: dict[str, _Resource] = {}
        self._places = {kind: asyncio.Semaphore(number) for kind, number in PLACES.items()}

    async def run(self, config: ProbeConfig, cursor: Json = None, measured: Measured = NOTHING) -> Result:
        """One run. Whatever happens in it, the answer is a `Result`; only cancellation passes through.

        `measured` is what the probes that this one reads have measured.
        """
        asked = self._clock.monotonic()
        look = _Look(config, cursor, asked, measured)
        place = self._places[config.type.work]
        if config.type.open is None or not config.type.exclusive:
            async with place:
                return await self._deadline(look, self._run_shared)
        resource = self._resource(config)
        async with resource.lock, place:  # who queues for a connection takes no place from others
            held = resource.stack is not None
            result = await self._deadline(look, self._run_exclusive)
            if held and result.reason == TIMEOUT:  # it may be half open: only a fresh one can tell
                result = await self._deadline(look, self._run_exclusive)
            return result

    def families(self) -> list[Family]:
        """Metrics of the resources themselves, such as a followed log's true counters."""
        values = [resource.value for resource in self._resources.values()]
        return [family for value in values if hasattr(value, "families") for family in value.families()]

    async def retain(self, configs: Iterable[ProbeConfig]) -> None:
        """Close what none of these probes uses; called after a reload."""
        used = {_key(config) for config in configs if config.type.open}
        names = {config.name for config in configs}
        for key in [key for key in self._resources if key not in used]:
            resource = self._resources.pop(key)
            async with resource.lock:
                await self._close(resource)
        for resource in self._resources.values():
            resource.users &= names

    async def close(self) -> None:
        """Close everything."""
        await self.retain([])

    # --- one run ------------------------------------------------------------------------------------------------------

    async def _deadline(
        self, look: _Look, attempt: Callable[[ProbeConfig, ProbeContext], Awaitable[Reading]]
    ) -> Result:
        config = look.config
        at, begun = self._clock.now(), self._clock.monotonic()
        context = ProbeContext(
            config.name, at, config.timeout, look.cursor, measured=look.measured, limits=config.limits
        )
        outcome, reason, detail = Outcome.SUCCESS, "", ""
        try:
            async with asyncio.timeout(config.timeout):
                reading = _sound(await attempt(config, context))
        except ProbeError as error:
            reading, reason, detail = _sound(error.reading), error.reason, error.detail
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            log.exception("probe_raised", probe=config.name)  # somebody else's cancellation, let loose in the probe
            reading, reason, detail = Reading(), BUG, "cancelled"
        except TimeoutError:
            reading, reason, detail = Reading(), TIMEOUT, f"no answer within {config.timeout:g} s"
        except Exception as error:
            log.exception("probe_raised", probe=config.name)
            reading, reason, detail = Reading(), BUG, type(error).__name__
        if self.watch.stalled_since(begun):
            reason, detail = STALLED, "the monitor's own loop stood still during the run"
        if reason:
            outcome = self._outcome(config, reason)
        elif reading.quiet is not None:
            reason = "quiet"
        return Result(
            probe=config.name,
            type=config.type.name,
            at=at,
            mono=begun,
            duration_seconds=self._clock.monotonic() - begun,
            outcome=outcome,
            reason=reason,
            detail=_text(scrub(detail, self.secrets)),
            measurements=reading.measurements,
            checks=reading.checks,
            quiet=reading.quiet,
            cursor=reading.cursor if reading.cursor is not None else look.cursor,
            details={key: _text(scrub(text, self.secrets)) for key, text in reading.details.items()},
            waited_seconds=begun - look.asked,
        )

    def _outcome(self, config: ProbeConfig, reason: str) -> Outcome:
        try:
            fault = config.type.reason(reason).fault
        except KeyError:
            log.error("reason_not_declared", probe=config.name, type=config.type.name, reason=reason)
            fault = Fault.SELF
        return Outcome.FAILURE if fault is Fault.TARGET else Outcome.ERROR

    async def _run_shared(self, config: ProbeConfig, context: ProbeContext) -> Reading:
        """A run that holds nothing, or reads what is held beside others."""
        if config.type.open is None:
            reading: Reading = await config.type.run(config.options, context)
            return reading
        resource = self._resource(config)
        async with resource.lock:
            if resource.stack is None:
                await self._open(resource)
        return await self._use(resource, config, context, fresh=False)

    async def _run_exclusive(self, config: ProbeConfig, context: ProbeContext) -> Reading:
        resource = self._resource(config)
        try:
            return await self._on_held_then_fresh(resource, config, context)
        except ProbeError:
            raise
        except BaseException:  # a run that was cut off leaves the connection in an unknown state
            await self._close(resource)
            raise

    async def _on_held_then_fresh(self, resource: _Resource, config: ProbeConfig, context: ProbeContext) -> Reading:
        if resource.stack is not None and self._clock.monotonic() - resource.opened >= FRESH_SECONDS:
            await self._renew(resource, config, context)
        if resource.stack is not None:
            with suppress(ProbeError):
                return await self._use(resource, config, context, fresh=False)
            await self._close(resource)
        await self._open(resource)
        return await self._use(resource, config, context, fresh=True)

    async def _renew(self, resource: _Resource, config: ProbeConfig, context: ProbeContext) -> None:
        """Put a fresh one in the held one's place. If none is to be had, the held one measures what that looks like."""
        try:
            stack, value = await self._enter(resource.config)
        except ProbeError as refused:
            try:
                reading = await self._use(resource, config, context, fresh=False)
            except ProbeError:
                await self._close(resource)
                raise refused from None
            raise ProbeError(refused.reason, refused.detail, reading=reading) from refused
        await self._close(resource)
        self._hold(resource, stack, value)

    async def _use(self, resource: _Resource, config: ProbeConfig, context: ProbeContext, *, fresh: bool) -> Reading:
        reading: Reading = await config.type.run(config.options, replace(context, resource=resource.value, fresh=fresh))
        return reading

    # --- resources ----------------------------------------------------------------------------------------------------

    def _resource(self, config: ProbeConfig) -> _Resource:
        resource = self._resources.setdefault(_key(config), _Resource(config))
        resource.users.add(config.name)
        return resource

    async def _open(self, resource: _Resource) -> None:
        self._hold(resource, *await self._enter(resource.config))

    async def _enter(self, config: ProbeConfig) -> tuple[AsyncExitStack, Any]:
        assert config.type.open is not None
        key = f"{config.type.name}:{blake2b(_key(config).encode(), digest_size=12).hexdigest()}"
        opening = _Opening(key, self._keeper.resource(key), self._clock, self._keeper)
        stack = AsyncExitStack()
        return stack, await stack.enter_async_context(config.type.open(config.options, opening))

    def _hold(self, resource: _Resource, stack: AsyncExitStack, value: Any) -> None:
        resource.stack, resource.value, resource.opened = stack, value, self._clock.monotonic()
        if resource.config.type.watch is not None and self._wake is not None:
            resource.watcher = asyncio.create_task(self._watch(resource), name=f"watch {resource.config.name}")

    async def _watch(self, resource: _Resource) -> None:
        assert resource.config.type.watch is not None
        assert self._wake is not None
        try:
            async for word in resource.config.type.watch(resource.config.options, resource.value):
                for name in sorted(resource.users):
                    self._wake(name, word)
        except Exception:
            log.exception("watch_raised", probe=resource.config.name)

    async def _close(self, resource: _Resource) -> None:
        watcher, stack = resource.watcher, resource.stack
        resource.watcher = resource.stack = resource.value = None
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        if stack is not None:
            await _quietly(stack.aclose())


def _sound(reading: object) -> Reading:
    """The reading with only what it may hold; what is no finite number was not measured. TypeError for no reading."""
    if not isinstance(reading, Reading):
        raise TypeError(f"a probe returns a Reading, not {type(reading).__name__}")
    if reading.cursor is not None:
        msgspec.json.encode(reading.cursor)  # TypeError for what the store cannot keep
    measurements: dict[str, Value] = {}
    for name, value in reading.measurements.items():
        if isinstance(value, Mapping):
            measurements[name] = {part: number for part, number in value.items() if _is_finite(number)}
        elif _is_finite(value):
            measurements[name] = value
    checks = {name: good for name, good in reading.checks.items() if isinstance(good, bool)}
    return replace(reading, measurements=measurements, checks=checks)


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)


def _text(text: str) -> str:
    """Without lone surrogates, which no file takes."""
    return text.encode(errors="replace").decode()


async def _quietly(closing: Awaitable[object]) -> None:
    """Close what may be broken already: not for long, and without a word."""
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            await closing


def _key(config: ProbeConfig) -> str:
    """What a resource is shared by. It holds secrets and is never shown."""
    if config.type.resource_key is not None:
        return f"{config.type.name} {config.type.resource_key(config.options)}"
    plain = {
        key: value.get_secret_value() if hasattr(value, "get_secret_value") else value for key, value in config.options
    }
    return f"{config.type.name} {plain}"
