"""The wording of messages: its templates, the names they may speak of, and how much work they may be.

A template is text with `{{ name }}`, `{% if name %}` and `{% for item in names %}`, and nothing else: it reads what it is
given, calls nothing, and comes to an end. The words given to it are data; what people wrote is never a template.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from monitor.core.mistakes import suggestion
from monitor.core.runbook import Wording

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

Words = Mapping[str, str | Sequence[str]]
"""What a template is filled with: a text, or a list of texts, by name."""

MOST_CHARACTERS = 64 * 1024  # of a message
MOST_TEMPLATE_CHARACTERS = 16 * 1024
MOST_ROUNDS = 1000  # of all loops of a template together; a long review takes some 200

STATUS_UPDATE = """\
INCIDENT UPDATE - {{ severity }} - {{ title }}

Status: {{ status }}
Impact: {{ impact }}
Started: {{ started }}
Last Update: {{ updated }}

Current Actions:
{% for action in actions %}
- {{ action }}
{% endfor %}

Next Update: {{ next_update }}
{% for note in notes %}
Note: {{ note }}
{% endfor %}
"""

CUSTOMER = """\
We are currently experiencing issues with {{ service }}.

What's happening: {{ what }}
Impact: {{ impact }}
Status: Our team is actively working to resolve this issue.

We will provide updates every {{ every }}.

We apologize for any inconvenience.
"""

VENDOR_REPORT = """\
Report to {{ vendor }}: {{ title }}
Our reference: {{ incident }}. Written {{ written }}. All times are UTC.

Failing since: {{ since }}
Affected on our side: {{ service }}

What we see:
{% for line in findings %}
{{ line }}
{% endfor %}

Our own network at the same time:
{% for line in network %}
- {{ line }}
{% endfor %}
{% if requests %}

Requests of ours that failed:
{% for line in requests %}
- {{ line }}
{% endfor %}
{% endif %}
"""

REVIEW = """\
# Post-incident review: {{ title }}

{{ incident }}, {{ severity }}. Draft of {{ written }}. {{ due }}

What only people know is marked **[FILL IN]**.

## 1. Incident summary

### What happened?

**[FILL IN: two sentences for somebody who was not there.]**

{% for line in summary %}
- {{ line }}
{% endfor %}

### When did it start and end?

- Started: {{ started }}
- Ended: {{ ended }}
{% for line in severities %}
- {{ line }}
{% endfor %}

### Who was affected?

{{ impact }}

**[FILL IN: who, how many, and what they noticed.]**

## 2. Timeline

- Detection time: {{ detection }}
- Response time: {{ response }}
- Resolution time: {{ resolution }}
{% for line in escalated %}
- {{ line }}
{% endfor %}

### Key milestones

{% for line in timeline %}
- {{ line }}
{% endfor %}

## 3. Root cause analysis

### What was the direct cause?

{% if cause %}
Identified during the incident: {{ cause }}

{% endif %}
**[FILL IN{% if cause %}: is that the whole of it?{% endif %}]**

The order in which things failed, as the monitor saw it:

{% for line in evidence %}
- {{ line }}
{% endfor %}

### What were contributing factors?

**[FILL IN]**

### Why wasn't this prevented?

**[FILL IN]**

## 4. Action items

### Immediate fixes applied

{% for line in fixes %}
- {{ line }}
{% endfor %}
{% if undo %}

Done for a time? Then undo it:

{% for line in undo %}
- [ ] {{ line }}
{% endfor %}
{% endif %}

### Preventive measures needed

- [ ] **[FILL IN: what, who, by when.]**

### Monitoring improvements

{% for line in monitoring %}
- [ ] {{ line }}
{% endfor %}

### Documentation updates

- [ ] **[FILL IN: was the runbook right? What was missing?]**

## Earlier incidents of this kind

