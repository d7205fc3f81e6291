"""One look at some probes, now: what `portal-monitor probe` shows. Nothing is saved."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from monitor.clock import SystemClock
from monitor.core import evidence, level
from monitor.core.config import Config, FailAfter, ProbeConfig
from monitor.core.evidence import Measured
from monitor.core.level import ProbeState
from monitor.core.probe import Outcome, Result
from monitor.core.snapshot import ProbeView
from monitor.runner import Runner

RATE_SECONDS = 1.0  # between the two runs that a rate takes


async def look_once(config: Config, names: Sequence[str]) -> list[ProbeView]:
    """Run these probes, what they need or read first, judged as if `fail_after: 1`. A view each, in the order asked for."""
    clock = SystemClock()
    runner = Runner(clock, secrets=config.secrets)
    views: dict[str, ProbeView] = {}
    states: dict[str, ProbeState] = {}
    try:
        for ring in _rings(config, names):
            known = [(view.config, view.result) for view in views.values()]
            measured = evidence.measured(known, clock.now())
            results = await asyncio.gather(*(_look(runner, item, measured) for item in ring))
            for item, result in zip(ring, results, strict=True):
                needs = {name: states[name] for name in item.needs if name in states}
                # The need ran before the dependent, on purpose; its word counts as if it had been asked after.
                proof = {
                    name: replace(state, success_begun=_later(state, result.mono)) for name, state in needs.items()
                }
                states[item.name] = state = level.show(level.judge(item, ProbeState(), result), proof, clock.now())
                whys = {name: why.shown for name, why in state.whys.items()}
                reason = state.reason or ("quiet" if result.quiet is not None else "")
                views[item.name] = ProbeView(
                    item, state.level, reason, state.since, whys, result=result, last_success_at=state.last_success_at
                )
    finally:
        await runner.close()
    return [views[name] for name in names if name in views]


async def _look(runner: Runner, config: ProbeConfig, measured: Measured) -> Result:
    """One run; and a second one where a limit is on a rate, which takes two."""
    result = await runner.run(config, measured=measured)
    limits = [condition.holds(result.measurements) for condition in (*config.warn, *config.fail)]
    if result.outcome is not Outcome.SUCCESS or result.quiet is not None or None not in limits:
        return result
    await asyncio.sleep(RATE_SECONDS)
    return await runner.run(config, result.cursor, measured)


def _later(state: ProbeState, mono: float) -> float | None:
    return None if state.success_begun is None else mono + 1


def _rings(config: Config, names: Sequence[str]) -> list[list[ProbeConfig]]:
    """The probes asked for and all that they need or read, in rings: each ring needs only earlier ones."""
    wanted: dict[str, ProbeConfig] = {}
    ask = list(names)
    while ask:
        name = ask.pop()
        if name not in wanted:
            wanted[name] = replace(config.probes[name], fail_after=FailAfter(1, 1), recover_after=1)
            ask += _before(config, name)
    rings: list[list[ProbeConfig]] = []
    while wanted:
        ring = [item for name, item in wanted.items() if not _before(config, name) & set(wanted)]
        ring = ring or list(wanted.values())  # one needs what reads it: neither can wait for the other
        rings.append(ring)
        wanted = {name: item for name, item in wanted.items() if item not in ring}
    return rings


def _before(config: Config, name: str) -> set[str]:
    """The enabled probes that this one needs or reads."""
    item = config.probes[name]
    return {other for other in {*item.needs, *evidence.sources(item)} if config.probes[other].enabled}
