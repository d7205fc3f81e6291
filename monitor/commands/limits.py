"""`probe NAME --history 7d`: every limit beside what was measured, so that an operator sees whether the number is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitor.core.quantity import format_duration
from monitor.core.words import clean, label, quantity

STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red", "unknown": "magenta", "": "dim"}
_BLOCKS = "▁▂▃▄▅▆▇█"
_LEVEL_BLOCKS = {"ok": "▂", "warn": "▅", "unknown": "▅", "fail": "█", "": " "}
_WORST = ("", "ok", "warn", "unknown", "fail")
_COLUMNS = 60


def show(console: Console, answer: Mapping[str, Any]) -> None:
    """Print a probe's history, as the API gives it."""
    buckets: Sequence[Mapping[str, Any]] = answer["buckets"]
    runs, failures = (sum(bucket[name] for bucket in buckets) for name in ("runs", "failures"))
    span = format_duration(_seconds(answer))
    console.print(
        Text(clean(answer["name"]), style="bold") + Text(f" over the last {span}: {_counted(runs, failures)}")
    )
    if not buckets:
        console.print("There is no history of it yet.")
        return
    columns = _columns(answer)
    console.print(Text("  level  ") + _levels(columns))
    for why in dict.fromkeys(limit["measurement"] for limit in answer["limits"]):
        console.print(Text(f"  {label(why)}  ", style="dim") + _line(columns, why, answer["limits"]))
    console.print()
    if answer["limits"]:
        console.print(_table(answer["limits"]))
        console.print()
    for limit in answer["limits"]:
        console.print(Text(f"{limit['text']}: ", style="bold") + Text(verdict(limit, span)))


def verdict(limit: Mapping[str, Any], span: str) -> str:
    """What a limit has done over this time, in one sentence."""
    found, share, breaches = limit["measured"], limit["share_beyond"], limit["breaches"]
    if found is None:
        return "it was never measured; is the name right, and may the probe see it?"
    times = "once" if breaches == 1 else f"{breaches} times"
    if breaches:
        return f"confirmed {times} in {span}; {_share(share)} of runs were beyond it."
    if share:
        return f"{_share(share)} of runs were beyond it, but never for long enough to be confirmed."
    return f"never reached; the most was {quantity(_name(limit), found['high'])}, the least {quantity(_name(limit), found['low'])}."


def _counted(runs: int, failures: int) -> str:
    return f"{runs:,} runs" + (f", {failures:,} failed" if failures else ", none failed")


def _seconds(answer: Mapping[str, Any]) -> float:
    from datetime import datetime

    since, until = (datetime.fromisoformat(answer[name]) for name in ("since", "until"))
    return round((until - since).total_seconds() / 60) * 60


def _name(limit: Mapping[str, Any]) -> str:
    return str(limit["measurement"]).partition("[")[0]


def _share(share: float) -> str:
    return f"{max(share * 100, 0.01):.2g} %"


def _table(limits: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "limit", "median", "95 %", "99 %", "least", "most", "beyond it", "confirmed"):
        table.add_column(name, no_wrap=name != "limit", justify="left" if name in {"", "limit"} else "right")
    for limit in limits:
        found = limit["measured"]
        cells = ["", "", "", "", ""]
        if found is not None:
            cells = [quantity(_name(limit), found[key]) for key in ("p50", "p95", "p99", "low", "high")]
        beyond = _share(limit["share_beyond"]) if limit["share_beyond"] else "never"
        style = STYLE[limit["level"]] if limit["breaches"] else ""
        table.add_row(
            Text(limit["level"], style=STYLE[limit["level"]]), Text(limit["text"]), *cells, Text(beyond),
            Text(str(limit["breaches"]), style=style),
        )  # fmt: skip
    return table


def _columns(answer: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """The buckets that each column of the terminal stands for."""
    from datetime import datetime

    since, until = (datetime.fromisoformat(answer[name]).timestamp() for name in ("since", "until"))
    columns: list[list[Mapping[str, Any]]] = [[] for _ in range(_COLUMNS)]
    for bucket in answer["buckets"]:
        share = (datetime.fromisoformat(bucket["at"]).timestamp() - since) / (until - since)
        columns[min(max(int(share * _COLUMNS), 0), _COLUMNS - 1)].append(bucket)
    return columns


def _levels(columns: Sequence[Sequence[Mapping[str, Any]]]) -> Text:
    said = Text()
    for column in columns:
        level = max((bucket["level"] for bucket in column), key=_WORST.index, default="")
        said.append(_LEVEL_BLOCKS[level], style=STYLE[level])
    return said


def _line(columns: Sequence[Sequence[Mapping[str, Any]]], why: str, limits: Sequence[Mapping[str, Any]]) -> Text:
    """The worst of each column as a bar, the highest bar at the most that was measured."""
    falling = any(limit["measurement"] == why and "<" in limit["text"] for limit in limits)
    key, worst = ("low", min) if falling else ("high", max)
    values = [
        worst((bucket["measured"][why][key] for bucket in column if why in bucket["measured"]), default=None)
        for column in columns
    ]
    most = max((value for value in values if value is not None), default=0.0)
    said = "".join(
        " " if value is None else _BLOCKS[min(int(max(value, 0) / most * 7.99), 7)] if most > 0 else _BLOCKS[0]
        for value in values
    )
    return Text(said, style="cyan") + Text(f"  most {quantity(why.partition('[')[0], most)}", style="dim")
