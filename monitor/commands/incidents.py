"""The commands about incidents: `incident` with its verbs, `explain`, `maintenance`, `backup`.

They ask the running daemon, or its store while none runs. What is refused ends with 1 and the reason in one line.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from monitor.commands.access import Access
    from monitor.core.loading import Loaded

Load = Callable[[str, int], "Loaded"]
"""Reads the configuration at this path, or ends with this exit code and every problem: what the main group hands down."""

EXIT_REFUSED, EXIT_BAD_CONFIG = 1, 2
CUSTOMER_IMPACT = "customer_impact"

_INCIDENT = "[INCIDENT]"
_config = click.option(
    "-c", "--config", "path", default="probes.yaml", show_default=True, help="What is watched, and how."
)
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
_by = click.option("--by", default="", metavar="NAME", help="Who does it; default: you, by your login name.")
_why = click.option("--why", required=True, help="The reason; it stands on the timeline.")
_note = click.option("--note", "text", default="", metavar="TEXT", help="What else there is to say.")
_which = click.argument("incident", required=False, metavar=_INCIDENT)
_words = click.argument("words", nargs=-1, required=True, metavar="[INCIDENT] TEXT")


@click.group("incident", context_settings={"help_option_names": ["-h", "--help"]})
def incident() -> None:
    """Incidents: what is open, and what people do about it.

    INCIDENT is a key, the beginning of one, or a scenario; without it, the only one that is open
    (symptoms of another do not count).
    """


@incident.command("list")
@click.option("--since", metavar="WHEN", help="The month in numbers: all that was open since (30d, 14:05, a date).")
@click.option("--all", "everything", is_flag=True, help="Also those that are resolved, as far as they are kept.")
@_json
@click.option("--csv", "as_csv", is_flag=True, help="For a spreadsheet; 30 days unless --since says otherwise.")
@_config
@click.pass_obj
def list_(load: Load, since: str | None, path: str, *, everything: bool, as_json: bool, as_csv: bool) -> None:
    """What is open, with what comes next; or the month: times to detect, acknowledge and resolve, breaches, reviews."""
    from monitor.commands import incident_views as views

    with _reaching(load, path) as access:
        if as_csv:
            click.echo(access.text("/api/v1/report.csv", since=_since(since or "30d")), nl=False)
        elif since is not None:
            _month(access, _since(since), as_json=as_json)
        else:
            found = access.get("/api/v1/incidents", **({"since": _since("3650d")} if everything else {}))
            shown = [item for item in found if everything or item["state"] != "resolved"]
            _echo_json(shown) if as_json else views.show_list(shown, _now())


def _month(access: Access, since: str, *, as_json: bool) -> None:
    from monitor.commands import incident_views as views

    report = access.get("/api/v1/report", since=since)
    if not as_json:
        views.show_report(report)
        return
    rows = {row["incident"]: row for row in report["rows"]}
    found = access.get("/api/v1/incidents", since=since)
    _echo_json([{**item, "numbers": rows.get(item["key"])} for item in found])


@incident.command()
@_which
@click.option(
    "--messages", is_flag=True, help="What can be said of it now: status update, for customers, for the vendor."
)
@_json
@_config
@click.pass_obj
def show(load: Load, incident: str | None, path: str, *, messages: bool, as_json: bool) -> None:
    """One incident: what it is, what comes, who was told, what happened."""
    from monitor.commands import incident_views as views

    with _reaching(load, path) as access:
        found = access.get(f"/api/v1/incidents/{_key(access, incident, over=True)}{'/messages' if messages else ''}")
        if as_json:
            _echo_json(found)
        elif messages:
            views.show_messages(found)
        else:
            views.show_incident(found, _now())


@incident.command("open")
@click.argument("scenario")
@click.argument("words", nargs=-1, required=True, metavar="TEXT")
@click.option("--severity", type=click.Choice(["P1", "P2", "P3", "P4"]), help="Default: the worst of its rules.")
@click.option("--source", type=click.Choice(["customer", "internal"]), default="internal", show_default=True)
@click.option("--since", metavar="WHEN", help="When it began: 14:05 here, 30m ago, or a time with its zone.")
@click.option("--declare", is_flag=True, help="It is what the scenario declares, such as a security incident.")
@_by
@_json
@_config
@click.pass_obj
def open_(load: Load, /, scenario: str, words: Sequence[str], path: str, *, as_json: bool, **given: Any) -> None:
    """Report an incident that no probe has seen. A probe that fails later joins it; only a person ends it."""
    since = given["since"]
    fields = {
        "scenario": scenario,
        "why": " ".join(words),
        "severity": given["severity"],
        "origin": given["source"],
        "since": _since(since) if since else None,
        "declare": given["declare"],
    }
    with _reaching(load, path) as access:
        _show_changed(access.change("POST", "/api/v1/incidents", {**fields, **_me(given["by"])}), 0, as_json=as_json)


@incident.command()
@_which
@_note
@_by
@_json
@_config
@click.pass_obj
def ack(load: Load, incident: str | None, text: str, by: str, path: str, *, as_json: bool) -> None:
    """You have seen it and take care. It stops the response clock, and no other."""
    _act(load, path, "ack", incident, {"text": text, **_me(by)}, as_json=as_json)


@incident.command()
@_words
@click.option("--fix", is_flag=True, help="It is what was done about it: it lands in the review.")
@_by
@_json
@_config
@click.pass_obj
def note(load: Load, words: Sequence[str], by: str, path: str, *, fix: bool, as_json: bool) -> None:
    """Write a line on the timeline."""
    which, text = _split(words)
    _act(load, path, "note", which, {"text": text, "fix": fix, **_me(by)}, as_json=as_json, over=True)


@incident.command()
@_words
@_by
@_json
@_config
@click.pass_obj
def identify(load: Load, words: Sequence[str], by: str, path: str, *, as_json: bool) -> None:
    """The cause is known."""
    which, text = _split(words)
    _act(load, path, "identify", which, {"text": text, **_me(by)}, as_json=as_json)


@incident.command()
@_which
@_note
@click.option("--force", default="", metavar="WHY", help="Although a probe still fails.")
@click.option("--false-alarm", default="", metavar="WHY", help="It was none; no review is owed, and it is counted.")
@_by
@_json
@_config
@click.pass_obj
def resolve(load: Load, /, incident: str | None, text: str, by: str, path: str, *, as_json: bool, **given: str) -> None:
    """It is over. Without this it is resolved once its rules have been clear for long enough."""
    _act(load, path, "resolve", incident, {"text": text, **given, **_me(by)}, as_json=as_json)


@incident.command()
@click.argument("words", nargs=-1, required=True, metavar="[INCIDENT] P1|P2|P3|P4")
@_why
@_by
@_json
@_config
@click.pass_obj
def severity(load: Load, words: Sequence[str], why: str, by: str, path: str, *, as_json: bool) -> None:
    """You know better how bad it is. It holds until the rules say that it is worse than they say now."""
    which, level = _split(words)
    _act(load, path, "severity", which, {"severity": level.upper(), "why": why, **_me(by)}, as_json=as_json)


@incident.command()
@_words
@click.option("--customers", is_flag=True, help="Also declare that customers feel it: management is told at once.")
@_by
@_json
@_config
@click.pass_obj
def impact(load: Load, words: Sequence[str], by: str, path: str, *, customers: bool, as_json: bool) -> None:
    """Say what customers feel, in the place of the runbook's words."""
    which, text = _split(words)
    _act(load, path, "impact", which, {"text": text, "customers": customers, **_me(by)}, as_json=as_json)


