"""How the sandbox's times follow from the shipped ones: the same order, in seconds instead of minutes.

Each kind of time has its own pace, because some have a floor (a log window must hold enough requests, a timeout
must survive a busy machine) and some reach from seconds to days. Within a kind a longer time stays longer.
"""

from __future__ import annotations

import math

INTERVAL_SCALE = 1 / 20
TIMEOUT_SCALE = 1 / 8
LIFE_SCALE = 1 / 120  # the 15 min of `monitoring`: 7.5 s, longer than a window takes to forget an outage


def wait(seconds: float) -> float:
    """A hold, a deadline or the time after which a level is paged: half a minute becomes 2 s, half an hour 15 s."""
    return 2.0 * math.sqrt(seconds / 30.0)


def age(seconds: float) -> float:
    """A limit on how old something may be: two hours become 8.5 s; events come every second."""
    return 0.1 * math.sqrt(seconds)


def window(seconds: float) -> float:
    """A window of the log: five minutes become 4 s, one 1.8, in which 25 requests/s are still over `min_samples`."""
    return 4.0 * math.sqrt(seconds / 300.0)


def written(seconds: float) -> str:
    """A duration as YAML has it, to the hundredth of a second."""
    return f"{round(seconds, 2):g}s"
