"""Runs the scan in a child process, because one backtracking pattern or huge line holds the interpreter for seconds.

The child is given an open file with each question and answers with counts; it keeps nothing. It is killed when a
question takes over two seconds, and replaced when it dies. The line that did it is found by asking again with care, when
the child says of each line that it begins; that line is counted and passed over. It dies with its parent: its standard input, a socket, ends; and an alarm bounds the longest it can be deaf to that.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from monitor.logs.read import Answer, Ask, find, read
from monitor.logs.scan import Scanner, Spec

BLOCK_SECONDS = 2.0  # a stretch that takes longer holds a hostile line
LINE_SECONDS = 1.0  # one line
START_SECONDS = 30.0
STARVED_MOST = 10  # times so long is waited for a child that gets no processor
ALARM_SECONDS = 30.0  # the child ends itself: its parent may be gone
COLLECT_EVERY = 1000  # answers
CHILD_BYTES = 512 * 2**20  # of address space

_LENGTH = struct.Struct("!I")
_EMPTY = _LENGTH.pack(0)  # from the child: ready, or about to begin a line
_ASK = msgspec.msgpack.Decoder(Ask)
_ANSWER = msgspec.msgpack.Decoder(Answer)


class ChildLost(Exception):
    """The child did not answer. `is_proof`: because of what it was given, and not because somebody killed it."""

    def __init__(self, message: str, *, is_proof: bool = False) -> None:
        super().__init__(message)
        self.is_proof = is_proof


class Unreadable(Exception):
    """The system refuses to let the file be read; the message is its word for why."""


class Worker:
    """The one child, asked from one thread. `stretch` never fails because of what a line holds."""

    def __init__(self) -> None:
        self.restarts = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._begun_lines = 0  # by the child, where it was asked to be careful

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._child.pid if self._child else None

    def stretch(self, fd: int, ask: Ask) -> Answer:
        """The answer to `ask` about the file open at `fd`, made without the lines that cannot be read in time.

        Unreadable where the system refuses; OSError where no child can be started.
        """
        try:
            return self.ask(fd, ask, BLOCK_SECONDS)
        except ChildLost:
            return self._around(fd, ask)

    def ask(self, fd: int, ask: Ask, seconds: float) -> Answer:
        """The child's answer within `seconds`; ChildLost where there is none."""
        if self._socket is None:
            try:
                self.start()
            except OSError as error:
                self.stop()
                raise ChildLost(f"cannot be started: {error}") from error
        assert self._socket
        message = msgspec.msgpack.encode(ask)
        try:
            self._socket.settimeout(seconds)
            socket.send_fds(self._socket, [_LENGTH.pack(len(message)) + message], [fd])
            self._begun_lines = 0
            while not (reply := self._receive(seconds)):
                self._begun_lines += 1
            answer = _ANSWER.decode(reply)
        except (OSError, msgspec.DecodeError) as error:  # TimeoutError is an OSError
            self.stop()
            self.restarts += 1
            raise ChildLost(str(error), is_proof=isinstance(error, TimeoutError)) from error
        if answer.unreadable:
            raise Unreadable(answer.unreadable)
        if answer.failed:
            raise ChildLost(answer.failed, is_proof=True)
        return answer

    def _around(self, fd: int, ask: Ask) -> Answer:
        """A stretch that the child was lost on: all before the line that did it, and that line counted and passed over."""
        replace = msgspec.structs.replace
        begun = 0
        for _ in range(3):
            try:
                return self.ask(fd, replace(ask, careful=True), LINE_SECONDS)
            except ChildLost as lost:
                is_again = begun == self._begun_lines
                begun = self._begun_lines
                if begun and (lost.is_proof or is_again):
                    break
        else:
            raise ChildLost("the reading process dies again and again")
        before = self.ask(fd, replace(ask, lines=begun - 1), BLOCK_SECONDS) if begun > 1 else None
        if before and before.moved:
            return before  # the file was cut: nothing of this stretch counts
        if before:
            last_event = before.delta.last_event
            ask = replace(
                ask,
                offset=before.offset,
                head=before.head,
                anchor=before.anchor,
                skip=before.skip,
                last_event=last_event,
            )
        answer = self.ask(fd, replace(ask, lines=1, hostile=True), BLOCK_SECONDS)
        if before and not answer.moved:
            before.delta.add(answer.delta)
            before.delta.add_buckets(answer.delta.buckets)
            answer.delta = before.delta
        return answer

    def _receive(self, seconds: float) -> bytes:
        """The next message. TimeoutError when the child has worked for so long, not when it was kept from working."""
        assert self._socket
        began = self._worked_seconds()
        data, size = bytearray(), _LENGTH.size
        for _ in range(STARVED_MOST):
            try:
                while len(data) < size:
                    piece = self._socket.recv(size - len(data))
                    if not piece:
                        raise ConnectionResetError("the other side is gone")
                    data += piece
                    if len(data) == _LENGTH.size:
                        size += _LENGTH.unpack(data)[0]
                return bytes(data[_LENGTH.size :])
            except TimeoutError:
                if self._worked_seconds() - began > seconds / 2:
                    raise
        raise TimeoutError("the child was kept from working")

    def _worked_seconds(self) -> float:
        """The processor time that the child has used."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it is gone, or this system does not say
            return float("inf")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def start(self) -> None:
        """Start the child; a question does so where there is none. OSError where it cannot be started."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", "monitor.logs.worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # Nothing of ours is for the child: it inherits no secret and no other file.
                env={"PYTHONPATH": str(Path(__file__).parents[2]), "LC_ALL": "C.UTF-8"},
            )
        self._socket = ours
        ours.settimeout(START_SECONDS)
        self._receive(START_SECONDS)  # it is ready: starting up is on nobody's time

    def stop(self) -> None:
        """End the child, if there is one."""
        if self._socket:
            self._socket.close()
            self._socket = None
        if self._child:
            self._child.kill()
            self._child.wait()
            self._child = None


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the other side is gone")
        data += piece
    return bytes(data)


