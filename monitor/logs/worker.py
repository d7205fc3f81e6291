"""Runs the scan in a child process, because one backtracking pattern or huge line holds the interpreter for seconds.

The child is given an open file with each question and answers with counts; it keeps nothing. It is killed when a
question takes over two seconds, replaced when it dies, and the line that did it is found by halving, counted and passed
over. It dies with its parent: its standard input, a socket, ends; and an alarm bounds the longest it can be deaf to that.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import traceback
from pathlib import Path

import msgspec

from monitor.logs.read import Answer, Ask, find, read
from monitor.logs.scan import Scanner, Spec

BLOCK_SECONDS = 2.0  # a stretch that takes longer holds a hostile line
PIECE_SECONDS = 0.25  # while halving; a line is given up only after BLOCK_SECONDS of its own
START_SECONDS = 30.0
STARVED_MOST = 10  # times so long is waited for a child that gets no processor
ALARM_SECONDS = 30.0  # the child ends itself: its parent may be gone
CHILD_BYTES = 512 * 2**20  # of address space
PIECE_LINES, SHORT_LINE_BYTES = 4096, 64

_LENGTH = struct.Struct("!I")
_ASK = msgspec.msgpack.Decoder(Ask)
_ANSWER = msgspec.msgpack.Decoder(Answer)


class ChildLost(Exception):
    """The child did not answer: it was killed because it took too long, or it died."""


class Unreadable(Exception):
    """The system refuses to let the file be read; the message is its word for why."""


class Worker:
    """The one child, asked from one thread. `stretch` never fails because of what a line holds."""

    def __init__(self) -> None:
        self.restarts = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

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
                self._start()
            except OSError as error:
                self.stop()
                raise ChildLost(f"cannot be started: {error}") from error
        assert self._socket
        message = msgspec.msgpack.encode(ask)
        try:
            self._socket.settimeout(seconds)
            socket.send_fds(self._socket, [_LENGTH.pack(len(message)) + message], [fd])
            answer = _ANSWER.decode(self._receive(seconds))
        except (OSError, msgspec.DecodeError) as error:  # TimeoutError is an OSError
            self.stop()
            self.restarts += 1
            raise ChildLost(str(error)) from error
        if answer.unreadable:
            raise Unreadable(answer.unreadable)
        if answer.failed:
            raise ChildLost(answer.failed)
        return answer

    def _around(self, fd: int, ask: Ask) -> Answer:
        """A stretch that the child was lost on, up to the line that did it, which is counted and passed over."""
        whole: Answer | None = None
        lines = min(PIECE_LINES, max(1, ask.limit // SHORT_LINE_BYTES))
        near = False  # whether the line is known to be among the next `lines`
        while True:
            piece = msgspec.structs.replace(ask, lines=lines)
            try:
                part = self.ask(fd, piece, PIECE_SECONDS if lines > 1 else BLOCK_SECONDS)
            except ChildLost:
                near = True
                if lines > 1:
                    lines //= 2
                    continue
                part = self.ask(fd, msgspec.structs.replace(piece, hostile=True), BLOCK_SECONDS)
                return _joined(whole, part)
            if part.moved:
                return part  # the file was cut: nothing of this stretch counts
            whole = _joined(whole, part)
            if part.offset == ask.offset:
                return whole
            ask = msgspec.structs.replace(
                ask, offset=part.offset, anchor=part.anchor, skip=part.skip, last_event=part.delta.last_event
            )
            lines = max(1, lines // 2) if near else lines

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

    def _start(self) -> None:
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


def _joined(first: Answer | None, then: Answer) -> Answer:
    if first is not None:
        first.delta.add(then.delta)
        first.delta.add_buckets(then.delta.buckets)
        then.delta = first.delta
    return then


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the other side is gone")
        data += piece
    return bytes(data)


def answer(fd: int, ask: Ask, scanner: Scanner) -> Answer:
    """What the child says to a question about an open file. Our own mistakes become words."""
    try:
        if ask.since is not None:
            return Answer(offset=find(fd, scanner, ask.since))
        return read(fd, scanner, ask)
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
    connection = socket.socket(fileno=os.dup(0))
    connection.sendall(_LENGTH.pack(0))
    scanners: dict[bytes, Scanner] = {}
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
            reply = msgspec.msgpack.encode(answer(fds[0], ask, scanners[ask.spec]))
            signal.setitimer(signal.ITIMER_REAL, 0)
            for fd in fds:
                os.close(fd)
            connection.sendall(_LENGTH.pack(len(reply)) + reply)


if __name__ == "__main__":
    main()
