"""`Auth`: the configuration's keys, and whose tokens are believed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from streamgen.config import DurationNs, Settings
from streamgen_edge.outbound.signing import HttpUrl, SigningSecret
from streamgen_edge.outbound.url import Url

Algorithm = Literal[
    "ES256", "ES384", "ES512", "EdDSA",
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
]  # fmt: skip
"""Signatures with a public and a private half. What is checked with the secret that also signs
(`HS256`) is not among them, and `none` is none."""


class Jwt(Settings):
    """Tokens that another service signs (RFC 7519)."""

    jwks: str | None = None
    """Its public keys (RFC 7517): a URL, or the path of a file; either is read again as it
    changes."""
    audience: str | None = Field(default=None, min_length=1)
    """What `aud` must be, or hold: tokens made for others are refused."""
    issuer: str | None = Field(default=None, min_length=1)
    """What `iss` must be; default: it is not looked at."""
    algorithms: tuple[Algorithm, ...] = Field(default=("ES256",), min_length=1)
    """The only ones that are believed, whatever a token says of itself."""

    @field_validator("jwks")
    @classmethod
    def _source(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            Url.of(value)
        return value

    @property
    def source(self) -> Url | Path:
        """Where its keys are."""
        text = str(self.jwks)
        return Url.of(text) if "://" in text else Path(text)

    @model_validator(mode="after")
    def _whole(self) -> Jwt:
        if (self.jwks is None) is not (self.audience is None):
            raise ValueError("jwks and audience go together: whose tokens, and made for whom")
        return self


class CallbackSettings(Settings):
    """A service of yours that says who may publish and play."""

    url: HttpUrl = Field(repr=False)
    """Asked by POST; 2xx is a yes, 401 and 403 are a no, all else lets nobody in."""
    secret: SigningSecret | None = Field(default=None, repr=False)
    """What the questions are signed with; default: they are not."""
    keep: DurationNs = Field(default=10_000_000_000, le=300_000_000_000)
    """A viewer who was let in is not asked about again for so long; players ask for playlists
    several times a second. `0s`: always."""


def _written(value: Any) -> Any:
    """A URL alone will do."""
    return {"url": value} if isinstance(value, str) else value


class Auth(Settings):
    """Who may do what; three scopes, none implies another."""

    publish_keys: dict[str, str] = Field(default_factory=dict, repr=False)
    """Secrets by name; streams name those that may publish them."""
    play_keys: dict[str, str] = Field(default_factory=dict, repr=False)
    """Secrets by name; streams name those that may play them."""
    admin_keys: dict[str, str] = Field(default_factory=dict, repr=False)
    """Secrets for the API. Without any, and without `jwt`, only this machine may use it."""
    jwt: Jwt | None = None
    """Tokens that say what their bearers may do, by themselves."""
    callback: Annotated[CallbackSettings | None, BeforeValidator(_written)] = None
    """Asked about whoever no key and no token lets in, but never who may administer."""

    @model_validator(mode="after")
    def _apart(self) -> Auth:
        seen: dict[str, str] = {}
        for scope in ("publish", "play", "admin"):
            for name, secret in getattr(self, f"{scope}_keys").items():
                if not secret:
                    raise ValueError(f"{scope}_keys.{name} is empty: everybody knows that")
                if seen.setdefault(secret, scope) != scope:
                    raise ValueError(
                        f"{scope}_keys.{name} is a secret of {seen[secret]}_keys, too: "
                        "no scope implies another"
                    )
        both = self.publish_keys.keys() & self.play_keys.keys()
        if both:
            raise ValueError(f"'{min(both)}' is a name in publish_keys and in play_keys")
        return self

    @property
    def tokens(self) -> Jwt | None:
        """`jwt` where it is filled in."""
        return self.jwt if self.jwt is not None and self.jwt.jwks is not None else None


def fits(token: str, secrets: Iterable[str]) -> bool:
    """Whether it is one of the secrets; takes as long for every wrong one, of whatever length."""
    given = _digest(token)
    return sum(hmac.compare_digest(given, _digest(secret)) for secret in secrets) > 0


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
