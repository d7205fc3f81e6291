"""`status --watch`: what is broken, since when, how bad, who was told and what comes next, as it changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from monitor.core.words import clean, label, quantity

SECONDS = 1.0
STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red", "unknown": "magenta"}
SIGN = {"ok": "✓", "warn": "▲", "fail": "✗", "unknown": "?"}
_RANK = {"fail": 0, "unknown": 1, "warn": 2, "ok": 3}

Ask = Callable[[], tuple[Mapping[str, Any], bool]]
"""What is known now, in the API's shape, and whether a running daemon said it."""


def watch(console: Console, ask: Ask, *, looks: int | None = None) -> Mapping[str, Any]:
    """Show the state until Ctrl-C (or so many looks); what was last known."""
    answer, alive = ask()
    done = 1
    with Live(
        render(answer, time.time(), alive=alive), console=console, screen=console.is_terminal, auto_refresh=False
    ) as live:
        try:
            while looks is None or done < looks:
                time.sleep(SECONDS)
                answer, alive = ask()
                live.update(render(answer, time.time(), alive=alive), refresh=True)
                done += 1
        except KeyboardInterrupt:
            pass
    return answer


def render(answer: Mapping[str, Any], now: float, *, alive: bool) -> RenderableType:
    """One screen: open incidents first, then every probe, the worst first, then the monitor itself."""
    open_ = [item for item in answer["incidents"] if item["state"] != "resolved"]
    parts: list[RenderableType] = [_head(answer, now, alive=alive), Text()]
    for item in sorted(open_, key=lambda one: (one["parent"] is not None, one["severity"])):
        parts += [*_incident(item, now), Text()]
    if not open_:
        parts += [Text("No open incident.", style="green"), Text()]
    parts.append(_probes(answer["probes"], now))
    return Group(*parts)


def _head(answer: Mapping[str, Any], now: float, *, alive: bool) -> Text:
    clock = f"{datetime.fromtimestamp(now, UTC):%H:%M:%S} UTC"
    if not alive:
        return Text(f"The daemon does not run. Last known {_ago(answer['at'], now)} ago ({clock}).", style="bold red")
    monitor = answer["monitor"]
    said = Text(f"portal-monitor {clean(monitor['version'])} · {clock}", style="dim")
    if not monitor["ready"]:
        said.append("  its scheduler is not on time", style="bold red")
    if monitor["store_error"]:
        said.append(f"  the store cannot be written: {clean(monitor['store_error'])}", style="bold red")
    if not monitor["reload_ok"]:
        said.append("  the last reload failed", style="yellow")
    return said


def _incident(item: Mapping[str, Any], now: float) -> list[Text]:
    urgent = item["severity"] in {"P1", "P2"} and item["parent"] is None
    style = "bold red" if urgent else "yellow"
    lines = [
        Text(f"{item['severity']} ", style=style)
        + Text(clean(item["title"]), style="bold")
        + Text(f"  {item['state']} for {_ago(item['started_at'], now)}")
    ]
    if item["parent"]:
        return [*lines, Text(f"   a symptom of {clean(item['parent'])}: {item['key']}", style="dim")]
    if item["impact"]:
        lines.append(Text(f"   {clean(item['impact'])}"))
    lines.append(Text(f"   {item['key']}, because of {clean(', '.join(item['why']))}", style="dim"))
    deadlines, ack = item["deadlines"], item["ack"]
    if item["acknowledged"] and ack:
        lines.append(Text(f"   acknowledged by {clean(ack['by'])} {_ago(ack['at'], now)} ago", style="green"))
    elif deadlines["response_due_at"]:
        lines.append(_due("nobody has acknowledged it; an answer is due", deadlines["response_due_at"], now))
    for step in deadlines["steps"][:2]:
        whom = f"{step['escalation_level']} {step['to']}" + (f" ({step['vendor']})" if step["vendor"] != "none" else "")
        lines.append(_due(f"{clean(whom)} is paged", step["at"], now))
    if deadlines["held"]:
        lines.append(Text(f"   not resolved, as {clean(deadlines['held'])}", style="magenta"))
    elif deadlines["resolves_at"]:
        lines.append(_due("resolved, if it stays clear,", deadlines["resolves_at"], now))
    elif deadlines["next_update_at"]:
        lines.append(_due("a status update is due", deadlines["next_update_at"], now))
    return lines


def _due(what: str, at: str, now: float) -> Text:
    left = _seconds(at) - now
    if left < 0:
        return Text(f"   {what}: overdue for {_span(-left)}", style="bold red")
    return Text(f"   {what} in {_span(left)}", style="yellow" if left < 300 else "")


def _probes(rows: list[Mapping[str, Any]], now: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for name in ("", "probe", "level", "for"):
        table.add_column(name, no_wrap=True)
    table.add_column("why, and what has a limit", overflow="ellipsis", no_wrap=True, ratio=1)
    enabled = [row for row in rows if row["enabled"]]
    for row in sorted(enabled, key=lambda one: _RANK[one["level"]]):
        style = STYLE[row["level"]]
        table.add_row(
            Text(SIGN[row["level"]], style=style), Text(row["name"], style="bold"), Text(row["level"], style=style),
            Text(_ago(row["since"], now) if row["since"] else "", style="dim"), _said(row),
        )  # fmt: skip
    return table


def _said(row: Mapping[str, Any]) -> Text:
    said = Text()
    if row["level"] != "ok" and row["advice"]:
        said.append(clean(row["advice"]), style=STYLE[row["level"]])
    for name in dict.fromkeys(condition["measurement"] for condition in row["conditions"]):
        value = row["measurements"].get(name)
        if value is None:
            continue
        number = value.get("", max(value.values(), default=0.0)) if isinstance(value, Mapping) else value
        over = any(one["holds"] for one in row["conditions"] if one["measurement"] == name)
        said.append("  " if said else "")
        said.append(f"{label(name)} {quantity(name, number)}", style="bold" if over else "dim")
    return said


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _ago(at: str, now: float) -> str:
    return _span(max(0.0, now - _seconds(at)))


def _span(seconds: float) -> str:
    """`45 s`, `6:12`, `1 h 05`, `3 d 4 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    if whole < 86400:
        return f"{whole // 3600} h {whole // 60 % 60:02d}"
    return f"{whole // 86400} d {whole // 3600 % 24} h"
