"""Who is at the console: a name, behind a signed cookie that scripts cannot read and other sites cannot send.

A session is worth as much as the login it began with, for as long as the daemon runs and no longer than a shift. Every
form carries a second secret that belongs to the session, so that a request that only has the cookie changes nothing.
"""

from __future__ import annotations

import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from monitor.clock import Clock
from monitor.core.words import clean

COOKIE = "portal_monitor_session"
"""Its port follows: browsers tell cookies apart by host only, and a sandbox may run beside the monitor."""

LASTS_SECONDS = 12 * 3600.0
LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who logged in, until a wall time."""

    name: str
    until: float
    id: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page, and what its forms must carry; both are "" of somebody who did not log in."""

    name: str = ""
    csrf: str = ""


class Sessions:
    """Makes and reads cookies. What ended is remembered until it would have ended by itself."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._ended: dict[str, float] = {}

    def begin(self, name: str) -> Session:
        """A session for somebody who proved that they may change things."""
        return Session(name, self._clock.now() + LASTS_SECONDS, secrets.token_urlsafe(12))

    def end(self, session: Session) -> None:
        """Its cookie is worth nothing from now on, whoever still has it."""
        now = self._clock.now()
        self._ended = {id_: until for id_, until in self._ended.items() if until > now} | {session.id: session.until}

    def cookie(self, session: Session) -> str:
        """The value of the session's cookie."""
        said = urlsafe_b64encode(json.dumps([session.name, session.until, session.id]).encode()).decode()
        return f"{said}.{self._sign('session', said)}"

    def of(self, cookie: str) -> Session | None:
        """The session of a cookie; None for one that we did not make, or that is over."""
        said, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session", said).encode()):
            return None
        name, until, id_ = json.loads(urlsafe_b64decode(said))
        session = Session(name, until, id_)
        return session if until > self._clock.now() and id_ not in self._ended else None

    def csrf(self, session: Session) -> str:
        """What a form of this session must carry."""
        return self._sign("csrf", session.id)

    def fits(self, session: Session, csrf: str) -> bool:
        """Whether a form was made for this session."""
        return hmac.compare_digest(csrf.encode(), self.csrf(session).encode())

    def _sign(self, what: str, text: str) -> str:
        signed = hmac.digest(self._key, f"{what} {text}".encode(), sha256)
        return urlsafe_b64encode(signed).rstrip(b"=").decode()


def cookie_name(host: str) -> str:
    """The name of the cookie under a `Host` header."""
    port = host.rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isascii() and port.isdecimal() else COOKIE


def name_of(text: str) -> str:
    """A name as it may stand on a timeline; "" if there is none in it."""
    return " ".join(clean(text).split())[:LONGEST_NAME]
