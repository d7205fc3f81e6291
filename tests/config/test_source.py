"""YAML text as values with places."""

from __future__ import annotations

import time

import pytest

from monitor.core.source import MAX_BYTES, ConfigError, Document, parse


def read(text: str | bytes, **env: str) -> Document:
    return parse("f.yaml", text, env)


def complaint(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as told:
        read(text)
    assert len(told.value.problems) == 1
    return str(told.value)


def test_scalars_are_what_they_look_like() -> None:
    text = "{a: no, b: 18:00, c: 2026-01-01, d: 012, e: 15, f: 1.5, g: true, h: '5', i: 1e5, j: 0x10}"
    assert read(text).value == {
        "a": "no", "b": "18:00", "c": "2026-01-01", "d": "012", "e": 15, "f": 1.5, "g": True, "h": "5",
        "i": "1e5", "j": "0x10",
    }  # fmt: skip


def test_variables_are_filled_into_values_only() -> None:
    document = read("a: x${ONE}y${TWO:-two}\nb: $$ $5 $${ONE}\n${ONE}: c\nd: '${ONE}'", ONE="1")
    assert document.value == {"a": "x1ytwo", "b": "$ $5 ${ONE}", "${ONE}": "c", "d": "1"}
    assert not document.problems


def test_a_default_counts_where_the_variable_is_empty() -> None:
    assert read("a: ${A:-x}\nb: ${B:-}", A="").value == {"a": "x", "b": ""}


def test_what_a_variable_holds_is_never_yaml() -> None:
    document = read("a: ${A}", A="[1, 2]\nb: 3 ${B} $$")
    assert document.value == {"a": "[1, 2]\nb: 3 ${B} $$"}


def test_merge_keys_give_way_to_the_mappings_own() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {c: 3, a: 9}\nz: {b: 5, <<: [*x, *y]}"
    assert read(text).value["z"] == {"b": 5, "a": 1, "c": 3}


def test_every_value_has_a_place() -> None:
    document = read("a:\n  b: [1,\n    two]\n")
    assert document.place(("a", "b", 1)) == (3, 5)
    assert document.place(("a", "b"), at_key=True) == (2, 3)
    assert document.place(("a", "b", 7, "c")) == (2, 3)
    assert document.place(("nowhere",)) == (1, 1)


def test_places_count_characters_and_not_bytes() -> None:
    assert read("é: {ü: ö, ß: 1}").place(("é", "ß")) == (1, 14)


def test_a_byte_order_mark_is_nothing() -> None:
    assert read("\ufeffa: 1".encode()).value == {"a": 1}


def test_windows_line_ends_are_line_ends() -> None:
    document = read("a: 1\r\nb: 2\r\n")
    assert (document.value, document.place(("b",))) == ({"a": 1, "b": 2}, (2, 4))


def test_bytes_that_are_no_text_are_told() -> None:
    assert complaint(b"a: 1\nb: \xff\n") == "f.yaml:2:4: not UTF-8 text; save the file as UTF-8"


def test_utf_16_is_told() -> None:
    assert complaint("a: 1".encode("utf-16")) == "f.yaml:1:1: not UTF-8 text; save the file as UTF-8"


def test_a_lone_surrogate_is_told() -> None:
    assert complaint("a: \ud800") == "f.yaml:1:4: the character U+D800 is not allowed in YAML; remove it"


def test_an_alias_to_itself_is_told() -> None:
    assert complaint("a: &a [*a]") == 'f.yaml:1:8: "*a" refers to no "&a" above it'


def test_control_characters_do_not_reach_the_terminal() -> None:
    document = read('"\\e[31m\\n": ')
    assert [str(problem) for problem in document.problems] == [
        "f.yaml:1:12:  [31m : has no value; write one, or drop the key"
    ]


BILLION = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"a: " + b"x" * 10 * 2**20, id="10 MB"),
        pytest.param("a" * (MAX_BYTES + 1), id="one too many"),
        pytest.param(BILLION, id="billion laughs"),
        pytest.param("x: &x {a: 1}\n" + "b: {<<: [" + "*x, " * 200_000 + "*x]}\n", id="merges"),
        pytest.param("[" * 200_000, id="open brackets"),
        pytest.param("- " * 200_000, id="lists in lists"),
        pytest.param("".join(f"a{i}: &a{i} [*a{i - 1}]\n" if i else "a0: &a0 x\n" for i in range(5000)), id="a chain"),
        pytest.param("? " * 5000, id="keys of keys"),
    ],
)
def test_a_bomb_is_told_within_a_second(text: str | bytes) -> None:
    began = time.process_time()
    assert complaint(text).startswith("f.yaml:")
    assert time.process_time() - began < 1.0


def test_a_large_file_of_many_mistakes_is_told_soon_and_in_part() -> None:
    began = time.process_time()
    document = read("".join(f"k{i}:\n" for i in range(20_000)))
    assert len(document.problems) == 100
    assert time.process_time() - began < 1.0
