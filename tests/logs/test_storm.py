"""Random histories: rotations of all kinds, half lines, kills and restarts, several of them between two looks.

Each prints its seed when it fails. As long as the bytes are still somewhere, every line counts exactly once.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.logs.worker import Worker
from tests.logs.application import Application, LocalWriter
from tests.logs.rig import Rig

STORM_SECONDS = 5.0
SOAK_SECONDS = 240.0


class Storm:
    """One history. A step is one thing that happens to the log, or one look at it."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.random = random.Random(seed)
        self.application = application = Application(rig, self.random)
        self.did: list[str] = []
        self.happenings: list[tuple[int, Callable[[], None]]] = [
            (30, application.write), (8, application.write_half), (10, application.rename),
            (4, application.rename_late), (6, self.copytruncate), (4, self.pack), (25, self.rig.read), (8, self.rig.look), (8, self.rig.save), (4, self.kill), (4, self.wait),
        ]  # fmt: skip

    def run(self, steps: int) -> None:
        self.rig.start()
        self.rig.save()
        weights = [weight for weight, _ in self.happenings]
        for _ in range(steps):
            ((_, happening),) = self.random.choices(self.happenings, weights)
            self.did.append(happening.__name__)
            happening()
        self.application.finish_line()
        self.rig.read()
        self.rig.settle()

    def copytruncate(self) -> None:
        self.application.come_to_rest()
        self.rig.copytruncate()

    def pack(self) -> None:
        """Pack the second last, as `delaycompress` does: nobody writes to it any more."""
        path = self.rig.rotated(2)
        if path.exists():
            status = path.stat()
            packed = path.with_name(path.name + ".gz")
            with path.open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as out:
                shutil.copyfileobj(plain, out)
            os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
            path.unlink()
            packed.rename(self.rig.folder / f"{self.rig.path.name}-{self.rig.random.randrange(10**8, 10**9)}.gz")

    def kill(self) -> None:
        self.rig.restart()

    def wait(self) -> None:
        self.application.come_to_rest()
        self.rig.settle()


class StormBesideAnother(Storm):
    """Of two numbered logs of one pattern, both are written, and the other one is rotated too."""

    def __init__(self, rig: Rig, seed: int) -> None:
        super().__init__(rig, seed)
        self.other = rig.folder / "bff-1.log"
        rig.path, rig.pattern = rig.folder / "bff-0.log", str(rig.folder / "bff-*.log")
        rig.writer.reopen(rig.path)
        rig.writer.open(self.other, name="other")
        self.happenings += [(30, self.write_other), (6, self.rename_other), (4, self.copytruncate_other)]

    def write_other(self) -> None:
        self.rig.write(self.random.choice((1, 2, 9)), "other")

    def rename_other(self) -> None:
        self.other.rename(self._free_name())
        self.rig.writer.reopen(self.other, "other")

    def copytruncate_other(self) -> None:
        shutil.copyfile(self.other, self._free_name())
        os.truncate(self.other, 0)

    def _free_name(self) -> Path:
        return self.rig.folder / f"bff-1.log.{len(list(self.rig.folder.iterdir()))}"


def storm(folder: Path, worker: Worker, seed: int, kind: type[Storm] = Storm) -> bool:
    folder.mkdir()
    writer = LocalWriter()
    rig = Rig(folder, worker, writer, seed)  # type: ignore[arg-type]
    writer.open(rig.path)
    history = kind(rig, seed)
    try:
        history.run(60)
        exact = rig.is_exact()
        if not exact:
            print("seed", seed, "history", history.did)
        return exact
    finally:
        rig.stop()
        writer.stop()
        shutil.rmtree(folder)


def storms(folder: Path, worker: Worker, seconds: float, kind: type[Storm] = Storm) -> None:
    first = random.randrange(10**9)
    until = time.monotonic() + seconds
    seed = first
    while time.monotonic() < until:
        assert storm(folder / str(seed), worker, seed, kind), f"seed {seed}"
        seed += 1
    print(f"{seed - first} histories from seed {first}")


def test_every_line_counts_once_in_random_histories(tmp_path: Path, worker: Worker) -> None:
    storms(tmp_path, worker, STORM_SECONDS)


def test_every_line_of_two_logs_counts_once_in_random_histories(tmp_path: Path, worker: Worker) -> None:
    storms(tmp_path, worker, STORM_SECONDS / 2, StormBesideAnother)


@pytest.mark.soak
def test_every_line_counts_once_for_minutes(tmp_path: Path, worker: Worker) -> None:
    storms(tmp_path, worker, SOAK_SECONDS)
