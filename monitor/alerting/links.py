"""The signed link in a page that acknowledges its incident: made and checked, and the secret it is signed with.

It names one opening of one incident and is worth nothing for another, so an old message acknowledges nothing anew. To
follow it must not act: chats and mail filters open every link. What is behind it shows a form, whose POST acts.
"""

from __future__ import annotations

import hmac
import os
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from monitor.core.incident import Incident

PATH = "/incidents/{key}/ack"
"""Where the form is; the query holds the token."""

_SECRET_BYTES = 32


def make(secret: SecretStr, external_url: str, incident: Incident) -> str:
    """The link that acknowledges this opening of the incident."""
    return f"{external_url}{PATH.format(key=quote(incident.key))}?token={token(secret, incident.key, incident.opening)}"


def token(secret: SecretStr, key: str, opening: int) -> str:
    """`1.kZx…`: the opening, and the signature of both (HMAC-SHA256, base64url)."""
    signed = hmac.digest(secret.get_secret_value().encode(), f"ack {key} {opening}".encode(), sha256)
    return f"{opening}.{urlsafe_b64encode(signed).rstrip(b'=').decode()}"


def check(secret: SecretStr, key: str, given: str) -> int | None:
    """The opening that the token may acknowledge of this incident; None if it is not of our making.

    Whether that opening is still the present one is for `Acknowledge(opening=...)` to say, with the reason.
    """
    number = given.partition(".")[0]
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        return None
    wanted = token(secret, key, int(number))
    return int(number) if hmac.compare_digest(given.encode(), wanted.encode()) else None


def kept_secret(path: Path) -> SecretStr:
    """The secret in this file, which only its user can read; a new one if there is none. OSError if it cannot be.

    It outlives the process: a link must still hold after a restart.
    """
    try:
        known = path.read_text().strip()
    except FileNotFoundError:
        known = ""
    if len(known) >= _SECRET_BYTES:  # a shorter one was cut off in the writing, or by somebody
        return SecretStr(known)
    made = secrets.token_urlsafe(_SECRET_BYTES)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return SecretStr(made)
