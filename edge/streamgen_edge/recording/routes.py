"""Recording by the API: on and off while a stream is live. For administrators.

Where files go, and how they are cut, is the configuration's alone.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Response

from streamgen.errors import ConfigError
from streamgen_edge.publishing import Streams
from streamgen_edge.recording.settings import refuse_unwritable


def recording_routes(app: FastAPI, streams: Streams, admin: list[Any]) -> None:
    @app.put("/v1/streams/{name}/recording", dependencies=admin)
    async def record(name: str, response: Response) -> dict[str, Any]:
        """Keep the stream in files from its next segment on, until this is taken back or the
        server ends; one that is not live: as soon as it is (202)."""
        _known(streams, name)
        try:
            refuse_unwritable(streams.server.recording)
        except ConfigError as error:
            raise HTTPException(409, str(error)) from error
        streams.record(name, True)
        stream = streams.find(name)
        recording = None if stream is None or stream.over else stream.viewing.recording
        if recording is not None:
            return recording.facts()
        response.status_code = 202
        return {"state": None}

    @app.delete("/v1/streams/{name}/recording", dependencies=admin, status_code=204)
    async def stop_recording(name: str) -> None:
        """The file is closed. One of the configuration stays off until the server starts again,
        or it is put."""
        _known(streams, name)
        if not streams.record(name, False):
            raise HTTPException(404, "it is not recorded")


def _known(streams: Streams, name: str) -> None:
    if streams.server.stream(name) is None:
        raise HTTPException(404, f"there is no stream '{name}' here")
