"""What the commands print: tables for people on a terminal, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from monitor.commands.incident_views import deadline_lines, headline, seconds, undelivered
from monitor.core.runbook import Severity
from monitor.core.snapshot import ProbeView
from monitor.core.words import clean, label, quantity
from monitor.web.api import probe_json

if TYPE_CHECKING:
    from monitor.commands.live import Row
    from monitor.core.loading import Loaded
    from monitor.core.patience import Patience

_STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red", "unknown": "magenta"}
_SIGN = {"ok": "✓", "warn": "!", "fail": "✗", "unknown": "?"}


def show_probes(views: Sequence[ProbeView], *, as_json: bool, whole: bool) -> None:
    """What one look measured; `whole` shows every measurement, not only those with a limit."""
    rows = [probe_json(view) for view in views]
    if as_json:
        _print_json(rows)
    else:
        _print_probes(Console(highlight=False), rows, whole=whole)


def show_status(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """What is broken, since when, how bad."""
    if as_json:
        _print_json(answer)
        return
    console = Console(highlight=False)
    open_, now = [item for item in answer["incidents"] if item["state"] != "resolved"], seconds(answer["at"])
    for item in open_:
        console.print(headline(item, now))
        for line in deadline_lines(item, now):
            console.print(Padding(line, (0, 0, 0, 3), expand=False))
        for page in item["pages"]:
            if said := undelivered(page, now):
                console.print(Text("   ").append(said), soft_wrap=True)
    if not open_:
        console.print(Text("No open incident.", style="green"))
    console.print()
    _print_probes(console, answer["probes"])


def show_check(loaded: Loaded, rows: Sequence[Patience], live: Sequence[Row], *, as_json: bool) -> None:
    """The configuration is right: its warnings, how long an outage lasts before it pages, and the credentials tried."""
    if as_json:
        rules = [{name: _finite(value) for name, value in asdict(row).items()} for row in rows]
        credentials = [asdict(row) for row in live]
        _print_json({"warnings": [str(item) for item in loaded.warnings], "rules": rules, "credentials": credentials})
        return
    console = Console(highlight=False, soft_wrap=True)
    for warning in loaded.warnings:
        console.print(Text("warning: ", style="yellow") + Text(str(warning)))
    console.print()
    console.print(Text("How long an outage lasts before it pages:", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("scenario", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("pages after", no_wrap=True, justify="right")
    table.add_column("never if over in", no_wrap=True, justify="right")
    table.add_column("when", overflow="fold", ratio=1)
    last = ""
    for row in rows:
        style = "bold red" if row.severity.at_least(Severity.P2) else "yellow"
        after = f"{_short(row.soonest)} to {_short(row.latest)}" if math.isfinite(row.soonest) else "never: disabled"
        table.add_row(
            Text(row.scenario if row.scenario != last else "", style="bold"),
            Text(str(row.severity), style=style),
            Text(after),
            Text(_short(row.passes) if math.isfinite(row.passes) else ""),
            Text(row.rule),
        )
        last = row.scenario
    Console(highlight=False, width=max(console.width, 100)).print(table)
    if live:
        console.print()
        console.print(Text("Credentials, tried now:", style="bold"))
    for found in live:
        style = _STYLE["ok" if found.verdict == "fits" else "warn"]
        console.print(Text(f"{', '.join(found.probes)}: ", style="bold") + Text(clean(found.text), style=style))
    probes = len(loaded.config.enabled())
    console.print()
    console.print(Text(f"{', '.join(loaded.files)}: good; {probes} probes, {len(loaded.runbook.scenarios)} scenarios."))


def _short(seconds: float) -> str:
    """`45 s`, `6 min 12 s`, `1 h 5 min`, `1 d 2 h`."""
    whole = round(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    words = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes) + [f"{rest} s"] * bool(rest and not hours)
    return " ".join(words) or "0 s"


def _finite(value: object) -> object:
    """JSON knows no infinity: a rule that can never page has no time at which it does."""
    if isinstance(value, Severity):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_probes(console: Console, rows: Sequence[Any], *, whole: bool = False) -> None:
    """A line for each probe, with the numbers that have a limit; `whole` shows all that was measured."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "probe", "level"):
        table.add_column(name, no_wrap=True)
    table.add_column("took", no_wrap=True, justify="right")
    table.add_column("reason, and what has a limit", overflow="fold", ratio=1)
    for row in rows:
        level = row["level"] if row["enabled"] else "disabled"
        took = "" if row["duration_seconds"] is None else quantity("duration_seconds", row["duration_seconds"])
        table.add_row(
            Text(_SIGN[row["level"]], style=_STYLE[row["level"]]),
            Text(row["name"], style="bold"),
            Text(level, style=_STYLE[row["level"]]),
            Text(took),
            _said(row),
        )
    console.print(table)
    for row in rows:
        if row["advice"] and row["level"] != "ok" and row["enabled"]:
            console.print(Text(f"{row['name']}: ", style="bold") + Text(clean(row["advice"])))
        if whole:
            _print_measurements(console, row)


def _said(row: Mapping[str, Any]) -> Text:
    """Why the level is what it is, then the numbers beside their limits."""
    said = Text()
    if row["reason"]:
        detail = f" ({row['detail']})" if row["run_reason"] and row["detail"] else ""
        said.append(clean(row["reason"] + detail), style=_STYLE[row["level"]])
    for name in dict.fromkeys(condition["measurement"] for condition in row["conditions"]):
        value = row["measurements"].get(name)
        if value is None:
            continue
        over = [condition for condition in row["conditions"] if condition["measurement"] == name and condition["holds"]]
        said.append("  " if said else "")
        said.append(f"{label(name)} {_number(name, value)}", style="dim" if not over else "bold")
        said.append(f" (over the limit: {_telling(over, row['level'])})" if over else "")
    return said


def _telling(over: Sequence[Mapping[str, Any]], level: str) -> str:
    """Of the limits that a number is over, the one that made the level; where none did so far, one of the worst."""
    worst = next((each for each in over if each["level"] == "fail"), over[0])
    return str(next((each for each in over if each["level"] == level), worst)["text"])


def _print_measurements(console: Console, row: Mapping[str, Any]) -> None:
    """Everything that one run of a probe brought home."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in row["measurements"].items():
        table.add_row(Text(f"  {name}", style="dim"), Text(clean(_number(name, value))))
    for name, good in row["checks"].items():
        table.add_row(
            Text(f"  check {clean(name)}", style="dim"),
            Text("ok" if good else "fail", style=_STYLE["ok" if good else "fail"]),
        )
    for name, text in row["details"].items():
        table.add_row(Text(f"  {clean(name)}", style="dim"), Text(clean(text)))
    console.print()
    console.print(Text(row["name"], style="bold"))
    console.print(table)


def _number(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{part or 'all'}={quantity(name, number)}" for part, number in value.items())
    return quantity(name, value)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
