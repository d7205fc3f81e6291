"""YAML text as plain values that remember where they stand, so that every mistake can be told with its place.

YAML is read strictly: what a person could misread is an error (a duplicate key, a key without a value, a tag), and
scalars follow YAML 1.2 (`no` and `18:00` are text). `${NAME}` in a value is the variable of the environment,
`${NAME:-text}` has a default, `$$` is one dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

MAX_BYTES = 2**20
MAX_VALUES = 100_000  # after aliases are expanded: an alias bomb is a small file
MAX_DEPTH = 32
SHORTEST_HIDDEN = 4  # what a variable held, in messages; anything shorter stands in words by chance
MAX_PROBLEMS = 100  # of one file: nobody reads more at once

Path = tuple[str | int, ...]
"""The keys and indexes that lead to a value: `("probes", "redis", "warn", 0)`."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: where it stands (line and column count from 1), what is wrong and what would be right."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used: every problem of it, in the order of the files."""

    def __init__(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Document:
    """One file: its values, and where each of them and its key stand."""

    file: str
    value: dict[str, Any]
    values: Mapping[Path, tuple[int, int]]
    keys: Mapping[Path, tuple[int, int]]
    written: Mapping[Path, str]  # values with variables in them, as written: variables gone, their defaults kept
    variables: Mapping[Path, tuple[str, ...]]  # and what those variables held
    shown_as: Mapping[str, str] = field(default_factory=dict)  # what a variable held: `${NAME}`
    problems: tuple[Problem, ...] = ()
    broken: frozenset[Path] = frozenset()  # values that a problem was told of already

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """A problem of the value at `path` (or of its key), placed at the nearest that the file has.

        What came from a variable is shown as that variable: a secret may have got into the wrong key.
        """
        line, column = self.place(path, at_key=at_key)
        for value in sorted(self.shown_as, key=len, reverse=True):
            message = message.replace(value, self.shown_as[value])
        name = dotted(path)
        return Problem(self.file, line, column, one_line(f"{name}: {message}" if name else message))

    def place(self, path: Path, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest above it."""
        if at_key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
            at_key = True
        return self.keys[path] if at_key and path in self.keys else self.values[path]

    def item(self, path: Path, index: int) -> Path:
        """The path of one item of the list at `path`, where one text may stand for a list."""
        return (*path, index) if (*path, index) in self.values else path

    def is_broken(self, path: Path) -> bool:
        """Whether this value, one above or one below it is wrong in a way that was told already."""
        return any(path[: len(bad)] == bad or bad[: len(path)] == path for bad in self.broken if path)


