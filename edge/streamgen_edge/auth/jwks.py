"""`Jwks`: the keys of a signing service: kept, and read again when they change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import jwt

from streamgen.errors import ConfigError
from streamgen_edge.auth.asking import Undecided
from streamgen_edge.auth.claims import BadToken
from streamgen_edge.auth.keyset import MOST_BYTES, KeySet

FRESH_S = 300.0
"""Keys are fetched again after so long: one that was taken out is believed no longer than this."""
STALE_S = 86_400.0
"""Where that fails, the keys of before are used for so long; then nobody is let in by them."""
AGAIN_S = 15.0
"""Whatever tokens name, and however often it fails: keys are fetched at most this often."""
log = logging.getLogger("streamgen.edge.auth")

Fetch = Callable[[], Awaitable[bytes]]
"""The document as it is now. Raises `Undecided`, whose text says why not."""


class Jwks:
    """On the loop's thread. Nothing runs between questions."""

    def __init__(self, fetch: Fetch, clock_s: Callable[[], float]) -> None:
        self.version = 0
        """Another one: what was believed by the keys of before is to be looked at again."""
        self._fetch = fetch
        self._clock_s = clock_s
        self._keys: KeySet | None = None
        self._fetched_s = self._tried_s = float("-inf")
        self._fetching = asyncio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """The key that a token names. Raises `BadToken` and `Undecided`."""
        if self._clock_s() - self._fetched_s > FRESH_S:
            await self._again()
        found = None if self._keys is None else self._keys.find(kid, algorithm)
        if found is None:
            await self._again()
            if self._keys is None:
                raise Undecided("the keys that sign tokens are not there")
            found = self._keys.find(kid, algorithm)
        if found is None:
            raise BadToken("no key of this name and kind signs tokens")
        return found

    async def _again(self) -> None:
        """Fetch, unless that was tried just now. Those who come meanwhile wait for the same."""
        asked_s = self._clock_s()
        async with self._fetching:
            if self._tried_s >= asked_s or asked_s - self._tried_s < AGAIN_S:
                return
            self._tried_s = asked_s
            try:
                keys = KeySet.read(await self._fetch())
            except (ConfigError, Undecided) as error:
                log.error("the keys that sign tokens could not be read: %s", error)
                if asked_s - self._fetched_s > STALE_S:
                    self._keys = None
                return
            self._fetched_s = asked_s
            if self._keys is None or keys.keys != self._keys.keys:
                self.version += 1
                self._keys = keys


def file_of_keys(path: Path) -> Fetch:
    """Reads them from a file: a few kB, so on the loop's thread."""

    async def read() -> bytes:
        return key_document(path)

    return read


def key_document(path: Path) -> bytes:
    """A file's bytes; more than may be are not read. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the keys {path}: {error.strerror}") from error
