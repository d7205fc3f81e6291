"""Knows which bytes of a log are new, whatever rotation does to it.

It looks with `stat` a few times a second and holds every file open that may still grow. A *generation* is one such
file: the one at the path, or one that was there before. A place in it is known by inode, by the first bytes of the file
(`head`) and by the bytes before the place (`anchor`), so that a file that was cut and filled anew, a copy, a packed
copy or a reused inode is told from the file that was read. What cannot be found again is counted as lost.

A file beside the log belongs to it by such evidence, or by a name that nothing but rotation gives (`names`). What only
looks like it, and what another follower of the same pattern reads, is another log.

Tried on 29 ways of rotating and on random histories: tests/logs/test_follow.py, test_storm.py.
"""

# Descriptors and `stat` results are what this module is about.
# ruff: noqa: PTH100, PTH116

from __future__ import annotations

import gzip
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from monitor.logs.names import is_between, rotated_names, similar_names
from monitor.logs.read import ANCHOR_BYTES, HEAD_BYTES, Answer

DRAIN_SECONDS = 60.0  # a rotated file is held for so long after its last growth: its writer may not have let go
UNLINKED_SECONDS = 600.0  # a deleted file that nothing came after, likewise: holding it keeps its disk space
SEARCH_SECONDS = 2.0  # between two looks at the files beside a log that is missing
SEARCHES_MOST = 5
LOOKS_MOST = 100
GENERATIONS_MOST = 8
KNOWN_MOST = 64
RACY_SECONDS = 0.02  # two changes within one tick of the file system's clock have the same time stamp

_BAD_PACK = (OSError, EOFError, zlib.error)

Identity = tuple[int, int]
"""Device and inode."""


class Place(msgspec.Struct, array_like=True):
    """How far a file was read, in a form that finds it again under another name or as a copy."""

    device: int
    inode: int
    offset: int = 0
    head: bytes = b""
    anchor: bytes = b""
    size: int = 0  # when it was last looked at
    skip: bool = False  # inside a line that is too long and was counted already
    last_event: float | None = None  # seconds since 1970; for lines without a time

    @property
    def identity(self) -> Identity:
        return self.device, self.inode


class State(msgspec.Struct, array_like=True):
    """What a follower must remember over a restart."""

    current: Place | None = None
    old: list[Place] = []
    known: list[Place] = []  # files that were read to their end, or were there before us
    lost_bytes: int = 0
    gaps: int = 0
    grew: float = 0.0
    name: str = ""  # of the file itself that was the log when nothing beside it was unread


class Beside(NamedTuple):
    """A file beside the log that may be one of its generations."""

    path: str
    identity: Identity
    modified_at: float  # wall time
    is_ours: bool  # by its name; else it is similar, and may be another log


@dataclass(eq=False)
class Generation:
    """A file that is held open and read. Of a packed one `fd` is what was unpacked, from byte `shift` on."""

    place: Place
    fd: int
    shift: int = 0
    ended: bool = False  # nothing more will be written to it
    cut: bool = False  # a copy that was made when the file was cut: half a line at its end has no other half
    seen: tuple[int, int] = (-1, -1)  # size and modification time at the last look
    racy: bool = False
    grew_at: float = 0.0  # monotonic seconds
    tried: tuple[int, bool] = (-1, False)  # size and finality at which reading brought no further

    @property
    def unread(self) -> int:
        return max(0, self.place.size - self.place.offset)

    def holds(self, place: Place) -> bool:
        """Whether this is the file of `place`, by its first bytes and those before the place."""
        if not self.shift and os.pread(self.fd, len(place.head), 0) != place.head:
            return False
        return os.pread(self.fd, len(place.anchor), place.offset - self.shift - len(place.anchor)) == place.anchor

    def look(self) -> os.stat_result:
        """What it is now, with its size and first bytes taken down: those of one content, although it may be cut meanwhile."""
        for _ in range(LOOKS_MOST):
            head = b"" if self.shift else os.pread(self.fd, HEAD_BYTES, 0)
            found = os.fstat(self.fd)
            if self.shift or (len(head) == min(HEAD_BYTES, found.st_size) and os.pread(self.fd, len(head), 0) == head):
                break
        self.place.head = self.place.head if self.shift else head
        self.place.size = found.st_size + self.shift
        return found

    def set_offset(self, offset: int) -> None:
        """Take a place in the file without having read what is before it; the beginning, if it was just cut."""
        length = min(ANCHOR_BYTES, offset)
        place = msgspec.structs.replace(self.place, offset=offset, anchor=os.pread(self.fd, length, offset - length))
        if len(place.anchor) == length and self.holds(place):
            self.place = place

    def moved(self, final: bool) -> None:
        """Take down that the file was cut while it was read: the next look will see."""
        self.racy, self.tried = True, (self.place.size, final)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.fd)


