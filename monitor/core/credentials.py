"""Which options are secrets, whether one was written down in YAML, and what must be scrubbed from every sink."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, SecretStr

from monitor.core.probe import is_secret, is_secret_url
from monitor.core.source import Path

Kind = Literal["secret", "url", "perhaps"]
"""`perhaps`: kept as a secret, such as any header, but one only if its name says so or it comes from a variable."""

_TELLING = re.compile(r"passw|secret|token|auth|cookie|api-?_?key|access-?_?key|credential|sslkey", re.IGNORECASE)
_FRAMES = frozenset({"Bearer ", "Basic ", "Token "})  # what may stand before a variable


@dataclass(frozen=True, slots=True)
class Leaf:
    """One text in YAML that an options model keeps as a secret."""

    path: Path
    text: str
    kind: Kind


def leaves(model: type[BaseModel], values: Mapping[str, Any], path: Path) -> Iterator[Leaf]:
    """Every text in `values` (as in YAML, at `path`) that `model` keeps as a secret."""
    for name, info in model.model_fields.items():
        if name in values:
            yield from _leaves(info.annotation, info.metadata, values[name], (*path, name))


def kind_of(model: type[BaseModel], name: str) -> Kind | None:
    """What kind of secret a field of the model is, if it is one."""
    if name not in model.model_fields:
        return None
    found = next(leaves(model, {name: "x"}, ()), None)
    return found.kind if found else None


def is_written_down(leaf: Leaf, written: str) -> bool:
    """Whether the secret stands in the file. `written` is the text in YAML without its variables."""
    if leaf.kind == "secret":
        return bool(written) and written not in _FRAMES
    if leaf.kind == "url":
        return any(_passwords(written))
    return bool(_TELLING.search(str(leaf.path[-1]))) and written == leaf.text


def to_scrub(leaf: Leaf, variables: tuple[str, ...]) -> set[str]:
    """What of this secret must not be seen: itself, or the passwords in a URL, as written and decoded."""
    if leaf.kind == "secret":
        return {leaf.text, *variables}
    if leaf.kind == "url":
        return {form for password in _passwords(leaf.text) for form in (password, unquote(password)) if form}
    return {leaf.text, *variables} if variables or _TELLING.search(str(leaf.path[-1])) else set()


def _passwords(url: str) -> list[str]:
    """The passwords in a URL: of its user, and in its query."""
    user, found, _ = _authority(url).rpartition("@")
    passwords = [user.partition(":")[2]] if found else []
    _, _, query = url.partition("?")
    passwords += [value for key, value in parse_qsl(query) if _TELLING.search(key)]
    return [password for password in passwords if password]


def _authority(url: str) -> str:
    """`user:password@host:port`; also of a URL whose password has a slash that should have been encoded."""
    _, _, rest = url.partition("://")
    try:
        authority = urlsplit(url).netloc
    except ValueError:
        return rest
    _, found, port = authority.rpartition(":")
    broken = found and not port.isdigit() and "@" not in authority and not port.endswith("]")
    return rest if broken else authority


def _leaves(annotation: Any, metadata: list[Any] | tuple[Any, ...], value: object, path: Path) -> Iterator[Leaf]:
    if get_origin(annotation) is Annotated:
        annotation, *inner = get_args(annotation)
        metadata = [*metadata, *inner]
    if annotation is SecretStr:
        if isinstance(value, str):
            yield Leaf(path, value, _kind(metadata))
        return
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if isinstance(value, dict):
            yield from leaves(annotation, value, path)
        return
    inner_types = get_args(annotation)
    if isinstance(value, dict) and len(inner_types) == 2:
        for key, item in value.items():
            yield from _leaves(inner_types[1], (), item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for inner_type in inner_types[:1]:
                yield from _leaves(inner_type, (), item, (*path, index))
    elif isinstance(value, str):
        for inner_type in inner_types:
            yield from _leaves(inner_type, metadata, value, path)


def _kind(metadata: list[Any] | tuple[Any, ...]) -> Kind:
    if is_secret(metadata):
        return "secret"
    return "url" if is_secret_url(metadata) else "perhaps"
