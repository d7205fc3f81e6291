"""Random histories in which the log is rotated, cut and killed between any two system calls of the reader.

A storm of processes hits such a moment once in an hour; here each lasts as long as it takes. The files are real, and so
is the reader, but it reads in this process.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from monitor.logs.read import Answer, Ask
from monitor.logs.scan import Scanner, Spec
from monitor.logs.worker import answer
from tests.logs.application import Application, LocalWriter
from tests.logs.rig import Rig

RACES_SECONDS = 5.0
SOAK_SECONDS = 180.0
CALLS = ("stat", "fstat", "pread", "open", "scandir", "lseek")


class LocalWorker:
    """The reading that the child does, done here."""

    def __init__(self) -> None:
        self.scanner = Scanner(Spec())

    def stretch(self, fd: int, ask: Ask) -> Answer:
        copied = msgspec.msgpack.decode(msgspec.msgpack.encode(ask), type=Ask)
        return answer(fd, copied, self.scanner, lambda _: None)

    def ask(self, fd: int, ask: Ask, _seconds: float) -> Answer:
        return self.stretch(fd, ask)


class Killed(BaseException):
    """The reader is dead."""


class Races:
    """One history: the reader looks, reads and saves; whatever else happens, happens amid its system calls."""

    def __init__(self, rig: Rig, writer: LocalWriter, seed: int) -> None:
        self.rig, self.writer = rig, writer
        self.random = random.Random(seed)
        self.amid = False  # something is happening: its own system calls are not the reader's
        self.left = 0  # things that may happen during one step of the reader
        self.copied = False  # the copy is made, the cut is to come
        self.application = application = Application(rig, self.random)
        self.did: list[str] = []
        self.opened: list[int] = []  # by the reader: what the system closes when it is killed
        self.share = self.random.choice((0.01, 0.03, 0.1, 0.3))
        self.happenings: list[tuple[int, Callable[[], None]]] = [
            (30, application.write), (6, application.write_half), (8, application.rename),
            (4, application.rename_late), (8, self.copy), (2, self.kill),
        ]  # fmt: skip

    def happen(self) -> None:
        if self.amid or not self.left or self.random.random() > self.share:
            return
        self.left -= 1
        self.amid = True
        try:
            if self.copied:
                self.cut()
            else:
                ((_, happening),) = self.random.choices(self.happenings, [one for one, _ in self.happenings])
                self.did.append(happening.__name__)
                happening()
        finally:
            self.amid = False

    def run(self, steps: int) -> None:
        self.amid = True
        self.rig.start()
        self.rig.save()
        self.amid = False
        for _ in range(steps):
            step = self.random.choice((self.rig.look, self.rig.read, self.rig.read, self.rig.read, self.rig.save))
            self.did.append("<" + step.__name__)
            self.left = self.random.randrange(5)
            try:
                step()
            except Killed:
                self.restart()
            self.did.append(">")
        self.amid = True
        self.application.finish_line()
        self.cut()
        self.rig.read()
        self.rig.settle()

    def restart(self) -> None:
        for _ in range(20):
            self.rig.stop()
            self.close_opened()
            try:
                self.rig.start()
            except Killed:
                continue
            return

    def close_opened(self) -> None:
        mine = set(self.writer.files.values())
        for fd in self.opened:
            with suppress(OSError):
                if fd not in mine:
                    os.close(fd)
        self.opened = []

    def copy(self) -> None:
        """The first half of a copytruncate."""
        self.application.come_to_rest()
        self.rig.copy()
        self.copied = True

    def cut(self) -> None:
        """The second half: what is written between them is in neither file."""
        if self.copied:
            self.rig.cut()
            self.copied = False

    def kill(self) -> None:
        raise Killed


@contextmanager
def between_calls(history: Races) -> Iterator[None]:
    """Have things happen before each system call of the reader that touches a file."""

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def after(*words: Any, **more: Any) -> Any:
            history.happen()
            found = call(*words, **more)
            if call is os_open and not history.amid:
                history.opened.append(found)
            return found

        return after

    os_open = os.open
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, wrapped(getattr(os, name)))
        yield


def race(folder: Path, seed: int) -> bool:
    folder.mkdir()
    writer = LocalWriter()
    rig = Rig(folder, LocalWorker(), writer, seed)  # type: ignore[arg-type]
    writer.open(rig.path)
    history = Races(rig, writer, seed)
    try:
        with between_calls(history):
            history.run(30)
        exact = rig.is_exact()
        if not exact:
            print("seed", seed, "history", " ".join(history.did))
        return exact
    finally:
        rig.stop()
        writer.stop()
        shutil.rmtree(folder)


def races(folder: Path, seconds: float) -> None:
    first = random.randrange(10**9)
    until = time.monotonic() + seconds
    seed = first
    while time.monotonic() < until:
        assert race(folder / str(seed), seed), f"seed {seed}"
        seed += 1
    print(f"{seed - first} histories from seed {first}")


def test_every_line_counts_once_whatever_happens_between_two_system_calls(tmp_path: Path) -> None:
    races(tmp_path, RACES_SECONDS)


@pytest.mark.soak
def test_races_for_minutes(tmp_path: Path) -> None:
    races(tmp_path, SOAK_SECONDS)
