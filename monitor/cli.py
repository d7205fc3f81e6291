"""The commands of `portal-monitor`; the only reader of configuration files and of the environment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from monitor import __version__
from monitor.commands.incidents import COMMANDS

if TYPE_CHECKING:
    from monitor.commands.live import Row
    from monitor.core.loading import Loaded
    from monitor.logs.scan import Spec

EXIT_OK, EXIT_REFUSED, EXIT_BAD_CONFIG = 0, 1, 2
EXIT_OF_LEVEL = {"ok": 0, "warn": 1, "fail": 2, "unknown": 3}
EXIT_UNKNOWN = 3

config_option = click.option(
    "-c", "--config", "path", default="probes.yaml", show_default=True, help="What is watched, and how."
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="portal-monitor")
@click.pass_context
def main(context: click.Context) -> None:
    """Keeps watch over the Customer Portal: probes, severities, incidents and pages, as the runbook says.

    \b
    portal-monitor init DIR       a configuration to begin with
    portal-monitor check          is the configuration right, and how soon does it page?
    portal-monitor probe redis    look at one thing now
    portal-monitor run            keep watch
    portal-monitor status         what is broken, since when, how bad
    portal-monitor incident ack   you have seen it; also note, resolve, show and others
    portal-monitor explain redis  why it is as bad as it is
    portal-monitor sandbox up     a small portal to try it all on
    """
    context.obj = load_or_ask


@main.command()
@config_option
@click.option("--web.config.file", "web_config", help="TLS and passwords, in the Prometheus exporter-toolkit's format.")
@click.option(
    "--log-format", type=click.Choice(["auto", "console", "json", "logfmt"]), default="auto", show_default=True
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def run(path: str, web_config: str | None, log_format: str, log_level: str) -> None:
    """Keep watch until SIGTERM. SIGHUP reads the configuration again."""
    import asyncio

    from monitor.commands.bars import Bars
    from monitor.daemon import Daemon
    from monitor.logging import configure
    from monitor.store import StoreError
    from monitor.systemd import Systemd
    from monitor.web.server import ListenError

    loaded = load_or_exit(path, EXIT_BAD_CONFIG)
    configure(lambda: loaded.config.secrets, log_format, log_level)
    try:
        web_config_file = _checked_web_config(web_config)
        daemon = Daemon(loaded, lambda: load(path), web_config_file=web_config_file, systemd=Systemd(os.environ))
        with ExitStack() as stack:
            steps = [stack.enter_context(Bars()).in_log] if sys.stderr.isatty() else []
            configure(lambda: daemon.secrets, log_format, log_level, steps=steps)  # a reload may bring new ones
            asyncio.run(daemon.run())
    except* (StoreError, ListenError) as errors:
        _fail("; ".join(str(error) for error in errors.exceptions), EXIT_REFUSED)


@main.command()
@config_option
@json_option
@click.option("--live", is_flag=True, help="Also connect, and say what each credential lacks and has too much of.")
def check(path: str, *, as_json: bool, live: bool) -> None:
    """Say everything that is wrong with the configuration, and how long an outage lasts before it pages."""
    import asyncio

    from monitor.commands import terminal
    from monitor.commands.beginning import placeholders
    from monitor.core.patience import report
    from monitor.core.source import ConfigError

    try:
        loaded = load(path)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=not as_json)
        count = len(error.problems)
        _fail(f"{path}: {count} problem{'s' if count > 1 else ''}", EXIT_BAD_CONFIG)
    runbook = next((name for name in loaded.files if name != path), path)
    loaded = replace(loaded, warnings=(*loaded.warnings, *placeholders(runbook)))
    rows = report(loaded.config, loaded.runbook)
    terminal.show_check(loaded, rows, asyncio.run(_look_live(loaded)) if live else [], as_json=as_json)


async def _look_live(loaded: Loaded) -> list[Row]:
    from monitor.commands.live import look

    return await look(loaded.config)


@main.command()
@click.argument("folder", metavar="DIR")
def init(folder: str) -> None:
    """Write a starter configuration into DIR: probes.yaml, and alerts/ with the runbook, rules and routing.

    What is there already is left as it is, and then nothing is written.
    """
    from monitor.commands.beginning import BeginError, begin

    try:
        written = begin(Path(folder))
    except BeginError as error:
        _fail(str(error), EXIT_REFUSED)
    for path in written:
        click.echo(path)
    click.echo(f"\nNext: portal-monitor check -c {Path(folder) / 'probes.yaml'} names what is left to fill in.")


@main.command()
def schema() -> None:
    """Print the JSON Schema of probes.yaml and runbook.yaml, for editors."""
    from monitor.core.schema import schema as schema_of
    from monitor.probes import discover

    click.echo(json.dumps(schema_of(discover()), indent=2))


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@config_option
@json_option
@click.option("--history", "range_", metavar="RANGE", help="Run nothing: each limit beside what was measured over 7d.")
def probe(names: tuple[str, ...], path: str, range_: str | None, *, as_json: bool) -> None:
    """Run probes once, now, and show what was measured. Needs run first; nothing is saved.

    Exits with 0 ok, 1 warn, 2 fail, 3 unknown; of several, fail before unknown before warn.
    """
    import asyncio

    from monitor.commands import terminal
    from monitor.commands.glance import look_once
    from monitor.logging import configure

    loaded = load_or_exit(path, EXIT_UNKNOWN)
    configure(lambda: loaded.config.secrets, "auto", "error")
    unknown = [name for name in names if name not in loaded.config.probes]
    if unknown:
        from monitor.core.condition import did_you_mean

        _fail(f'there is no probe "{unknown[0]}"{did_you_mean(unknown[0], loaded.config.probes)}', EXIT_UNKNOWN)
    if range_ is not None:
        _show_histories(loaded, names, range_, as_json=as_json)
        return
    views = asyncio.run(look_once(loaded.config, names or tuple(item.name for item in loaded.config.enabled())))
    terminal.show_probes(views, as_json=as_json, whole=bool(names))
    sys.exit(_worst([view.level.value for view in views]))


@main.command()
@config_option
@json_option
@click.option("--watch", "watched", is_flag=True, help="Keep looking, until Ctrl-C.")
def status(path: str, *, as_json: bool, watched: bool) -> None:
    """What is broken, since when, how bad: from the running daemon, or from its store when it is down."""
    from monitor.commands import terminal
    from monitor.commands.access import Access, Denied
    from monitor.logging import configure

    loaded = load_or_ask(path, EXIT_UNKNOWN)
    configure(lambda: loaded.config.secrets, "auto", "error")
    access = Access(loaded)
    try:
        answer = access.status()
    except Denied as error:
        _fail(str(error), EXIT_UNKNOWN)
    if watched and not as_json:
        answer = _watch(loaded, answer)
    else:
        if access.note:
            click.echo(access.note, err=True)
        terminal.show_status(answer, as_json=as_json)
    sys.exit(_worst([item["level"] for item in answer["probes"] if item["enabled"]]))


@main.command("alert-test")
@config_option
@click.option("--severity", type=click.Choice(["P1", "P2", "P3", "P4"]), default="P1", show_default=True)
@click.option("--timeout", "seconds", type=float, default=10.0, show_default=True, help="Seconds to wait.")
def alert_test(path: str, severity: str, seconds: float) -> None:
    """Send one synthetic page of this severity end to end through every Alertmanager, and resolve it."""
    import asyncio

    from monitor.alerting.rehearsal import send_test_page

    loaded = load_or_exit(path, EXIT_REFUSED)
    if not loaded.config.alertmanagers:
        _fail(f"{path}: no alertmanagers are configured", EXIT_REFUSED)
    reports = asyncio.run(send_test_page(loaded.config, severity, seconds))
    for report in reports:
        click.echo(f"{'ok  ' if report.ok else 'FAIL'} {report.url}: {report.text}")
    sys.exit(EXIT_OK if all(report.ok for report in reports) else EXIT_REFUSED)


@main.command()
@click.argument("file")
@click.option("-c", "--config", "path", default=None, help="Where the probe is configured; default probes.yaml.")
@click.option("--probe", "name", help="Read it as this log probe would.")
@json_option
def scan(file: str, path: str | None, name: str | None, *, as_json: bool) -> None:
    """What a log probe sees in a whole file."""
    from monitor.commands.scanned import show_scan
    from monitor.logs.scan import Spec

    # A log probe of which nothing is said reads by the same.
    spec = Spec() if name is None and path is None else _log_spec(path, name)
    show_scan(file, spec, as_json=as_json)


class _Sandbox(click.Group):
    """The sandbox's commands, imported when they are used."""

    def _group(self) -> click.Group:
        try:
            from monitor.sandbox.commands import sandbox
        except ModuleNotFoundError as error:
            raise click.ClickException(f"the sandbox is not installed here ({error.name} is missing)") from error
        return sandbox

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._group().list_commands(ctx)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return self._group().get_command(ctx, name)