def answer(fd: int, ask: Ask, scanner: Scanner, begin_line: Callable[[], None]) -> Answer:
    """What the child says to a question about an open file. Our own mistakes become words.

    `begin_line` is called before each line if the question asks for care.
    """
    try:
        if ask.since is not None:
            return Answer(offset=find(fd, scanner, ask.since))
        return read(fd, scanner, ask, begin_line)
    except OSError as error:
        return Answer(unreadable=error.strerror or str(error))
    except (Exception, MemoryError) as error:  # whatever a line made us do wrong, that line is passed over
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Answer(failed=f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}")


def main() -> None:
    """The child: answers questions from the socket that is its standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides when we end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (CHILD_BYTES, CHILD_BYTES))
    with contextlib.suppress(OSError):
        os.nice(5)  # catching up must not slow the parent's probes
    gc.freeze()
    gc.disable()  # a tenth of the time; nothing here makes cycles but now and then an exception
    connection = socket.socket(fileno=os.dup(0))
    connection.sendall(_EMPTY)
    scanners: dict[bytes, Scanner] = {}
    answers = 0
    with contextlib.suppress(ConnectionError):
        while True:
            data, fds, _, _ = socket.recv_fds(connection, _LENGTH.size, 1)
            if not data:
                return
            data += _exactly(connection, _LENGTH.size - len(data))
            ask = _ASK.decode(_exactly(connection, _LENGTH.unpack(data)[0]))
            signal.setitimer(signal.ITIMER_REAL, ALARM_SECONDS)
            if ask.spec not in scanners:
                scanners[ask.spec] = Scanner(msgspec.msgpack.decode(ask.spec, type=Spec))
            reply = msgspec.msgpack.encode(answer(fds[0], ask, scanners[ask.spec], lambda: connection.sendall(_EMPTY)))
            signal.setitimer(signal.ITIMER_REAL, 0)
            answers += 1
            if answers % COLLECT_EVERY == 0:
                gc.collect()
            for fd in fds:
                os.close(fd)
            connection.sendall(_LENGTH.pack(len(reply)) + reply)


if __name__ == "__main__":
    main()
