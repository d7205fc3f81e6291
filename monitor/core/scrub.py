"""Keeping secrets out of what people read: every sink replaces the values it finds."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 4
"""A shorter secret is left alone: replacing every "a" would destroy the text and betray the secret all the same."""

SCRUBBED = "[secret]"


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret in it replaced; the longest first, so that none leaves a rest of another."""
    found = [secret for secret in secrets if len(secret) >= SHORTEST and secret in text]
    for secret in sorted(found, key=len, reverse=True):
        text = text.replace(secret, SCRUBBED)
    return text