def dotted(path: Path) -> str:
    """`probes.redis.warn[0]`"""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def one_line(text: str, limit: int = 400) -> str:
    """The text without line breaks or control characters, cut where nobody would read on."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    return clean if len(clean) <= limit else f"{clean[:limit]}…"


def parse(file: str, text: str | bytes, env: Mapping[str, str]) -> Document:
    """The document that `text` spells. ConfigError if it is not YAML; lesser mistakes are its `problems`."""
    root = _Events(file, _checked(file, text)).root()
    if not isinstance(root, _Mapping):
        raise ConfigError([Problem(file, *root.mark, "not a mapping; the file is made of `key: value` lines")])
    return _Reader(file, env).document(root)


# --- text ------------------------------------------------------------------------------------------------------------

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def _checked(file: str, text: str | bytes) -> str:
    size = len(text)
    if size > MAX_BYTES:
        raise ConfigError([Problem(file, 1, 1, f"{size} bytes are too many for a configuration; at most {MAX_BYTES}")])
    text = _decoded(file, text).removeprefix("\ufeff")
    if match := _FORBIDDEN.search(text):
        message = f"the character U+{ord(match[0]):04X} is not allowed in YAML; remove it"
        raise ConfigError([_at_end(file, text[: match.start()], message)])
    return text


def _decoded(file: str, text: str | bytes) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start].decode()
        raise ConfigError([_at_end(file, before, "not UTF-8 text; save the file as UTF-8")]) from error


def _at_end(file: str, before: str, message: str) -> Problem:
    return Problem(file, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1, message)


# --- nodes -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Scalar:
    mark: tuple[int, int]
    text: str
    plain: bool


@dataclass(slots=True)
class _Sequence:
    mark: tuple[int, int]
    items: list[_Node] = field(default_factory=list)


@dataclass(slots=True)
class _Mapping:
    mark: tuple[int, int]
    pairs: list[tuple[_Node, _Node]] = field(default_factory=list)


_Node = _Scalar | _Sequence | _Mapping

_HINTS = {  # what the parser says, and what usually is the matter
    "mapping values are not allowed": 'a second ": " on one line, or a line indented too far; put text with ": " in '
    "quotes",
    "could not find expected ':'": 'a line without ": "; write `key: value`',
    "found unexpected end of stream": "a quote that is not closed",
    "found unexpected document indicator": "a quote that is not closed",
    "did not find expected ',' or ']'": "a list that is not closed, or lacks a comma; write `[one, two]`",
    "did not find expected ',' or '}'": "a mapping that is not closed, or lacks a comma; write `{key: value, key: "
    "value}`",
    "did not find expected key": "indentation that fits nothing above, or text after a closing quote",
    "did not find expected '-' indicator": "a line that is no item of the list above; indent it, or begin it with `- `",
    "cannot start any token": "text that begins with a character YAML keeps for itself; put it in quotes",
    "unknown escape character": "a backslash that escapes nothing; use single quotes",
}


class _Events:
    """The parser's events, made into nodes. Nothing is expanded yet, so this is as long as the file."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.anchors: dict[str, _Node] = {}
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.events: Iterator[Event] = yaml.parse(text, Loader=loader)

    def root(self) -> _Node:
        try:
            return self._document()
        except yaml.MarkedYAMLError as error:
            raise ConfigError([self._translated(error)]) from error
        except (yaml.YAMLError, RecursionError) as error:
            raise ConfigError([Problem(self.file, 1, 1, one_line(f"not YAML: {error}"))]) from error

    def _document(self) -> _Node:
        root: _Node | None = None
        for event in self.events:
            if not isinstance(event, DocumentStartEvent):
                continue
            if root is not None:
                raise self._stop(event, "a second document begins here; write one, without `---` between")
            root = self._node(next(self.events), 0)
        if root is None or (isinstance(root, _Scalar) and root.plain and not root.text):
            raise ConfigError([Problem(self.file, 1, 1, "the file is empty; `portal-monitor init` writes a first one")])
        return root

    def _node(self, event: Event, depth: int) -> _Node:
        if depth > MAX_DEPTH:
            raise self._stop(event, f"nested more than {MAX_DEPTH} deep; no key needs that")
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise self._stop(event, f'"*{event.anchor}" refers to no "&{event.anchor}" above it')
            return self.anchors[event.anchor]
        tag = getattr(event, "tag", None)
        if tag not in {None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            shown = str(tag).replace("tag:yaml.org,2002:", "!!")
            raise self._stop(event, f'the tag "{shown}" is not used here; write the value without it')
        node = self._content(event, depth)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def _content(self, event: Event, depth: int) -> _Node:
        mark = _mark(event)
        if isinstance(event, ScalarEvent):
            return _Scalar(mark, event.value, plain=event.style in {None, ""} and event.tag is None)
        if isinstance(event, SequenceStartEvent):
            items = []
            while not isinstance(child := next(self.events), SequenceEndEvent):
                items.append(self._node(child, depth + 1))
            return _Sequence(mark, items)
        if not isinstance(event, MappingStartEvent):
            raise self._stop(event, "not YAML")
        pairs = []
        while not isinstance(child := next(self.events), MappingEndEvent):
            key = self._node(child, depth + 1)
            pairs.append((key, self._node(next(self.events), depth + 1)))
        return _Mapping(mark, pairs)

    def _stop(self, event: Event, message: str) -> ConfigError:
        return ConfigError([Problem(self.file, *_mark(event), one_line(message))])

    def _translated(self, error: yaml.MarkedYAMLError) -> Problem:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        said = error.problem or "cannot be read"
        lines = self.text.split("\n")
        here = lines[line] if line < len(lines) else ""
        if "\t" in here[: column + 1]:
            return Problem(self.file, line + 1, here.index("\t") + 1, "a tab; YAML is indented with spaces")
        opened = error.context_mark
        if ("unexpected" in said or "did not find expected ','" in said) and opened:
            line, column = opened.line, opened.column
        hint = next((hint for words, hint in _HINTS.items() if words in said), None)
        return Problem(self.file, line + 1, column + 1, one_line(f"not YAML: {hint or said}"))


def _mark(event: Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


# --- values ----------------------------------------------------------------------------------------------------------

_REFERENCE = re.compile(r"\$\$|\$\{(?P<inside>[^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,15})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,15}\.[0-9]{1,15}")


class _Reader:
    """Nodes made into values: aliases and merge keys expanded, variables filled in, every place noted."""

    def __init__(self, file: str, env: Mapping[str, str]) -> None:
        self.file = file
        self.env = env
        self.count = 0
        self.values: dict[Path, tuple[int, int]] = {}
        self.keys: dict[Path, tuple[int, int]] = {}
        self.written: dict[Path, str] = {}
        self.variables: dict[Path, tuple[str, ...]] = {}
        self.shown_as: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.broken: set[Path] = set()

    def document(self, root: _Mapping) -> Document:
        value = self._value(root, ())
        return Document(
            self.file,
            value,
            self.values,
            self.keys,
            self.written,
            self.variables,
            self.shown_as,
            tuple(self.problems[:MAX_PROBLEMS]),
            frozenset(self.broken),
        )

    def _value(self, node: _Node, path: Path) -> Any:
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            message = f"aliases make this more than {MAX_VALUES} values, or {MAX_DEPTH} deep; write it out"
            raise ConfigError([Problem(self.file, *node.mark, message)])
        self.values[path] = node.mark
        if isinstance(node, _Scalar):
            return self._scalar(node, path)
        if isinstance(node, _Sequence):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.items)]
        return self._mapping(node, path)

    def _mapping(self, node: _Mapping, path: Path) -> dict[str, Any]:
        own: dict[str, tuple[_Scalar, _Node]] = {}
        inherited: list[tuple[_Node, _Node]] = []
        for key, value in node.pairs:
            if not isinstance(key, _Scalar):
                self._tell(path, key.mark, "a key must be one word; if this is text that begins with { or [, quote it")
                self.broken |= {path} - {()}
            elif key.plain and key.text == "<<":
                inherited += self._merged(value, path)
            elif key.text in own:
                first = own[key.text][0].mark[0]
                self._tell((*path, key.text), key.mark, f"this key is there twice, first in line {first}; keep one")
            else:
                own[key.text] = (key, value)
        for key, value in inherited:
            if isinstance(key, _Scalar):
                own.setdefault(key.text, (key, value))
        self.keys.update({(*path, name): key.mark for name, (key, _) in own.items()})
        return {name: self._value(value, (*path, name)) for name, (_, value) in own.items()}

    def _merged(self, node: _Node, path: Path) -> list[tuple[_Node, _Node]]:
        """The pairs that `<<: *one` or `<<: [*one, *other]` brings in."""
        sources = node.items if isinstance(node, _Sequence) else [node]
        pairs: list[tuple[_Node, _Node]] = []
        for source in sources:
            if not isinstance(source, _Mapping):
                self._tell(path, source.mark, "`<<` takes a mapping, or a list of them, by alias: `<<: *name`")
                continue
            pairs += source.pairs
            self.count += len(source.pairs)
        return pairs

    def _scalar(self, node: _Scalar, path: Path) -> str | int | float | bool:
        text = node.text
        if node.plain and text in {"", "~", "null", "Null", "NULL"}:
            self._tell(path, node.mark, "has no value; write one, or drop the key")
            self.broken.add(path)
            return ""
        if "$" in text:
            return self._filled(node, path)
        if not node.plain:
            return text
        if text in {"true", "True", "TRUE", "false", "False", "FALSE"}:
            return text.lower() == "true"
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _filled(self, node: _Scalar, path: Path) -> str:
        """The text with its variables filled in."""
        held: list[str] = []

        def fill(match: re.Match[str]) -> str:
            if match[0] == "$$":
                return "$"
            variable = _VARIABLE.fullmatch(match["inside"] or "")
            value = self.env.get(variable["name"]) if variable else None
            if variable and value:
                held.append(value)
                if len(value) >= SHORTEST_HIDDEN:
                    self.shown_as[value] = f"${{{variable['name']}}}"
                return value
            if variable and variable["default"] is not None:
                return variable["default"][2:]
            self._tell(path, node.mark, _no_value(variable, value))
            self.broken.add(path)
            return ""

        def unfilled(match: re.Match[str]) -> str:
            return "$" if match[0] == "$$" else (match["inside"] or "").partition(":-")[2]

        filled = _REFERENCE.sub(fill, node.text)
        if "${" in node.text:
            self.written[path] = _REFERENCE.sub(unfilled, node.text)
            self.variables[path] = tuple(held)
        return filled

    def _tell(self, path: Path, mark: tuple[int, int], message: str) -> None:
        name = dotted(path)
        self.problems.append(Problem(self.file, *mark, one_line(f"{name}: {message}" if name else message)))


def _no_value(variable: re.Match[str] | None, value: str | None) -> str:
    if variable is None:
        return "`${` begins a variable; write ${NAME} or ${NAME:-default}, or $$ for a dollar sign"
    name, state = variable["name"], "not set" if value is None else "empty"
    return f"the variable {name} is {state}; set it, or write ${{{name}:-default}}"
