"""What the commands about incidents print on a terminal. Texts of people and probes are printed as words, never as more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from monitor.core.escalation import call_of
from monitor.core.quantity import format_duration
from monitor.core.words import clean, local, utc

Json = Mapping[str, Any]

_BAD = "bold red"
_WIDE = 112
_STYLE = {"P1": _BAD, "P2": _BAD, "P3": "yellow", "P4": "yellow"}
_STANDING = {
    "holds": ("✗", _BAD, "holds"),
    "ripens": ("!", "yellow", "holds, not for long enough"),
    "clear": ("✓", "green", "does not hold"),
    "unknown": ("?", "magenta", "cannot be judged"),
    "maintained": ("!", "yellow", "kept back by maintenance"),
}
_TERM = {True: ("✗", "red"), False: ("✓", "green"), None: ("?", "magenta")}
_RESPONSE = {
    "not recorded": "not recorded (no way to acknowledge is in use)",
    "not owed": "not owed, as nobody is told of it by itself",
    "unanswered": "nobody acknowledged it before it was over",
}


def show_list(found: Sequence[Json], now: float) -> None:
    """A line for each incident, and what comes next under it."""
    console = _console()
    if not found:
        console.print(Text("No open incident.", style="green"))
    for item in found:
        console.print(headline(item, now))
        for line in deadline_lines(item, now):
            console.print(Padding(line, (0, 0, 0, 3), expand=False))


def headline(item: Json, now: float) -> Text:
    """`P2 Redis connection failures  investigating since 11:02:10 UTC`, and under it its key and what made it so."""
    severity, state = item["severity"], item["state"]
    when = item["resolved_at"] if state == "resolved" else item["started_at"]
    text = Text(f"{severity} ", style=_STYLE[severity] if state != "resolved" else "dim")
    text.append(clean(item["title"]), style="bold")
    text.append(f"  {state} {'' if state == 'resolved' else 'since '}{brief(when, now)}")
    why = f", because of {clean(', '.join(item['why']))}" if item["why"] and state != "resolved" else ""
    return text.append(f"\n   {item['key']}{why}", style="dim")


def deadline_lines(item: Json, now: float) -> list[Text]:
    """What an incident has before it, a line each: the answer that is owed, the next page, update, end, review."""
    due, lines = item["deadlines"], []
    if item["state"] != "resolved":
        lines.append(Text("response: ").append(response(item, now)))
    if item["parent"]:
        lines.append(Text(f"a symptom of {item['parent']}; nobody is told of it by itself", style="dim"))
    for name, when in (
        *((_step(step), step["at"]) for step in due["steps"][:1]),
        ("status update", due["next_update_at"]),
        ("resolved, if it stays clear", due["resolves_at"]),
    ):
        if when is not None:
            lines.append(Text(f"{name}: ").append(ahead(when, now)))
    if due["held"]:
        lines.append(Text(f"resolved, if it stays clear: held, as {clean(due['held'])}", style="magenta"))
    if due["review"] in {"due", "overdue"}:
        lines.append(Text("review: ").append(ahead(due["review_due_at"], now)))
    return lines


def show_incident(item: Json, now: float) -> None:
    """One incident, as readable as its page: what it is, what comes, who was told, what happened."""
    console = _console()
    head = Text(f"{item['severity']}  ", style=_STYLE[item["severity"]]).append(clean(item["title"]), style="bold")
    console.print(head.append(f"  {item['state']}", style="bold" if item["state"] != "resolved" else "green"))
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold", ratio=1)
    for name, said in _facts(item, now):
        facts.add_row(name, said)
    console.print(facts)
    if item["coming"]:
        _heading(console, "What comes")
        _moments(console, item["coming"], now)
    if item["pages"]:
        _heading(console, "Who was told")
        _told(console, item["pages"], now)
    _heading(console, "What happened")
    _timeline(console, item)


def show_changed(item: Json, now: float, before: int) -> None:
    """What a change made of an incident: what it put on the timeline, and what comes next."""
    console = _console()
    for event in item["events"]:
        if event["number"] > before and event["kind"] != "told":
            console.print(Text(f"{item['key']}: ", style="bold").append(" ".join(_lines(event["text"]))))
    if item["state"] == "resolved" and item["deadlines"]["review"] not in {"due", "overdue"}:
        return
    for line in deadline_lines(item, now):
        console.print(Padding(line, (0, 0, 0, 3), expand=False))


def show_report(found: Json) -> None:
    """The month: a line for each incident, and the sums by severity."""
    console = Console(highlight=False, width=max(_console().width, _WIDE))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "incident", "noticed by"):
        table.add_column(name, no_wrap=True)
    for name in ("detect", "acknowledge", "resolve"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("response", no_wrap=True)
    table.add_column("review", overflow="fold")
    for row in found["rows"]:
        review = "false alarm" if row["false_alarm"] else row["review"]
        response_style = _BAD if row["response_breached"] else ""
        table.add_row(
            Text(row["peak"], style=_STYLE[row["peak"]]),
            Text(row["incident"]),
            Text(row["origin"]),
            *(Text(_seconds(row[f"{name}_seconds"])) for name in ("detect", "acknowledge", "resolve")),
            Text(row["response"], style=response_style),
            Text(review, style=_BAD if row["review_breached"] else ""),
        )
    console.print(table if found["rows"] else Text("No incident.", style="green"))
    for sums in found["totals"]:
        console.print(_sums(sums))


def show_explanation(found: Json, now: float) -> None:
    """Why it is as it is: sentences, every rule, what comes."""
    console = _console()
    console.print(Text(clean(found["title"]), style="bold").append(f"  {found['scenario']}", style="dim"))
    if found["incident"]:
        console.print(headline(found["incident"], now))
    for sentence in found["because"]:
        console.print(Padding(Text(clean(sentence)), (0, 0, 0, 2), expand=False))
    if found["rules"]:
        _heading(console, "Rules")
    for rule in found["rules"]:
        sign, style, words = _STANDING[rule["standing"]]
        line = Text(f"{sign} ", style=style).append(f"{rule['severity']} ", style="bold")
        line.append(clean(rule["text"])).append(f": {words}", style=style)
        if rule["since"]:
            line.append(f" since {at(rule['since'])}")
        console.print(Padding(line, (0, 0, 0, 2), expand=False))
        for term in rule["terms"]:
            sign, style = _TERM[term["holds"]]
            console.print(
                Padding(Text(f"{sign} ", style=style).append(clean(term["seen"])), (0, 0, 0, 6), expand=False)
            )
    if found["maintenance"]:
        _heading(console, "Maintenance")
    for window in found["maintenance"]:
        console.print(Padding(_window(window, now), (0, 0, 0, 2), expand=False))
    if found["coming"]:
        _heading(console, "What comes")
        _moments(console, found["coming"], now)


def show_windows(found: Sequence[Json], now: float) -> None:
    """Maintenance that is on, and what is planned next."""
    console = _console()
    if not found:
        console.print("No maintenance, and none is planned.")
    for window in found:
        console.print(_window(window, now))


def show_messages(found: Json) -> None:
    """What can be said, ready to paste: nothing but the texts and a line above each."""
    console = Console(highlight=False, soft_wrap=True)
    for name, key, missing in (
        ("Status update", "status_update", ""),
        ("For customers (a draft: nothing is sent)", "customer", found["customer_reason"]),
        (
            f"For the vendor{': ' + found['vendor'] if found['vendor'] else ''}",
            "vendor_report",
            found["vendor_reason"],
        ),
    ):
        console.print(Text(f"--- {name}", style="dim"))
        console.print(Text("\n".join(_lines(found[key])) if found[key] else f"none: {missing}"))
        console.print()


def response(item: Json, now: float) -> Text:
    """Whether somebody has answered."""
    due, ack = item["deadlines"], item["ack"]
    if due["response"] == "answered" and ack:
        return Text(f"{clean(ack['by'])} acknowledged it at {ack['severity']}, {brief(ack['at'], now)}", style="green")
    if due["response"] in {"due", "overdue"} and due["response_due_at"]:
        lapsed = Text(f"{clean(ack['by'])} acknowledged it at {ack['severity']}; it got worse. ") if ack else Text()
        return lapsed.append("due " if due["response"] == "due" else "").append(ahead(due["response_due_at"], now))
    return Text(_RESPONSE.get(due["response"], due["response"]), style="dim")


def ahead(when: str, now: float) -> Text:
    """`in 12m, 11:42:10 UTC (20:42 JST)`, or, in red, `overdue by 3m, …`."""
    return _left(when, now).append(f", {brief(when, now)}")


def _left(when: str, now: float) -> Text:
    left = seconds(when) - now
    if left > 0:
        return Text(f"in {format_duration(round(left))}")
    return Text(f"overdue by {format_duration(round(-left))}", style=_BAD)


def at(when: str) -> str:
    """A time as it is in UTC, and on the clock of this machine."""
    wall = seconds(when)
    here = local(wall, None)
    return utc(wall) + (f" ({here})" if here else "")


def brief(when: str, now: float) -> str:
    """The same, without the date where it is today's."""
    wall = seconds(when)
    if datetime.fromtimestamp(wall, UTC).date() != datetime.fromtimestamp(now, UTC).date():
        return at(when)
    return at(when)[len("2026-11-26 ") :]