@incident.command()
@click.argument("what")
@_which
@_why
@_by
@_json
@_config
@click.pass_obj
def declare(load: Load, what: str, incident: str | None, *, why: str, by: str, path: str, as_json: bool) -> None:
    """Declare what no probe can know: customer_impact of an incident, or a scenario such as security.

    A scenario that is not open is opened by it.
    """
    fields = {"what": what, "why": why, **_me(by)}
    if what == CUSTOMER_IMPACT or incident is not None:
        _act(load, path, "declare", incident, fields, as_json=as_json)
        return
    with _reaching(load, path) as access:
        if any(item["scenario"] == what and item["state"] != "resolved" for item in access.get("/api/v1/incidents")):
            _change(access, "declare", _key(access, what), fields, as_json=as_json)
            return
        opened = {"scenario": what, "why": why, "declare": True, **_me(by)}
        _show_changed(access.change("POST", "/api/v1/incidents", opened), 0, as_json=as_json)


@incident.command()
@_words
@_by
@_json
@_config
@click.pass_obj
def update(load: Load, words: Sequence[str], by: str, path: str, *, as_json: bool) -> None:
    """Tell everybody who was paged what is being done."""
    which, text = _split(words)
    _act(load, path, "update", which, {"text": text, **_me(by)}, as_json=as_json)


