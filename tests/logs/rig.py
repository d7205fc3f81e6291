"""A log with a real writer, followed by the real thing, with a clock that the test turns.

Every line carries a random number as its response time. So the sum and the count of what was read say whether each
line was counted exactly once: a lost and a doubled line do not make up for each other.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.logs.follow import DRAIN_SECONDS
from monitor.logs.journal import Journal
from monitor.logs.scan import Delta, Spec
from monitor.logs.worker import Worker
from tests.servers import tool

WRITER = Path(__file__).with_name("writer.py")


class Writer:
    """A process of its own that holds the log open and writes what it is told."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", str(WRITER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, *words: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"

    def open(self, path: Path, mode: str = "a", name: str = "log") -> None:
        self.tell("open", name, str(path), mode)

    def write(self, data: bytes, name: str = "log") -> None:
        self.tell("write", name, data.hex())

    def reopen(self, path: Path, name: str = "log") -> None:
        self.tell("close", name)
        self.open(path, name=name)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()


class Rig:
    """The log, the expectation, and the reader."""

    def __init__(self, folder: Path, worker: Worker, writer: Writer, seed: int = 1) -> None:
        self.folder, self.worker, self.writer = folder, worker, writer
        self.path = folder / "app.log"
        self.pattern = str(self.path)
        self.random = random.Random(seed)
        self.now = 1000.0
        self.lines = 0
        self.total = 0
        self.saved: bytes | None = None
        self.journal: Journal | None = None
        self.spec = Spec()

    # ---- writing

    def line(self, padding: int = 0) -> bytes:
        """A line that is expected to be counted once."""
        number = self.random.randrange(2**32)  # so that the sum of millions of lines is exact in a float
        self.lines += 1
        self.total += number
        record = {"level": 30, "time": int(time.time() * 1000), "res": {"statusCode": 200}, "responseTime": number}
        more = {"padding": "x" * padding} if padding else {}
        return json.dumps(record | more | {"msg": "request completed"}).encode() + b"\n"

    def many(self, count: int, padding: int = 0) -> bytes:
        return b"".join(self.line(padding) for _ in range(count))

    def write(self, count: int = 1, name: str = "log") -> None:
        for _ in range(count):
            self.writer.write(self.line(), name)

    def rotated(self, number: int = 1, suffix: str = "") -> Path:
        return self.path.with_name(f"{self.path.name}.{number}{suffix}")

    def copytruncate(self, number: int = 1) -> None:
        self.copy(number)
        self.cut()

    def copy(self, number: int = 1) -> None:
        for older in range(99, number - 1, -1):
            if self.rotated(older).exists():
                self.rotated(older).rename(self.rotated(older + 1))
        shutil.copyfile(self.path, self.rotated(number))

    def cut(self) -> None:
        with self.path.open("r+b") as log:
            log.truncate(0)

    def shift(self) -> None:
        """Rename the log to `.1`, and what is there one further."""
        for older in range(99, 0, -1):
            if self.rotated(older).exists():
                self.rotated(older).rename(self.rotated(older + 1))
        self.path.rename(self.rotated(1))

    def logrotate(self, *words: str) -> None:
        """The real one, forced."""
        program = tool("logrotate")
        assert program
        configuration = self.folder / "logrotate.conf"
        state = self.folder / "logrotate.state"
        configuration.write_text(f"{self.path} {{\n rotate 9\n missingok\n " + "\n ".join(words) + "\n}\n")
        configuration.chmod(0o644)
        subprocess.run([program, "-f", "-s", str(state), str(configuration)], check=True, capture_output=True)

    # ---- reading

    def start(self) -> None:
        """Begin to follow, from what was saved if anything was."""
        self.journal = Journal(self.pattern, self.spec, self.worker, lambda: self.now, time.time, 300.0)
        if self.saved:
            self.journal.restore(self.saved)
        self.read()

    def look(self) -> None:
        assert self.journal
        self.now += 0.25
        self.journal.look()

    def read(self) -> None:
        """Look, and read what is new."""
        assert self.journal
        self.look()
        while self.journal.advance():
            pass

    def settle(self) -> None:
        """Let the time pass after which rotated files are let go."""
        for _ in range(4):
            self.now += DRAIN_SECONDS + 1
            self.read()

    def save(self) -> None:
        assert self.journal
        self.saved = self.journal.freeze(at_once=True) or self.saved

    def stop(self) -> None:
        if self.journal:
            self.journal.close()
        self.journal = None

    def restart(self) -> None:
        """What `kill -9` leaves: only what was saved."""
        self.stop()
        self.start()

    # ---- judging

    @property
    def totals(self) -> Delta:
        assert self.journal
        return self.journal.totals

    @property
    def lost(self) -> int:
        return self._lost()[0]

    @property
    def gaps(self) -> int:
        return self._lost()[1]

    def _lost(self) -> tuple[int, int]:
        """What the counters say once the state is saved."""
        assert self.journal
        self.save()
        self.journal.publish()
        return self.journal.published_lost

    def counted(self) -> tuple[int, int]:
        """How many requests were read, and the sum of their numbers."""
        histogram = self.totals.latencies.get("")
        return self.totals.requests, int(histogram.sum_ms) if histogram else 0

    def is_exact(self, *, others: int = 0, lost: int = 0) -> bool:
        """Every expected line once, so many other lines, so many bytes lost; prints what is not so."""
        expected = (self.lines, self.total), self.lines + others, lost, 0
        found = self.counted(), self.totals.lines, self.lost, self.gaps
        if found != expected:
            print("expected (requests, sum), lines, lost, gaps:", expected, "found:", found)
        return found == expected


@contextmanager
def rig(folder: Path, worker: Worker, seed: int = 1) -> Iterator[Rig]:
    """A rig whose writer has the log open, which is empty yet."""
    writer = Writer()
    one = Rig(folder, worker, writer, seed)
    try:
        yield one
    finally:
        one.stop()
        writer.stop()
