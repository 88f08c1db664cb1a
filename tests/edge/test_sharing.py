"""QR codes of links: of what is asked for, and bounded."""

from __future__ import annotations

import pytest

pytest.importorskip("segno", reason="segno is not installed")

from fastapi import FastAPI

from streamgen_edge.sharing import MOST_TEXT, code_routes, svg_of
from tests.edge.webrtc.peers import looped
from tests.edge.webrtc.studio import Answer, ask


async def asked(query: str) -> Answer:
    app = FastAPI()
    code_routes(app, [])
    return await ask(app, "GET", f"/v1/qr.svg?{query}")


@looped
async def test_a_link_becomes_a_picture_of_paths_alone() -> None:
    answer = await asked("text=http%3A%2F%2Fhost%3A8080%2F%23me")
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-security-policy"] == "default-src 'none'"
    assert answer.text.startswith("<svg") and "<script" not in answer.text
    assert answer.text == svg_of("http://host:8080/#me").decode()
    assert answer.text != svg_of("http://host:8080/#you").decode()


@looped
async def test_what_is_asked_for_is_bounded() -> None:
    assert (await asked(f"text={'a' * MOST_TEXT}")).status == 200
    for query in (f"text={'a' * (MOST_TEXT + 1)}", "text=", ""):
        assert (await asked(query)).status == 422


@looped
async def test_no_text_gets_into_the_picture_as_it_is() -> None:
    answer = await asked("text=%3Cscript%3Ealert(1)%3C%2Fscript%3E%26%22")
    assert answer.status == 200 and "alert" not in answer.text
    assert (await asked("text=%F0%9F%8E%88")).status == 200