def seconds(when: str) -> float:
    """Wall seconds of a time in JSON."""
    return datetime.fromisoformat(when).astimezone(UTC).timestamp()


def undelivered(page: Json, now: float) -> Text:
    """Why somebody who should know of an incident may not: a silence, or no Alertmanager. Empty if all is well."""
    if page["ended_at"] is not None or (page["silenced_by"] is None and page["delivered_at"] is not None):
        return Text()
    said = f"{page['escalation_level']} at {page['severity']} not delivered: "
    if page["silenced_by"] is not None:
        said += f"a silence of {clean(page['silenced_by'])} holds it until {brief(page['silenced_until'], now)}"
        return Text(said, style="bold yellow")
    carried = f"; the fallback carried it {brief(page['fell_back_at'], now)}" if page["fell_back_at"] else ""
    return Text(f"{said}no Alertmanager has taken it{carried}", style="bold yellow")


def _facts(item: Json, now: float) -> Iterable[tuple[str, Text]]:
    yield "incident", Text(item["key"] + (f", opening {item['opening']}" if item["opening"] > 1 else ""))
    if item["peak"] != item["severity"]:
        yield "worst", Text(item["peak"])
    if item["impact"]:
        yield "impact", Text(" ".join(_lines(item["impact"])))
    if item["why"]:
        yield "because of", Text(clean(", ".join(item["why"])))
    if item["flags"]:
        yield "mind", Text(clean(", ".join(item["flags"])), style=_BAD)
    yield "started", _started(item, now)
    if item["origin"] != "alert":
        yield "noticed by", Text({"customer": "a customer", "internal": "a colleague"}[item["origin"]])
    if item["relapses"]:
        yield "relapsed", Text(f"{item['relapses']} times" if item["relapses"] > 1 else "once")
    if item["resolved_at"]:
        yield "resolved", Text(at(item["resolved_at"]))
    if item["false_alarm"]:
        yield "false alarm", Text(clean(item["false_alarm"]))
    yield "response", response(item, now)
    for name, key in (("customers hit", "customer_impact_at"), ("declared", "declared_at")):
        if item[key]:
            yield name, Text(at(item[key]), style=_BAD)
    for name, key in (("cause", "cause"), ("being done", "doing")):
        if item[key]:
            yield name, Text("\n".join(_lines(item[key])))
    if item["parent"]:
        yield "symptom of", Text(item["parent"])
    review = item["deadlines"]["review"]
    if review == "done":
        yield "review", Text(f"done by {clean(item['reviewed_by'])}, {at(item['reviewed_at'])}", style="green")
    elif review in {"due", "overdue"}:
        yield "review", ahead(item["deadlines"]["review_due_at"], now)
    elif review == "waived":
        yield "review", Text("none: a false alarm")


