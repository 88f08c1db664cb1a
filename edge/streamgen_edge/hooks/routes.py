"""How hooks do, by the API. For administrators."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from streamgen_edge.publishing import Streams


def hook_routes(app: FastAPI, streams: Streams, admin: list[Any]) -> None:
    @app.get("/v1/hooks", dependencies=admin)
    async def list_hooks() -> list[dict[str, Any]]:
        """Services that are told of streams: what is left for each, and what became of the rest."""
        return streams.hooks.facts()
