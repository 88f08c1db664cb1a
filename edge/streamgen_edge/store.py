"""The server's store, as the edge needs it: jobs of the API are in it, and what hooks have still to
be told. Nothing of a stream waits for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from streamgen.control.notices import Backlog, ClaimedNotice, Notice
from streamgen.errors import ConfigError
from streamgen.plugins import find
from streamgen_edge.settings import Server

PATIENCE_S = 5.0
"""How long a database that went away is waited for."""


class StoredNotices(Protocol):
    """`control.store.outbox.Outbox`. All of it raises `StoreError`."""

    async def claim(self, target: str, ttl_ms: int) -> ClaimedNotice | None: ...
    async def settle(self, notice: Notice) -> None: ...
    async def postpone(self, claim: ClaimedNotice, wait_ms: int) -> None: ...
    async def backlog(self, target: str) -> Backlog: ...
    async def shed(self, target: str, most: int, kept_ms: int) -> int: ...


class Store(Protocol):
    """What there must be of `control.store.store.Store`, which needs an extra."""

    @property
    def outbox(self) -> StoredNotices: ...

    async def write(self, *rows: Notice) -> None:
        """Raises `StoreError`."""
        ...


class LateStore(AbstractAsyncContextManager["LateStore"], Protocol):
    """`control.store.late.LateStore`. It is closed where its block ends."""

    async def opened(self) -> Store:
        """Raises `StoreError`."""
        ...


def store_of(server: Server, wall_ms: Callable[[], int]) -> LateStore | None:
    """None where none is configured. Raises `ConfigError` where it cannot be used."""
    if server.store is None:
        return None
    try:
        found: LateStore = find("store", "sql")(server.store, wall_ms, patience_s=PATIENCE_S)
    except ConfigError as error:
        raise ConfigError(f"store: {error}") from error
    return found
