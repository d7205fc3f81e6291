"""One bad file per mistake, each with its exact messages in lines that begin with `#=`."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.core.loading import ConfigError
from tests.config.loading import BAD, load_pair

FILES = sorted(BAD.glob("*.yaml"))


def expected(file: Path) -> list[str]:
    lines = file.read_bytes().decode(errors="replace").splitlines()
    return [line.removeprefix("#= ") for line in lines if line.startswith("#= ")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_mistake_is_told_with_its_place_and_what_would_be_right(file: Path) -> None:
    with pytest.raises(ConfigError) as told:
        load_pair(file)
    problems = [str(problem) for problem in told.value.problems]
    assert problems == expected(file)
    assert str(told.value) == "\n".join(problems)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_message_shows_a_secret(file: Path) -> None:
    with pytest.raises(ConfigError) as told:
        load_pair(file)
    assert "CANARY" not in str(told.value)
    assert "CANARY" not in repr(told.value)


def test_there_is_a_file_for_every_mistake_we_know() -> None:
    assert len(FILES) > 100