@dataclass
class Follower:
    """Follows the log at one path. Blocking, and used by one thread.

    `start` gives the offset at which to begin in a file that is already there when nothing is remembered.
    """

    path: str
    start: Callable[[int], int] = lambda fd: 0
    drain_seconds: float = DRAIN_SECONDS
    others: Callable[[], Iterable[Follower]] = tuple  # those of the same pattern: what they read is not ours
    current: Generation | None = None
    old: list[Generation] = field(default_factory=list)  # oldest first
    known: list[Place] = field(default_factory=list)  # files that were read to their end, or were there before us
    lost_bytes: int = 0
    gaps: int = 0  # times that our place was not found again: an unknown number of lines may be missing
    problem: str = ""  # why the log cannot be read now: "missing", or the system's word
    begun: bool = False
    unsettled: bool = False  # something changed while we searched: search again
    missing: list[Place] = field(default_factory=list)  # of an earlier process, and not found yet
    cut_away: list[Place] = field(default_factory=list)  # what was cut, and no copy of it found yet
    recovered: list[int] = field(default_factory=list)  # bytes found since in each of the files that nobody knew
    looked_at: float = 0.0  # wall time of the last look
    now: float = 0.0  # monotonic time of the last look
    searched_at: float = float("-inf")  # monotonic time of the last look at the files beside the log
    grew: float = 0.0  # wall time of the last growth, by the file's own time stamp; 0 for never
    grew_before: float = 0.0  # the same as of the look before: what nobody knows yet was written later
    name: str = ""  # of the file itself that was the log when nothing beside it was unread, where a link is followed
    rotated_at: float = 0.0  # wall time of the last growth of what was rotated before our time

    # ---- looking

    def is_still(self) -> bool:
        """Whether the one file that is held is at the path and has not changed: the cheap look, a few microseconds."""
        current = self.current
        if current is None or self.old or current.racy or self.unsettled:
            return False
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        place = current.place
        return (found.st_size, found.st_mtime_ns) == current.seen and (
            found.st_ino == place.inode and found.st_dev == place.device
        )

    def poll(self, now: float, wall: float) -> None:
        """Look at the path and at every file that is held; `pending` then says what is new.

        `now` is monotonic, `wall` the time since 1970, both in seconds.
        """
        found = self._stat()
        if not self.begun:
            if not found and self.problem != "missing":
                return
            self._begin(found, now)
            if not self.begun:
                return
        self.now, self.looked_at, self.grew_before = now, wall, self.grew
        identity = (found.st_dev, found.st_ino) if found else None
        strange, self.unsettled = self.unsettled, False
        for generation in self.generations():
            if not generation.ended:
                is_at_path = found and generation.place.identity == identity
                status = found if found and is_at_path else os.fstat(generation.fd)
                if generation.racy or (status.st_size, status.st_mtime_ns) != generation.seen:
                    strange |= self._changed(generation, now, wall)
        if found and not (self.current and self.current.place.identity == identity):
            is_held = self._replaced(found, now, wall)
            strange, self.unsettled = is_held, not is_held
        elif self.problem == "missing":
            if self.current:
                self.current.grew_at = now
                self.old.append(self.current)
                self.current = None
            strange |= now >= self.searched_at + SEARCH_SECONDS  # it may have come and gone
        if strange:
            self._search(now)
        for generation in self.old[:]:
            self._let_go_if_left(generation, now)

    def pending(self, now: float) -> tuple[Generation, bool] | None:
        """The oldest file with something to read, and whether it is final: its last line counts without a newline."""
        for generation in self.generations():
            final = self._is_final(generation, now)
            if generation.unread and generation.tried != (generation.place.size, final):
                return generation, final
        return None

    def advance(self, generation: Generation, offset: int, answer: Answer) -> None:
        """Take down that a generation was read up to `offset`."""
        place = generation.place
        place.offset, place.anchor, place.skip = offset, answer.anchor, answer.skip
        place.last_event = answer.delta.last_event
        place.size = max(place.size, offset)
        if not generation.shift:
            place.head = answer.head

    def stuck(self, generation: Generation, final: bool) -> None:
        """Take down that there is no whole line to read; what a finished copy still holds is lost."""
        generation.tried = generation.place.size, final
        if generation.ended:
            self.lost_bytes += generation.unread
            generation.place.offset = generation.place.size

    @property
    def is_gone(self) -> bool:
        """Whether there is no log at the path, and nothing of what was there is held or still to be found."""
        left = self.current or self.old or self.missing or self.cut_away or self.unsettled
        return bool(self.problem) and not left

    @property
    def lag_bytes(self) -> int:
        """What is there and was not read, a line in the making included."""
        return sum(generation.unread for generation in self.generations())

    def held(self) -> tuple[object, ...]:
        """Something that changes whenever what must be remembered does, but for the offsets."""
        return (
            self.lost_bytes,
            self.gaps,
            *(generation.place.identity for generation in self.generations()),
            len(self.known),
        )

    def close(self) -> None:
        for generation in self.generations():
            generation.close()
        self.old, self.current = [], None

    # ---- remembering

    def state(self) -> State:
        """What to remember. It shares its places with this follower: encode it before anything else."""
        current = self.current.place if self.current else None
        old = [*self.missing, *self.cut_away, *(generation.place for generation in self.old)]
        return State(current, old, self.known, self.lost_bytes, self.gaps, self.grew, self.name)

    def restore(self, state: State, now: float, wall: float) -> None:
        """Go on from what an earlier process remembered; `now` is monotonic, `wall` since 1970."""
        self.begun, self.now, self.looked_at = True, now, wall
        self.known = state.known
        self.lost_bytes, self.gaps = state.lost_bytes, state.gaps
        self.grew = self.grew_before = state.grew
        self.name = state.name
        for place in (*state.old, *([state.current] if state.current else [])):
            generation = self._find_itself(place) or self._find_copy(place)
            if generation:
                self.old.append(generation)  # the next look finds out which of them is at the path
            else:
                self.missing.append(place)
                self._forget(place)
        for generation in self.old:
            generation.grew_at = now
        self.unsettled = True  # files may have come and gone while nobody looked

    # ---- what may have happened

    def _stat(self) -> os.stat_result | None:
        self.problem = ""
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self.problem = "missing"
            return None
        except OSError as error:
            self.problem = error.strerror or str(error)
            return None
        if not stat.S_ISREG(found.st_mode):
            self.problem = "not a file"
            return None
        return found

    def _begin(self, found: os.stat_result | None, now: float) -> None:
        """The first look, with nothing remembered: what was rotated before our time is not ours to read."""
        self.name = self._real_name()  # before the log is opened: what is rotated from then on is ours
        neighbours = [beside for beside in self._neighbours() if beside.is_ours]
        if found:
            self.current = self._first(found, now)
            if not self.current:
                return
            self.grew = self.grew_before = found.st_mtime
        for beside in neighbours:
            with suppress(OSError):
                self._know(_as_read(beside.path))
                self.rotated_at = max(self.rotated_at, beside.modified_at)
        self.begun = True

    def _first(self, found: os.stat_result, now: float) -> Generation | None:
        """The file at the path at the first look, where its reading begins."""
        identity = found.st_dev, found.st_ino
        generation = self._taken_over(identity)
        if generation:
            return generation
        try:
            generation = _open(self.path, now)
        except OSError as error:
            self.problem = error.strerror or str(error)
            return None
        if generation.place.identity != identity:
            generation.close()  # rotated just now; the next look begins anew
            return None
        if not self._go_on_from_other(generation):
            generation.set_offset(self.start(generation.fd))
        return generation

    def _taken_over(self, identity: Identity) -> Generation | None:
        """The file at our path, if another follower holds it and it was renamed."""
        for other in self.others():
            for held in other.generations():
                if held.place.identity == identity and not held.shift and _identity(other.path) != identity:
                    other.give(held)
                    held.ended = held.cut = False  # if it was a copy, it is a log now
                    return held
        return None

    def give(self, generation: Generation) -> None:
        """Leave a file to another follower."""
        if generation is self.current:
            self.current = None
        else:
            self.old.remove(generation)

    def _changed(self, generation: Generation, now: float, wall: float) -> bool:
        """A file that we hold has grown, or was cut, or was cut and filled anew. True if others may have to do with it."""
        before = msgspec.structs.replace(generation.place)
        found = generation.look()
        # Of an empty file, or a few bytes, nothing tells whether it was filled, copied and cut since.
        strange = before.size < ANCHOR_BYTES
        size = generation.place.size
        if size < max(before.offset, len(before.head)) or not generation.holds(before):
            found = generation.look()  # the first one may still have been of what was there before
            self._cut(generation, before)
            strange = True
        elif size < before.size:
            self.lost_bytes += before.size - size  # only what was not read is gone
            strange = True
        seen = found.st_size, found.st_mtime_ns
        if seen != generation.seen:
            generation.grew_at, self.grew = now, max(self.grew, found.st_mtime)
        generation.seen, generation.racy = seen, found.st_mtime > wall - RACY_SECONDS
        return strange

    def _cut(self, generation: Generation, before: Place) -> None:
        """A file was cut in place, after a copy was made or without one. Its unread rest may be in the copy."""
        now = generation.place
        generation.place = Place(*now.identity, head=now.head, size=now.size, last_event=before.last_event)
        generation.tried = (-1, False)
        copy = self._find_copy(before)
        if copy:
            self.old.append(copy)
            self.lost_bytes += max(0, before.size - copy.place.size)
        else:
            self._forget(before)
            self.cut_away.append(before)  # the search tells what of it is lost

    def _replaced(self, found: os.stat_result, now: float, wall: float) -> bool:
        """Another file is at the path, or one at last. True if it could be opened."""
        identity = found.st_dev, found.st_ino
        generation = next((held for held in self.old if held.place.identity == identity and not held.shift), None)
        if generation:
            self.old.remove(generation)  # it was moved away and is back
        else:
            generation = self._taken_over(identity)
        if not generation:
            try:
                generation = _open(self.path, now)
            except OSError as error:
                self.problem = "missing" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
                return False
            if generation.place.identity != identity:
                generation.close()  # replaced again just now; the next look will tell
                return False
            if not (self._go_on(generation) or self._go_on_from_other(generation)):
                self._go_on_in_copy(generation)
        if self.current:
            self.current.grew_at = now
            self.old.append(self.current)
        self.current = generation
        self._changed(generation, now, wall)
        return True

    def _search(self, now: float) -> None:
        """Find the files that were the log for a while when nobody looked."""
        self.searched_at = now
        name = self._real_name()
        unknown = self._unknown_neighbours()
        self.old.extend(unknown)
        self.recovered += [generation.unread for generation in unknown]
        if self.unsettled:
            return
        self.name = name
        there = {beside.identity for beside in self._candidates()} if self.missing else set()
        for place in (*self.missing, *self.cut_away):
            # Of a file that was not read from, a copy is as good as any file that nobody knows.
            recovered = [] if place.offset else self.recovered
            self.lost_bytes += max(0, place.size - place.offset - sum(recovered))
            if place in self.missing and not recovered and (place.size or place.identity not in there):
                self.gaps += 1
        self.missing, self.cut_away, self.recovered = [], [], []

    def _let_go_if_left(self, generation: Generation, now: float) -> None:
        """A file that was rotated away: its writer may not have let go of it."""
        crowded = len(self.old) > GENERATIONS_MOST
        if not generation.unread and (crowded or generation.ended or self._is_left(generation, now)):
            generation.close()
            self.old.remove(generation)
            self._know(generation.place)

    def _is_left(self, generation: Generation, now: float) -> bool:
        """Whether the writer of a rotated file has gone on to another one, as far as anyone can tell."""
        idle = now - generation.grew_at
        if self.current and self.current.place.size:
            return idle >= self.drain_seconds
        return idle >= UNLINKED_SECONDS and os.fstat(generation.fd).st_nlink == 0

    def _is_final(self, generation: Generation, now: float) -> bool:
        if generation is self.current or generation.cut:
            return False
        return generation.ended or self._is_left(generation, now)

    def _know(self, place: Place) -> None:
        if place.size == 0:
            return
        self.known = [*self.known, place][-KNOWN_MOST:]

    def _forget(self, place: Place) -> None:
        """Of a file that is gone, know the content alone, by which a copy of it is recognised."""
        if place.offset:
            self._know(msgspec.structs.replace(place, device=0, inode=0))

    def place_of(self, identity: Identity) -> Place | None:
        """How far a file was read that is not held any more."""
        return next((place for place in reversed(self.known) if place.identity == identity), None)

    def _go_on(self, generation: Generation) -> bool:
        """Place a file where we left it, if we knew it and it is still the same."""
        known = self.place_of(generation.place.identity)
        if known is None:
            return False
        if _is_still(generation, known):
            generation.place = msgspec.structs.replace(known, size=generation.place.size)
            self.known.remove(known)
            return True
        # The inode was used again. What we knew may be there as a copy: it is still known by its content.
        known.device = known.inode = 0
        return False

    def _go_on_from_other(self, generation: Generation) -> bool:
        """Place a file that was renamed to our path where another follower left it."""
        for other in self.others():
            known = other.place_of(generation.place.identity)
            if known and _is_still(generation, known) and _identity(other.path) != known.identity:
                generation.place = msgspec.structs.replace(known, size=generation.place.size)
                other.known.remove(known)
                return True
        return False

    def _go_on_in_copy(self, generation: Generation) -> None:
        """Place a file that holds the content of one it replaced where we are in that one: `sed -i` and editors save so."""
        for held in reversed(self.generations()):
            place = held.place
            # A file that was rotated is still there, and what comes after it may begin alike.
            if held.shift or not place.offset or os.fstat(held.fd).st_nlink:
                continue
            if _at_place(generation, place, packed=False):
                held.set_offset(_alike_until(held.fd, generation.fd, place.offset))  # its writer may have kept it
                held.place.skip &= held.place.offset == place.offset
                return

    def generations(self) -> list[Generation]:
        """The files that are held, oldest first."""
        return [*self.old, *([self.current] if self.current else [])]

    # ---- files beside the log

    def _identity_at_path(self) -> Identity | None:
        found = self._stat()
        return (found.st_dev, found.st_ino) if found else None

    def _real_name(self) -> str:
        return os.path.split(os.path.realpath(self.path))[1]

    def _is_as_seen(self) -> bool:
        """Whether no file that is held was cut since the last look, and the one at the path, if any, is one of them."""
        for generation in self.generations():
            if not generation.ended and not generation.holds(generation.place):
                generation.racy = True
                return False
        identity = self._identity_at_path()
        if identity is None:
            return self.problem == "missing"
        return any(generation.place.identity == identity for generation in self.generations())

    def _folders(self) -> set[tuple[str, str]]:
        """Where rotated files lie, and the name they are made from: beside the path, and beside what it links to."""
        return {os.path.split(place) for place in (os.path.abspath(self.path), os.path.realpath(self.path))}

    def _neighbours(self, *, with_theirs: bool = False) -> list[Beside]:
        """The files that were rotated from this log or may have been, oldest first; mostly without what others follow."""
        found: dict[Identity, Beside] = {}
        others = [] if with_theirs else list(self.others())
        theirs = {place for other in others for place in (os.path.abspath(other.path), os.path.realpath(other.path))}
        held = {generation.place.identity for other in others for generation in other.generations()}
        for folder, name in self._folders():
            is_rotated, is_similar = rotated_names(name), similar_names(name)
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    # Of a link that was switched twice, what it led to meanwhile is the log too.
                    is_ours = is_rotated(entry.name) or is_between(entry.name, self.name, name)
                    if entry.name == name or entry.path in theirs or not (is_ours or is_similar(entry.name)):
                        continue
                    with suppress(OSError):
                        status = entry.stat()
                        identity = status.st_dev, status.st_ino
                        if stat.S_ISREG(status.st_mode) and identity not in held:
                            found[identity] = Beside(entry.path, identity, status.st_mtime, is_ours)
        return sorted(found.values(), key=lambda one: (one.modified_at, one.path))

    def _searches(self) -> Iterator[None]:
        """As many turns as a search needs to see each file, although others are renaming them meanwhile."""
        for _ in range(SEARCHES_MOST):
            before = self._stamps()
            yield
            # Two changes within a tick leave one time stamp, so what has just changed is not trusted either.
            if before == self._stamps() and all(stamp < self.looked_at - RACY_SECONDS for stamp in before):
                return

    def _stamps(self) -> list[float]:
        stamps = []
        for folder, _ in self._folders():
            with suppress(OSError):
                stamps.append(os.stat(folder).st_mtime)
        return stamps

    def _candidates(self, *, with_theirs: bool = False) -> list[Beside]:
        """Everything that may be a file of this log."""
        at_path = self._identity_at_path()
        found = self._neighbours(with_theirs=with_theirs)
        return [Beside(self.path, at_path, self.looked_at, is_ours=True), *found] if at_path else found

    def _find_itself(self, place: Place) -> Generation | None:
        """The file that an earlier process was reading, at the path or renamed; None if it is not as it was."""
        for _ in self._searches():
            # It may have been renamed to what another follower finds at its path, and takes over then.
            for path, identity, *_ in self._candidates(with_theirs=True):
                if identity == place.identity:
                    with suppress(*_BAD_PACK):
                        found = _resume(path, place)
                        # It was empty: if anything is in it now, it is as good as new.
                        if found and found.place.identity == place.identity and (place.head or not found.place.size):
                            return found
                        if found:
                            found.close()
        return None

    def _find_copy(self, place: Place) -> Generation | None:
        """The copy of a file that was cut or is gone, at our place in it."""
        if not place.offset and len(place.head) < ANCHOR_BYTES:
            return None  # a few bytes alike prove nothing
        for _ in self._searches():
            candidates = self._candidates()
            held = {generation.place.identity for generation in self.generations()}
            for path, identity, _, is_ours in candidates:
                if identity == place.identity or identity in held or not (is_ours or place.offset):
                    continue
                with suppress(*_BAD_PACK):
                    copy = _resume(path, place)
                    if copy and copy.place.identity != place.identity:
                        copy.ended = path != self.path
                        # Only a file that was cut leaves a copy and stays where it was.
                        copy.cut = copy.ended and place.identity in (held | {one.identity for one in candidates})
                        return copy
                    if copy:
                        copy.close()
        return None

    def _unknown_neighbours(self) -> list[Generation]:
        """Files that were the log for a while when nobody looked, to be read whole; oldest first."""
        unknown: list[Generation] = []
        for _ in self._searches():
            held = {generation.place.identity for generation in (*self.generations(), *unknown)}
            for beside in self._neighbours():
                # Packing keeps whole seconds.
                is_old = beside.modified_at < self.grew_before - 1
                if is_old or beside.identity in held or not (beside.is_ours or self.place_of(beside.identity)):
                    continue
                with suppress(*_BAD_PACK):
                    generation = self._unknown(beside)
                    if generation is None:
                        continue
                    if not self._is_as_seen():
                        generation.close()  # it may be a copy of what was cut just now, or is to be
                        self.unsettled = True
                        return unknown
                    generation.grew_at = self.now
                    unknown.append(generation)
        return unknown

    def _unknown(self, beside: Beside) -> Generation | None:
        """The file beside the log if there is anything in it that was not read."""
        file = _open(beside.path)
        try:
            if file.place.identity != beside.identity:
                return None  # renamed meanwhile; there is another turn
            found = self._unread_part(file, packed=beside.path.endswith(".gz"), is_ours=beside.is_ours)
        except BaseException:
            file.close()
            raise
        if found is not file:
            file.close()
        return found

    def _unread_part(self, file: Generation, *, packed: bool, is_ours: bool) -> Generation | None:
        raw_size = file.place.size
        if packed:
            if any(place.identity == file.place.identity and place.size == raw_size for place in self.known):
                return None
            head, size = _packed_head(file.fd), _packed_size(file.fd)
        else:
            if self._go_on(file):
                if file.unread:
                    return file  # it grew after we let go of it
                self._know(file.place)
                return None
            head, size = file.place.head, raw_size
        if not is_ours:
            return None  # the inode of a file of ours is that of another log now
        if any(self._is_copy(head, size, generation) for generation in self.generations()):
            return None
        for place in self.known:
            seen = place.head[: len(head)]
            if not seen or head[: len(seen)] != seen:
                continue
            # A copy of what was read; but a few bytes alike prove nothing.
            if size == place.size or (size < place.size and len(seen) == HEAD_BYTES):
                device, inode = file.place.identity
                self._know(Place(device, inode, raw_size, b"" if packed else head, b"", raw_size))
                return None
            if len(seen) == HEAD_BYTES:
                rest = _at_place(file, place, packed=packed)
                if rest:
                    return rest
        return _unpack(file, None) if packed else file

    def _is_copy(self, head: bytes, size: int, generation: Generation) -> bool:
        """Whether a file of this beginning and size is a copy of one that we hold and will read."""
        now = Generation(msgspec.structs.replace(generation.place), generation.fd, generation.shift)
        if not generation.ended:
            now.look()
        # What is not cut is at least as large as any copy of it. A few bytes alike prove nothing.
        if not head or head != now.place.head[: len(head)] or size > now.place.size:
            return False
        return size == now.place.size or len(head) >= ANCHOR_BYTES


