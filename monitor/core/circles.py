"""Things that lead back to themselves, such as probes that need each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The circles in who points to whom: `["a", "b"]` where a points to b and b to a.

    Each is broken and the search goes on, so a tangle gives some of its circles and not all.
    """
    left = {name: set(others) for name, others in edges.items()}
    found: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            circle = list(reversed(error.args[1]))[:-1]
            first = min(range(len(circle)), key=circle.__getitem__)
            circle = circle[first:] + circle[:first]
            found.append(circle)
            left[circle[-1]].discard(circle[0])
        else:
            return found


def in_order(edges: Mapping[str, Iterable[str]]) -> list[str]:
    """The names so that each comes after those it points to, otherwise as they were. No circles, please."""
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        if name in ordered or name not in edges:
            return
        for other in edges[name]:
            add(other)
        ordered[name] = None

    for name in edges:
        add(name)
    return list(ordered)
