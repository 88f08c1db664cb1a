"""`/docs`: the API as one page to read, made from its OpenAPI description.

FastAPI's own page loads its program from another machine; this one loads a style sheet from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

METHODS = ("get", "put", "post", "patch", "delete")
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
Schema = dict[str, Any]


def reference_routes(app: FastAPI) -> None:
    """Adds `/docs`; what it shows is no secret and needs no right."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()), headers=HEADERS)


def page(description: Schema) -> str:
    """The whole of an OpenAPI 3 description as HTML."""
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{title}: the API</title><link rel=stylesheet href=/page/reference.css>",
        f"<h1>{title}</h1><p>The API, for programs as <a href=/openapi.json>OpenAPI</a>. ",
        "Errors are <code>application/problem+json</code>.</p><nav><ul>",
    ]
    found = list(_operations(description))
    for number, (method, path, _) in enumerate(found):
        parts.append(f"<li><a href='#o{number}'><b>{method}</b> {escape(path)}</a>")
    parts.append("</ul></nav><main>")
    for number, (method, path, operation) in enumerate(found):
        parts.append(f"<section id='o{number}'><h2><b>{method}</b> {escape(path)}</h2>")
        parts += _told(operation, description)
        parts.append("</section>")
    return "".join([*parts, "</main>"])


def _operations(description: Schema) -> Iterator[tuple[str, str, Schema]]:
    for path, methods in description["paths"].items():
        for method in METHODS:
            if method in methods:
                yield method.upper(), path, methods[method]


def _told(operation: Schema, description: Schema) -> Iterator[str]:
    yield f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>"
    given = operation.get("parameters", [])
    if given:
        yield "<table><tr><th>parameter<th>in<th>kind<th>"
        for one in given:
            needed = "needed" if one.get("required") else ""
            kind = escape(_kind(one.get("schema", {})))
            yield f"<tr><td><code>{escape(one['name'])}</code><td>{one['in']}<td>{kind}<td>{needed}"
        yield "</table>"
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        whole = _whole(content.get("schema", {}), description)
        yield f"<h3>Body: {escape(media)}</h3><pre>{escape(json.dumps(whole, indent=2))}</pre>"
    answers = operation.get("responses", {}).items()
    yield "<p>" + ", ".join(
        f"<b>{escape(status)}</b> {escape(answer.get('description', ''))}"
        for status, answer in answers
    )
    yield "</p>"


def _kind(schema: Schema) -> str:
    options = schema.get("anyOf", [schema])
    return " or ".join(str(one.get("type", "any")) for one in options)


def _whole(schema: Any, description: Schema, depth: int = 0) -> Any:
    """With what it refers to in its place."""
    if isinstance(schema, list):
        return [_whole(one, description, depth) for one in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name and depth < 8:
        return _whole(description["components"]["schemas"][name], description, depth + 1)
    return {key: _whole(value, description, depth) for key, value in schema.items()}
