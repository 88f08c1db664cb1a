"""`Opening`: who may do what, as a configuration has it, with the clocks of this machine."""

from __future__ import annotations

import time
from pathlib import Path

from streamgen_edge.auth.access import Access
from streamgen_edge.auth.callback import Callback, Counting
from streamgen_edge.auth.jwks import Jwks, file_of_keys, key_document, keys_at
from streamgen_edge.auth.keyset import KeySet
from streamgen_edge.auth.settings import Auth, Jwt
from streamgen_edge.auth.tokens import Tokens
from streamgen_edge.outbound.client import Client
from streamgen_edge.outbound.url import Url


class Opening:
    """One after the other. Keys that were fetched from a URL stay while it is the same: it may
    not answer just when all else changes."""

    def __init__(self, client: Client, telemetry: Counting) -> None:
        self._client = client
        self._telemetry = telemetry
        self._fetched: dict[Url, Jwks] = {}

    def access(self, auth: Auth) -> Access:
        tokens, callback = auth.tokens, auth.callback
        believed = None if tokens is None else Tokens(tokens, self._keys(tokens), time.time)
        if callback is None:
            return Access(auth, believed)
        service = Callback(
            callback, self._client, self._telemetry, clock_s=time.monotonic, wall_s=time.time
        )
        return Access(auth, believed, service)

    def _keys(self, tokens: Jwt) -> Jwks:
        source = tokens.source
        if isinstance(source, Path):
            return Jwks(file_of_keys(source), time.monotonic)
        keys = self._fetched.get(source)
        if keys is None:
            keys = Jwks(keys_at(source, self._client), time.monotonic)
            self._fetched = {source: keys}
        return keys


def refuse_unusable_keys(auth: Auth) -> None:
    """Raises `ConfigError` when the file of keys holds none that can be used."""
    if auth.tokens is not None and isinstance(auth.tokens.source, Path):
        KeySet.read(key_document(auth.tokens.source))
