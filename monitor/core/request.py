"""What people ask for, as it comes in over HTTP and from the command line: made into an action, or refused in one line.

Here and nowhere else texts of people are made safe to keep: no secret of the configuration, nothing that steers a
terminal, and not endless.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import msgspec

from monitor.core.action import VERBS, Action, Open
from monitor.core.condition import did_you_mean
from monitor.core.quantity import parse_duration
from monitor.core.runbook import Severity
from monitor.core.scrub import scrub

LONGEST_TEXT = 4000
LONGEST_NAME = 100
MONITOR = "monitor"
REPORTERS = ("customer", "internal")
"""Who a person can say noticed first; `alert` is for the probes to say."""

INTERNAL = frozenset({"silence"})  # of `Acknowledge`: for what follows Alertmanager's silences
_AT = re.compile(r"(?P<what>.*) - at `\$\.(?P<field>\w+)`", re.DOTALL)
_MISSING = re.compile(r".*missing required field `(?P<field>\w+)`", re.DOTALL)
_RIGHT: Mapping[str, str] = {
    "severity": "write P1, P2, P3 or P4",
    "origin": f"write {' or '.join(REPORTERS)}",
    "since": "write a time with its zone, such as 2026-11-23T17:02:10Z, or how long ago, such as 30m",
    "of": 'write probes, and scenarios as scenario:redis, such as ["redis", "scenario:database"]',
    "for": "write how long, such as 2h",
    "opening": "write the number of the opening that was seen",
    "scenario": "write the name of a scenario of the runbook",
    "what": "write customer_impact, or the name of the scenario that is declared",
    "by": "write who does this",
}
_FLAGS = frozenset({"fix", "customers", "declare"})


class BadRequest(Exception):
    """It cannot be understood; the text is one line: the field, what was found, what would be right."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Maintenance that somebody wants to begin."""

    of: tuple[str, ...]  # probes, and scenarios as scenario:redis
    seconds: float
    reason: str


def parse(body: bytes) -> dict[str, Any]:
    """The fields of a request's JSON body; no body has none."""
    if not body.strip():
        return {}
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise BadRequest(f'the body: {_shown(found)} was found; write an object, such as {{"text": "…"}}')
    return found


def who(given: Mapping[str, Any], user: str = "", secrets: Iterable[str] = ()) -> str:
    """Who does it: the field `by`; the user who logged in, if any, is named beside it, or alone."""
    by = given.get("by", "")
    if not isinstance(by, str):
        raise _wrong("by", by)
    name = " ".join(_printable(scrub(by, secrets)).split())
    if len(name) > LONGEST_NAME:
        raise BadRequest(f"by: {len(name)} characters were found; write at most {LONGEST_NAME}")
    if name.lower() == MONITOR:  # on a timeline it is the monitor that did what nobody did
        raise BadRequest(f'by: "{name}" was found, which is the monitor itself; {_RIGHT["by"]}')
    if name and user and name != user:
        return f"{name} (as {user})"
    if not name and not user:
        raise BadRequest("by: nothing was found; write who does this")
    return name or user


def action(verb: str, given: Mapping[str, Any], secrets: Iterable[str] = ()) -> Action:
    """The action that a verb and its fields are. BadRequest if the verb is not known or a field is wrong."""
    kind = VERBS.get(verb)
    if kind is None:
        raise BadRequest(f'the verb: "{_printable(verb)[:40]}" was found{did_you_mean(verb, VERBS)}')
    made: Action = _convert(kind, given, tuple(secrets))
    return made


def opening(given: Mapping[str, Any], now: float, secrets: Iterable[str] = ()) -> Open:
    """The incident that somebody reports."""
    moment = {"since": since(given["since"], now)} if given.get("since") is not None else {}
    made: Open = _convert(Open, {**given, **moment}, tuple(secrets))
    if made.origin not in REPORTERS:
        raise _wrong("origin", made.origin.value)
    return made