def _identity(path: str) -> Identity | None:
    with suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return None


def _is_still(file: Generation, known: Place) -> bool:
    """Whether a file is the one whose inode it has, which was read so far."""
    return bool(known.head) and file.place.size >= known.offset and file.holds(known)


def _open(path: str, now: float = 0.0) -> Generation:
    """Open a file at its beginning, for reading alone; OSError where that is not to be."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise OSError("not a file")
    generation = Generation(Place(status.st_dev, status.st_ino), fd, grew_at=now)
    generation.look()
    return generation


def _resume(path: str, place: Place) -> Generation | None:
    """The file at `path` opened at `place`, if it is that file or a copy of it."""
    file = _open(path)
    try:
        found = _at_place(file, place, packed=path.endswith(".gz"))
    except BaseException:
        file.close()
        raise
    if found is not file:
        file.close()
    return found


def _at_place(file: Generation, place: Place, *, packed: bool) -> Generation | None:
    """An open file positioned at `place`, or another one with what it holds from there on; None if it is not that file."""
    if packed:
        return _unpack(file, place)
    if file.place.size < place.offset or not file.holds(place):
        return None
    device, inode = file.place.identity
    head = max(place.head, file.place.head, key=len)
    file.place = msgspec.structs.replace(place, device=device, inode=inode, head=head, size=file.place.size)
    return file


def _alike_until(one: int, other: int, offset: int) -> int:
    """The end of the last whole line up to which two files are the same from a place on."""
    until = offset
    while True:
        first, second = os.pread(one, 2**18, offset), os.pread(other, 2**18, offset)
        least = min(len(first), len(second))
        is_alike = first[:least] == second[:least]
        length = least if is_alike else next(at for at in range(least) if first[at] != second[at])
        newline = first.rfind(b"\n", 0, length)
        until = offset + newline + 1 if newline >= 0 else until
        offset += length
        if not length or not is_alike:
            return until


@contextmanager
def _unpacked(fd: int) -> Iterator[gzip.GzipFile]:
    with os.fdopen(os.dup(fd), "rb") as raw:
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) as plain:
            yield plain


def _unpack(file: Generation, place: Place | None) -> Generation | None:
    """What a packed file holds from `place` on, or from its beginning, in a nameless file."""
    start = place or Place(0, 0)
    shift = start.offset - len(start.anchor)
    with _unpacked(file.fd) as packed, tempfile.TemporaryFile() as rest:
        if packed.read(len(start.head)) != start.head:
            return None
        packed.seek(shift)
        if packed.read(len(start.anchor)) != start.anchor:
            return None
        rest.write(start.anchor)
        while block := packed.read(2**18):
            rest.write(block)
        rest.flush()
        size, fd = shift + rest.tell(), os.dup(rest.fileno())
    device, inode = file.place.identity
    found = msgspec.structs.replace(start, device=device, inode=inode, size=size)
    return Generation(found, fd, shift=shift, ended=True)


def _packed_head(fd: int) -> bytes:
    with _unpacked(fd) as plain:
        return plain.read(HEAD_BYTES)


def _packed_size(fd: int) -> int:
    """How large a packed file is unpacked, by its last four bytes: right below 4 GiB."""
    return int.from_bytes(os.pread(fd, 4, max(0, os.fstat(fd).st_size - 4)), "little")


def _as_read(path: str) -> Place:
    """A file that is there before us, as if it had been read."""
    file = _open(path)
    file.set_offset(file.place.size)
    if path.endswith(".gz"):
        file.place.head = file.place.anchor = b""  # of its packed bytes, which nothing compares
    file.close()
    return file.place
