"""Every number of the shipped files is marked as the runbook's or ours, and docs/thresholds.md lists them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import thresholds
from tests.thresholds import BUILT_IN, FILES, PAGE, ROOT, defaults, mark, numbers

RUNBOOK = {  # what the incident runbook says: "error rate above 1%", "response times > 2s", "P1 15 minutes", …
    "probes.yaml": {"warn: error_ratio > 1%", "fail: latency_mean_seconds > 2s", "warn: duration_seconds > 2s"},
    "alerts/runbook.yaml": {
        "respond: 15m", "respond: 1h", "respond: 4h", "respond: 24h", "update_every: 30m", "update_every: 1h",
        "unresolved: 30m", "unresolved: 1h", "within_business_days: 3",
    },
}  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_every_number_says_whose_it_is(file: str) -> None:
    assert len(numbers(file)) > 40
    for one in numbers(file):
        assert one.whose, f'{file}:{one.line}: {one.written}: write "# ours" or "# runbook" beside it, and why'


@pytest.mark.parametrize("file", FILES)
def test_what_is_the_runbooks_is_what_the_runbook_says(file: str) -> None:
    assert {one.written for one in numbers(file) if one.whose == "runbook"} == RUNBOOK[file]


def test_the_page_lists_what_the_files_and_the_code_say() -> None:
    assert PAGE.read_text() == thresholds.page(), "write it anew: python -m tests.thresholds"


def test_every_condition_of_the_shipped_probes_is_on_the_page() -> None:
    from tests.config.test_shipped import shipped

    listed = {one.written.partition(": ")[2] for one in numbers("probes.yaml")}
    for probe in shipped().config.probes.values():
        for condition in (*probe.warn, *probe.fail, *probe.clear_warn, *probe.clear_fail):
            assert condition.text in listed, (probe.name, condition.text)


def test_every_default_that_is_a_number_is_listed() -> None:
    assert ("replay", "stale_after: 10m") in {(name, default) for name, default, _ in defaults()}
    assert ("http", "max_bytes: 1 MiB") in {(name, default) for name, default, _ in defaults()}
    assert ("log", "min_samples: 20") in {(name, default) for name, default, _ in defaults()}


def test_a_constant_of_the_probes_that_decides_is_listed() -> None:
    """A new `…_SECONDS`, `…_LEAST` or `…_SAMPLES` of a probe is either told on the page or no limit at all."""
    named = {name.rpartition(".")[2] for names in BUILT_IN.values() for name, _ in names}
    mechanics = {  # how often we look or how long we wait, which changes no verdict
        "WATCH_SECONDS", "WINDOW_MOST_SECONDS", "POLL_SECONDS", "SLOPE_MOST_SECONDS", "LIFE_SECONDS",
    }  # fmt: skip
    for path in sorted(Path(ROOT / "monitor" / "probes").glob("*.py")):
        for constant in re.findall(
            r"^([A-Z]\w*_(?:SECONDS|LEAST|SAMPLES|TIMES|REQUESTS)) =", path.read_text(), re.MULTILINE
        ):
            assert constant in named | mechanics, f"{path.name}: {constant}"


@pytest.mark.parametrize(
    ("line", "key", "found"),
    [
        ("    warn: a > 1   # ours: because", "warn", ("ours", "because")),
        ("    warn: a > 1   # runbook", "warn", ("runbook", "")),
        ("  - {for: 5m}   # hold ours: it is down", "for", ("ours", "it is down")),
        (
            "  P3: {respond: 4h, update_every: 4h}   # respond: runbook, update_every: ours",
            "update_every",
            ("ours", ""),
        ),
        ("  P3: {respond: 4h, update_every: 4h}   # respond: runbook, update_every: ours", "respond", ("runbook", "")),
        ("    warn: a > 1   # not in the runbook", "warn", ("", "")),
        ("    warn: a > 1", "warn", ("", "")),
        ('    do: "# ours"', "do", ("", "")),
    ],
)
def test_a_mark_is_read(line: str, key: str, found: tuple[str, str]) -> None:
    assert mark(line, key) == found
