"""One followed log: its files, its counters and its windows, saved together so that they always agree.

A `Journal` belongs to one path (or glob pattern) and one way of reading it, whatever number of probes look at it. The
`Desk` goes round all journals of the daemon in one thread, and has one child process that does the reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import msgspec
import structlog

from monitor.clock import Clock, SystemClock
from monitor.core.probe import Family, Opening
from monitor.logs.follow import DRAIN_SECONDS, Follower, Generation, State
from monitor.logs.names import expand
from monitor.logs.read import Ask
from monitor.logs.scan import EDGES_SECONDS, Count, Delta, Spec, recut
from monitor.logs.window import BUCKET_SECONDS, Bucket, Ring
from monitor.logs.worker import BLOCK_SECONDS, ChildLost, Unreadable, Worker

STRETCH_BYTES = 4 * 2**20  # of one question to the child: some ten milliseconds
POLL_SECONDS = 0.25
QUIET_SECONDS = 10.0  # with nothing new in any log for so long, they are looked at half as often
GLOB_SECONDS = 2.0
ROUND_SECONDS = 0.2  # at most, before what was read is shown and saved
SAVE_SECONDS = 1.0  # at least, between two saves
SAVE_BYTES_PER_SECOND = 32 * 1024  # a large state is saved less often
SAVE_MOST_SECONDS = 10.0
PROGRESS_BYTES = 100 * 10**6  # with more to catch up on than this, it is told how far that is
PROGRESS_SECONDS = 0.5
FILES_MOST = 64
EDGES_MOST = 48
VERSION = 1

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Saved(msgspec.Struct, array_like=True):
    """Everything that must survive a restart, as one value."""

    version: int
    followers: dict[str, State]
    totals: Delta
    buckets: dict[int, Bucket]
    since: float | None
    last_line: float | None
    edges_seconds: tuple[float, ...] = ()  # of the histograms among the totals; none: those that a spec begins with
    departed_lost: tuple[int, int] = (0, 0)  # bytes and gaps of files that the pattern no longer names


@dataclass(eq=False)
class Journal:
    """One followed log. All but the last part is for the desk's thread; `window_seconds` is what it begins with."""

    path: str
    spec: Spec
    worker: Worker
    monotonic: Callable[[], float]
    wall: Callable[[], float]
    window_seconds: float
    drain_seconds: float = DRAIN_SECONDS
    totals: Delta = field(default_factory=Delta)
    published: Delta = field(default_factory=Delta)  # the totals that are saved: only these are shown as counters
    published_lost: tuple[int, int] = (0, 0)  # bytes and gaps, likewise
    since: float | None = None  # wall time from which on the windows are filled
    last_line: float | None = None  # wall time of the last growth
    looked_at: float | None = None  # monotonic time of the last look
    stirred_at: float = 0.0  # monotonic time of the last look at which something was new
    caught_up_at: float | None = None  # monotonic time at which nothing was left to read
    problem: str = ""  # why the log cannot be read: "missing", or the system's word
    lag_bytes: int = 0
    version: int = 0  # goes up whenever something was read

    def __post_init__(self) -> None:
        self.ring = Ring(2 * self.window_seconds + BUCKET_SECONDS)
        self.lock = threading.Lock()  # around the ring and the totals
        self.followers: dict[str, Follower] = {}
        self._packed_spec = msgspec.msgpack.encode(self.spec)
        self._wanted: dict[
            str, str
        ] = {}  # patterns by their text, as a reading of the log counts them, and their names
        self._wanted_edges: frozenset[float] = frozenset()
        self._most_lag_bytes = 0  # of the catching up that is going on
        self._told_at: float | None = None  # monotonic time at which its progress was told last
        self._expanded_at = float("-inf")
        self._restored: dict[str, State] = {}
        self._departed_lost = (0, 0)  # bytes and gaps of followers that are gone: a counter must not go back with them
        self._held: object = None
        self._at_rest = False  # nothing is left to read or to find out
        self._is_pattern = glob.has_magic(self.path)
        self._changed = False
        self._save_due = float("-inf")
        self._frozen: tuple[Delta, tuple[int, int]] = (self.published, self.published_lost)

    def restore(self, blob: bytes) -> None:
        """Go on from a saved state; ValueError for one that is not ours."""
        try:
            saved = msgspec.msgpack.decode(zlib.decompress(blob), type=Saved)
        except (zlib.error, msgspec.DecodeError) as error:
            raise ValueError(f"what was saved of {self.path} cannot be read: {error}") from error
        if saved.version != VERSION:
            raise ValueError(f"what was saved of {self.path} has version {saved.version}, not {VERSION}")
        edges = saved.edges_seconds or EDGES_SECONDS
        if any(len(count.below) != len(edges) + 1 for count in saved.totals.latencies.values()):
            raise ValueError(f"what was saved of {self.path} does not fit its own edges")
        kept = sorted({*edges, *self.spec.edges_seconds})  # without one of them, a counter would go back
        self._set_edges(kept if len(kept) <= EDGES_MOST else self.spec.edges_seconds)
        _recut(saved.totals, edges, self.spec.edges_seconds)
        self.totals, self.since, self.last_line = saved.totals, saved.since, saved.last_line
        self.ring = Ring(self.ring.span_seconds, saved.buckets)
        self._restored, self._departed_lost = saved.followers, saved.departed_lost
        self.published, self.published_lost = _copy(saved.totals), self._lost(saved.followers.values())

    def look(self) -> bool:
        """Find out what is new, in all files. False where nothing at all has happened: that has to be cheap."""
        now, wall = self.monotonic(), self.wall()
        if self._is_pattern and now - self._expanded_at >= GLOB_SECONDS:
            self._expand(now)
        stirring = [follower for follower in self.followers.values() if not follower.is_still()]
        if not stirring and self._at_rest:
            self.looked_at = self.caught_up_at = now
            return False
        self.stirred_at = now
        if not self.followers:
            self._expand(now)
        for follower in self.followers.values():
            follower.poll(now, wall)
        if not self._wanted_edges <= set(self.spec.edges_seconds):
            self._add_edges()
        for pattern in [one for one in self._wanted if one not in self.spec.patterns]:
            self._learn(pattern)
        if self.since is None:
            self.since = self._filled_since(wall)
        problems = {follower.problem for follower in self.followers.values()} or {"missing"}
        self.problem = next(iter(problems - {"", "missing"}), "") or ("missing" if problems == {"missing"} else "")
        held = [follower.held() for follower in self.followers.values()]
        self._changed |= held != self._held
        self._held = held
        self._look_over(now)
        return True

    def advance(self) -> bool:
        """Read one stretch of the file that was first to have something new. False if there was nothing."""
        now = self.monotonic()
        for follower in self.followers.values():
            pending = follower.pending(now)
            if pending is None:
                continue
            try:
                self._read(follower, *pending)
            except Unreadable as error:
                self.problem = follower.problem = str(error)
                return False
            except (ChildLost, OSError) as error:
                self.problem = f"the reading process fails: {error}"
                return False
            return True
        self._look_over(now)
        return False

    def freeze(self, *, at_once: bool = False) -> bytes | None:
        """Everything to save, as bytes, if there is anything new and it is time."""
        now = self.monotonic()
        if not self._changed or (now < self._save_due and not at_once):
            return None
        states = {path: follower.state() for path, follower in self.followers.items()}
        edges = self.spec.edges_seconds
        saved = Saved(VERSION, states, self.totals, self.ring.buckets, self.since, self.last_line, edges,
                      self._departed_lost)  # fmt: skip
        blob = zlib.compress(msgspec.msgpack.encode(saved), 1)
        self._frozen = _copy(self.totals), self._lost(states.values())
        self._changed = False
        self._save_due = now + min(SAVE_MOST_SECONDS, max(SAVE_SECONDS, len(blob) / SAVE_BYTES_PER_SECOND))
        return blob

    def publish(self) -> None:
        """Show as counters what `freeze` took: it is saved now."""
        self.published, self.published_lost = self._frozen

    def save_failed(self) -> None:
        """Try again what could not be saved."""
        self._changed = True

    def close(self) -> None:
        for follower in self.followers.values():
            follower.close()

    def _expand(self, now: float) -> None:
        """Follow what the path names now."""
        first = self._expanded_at == float("-inf") and not self._restored
        self._expanded_at = now
        paths = expand(self.path)[:FILES_MOST]
        for path in [*paths, *self._restored]:  # a file that is gone may have left its rest in a copy
            if path not in self.followers:
                self.followers[path] = follower = Follower(path, drain_seconds=self.drain_seconds)
                follower.others = partial(self._others, follower)
                if first:
                    follower.start = self._start
        for path, state in self._restored.items():  # each must know of all the others what is theirs
            self.followers[path].restore(state, now, self.wall())
        self._restored = {}
        gone = [path for path, one in self.followers.items() if path not in paths and one.is_gone]
        for path in gone:
            self._departed_lost = self._lost([self.followers.pop(path).state()])

    def _others(self, follower: Follower) -> list[Follower]:
        return [one for one in self.followers.values() if one is not follower]

    def _lost(self, states: Iterable[State]) -> tuple[int, int]:
        """The bytes and gaps of these followers and of all that are gone."""
        bytes_, gaps = self._departed_lost
        for state in states:
            bytes_, gaps = bytes_ + state.lost_bytes, gaps + state.gaps
        return bytes_, gaps

    def _learn(self, pattern: str) -> None:
        """Count a pattern from now on, and what the windows hold of it already."""
        if pattern not in self.totals.matches:
            alone = msgspec.msgpack.encode(msgspec.structs.replace(self.spec, patterns={pattern: pattern}))
            for follower in self.followers.values():
                if follower.current:
                    self._look_back(follower.current, alone)
            self.totals.matches.setdefault(pattern, 0)
            self._changed = True
        self.spec = msgspec.structs.replace(self.spec, patterns={**self.spec.patterns, pattern: pattern})
        self._packed_spec = msgspec.msgpack.encode(self.spec)

    def _add_edges(self) -> None:
        """Give the histograms the edges that are wanted; what was counted before lies above a new one."""
        before = self.spec.edges_seconds
        with self.lock:
            self._set_edges(sorted({*before, *self._wanted_edges}))
            for totals in {id(one): one for one in (self.totals, self.published, self._frozen[0])}.values():
                _recut(totals, before, self.spec.edges_seconds)
        self._changed = True

    def _set_edges(self, seconds: Iterable[float]) -> None:
        self.spec = msgspec.structs.replace(self.spec, edges_seconds=tuple(seconds))
        self._packed_spec = msgspec.msgpack.encode(self.spec)

    def _look_back(self, generation: Generation, spec: bytes) -> None:
        """Count what a pattern alone is found in, in what was read already, as far back as the windows go."""
        until, offset = generation.place.offset, self._start(generation.fd)
        oldest = self.ring.oldest(self.wall())
        while offset < until:
            ask = Ask(spec=spec, offset=offset, limit=min(STRETCH_BYTES, until - offset), until=until,
                      now=self.wall(), oldest=oldest)  # fmt: skip
            try:
                answer = self.worker.stretch(generation.fd, ask)
            except (ChildLost, Unreadable, OSError):
                return
            if answer.moved or answer.offset == offset:
                return
            offset = answer.offset
            with self.lock:
                self.totals.add(Delta(matches=answer.delta.matches, last_matches=answer.delta.last_matches))
                found = {
                    start: Bucket(matches=one.matches) for start, one in answer.delta.buckets.items() if one.matches
                }
                self.ring.add(found, self.wall())

    def _filled_since(self, wall: float) -> float:
        """From when on the windows tell all: what was rotated away before our first look was not read."""
        followers = self.followers.values()
        oldest = wall - self.ring.span_seconds
        rotated = any(follower.rotated_at > oldest for follower in followers)
        return wall if rotated or not any(follower.current for follower in followers) else oldest

    def _start(self, fd: int) -> int:
        """Where to begin in a file that is there already: with what two windows need."""
        since = self.wall() - self.ring.span_seconds
        try:
            ask = Ask(spec=self._packed_spec, offset=0, limit=0, since=since)
            return self.worker.ask(fd, ask, BLOCK_SECONDS).offset
        except (ChildLost, Unreadable):
            return 0

    def _read(self, follower: Follower, generation: Generation, final: bool) -> None:
        place, wall = generation.place, self.wall()
        ask = Ask(
            spec=self._packed_spec,
            offset=place.offset - generation.shift,
            limit=min(STRETCH_BYTES, generation.unread),
            head=b"" if generation.shift else place.head,
            anchor=place.anchor,
            skip=place.skip,
            final=final,
            now=wall,
            oldest=self.ring.oldest(wall),
            last_event=place.last_event,
        )
        answer = self.worker.stretch(generation.fd, ask)
        if answer.moved:
            generation.moved(final)
            return
        offset, delta = answer.offset + generation.shift, answer.delta
        if offset == place.offset:
            follower.stuck(generation, final)
        with self.lock:
            if offset != place.offset:
                follower.advance(generation, offset, answer)
            self.totals.add(delta)
            self.ring.add(delta.buckets, wall)
        self._changed = True
        self.version += 1
        self.last_line = max(self.last_line or 0.0, follower.grew) or None

    def _tell_progress(self, now: float) -> None:
        """While there is much to catch up on, how far that is, every few seconds."""
        if self._at_rest:
            if self._told_at is not None:
                log.info("log_caught_up", path=self.path)
            self._most_lag_bytes, self._told_at = 0, None
            return
        self._most_lag_bytes = max(self._most_lag_bytes, self.lag_bytes)
        if self._most_lag_bytes >= PROGRESS_BYTES and now >= (self._told_at or float("-inf")) + PROGRESS_SECONDS:
            self._told_at = now
            read = self._most_lag_bytes - self.lag_bytes
            log.info("log_catching_up", path=self.path, read_bytes=read, left_bytes=self.lag_bytes)

    def _look_over(self, now: float) -> None:
        self.looked_at = now
        self.lag_bytes = sum(follower.lag_bytes for follower in self.followers.values())
        self._at_rest = all(follower.pending(now) is None for follower in self.followers.values())
        if self._at_rest:
            self.caught_up_at = now
        self._tell_progress(now)

    # ---- anywhere

    def want(self, patterns: Mapping[str, str]) -> bool:
        """Ask for patterns to be counted, by name. True once all of them are."""
        for name, pattern in patterns.items():
            if pattern not in self._wanted:
                taken = set(self._wanted.values())
                label = next(one for one in (name, *(f"{name}_{n}" for n in range(2, 1000))) if one not in taken)
                self._wanted[pattern] = label
                self._at_rest = False
        return all(pattern in self.spec.patterns for pattern in patterns.values())

    def want_edges(self, seconds: Iterable[float]) -> None:
        """Ask for the histograms to have an edge at each of these."""
        wanted = self._wanted_edges | {one for one in seconds if 0 < one < float("inf")}
        if wanted != self._wanted_edges and len(wanted | set(self.spec.edges_seconds)) <= EDGES_MOST:
            self._wanted_edges = wanted
            self._at_rest = False

    def families(self) -> Sequence[Family]:
        """The log's true counters, as of the last save, and where reading stands now."""
        log = {"log": self.path}
        shown, (lost, gaps) = self.published, self.published_lost

        def counter(name: str, text: str, value: float) -> Family:
            return Family(f"portal_log_{name}", "counter", text, [(log, value)])

        families = [
            counter("lines_total", "Lines of the log.", shown.lines),
            counter("error_lines_total", "Lines at level error or worse.", shown.errors),
            counter("requests_total", "Lines that speak of an answered request.", shown.requests),
            counter("server_errors_total", "Requests that were answered with 5xx.", shown.server_errors),
            counter("unparsed_lines_total", "Lines that nobody understood.", shown.unparsed),
            counter("oversize_lines_total", "Lines that were too long to look at.", shown.oversize),
            counter("hostile_lines_total", "Lines that took too long to read and were passed over.", shown.hostile),
            counter("lost_bytes_total", "Bytes that are known to have been written and could not be read.", lost),
            counter("gaps_total", "Times that the place in the log was not found again: lines may be missing.", gaps),
            Family("portal_log_read_lag_bytes", "gauge", "Bytes that are there and were not read yet.",
                   [(log, self.lag_bytes)]),
        ]  # fmt: skip
        if self.last_line is not None:
            text = "When the log last grew."
            families.append(Family("portal_log_last_line_timestamp_seconds", "gauge", text, [(log, self.last_line)]))
        wanted = dict(self._wanted)
        matches = [({**log, "pattern": name}, float(shown.matches.get(text, 0))) for text, name in wanted.items()]
        if matches:
            families.append(
                Family("portal_log_matches_total", "counter", "Lines that a pattern was found in.", matches)
            )
        upstreams = {name: {**log, "upstream": name} for name in self.spec.upstreams}
        with self.lock:  # edges and counts must be those of one moment
            families += [
                self._histogram("request_duration_seconds", "How long requests took.", {"": log}),
                self._histogram("upstream_duration_seconds", "How long calls to an upstream took.", upstreams),
            ]
        return families

    def _histogram(self, name: str, text: str, series: dict[str, dict[str, str]]) -> Family:
        edges = [*(f"{edge:g}" for edge in self.spec.edges_seconds), "+Inf"]
        samples: list[tuple[dict[str, str], float]] = []
        for key, labels in series.items():
            count = self.published.latencies.get(key) or Count([0] * len(edges))
            total = 0
            for edge, below in zip(edges, count.below, strict=True):
                total += below
                samples.append(({**labels, "__name__": "_bucket", "le": edge}, total))
            samples.append(({**labels, "__name__": "_count"}, total))
            samples.append(({**labels, "__name__": "_sum"}, count.sum_ms / 1000))
        return Family(f"portal_log_{name}", "histogram", text, samples)


