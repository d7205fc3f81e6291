"""Shows what a whole log says, as JSON or as tables, with a progress bar while a large one is read.

What is heavy to import is imported when it is needed: a log is read in little more time than that takes.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import click

from monitor.logs.summary import Progress, scan_file

if TYPE_CHECKING:
    from rich.console import Console

    from monitor.logs.scan import Spec
    from monitor.logs.summary import Summary

EXIT_UNREADABLE = 2
LARGE_BYTES = 16 * 2**20  # a smaller one is read before anybody could look at a bar


def show_scan(path: str, spec: Spec, *, as_json: bool) -> None:
    """What a log probe sees in a whole file; on a terminal a bar on standard error says how far it is read."""
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - no pathlib for one call
        with _bar(path) if sys.stderr.isatty() and size >= LARGE_BYTES else nullcontext() as progress:
            summary = scan_file(path, spec, progress)
    except OSError as error:
        click.echo(f"portal-monitor: {path}: {error.strerror or error}", err=True)
        sys.exit(EXIT_UNREADABLE)
    if as_json:
        click.echo(json.dumps(_finite(summary.as_json()), indent=2, ensure_ascii=False))
    else:
        _print_tables(summary)


@contextmanager
def _bar(path: str) -> Iterator[Progress]:
    from monitor.commands.bars import Bars

    with Bars() as bars:
        yield partial(bars.tell, path)


def _finite(value: object) -> object:
    """The value as JSON can say it: what is not finite is null."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_tables(summary: Summary) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from monitor.core.words import clean, iso, quantity

    console: Console = Console(highlight=False)
    counts = Table(box=None, show_header=False, pad_edge=False)
    ratio = f" ({quantity('error_ratio', summary.server_errors / summary.requests)})" if summary.requests else ""
    for name, text in (
        ("lines", f"{summary.lines:,}"),
        ("error_lines", f"{summary.error_lines:,}"),
        ("requests", f"{summary.requests:,}"),
        ("server_errors", f"{summary.server_errors:,}{ratio}"),
        ("unparsed", f"{summary.unparsed:,}"),
        *((f"matches[{name}]", f"{count:,}") for name, count in summary.matches.items()),
        ("first line", iso(summary.first_event) if summary.first_event is not None else "no line with a time"),
        ("last line", iso(summary.last_event) if summary.last_event is not None else ""),
    ):
        counts.add_row(Text(name, style="dim"), Text(text))
    console.print(counts)
    if summary.latency:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("latency of", "count", "mean", "p50", "p95", "p99"):
            table.add_column(name, justify="left" if name == "latency of" else "right")
        for name, latency in summary.latency.items():
            seconds = (latency.mean_seconds, latency.p50_seconds, latency.p95_seconds, latency.p99_seconds)
            cells = [quantity("x_seconds", value) for value in seconds]
            table.add_row(Text(clean(name) or "requests", style="bold"), f"{latency.count:,}", *cells)
        console.print()
        console.print(table)
    for sample in summary.unparsed_samples:
        console.print(Text("not understood: ", style="yellow") + Text(clean(sample)))
