"""Every number of the shipped files and of the probes, with whose it is: the runbook's, or ours and yours to tune.

The shipped files say it beside each number, in a comment; what is built in says it here. `python -m tests.thresholds`
writes all of it into docs/thresholds.md, and a test holds the page against the files.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from monitor.core.quantity import Duration, Size, format_duration
from monitor.probes import discover

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "thresholds.md"
FILES = {"probes.yaml": "probes", "alerts/runbook.yaml": "scenarios"}  # and the key under which names stand

# What is built in and decides what people are told; all of it ours.
BUILT_IN: Mapping[str, tuple[tuple[str, str], ...]] = {
    "Judging": (
        ("monitor.core.level.FLAPPING_CHANGES", "changes of a level in the next number of runs are flapping"),
        ("monitor.core.level.FLAPPING_SPAN", "runs that are looked back on for it"),
        ("monitor.core.level.STEADY_RUNS", "runs that must agree before flapping is over"),
        ("monitor.core.evidence.FRESH_INTERVALS", "intervals of a probe that its last word is believed"),
        (
            "monitor.core.escalation.PARENT_PATIENCE_SECONDS",
            "that a page waits for a cause that is failing unconfirmed",
        ),
        ("monitor.core.incident.RELAPSES_OF_A_FLAPPER", "relapses that make an incident one that comes and goes"),
        ("monitor.core.incident.STEADY_SECONDS", "without one before that is over"),
        ("monitor.runner.FRESH_SECONDS", "after which a held connection gives way to a fresh one"),
        ("monitor.runner.STALL_SECONDS", "that our own loop may stand still before a run proves nothing"),
    ),
    "Redis and BullMQ": (
        ("monitor.probes.redis.LOOKUPS", "lookups without which there is no `hit_ratio`"),
        ("monitor.probes.redis.HIT_WINDOW_SECONDS", "that `hit_ratio` looks back at the most"),
        ("monitor.probes._keyspace.EVERY_SECONDS", "between two counts of the keys by `prefixes`"),
        ("monitor.probes.bullmq.WORKERLESS_SECONDS", "without a worker's mark: `workerless`, if work waits"),
        ("monitor.probes.bullmq.WORKERLESS_SAMPLES", "runs in which it must be missing besides"),
        ("monitor.probes.bullmq.WORKERLESS_OVERDUE_SECONDS", "that a delayed job must be overdue to count as work"),
        ("monitor.probes.bullmq.STALLED_SECONDS", "without a lock: an active job is `stalled`"),
        ("monitor.probes.bullmq.OVERDUE_SECONDS", "after its time: a delayed job is overdue"),
        ("monitor.probes.bullmq.FINISHED_LEAST", "finished jobs without which there is no `failure_ratio`"),
    ),
    "Logs": (
        ("monitor.probes.log.BEHIND_SECONDS", "behind the end of a log: its windows say nothing about now"),
        ("monitor.probes.log.STALLED_SECONDS", "without a look at the log: `read_stalled`"),
        ("monitor.probes.log.UNUSUAL_TIMES", "times the hour before: matches are `matches_unusual`"),
        ("monitor.probes.log.MISSING_LEAST", "matches that were to be expected, and none came: `matches_missing`"),
        ("monitor.probes.log.HOUR_LEAST_REQUESTS", "requests without which an hour says nothing about the next"),
        ("monitor.logs.hour.MINUTES_LEAST", "minutes without which nothing is known of an hour"),
        ("monitor.logs.window.FUTURE_SECONDS", "ahead of now: the time of a line is a wrong clock"),
        ("monitor.logs.window.SOURCES_MOST", "addresses told apart in ten seconds of a log"),
    ),
    "Vendors": (
        ("monitor.probes.replay.ODD_SECONDS", "that an oddity of one moment is shown"),
        ("monitor.probes.salesforce.LOGIN_SECONDS", "at least between two logins to Salesforce"),
        ("monitor.probes.salesforce.SLOPE_SECONDS", "at least between the readings of `api_requests_per_hour`"),
        ("monitor.probes.freebit.LOGIN_SECONDS", "at least between two logins to Freebit"),
    ),
}

_CONDITIONS = frozenset({"warn", "fail"})
_QUANTITY = re.compile(r"\d+(?:\.\d+)?(?: of \d+)?\s*(?:ms|s|m|h|d|%|B|KiB|MiB|GiB)?|\d\d:\d\d")
_NOT_LIMITS = frozenset({"ok", "enabled", "login", "limits", "do", "show", "listen"})
_COMMENT = re.compile(r"\s#\s+(.*)$")
_MARK = re.compile(r"(?:hold )?(?P<whose>runbook|ours)\b:?\s*(?P<why>.*)")


@dataclass(frozen=True)
class Number:
    """One number of a shipped file: where it stands, and whose it is ("" where its line does not say)."""

    place: str
    written: str
    whose: str
    why: str
    line: int


def numbers(file: str) -> list[Number]:
    """The numbers of probes.yaml or of the runbook, in their order."""
    text = (ROOT / file).read_text()
    lines, document = text.splitlines(), yaml.safe_load(text)
    found = []
    for path, node in _scalars(yaml.compose(text, Loader=yaml.SafeLoader), (), set()):
        if _is_limit(path, node.value):
            number = node.start_mark.line
            whose, why = mark(lines[number], path[-1])
            found.append(Number(_place(path, document), _written(path, node.value), whose, why, number + 1))
    return found


def _scalars(node: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each scalar with the keys that lead to it. What an alias uses again comes once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*path, key.value), seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _scalars(value, (*path, str(index)), seen)
    else:
        yield path, node


def _is_limit(path: tuple[str, ...], value: str) -> bool:
    if _NOT_LIMITS & set(path):
        return False
    return bool(_CONDITIONS & set(path) or _QUANTITY.fullmatch(value))


def _written(path: tuple[str, ...], value: str) -> str:
    if not _CONDITIONS & set(path):
        return f"{path[-1]}: {value}"
    kind = next(key for key in ("clear", "warn", "fail") if key in path)
    return f"{kind}: {value}"


def _place(path: tuple[str, ...], document: Any) -> str:
    """The probe, or the scenario and the rule."""
    if path[0] not in FILES.values():
        return ", ".join(path[:-1])
    if "rules" not in path:
        return ", ".join([path[1], *(["vendor"] if "vendor" in path else [])])
    rule = document["scenarios"][path[1]]["rules"][int(path[3])]
    terms = [rule.get("any", rule.get("all"))] if isinstance(rule.get("any", ""), str) else rule["any"]
    joined = " and ".join(rule["all"]) if "all" in rule else ", ".join(terms)
    return f"{path[1]}, {rule['severity']}: {joined}"


def mark(line: str, key: str) -> tuple[str, str]:
    """Whose the number under `key` in this line is, and why, by the comment: `# ours: why`, `# key: runbook, …`."""
    comment = _COMMENT.search(line)
    if not comment:
        return "", ""
    named = re.search(rf"\b{re.escape(key)}: (runbook|ours)", comment[1])
    if named:
        return named[1], ""
    match = _MARK.fullmatch(comment[1])
    return (match["whose"], match["why"].strip()) if match else ("", "")


# --- defaults and constants -------------------------------------------------------------------------------------------


def defaults() -> list[tuple[str, str, str]]:
    """The numbers that the options of the types default to: type, option with its default, what for."""
    return [
        (name, f"{option}: {_shown(field)}", (field.description or "").rstrip("."))
        for name, probe_type in discover().items()
        for option, field in probe_type.options.model_fields.items()
        if isinstance(field.default, int | float) and not isinstance(field.default, bool)
    ]


def _shown(field: FieldInfo) -> str:
    if any(part in field.metadata for part in getattr(Duration, "__metadata__", ())):
        return format_duration(field.default)
    if any(part in field.metadata for part in getattr(Size, "__metadata__", ())):
        return f"{field.default / 2**20:g} MiB"
    return f"{field.default:g}"


def built_in(name: str) -> str:
    """The value of a constant, with its unit."""
    module, _, constant = name.rpartition(".")
    value = getattr(importlib.import_module(module), constant)
    return format_duration(value) if constant.endswith("SECONDS") else f"{value:g}"


# --- the page ---------------------------------------------------------------------------------------------------------

HEAD = """# Thresholds

