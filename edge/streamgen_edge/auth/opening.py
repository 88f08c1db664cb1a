"""`open_access`: who may do what, as the configuration has it, with the clocks of this machine."""

from __future__ import annotations

import time
from pathlib import Path

from streamgen_edge.auth.access import Access
from streamgen_edge.auth.jwks import Jwks, file_of_keys, key_document
from streamgen_edge.auth.keyset import KeySet
from streamgen_edge.auth.settings import Auth
from streamgen_edge.auth.tokens import Tokens


def open_access(auth: Auth) -> Access:
    jwt = auth.tokens
    if jwt is None:
        return Access(auth, None)
    keys = Jwks(file_of_keys(Path(str(jwt.jwks))), time.monotonic)
    return Access(auth, Tokens(jwt, keys, time.time))


def refuse_unusable_keys(auth: Auth) -> None:
    """Raises `ConfigError` when the file of keys holds none that can be used."""
    if auth.tokens is not None:
        KeySet.read(key_document(Path(str(auth.tokens.jwks))))
