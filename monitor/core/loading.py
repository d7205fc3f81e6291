"""The two files made into a checked configuration, or every problem of both at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from monitor.core.calendar import Calendar
from monitor.core.circles import circles
from monitor.core.condition import Condition, parse_condition
from monitor.core.config import AlertmanagerConfig, Config, Fallback, Heartbeat, ProbeConfig, WebConfig
from monitor.core.credentials import Leaf, is_written_down, kind_of, leaves, to_scrub
from monitor.core.evidence import mistake, sources
from monitor.core.keys import (
    NAME,
    NAME_RULE,
    AlertmanagerKeys,
    CalendarKeys,
    DefaultsKeys,
    FallbackKeys,
    HeartbeatKeys,
    MaintenanceKeys,
    ProbeKeys,
    ProbesKeys,
)
from monitor.core.maintenance import Plan
from monitor.core.mistakes import suggestion, validated
from monitor.core.playbook import read_runbook
from monitor.core.probe import Options, ProbeType
from monitor.core.quantity import format_duration
from monitor.core.recurrence import Cron, Once
from monitor.core.runbook import Runbook
from monitor.core.scrub import SHORTEST, scrub
from monitor.core.source import ConfigError, Document, Path, Problem, parse

__all__ = ["ConfigError", "Loaded", "Problem", "Read", "load", "outline"]

Read = Callable[[str], str | bytes]
"""Gives the content of a file; OSError if it cannot."""

LONGEST_SECRET = 65536
_WHERE = re.compile(r"(web|store)[ \t]*:(\s|$)")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used. `files` are the paths that made it; `warnings` stop nothing."""

    config: Config
    runbook: Runbook
    warnings: tuple[Problem, ...]
    files: tuple[str, ...]
    outline: bool = False  # of the whole only `web` and `store` are here; see `outline`


def load(path: str, text: str | bytes, *, types: Mapping[str, ProbeType], env: Mapping[str, str], read: Read) -> Loaded:
    """What probes.yaml at `path`, with this text, and the runbook it names make together.

    Paths in it are relative to its folder. ConfigError tells every problem of both files.
    """
    document = parse(path, text, env)
    reader = _ProbesReader(document, types, read)
    config = reader.config()
    runbook, problems, warnings = _runbook(reader, config, env)
    if config is not None and runbook is not None:
        reader.check_maintenance(config.maintenance, runbook)
    problems = [*document.problems, *reader.problems, *problems]
    if problems or config is None or runbook is None:
        # The runbook's path may come from the wrong variable.
        raise ConfigError([replace(problem, file=scrub(problem.file, reader.secrets)) for problem in problems])
    return Loaded(config, runbook, tuple(sorted({*reader.warnings, *warnings})), tuple(dict.fromkeys(reader.files)))


def outline(path: str, text: str | bytes, *, env: Mapping[str, str]) -> Loaded | None:
    """Where the daemon of this probes.yaml listens and has its store, whatever else is wrong with the file.

    It is for who asks a daemon that runs: its variables may be nobody's but its own, and the file may have been changed
    since. None if the file does not say even that.
    """
    document = _readable(path, text, env)
    if document is None:
        return None
    problems: list[Problem] = []
    said = {key: value for key, value in document.value.items() if key in ("web", "store")}
    if any(document.is_broken((key,)) for key in said):
        return None
    keys = validated(ProbesKeys, {**said, "runbook": "none", "probes": {}}, document, (), problems)
    if keys is None:
        return None
    web = WebConfig(*keys.web.listen, keys.web.external_url or "")
    config = Config(probes={}, runbook="", store=beside(path, keys.store), web=web)
    return Loaded(config, Runbook({}, {}, {}), (), (path,), outline=True)


def _readable(path: str, text: str | bytes, env: Mapping[str, str]) -> Document | None:
    """The file; where it is no YAML, as much of it as the lines of `web` and `store` are."""
    try:
        return parse(path, text, env)
    except ConfigError:
        pass
    try:
        document = parse(path, _where_it_listens(text), env)
    except ConfigError:
        return None
    return None if document.problems else document  # one of them may be there twice