<!-- Written by `python -m tests.thresholds` out of the files and the code; a test compares. Do not edit. -->

Every number that decides what portal-monitor says, and whose it is. *runbook*: the incident runbook asks for it. *ours*:
nobody does; it is a start, and yours to tune. The shipped files say the same beside each number.
"""


def page() -> str:
    """docs/thresholds.md."""
    parts = [HEAD]
    for file in FILES:
        parts += [f"## {file}", "", "| where | number | whose | why |", "| --- | --- | --- | --- |"]
        parts += [_row(one.place, f"`{one.written}`", one.whose, one.why) for one in numbers(file)] + [""]
    parts += [
        "## Defaults of the options",
        "",
        "What holds where probes.yaml says nothing else. All of it is ours.",
        "",
    ]
    parts += ["| type | default | what for |", "| --- | --- | --- |"]
    parts += [_row(name, f"`{default}`", why) for name, default, why in defaults()] + [""]
    parts += ["## Built in", "", "Not to be set. All of it is ours.", ""]
    for title, names in BUILT_IN.items():
        parts += [f"**{title}**", "", "| number | what for | in the code |", "| --- | --- | --- |"]
        parts += [_row(built_in(name), why, f"`{name}`") for name, why in names] + [""]
    return "\n".join(parts)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page())
