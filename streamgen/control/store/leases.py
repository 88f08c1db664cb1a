"""Leases: who may do something alone, told apart by epochs that never go back.

A lease is the right to lead the coordinators, or to join the pieces of a job.
"""

from __future__ import annotations

import secrets

from sqlalchemy import ColumnElement, and_, case, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamgen.control.store.database import Database
from streamgen.control.store.rows import Lease
from streamgen.control.store.tables import leases
from streamgen.control.store.writer import inserted
from streamgen.errors import Fenced


class Leases:
    """All leases of the cluster."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, name: str, owner: str, ttl_ms: int, *, above: int = 0) -> Lease | None:
        """The lease, if nobody has it or its owner has let it expire; None: somebody has it.

        Its epoch is higher than the last one of this store, and than `above`: other epochs may have
        been seen than this store knows.

        Asking twice gives None: the owner holds it. Raises `StoreError`.
        """
        token = secrets.token_hex(16)

        async def work(connection: AsyncConnection) -> Lease | None:
            now_ms = await self._database.now_ms(connection)
            new = inserted(leases, lite=self._database.lite).values(
                name=name, owner=owner, epoch=above + 1, token=token, expires_ms=now_ms + ttl_ms
            )
            asked = new.on_conflict_do_update(
                index_elements=["name"],
                set_={
                    "owner": new.excluded.owner,
                    "epoch": case((leases.c.epoch > above, leases.c.epoch), else_=above) + 1,
                    "token": new.excluded.token,
                    "expires_ms": new.excluded.expires_ms,
                },
                # The token: this very question was committed although its answer was lost.
                where=or_(leases.c.expires_ms <= now_ms, leases.c.token == token),
            ).returning(leases.c.epoch, leases.c.expires_ms)
            row = (await connection.execute(asked)).one_or_none()
            return None if row is None else Lease(name, owner, row.epoch, token, row.expires_ms)

        return await self._database.attempted(work)

    async def holder(self, name: str) -> Lease | None:
        """Who has a lease now; None: nobody."""
        async with self._database.reading() as connection:
            now_ms = await self._database.now_ms(connection)
            asked = select(leases).where(leases.c.name == name, leases.c.expires_ms > now_ms)
            row = (await connection.execute(asked)).one_or_none()
        return None if row is None else Lease(**row._mapping)

    async def renew(self, lease: Lease, ttl_ms: int) -> Lease:
        """The same lease for longer. Late is not too late while nobody took it.

        Raises `Fenced` where somebody did, and `StoreError`.
        """

        async def work(connection: AsyncConnection) -> Lease:
            expires_ms = await self._database.now_ms(connection) + ttl_ms
            asked = update(leases).where(_is(lease)).values(expires_ms=expires_ms)
            if (await connection.execute(asked)).rowcount == 0:
                raise Fenced(f"somebody else has taken over {lease.name}")
            return Lease(lease.name, lease.owner, lease.epoch, lease.token, expires_ms)

        return await self._database.attempted(work)

    async def release(self, lease: Lease) -> None:
        """Anybody may have it now. What was taken over already stays so."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(update(leases).where(_is(lease)).values(expires_ms=0))

        await self._database.attempted(work)


def _is(lease: Lease) -> ColumnElement[bool]:
    return and_(leases.c.name == lease.name, leases.c.token == lease.token)
