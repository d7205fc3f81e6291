"""Which names rotation gives to a log, and which may as well be those of another log beside it.

Nothing in its name tells whether `bff-1.log` is what `bff-0.log` was or what another process writes. So such a file is
*similar*, and belongs to the log only if it is known to be it; `bff-0.log.1` cannot be anything but a rotated file.
"""

# Names are what this module is about.
# ruff: noqa: PTH122, PTH207

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable

# What rotation adds to a name: a number, a date or a word; and what packing adds.
_MARK = r"\d[\d\-_.T:]*"
_DATE = r"\d{4}(?:-?\d\d){2}[\d\-_.T:]*"  # or seconds since 1970
_SUFFIX = rf"(?:[-._](?:{_MARK}|old|bak|prev|orig|save))+(?:\.gz)?"
_ROTATED = re.compile(rf"(?P<base>.+?){_SUFFIX}", re.DOTALL)


def rotated_names(name: str) -> Callable[[str], bool]:
    """Whether a name is one that nothing but rotation gives to the file `name`, such as `name.1`, `name-20261123.gz`."""
    stem, extension = (re.escape(part) for part in os.path.splitext(name))
    before_extension = rf"{stem}(?:[-._]?{_DATE}|\.\d+){extension}(?:\.gz)?" if extension else "(?!)"
    return _matcher(re.escape(name) + _SUFFIX, before_extension)


def similar_names(name: str) -> Callable[[str], bool]:
    """Whether a name may be one that rotation gives to the file `name`, or that of another log: `app2.log`, `out-1.log`."""
    stem, extension = os.path.splitext(name)
    patterns = [rf"{re.escape(stem)}[-._]?{_MARK}{re.escape(extension)}(?:\.gz)?"]
    numbered = re.fullmatch(rf"(?P<stem>\D*?){_MARK}(?P<rest>\D*)", name)
    if numbered:  # pino-roll never writes the plain name
        patterns.append(rf"{re.escape(numbered['stem'])}{_MARK}{re.escape(numbered['rest'])}(?:\.gz)?")
    return _matcher(*patterns)


def is_between(name: str, after: str, before: str) -> bool:
    """Whether a name was counted up to after one name and before another, as pino-roll does."""
    if len({re.sub(r"\d+", "#", one) for one in (name, after, before)}) > 1:
        return False
    first, own, last = ([int(number) for number in re.findall(r"\d+", one)] for one in (after, name, before))
    return first < own < last


def expand(pattern: str) -> list[str]:
    """The logs that a path or glob pattern names: a rotated file belongs to the log that it came from."""
    if not glob.has_magic(pattern):
        return [pattern]
    names = set(glob.glob(pattern, recursive=True))
    logs: set[str] = set()
    for name in names:
        match = _ROTATED.fullmatch(name)
        base = match["base"] if match else name
        logs.add(base if base in names or fnmatch.fnmatch(base, pattern) else name)
    return sorted(logs)


def _matcher(*patterns: str) -> Callable[[str], bool]:
    compiled = re.compile("|".join(patterns))
    return lambda name: compiled.fullmatch(name) is not None