def _where_it_listens(text: str | bytes) -> str:
    """The lines of the outer keys `web` and `store`, each up to the next line that is not indented."""
    lines = (text.decode(errors="replace") if isinstance(text, bytes) else text).removeprefix("\ufeff").split("\n")
    kept, ours = [], False
    for line in lines:
        if line[:1].strip() and line[0] not in "#}]":
            ours = _WHERE.match(line) is not None
        if ours:
            kept.append(line)
    return "\n".join(kept) if kept else "{}"


def _runbook(
    reader: _ProbesReader, config: Config | None, env: Mapping[str, str]
) -> tuple[Runbook | None, list[Problem], list[Problem]]:
    """The runbook, checked against as much of probes.yaml as could be read."""
    path = reader.runbook_path()
    if path is None:
        return None, [], []
    text = reader.content(path, ("runbook",), "the runbook")
    if text is None:
        return None, [], []
    try:
        document = parse(path, text, env)
    except ConfigError as error:
        return None, list(error.problems), []
    return read_runbook(document, reader.probes, reader.names, whole=config is not None)


def beside(file: str, path: str) -> str:
    """`path` as seen from where the file's folder is seen."""
    folder = file.rpartition("/")[0]
    return path if path.startswith("/") or not file.count("/") else f"{folder}/{path}"


