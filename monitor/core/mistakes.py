"""What pydantic says about a value, retold for the person who wrote it: which key, what is wrong, what is right."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from monitor.core.condition import did_you_mean
from monitor.core.source import MAX_PROBLEMS, Document, Path, Problem

Model = TypeVar("Model", bound=BaseModel)

_WANTED = {
    "string": "must be text",
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "dict": "must be a mapping of keys to values",
    "mapping": "must be a mapping of keys to values",
    "model": "must be a mapping of keys to values",
    "list": "must be a list",
    "tuple": "must be a list",
    "set": "must be a list",
    "frozen_set": "must be a list",
}
_LIMITS = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "greater_than": ("gt", "must be more than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "less_than": ("lt", "must be less than {}"),
    "string_too_short": ("min_length", "must not be empty"),
    "too_short": ("min_length", "must name at least {}"),
    "string_pattern_mismatch": ("pattern", "is not written as it must be; it must match {}"),
}


def validated(
    model: type[Model],
    values: Mapping[str, Any],
    document: Document,
    path: Path,
    problems: list[Problem],
    *,
    also_known: Iterable[str] = (),
    secrets: Collection[str] = (),
) -> Model | None:
    """The model made of `values`, which stand at `path`; or None, with every mistake added to `problems`.

    `also_known` are keys that somebody else reads, for "did you mean"; `secrets` are blotted out of messages.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)[:MAX_PROBLEMS]
    seen: set[tuple[Path, str]] = set()
    for detail in details:
        where = _located(document, path, detail)
        at_key = detail["type"] == "extra_forbidden"
        if document.is_broken(where):
            continue
        message = _blotted(_message(detail, model, also_known), secrets)
        if (where, message) not in seen:
            seen.add((where, message))
            problems.append(document.problem(where, message, at_key=at_key))
    return None


def suggestion(word: str, known: Iterable[str]) -> str:
    """`did_you_mean`, also for words that nobody should compare."""
    return did_you_mean(word, known) if len(word) <= 80 else ""


def _located(document: Document, path: Path, detail: ErrorDetails) -> Path:
    """The path that an error means: its location also names the branch of a union, which is no key of the file."""
    where = path
    for step in detail["loc"]:
        if (*where, step) in document.values:
            where = (*where, step)
        elif (
            detail["type"] != "missing" and (*where, f"{step}_file") in document.values
        ):  # a secret that came from a file
            where = (*where, f"{step}_file")
    return (*where, detail["loc"][-1]) if detail["type"] == "missing" else where


def _message(detail: ErrorDetails, model: type[BaseModel], also_known: Iterable[str]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "extra_forbidden":
        return f"unknown key{suggestion(last, {*_fields_at(model, detail['loc'][:-1]), *also_known})}"
    if kind == "missing":
        return "is missing; add this key"
    if kind == "value_error":
        return str(context["error"])
    if kind in {"literal_error", "enum"}:
        words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f'"{detail["input"]}" is not known here{suggestion(str(detail["input"]), words)}'
    if kind in _LIMITS:
        key, text = _LIMITS[kind]
        return text.format(context.get(key))
    wanted = _WANTED.get(re.sub(r"_(type|parsing|from_float|parsing_size)$", "", kind))
    if wanted == "must be text" and isinstance(detail["input"], int | float):
        return "must be text; put it in quotes"
    return wanted or detail["msg"][:1].lower() + detail["msg"][1:]


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """The keys known where `loc` leads from the model."""
    for step in loc:
        field = next((info for name, info in model.model_fields.items() if step in {name, info.alias}), None)
        inner = _inner_model(field.annotation) if field else None
        if inner is not None:
            model = inner
    return {info.alias or name for name, info in model.model_fields.items()}


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_inner_model(inner) for inner in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _blotted(text: str, secrets: Collection[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***") if secret else text
    return text
