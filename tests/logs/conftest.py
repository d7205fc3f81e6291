from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.logs.worker import Worker
from tests.logs import rig as rigs


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """One reading process for all tests of this worker, as in the daemon."""
    one = Worker()
    yield one
    one.stop()


@pytest.fixture
def rig(tmp_path: Path, worker: Worker) -> Iterator[rigs.Rig]:
    """A log that is written and not yet followed."""
    with rigs.rig(tmp_path, worker) as one:
        one.writer.open(one.path)
        yield one
