"""What a JSON body says about health: words that are good, words that are bad, and everything else."""

from __future__ import annotations

import pytest

from monitor.probes._health import MISSING, number, pick, steps, verdict


@pytest.mark.parametrize("word", ["ok", "OK", " up ", "Healthy", "pass", "connected", True, {"status": "up"}])
def test_a_good_word_is_good(word: object) -> None:
    assert verdict(word) is True


@pytest.mark.parametrize("word", ["fail", "DOWN", "error", "unhealthy", "disconnected", False, {"healthy": False}])
def test_a_bad_word_is_bad(word: object) -> None:
    assert verdict(word) is False


@pytest.mark.parametrize(
    "word",
    ["degraded", "warn", "", "okay-ish", None, 1, 0, 3.5, {}, {"status": 200}, {"status": {"up": True}}, [], ["?"]],
)
def test_anything_else_is_neither(word: object) -> None:
    assert verdict(word) is None


def test_a_list_is_good_if_all_its_parts_are_and_bad_if_one_is() -> None:
    assert verdict([{"status": "pass"}, {"status": "pass"}]) is True
    assert verdict([{"status": "pass"}, {"status": "warn"}, {"status": "fail"}]) is False
    assert verdict([{"status": "pass"}, {"status": "warn"}]) is None


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b-c", 1),
        ('.a["b-c"]', 1),
        ('["a"].list[1]', "y"),
        (".a.nothing", None),
        (".a.x", MISSING),
        (".a.list[2]", MISSING),
        (".a.b-c.deeper", MISSING),
        (".a[0]", MISSING),
    ],
)
def test_a_path_finds_what_jq_would(path: str, found: object) -> None:
    document = {"a": {"b-c": 1, "list": ["x", "y"], "nothing": None}}
    assert pick(document, path) == found


@pytest.mark.parametrize("path", ["", "a", ".", "..a", ".a.", ".a[", ".a[-1]", ".a b", ".[", '.a["]'])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="write it as for jq"):
        steps(path)


@pytest.mark.parametrize(("found", "value"), [(3, 3.0), (0.5, 0.5), (True, None), ("3", None), (None, None)])
def test_only_numbers_are_numbers(found: object, value: float | None) -> None:
    assert number(found) == value