def _started(item: Json, now: float) -> Text:
    end = seconds(item["resolved_at"]) if item["resolved_at"] else now
    text = Text(at(item["started_at"]))
    text.append(
        f", {'lasted' if item['resolved_at'] else 'for'} {format_duration(round(end - seconds(item['started_at'])))}"
    )
    if item["last_good_at"]:
        text.append(f"; last well {at(item['last_good_at'])}", style="dim")
    return text


def _timeline(console: Console, item: Json) -> None:
    if item["timeline_error"]:
        console.print(Text(f"  cannot be read: {clean(item['timeline_error'])}", style=_BAD))
    table, last = _times_table(), ""
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold", ratio=1)
    for event in item["events"]:
        last = _add_day(table, event["at"], last)
        said = Text("\n".join(_lines(event["text"])))
        if event["by"] != "monitor":
            said.append(f"  {clean(event['by'])}", style="cyan")
        table.add_row("", *_clocks(event["at"]), Text(event["kind"]), said)
    console.print(table)


def _told(console: Console, pages: Sequence[Json], now: float) -> None:
    table, last = _times_table(), ""
    table.add_column(overflow="fold", ratio=1)
    for page in pages:
        last = _add_day(table, page["fired_at"], last)
        table.add_row("", *_clocks(page["fired_at"]), _page(page))
        if said := undelivered(page, now):
            table.add_row("", "", "", said)
    console.print(table)


