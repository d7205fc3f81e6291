"""Reads a stretch of an open file line by line into a scanner, and finds where in a file a time begins.

Nothing here is remembered between calls: the caller says where to go on, and is told how far it came. So the process
that does this can die at any time, and the caller asks another one the same again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO

import msgspec

from monitor.logs.scan import Delta, Scanner

BLOCK_BYTES = 64 * 1024  # larger ones fall out of the cache and are slower
LINE_MOST_BYTES = 2**20  # a longer line is counted and not looked at
ANCHOR_BYTES = 64
HEAD_BYTES = 256


class Ask(msgspec.Struct, kw_only=True):
    """Which lines to read: from `offset`, whole ones, about `limit` bytes and at most `lines` of them, before `until`.

    `head` are the first bytes of the file and `anchor` those before `offset` as they were when they were seen. `skip` says that `offset` lies inside a line
    that was counted already. `final` says that nothing more will be written, so a last line without its newline counts.
    `hostile` counts one line without looking at it, `careful` goes by so many lines at a time and announces each time. With `since`, nothing is read: the answer is the offset of the
    first line at or after that event time. `now` and `since` are seconds since 1970.
    """

    spec: bytes
    offset: int
    limit: int
    head: bytes = b""
    anchor: bytes = b""
    skip: bool = False
    final: bool = False
    hostile: bool = False
    careful: int = 0
    lines: int | None = None
    until: int | None = None
    now: float = 0.0
    oldest: float = 0.0
    last_event: float | None = None
    since: float | None = None


class Answer(msgspec.Struct, kw_only=True):
    """How far it came and what it counted; `head` are the first bytes of the file of which that is true.

    `moved`: the bytes before were others, so nothing was counted.
    """

    offset: int = 0
    skip: bool = False
    head: bytes = b""
    anchor: bytes = b""
    moved: bool = False
    delta: Delta = msgspec.field(default_factory=Delta)
    unreadable: str = ""  # the system's word for why the file could not be read
    failed: str = ""  # our own mistake, by its name and place


def read(fd: int, scanner: Scanner, ask: Ask, begin: Callable[[int], None] | None = None) -> Answer:
    """Read what `ask` says from an open file, telling `begin` of each few lines before if it asks for care.

    OSError where the file cannot be read.
    """
    scanner.begin(now=ask.now, oldest=ask.oldest, last_event=ask.last_event)
    reader = _Reader(fd, ask)
    left = ask.lines if ask.lines is not None else 2**62
    first: bytes | None = None
    total = Delta()  # of what was read with care
    while reader.offset - ask.offset < ask.limit and left > 0:
        lines = reader.next(left)
        if lines is None:
            break
        if first is None:
            first = reader.block[:HEAD_BYTES]
            # Only bytes that were there before their surroundings were seen to be the old ones are known to belong to them.
            if not _is_anchored(fd, ask):
                return Answer(offset=ask.offset, moved=True)
        left -= len(lines) + reader.oversize
        if ask.careful and begin:
            total.take(_feed_carefully(scanner, reader, lines, ask.careful, begin))
        elif reader.oversize:
            scanner.feed_oversize()
        elif lines and ask.hostile:
            scanner.feed_hostile()
        elif lines:
            scanner.feed(lines, reader.block)
    delta = scanner.end()
    if ask.careful:
        total.take(delta)
        delta = total
    head = os.pread(fd, HEAD_BYTES, 0) if len(ask.head) < HEAD_BYTES else ask.head
    # Cut and filled anew while it was read? Then what was read is a mixture, and counts for nothing.
    if first is None:
        return Answer(
            offset=ask.offset, moved=not _is_anchored(fd, ask), head=ask.head, anchor=ask.anchor, skip=ask.skip
        )
    if os.pread(fd, len(first), ask.offset) != first:
        return Answer(offset=ask.offset, moved=True)
    return Answer(offset=reader.offset, skip=reader.skip, head=head, anchor=reader.anchor, delta=delta)


def _feed_carefully(
    scanner: Scanner, reader: _Reader, lines: list[bytes], most: int, begin: Callable[[int], None]
) -> Delta:
    """What lines say, fed a few at a time and each few to their end: what goes wrong is among those that began last."""
    total = Delta()
    if reader.oversize:
        begin(1)
        scanner.feed_oversize()
    for start in range(0, len(lines), most):
        few = lines[start : start + most]
        begin(len(few))
        scanner.feed(few, b"".join(few))
        total.take(scanner.end())
    return total


def _is_anchored(fd: int, ask: Ask) -> bool:
    before = os.pread(fd, len(ask.anchor), ask.offset - len(ask.anchor))
    return before == ask.anchor and os.pread(fd, len(ask.head), 0) == ask.head


class _Reader:
    """A place in a file, and the whole lines that follow it."""

    def __init__(self, fd: int, ask: Ask) -> None:
        self.fd, self.offset, self.anchor, self.skip, self.final = fd, ask.offset, ask.anchor, ask.skip, ask.final
        self.until = 2**62 if ask.until is None else ask.until
        self.block = b""  # the lines that `next` gave, and at most the beginning of one more
        self.oversize = False

    def next(self, most: int) -> list[bytes] | None:
        """The next whole lines, none where only the place has moved, None at the end of what is there."""
        self.oversize = False
        block = os.pread(self.fd, max(0, min(BLOCK_BYTES, self.until - self.offset)), self.offset)
        if not block:
            return None
        if self.skip:
            end = block.find(b"\n") + 1
            self.skip = not end
            return self._take(block[: end or len(block)], [])
        if block[0] == 0:  # the hole that a writer leaves who does not append
            return self._take(block[: len(block) - len(block.lstrip(b"\0"))], [])
        lines = BytesIO(block).readlines()
        size = len(block)
        if lines[-1][-1:] != b"\n":
            size -= len(lines.pop())  # to cut it off the block would be a copy of it all
        if not lines:
            return self._long_line()
        if len(lines) > most:
            lines = lines[:most]
            block = b"".join(lines)
            size = len(block)
        return self._take(block, lines, size)

    def _long_line(self) -> list[bytes] | None:
        line = os.pread(self.fd, min(LINE_MOST_BYTES, self.until - self.offset), self.offset)
        end = line.find(b"\n") + 1
        if end:
            return self._take(line[:end], [line[:end]])
        if len(line) >= LINE_MOST_BYTES:
            self.oversize = self.skip = True
            return self._take(line, [])
        return self._take(line, [line]) if self.final and line else None

    def _take(self, block: bytes, lines: list[bytes], size: int | None = None) -> list[bytes]:
        """Go on behind the first `size` bytes of a block, which are `lines`; all of it where that is not said."""
        size = len(block) if size is None else size
        self.block = block
        self.offset += size
        self.anchor = (self.anchor + block[max(0, size - ANCHOR_BYTES) : size])[-ANCHOR_BYTES:]
        return lines


def find(fd: int, scanner: Scanner, since: float) -> int:
    """The offset of the first line at or after an event time, by halving; 0 where the lines have no times.

    Lines that are out of order by less than a block do no harm: the place lies one block before the one found.
    """
    low, high = 0, os.fstat(fd).st_size
    while high - low > BLOCK_BYTES:
        middle = (low + high) // 2
        at = _time_near(fd, scanner, middle, high)
        if at is None or at >= since:
            high = middle
        else:
            low = middle
    return _line_start(fd, max(0, low - BLOCK_BYTES)) if low else 0


def find_event(fd: int, scanner: Scanner) -> float | None:
    """The first event time in a file, in seconds; None where none of the first lines has one."""
    return _first_time(scanner, BytesIO(os.pread(fd, BLOCK_BYTES, 0)).readlines())


def _time_near(fd: int, scanner: Scanner, offset: int, end: int) -> float | None:
    """The event time of the first line after `offset` that has one."""
    block = os.pread(fd, min(LINE_MOST_BYTES, end - offset), offset)
    return _first_time(scanner, BytesIO(block).readlines()[1:200])


def _first_time(scanner: Scanner, lines: list[bytes]) -> float | None:
    return next((at for at in map(scanner.time_of, lines) if at is not None), None)


def _line_start(fd: int, offset: int) -> int:
    while offset:
        block = os.pread(fd, BLOCK_BYTES, offset)
        end = block.find(b"\n") + 1
        if end or not block:
            return offset + end
        offset += len(block)
    return 0
