"""How the sandbox's times follow from the shipped ones: the same order, in seconds instead of minutes.

Each kind of time has its own pace, because some have a floor and some reach from seconds to days. Within a kind a
longer time stays longer, so causes still ripen before their symptoms and timeouts still end before the next run.
"""

from __future__ import annotations

import math

from monitor.logs.window import BUCKET_SECONDS

RETRY_SCALE = 1 / 20
FINEST_WINDOW_SECONDS = 10.0  # what the probe type `log` takes at least


def beat(seconds: float) -> float:
    """An interval or a timeout: ten seconds become one, five 0.7, an hour 20."""
    return math.sqrt(seconds / 10.0)


def window(seconds: float) -> float:
    """A window of the log, a minute or more: one minute becomes the finest there is, a quarter of an hour not much more."""
    return FINEST_WINDOW_SECONDS * math.pow(seconds / 60.0, 0.1)


MEMORY_SECONDS = window(300.0) + BUCKET_SECONDS
"""How long five minutes of log remember an outage here: the window, and the last bucket that it cuts."""


def wait(seconds: float) -> float:
    """A hold, a deadline, or the time after which a level is paged: half a minute becomes 2 s, half an hour 37.

    From two minutes on it is there to outlast what a window of the log remembers, so it does.
    """
    return seconds / 15.0 if seconds < 120.0 else MEMORY_SECONDS + 2.0 * math.sqrt(seconds / 30.0)


def life(seconds: float) -> float:
    """A phase of an incident's life: `monitoring` ends when the symptoms have cleared, and the log's memory is over."""
    return MEMORY_SECONDS + seconds / 300.0


def age(seconds: float) -> float:
    """A limit on how old something may be: two hours become 8.5 s; events come every second."""
    return 0.1 * math.sqrt(seconds)


def written(seconds: float) -> str:
    """A duration as YAML has it, to the hundredth of a second."""
    return f"{round(seconds, 2):g}s"
