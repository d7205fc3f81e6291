"""Whatever stands in the files: a configuration, or problems with their places. Never another exception."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.core.loading import ConfigError, Loaded, load
from monitor.core.source import MAX_BYTES
from monitor.probes import discover
from tests.config.loading import ENV, GOOD, SHIPPED_ENV
from tests.config.test_shipped import PROBES_TEXT, RUNBOOK_TEXT

SMALL = ((GOOD / "probes.yaml").read_text(), (GOOD / "runbook.yaml").read_text())

WORDS = st.sampled_from([
    "", " ", "\t", "\n", "\n  ", ": ", "- ", "[", "]", "{", "}", "'", '"', "&a ", "*a", "<<: *a", "!!str ", "# ", "|\n",
    "null", "true", "15", "15s", "-1s", ".nan", "1e999", "${REDIS_URL}", "${X", "$$", "${X:-y}", "P1", "redis",
    "redis@warn", "redis/oom", "scenario:redis@P1", "type", "probes", "any", "needs", "\0", "\ud800", "\x1b[1m", "{{ x",
    "{% for %}", '{{ probe["redis"].keys }}', "é", "\u2028", "9" * 400, "a" * 100,
])  # fmt: skip


def outcome(probes: str | bytes, runbook: str | bytes, env: dict[str, str]) -> Loaded | ConfigError:
    """What becomes of the pair; anything else that is raised fails the test."""
    try:
        return load("probes.yaml", probes, types=discover(), env=env, read=lambda _: runbook)
    except ConfigError as error:
        told = error
    assert told.problems
    for problem in told.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert "\n" not in str(problem)
        assert "CANARY" not in str(problem)
    return told


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The text with a few pieces cut out, doubled or replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        text = text[:start] + draw(st.one_of(WORDS, st.just(text[start:end] * 2))) + text[end:]
    return text


@settings(deadline=None)
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200), st.lists(WORDS, max_size=30).map("".join)))
def test_any_text_is_a_configuration_or_a_list_of_problems(text: str | bytes) -> None:
    outcome(text, SMALL[1], ENV)
    outcome(SMALL[0], text, ENV)


@settings(deadline=None)
@given(mutated(SMALL[0]), mutated(SMALL[1]))
def test_any_slip_of_the_pen_is_a_configuration_or_a_list_of_problems(probes: str, runbook: str) -> None:
    outcome(probes, runbook, ENV)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated(PROBES_TEXT), mutated(RUNBOOK_TEXT))
def test_any_slip_in_the_shipped_files_is_survived(probes: str, runbook: str) -> None:
    outcome(probes, runbook, SHIPPED_ENV)


@settings(deadline=None, max_examples=50)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5))
def test_any_value_of_any_key_is_survived(value: object) -> None:
    keys = ("interval", "fail_after", "warn", "clear", "needs", "labels", "url", "url_file", "role", "type", "enabled")
    for key in keys:
        outcome(
            f"runbook: r\nprobes: {{redis: {{type: redis, url: '${{REDIS_URL}}', {key}: {value!r}}}}}", SMALL[1], ENV
        )


def test_the_cap_on_size_is_far_above_what_anybody_writes() -> None:
    assert len(PROBES_TEXT) * 50 < MAX_BYTES