@incident.command()
@_which
@click.option("--done", is_flag=True, help="It was held.")
@_note
@_by
@_json
@_config
@click.pass_obj
def review(load: Load, incident: str | None, text: str, by: str, path: str, *, done: bool, as_json: bool) -> None:
    """Print the draft of the post-incident review, in Markdown; or say that it was held.

    Without INCIDENT it is the only one whose review is owed.
    """
    with _reaching(load, path) as access:
        key = _key(access, incident, over=True) if incident else _reviewable(access)
        if done:
            _change(access, "review", key, {"text": text, **_me(by)}, as_json=as_json)
            return
        draft = access.text(f"/api/v1/incidents/{key}/review")
        _echo_json({"key": key, "review": draft}) if as_json else click.echo(draft, nl=not draft.endswith("\n"))


@click.command()
@click.argument("subject", required=False, metavar="[SCENARIO-or-INCIDENT]")
@_json
@_config
@click.pass_obj
def explain(load: Load, subject: str | None, path: str, *, as_json: bool) -> None:
    """Why it is as bad as it is: which rule, since when, what is not known and why, and what comes next.

    Without an argument it is of the only incident that is open (symptoms of another do not count).
    """
    from monitor.commands import incident_views as views

    with _reaching(load, path) as access:
        found = _explained(access, subject or _key(access, None))
        _echo_json(found) if as_json else views.show_explanation(found, _now())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def maintenance() -> None:
    """Hold incidents while work is done. It is watched all the same, and what still fails at the end opens then."""


@maintenance.command()
@click.argument("names", nargs=-1, required=True, metavar="PROBE-or-SCENARIO...")
@click.option("--for", "length", required=True, metavar="2h", help="How long at the most; it always ends.")
@click.option("--reason", required=True, help="What is being done.")
@_by
@_json
@_config
@click.pass_obj
def start(load: Load, names: Sequence[str], *, length: str, reason: str, by: str, path: str, as_json: bool) -> None:
    """Begin it. Of a name that is a probe and a scenario, the probe is meant; write scenario:NAME for the other."""
    from monitor.commands import incident_views as views

    with _reaching(load, path) as access:
        fields = {"of": list(names), "for": length, "reason": reason, **_me(by)}
        found = access.change("POST", "/api/v1/maintenance", fields)
        _echo_json(found) if as_json else views.show_windows([found], _now())


@maintenance.command("list")
@_json
@_config
@click.pass_obj
def list_windows(load: Load, path: str, *, as_json: bool) -> None:
    """What is on, and what probes.yaml plans next."""
    from monitor.commands import incident_views as views

    with _reaching(load, path) as access:
        found = access.get("/api/v1/maintenance")
        _echo_json(found) if as_json else views.show_windows(found, _now())


@maintenance.command()
@click.argument("key", metavar="KEY")
@_json
@_config
@click.pass_obj
def end(load: Load, key: str, path: str, *, as_json: bool) -> None:
    """End it before its time. What still fails opens now."""
    from monitor.commands import incident_views as views

    with _reaching(load, path) as access:
        found = access.change("DELETE", f"/api/v1/maintenance/{_named(key)}", {})
        _echo_json(found) if as_json else views.show_windows([found], _now())


@click.command()
@click.argument("file")
@_config
@click.pass_obj
def backup(load: Load, file: str, path: str) -> None:
    """Copy the store into a new file, also while the daemon runs."""
    from monitor.store import StoreError
    from monitor.store import backup as copy

    loaded = load(path, EXIT_BAD_CONFIG)
    try:
        copy(Path(loaded.config.store), Path(file))
    except StoreError as error:
        _refuse(str(error))
    click.echo(f"{file}: a copy of {loaded.config.store}")


COMMANDS: tuple[click.Command, ...] = (incident, explain, maintenance, backup)


# --- reaching incidents ----------------------------------------------------------------------------------------------


@contextmanager
def _reaching(load: Load, path: str) -> Iterator[Access]:
    """The way to the incidents of this configuration; what is refused on it ends the command with the reason."""
    from monitor.commands.access import Access, Denied
    from monitor.core.request import BadRequest
    from monitor.logging import configure

    loaded = load(path, EXIT_BAD_CONFIG)
    configure(lambda: loaded.config.secrets, "auto", "error")
    access = Access(loaded)
    try:
        yield access
    except (Denied, BadRequest) as error:
        _refuse(str(error))
    if access.note:
        click.echo(access.note, err=True)


