"""Jobs of a store by an API: how they stand, and to end one. For administrators."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, HTTPException, Query

from streamgen.errors import StoreError

RETRY_S = "5"
log = logging.getLogger("streamgen.jobs")


class Standings(Protocol):
    """What there must be of `control.jobs.board.JobBoard`."""

    async def rows(self, most: int | None = None) -> list[dict[str, Any]]: ...
    async def row(self, name: str) -> dict[str, Any] | None: ...
    async def cancel(self, name: str) -> dict[str, Any] | None: ...


def standing_routes(app: FastAPI, jobs: Standings, admin: list[Any]) -> None:
    @app.get("/v1/jobs", dependencies=admin)
    async def list_jobs(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[dict[str, Any]]:
        """The newest, from old to new."""
        with stored():
            return await jobs.rows(limit)

    @app.get("/v1/jobs/{name}", dependencies=admin)
    async def one_job(name: str) -> dict[str, Any]:
        """With its report, or its error."""
        with stored():
            return _there(await jobs.row(name), name)

    @app.delete("/v1/jobs/{name}", dependencies=admin)
    async def cancel_job(name: str) -> dict[str, Any]:
        """What was made of it is thrown away; one that is over stays as it is."""
        with stored():
            return _there(await jobs.cancel(name), name)


def _there(row: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if row is None:
        raise HTTPException(404, f"there is no job '{name}'")
    return row


@contextmanager
def stored() -> Iterator[None]:
    """The database is the operator's: others hear that there is none, and the log has the rest."""
    try:
        yield
    except StoreError as error:
        log.error("jobs: %s", error)
        headers = {"retry-after": RETRY_S}
        raise HTTPException(503, "the store of jobs does not answer", headers) from error
