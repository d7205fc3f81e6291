"""A signed assertion by which one logs in to Salesforce: a JWT with RS256.

Source: Salesforce Help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration"; RFC 7515, appendix A.2.
"""

from __future__ import annotations

import base64
import json
import re
from functools import lru_cache

_ESCAPED = re.compile(r"(?:\\r)?\\n")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+")
LIFE_SECONDS = 180  # how long an assertion is good for; Salesforce takes no more than a few minutes


def pem(text: str) -> str:
    r"""An RSA private key as PEM, from PEM with line breaks written as `\n`, or in base64, as environments carry it.

    ValueError if it is none; the message does not quote it.
    """
    plain = _ESCAPED.sub("\n", text).strip() + "\n"
    if "-----BEGIN" not in plain and _BASE64.fullmatch(plain):
        try:
            plain = base64.b64decode(plain).decode()
        except ValueError:
            plain = ""
    _key(plain)
    return plain


def assertion(key: str, *, client_id: str, username: str, audience: str, now: float) -> str:
    """The JWT for this user of this connected app, good for three minutes from `now` (wall seconds)."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    claims = {"iss": client_id, "sub": username, "aud": audience, "exp": int(now) + LIFE_SECONDS}
    signed = f"{_encoded({'alg': 'RS256', 'typ': 'JWT'})}.{_encoded(claims)}"
    return f"{signed}.{_base64url(_key(key).sign(signed.encode(), PKCS1v15(), SHA256()))}"


@lru_cache(maxsize=8)
def _key(text: str):  # type: ignore[no-untyped-def]  # noqa: ANN202  the library's type, which would import it at once
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # a TypeError: it has a passphrase
        raise ValueError("is no private key in PEM, or one with a passphrase") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("is not an RSA key, which RS256 needs")  # noqa: TRY004 pydantic reports ValueError only
    return key


def _encoded(part: dict[str, object]) -> str:
    return _base64url(json.dumps(part, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
