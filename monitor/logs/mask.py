"""Takes out of a piece of log what must not leave this machine: addresses, tokens, cookies, query strings."""

from __future__ import annotations

import re

HIDDEN = "[masked]"
LONGEST = 300  # characters of a sample; more than a person reads

_KEY = (  # the end of a key whose value opens something; what stands before does not matter
    r"(?:(?:authorization|cookie|passw(?:or)?d|passwd|secret|token|api[-_]?key|credential|session[-_]?id|assertion"
    r"|signature)[\w.-]{0,30}|\b(?:sid|pwd|otp|pin))"
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"-----BEGIN [A-Z ]+-----.*", HIDDEN),
        (rf'({_KEY}"\s*:\s*)(?:"(?:[^"\\]|\\.)*+"?|\[[^\]]*+\]?|[^\s,}}\]"]+)', rf'\1"{HIDDEN}"'),
        (rf'({_KEY}\\"\s*:\s*)(?:\\"(?:[^"\\]|\\\\.)*+(?:\\")?|[^\s,}}\]"]+)', rf"\1{HIDDEN}"),
        (r"\b((?:set-)?cookie\s*[=:]\s*)[^\"\r\n]+", rf"\1{HIDDEN}"),
        (
            rf"({_KEY}\s*[=:]\s*[\"']?)(?:(?:Bearer|Basic|Digest)\s+)?(?!\"?\[masked\])[^\s,;&\"'}}\]\\]+",
            rf"\1{HIDDEN}",
        ),
        (r"\b(Bearer|Basic|Digest)\s+(?!\[masked\])[\w.~+/=-]+", rf"\1 {HIDDEN}"),
        (r"\beyJ[\w-]+(?:\.[\w-]*){0,2}", HIDDEN),  # a JSON web token
        (r"(\w{2,20}://)[^\s/@\"']+@", rf"\1{HIDDEN}@"),  # user and password in a URL
        (r"(/[^\s?\"'<>\\]{0,200}|\w\.\w{1,20})\?[^\s\"'<>\\]+", rf"\1?{HIDDEN}"),
        (r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+", HIDDEN),
        (r"\b(\d{1,3}\.\d{1,3})\.\d{1,3}\.\d{1,3}\b", r"\1.x.x"),
        (r"(?<![\w:.])((?:[0-9a-f]{1,4}:){2})(?:[0-9a-f]{0,4}:){1,5}[0-9a-f]{0,4}(?![\w:])", r"\1x"),
        (r"(?<![\w:])[0-9a-f]{0,4}::(?:[0-9a-f]{1,4}:?){1,6}(?![\w:])", "x::x"),
        (r"(?<![\d.])(?:\d[ -]?){12,18}\d(?![\d.])", HIDDEN),  # a card or account number, or a time: no loss
        (r"\b[A-Za-z0-9+/_-]{40,}={0,2}(?![\w/])", HIDDEN),  # long enough to be a key, and no word
    )
)


def mask(text: str, longest: int = LONGEST) -> str:
    """`text` as one printable line of at most `longest` characters, without anything that identifies or opens.

    E-mail addresses, authorization and cookie headers, passwords, tokens, long keys, query strings, card numbers and
    the last parts of IP addresses are replaced. It rather takes too much than too little.
    """
    # Cut before the rules run, which bounds their time; what a cut leaves of a secret is still longer than shown.
    cut = text[: longest * 8]
    for rule, replacement in _RULES:
        cut = rule.sub(replacement, cut)
    shown = "".join(char if char.isprintable() else " " for char in cut[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