{% for line in previous %}
- {{ line }}
{% endfor %}
"""

BUILT_IN = Wording(STATUS_UPDATE, CUSTOMER, VENDOR_REPORT, REVIEW)
"""What is said where the runbook has no words of its own."""

LISTS: Mapping[str, frozenset[str]] = {
    "status_update": frozenset({"actions", "notes"}),
    "customer": frozenset(),
    "vendor_report": frozenset({"findings", "network", "requests"}),
    "review": frozenset({
        "summary", "severities", "escalated", "timeline", "evidence", "fixes", "undo", "monitoring", "previous",
    }),
}  # fmt: skip
"""The names of each template that hold lists."""

TEXTS: Mapping[str, frozenset[str]] = {
    "status_update": frozenset({
        "incident", "severity", "title", "status", "impact", "started", "updated", "next_update",
    }),
    "customer": frozenset({"severity", "service", "what", "impact", "every"}),
    "vendor_report": frozenset({"vendor", "title", "incident", "severity", "service", "since", "written"}),
    "review": frozenset({
        "title", "incident", "severity", "written", "due", "started", "ended", "impact", "detection", "response",
        "resolution", "cause",
    }),
}  # fmt: skip
"""The names of each template that hold one text."""

_LOOP = frozenset({"first", "last", "index"})
_FILTERS = frozenset({"capitalize", "default", "first", "join", "last", "length", "lower", "trim", "upper"})
_HOW = "write text, {{ name }}, {% if name %} and {% for item in names %}"


def phrase(kind: str, wording: Wording, words: Words) -> str:
    """The message of this kind (`status_update` ...) in the runbook's wording.

    Where that fails, it is said in our own, with a line that says so: a message must not be lost to a template.
    """
    ours, theirs = asdict(BUILT_IN)[kind], asdict(wording)[kind]
    if not theirs:
        return _rendered(kind, ours, words)
    from jinja2 import TemplateError

    try:
        if mistakes := wording_mistakes(kind, theirs):
            raise ValueError(mistakes[0])
        return _rendered(kind, theirs, words, bounded=True)
    except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
        said = " ".join(str(error).split())[:200]
        return f"{_rendered(kind, ours, words)}\n(The runbook's wording messages.{kind} cannot be used: {said})"


@lru_cache(maxsize=32)
def wording_mistakes(kind: str, text: str) -> tuple[str, ...]:
    """What is wrong with a template of this kind, with its line: syntax, an unknown name, more than it may do."""
    if "{" not in text and len(text) <= MOST_TEMPLATE_CHARACTERS:
        return ()
    from jinja2 import TemplateSyntaxError

    if len(text) > MOST_TEMPLATE_CHARACTERS:
        return (f"too long for a message: {len(text)} characters; at most {MOST_TEMPLATE_CHARACTERS}",)
    try:
        tree = _environment().parse(text)
        return tuple(dict.fromkeys(f"line {line}: {said}" for line, said in sorted(_mistakes(kind, tree))))
    except TemplateSyntaxError as error:
        return (f"line {error.lineno}: this template cannot be read: {error.message}",)
    except RecursionError:
        return ("this template is nested too deep",)


def _rendered(kind: str, template: str, words: Words, *, bounded: bool = False) -> str:
    """The template, filled. `bounded`: ValueError where it grows beyond all measure, as ours does not."""
    rounds = _Rounds(MOST_ROUNDS if bounded else math.inf)
    given: dict[str, object] = dict.fromkeys(TEXTS[kind], "") | dict.fromkeys(LISTS[kind], ())
    given |= {name: value if isinstance(value, str) else _Counted(value, rounds) for name, value in words.items()}
    parts, size = [], 0
    for part in _compiled(template).generate(given):
        size += len(part)
        if bounded and size > MOST_CHARACTERS:
            raise ValueError(f"it becomes longer than {MOST_CHARACTERS} characters")
        parts.append(part)
    return "".join(parts).strip()


class _Rounds:
    """How often the loops of one rendering have gone round."""

    def __init__(self, most: float) -> None:
        self.most, self.count = most, 0

    def one_more(self) -> None:
        self.count += 1
        if self.count > self.most:
            raise ValueError(f"its loops go round more than {self.most:g} times")


class _Counted(Sequence[str]):
    """A list whose going through is counted."""

    def __init__(self, items: Sequence[str], rounds: _Rounds) -> None:
        self._items, self._rounds = tuple(items), rounds

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[str]:
        for item in self._items:
            self._rounds.one_more()
            yield item


@lru_cache(maxsize=32)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    made.globals.clear()
    filters: dict[str, Callable[..., Any]] = {name: made.filters[name] for name in _FILTERS}
    filters["join"] = _join
    made.filters.clear()
    made.filters.update(filters)
    return made


def _join(items: Sequence[object], between: str = "") -> str:
    """The items in one text; ValueError where it grows beyond all measure."""
    if (len(between) + 1) * len(items) > MOST_CHARACTERS:
        raise ValueError(f"a join becomes longer than {MOST_CHARACTERS} characters")
    joined = between.join(str(item) for item in items)
    if len(joined) > MOST_CHARACTERS:
        raise ValueError(f"a join becomes longer than {MOST_CHARACTERS} characters")
    return joined


def _mistakes(kind: str, tree: Any) -> Iterator[tuple[int, str]]:
    from jinja2 import meta, nodes

    allowed = (
        nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.For, nodes.Compare,
        nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Filter, nodes.Getattr, nodes.Tuple,
    )  # fmt: skip
    texts, lists = TEXTS[kind], LISTS[kind]
    unknown = meta.find_undeclared_variables(tree) - texts - lists
    for node in tree.find_all(nodes.Node):
        line = node.lineno
        if not isinstance(node, allowed):
            yield line, f"a message has no place for this ({type(node).__name__.lower()}); {_HOW}"
        elif isinstance(node, nodes.Name) and node.name in unknown:
            yield line, f'a message knows no "{node.name}"{suggestion(node.name, texts | lists)}'
        elif isinstance(node, nodes.Getattr) and not _of_loop(node):
            yield line, f'".{node.attr}" leads nowhere: every name is a text or a list of texts'
        elif isinstance(node, nodes.For):
            yield from _mistakes_of_loop(node, lists)
        elif isinstance(node, nodes.Output):
            whole = (each.name for each in node.nodes if isinstance(each, nodes.Name) and each.name in lists)
            for name in whole:
                yield line, f'"{name}" is a list; write {{% for item in {name} %}}'
    yield from _too_deep(tree, 0)


def _of_loop(node: Any) -> bool:
    from jinja2 import nodes

    return isinstance(node.node, nodes.Name) and node.node.name == "loop" and node.attr in _LOOP


def _mistakes_of_loop(node: Any, lists: frozenset[str]) -> Iterator[tuple[int, str]]:
    from jinja2 import nodes

    if node.recursive:
        yield node.lineno, "a loop cannot contain itself"
    if not isinstance(node.iter, nodes.Name) or node.iter.name not in lists:
        yield node.lineno, f"a loop goes over a list: {_listed(lists) or 'this message has none'}"


def _too_deep(node: Any, depth: int) -> Iterator[tuple[int, str]]:
    from jinja2 import nodes

    for child in node.iter_child_nodes():
        deeper = depth + isinstance(child, nodes.For)
        if deeper > 2:
            yield child.lineno, "loops within loops within loops; two are enough"
        else:
            yield from _too_deep(child, deeper)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