for _command in COMMANDS:
    main.add_command(_command)
main.add_command(_Sandbox("sandbox", help="A small portal to watch, with outages to order."))


# --- reading ---------------------------------------------------------------------------------------------------------


def load(path: str) -> Loaded:
    """The configuration at this path and the runbook it names. ConfigError tells every problem."""
    from monitor.core.loading import load as load_text
    from monitor.core.source import ConfigError, Problem
    from monitor.probes import discover

    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([Problem(path, 1, 1, f"cannot be read: {error.strerror}")]) from None
    return load_text(path, text, types=discover(), env=os.environ, read=lambda name: Path(name).read_bytes())


def load_or_exit(path: str, code: int) -> Loaded:
    """The same for a command that can do nothing without it."""
    from monitor.core.source import ConfigError

    try:
        return load(path)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(code)


def load_or_ask(path: str, code: int) -> Loaded:
    """The same for a command that a running daemon answers: then it is enough to know where that is."""
    from monitor.commands.access import Access
    from monitor.core.loading import outline
    from monitor.core.source import ConfigError

    try:
        return load(path)
    except ConfigError as error:
        with suppress(OSError):
            found = outline(path, Path(path).read_bytes(), env=os.environ)
            if found is not None and Access(found).answered():
                several, first = len(error.problems) > 1, error.problems[0]
                count = f"{len(error.problems)} mistakes" if several else "1 mistake"
                said = f"{count}, as `check` says{'; the first' if several else ''}: {first}"
                click.echo(f"The daemon answers. Read from here, {path} has {said}", err=True)
                return found
    return load_or_exit(path, code)


