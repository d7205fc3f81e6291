"""Writes docs/probes.md, a page on every probe type, from what each declares: python tools/probe_docs.py"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from monitor.core.probe import COMMON_REASONS, Fault, ProbeType
from monitor.core.quantity import format_duration
from monitor.core.schema import schema
from monitor.metrics import metric_name
from monitor.probes import discover

TARGET = Path(__file__).resolve().parent.parent / "docs/probes.md"
HEAD = """\
# Probe types

What each `type:` of probes.yaml looks at, measures and may say. This page is made of what the types declare
(`python tools/probe_docs.py`); a test compares.

Keys that every probe has (`interval`, `timeout`, `warn`, `fail`, `fail_after`, `needs` and others) are in
[configure](configure.md). A measurement may stand in `warn` and `fail`; one that is split has a value for each part, and
`name[part]` picks one. A secret comes from `${NAME}`, or from a file with `<key>_file`.

A reason says why a look did not succeed, and whose fault that is. The target's makes the probe fail. Access is ours (a
password, a right, an address): the probe is `unknown` and blames nobody. A mistake of the monitor's own likewise.

"""
# What an option is for, where the source says nothing beside it.
WORDS = {
    "url": "The address, with login and database if it has any",
    "target": "Host and port",
    "ca_file": "Certificates to trust beside the system's, for a CA of your own",
    "bullmq.queues": "Their names in BullMQ",
    "bullmq.failed_window": "What `failed_recently` looks back over",
    "freebit.url": "Freebit's address",
    "freebit.login": "Whether to log in, and not only to connect",
    "freebit.oem_id": "The portal's, for `login`",
    "freebit.oem_key": "The portal's, for `login`",
    "http.url": "What is asked for",
    "http.method": "`GET` or `HEAD`; nothing that could change something",
    "http.checks": "What a health page in JSON says of its parts, by name: where each stands. Each is a why of its own",
    "http.follow_redirects": "Otherwise a redirect is an answer like another",
    "log.format": "`auto` finds out which of the others it is",
    "log.upstreams": "What a line says of calls to others, by name: their latency is told apart",
    "postgres.pool": "The portal's own connections: `{role: its user, limit: the sum of its pools}`",
    "replay.evidence": "What other probes measured that tells silence from a broken subscription: `waiting`, `enqueued`,"
    " `delivered`, `errors`, `success`, `replay_latest`",
    "replay.stale_after": "From then on silence is looked into",
    "salesforce.username": "The monitor's own user, for `login`",
    "salesforce.api_version": "Of Salesforce's REST API",
    "salesforce.orders": "A query that counts orders that wait; `{before}` stands for `older_than` ago",
    "salesforce.counts": "Further queries, by name, each of which counts",
    "salesforce.limits": "Whether to ask for what is left of the organisation's limits",
    "settings.path": "The env file of the BFF",
    "settings.expect": "What its switches should be, by name; `any` only shows one",
    "sftp.host_keys": "Fingerprints to accept; without any, a greeting is enough",
    "whmcs.identifier": "Of the API credential",
    "whmcs.secret": "Of the API credential",
    "whmcs.action": "What is asked: something harmless",
}
FAULTS = {Fault.TARGET: "target", Fault.ACCESS: "access", Fault.SELF: "the monitor"}
LIMITS = """\
# What cannot be measured from outside

The runbook names two symptoms of a failing Redis that no probe sees by itself:

- **SSE connections that drop.** A stream that ends looks the same from outside, whether the browser left or Redis did.
  The BFF would have to count them and say so: on its health page (`values` of `http`), or in a line of its log
  (`patterns` of `log`). Until then `redis` and `bff/cache` stand for it.
- **Rate limiting that does not work.** To see that it lets too much through, one would have to send too much: the monitor
  harms nothing that it watches. Refusals (429) in the log are counted by `logins`; that there are none proves nothing.
"""


def page() -> str:
    """The whole page."""
    types = discover()
    listed = "".join(f"- [`{name}`](#{name}): {one.help}\n" for name, one in sorted(types.items()))
    schemas = schema(types)["probes.yaml"]["$defs"]
    parts = [_type(one, schemas[f"type {name}"]) for name, one in sorted(types.items())]
    return "\n".join([HEAD + listed, *parts, _common(), LIMITS.replace("# What", "## What", 1)])


def _type(one: ProbeType, json_schema: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"## {one.name}\n",
            f"{one.help}\n",
            "```yaml\nprobes:\n  my-probe:\n" + "".join(f"    {line}\n" for line in one.example.strip().splitlines()) + "```\n",
            f"*Cost of a look.* {one.cost.words if one.cost else 'None.'}\n",
            "*Must be allowed.*" + "".join(f"\n- {_sentence(line)}" for line in one.privileges or ("Nothing",)) + "\n",
            _table(("option", "if left out", ""), _options(one, json_schema)),
            _table(("measurement", "", "in Prometheus"), _measures(one)),
            _table(("reason", "whose fault", "what to do"), _reasons(one)),
        ]
    )  # fmt: skip


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _options(one: ProbeType, json_schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    required = set(json_schema["required"]) | {
        name for either in json_schema.get("allOf", ()) for option in either["oneOf"] for name in option["required"]
    }
    said = comments(one.options)
    for name, field in one.options.model_fields.items():
        words = field.description or said.get(name) or WORDS.get(f"{one.name}.{name}") or WORDS.get(name, "")
        needed = name in required
        yield f"`{name}`", "must be given" if needed else _default(field), _sentence(_capital(words)) if words else ""


def comments(model: type[BaseModel]) -> dict[str, str]:
    """What the source says beside each option, where it says something for people."""
    found = {}
    for line in inspect.getsource(model).splitlines():
        if match := re.match(r"    (\w+): [^#]*#\s*(?!type:|noqa|fmt:)(.*)$", line):
            found[match[1]] = match[2].split("  #")[0].strip()
    return found


def _capital(text: str) -> str:
    return text if text.startswith(("http", "`")) else text[:1].upper() + text[1:]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, float | int) and not isinstance(value, bool) and "Quantity" not in str(field.annotation):
        durations = any("duration" in str(one).lower() or "delay" in str(one).lower() for one in field.metadata)
        return f"`{format_duration(value)}`" if durations and value else f"`{value}`"
    if value in (None, "", (), {}) or not isinstance(value, str | bool | tuple | list | dict):
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`"


def _measures(one: ProbeType) -> Iterator[tuple[str, str, str]]:
    for name, measure in one.measures.items():
        split = f"[{measure.split}]" if measure.split else ""
        yield f"`{name}{split}`", _sentence(measure.help), f"`{metric_name(one.name, name, measure)}`"


def _reasons(one: ProbeType) -> Iterator[tuple[str, str, str]]:
    for name, reason in one.reasons.items():
        yield f"`{name}`", FAULTS[reason.fault], reason.advice


def _common() -> str:
    rows = [(f"`{name}`", FAULTS[reason.fault], reason.advice) for name, reason in COMMON_REASONS.items()]
    return "## Reasons of every type\n\n" + _table(("reason", "whose fault", "what to do"), iter(rows))


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


if __name__ == "__main__":
    TARGET.write_text(page())
