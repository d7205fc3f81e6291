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
from tests.logs.rig import Rig

STORM_SECONDS = 5.0
SOAK_SECONDS = 240.0


class LocalWriter:
    """The same as the writer's process, in this one: a storm has tens of thousands of writes."""

    def __init__(self) -> None:
        self.files: dict[str, int] = {}

    def open(self, path: Path, mode: str = "a", name: str = "log") -> None:
        self.files[name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, data: bytes, name: str = "log") -> None:
        os.write(self.files[name], data)

    def reopen(self, path: Path, name: str = "log") -> None:
        os.close(self.files.pop(name))
        self.open(path, name=name)

    def stop(self) -> None:
        for fd in self.files.values():
            os.close(fd)


class Storm:
    """One history. A step is one thing that happens to the log, or one look at it."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.random = random.Random(seed)
        self.half = b""  # what is still to be written of a line
        self.late = False  # the writer has the old file
        self.did: list[str] = []
        self.happenings: list[tuple[int, Callable[[], None]]] = [
            (30, self.write), (8, self.write_half), (10, self.rename), (4, self.rename_late), (6, self.copytruncate),
            (4, self.pack), (25, self.rig.read), (8, self.rig.look), (8, self.rig.save), (4, self.kill), (4, self.wait),
        ]  # fmt: skip

    def run(self, steps: int) -> None:
        self.rig.start()
        self.rig.save()
        weights = [weight for weight, _ in self.happenings]
        for _ in range(steps):
            ((_, happening),) = self.random.choices(self.happenings, weights)
            self.did.append(happening.__name__)
            happening()
        self.finish_line()
        self.rig.read()
        self.rig.settle()

    def write(self) -> None:
        self.finish_line()
        self.rig.writer.write(self.rig.many(self.random.choice((1, 1, 2, 5, 40)), self.random.choice((0, 0, 3, 700))))

    def write_half(self) -> None:
        self.finish_line()
        line = self.rig.line()
        at = self.random.randrange(1, len(line))
        self.rig.writer.write(line[:at])
        self.half = line[at:]

    def finish_line(self) -> None:
        if self.half:
            self.rig.writer.write(self.half)
            self.half = b""

    def reopen(self) -> None:
        self.finish_line()
        self.rig.writer.reopen(self.rig.path)
        self.late = False

    def rename(self) -> None:
        if self.late:
            self.reopen()
        self.rig.shift()
        self.reopen()

    def rename_late(self) -> None:
        """The writer goes on in the old file until it opens the new one, if there is one already."""
        if self.late:
            self.reopen()
        self.rig.shift()
        if self.random.random() < 0.5:
            self.rig.path.touch()
        self.late = True

    def copytruncate(self) -> None:
        if self.late:
            self.reopen()
        self.finish_line()  # half a line on each side of a cut is no line
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
            packed.rename(self.rig.folder / f"app.log-{self.rig.random.randrange(10**8, 10**9)}.gz")

    def kill(self) -> None:
        self.rig.restart()

    def wait(self) -> None:
        if self.late:
            self.reopen()
        self.finish_line()
        self.rig.settle()


def storm(folder: Path, worker: Worker, seed: int) -> bool:
    folder.mkdir()
    writer = LocalWriter()
    rig = Rig(folder, worker, writer, seed)  # type: ignore[arg-type]
    writer.open(rig.path)
    history = Storm(rig, seed)
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


def storms(folder: Path, worker: Worker, seconds: float) -> None:
    first = random.randrange(10**9)
    until = time.monotonic() + seconds
    seed = first
    while time.monotonic() < until:
        assert storm(folder / str(seed), worker, seed), f"seed {seed}"
        seed += 1
    print(f"{seed - first} histories from seed {first}")


def test_every_line_counts_once_in_random_histories(tmp_path: Path, worker: Worker) -> None:
    storms(tmp_path, worker, STORM_SECONDS)


@pytest.mark.soak
def test_every_line_counts_once_for_minutes(tmp_path: Path, worker: Worker) -> None:
    storms(tmp_path, worker, SOAK_SECONDS)
