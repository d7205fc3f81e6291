"""What a store must be opened with to take part in the contract tests; a further kind joins by one more `Kind`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.store import Store
from tests.simulation import FakeClock


@dataclass(frozen=True)
class Kind:
    """One implementation: how to open what `place` stands for (a folder of the test's own) as the daemon would."""

    open: Callable[[Path, FakeClock], Store]


KINDS: Mapping[str, Kind] = {"sqlite": Kind(lambda place, clock: Store(place / "state.db", clock))}
