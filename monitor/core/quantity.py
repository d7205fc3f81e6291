"""Quantities as people write them in YAML: `15s`, `1MiB`, `80%`, as pydantic types that hold base units.

A bare number is refused where a unit is meant: nobody should have to guess whether `interval: 30` is seconds.
Defaults in a model are plain numbers in base units (`window: Duration = 300.0`).
"""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
LONGEST_SECONDS = 3650 * 86400.0

_QUANTITY = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,9})?) ?(?P<unit>%|[A-Za-z]+)?", re.ASCII)


def parse_duration(value: object) -> float:
    """Seconds, more than none: `"1m"` is 60.0. ValueError says what would be right."""
    seconds = parse_delay(value)
    if seconds == 0:
        raise ValueError(f"{_shown(value)} is no time at all; write more than 0s")
    return seconds


def parse_delay(value: object) -> float:
    """Seconds, none allowed: `"0s"` is 0.0. ValueError says what would be right."""
    number, unit = _split(value, "duration", "15s", DURATION_UNITS)
    seconds = number * DURATION_UNITS[unit]
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{_shown(value)} is too long; at most {LONGEST_SECONDS / 86400:.0f}d")
    return seconds


def parse_size(value: object) -> int:
    """Bytes, at least one: `"1MiB"` is 1048576. ValueError says what would be right."""
    number, unit = _split(value, "size", "1MiB", SIZE_UNITS)
    size = round(number * SIZE_UNITS[unit])
    if size < 1:
        raise ValueError(f"{_shown(value)} is nothing; write at least 1B")
    return size


def parse_ratio(value: object) -> float:
    """A ratio from 0 to 1: `"80%"` is 0.8. ValueError says what would be right."""
    number, _ = _split(value, "ratio", "80%", {"%": 0.01})
    if number > 100:
        raise ValueError(f"{_shown(value)} is more than the whole; write 0% to 100%")
    return number / 100


def format_duration(seconds: float) -> str:
    """The shortest of `15s`, `1m 30s`, `2h`, `300ms` that says it to a person; two units at most."""
    if not math.isfinite(seconds):
        return "for ever" if seconds > 0 else "unknown"
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f}s"
    whole, parts = round(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def _split(value: object, kind: str, example: str, units: dict[str, float] | dict[str, int]) -> tuple[float, str]:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f'not a {kind}; write one such as "{example}"')  # noqa: TRY004 pydantic reports ValueError only
    match = _QUANTITY.fullmatch(str(value).strip())
    unit = match["unit"] if match else None
    if not match:
        raise ValueError(f'{_shown(value)} is not a {kind}; write one such as "{example}"')
    if unit is None:
        wanted = f"{match['number']}{example.lstrip('0123456789')}"
        raise ValueError(f'{_shown(value)} has no unit; write "{wanted}" (units: {" ".join(units)})')
    if unit not in units:
        raise ValueError(f'{_shown(value)} has an unknown unit "{unit}"; units: {" ".join(units)}')
    return float(match["number"]), unit


def _shown(value: object) -> str:
    text = str(value)
    return f'"{text}"' if len(text) <= 40 else f'"{text[:40]}…"'


def _schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


_NUMBER = r"[0-9]+(\.[0-9]+)?"
_VARIABLE = r"\$\{[^}]+\}"  # the whole value may come from the environment

Duration = Annotated[
    float, BeforeValidator(parse_duration), _schema(rf"^({_NUMBER} ?(ms|s|m|h|d)|{_VARIABLE})$", "15s")
]
"""Seconds, more than none; written `15s`."""

Delay = Annotated[float, BeforeValidator(parse_delay), _schema(rf"^({_NUMBER} ?(ms|s|m|h|d)|{_VARIABLE})$", "0s")]
"""Seconds, none allowed; written `0s`."""

Size = Annotated[int, BeforeValidator(parse_size), _schema(rf"^({_NUMBER} ?(B|KiB|MiB|GiB)|{_VARIABLE})$", "1MiB")]
"""Bytes; written `1MiB`."""

Ratio = Annotated[float, BeforeValidator(parse_ratio), _schema(rf"^({_NUMBER} ?%|{_VARIABLE})$", "80%")]
"""From 0 to 1; written `80%`."""