def _moments(console: Console, found: Iterable[Json], now: float) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(width=1)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold", ratio=1)
    for moment in found:
        said = Text(clean(moment["what"])).append(f"  {brief(moment['at'], now)}", style="dim")
        table.add_row("", _left(moment["at"], now), said)
    console.print(table)


def _times_table() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(width=1)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True, style="dim")
    return table


def _clocks(when: str) -> tuple[str, str]:
    """`11:42:10 UTC` and `20:42 JST`."""
    wall = seconds(when)
    return f"{datetime.fromtimestamp(wall, UTC):%H:%M:%S} UTC", local(wall, None)


def _add_day(table: Table, when: str, last: str) -> str:
    """A line of its own where a new day begins, so that the times below can be short."""
    day = utc(seconds(when)).partition(" ")[0]
    if day != last:
        table.add_row("", Text(day))
    return day


def _page(page: Json) -> Text:
    who = f"{page['escalation_level']} {clean(page['to'])}"
    who += f" ({clean(page['vendor'])})" if page["vendor"] != "none" else ""
    who += call_of(page["attempt"])
    line = Text(f"{who} at {page['severity']}")
    late = seconds(page["fired_at"]) - seconds(page["due_at"])
    return line.append(f", {format_duration(round(late))} late" if late >= 30 else "", style="yellow")


def _window(window: Json, now: float) -> Text:
    begun = seconds(window["starts_at"]) <= now
    line = Text(clean(", ".join(window["of"])), style="bold")
    line.append(f"  {'until' if begun else 'from'} {at(window['ends_at' if begun else 'starts_at'])}")
    line.append(f"  {clean(window['reason'])}  {clean(window['by'])}")
    return line.append(f"  {window['key']}", style="dim")


def _step(step: Json) -> str:
    vendor = f" ({clean(step['vendor'])})" if step["vendor"] != "none" else ""
    return f"{step['escalation_level']} {clean(step['to'])}{vendor}"


def _sums(sums: Json) -> Text:
    line = Text(f"{sums['severity']}: ", style=_STYLE[sums["severity"]])
    count, false = sums["incidents"], sums["false_alarms"]
    line.append(f"{count} {'incident' if count == 1 else 'incidents'}")
    line.append(f", {false} of them {'a false alarm' if false == 1 else 'false alarms'}" if false else "")
    times = [
        f"{name}d in {_seconds(sums[f'{key}_seconds'])}"
        for name, key in (("detecte", "detect"), ("acknowledge", "acknowledge"), ("resolve", "resolve"))
        if sums[f"{key}_seconds"] is not None
    ]
    line.append(f"; median: {', '.join(times)}" if times else "")
    for key, one, many in (
        ("responses_breached", "response too late", "responses too late"),
        ("reviews_breached", "review too late", "reviews too late"),
        ("reviews_open", "review to be held", "reviews to be held"),
    ):
        if sums[key]:
            line.append(f"; {sums[key]} {one if sums[key] == 1 else many}", style=_BAD if "breached" in key else "")
    return line


def _seconds(value: float | None) -> str:
    return "" if value is None else format_duration(round(value))


def _lines(text: str) -> list[str]:
    """The lines of a text from outside, each safe to print."""
    return [clean(line) for line in text.splitlines()]


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _console() -> Console:
    return Console(highlight=False)