@dataclass(slots=True)
class _ProbesReader:
    """Reads one probes.yaml, collecting what is wrong with it on the way."""

    document: Document
    types: Mapping[str, ProbeType]
    read: Read
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    probes: dict[str, ProbeConfig] = field(default_factory=dict)  # those that could be read

    def __post_init__(self) -> None:
        self.files.append(self.document.file)

    @property
    def names(self) -> list[str]:
        """The name of every probe, also of those that are wrong."""
        probes = self.document.value.get("probes")
        return list(probes) if isinstance(probes, dict) else []

    def config(self) -> Config | None:
        """The whole file; None if its outer keys cannot be used. Its problems are in `problems`."""
        keys = validated(ProbesKeys, self._with_secrets(self.document.value), self.document, (), self.problems)
        defaults = keys.defaults if keys else DefaultsKeys()
        raw = self.document.value.get("probes")
        for name, values in raw.items() if isinstance(raw, dict) else ():
            probe = self._probe(name, values, defaults)
            if probe is not None:
                self.probes[name] = probe
        self._check_needs()
        if keys is None:
            return None
        if not keys.probes:
            self._wrong(("probes",), "names no probe; there is nothing to watch")
        if not keys.alertmanagers:
            self._warn((), "no alertmanagers: nobody is paged, incidents are only shown")
        host, port = keys.web.listen
        return Config(
            probes=self.probes,
            runbook=beside(self.document.file, keys.runbook),
            store=beside(self.document.file, keys.store),
            web=WebConfig(host, port, keys.web.external_url or ""),
            alertmanagers=tuple(self._alertmanager(index, each) for index, each in enumerate(keys.alertmanagers)),
            labels=keys.labels,
            calendar=Calendar(
                keys.calendar.tz, keys.calendar.workdays, frozenset(keys.calendar.holidays), *keys.calendar.hours
            ),
            maintenance=tuple(
                self._plan(number, each, keys.calendar) for number, each in enumerate(keys.maintenance, 1)
            ),
            fallback=Fallback(keys.fallback.after, keys.fallback.command, keys.fallback.webhook)
            if keys.fallback
            else None,
            heartbeat=Heartbeat(keys.heartbeat.url, keys.heartbeat.every) if keys.heartbeat else None,
            secrets=frozenset(self.secrets - {""}),
        )

    def runbook_path(self) -> str | None:
        """Where the runbook is, as far as the file says so."""
        path = self.document.value.get("runbook")
        known = isinstance(path, str) and path and not self.document.is_broken(("runbook",))
        return beside(self.document.file, path) if known and isinstance(path, str) else None

    def content(self, path: str, where: Path, what: str) -> str | bytes | None:
        """What is in a file, or None and a problem at `where`."""
        try:
            content = self.read(path)
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            self._wrong(where, f'cannot read {what} "{path}": {why}')
            return None
        self.files.append(path)
        return content

    # one probe

    def _probe(self, name: str, values: object, defaults: DefaultsKeys) -> ProbeConfig | None:
        path: Path = ("probes", name)
        before = len(self.problems)
        if not NAME.fullmatch(name):
            self._wrong(path, NAME_RULE, at_key=True)
        if self.document.is_broken(path) and not isinstance(values, dict):
            return None
        if not isinstance(values, dict):
            self._wrong(path, "must be a mapping of keys to values, with a `type`")
            return None
        probe_type = self._type(path, values)
        common = {key: value for key, value in values.items() if key in ProbeKeys.model_fields}
        keys = validated(ProbeKeys, common | {"type": "known"}, self.document, path, self.problems)
        if probe_type is None:
            return None
        options = self._options(path, {key: value for key, value in values.items() if key not in common}, probe_type)
        if keys is None or options is None:
            self._check_conditions(path, values, probe_type)
            return None
        probe = self._timed(
            path, keys, defaults, ProbeConfig(name, probe_type, options, 0, 0, defaults.fail_after, 1, 0)
        )
        probe = self._judged(path, keys, probe)
        return probe if len(self.problems) == before else None

    def _type(self, path: Path, values: Mapping[str, Any]) -> ProbeType | None:
        name = values.get("type")
        if name is None:
            self._wrong((*path, "type"), "is missing; it says what kind of probe this is, such as redis")
        elif str(name) not in self.types and not self.document.is_broken((*path, "type")):
            self._wrong((*path, "type"), f'no probe type "{name}"{suggestion(str(name), self.types)}')
        return self.types.get(str(name))

    def _options(self, path: Path, values: dict[str, Any], probe_type: ProbeType) -> Options | None:
        """The keys that the type adds, with secrets from their files, checked by the type's own model."""
        model = probe_type.options
        found = list(leaves(model, values, path))
        values = self._secrets(path, values, model)
        found += leaves(model, values, path)
        secrets = {part for leaf in found for part in {leaf.text, *to_scrub(leaf, ())}}
        from_files = {f"{name}_file" for name in model.model_fields if kind_of(model, name)}
        return validated(
            model,
            values,
            self.document,
            path,
            self.problems,
            also_known={*ProbeKeys.model_fields, *from_files},
            secrets=secrets,
        )

    def _secrets(self, path: Path, values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
        """The values with the secrets from files in their places; each secret is remembered."""
        for leaf in leaves(model, values, path):
            if not self.document.is_broken(leaf.path):
                self._keep(leaf, path)
        return self._secret_files(path, values, model)

    def _keep(self, leaf: Leaf, within: Path) -> None:
        """Refuse a secret that is written down; remember any other for scrubbing."""
        variables = self.document.variables.get(leaf.path, ())
        self._remember(leaf, to_scrub(leaf, variables))
        if is_written_down(leaf, self.document.written.get(leaf.path, leaf.text)):
            key = leaf.path[-1]
            what = "a password in this URL" if leaf.kind == "url" else "this secret"
            file = f", or {key}_file: /path" if leaf.path[:-1] == within else ""
            self._wrong(leaf.path, f"{what} is written down here; write {key}: ${{NAME}}{file}")

    def _remember(self, leaf: Leaf, secrets: set[str]) -> None:
        """Have these scrubbed from everything that is shown."""
        self.secrets |= secrets
        if any(0 < len(secret) < SHORTEST for secret in secrets):
            self._warn(leaf.path, f"a secret of under {SHORTEST} characters is too short to be scrubbed from messages")

    def _secret_files(self, path: Path, values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
        """The values with each `<key>_file` of a secret replaced by what is in the file."""
        filled = dict(values)
        for name in model.model_fields:
            key = f"{name}_file"
            kind = kind_of(model, name)
            if kind is None or key not in values or key in model.model_fields:
                continue
            secret = self._secret_file((*path, key), filled.pop(key))
            if name in values:
                self._wrong((*path, key), f"{name} is there too; keep one of them")
            elif secret is None:
                self.document = replace(self.document, broken=self.document.broken | {(*path, name)})
            else:
                filled[name] = secret
                leaf = Leaf((*path, name), secret, kind)
                self._remember(leaf, to_scrub(leaf, ()))
        return filled

    def _secret_file(self, where: Path, path: object) -> str | None:
        """The secret in a file, without the line break at its end; None and a problem if there is none."""
        if self.document.is_broken(where):
            return None
        if not isinstance(path, str):
            self._wrong(where, "must be a path")
            return None
        content = self.content(beside(self.document.file, path), where, "the secret file")
        if content is None:
            return None
        try:
            text = content.decode() if isinstance(content, bytes) else content
        except UnicodeDecodeError:
            self._wrong(where, f'the secret file "{path}" is not UTF-8 text')
            return None
        secret = text.rstrip("\r\n")
        if not secret or len(secret) > LONGEST_SECRET or "\0" in secret:
            self._wrong(where, f'the secret file "{path}" is empty or no text; write the secret into it, on one line')
            return None
        return secret

    def _timed(self, path: Path, keys: ProbeKeys, defaults: DefaultsKeys, probe: ProbeConfig) -> ProbeConfig:
        """The probe with its times: its own, else the defaults."""
        interval = keys.interval or defaults.interval
        timeout = keys.timeout or defaults.timeout
        retry = keys.retry_interval or min(defaults.retry_interval, interval)
        if timeout >= interval:
            key = "timeout" if keys.timeout or not keys.interval else "interval"
            times = f"timeout {format_duration(timeout)}, interval {format_duration(interval)}"
            self._wrong((*path, key), f"the timeout must be shorter than the interval ({times})")
        if retry > interval:
            times = f"{format_duration(retry)}, interval {format_duration(interval)}"
            self._wrong((*path, "retry_interval"), f"must not be longer than the interval ({times})")
        return replace(
            probe,
            interval=interval,
            timeout=timeout,
            retry_interval=retry,
            fail_after=keys.fail_after or defaults.fail_after,
            recover_after=keys.recover_after or defaults.recover_after,
            enabled=keys.enabled,
            needs=keys.needs,
            labels=keys.labels,
        )

    def _judged(self, path: Path, keys: ProbeKeys, probe: ProbeConfig) -> ProbeConfig:
        """The probe with its conditions."""
        warn = self._conditions((*path, "warn"), keys.warn, probe)
        fail = self._conditions((*path, "fail"), keys.fail, probe)
        clear_warn = self._conditions((*path, "clear", "warn"), keys.clear.warn, probe)
        clear_fail = self._conditions((*path, "clear", "fail"), keys.clear.fail, probe)
        for level, clear, limits in (("warn", clear_warn, warn), ("fail", clear_fail, fail)):
            idle = next((each for each in clear if each.why not in {limit.why for limit in limits}), None)
            if idle:
                self._wrong((*path, "clear", level), f"{idle.why} has no {level} condition that could be cleared")
        for index, limit in enumerate(fail if len(fail) == len(keys.fail) else ()):
            for soft in warn:
                if limit.is_before(soft):
                    where = self.document.item((*path, "fail"), index)
                    self._warn(where, f'it is reached before the warning "{soft.text}", which is never seen then')
        return replace(probe, warn=warn, fail=fail, clear_warn=clear_warn, clear_fail=clear_fail)

    def _check_conditions(self, path: Path, values: Mapping[str, Any], probe_type: ProbeType) -> None:
        """Of a probe that is wrong otherwise: tell what is wrong with its conditions too."""
        for key in ("warn", "fail"):
            texts = values.get(key)
            listed = [texts] if isinstance(texts, str) else texts if isinstance(texts, list) else []
            for index, text in enumerate(listed):
                if isinstance(text, str):
                    self._condition(self.document.item((*path, key), index), text, probe_type, {})

    def _conditions(self, path: Path, texts: Iterable[str], probe: ProbeConfig) -> tuple[Condition, ...]:
        parts = probe.type.parts(probe.options)
        read = [
            self._condition(self.document.item(path, index), text, probe.type, parts)
            for index, text in enumerate(texts)
        ]
        return tuple(condition for condition in read if condition is not None)

    def _condition(
        self, path: Path, text: str, probe_type: ProbeType, parts: Mapping[str, frozenset[str]]
    ) -> Condition | None:
        if self.document.is_broken(path):
            return None
        try:
            condition = parse_condition(text, probe_type.measures, parts)
        except ValueError as error:
            self._wrong(path, str(error))
            return None
        if condition.limit > 1 and "%" not in text and probe_type.measures[condition.name].is_share(condition.name):
            share = f"{condition.limit:g}%"
            self._warn(path, f'"{condition.text}" is {condition.limit * 100:g}%; if {share} is meant, write "{share}"')
        return condition

    # what probes say of each other

    def _check_needs(self) -> None:
        for name, probe in self.probes.items():
            for need in probe.needs:
                self._check_need(probe, ("probes", name, "needs"), need)
            for place, reference in probe.type.reads(probe.options).items():
                if wrong := mistake(reference, self.probes, self.names):
                    self._wrong(("probes", name, *place.split(".")), wrong)
        for cycle in circles({name: probe.needs for name, probe in self.probes.items()}):
            self._wrong(("probes", cycle[0], "needs"), f"a circle: {' needs '.join([*cycle, cycle[0]])}; break it")
        for cycle in circles({name: sorted(sources(probe)) for name, probe in self.probes.items()}):
            self._wrong(("probes", cycle[0]), f"a circle: {' reads '.join([*cycle, cycle[0]])}; break it")

    def _check_need(self, probe: ProbeConfig, path: Path, need: str) -> None:
        where = self.document.item(path, probe.needs.index(need))
        if need not in self.names:
            self._wrong(where, f'no probe "{need}"{suggestion(need, self.names)}')
        elif need in self.probes and probe.enabled and not self.probes[need].enabled:
            self._wrong(where, f'the probe "{need}" is disabled; enable it, or do not need it')

    # the rest

    def _with_secrets(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The outer keys, those below them that are secrets read from their files."""
        filled = dict(values)
        for key, model in (("fallback", FallbackKeys), ("heartbeat", HeartbeatKeys)):
            if isinstance(filled.get(key), dict):
                filled[key] = self._secrets((key,), filled[key], model)
        return filled

    def _plan(self, number: int, keys: MaintenanceKeys, calendar: CalendarKeys) -> Plan:
        zone = keys.zone or calendar.tz
        begins = Once(keys.once.replace(tzinfo=zone).timestamp()) if keys.once else Cron(keys.cron or "", zone)
        of = tuple(name if name in self.names or ":" in name else f"scenario:{name}" for name in keys.of)
        return Plan(f"plan-{number}", of, keys.hold, keys.reason, begins)

    def check_maintenance(self, plans: Iterable[Plan], runbook: Runbook) -> None:
        """Tell of planned maintenance of what is not there."""
        known = {*self.names, *(f"scenario:{name}" for name in runbook.scenarios)}
        for index, plan in enumerate(plans):
            for place, name in enumerate(plan.of):
                if name not in known:
                    written = name.removeprefix("scenario:")
                    meant = suggestion(written, {*self.names, *runbook.scenarios})
                    where = self.document.item(("maintenance", index, "of"), place)
                    self._wrong(where, f'no probe and no scenario "{written}"{meant}')

    def _alertmanager(self, index: int, keys: AlertmanagerKeys) -> AlertmanagerConfig:
        path: Path = ("alertmanagers", index)
        listed = self.document.value["alertmanagers"]
        if any(isinstance(other, dict) and other.get("url") == keys.url for other in listed[:index]):
            self._wrong((*path, "url"), "this address is there twice; keep one")
        for key in ("password_file", "bearer_token_file"):
            file = getattr(keys, key)
            secret = self._secret_file((*path, key), file) if file else None
            self.secrets.add(secret or "")
        if keys.ca_file:
            self.content(beside(self.document.file, keys.ca_file), (*path, "ca_file"), "the certificates")
        files = {
            key: beside(self.document.file, file) if (file := getattr(keys, key)) else None
            for key in ("password_file", "bearer_token_file", "ca_file")
        }
        return AlertmanagerConfig(keys.url, keys.username, **files)

    def _wrong(self, path: Path, message: str, *, at_key: bool = False) -> None:
        self.problems.append(self.document.problem(path, message, at_key=at_key))

    def _warn(self, path: Path, message: str) -> None:
        self.warnings.append(self.document.problem(path, message))
