"""The runbook's texts as templates: `{{ probe["latency"].latency_mean_seconds }}`, checked before they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from monitor.core.mistakes import suggestion
from monitor.core.probe import Value
from monitor.core.snapshot import ProbeView
from monitor.core.words import quantity

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

Measured = Mapping[str, frozenset[str] | None]
"""The measurements of each probe; None where they are not known."""


UNKNOWN, NOT_RECORDED = "unknown", "not recorded"


def fill_later(template: str) -> str:
    """A text about what is over: its values are not kept, and those of today would be wrong."""
    return _filled(template, {}, NOT_RECORDED)


def fill(template: str, probes: Mapping[str, ProbeView]) -> str:
    """A text with its live values, as people read them: `latency_mean_seconds` of 0.12 is `120 ms`.

    What was not measured reads `unknown`; a text that cannot be filled is given as it stands. Nothing is invented.
    """
    if "{" not in template:
        return template
    measured = {
        name: {key: _told(key, value) for key, value in (view.result.measurements if view.result else {}).items()}
        for name, view in probes.items()
    }
    return _filled(template, measured, UNKNOWN)


def _filled(template: str, measured: Mapping[str, Mapping[str, Any]], missing: str) -> str:
    if "{" not in template:
        return template
    from jinja2 import TemplateError

    try:
        return _compiled(template, missing).render(probe=measured)
    except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError):
        return template


class _Told(float):
    """A number that reads as people write it and can still be compared."""

    words: str

    def __str__(self) -> str:
        return self.words


def _told(name: str, value: Value) -> Any:
    if isinstance(value, Mapping):
        return _told(name, value[""]) if "" in value else {part: _told(name, number) for part, number in value.items()}
    told = _Told(value)
    told.words = quantity(name, value)
    return told


@lru_cache(maxsize=256)
def _compiled(template: str, missing: str) -> Template:
    return _texts(missing).from_string(template)


@cache
def _texts(missing: str) -> SandboxedEnvironment:
    from jinja2 import ChainableUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Unmeasured(ChainableUndefined):
        def __str__(self) -> str:
            return missing

    return ImmutableSandboxedEnvironment(undefined=Unmeasured, autoescape=False)  # plain text; a page escapes it


def template_mistakes(text: str, measured: Measured) -> list[str]:
    """What is wrong with a template: its syntax, or that it speaks of what there is not."""
    if "{" not in text:
        return []
    from jinja2 import TemplateSyntaxError  # a heavy import, for few texts
    from jinja2.sandbox import SandboxedEnvironment

    try:
        tree = SandboxedEnvironment().parse(text)
        return list(dict.fromkeys(_mistakes(tree, measured)))
    except TemplateSyntaxError as error:
        return [f"this template cannot be read: {error.message}"]
    except RecursionError:
        return ["this template is nested too deep"]


def show_mistakes(text: str, measured: Measured) -> list[str]:
    """What is wrong with a step's `show`: `whmcs`, `whmcs.duration_seconds` or `bff_env.SF_EVENTS_ENABLED`."""
    name, _, measurement = text.partition(".")
    if name == "bff_env" and measurement:
        return []
    return list(_unknown_probe(name, measured)) or list(_unknown_measurement(name, measurement, measured))


def _mistakes(tree: Any, measured: Measured) -> Iterator[str]:
    from jinja2 import meta, nodes

    for name in sorted(meta.find_undeclared_variables(tree) - {"probe"}):
        yield f'a template knows no "{name}"; write probe["name"].measurement'
    for access in tree.find_all(nodes.Getitem):
        yield from _unknown_probe(_probe_named(access), measured)
    for access in tree.find_all(nodes.Getattr):
        yield from _unknown_measurement(_probe_named(access.node), access.attr, measured)


def _probe_named(node: Any) -> str | None:
    """`latency`, if the node is `probe["latency"]`."""
    from jinja2 import nodes

    inner, key = getattr(node, "node", None), getattr(node, "arg", None)
    named = isinstance(inner, nodes.Name) and inner.name == "probe" and isinstance(key, nodes.Const)
    return str(key.value) if named and isinstance(key, nodes.Const) else None


def _unknown_probe(name: str | None, measured: Measured) -> Iterator[str]:
    if name is not None and name not in measured:
        yield f'no probe "{name}"{suggestion(name, measured)}'


def _unknown_measurement(name: str | None, measurement: str, measured: Measured) -> Iterator[str]:
    known = measured.get(name) if name is not None else None
    if known is not None and measurement and measurement not in known:
        yield f'"{name}" does not measure "{measurement}"{suggestion(measurement, known)}'
