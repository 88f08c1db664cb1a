"""`/docs` tells of the whole API, and loads nothing from elsewhere."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import FastAPI

from streamgen.telemetry import Metrics
from streamgen_edge.api import api
from streamgen_edge.link import Link
from streamgen_edge.publishing import Streams
from streamgen_edge.reference import HEADERS, page
from streamgen_edge.settings import Server


def app() -> FastAPI:
    async def made() -> FastAPI:
        with TemporaryDirectory() as folder:
            async with Link(Path(folder)) as link:
                streams = Streams(Server(), link, Metrics(), lambda: 0)
                return api(streams, Metrics(), lambda: None, lambda: 1935)

    return asyncio.run(made())


def test_every_operation_is_told_with_its_body() -> None:
    description = app().openapi()
    text = unescape(page(description))
    for path, methods in description["paths"].items():
        for method in methods:
            assert f"<b>{method.upper()}</b> {path}</h2>" in text
    assert '"over": {' in text and '"default": "0s"' in text
    assert "$ref" not in text


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = page(app().openapi())
    links = re.findall(r"<(?:a|link|img|script)[^>]*(?:href|src)='?([^'> ]+)", text)
    assert len(links) > 5 and all(link.startswith(("/", "#")) for link in links)
    assert "<script" not in text
    assert "default-src 'none'" in HEADERS["content-security-policy"]


def test_what_an_operation_says_is_text_and_no_markup() -> None:
    told = {"description": "<img src=x onerror=alert(1)>", "responses": {"200": {}}}
    text = page({"info": {"title": "<t>", "version": "1"}, "paths": {"/<p>": {"get": told}}})
    assert "<img" not in text and "<t>" not in text and "<p>/" not in text
    assert "&lt;img src=x" in text and "/&lt;p&gt;" in text
