"""The commands `portal-monitor sandbox …`. The rooms behind them are entered only when they are asked for."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(".sandbox"), show_default=True,
    help="Where the sandbox keeps everything.",
)  # fmt: skip


@click.group()
def sandbox() -> None:
    """A small portal to watch, and its outages."""


@sandbox.command()
@FOLDER
@click.option("--no-daemon", is_flag=True, help="Only the portal and Alertmanager; run the daemon yourself.")
@click.option("--listen", default="127.0.0.1:9877", show_default=True, help="Where the daemon listens.")
@click.option("--traffic", default=25.0, show_default=True, help="Requests of customers, a second.")
@click.option("--alertmanager", default="", metavar="URL", help="One that runs already; else one is started.")
@click.option("--url", default="", help="Under which others reach the console, if it is not the address it listens on.")
def up(folder: Path, no_daemon: bool, listen: str, traffic: float, alertmanager: str, url: str) -> None:  # noqa: PLR0917
    """Start the portal and the daemon on it; pages appear as they come. Ctrl-C ends all."""
    from monitor.sandbox import remote, supervisor

    try:
        plan = supervisor.Plan(
            folder, daemon=not no_daemon, listen=listen, requests_per_second=traffic, alertmanager=alertmanager, url=url
        )
        supervisor.up(plan)
    except remote.SandboxError as error:
        raise click.ClickException(str(error)) from error


@sandbox.command("list")
@FOLDER
def list_(folder: Path) -> None:
    """Everything that can be broken, and what it should lead to."""
    from rich.console import Console
    from rich.table import Table

    from monitor.sandbox import outages, remote

    broken = remote.status(folder)["broken"] if remote.running(folder) else ()
    table = Table("outage", "what happens", "scenario", "severity", box=None)
    for outage in outages.OUTAGES.values():
        name = f"[bold red]{outage.name} (broken)[/]" if outage.name in broken else f"[bold]{outage.name}[/]"
        table.add_row(name, outage.sentence, outage.scenario or "no page", str(outage.severity or ""))
    Console(highlight=False).print(table)


@sandbox.command("break")
@click.argument("name")
@FOLDER
def break_(name: str, folder: Path) -> None:
    """Begin the outage NAME in the sandbox that is up."""
    _change("break_", name, folder)


@sandbox.command()
@click.argument("name")
@FOLDER
def heal(name: str, folder: Path) -> None:
    """End the outage NAME in the sandbox that is up."""
    _change("heal", name, folder)


@sandbox.command()
@FOLDER
def pages(folder: Path) -> None:
    """Every page since the sandbox is up."""
    from monitor.sandbox import pages, remote

    try:
        kept = remote.pages(folder)
    except remote.SandboxError as error:
        raise click.ClickException(str(error)) from error
    for page in kept:
        click.echo(pages.Page(**page).shown())
    if not kept:
        click.echo("Nobody was paged.")


def _change(verb: str, name: str, folder: Path) -> None:
    from monitor.sandbox import remote

    try:
        click.echo(getattr(remote, verb)(name, folder))
    except remote.SandboxError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    sandbox()
