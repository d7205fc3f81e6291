"""Runs the scan in a child process, because one backtracking pattern or huge line holds the interpreter for seconds.

The child is given an open file with each question and answers with counts; it keeps nothing. It is killed when a
question takes over two seconds, and replaced when it dies. The line that did it is found by asking again with care, when
the child says of each few lines, and then of each one, that they begin; it is counted and passed over. It dies with its parent: its standard input, a socket, ends; and an alarm bounds the longest it can be deaf to that.
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
LINE_SECONDS = 1.0  # one line, or the few that are tried together
FEW_LINES = 256
START_SECONDS = 30.0
STARVED_MOST = 10  # times so long is waited for a child that gets no processor
ALARM_SECONDS = 30.0  # the child ends itself: its parent may be gone
COLLECT_EVERY = 1000  # answers
CHILD_BYTES = 512 * 2**20  # of address space

_LENGTH = struct.Struct("!I")
_READY = _LENGTH.pack(0)  # from the child, once
_BEGUN_BYTES = _LENGTH.size  # from the child: about to begin so many lines; no answer is as short
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
        self._begun = 0  # lines, by the child, where it was asked to be careful

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
            self._begun = 0
            while len(reply := self._receive(seconds)) == _BEGUN_BYTES:
                self._begun += _LENGTH.unpack(reply)[0]
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
        before: Answer | None = None
        for few in (FEW_LINES, 1):
            whole, begun = self._carefully(fd, msgspec.structs.replace(ask, careful=few))
            if whole:
                return _joined(before, whole)
            if begun > few:  # it is among the last few that began
                good = self.ask(fd, msgspec.structs.replace(ask, lines=begun - few), BLOCK_SECONDS)
                if good.moved:
                    return good  # the file was cut: nothing of this stretch counts
                ask, before = _after(ask, good), _joined(before, good)
            ask = msgspec.structs.replace(ask, lines=few)
        return _joined(before, self.ask(fd, msgspec.structs.replace(ask, lines=1, hostile=True), BLOCK_SECONDS))

    def _carefully(self, fd: int, ask: Ask) -> tuple[Answer | None, int]:
        """The answer to a question that asks for care; or how many lines the child had begun when it was lost."""
        begun = 0
        for _ in range(3):
            try:
                return self.ask(fd, ask, LINE_SECONDS), 0
            except ChildLost as lost:
                is_again = begun == self._begun
                begun = self._begun
                if begun and (lost.is_proof or is_again):
                    return None, begun
        raise ChildLost("the reading process dies again and again")

    def _receive(self, seconds: float) -> bytes:
        """The next message. TimeoutError when the child has worked for so long, not when it was kept from working."""
        assert self._socket
        worked: float | None = None  # when it was last looked at: to ask the system at each message would cost more
        data, size = bytearray(), _LENGTH.size
        self._socket.settimeout(seconds / 2)
        for _ in range(2 * STARVED_MOST):
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
                before, worked = worked, self._worked_seconds()
                if before is not None and worked - before > seconds / 4:
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


def _after(ask: Ask, answer: Answer) -> Ask:
    """The same question about what follows an answer."""
    return msgspec.structs.replace(
        ask, offset=answer.offset, head=answer.head, anchor=answer.anchor, skip=answer.skip,
        last_event=answer.delta.last_event,
    )  # fmt: skip


def _joined(before: Answer | None, answer: Answer) -> Answer:
    """One answer for two stretches, one after the other; where the file was cut meanwhile, nothing of both counts."""
    if before and not answer.moved:
        before.delta.take(answer.delta)
        answer.delta = before.delta
    return answer


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the other side is gone")
        data += piece
    return bytes(data)


def answer(fd: int, ask: Ask, scanner: Scanner, begin: Callable[[int], None]) -> Answer:
    """What the child says to a question about an open file. Our own mistakes become words.

    `begin` is told how many lines begin now, before each few of them, if the question asks for care.
    """
    try:
        if ask.since is not None:
            return Answer(offset=find(fd, scanner, ask.since))
        return read(fd, scanner, ask, begin)
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
    connection.sendall(_READY)
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

            def begin(lines: int) -> None:
                signal.setitimer(signal.ITIMER_REAL, ALARM_SECONDS)  # each few lines have their own time
                connection.sendall(_LENGTH.pack(_BEGUN_BYTES) + _LENGTH.pack(lines))

            if ask.spec not in scanners:
                scanners[ask.spec] = Scanner(msgspec.msgpack.decode(ask.spec, type=Spec))
            reply = msgspec.msgpack.encode(answer(fds[0], ask, scanners[ask.spec], begin))
            signal.setitimer(signal.ITIMER_REAL, 0)
            answers += 1
            if answers % COLLECT_EVERY == 0:
                gc.collect()
            for fd in fds:
                os.close(fd)
            connection.sendall(_LENGTH.pack(len(reply)) + reply)


if __name__ == "__main__":
    main()
