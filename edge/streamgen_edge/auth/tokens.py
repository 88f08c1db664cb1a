"""`Tokens`: JSON Web Tokens, believed or not (RFC 7519, RFC 8725)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import jwt

from streamgen_edge.auth.asking import MOST_TOKEN
from streamgen_edge.auth.claims import BadToken, Grant, grant_of
from streamgen_edge.auth.jwks import Jwks
from streamgen_edge.auth.settings import Jwt

LEEWAY_S = 5
"""How far the clocks of signer and server may be apart."""
MOST_KEPT = 4096
"""Tokens that are known to be good: players show theirs several times a second."""


class Tokens:
    """On the loop's thread."""

    def __init__(self, settings: Jwt, keys: Jwks, wall_s: Callable[[], float]) -> None:
        """`wall_s` is the clock on the wall."""
        self._settings = settings
        self._keys = keys
        self._wall_s = wall_s
        self._known: OrderedDict[bytes, tuple[Grant, float, int]] = OrderedDict()
        """By digest: what it allows, until when, by which version of the keys."""

    async def grant(self, token: str) -> Grant:
        """What its bearer may do. Raises `BadToken`, and `Undecided` where keys are missing."""
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.algorithms:
            raise BadToken("its algorithm is not on the list")
        if "crit" in header or not isinstance(kid, str | None):
            raise BadToken("its header asks for what is not here")
        key = await self._keys.find(kid, algorithm)
        digest = sha256(token.encode("ascii")).digest()
        known = self._known.get(digest)
        if known is not None and known[1] > self._wall_s() and known[2] == self._keys.version:
            return known[0]
        claims = self._checked(token, key, algorithm)
        grant = grant_of(claims)
        self._known[digest] = grant, float(claims["exp"]) + LEEWAY_S, self._keys.version
        self._known.move_to_end(digest)
        while len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)
        return grant

    def _checked(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        settings = self._settings
        required = ["exp", "aud"] if settings.issuer is None else ["exp", "aud", "iss"]
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=LEEWAY_S,
                options={"require": required},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise BadToken(f"it does not hold: {type(error).__name__}") from error
        if not isinstance(claims["exp"], int | float):
            raise BadToken("its end is no number")
        return claims


def looks_like_one(token: str) -> bool:
    """Whether it has a token's form: else it is some key."""
    return len(token) <= MOST_TOKEN and token.isascii() and token.count(".") == 2


def _header(token: str) -> dict[str, Any]:
    """What it says of itself, before anything is known to be true."""
    if not looks_like_one(token):
        raise BadToken("it is too long, or none")
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise BadToken("its header cannot be read") from error
