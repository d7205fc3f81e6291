"""What a JSON body says about health: values picked out by path, and words read as good, bad or neither."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
from pydantic import AfterValidator

from monitor.core.probe import Json

_STEP = re.compile(r'\.(?P<key>[A-Za-z_$][\w$-]*)|\.?\["(?P<quoted>[^"]+)"\]|\.?\[(?P<index>\d+)\]')

_GOOD = frozenset(
    {"ok", "okay", "up", "healthy", "pass", "passed", "passing", "connected", "true", "ready", "available"}
)
_BAD = frozenset({
    "fail", "failed", "failing", "down", "error", "unhealthy", "false", "disconnected", "unavailable", "critical", "dead",
})  # fmt: skip
_VERDICT_KEYS = ("status", "state", "health", "healthy", "ok", "up")  # where an object keeps its word

MISSING = object()
"""Nothing is found at a path; null is something."""


def steps(path: str) -> tuple[str | int, ...]:
    """The keys and indices of a path in jq's notation: `.checks.cache`, `.details["redis:main"][0]`.

    ValueError where it is no such path.
    """
    matches = list(_STEP.finditer(path))
    if not matches or "".join(match.group() for match in matches) != path:
        raise ValueError(f'"{path}" is not a path; write it as for jq: .checks.cache or .details["redis:main"][0]')
    return tuple(int(match["index"]) if match["index"] else match["key"] or match["quoted"] for match in matches)


def _checked(path: str) -> str:
    steps(path)
    return path


Path = Annotated[str, AfterValidator(_checked)]
"""The place of a value in a JSON body, in jq's notation."""


def parse(body: bytes) -> Json:
    """The document; ValueError where it is none. `NaN` and numbers out of range are none."""
    try:
        document: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("not JSON") from None
    return document


def pick(document: object, path: str) -> object:
    """What is found at the path, or MISSING."""
    found = document
    for step in steps(path):
        found = _step(found, step)
    return found


def _step(found: object, step: str | int) -> object:
    if isinstance(found, dict):
        return found.get(step, MISSING)
    if isinstance(found, list) and isinstance(step, int):
        return found[step] if step < len(found) else MISSING
    return MISSING


def verdict(found: object) -> bool | None:
    """Whether a part says that it is well. None: it says neither, which is never good.

    A word, true or false, an object that keeps one of them (`{"status": "up"}`), or a list of such (as in the
    draft "Health Check Response Format for HTTP APIs"): good if all are, bad if one is.
    """
    if isinstance(found, bool):
        return found
    if isinstance(found, str):
        word = found.strip().lower()
        return True if word in _GOOD else False if word in _BAD else None
    if isinstance(found, dict):
        return next((_word(found[key]) for key in _VERDICT_KEYS if key in found), None)
    if isinstance(found, list):
        return _of_all([verdict(part) for part in found])
    return None


def number(found: object) -> float | None:
    """A number as a measurement; None for everything else, true and "3" included."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        return float(found)
    except OverflowError:
        return None


def _word(found: object) -> bool | None:
    return verdict(found) if isinstance(found, bool | str) else None


def _of_all(verdicts: Sequence[bool | None]) -> bool | None:
    if False in verdicts:
        return False
    return True if verdicts and None not in verdicts else None
