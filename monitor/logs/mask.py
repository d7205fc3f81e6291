"""Takes out of a piece of log what must not leave this machine: addresses, tokens, cookies, query strings."""

from __future__ import annotations

import re

HIDDEN = "[masked]"
LONGEST = 300  # characters of a sample; more than a person reads

_START = r"(?:(?<![a-z])|(?-i:(?<=[a-z])(?=[A-Z])))"  # of a word, also in snake_case and camelCase
_KEY = (  # the end of a key whose value opens something; what stands before does not matter
    r"(?:(?:authorization|cookie|pass(?:w(?:or)?d|phrase|code|key)|secret|token|(?:api|private|access)[-_ ]?key"
    r"|credential|session[-_]?id|assertion|signature|nonce)[\w.-]{0,30}|(?<!com)(?<!by)(?<!sur)(?<!tres)pass\d{0,3}"
    rf"|{_START}(?:sid|pwd|otp|pin|response(?=[\\\"']*\s*[=:][\s\\\"']*[0-9a-f]{{32}})))"
)
# A string, also one in a string of JSON, or in one in one. A quote behind more backslashes is not its end.
_STRING = "|".join(
    rf"\\{{{escapes}}}{quote}(?:[^{quote}\\]++|(?!\\{{0,{escapes}}}{quote})\\++.?)*+(?:\\{{{escapes}}}{quote})?"
    for escapes in (3, 1, 0)
    for quote in "\"'`"
)
_NESTED = r"(?!)"  # an array or object; one that does not close, or is too deep, goes on to the end
for _ in range(5):
    _NESTED = rf"[\[{{](?:[^\[\]{{}}\"'`\\]++|{_STRING}|{_NESTED}|\\)*+(?:[\]}}]|.*+)"
_BARE = r"(?![\[{])(?:[^\s,;&\"'}\]\\]|\\++(?![\"'`]))++"
_PARAMETER = rf"[\w-]++=(?:{_STRING}|[^\s,;\"'\\]*+)"
_SCHEME = rf"(?:Bearer|Basic|Digest)\s+(?:{_PARAMETER}(?:\s*+[,;]\s*+{_PARAMETER})*+|{_BARE})"
# Possessive wherever a repeat could be tried again: time must be linear, whatever a line repeats.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement)
    for pattern, replacement in (
        (r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", HIDDEN),
        (r"\b((?:set-)?cookie\s*[=:]\s*)(?:[^\"\r\n]|(?<==)\"[^\"\r\n]*+\"|(?<==\\)\"[^\"\r\n]*+\")++", rf"\1{HIDDEN}"),
        (
            rf"({_KEY}(?:\\*[\"'`])?\s*[=:]>?\s*)(?=((?:\\*[\"'`])?))(?:{_STRING}|{_NESTED}|{_SCHEME}|{_BARE})",
            rf"\1\2{HIDDEN}\2",
        ),
        (rf"\b(?=(\w+)){_SCHEME}", rf"\1 {HIDDEN}"),
        (r"\beyJ[\w-]+(?:\.[\w-]*){0,2}", HIDDEN),  # a JSON web token
        (r"00D[a-z0-9]{1,15}(?:!|%21)[\w.%+/=-]*", HIDDEN),  # a session of Salesforce
        (r"(\w{2,20}://)[^\s/\"]*@", rf"\1{HIDDEN}@"),  # user and password in a URL
        (r"(/[^\s?\"'<>\\]{0,200}|\w\.\w{1,20})\?[^\s\"'<>\\]+", rf"\1?{HIDDEN}"),
        (r"(?<![\w.+%-])[\w.+%-]+(?:@|(?<=%40)|(?<=%2540))[\w-]{1,63}(?:\.[\w-]{1,63})+", HIDDEN),
        (r"\b(\d{1,3}\.\d{1,3})\.\d{1,3}\.\d{1,3}\b", r"\1.x.x"),
        (r"(?<![\w:.])((?:[0-9a-f]{1,4}:){2})(?:[0-9a-f]{0,4}:){1,5}[0-9a-f]{0,4}(?![\w:])", r"\1x"),
        (r"(?<![\w:])[0-9a-f]{0,4}::(?:[0-9a-f]{1,4}:?){1,6}(?![\w:])", "x::x"),
        (r"(?<![\d.])(?:\d[ -]?){12,18}\d(?![\d.])", HIDDEN),  # a card or account number, or a time: no loss
        (r"\b[A-Za-z0-9+/_-]{40,}+={0,2}", HIDDEN),  # long enough to be a key, and no word
    )
)


def mask(text: str, longest: int = LONGEST) -> str:
    """`text` as one printable line of at most `longest` characters, without anything that identifies or opens.

    E-mail addresses, authorization and cookie headers, passwords, tokens, sessions, long keys, query strings, card
    numbers and the last parts of IP addresses are replaced; of a password or token also all words of a string and all
    that an array or object holds. It rather takes too much than too little.
    """
    # Cut before the rules run, which bounds their time; what a cut leaves of a secret is still longer than shown.
    cut = text[: longest * 8]
    for rule, replacement in _RULES:
        cut = rule.sub(replacement, cut)
    shown = "".join(char if char.isprintable() else " " for char in cut[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
