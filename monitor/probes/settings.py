"""How the BFF is set up, as far as its env file says: the switches that the runbook asks about, and nothing else.

Only names that are listed are looked at and shown; names that sound like secrets cannot be listed. The file is opened
for reading and read once in a run, up to 256 KiB.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from monitor.core.probe import (
    TIMEOUT,
    Cost,
    Fault,
    Measure,
    Options,
    ProbeContext,
    ProbeError,
    ProbeType,
    Reading,
    Reason,
)

MOST_BYTES = 256 * 1024
SHOWN_CHARACTERS = 40
ANY = "any"  # what a setting is expected to be that is only shown

_SECRET = re.compile(
    r"PASS|SECRET|TOKEN|CREDENTIAL|PRIVATE|SALT|SESSION|(^|_)(KEY|KEYS|URL|URI|DSN|PEM|CERT|COOKIE)(_|$)"
)
_LINE = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*=\s*(?P<value>.*?)\s*")
_QUOTED = re.compile(r"""(?P<quote>["'`])(?P<inside>.*?)(?P=quote)(?:\s+#.*)?""")
_COMMENT = re.compile(r"\s+#.*")
_ON, _OFF = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})

REASONS: Mapping[str, Reason] = {
    "not-visible": Reason(
        Fault.ACCESS,
        "The BFF's settings are not visible from here: where it runs elsewhere, ask there; else give the monitor's user"
        " read access to the env file, or correct `path`.",
    ),
    "not-settings": Reason(
        Fault.ACCESS, "The file is no env file (lines of NAME=value, up to 256 KiB): correct `path`."
    ),
    TIMEOUT: Reason(Fault.ACCESS, "Reading the env file hangs: is its file system (NFS?) answering?"),
}


def _harmless(name: str) -> str:
    if _SECRET.search(name.upper()):
        raise ValueError(f'"{name}" sounds like a secret; only harmless switches may be shown')
    return name


def _word(value: object) -> object:
    """YAML's true and 1 are what an env file has as text."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"), AfterValidator(_harmless)]
Word = Annotated[
    str,
    BeforeValidator(_word),
    StringConstraints(min_length=1, max_length=SHOWN_CHARACTERS),
    WithJsonSchema({"type": ["string", "boolean", "number"]}),
]


class SettingsOptions(Options):
    path: str = Field(min_length=1)
    expect: Mapping[Name, Word] = Field(
        min_length=1, max_length=20
    )  # what to show, and how it should be; `any`: only shown


async def _run(options: SettingsOptions, context: ProbeContext) -> Reading:  # noqa: ARG001
    found = _parse(await asyncio.to_thread(_read, options.path))
    told = {name: found[name] for name in options.expect if name in found}
    judged = {name: value for name, value in told.items() if options.expect[name] != ANY}
    as_expected = {name: float(_same(value, options.expect[name])) for name, value in judged.items()}
    details = {name: told[name][:SHOWN_CHARACTERS] if name in told else "not set" for name in options.expect}
    return Reading({"as_expected": as_expected} if as_expected else {}, details=details)


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _read(path: str) -> str:
    """The text of a file that is one; a pipe or a device would hold us up. Raises ProbeError."""
    try:
        with open(path, "rb", opener=_opened) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ProbeError("not-settings", "it is not a plain file")
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ProbeError("not-visible", getattr(error, "strerror", None) or "the path cannot be one") from error
    if len(content) > MOST_BYTES or b"\0" in content:
        raise ProbeError("not-settings", "it is too large" if len(content) > MOST_BYTES else "it is no text")
    return content.decode(errors="replace")


def _parse(text: str) -> dict[str, str]:
    """What an env file sets; a later line wins. ProbeError where nothing is set."""
    lines = [match for line in text.splitlines() if (match := _LINE.fullmatch(line))]
    if not lines:
        raise ProbeError("not-settings", "no line sets anything")
    return {line["name"]: _plain(line["value"]) for line in lines}


def _plain(value: str) -> str:
    quoted = _QUOTED.fullmatch(value)
    return quoted["inside"] if quoted else _COMMENT.sub("", value)


def _same(value: str, wanted: str) -> bool:
    value, wanted = value.strip().lower(), wanted.strip().lower()
    return value == wanted or {value, wanted} <= _ON or {value, wanted} <= _OFF


PROBE = ProbeType(
    name="settings",
    help="The switches of the BFF that the runbook asks about, out of its env file.",
    options=SettingsOptions,
    measures={
        "as_expected": Measure(
            "1 if the setting is as `expect` has it, 0 if not; absent if it is not set, and for `any`",
            split="name",
            kind="state",
        ),
    },
    reasons=REASONS,
    run=_run,
    target_keys=frozenset({"path"}),
    parts=lambda options: {"as_expected": frozenset(options.expect)},
    cost=Cost(
        "The file is opened for reading and read once, up to 256 KiB.",
        "files",
        most=lambda options: 1,
    ),
    privileges=("Read access to the env file. What is not listed in `expect` is neither kept nor shown",),
    example="""
type: settings
path: /etc/bff/bff.env
expect: {SF_EVENTS_ENABLED: true, SF_EVENTS_REPLAY: LATEST, AUTH_BLACKLIST_FAIL_CLOSED: any}
warn: as_expected == 0
""",
)
