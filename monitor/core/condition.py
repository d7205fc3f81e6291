"""Conditions on measurements: `memory_used_ratio > 80%`, parsed at load, judged as true, false or unknown."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeGuard

from monitor.core.probe import Measure, Value

UNITS: Mapping[str, float] = {
    "": 1.0, "%": 0.01,
    "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0,
    "B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
}  # fmt: skip

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip

_SYNTAX = re.compile(
    r"\s*(?P<name>[A-Za-z_]\w*)\s*(?:\[(?P<part>[^\]\s]+)\])?"
    r"\s*(?P<op>>=|<=|==|!=|>|<)"
    r"\s*(?P<number>-?\d+(?:\.\d+)?)\s*(?P<unit>%|[A-Za-z]*)\s*"
)


def did_you_mean(word: str, known: object) -> str:
    """`; did you mean "x"?` for the nearest of the known words, or what they are."""
    words = sorted(str(name) for name in known)  # type: ignore[attr-defined]
    near = get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; known: {', '.join(words)}" if words else ""


@dataclass(frozen=True, slots=True)
class Condition:
    """A limit on one measurement, or on one part of it. Base units: seconds, bytes, ratios."""

    text: str  # as the operator wrote it
    name: str
    part: str | None
    op: str
    limit: float

    @property
    def why(self) -> str:
        """What a breach is filed under: the measurement, with the part if the condition names one."""
        return f"{self.name}[{self.part}]" if self.part else self.name

    def is_before(self, other: Condition) -> bool:
        """Whether the same number, on its way to the limit of the other, comes over this one first."""
        if self.why != other.why or self.op[0] != other.op[0]:
            return False
        return self.limit < other.limit if self.op[0] == ">" else self.op[0] == "<" and self.limit > other.limit

    def holds(self, measurements: Mapping[str, Value]) -> bool | None:
        """True or false where it was measured, None where it was not: missing, NaN or no number at all.

        On a split measurement it holds if any part does; it is unknown while no part is measured. Where the parts
        stand beside the whole (the part ""), a condition that names no part is on the whole.
        """
        value = measurements.get(self.name)
        if isinstance(value, Mapping):
            one = self.part or ("" if "" in value else None)
            numbers = list(value.values()) if one is None else [value.get(one)]
        else:
            numbers = [] if self.part else [value]
        verdicts = [self._compare(number) for number in numbers]
        if True in verdicts:
            return True
        return None if not verdicts or None in verdicts else False

    def nearest(self, measurements: Mapping[str, Value]) -> tuple[str, float] | None:
        """The part (`""` for the whole) and the number that it looks at; of several parts the one nearest the limit."""
        value = measurements.get(self.name)
        parts = value if isinstance(value, Mapping) else {"": value}
        chosen = self.part if self.part is not None else "" if "" in parts else None
        numbers = {part: found for part, found in parts.items() if _is_number(found) and chosen in {None, part}}
        if not numbers:
            return None
        worst = max if self.op.startswith(">") else min
        return worst(numbers.items(), key=operator.itemgetter(1))

    def _compare(self, number: object) -> bool | None:
        return _OPERATORS[self.op](number, self.limit) if _is_number(number) else None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def parse_condition(text: str, measures: Mapping[str, Measure], parts: Mapping[str, frozenset[str]]) -> Condition:
    """The condition that `text` spells; ValueError says what is wrong and what would be right.

    `measures` are what the probe's type measures, `parts` the parts of a split measurement where they are known.
    """
    match = _SYNTAX.fullmatch(text)
    if not match:
        raise ValueError(f'"{text}" is not a condition; write: name > number with a unit, as in "ping_seconds > 1s"')
    name, part, op, number, unit = match.group("name", "part", "op", "number", "unit")
    if name not in measures:
        raise ValueError(f'"{name}" is not measured here{did_you_mean(name, measures)}')
    if unit not in UNITS:
        raise ValueError(f'unit "{unit}" is not known in "{text}"; units: {" ".join(u for u in UNITS if u)}')
    if part and measures[name].split is None:
        raise ValueError(f'"{name}" has no parts, so "[{part}]" picks nothing')
    if part and name in parts and part not in parts[name]:
        raise ValueError(f'"{name}" has no part "{part}"{did_you_mean(part, parts[name])}')
    return Condition(text.strip(), name, part, op, float(number) * UNITS[unit])