def _recut(totals: Delta, edges: Sequence[float], new: Sequence[float]) -> None:
    totals.latencies = {name: recut(count, edges, new) for name, count in totals.latencies.items()}


def _copy(totals: Delta) -> Delta:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(totals), type=Delta)


def _survive(journal: Journal, step: Callable[[], bool]) -> bool:
    """What `step` says; False if it fails, which the journal then says of itself: one log must not end the others."""
    try:
        return step()
    except Exception as error:
        journal.problem = f"reading failed: {type(error).__name__}"
        log.exception("log_reading_failed", path=journal.path)
        return False


class Desk:
    """Goes round all journals in one thread, four times a second, or at once while something is left to read."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.worker = Worker()
        self._openings: dict[Journal, Opening] = {}
        self._saves: dict[Journal, asyncio.Task[None]] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._rounds: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def journal(
        self, path: str, spec: Spec, window_seconds: float, opening: Opening, drain_seconds: float = DRAIN_SECONDS
    ) -> AsyncIterator[Journal]:
        """Follow a log for as long as the context lasts, going on from what was saved."""
        now, wall = self.clock.monotonic, opening.now
        journal = Journal(path, spec, self.worker, now, wall, window_seconds, drain_seconds)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "logs")
        saved = opening.saved
        if saved:
            try:
                await self._in_thread(lambda: journal.restore(saved))
            except ValueError as error:
                log.warning("log_state_unreadable", path=path, error=str(error))
        self._openings[journal] = opening
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._go_round())
        try:
            yield journal
        finally:
            await self._close(journal)

    def speaks_for(self, journal: Journal) -> bool:
        """Whether this journal shows the counters of its path: one does, where one path is read in two ways."""
        return next((one for one in self._openings if one.path == journal.path), journal) is journal

    async def news(self, seconds: float) -> None:
        """Return after the next round, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    async def _close(self, journal: Journal) -> None:
        """Save the last of it and let go; the last one out ends the thread and the child."""
        opening = self._openings.pop(journal)
        save = self._saves.pop(journal, None)
        if save:
            await asyncio.wait([save])
        blob = await self._in_thread(lambda: journal.freeze(at_once=True))
        if blob:
            await self._save(journal, opening, blob)
        await self._in_thread(journal.close)
        if not self._openings and self._rounds and self._thread:
            self._rounds.cancel()
            await asyncio.wait([self._rounds])
            await self._in_thread(self.worker.stop)
            self._thread.shutdown(wait=False)
            self._rounds = self._thread = None

    async def _go_round(self) -> None:
        while True:
            journals = list(self._openings)
            saving = set(self._saves)
            busy, blobs = await self._in_thread(lambda: self._round(journals, saving))  # noqa: B023 - awaited at once
            for journal, blob in blobs.items():
                opening = self._openings.get(journal)
                if opening:
                    self._saves[journal] = asyncio.create_task(self._save(journal, opening, blob))
            self._news.set()
            self._news = asyncio.Event()
            stirred_at = max((journal.stirred_at for journal in journals), default=0.0)
            is_quiet = self.clock.monotonic() - stirred_at > QUIET_SECONDS
            await self.clock.sleep(0 if busy else 2 * POLL_SECONDS if is_quiet else POLL_SECONDS)

    def _round(self, journals: Sequence[Journal], saving: AbstractSet[Journal]) -> tuple[bool, dict[Journal, bytes]]:
        """Look at all logs and read for a while, each in its turn. Whether something is left, and what is to be saved."""
        left = [journal for journal in journals if _survive(journal, journal.look)]
        until = self.clock.monotonic() + ROUND_SECONDS
        while left and self.clock.monotonic() < until:
            left = [journal for journal in left if _survive(journal, journal.advance)]
        blobs = {journal: journal.freeze() for journal in journals if journal not in saving}
        return bool(left), {journal: blob for journal, blob in blobs.items() if blob}

    async def _save(self, journal: Journal, opening: Opening, blob: bytes) -> None:
        try:
            await opening.save(blob)
            journal.publish()
        except Exception as error:  # a broken store must not end the watching; what is not saved is not shown
            journal.save_failed()
            log.error("log_state_not_saved", path=journal.path, error=repr(error))
        finally:
            self._saves.pop(journal, None)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        assert self._thread
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