def maintenance(given: Mapping[str, Any], secrets: Iterable[str] = ()) -> Maintenance:
    """The maintenance that somebody wants to begin: `of`, `for` and `reason`."""
    _known(given, ("of", "for", "reason"))
    of, length = given.get("of", []), given.get("for", "")
    of = [of] if isinstance(of, str) else of
    if not isinstance(of, list) or not of or not all(isinstance(name, str) for name in of):
        raise _wrong("of", of)
    if not isinstance(length, str):
        raise _wrong("for", length)
    try:
        seconds = parse_duration(length)
    except ValueError as error:
        raise BadRequest(f"for: {error}") from None
    reason = given.get("reason", "")
    if not isinstance(reason, str) or not reason.strip():
        raise BadRequest(f"reason: {_shown(reason)} was found; write why")
    return Maintenance(tuple(of), seconds, said("reason", reason, secrets))


def since(text: object, now: float, zone: tzinfo | None = None) -> float:
    """Wall seconds of `30m` (ago), an RFC 3339 time, or, where a zone is given, `14:05` there, the last time it was."""
    if isinstance(text, str):
        word = text.strip()
        try:
            return now - parse_duration(word)
        except ValueError:
            pass
        try:
            if zone is not None and re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", word):
                return _last_time(word, now, zone)
            moment = datetime.fromisoformat(word)
            if moment.tzinfo is not None or zone is not None:
                return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()
        except (ValueError, OverflowError, OSError):
            pass
    right = "write 14:05, 30m, or 2026-11-23T17:02:10Z" if zone is not None else _RIGHT["since"]
    raise BadRequest(f"since: {_shown(text)} was found; {right}")


def said(name: str, text: str, secrets: Iterable[str] = ()) -> str:
    """A person's text as it may be kept and shown: lines stay lines, everything else that is no letter goes."""
    kept = _printable(scrub(text, secrets), keep="\n\t").strip()
    if len(kept) > LONGEST_TEXT:
        raise BadRequest(f"{name}: {len(kept)} characters were found; write at most {LONGEST_TEXT}")
    return kept


def _convert(kind: type[Any], given: Mapping[str, Any], secrets: tuple[str, ...]) -> Any:
    known = [each.name for each in fields(kind) if each.name not in INTERNAL]
    _known(given, known)
    plain: dict[str, Any] = {}
    for name, value in given.items():
        if name == "severity" and value is not None:
            if not isinstance(value, str) or value not in Severity.__members__:
                raise _wrong(name, value)
            plain[name] = int(Severity[value])
        elif name in _FLAGS and not isinstance(value, bool):
            raise _wrong(name, value)
        elif name != "by":
            plain[name] = said(name, value, secrets) if isinstance(value, str) else value
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        if missing := _MISSING.fullmatch(str(error)):
            name = missing["field"]
            raise BadRequest(f"{name}: nothing was found; {_RIGHT.get(name, 'write a text')}") from None
        found = _AT.fullmatch(str(error))
        if found is None:
            raise BadRequest(str(error)) from None
        raise _wrong(found["field"], given[found["field"]]) from None


def _known(given: Mapping[str, Any], names: Collection[str]) -> None:
    for name in given:
        if name not in {*names, "by"}:
            raise BadRequest(f"{_printable(name)[:40]}: there is no such field{did_you_mean(name, (*names, 'by'))}")


def _wrong(name: str, found: object) -> BadRequest:
    right = "write true or false" if name in _FLAGS else _RIGHT.get(name, "write a text")
    return BadRequest(f"{name}: {_shown(found)} was found; {right}")


def _shown(value: object) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, TypeError, ValueError):
        text = type(value).__name__
    text = _printable(text)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _printable(text: str, keep: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else " " for letter in text)


def _last_time(word: str, now: float, zone: tzinfo) -> float:
    """When a clock there last showed it: today, or yesterday if that is still to come."""
    hour, minute, second = (int(part) for part in (f"{word}:0" if word.count(":") == 1 else word).split(":"))
    today = datetime.fromtimestamp(now, UTC).astimezone(zone)
    moment = today.replace(hour=hour, minute=minute, second=second, microsecond=0)
    return (moment if moment.timestamp() <= now else moment - timedelta(days=1)).timestamp()
