"""What goes wrong most, in the words of the lines that are at error: masked, and numbers told alike.

A storm of errors must cost no more than other lines: what was masked once is remembered, and of texts that are never
the same twice only some are looked at.
"""

from __future__ import annotations

import re

import msgspec

from monitor.logs.mask import mask
from monitor.logs.window import PROBLEMS_MOST

LONGEST = 140  # characters of one problem
MEMO_MOST = 512
KEPT_MOST_BYTES = 4096  # of one thing that is remembered: a log may hold a megabyte that never comes again
NEW_MOST = 40  # texts of one stretch that are masked; more than that are no longer worth the time
_NUMBERS = re.compile(r"\d+(?:[.,]\d+)*|\b[0-9a-f]{8}(?:-[0-9a-f]{4,12})+\b")


class Problems:
    """Turns messages into what they say, as one does who reads many of them."""

    def __init__(self) -> None:
        self._memo: dict[bytes, str] = {}
        self._left = NEW_MOST

    def begin(self) -> None:
        """A new stretch of the log."""
        self._left = NEW_MOST

    def count(self, found: dict[str, int], message: bytes) -> None:
        """Count one message, as it stands in the log: a JSON string, or plain text."""
        text = self._memo.get(message)
        if text is None:
            if self._left <= 0 or not message:
                return
            self._left -= 1
            text = said(message)
            if len(message) <= KEPT_MOST_BYTES:
                if len(self._memo) >= MEMO_MOST:
                    self._memo.clear()
                self._memo[message] = text
        if text and (text in found or len(found) < PROBLEMS_MOST):
            found[text] = found.get(text, 0) + 1


def said(message: bytes) -> str:
    """A message as it is told: one line, without secrets, numbers as #."""
    raw = message[: LONGEST * 8]
    try:
        text = msgspec.json.decode(message, type=str) if message[:1] == b'"' else raw.decode(errors="replace")
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = raw.decode(errors="replace")
    # Masked before numbers are told alike, or an address would no longer look like one.
    told = _NUMBERS.sub("#", mask(text, LONGEST * 2))
    line = " ".join(told.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
