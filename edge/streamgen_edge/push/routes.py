"""Pushes by the API: targets that come and go while a stream is live. For administrators."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Path, Response

from streamgen_edge.publishing import Streams
from streamgen_edge.push.settings import PUSH_ID, PushSettings, named

Id = Annotated[str, Path(pattern=f"^{PUSH_ID.pattern}$")]


def push_routes(app: FastAPI, streams: Streams, admin: list[Any]) -> None:
    @app.get("/v1/streams/{name}/pushes", dependencies=admin)
    async def list_pushes(name: str) -> list[dict[str, Any]]:
        """Where it is sent, or will be when it is live (`state` null)."""
        return _rows(streams, _known(streams, name))

    @app.put("/v1/streams/{name}/pushes/{id}", dependencies=admin)
    async def push(
        name: str, id: Id, settings: Annotated[PushSettings, Body()], response: Response
    ) -> dict[str, Any]:
        """Send the stream there, too, until this is taken back or the server ends; for a stream
        that is not live: as soon as it is (202)."""
        if settings.id not in (None, id):
            raise HTTPException(422, "id: not the one of the path")
        try:
            streams.ask_push(_known(streams, name), id, settings.model_copy(update={"id": id}))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        row = next(row for row in _rows(streams, name) if row["id"] == id)
        if row["state"] is None:
            response.status_code = 202
        return row

    @app.delete("/v1/streams/{name}/pushes/{id}", dependencies=admin, status_code=204)
    async def stop_pushing(name: str, id: Id) -> None:
        """One of the configuration stays away until the server starts again, or it is put."""
        if not streams.ends_push(_known(streams, name), id):
            raise HTTPException(404, "there is no such push")


def _known(streams: Streams, name: str) -> str:
    if streams.server.stream(name) is None:
        raise HTTPException(404, f"there is no stream '{name}' here")
    return name


def _rows(streams: Streams, name: str) -> list[dict[str, Any]]:
    """Those of its session, and those that wait for one."""
    stream, settings = streams.find(name), streams.server.stream(name)
    pushes = None if stream is None or stream.over else stream.viewing.pushes
    rows = [] if pushes is None else pushes.facts()
    running = {row["id"] for row in rows}
    wanted = streams.pushes.wanted(name, named(() if settings is None else settings.push))
    for id, one in wanted.items():
        if id not in running:
            rows.append({"id": id, "target": one.target.shown, "state": None})
    return rows
