"""The console: what an engineer sees at three in the morning, as HTML made from one snapshot.

A page is made of pieces, each with an id: the sentence, the incidents, one row per probe, the monitor itself. A piece
depends on what it shows and on nothing else, times are absolute in it, so a piece is sent again only when it changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from monitor.core.explanation import coming
from monitor.core.history import DURATION, Bucket
from monitor.core.quantity import format_duration
from monitor.core.snapshot import ProbeView, Snapshot
from monitor.core.words import clean, iso, quantity
from monitor.web.cards import Told, card_of, cards, scenarios, windows
from monitor.web.past import past_view, run_rows
from monitor.web.rows import details_of, log_sights, measurements_of, row, systems, target, unknowns
from monitor.web.session import Visitor
from monitor.web.words import State, overall

ICONS: Mapping[str, str] = {"ok": "✓", "warn": "▲", "fail": "✕", "unknown": "?"}
"""A level's sign: its shape tells it from the others where colours do not."""

STATIC: Mapping[str, str] = {
    "app.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "ack.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

GAUGES_SHOWN = 1  # in a row of the console, beside all that are beyond a limit: the one that is nearest to it

NOBODY = Visitor()
_NO_CSRF = 'name="csrf" value=""'  # no text from outside can say this: its quotes are escaped

Pieces = Mapping[str, str]
"""HTML by the id of its element."""


@dataclass(frozen=True, slots=True)
class Form:
    """The page behind the signed link: what it says, of which incident, and whether it asks for a name."""

    heading: str
    said: str = ""
    severity: str = ""
    title: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    asks: bool = False
    wrong: str = ""  # with what was written
    by: str = ""
    text: str = ""
    console: str = ""  # the incident's key, to link to


class Console:
    """Turns snapshots into pages. May be used in any thread, `pieces` in one at a time."""

    def __init__(self) -> None:
        self._templates = _environment()
        self._macros = self._templates.get_template("pieces.html").module
        self._rows: dict[str, tuple[ProbeView, str]] = {}

    def pieces(self, snapshot: Snapshot) -> Pieces:
        """All that changes on the console, in the order of the page: worst systems and probes first."""
        groups = systems(snapshot)
        views = [view for group in groups for view in group.views]
        self._rows = {view.config.name: self._row(view, snapshot) for view in views}
        return {
            "state": self._piece("state", overall(snapshot)),
            "incidents": self._piece("incidents", *cards(snapshot), scenarios(snapshot)),
            **{
                name: html
                for group in groups
                for name, html in [
                    (group.id, self._piece("system", group)),
                    *((_row_id(view.config.name), self._rows[view.config.name][1]) for view in group.views),
                ]
            },
            "maintenance": self._piece("maintenance", tuple(windows(snapshot))),
            "unknown": self._piece("unknown", unknowns(snapshot)),
            "logs": self._piece("logs", tuple(log_sights(snapshot))),
            "monitor": self._piece("monitor", snapshot),
        }

    def _row(self, view: ProbeView, snapshot: Snapshot) -> tuple[ProbeView, str]:
        kept = self._rows.get(view.config.name)
        if kept and kept[0] is view:
            return kept
        return view, self._piece("probe", row(view, snapshot.config.secrets), _row_id(view.config.name))

    def _piece(self, macro: str, *arguments: object) -> str:
        return str(getattr(self._macros, macro)(*arguments))

    def page(self, snapshot: Snapshot, pieces: Pieces, shown: str = "", visitor: Visitor = NOBODY) -> str:
        """The whole console; `shown` is what it says it has when it asks for what changed."""
        # The pieces are HTML already, escaped by the templates that made them.
        safe = {name: Markup(html) for name, html in pieces.items()}  # noqa: S704
        return self._render(
            "console.html",
            visitor,
            snapshot=snapshot,
            state=overall(snapshot),
            pieces=safe,
            groups=order(pieces),
            shown=shown,
        )

    def probe(
        self,
        snapshot: Snapshot,
        view: ProbeView,
        buckets: Sequence[Bucket] = (),
        chosen: str = "1h",
        visitor: Visitor = NOBODY,
    ) -> str:
        """The page of one probe: its history over `chosen`, its runs with their phases, how it is configured."""
        return self._render(
            "probe.html",
            visitor,
            snapshot=snapshot,
            view=view,
            row=row(view, snapshot.config.secrets),
            past=past_view(view, buckets, chosen, snapshot.at),
            runs=run_rows(view.past, snapshot.config.secrets),
            target=target(view),
            measurements=tuple(measurements_of(view, snapshot)),
            details=details_of(view, snapshot),
        )

    def incident(self, snapshot: Snapshot, told: Told, shown: str = "", visitor: Visitor = NOBODY) -> str:
        """The page of one incident: its card, what comes next, its timeline, what can be said of it."""
        card = card_of(told.incident, snapshot, told.pages)
        return self._render(
            "incident.html",
            visitor,
            snapshot=snapshot,
            card=card,
            coming=coming(told.incident, card.deadlines),
            events=tuple(reversed(told.events)),
            messages=told.messages,
            trouble=told.trouble,
            shown=shown,
        )

    def _render(self, template: str, visitor: Visitor = NOBODY, **values: object) -> str:
        html = self._templates.get_template(template).render(visitor=visitor, **values)
        # Pieces are made for everybody; what lets this visitor act is put into the forms here.
        return html.replace(_NO_CSRF, f'name="csrf" value="{visitor.csrf}"') if visitor.csrf else html

    def acknowledge(self, form: Form) -> str:
        """The page behind the signed link of a page."""
        return self._templates.get_template("ack.html").render(form=form)

    def login(self, *, back: str, trouble: str, name: str, asks_token: bool, token_file: str, refused: bool) -> str:
        """The form that asks for a name, and for the token. `back` is where it leads, relative to the console."""
        return self._render(
            "login.html",
            back=back,
            trouble=trouble,
            name=name,
            asks_token=asks_token,
            token_file=token_file,
            refused=refused,
        )

    def missing(self, what: str) -> str:
        """The page for an address that names nothing."""
        return self._render("missing.html", what=what)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("monitor.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"icons": ICONS, "version": _version(), "gauges_shown": GAUGES_SHOWN}
    environment.filters |= {"iso": iso, "when": _when, "duration": format_duration, "seconds": _seconds}
    return environment


def _shown(value: object) -> object:
    """Whatever a page says in text that is no HTML of ours: without control characters."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def title_of(state: State) -> str:
    """The title of the browser's tab: the state is seen even in the background."""
    return clean(f"{ICONS[state.tone]} {state.sentence}")


def order(pieces: Pieces) -> list[tuple[str, list[str]]]:
    """The systems of a page and the rows of each, as they follow each other."""
    found: list[tuple[str, list[str]]] = []
    for name in pieces:
        if name.startswith("system-"):
            found.append((name, []))
        elif name.startswith("probe-"):
            found[-1][1].append(name)
    return found


def _row_id(name: str) -> str:
    return f"probe-{name}"


def _seconds(value: float) -> str:
    return quantity(DURATION, value)


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%-d %b %H:%M:%S} UTC"


def static(name: str) -> bytes:
    """The content of one of the files in STATIC."""
    return (resources.files("monitor.web") / "static" / name).read_bytes()


def _version() -> str:
    """Changes whenever a static file does, so that browsers may keep them for ever."""
    return hashlib.sha256(b"".join(static(name) for name in STATIC)).hexdigest()[:12]