def _checked_web_config(path: str | None) -> Path | None:
    if path is None:
        return None
    from monitor.web import toolkit

    try:
        toolkit.load(Path(path))
    except toolkit.WebFileError as error:
        _fail(str(error), EXIT_BAD_CONFIG)
    return Path(path)


def _watch(loaded: Loaded, first: Mapping[str, Any]) -> Mapping[str, Any]:
    """The live view, until Ctrl-C; what was last known."""
    from rich.console import Console

    from monitor.commands.access import Access, Denied
    from monitor.commands.watch import watch

    last = first

    def ask() -> tuple[Mapping[str, Any], bool]:
        nonlocal last
        access = Access(loaded)  # anew each time: the daemon may have gone, or be there again
        try:
            last = access.status()
        except Denied:
            return last, False
        return last, not access.note

    return watch(Console(highlight=False), ask)


def _show_histories(loaded: Loaded, names: tuple[str, ...], range_: str, *, as_json: bool) -> None:
    """Limits beside what was measured, of these probes or all: from the running daemon, or from its store."""
    from rich.console import Console

    from monitor.commands import limits
    from monitor.commands.access import Access, Denied
    from monitor.web.past import range_seconds

    if range_seconds(range_) is None:
        found = "".join(letter for letter in range_[:40] if letter.isprintable())
        _fail(f'--history: "{found}" was found; write 90m, 12h or 7d, 31d at the most', EXIT_UNKNOWN)
    access = Access(loaded)
    try:
        answers = [access.history(name, range_) for name in names or [one.name for one in loaded.config.enabled()]]
    except Denied as error:
        _fail(str(error), EXIT_UNKNOWN)
    if access.note:
        click.echo(access.note, err=True)
    if as_json:
        click.echo(json.dumps(answers if len(answers) > 1 else answers[0], indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    for number, answer in enumerate(answers):
        if number:
            console.print()
        limits.show(console, answer)


def _log_spec(path: str | None, name: str | None) -> Spec:
    """How a configured log probe reads, with its patterns."""
    import msgspec

    loaded = load_or_exit(path or "probes.yaml", EXIT_BAD_CONFIG)
    found = [item for item in loaded.config.probes.values() if item.type.name == "log" and name in {None, item.name}]
    if not found:
        which = "" if name is None else f' "{name}"'
        _fail(f"{path or 'probes.yaml'}: there is no log probe{which} in it", EXIT_BAD_CONFIG)
    options: Any = found[0].options
    spec: Spec = msgspec.structs.replace(options.spec(), patterns=dict(options.patterns))
    return spec


def _worst(levels: list[str]) -> int:
    ranks: Callable[[str], int] = ["ok", "warn", "unknown", "fail"].index
    return EXIT_OF_LEVEL[max(levels, key=ranks, default="unknown")]


def _fail(message: str, code: int) -> Any:
    click.echo(f"portal-monitor: {message}", err=True)
    sys.exit(code)
