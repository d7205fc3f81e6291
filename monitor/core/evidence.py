"""What one probe may know of another: the last measurements of the probes that its options name, while they are fresh.

A probe stays independent all the same: it asks nobody, and what it is handed may be missing at any run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from monitor.core.condition import did_you_mean
from monitor.core.config import ProbeConfig
from monitor.core.probe import Outcome, Reference, Result, Sample

Measured = Mapping[str, Sample]
"""What was measured by each probe; only by those whose last run succeeded, lately."""

FRESH_INTERVALS = 3.0

_SYNTAX = re.compile(r"(?P<probe>[^.\s\[\]]+)\.(?P<name>[A-Za-z_]\w*)(?:\[(?P<part>[^\]\s]+)\])?")


def _parsed(value: object) -> object:
    if isinstance(value, Reference):
        return value
    match = _SYNTAX.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError('name a measurement of another probe, as in "orders.waiting" or "events.matches[refused]"')
    return Reference(*match.group("probe", "name", "part"))


Named = Annotated[
    Reference, BeforeValidator(_parsed), WithJsonSchema({"type": "string", "examples": ["orders.waiting"]})
]
"""An option that names a measurement of another probe: `probe.measurement` or `probe.measurement[part]`."""


def mistake(reference: Reference, probes: Mapping[str, ProbeConfig], names: Iterable[str]) -> str:
    """What is wrong with a reference, in words; empty if nothing is. `names` are also those of unreadable probes."""
    if reference.probe not in names:
        return f'no probe "{reference.probe}"{did_you_mean(reference.probe, names)}'
    probe = probes.get(reference.probe)
    if probe is None:
        return ""
    measure = probe.type.measures.get(reference.name)
    if measure is None:
        return (
            f'{reference.probe} does not measure "{reference.name}"{did_you_mean(reference.name, probe.type.measures)}'
        )
    parts = probe.type.parts(probe.options).get(reference.name, frozenset())
    if measure.split is None:
        return f'"{reference.name}" has no parts, so "[{reference.part}]" picks nothing' if reference.part else ""
    if not reference.part:
        return f'"{reference.name}" has parts; pick one, as in {reference}[{min(parts, default="part")}]'
    if parts and reference.part not in parts:
        return f'"{reference.name}" has no part "{reference.part}"{did_you_mean(reference.part, parts)}'
    return ""


def sources(config: ProbeConfig) -> frozenset[str]:
    """The probes whose measurements this one is judged by."""
    return frozenset(reference.probe for reference in config.type.reads(config.options).values())


def measured(results: Iterable[tuple[ProbeConfig, Result | None]], now: float) -> Measured:
    """What may be believed at `now` (wall seconds): measurements of runs that succeeded, and that are not old."""
    return MappingProxyType({
        config.name: Sample(result.at, result.measurements)
        for config, result in results
        if result is not None and _is_fresh(config, result, now)
    })  # fmt: skip


def _is_fresh(config: ProbeConfig, result: Result, now: float) -> bool:
    oldest = FRESH_INTERVALS * config.interval + config.timeout
    return result.outcome is Outcome.SUCCESS and abs(now - result.at) <= oldest


def number(reference: Reference, measured: Measured) -> float | None:
    """The number that the reference names; None where it was not measured, or is none."""
    sample = measured.get(reference.probe)
    value = sample.measurements.get(reference.name) if sample else None
    if isinstance(value, Mapping):
        value = value.get(reference.part or "")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
