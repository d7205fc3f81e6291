"""The sandbox's own probes.yaml and runbook.yaml, made from the shipped pair: other times, other addresses.

The text is edited where the values stand, so comments and layout stay, and nothing but times (`pace`) and
addresses can differ. Secrets go to files of their own, as the configuration wants it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from monitor.core.quantity import parse_delay
from monitor.sandbox import pace

Where = tuple[str, ...]
"""The keys that lead to a value; items of a list count as one step, `*`."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, as the configuration is read; it takes more
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")
_AGE = re.compile(
    r"(?P<before>\b(?:\w+_)?(?:age|silent)_seconds(?:\[[^\]]*\])?\s*[<>=!]+\s*)(?P<limit>[\d.]+\s*[a-z]+)"
)


@dataclass(frozen=True, slots=True)
class Addresses:
    """What the variables of the shipped probes.yaml stand for here."""

    plain: Mapping[str, str]
    secret: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the daemon keeps its state, listens and sends to (None: there is no Alertmanager)."""

    store: str
    listen: str
    alertmanager: str | None
    url: str = ""  # under which others reach it, if it is not `listen`


def addresses(
    *, portal: str, log: str, redis: str, database: str, egress: str, whmcs: str, whmcs_identifier: str,
    whmcs_secret: str, salesforce: str, salesforce_key: str, freebit: str,
) -> Addresses:  # fmt: skip
    """The addresses of the sandbox's parts, under the names that the shipped probes.yaml has for them."""
    return Addresses(
        plain={
            "PORTAL_URL": portal, "BFF_URL": portal, "BFF_LOG": log, "REDIS_URL": redis, "EGRESS_TARGET": egress,
            "WHMCS_API_URL": whmcs, "SF_INSTANCE_URL": salesforce, "SF_LOGIN_URL": salesforce,
            "SF_MONITOR_LOGIN": "true", "SF_MONITOR_USERNAME": "monitor@sandbox.example", "FREEBIT_URL": freebit,
            "CERTIFICATES": "false",
            "BFF_PROCESS": "monitor[.]sandbox[.]bff", "BFF_ENV_FILE": str(Path(log).with_name("bff.env")),
        },
        secret={
            "DATABASE_URL": database, "WHMCS_API_IDENTIFIER": whmcs_identifier, "WHMCS_API_SECRET": whmcs_secret,
            "SF_MONITOR_CLIENT_ID": "sandbox-monitor", "SF_MONITOR_PRIVATE_KEY": salesforce_key,
        },
    )  # fmt: skip


class PairError(ValueError):
    """The shipped files have something that the sandbox does not know, or they are no YAML."""


def write(folder: Path, shipped: Path, addresses: Addresses, places: Places) -> Path:
    """Write the pair made from `shipped`/probes.yaml and its runbook into `folder`; the path of its probes.yaml."""
    probes = (shipped / "probes.yaml").read_text()
    runbook = next(str(node.value) for where, _, node in _values((), _composed(probes)) if where == ("runbook",))
    for name, value in addresses.secret.items():
        kept = folder / _secret_file(name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(value)
    for path, text in ((runbook, runbook_for((shipped / runbook).read_text())),
                       ("probes.yaml", probes_for(probes, addresses, places))):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder / "probes.yaml"


def probes_for(text: str, addresses: Addresses, places: Places) -> str:
    """The sandbox's probes.yaml. Raises PairError for a variable that it has no value for."""
    alertmanagers = [{"url": places.alertmanager}] if places.alertmanager else []
    addresses = replace(addresses, plain={**addresses.plain, "MONITOR_URL": places.url or f"http://{places.listen}"})
    fixed = {("store",): places.store, ("web", "listen"): places.listen, ("alertmanagers",): alertmanagers}

    def change(where: Where, value: Any) -> str | None:
        if where in fixed:
            return json.dumps(fixed[where])
        if not isinstance(value, str):
            return None
        if _VARIABLE.search(value):
            return _scalar(_filled(value, addresses))
        return _probe_time(where, value)

    return _edited(text, change, addresses.secret)


def runbook_for(text: str) -> str:
    """The sandbox's runbook.yaml."""

    def change(where: Where, value: Any) -> str | None:
        if where[0] == "lifecycle":
            return pace.written(pace.life(parse_delay(value)))
        if where[-1] in {"for", "unresolved", "respond", "update_every"}:
            return pace.written(pace.wait(parse_delay(value)))
        return None

    return _edited(text, change, {})


def _probe_time(where: Where, value: str) -> str | None:
    if where[-1] in {"interval", "timeout", "back_off"}:
        return pace.written(pace.beat(parse_delay(value)))
    if where[-1] == "retry_interval":
        return pace.written(parse_delay(value) * pace.RETRY_SCALE)
    if where[-1] in {"stale_after", "older_than"}:
        return pace.written(pace.age(parse_delay(value)))
    if where[-1] == "silent_after":
        return pace.written(pace.age(parse_delay(value)))
    if where[-1] in {"window", "failed_window"}:
        return pace.written(pace.window(parse_delay(value)))
    if {"warn", "fail"} & set(where) and _AGE.search(value):
        return json.dumps(_AGE.sub(_aged, value))
    return None


def _aged(found: re.Match[str]) -> str:
    return found["before"] + pace.written(pace.age(parse_delay(found["limit"])))


def _filled(value: str, addresses: Addresses) -> str:
    def fill(found: re.Match[str]) -> str:
        if found["name"] in addresses.plain:
            return addresses.plain[found["name"]]
        if found["default"] is not None:
            return found["default"]
        raise PairError(f"the sandbox has no value for ${{{found['name']}}} of the shipped probes.yaml")

    return _VARIABLE.sub(fill, value)


def _scalar(value: str) -> str:
    return value if value in {"true", "false"} else json.dumps(value)


def _secret_file(name: str) -> str:
    return f"secrets/{name.lower().replace('_', '-')}"


# ── Editing YAML where its values stand ───────────────────────────────────────────────────────────────────────────


def _edited(text: str, change: Callable[[Where, Any], str | None], secret: Mapping[str, str]) -> str:
    """The text with each value that `change` answers for replaced, and each secret variable read from its file."""
    edits: dict[tuple[int, int], str] = {}  # an anchored value comes by once for each of its aliases
    for where, key, node in _values((), _composed(text)):
        variable = _VARIABLE.fullmatch(node.value) if isinstance(node, yaml.ScalarNode) else None
        if variable and variable["name"] in secret:
            start = key.start_mark.index if key else node.start_mark.index
            edits[start, node.end_mark.index] = f"{where[-1]}_file: {_secret_file(variable['name'])}"
        elif (new := change(where, node.value)) is not None:
            edits[node.start_mark.index, node.end_mark.index] = new
    for (start, end), new in sorted(edits.items(), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _composed(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise PairError(str(error)) from error


def _values(
    where: Where, node: yaml.Node | None, key: yaml.Node | None = None
) -> Iterator[tuple[Where, yaml.Node | None, yaml.Node]]:
    """Every value below `node`, with its place and its key; a list as a whole, before its items, if it is named."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _values((*where, name.value), value, name)
    elif isinstance(node, yaml.SequenceNode) and where != ("alertmanagers",):
        for item in node.value:
            yield from _values((*where, "*"), item)
    elif node is not None:
        yield where, key, node
