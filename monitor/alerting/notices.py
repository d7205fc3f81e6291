"""When a status update or a reminder has been told for long enough: everybody who can be reached has had it a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from monitor.core.incident import Notice

TOLD_SECONDS = 600.0
"""How long one fires after every Alertmanager took it: none may end before it was routed and sent."""


@dataclass(slots=True)
class Attention:
    """Since when each open notice is with everybody (monotonic seconds). Empty after a start, so at worst it is longer."""

    _since: dict[tuple[object, ...], float] = field(default_factory=dict)

    def over(self, notices: Iterable[Notice], everywhere: Callable[[Notice], bool], now: float) -> frozenset[object]:
        """The identities of those that may end at `now` (monotonic).

        `everywhere`: whether every Alertmanager that can be reached has it. One that comes back without it begins the
        time anew.
        """
        told = [notice.identity for notice in notices if notice.ended_at is None and everywhere(notice)]
        self._since = {identity: self._since.get(identity, now) for identity in told}
        return frozenset(identity for identity, since in self._since.items() if now - since >= TOLD_SECONDS)
