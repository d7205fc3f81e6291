"""The wording of messages: what a template may say, that it comes to an end, and what is said when it cannot be used."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from monitor.core.phrasing import (
    BUILT_IN,
    LISTS,
    MOST_CHARACTERS,
    MOST_TEMPLATE_CHARACTERS,
    TEXTS,
    Words,
    phrase,
    wording_mistakes,
)
from monitor.core.runbook import Wording
from tests.config.test_shipped import shipped

WORDS: Words = {
    "severity": "P1", "title": "Redis", "status": "Investigating", "impact": "Some", "started": "s", "updated": "u",
    "actions": ["one", "two"], "next_update": "n", "incident": "redis-1", "notes": [],
}  # fmt: skip


def update(template: str, words: Words = WORDS) -> str:
    return phrase("status_update", Wording(status_update=template), words)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ severity }}: {{ title }}", "P1: Redis"),
        ("{% for each in actions %}\n- {{ each }}\n{% endfor %}", "- one\n- two"),
        ("{% for each in actions %}{{ loop.index }}{% if not loop.last %}, {% endif %}{% endfor %}", "1, 2"),
        ("{{ actions | join('; ') }} {{ actions | length }} {{ actions | first | upper }}", "one; two 2 ONE"),
        ("{% if notes %}notes{% else %}none{% endif %}{# said to nobody #}", "none"),
        ("{{ 'bad' if severity in ('P1', 'P2') else 'well' }}", "bad"),
        ("{% if severity == 'P1' or severity == 'P2' %}bad{% endif %}", "bad"),
        ("plain", "plain"),
    ],
)
def test_a_template_says_what_it_is_written_to(template: str, expected: str) -> None:
    assert update(template) == expected


@pytest.mark.parametrize("kind", ["status_update", "customer", "vendor_report", "review"])
def test_our_own_wording_is_right_and_is_what_is_shipped(kind: str) -> None:
    ours = asdict(BUILT_IN)[kind]
    assert wording_mistakes(kind, ours) == ()
    assert asdict(shipped().runbook.wording)[kind] == ours
    for name in TEXTS[kind] - {"incident", "severity"} | LISTS[kind]:
        assert name in ours


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a\n{{ severity", "line 2: this template cannot be read: unexpected end of template, expected 'end of print statement'."),
        ("{% for x in actions %}", ("line 1: this template cannot be read: Unexpected end of template. Jinja was looking for the "
         "following tags: 'endfor' or 'else'. The innermost block that needs to be closed is 'for'.")),
        ("a\nb {{ sevrity }}", 'line 2: a message knows no "sevrity"; did you mean "severity"?'),
        ("{{ probe }}", ('line 1: a message knows no "probe"; known: actions, impact, incident, next_update, notes, severity, '
         "started, status, title, updated")),
        ("{{ range(9) }}", ("line 1: a message has no place for this (call); write text, {{ name }}, {% if name %} and "
         "{% for item in names %}")),
        ("{{ severity.__class__ }}", 'line 1: ".__class__" leads nowhere: every name is a text or a list of texts'),
        ("{{ severity | replace('a', 'b') }}", "line 1: this template cannot be read: No filter named 'replace'."),
        ("{{ severity * 99 }}", ("line 1: a message has no place for this (mul); write text, {{ name }}, {% if name %} and "
         "{% for item in names %}")),
        ("{% macro a() %}{% endmacro %}", ("line 1: a message has no place for this (macro); write text, {{ name }}, "
         "{% if name %} and {% for item in names %}")),
        ("{% include 'x' %}", ("line 1: a message has no place for this (include); write text, {{ name }}, {% if name %} and "
         "{% for item in names %}")),
        ("{% for x in severity %}{% endfor %}", "line 1: a loop goes over a list: actions, notes"),
        ("{{ actions }}", 'line 1: "actions" is a list; write {% for item in actions %}'),
        ("{% for x in actions recursive %}{% endfor %}", "line 1: a loop cannot contain itself"),
        ("{% for x in actions %}{% for y in actions %}{% for z in actions %}{% endfor %}{% endfor %}{% endfor %}",
         "line 1: loops within loops within loops; two are enough"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_what_would_be_right(template: str, expected: str) -> None:
    assert expected in wording_mistakes("status_update", template)


def test_a_template_may_not_be_endless_itself() -> None:
    told = wording_mistakes("review", "x" * (MOST_TEMPLATE_CHARACTERS + 1))
    assert told == ("too long for a message: 16385 characters; at most 16384",)
    assert wording_mistakes("review", "{% if cause %}" * 2000 + "{% endif %}" * 2000)[0].startswith("too long")
    assert wording_mistakes("review", "{{ " + "(" * 5000 + "cause" + ")" * 5000 + " }}") == (
        "this template is nested too deep",
    )


@pytest.mark.parametrize(
    ("template", "actions", "why"),
    [
        ("{% for a in actions %}{% for b in actions %}{% endfor %}{% endfor %}", ["x"] * 100,
         "its loops go round more than 1000 times"),
        ("{% for a in actions %}{{ a }}{% endfor %}", ["x" * 1000] * 100, f"it becomes longer than {MOST_CHARACTERS} characters"),
        ("{{ actions | join(actions | join(actions | join)) }}", ["x" * 10] * 90,
         f"a join becomes longer than {MOST_CHARACTERS} characters"),
        ("{% if severity > 3 %}{% endif %}", [], "'>' not supported between instances of 'str' and 'int'"),
        ("{{ actions | first }}", [], "No first item, sequence was empty."),
        ("{% if severity %}{{ x }}{% endif %}", [], 'line 1: a message knows no "x"'),
    ],
)  # fmt: skip
def test_what_fails_when_it_is_said_is_said_in_our_words_and_says_so(
    template: str, actions: list[str], why: str
) -> None:
    words = {**WORDS, "actions": actions}
    told = update(template, words)
    ours, _, note = told.rpartition("\n")
    assert ours == update("", words)
    assert note.startswith(f"(The runbook's wording messages.status_update cannot be used: {why}")


@pytest.mark.parametrize("hostile", ["{{ severity }}", "{% for x in actions %}", "{{ ''.__class__ }}", "{#"])
def test_what_people_write_is_never_a_template(hostile: str) -> None:
    assert f"Impact: {hostile}" in phrase("status_update", BUILT_IN, {**WORDS, "impact": hostile})


def test_a_name_that_is_not_given_is_empty() -> None:
    assert phrase("status_update", replace(BUILT_IN, status_update="[{{ impact }}]"), {}) == "[]"
