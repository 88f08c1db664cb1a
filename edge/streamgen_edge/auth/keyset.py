"""`KeySet`: the public keys of those who sign tokens, as a JWKS document has them (RFC 7517)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from streamgen.errors import ConfigError
from streamgen_edge.auth.claims import BadToken

MOST_BYTES = 256 << 10
MOST_KEYS = 64
LEAST_RSA_BITS = 2048
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
_KINDS = {"ES": "EC", "Ed": "OKP", "RS": "RSA", "PS": "RSA"}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key; what it may check is said by its kind, never by a token."""

    kid: str | None
    value: Mapping[str, Any]

    def suits(self, algorithm: str) -> bool:
        """Whether signatures of this kind can be this key's."""
        if self.value.get("alg", algorithm) != algorithm:
            return False
        if self.value["kty"] != _KINDS[algorithm[:2]]:
            return False
        return self.value.get("crv") == _CURVES.get(algorithm)


class KeySet:
    def __init__(self, keys: Sequence[PublicKey]) -> None:
        self.keys = tuple(keys)
        self._made: dict[tuple[int, str], jwt.PyJWK] = {}

    @classmethod
    def read(cls, data: bytes) -> KeySet:
        """Keys of other kinds are left out. Raises `ConfigError` when there is none to use."""
        try:
            value = json.loads(data) if len(data) <= MOST_BYTES else None
        except (ValueError, RecursionError) as error:
            raise ConfigError("the keys are no JWKS document: no JSON") from error
        listed = value.get("keys") if isinstance(value, dict) else None
        if not isinstance(listed, list) or len(listed) > MOST_KEYS:
            raise ConfigError(f"the keys are no JWKS document of up to {MOST_KEYS} keys")
        found = cls([key for key in map(_key, listed) if key is not None])
        if not found.keys:
            raise ConfigError("the JWKS document has no public key for signatures")
        return found

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key that a token means. Raises `BadToken` where it leaves that open."""
        suits = [
            number
            for number, key in enumerate(self.keys)
            if key.suits(algorithm) and kid in (None, key.kid)
        ]
        if len(suits) > 1:
            raise BadToken("it does not say which key")
        return self._ready(suits[0], algorithm) if suits else None

    def _ready(self, number: int, algorithm: str) -> jwt.PyJWK:
        made = self._made.get((number, algorithm))
        if made is None:
            made = jwt.PyJWK(dict(self.keys[number].value), algorithm=algorithm)
            self._made[number, algorithm] = made
        return made


def _key(entry: Any) -> PublicKey | None:
    """None for what is no public key for signatures, or too weak to be one."""
    if not isinstance(entry, dict) or entry.get("kty") not in _KINDS.values():
        return None
    if "d" in entry or entry.get("use", "sig") != "sig":
        return None
    kid = entry.get("kid")
    if kid is not None and not isinstance(kid, str):
        return None
    try:
        made = jwt.PyJWK(entry)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None
    size = getattr(made.key, "key_size", LEAST_RSA_BITS)
    if entry["kty"] == "RSA" and size < LEAST_RSA_BITS:
        return None
    return PublicKey(kid, entry)
