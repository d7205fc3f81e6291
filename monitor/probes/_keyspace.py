"""Counts the keys of a Redis database by prefix, an hour apart and a little in each run: what FLUSHDB would destroy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from monitor.core.probe import Json
from monitor.probes._redis import Connection, ask, refusal

EVERY_SECONDS = 3600.0
STEP = 1000  # keys that one SCAN looks at
STEPS_MOST = 100  # in one run
SHARE = 0.3  # of the run's time
ALL = ""  # the part that is the whole


@dataclass
class Count:
    """A count that is going on, or done: what a cursor keeps of it. `begun_at` is wall time."""

    begun_at: float
    prefixes: Sequence[str]
    scan: int = 0
    counting: dict[str, int] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)  # the last that was finished
    going_on: bool = True

    @classmethod
    def load(cls, kept: Json, prefixes: Sequence[str], now: float) -> Count:
        """What was kept; a new one where nothing was, where the prefixes are others, or where it is time for one."""
        last = cls(**kept) if isinstance(kept, dict) else None
        if last is None or list(last.prefixes) != list(prefixes):
            return cls(now, list(prefixes))
        if not last.going_on and not 0 <= now - last.begun_at < EVERY_SECONDS:
            return cls(now, list(prefixes), counted=last.counted)
        return last

    def dump(self) -> Json:
        return dict(vars(self))

    def add(self, keys: Iterable[bytes]) -> None:
        """Count these keys, each for the first prefix that it has."""
        starts = [(prefix, prefix.encode()) for prefix in self.prefixes]
        for key in keys:
            found = next((prefix for prefix, start in starts if key.startswith(start)), None)
            for part in (ALL,) if found is None else (ALL, found):
                self.counting[part] = self.counting.get(part, 0) + 1

    def finish(self) -> None:
        self.counted = {part: self.counting.get(part, 0) for part in (ALL, *self.prefixes)}
        self.counting, self.going_on = {}, False


async def go_on(connection: Connection, count: Count, timeout_seconds: float) -> Mapping[str, float]:
    """Count on within the budgets of steps and time; what the last finished count found, by prefix and in all.

    SCAN may show a key twice while the table of keys is resized, so a count is about right. Raises ProbeError.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SHARE * timeout_seconds
    for _ in range(STEPS_MOST if count.going_on else 0):
        (reply,) = await ask(connection, ["SCAN", count.scan, "COUNT", STEP])
        if isinstance(reply, RedisError):
            raise refusal(reply)
        at, keys = _both(reply)
        count.add(keys)
        count.scan = at
        if at == 0:
            count.finish()
            break
        if loop.time() > deadline:
            break
    return {part: float(number) for part, number in count.counted.items()}


def _both(reply: Any) -> tuple[int, list[bytes]]:
    return int(reply[0]), list(reply[1])
