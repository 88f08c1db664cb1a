"""`Jwks`: the keys of a signing service: kept, and read again when they change."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import jwt

from streamgen.errors import ConfigError
from streamgen_edge.auth.asking import Undecided
from streamgen_edge.auth.claims import BadToken
from streamgen_edge.auth.keyset import MOST_BYTES, KeySet
from streamgen_edge.outbound.client import Client
from streamgen_edge.outbound.once import Once
from streamgen_edge.outbound.resolving import OutboundError
from streamgen_edge.outbound.url import Url

FRESH_S = 300.0
"""Keys are fetched again after so long: one that was taken out is believed no longer than this."""
STALE_S = 86_400.0
"""Where that fails, the keys of before are used for so long; then nobody is let in by them."""
AGAIN_S = 15.0
"""Whatever tokens name, and however often it fails: keys are fetched at most this often."""
FETCH_S = 3.0
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
        self._fetching: Once[str, None] = Once()

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """The key that a token names. Raises `BadToken` and `Undecided`."""
        stale = self._clock_s() - self._fetched_s > FRESH_S
        if stale and (self._keys is None or not len(self._fetching)):
            await self._again()  # with keys at hand one waits for new ones, not all
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
        if len(self._fetching) or self._clock_s() - self._tried_s >= AGAIN_S:
            await self._fetching.ask("", self._read)

    async def _read(self) -> None:
        self._tried_s = began_s = self._clock_s()
        try:
            keys = KeySet.read(await self._fetch())
        except (ConfigError, Undecided) as error:
            log.error("the keys that sign tokens could not be read: %s", error)
            if began_s - self._fetched_s > STALE_S:
                self._keys = None
            return
        self._fetched_s = began_s
        if self._keys is None or keys.keys != self._keys.keys:
            self.version += 1
            self._keys = keys


def keys_at(url: Url, client: Client) -> Fetch:
    """Asks another server for them."""

    async def read() -> bytes:
        try:
            answer = await client.get(url, within_s=FETCH_S, most_bytes=MOST_BYTES)
        except OutboundError as error:
            raise Undecided(str(error)) from error
        if not answer.good:
            raise Undecided(f"{url.host}: the status of its answer is {answer.status}")
        return answer.body

    return read


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
