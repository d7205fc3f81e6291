"""What numbers and levels mean, in words: for pages, console and commands, and whoever reads them at three at night."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeGuard

from monitor.core.condition import Condition
from monitor.core.level import RUN
from monitor.core.probe import Outcome
from monitor.core.quantity import format_duration
from monitor.core.runbook import Level
from monitor.core.scrub import scrub
from monitor.core.snapshot import ProbeView

QUIET = "quiet"
LONGEST = 2000
"""Characters of one text from outside that are shown."""

_SIDES: Mapping[str, str] = {
    ">": "over", ">=": "at or over", "<": "under", "<=": "at or under", "==": "equal to", "!=": "other than",
}  # fmt: skip
_UNITS = ("_seconds", "_bytes", "_ratio", "_per_second")


def advice(view: ProbeView) -> str:
    """Why the probe's level is what it is and what to look at, in a sentence or two; empty when there is nothing to say."""
    result = view.result
    if not view.config.enabled:
        return "Switched off in the configuration."
    if result is None:
        return "Has not run yet."
    if view.reason.startswith("needs "):
        return f"Cannot be judged while {view.reason.removeprefix('needs ')} is not well."
    if view.reason and view.level is not Level.OK:
        return _why(view, view.reason)
    if result.outcome is not Outcome.SUCCESS:
        return f"The last run did not succeed; not confirmed yet. {_why(view, result.reason)}"
    if view.unconfirmed:
        return "The last run was worse than this; not confirmed yet."
    if QUIET in {view.reason, result.reason}:
        return "Too little happened to judge by, and nothing of it was wrong."
    return "" if view.level is Level.OK else "Not judged yet: too few runs."


def _why(view: ProbeView, why: str) -> str:
    result, kind = view.result, view.config.type
    if why == RUN and result is not None and result.reason:
        return f"Runs fail for changing reasons; the last: {_why(view, result.reason)}"
    conditions = view.config.fail if view.level is Level.FAIL else view.config.warn
    broken = [one for one in (*conditions, *view.config.fail, *view.config.warn) if one.why == why]
    if broken and result is not None:
        found = measured(broken[0], result.measurements)
        return _breach(broken[0], found[1] if found else None)
    if why in kind.checks(view.config.options):
        return f"The target itself says that its {why} is not well."
    try:
        return kind.reason(why).advice
    except KeyError:
        return f"Because of {why}."


def _breach(condition: Condition, value: float | None) -> str:
    name = label(condition.why)
    name = name[0].upper() + name[1:]
    if value is None:
        return f"{name} was {_SIDES[condition.op]} {_limit(condition)}; the last run did not measure it."
    now = f"{name} is {quantity(condition.name, value)}"
    if condition.holds({condition.name: {condition.part or "": value} if condition.part else value}):
        return f"{now}: {_SIDES[condition.op]} {_limit(condition)}."
    return f"{now}: back from {_SIDES[condition.op]} {_limit(condition)}, not yet for long enough."


def measured(condition: Condition, measurements: Mapping[str, Any]) -> tuple[str, float] | None:
    """The part (`""` for the whole) and the number that a condition looks at; of several parts the one nearest the limit."""
    return condition.nearest(measurements)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _limit(condition: Condition) -> str:
    return condition.text.partition(condition.op)[2].strip()


def label(measurement: str) -> str:
    """`memory_used_ratio` as `memory used`: the unit is said with the number."""
    name, bracket, part = measurement.partition("[")
    stem = next((name.removesuffix(unit) for unit in _UNITS if name.endswith(unit)), name)
    if name.endswith("_ratio") and "_" not in stem:
        stem = name  # "error ratio": "error" alone says too little
    words = stem.replace("_", " ")
    return f"{words} of {part.rstrip(']')}" if bracket else words


def quantity(measurement: str, value: float) -> str:
    """A number with the unit that the measurement's name says: `88 %`, `12 ms`, `900 MiB`, `3.2/s`."""
    if not _is_number(value):
        return "no number"
    if measurement.endswith("_ratio"):
        return f"{_short(value * 100)} %"
    if measurement.endswith("_per_second"):
        return f"{_short(value)}/s"
    if measurement.endswith("_seconds"):
        return _seconds(value)
    if measurement.endswith("_bytes"):
        return _bytes(value)
    return _short(value)


def _seconds(value: float) -> str:
    if 0 < abs(value) < 60:
        return f"{_short(value)} s" if abs(value) >= 1 else f"{_short(value * 1000)} ms"
    return f"-{format_duration(-value)}" if value < 0 else format_duration(value)


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            return f"{_short(value)} {unit}"
        value /= 1024
    raise AssertionError("the loop ends with GiB")


def _short(value: float) -> str:
    """Three digits that matter, no exponent, no empty decimals."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.6f}".rstrip("0").rstrip(".")


def iso(at: float) -> str:
    """RFC 3339 in UTC, milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(at: float) -> str:
    """`2026-11-23 17:02:10 UTC`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def local(at: float, zone: tzinfo | None) -> str:
    """`02:02 JST` as a clock there shows it (none: of this machine), `Tue 02:02 JST` on another day; "" where it is UTC."""
    there = datetime.fromtimestamp(at, UTC).astimezone(zone)
    if not there.utcoffset():
        return ""
    day = "" if there.date() == datetime.fromtimestamp(at, UTC).date() else "%a "
    return f"{there:{day}%H:%M %Z}"


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """Text from outside, safe to show: no secrets, no control characters that would steer a terminal, and not endless."""
    shown = scrub(text, secrets)
    shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
    return shown if shown.isprintable() else "".join(letter if letter.isprintable() else " " for letter in shown)
