"""The example in docs/ is what the code makes of its script today."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.cli import load
from tests.config.test_shipped import ROOT
from tests.example_review import example
from tests.test_shipped import ENVIRONMENT


async def test_the_example_is_the_draft_of_the_scripted_incident(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    drafted = await example(load("probes.yaml"), tmp_path)
    kept = (ROOT / "docs" / "example-review.md").read_text()
    assert drafted == kept, "written anew by: python -m tests.example_review > docs/example-review.md"