def _act(
    load: Load, path: str, verb: str, which: str | None, fields: dict[str, Any], *, as_json: bool, over: bool = False
) -> None:
    """Do something to an incident. `over`: of a scenario without an open one, its last one may be meant."""
    with _reaching(load, path) as access:
        _change(access, verb, _key(access, which, over=over), fields, as_json=as_json)


def _change(access: Access, verb: str, key: str, fields: dict[str, Any], *, as_json: bool) -> None:
    before = len(access.get(f"/api/v1/incidents/{key}")["events"])
    _show_changed(access.change("POST", f"/api/v1/incidents/{key}/{verb}", fields), before, as_json=as_json)


def _show_changed(found: Any, before: int, *, as_json: bool) -> None:
    from monitor.commands import incident_views as views

    _echo_json(found) if as_json else views.show_changed(found, _now(), before)


def causes(incidents: list[Any]) -> list[Any]:
    """Those of the API's incidents that somebody was paged for: a symptom of another pages nobody."""
    return [item for item in incidents if item["parent"] is None] or incidents


def _key(access: Access, word: str | None, *, over: bool = False) -> str:
    """The key of the incident that is meant, fit for an address."""
    from monitor.commands.access import Denied

    found = access.get("/api/v1/incidents")
    opened = [item for item in found if item["state"] != "resolved"]
    if word is None:
        opened = causes(opened)
        if len(opened) != 1:
            keys = ", ".join(item["key"] for item in opened)
            raise Denied(f"{len(opened)} incidents are open; say which: {keys}" if opened else "no incident is open")
        return str(opened[0]["key"])
    for candidates in (
        [item for item in found if item["key"] == word],
        [item for item in opened if item["scenario"] == word],
        [item for item in found if item["scenario"] == word][:1] if over else [],
        [item for item in opened if item["key"].startswith(word)],
        [item for item in found if item["key"].startswith(word)],
    ):
        if len(candidates) == 1:
            return str(candidates[0]["key"])
        if candidates:
            keys = ", ".join(item["key"] for item in candidates)
            raise Denied(f'"{word}" is the beginning of several: {keys}')
    return _named(word)  # long over, perhaps; who answers says if it is nothing at all


def _reviewable(access: Access) -> str:
    """The only incident whose review is owed."""
    from monitor.commands.access import Denied

    found = access.get("/api/v1/incidents", since=_since("400d"))
    owed = [item["key"] for item in found if item["deadlines"]["review"] in {"due", "overdue"}]
    if len(owed) != 1:
        raise Denied(f"{len(owed)} reviews are owed; say which: {', '.join(owed)}" if owed else "no review is owed")
    return str(owed[0])


def _explained(access: Access, word: str) -> Any:
    """The explanation of a scenario, or of the incident whose key begins so."""
    from monitor.commands.access import Denied

    try:
        return access.get(f"/api/v1/explain/{_named(word)}")
    except Denied:
        begun = [item["key"] for item in access.get("/api/v1/incidents") if item["key"].startswith(word)]
        if len(begun) != 1:
            raise
        return access.get(f"/api/v1/explain/{begun[0]}")


def _split(words: Sequence[str]) -> tuple[str | None, str]:
    """`[INCIDENT] TEXT`."""
    if len(words) > 2:
        raise click.UsageError(f'put the text in quotes: "{" ".join(words[1:])}"')
    return (words[0] if len(words) == 2 else None), words[-1]


def _named(word: str) -> str:
    """A name as it may stand in an address: no name holds anything else."""
    from monitor.commands.access import Denied
    from monitor.core.words import clean

    if not re.fullmatch(r"\w[\w.-]*", word):
        raise Denied(f'there is nothing of the name "{clean(word)[:80]}"')
    return word


def _me(by: str) -> dict[str, str]:
    """Who does it: whoever says so, else the login name, of sudo's user rather than root's."""
    if not by:
        try:
            by = os.environ.get("SUDO_USER") or getpass.getuser()
        except (KeyError, OSError):  # no name for this user id, as in a container
            by = ""
    return {"by": by}


def _since(text: str) -> str:
    """A time as people write it here, as RFC 3339."""
    from monitor.core.request import BadRequest, since
    from monitor.core.words import iso

    here = datetime.fromtimestamp(_now(), UTC).astimezone().tzinfo
    try:
        return iso(since(text, _now(), here))
    except BadRequest as error:
        return str(_refuse(f"--{error}"))


def _now() -> float:
    from monitor.clock import SystemClock

    return SystemClock().now()


def _echo_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _refuse(why: str) -> Any:
    click.echo(f"portal-monitor: {why}", err=True)
    sys.exit(EXIT_REFUSED)
