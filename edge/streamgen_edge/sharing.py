"""QR codes of links, for a phone beside the screen. For administrators: making one takes time."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from io import BytesIO
from typing import Annotated, Any

import segno
from fastapi import FastAPI, Query, Response

MOST_TEXT = 300
QUIET_ZONE = 4
"""Modules of white around the code, which readers need (ISO/IEC 18004)."""


def code_routes(app: FastAPI, admin: list[Any]) -> None:
    svg: dict[int | str, dict[str, Any]] = {200: {"content": {"image/svg+xml": {}}}}

    @app.get("/v1/qr.svg", dependencies=admin, response_class=Response, responses=svg)
    async def code(
        text: Annotated[str, Query(min_length=1, max_length=MOST_TEXT)],
    ) -> Response:
        """A QR code of this text, black on white."""
        data = await asyncio.to_thread(svg_of, text)
        headers = {"content-security-policy": "default-src 'none'"}
        return Response(data, media_type="image/svg+xml", headers=headers)


@lru_cache(maxsize=64)
def svg_of(text: str) -> bytes:
    """The picture; without a size of its own."""
    made = BytesIO()
    code = segno.make_qr(text, error="m", boost_error=False)
    code.save(made, kind="svg", border=QUIET_ZONE, light="white", omitsize=True, xmldecl=False)
    return made.getvalue()
