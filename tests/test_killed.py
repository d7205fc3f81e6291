"""`kill -9` at any point: no page lost, none twice, timelines unbroken, nothing told or confirmed that was not saved."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile

import pytest

from tests.lifecycle import MEMORY


def kill(seed: int, kills: int) -> str:
    """So many lives, killed; the same points for the same seed, as far as time lets them. Returns what was counted."""
    with tempfile.TemporaryDirectory(prefix="portal-monitor-killed-", dir=MEMORY) as folder:
        command = [sys.executable, "-m", "tests.killed", folder, str(seed), str(kills)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def test_fifty_kills() -> None:
    print(kill(1, 50))


@pytest.mark.soak
@pytest.mark.parametrize("seed", [random.randrange(2**32) for _ in range(4)])
def test_a_thousand_kills(seed: int) -> None:
    print(kill(seed, 250))
