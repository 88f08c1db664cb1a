"""`LateStore`: a store that is opened when it is first asked for, and later where it is away."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from streamgen.control.store.database import Clock
from streamgen.control.store.store import PATIENCE_S, Store
from streamgen.errors import ConfigError, StoreError


class LateStore:
    """On one event loop; use with `async with`, which opens nothing and closes what was opened."""

    def __init__(self, url: str, wall_ms: Clock, *, patience_s: float = PATIENCE_S) -> None:
        """`patience_s`: how long writes wait for a database that went away. Raises `ConfigError`
        for a URL that is none."""
        self.url = url
        self.wall_ms = wall_ms
        self._store = Store(url, wall_ms, patience_s=patience_s)
        self._opening = asyncio.Lock()
        self._leaving = AsyncExitStack()
        self._open = False

    async def __aenter__(self) -> LateStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leaving.aclose()

    async def opened(self) -> Store:
        """Raises `StoreError`, also where the database belongs to a newer release."""
        async with self._opening:
            if not self._open:
                try:
                    await self._leaving.enter_async_context(self._store)
                except ConfigError as error:
                    raise StoreError(str(error)) from error
                self._open = True
        return self._store
