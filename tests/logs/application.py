"""An application that writes a log in this process: tens of thousands of writes, rotations by name, and half lines."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.logs.rig import Rig


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


class Application:
    """Writes whole and half lines, and is told of rotations, or not yet."""

    def __init__(self, rig: Rig, chance: random.Random) -> None:
        self.rig, self.random = rig, chance
        self.half = b""  # what is still to be written of a line
        self.late = False  # the old file is still open

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

    def rename(self) -> None:
        """Rotate and open the new file; what is left of a half line still goes into the old one."""
        self._follow()
        self.rig.shift()
        self._reopen()

    def rename_late(self) -> None:
        """Rotate and go on in the old file. The new one is there already, or not yet."""
        self._follow()
        self.rig.shift()
        if self.random.random() < 0.5:
            self.rig.path.touch()
        self.late = True

    def come_to_rest(self) -> None:
        """Have whole lines only, and the file of the log's name open: half a line on each side of a cut is no line."""
        self._follow()
        self.finish_line()

    def _follow(self) -> None:
        if self.late:
            self._reopen()

    def _reopen(self) -> None:
        self.finish_line()
        self.rig.writer.reopen(self.rig.path)
        self.late = False
