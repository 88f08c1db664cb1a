"""Signed requests: who is asked or told can see that it was this server, and when.

Headers and signature of Standard Webhooks 1.0, so that any of its libraries can check them:
HMAC-SHA256 over `{id}.{seconds}.{body}`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Annotated

from pydantic import AfterValidator

from streamgen_edge.outbound.url import Url

_PREFIX = "whsec_"
_LEAST, _MOST = 24, 64


def key_of(secret: str) -> bytes:
    """Raises `ValueError`, whose text holds nothing of the secret."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _LEAST <= len(key) <= _MOST:
        raise ValueError(
            f"a secret is {_LEAST} to {_MOST} random bytes in base64 (make one by:"
            " openssl rand -base64 32)"
        )
    return key


def _readable(secret: str) -> str:
    key_of(secret)
    return secret


SigningSecret = Annotated[str, AfterValidator(_readable)]
"""`whsec_` and base64, or base64 alone."""


def _url(text: str) -> str:
    Url.of(text)
    return text


HttpUrl = Annotated[str, AfterValidator(_url)]


def signed(secret: str | None, id: str, unix_s: int, body: bytes) -> dict[str, str]:
    """The headers; without a secret they say the same, unsigned."""
    headers = {"webhook-id": id, "webhook-timestamp": str(unix_s)}
    if secret is not None:
        seal = hmac.digest(key_of(secret), b"%b.%d.%b" % (id.encode(), unix_s, body), "sha256")
        headers["webhook-signature"] = "v1," + base64.b64encode(seal).decode()
    return headers
