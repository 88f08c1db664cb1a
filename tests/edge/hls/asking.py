"""Asks an ASGI application without a server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from streamgen_edge.hls import HlsApp


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


async def ask(
    app: HlsApp, path: str, query: str = "", *, method: str = "GET", **headers: str
) -> Answer:
    """One request; `if_none_match` in `headers` is the header `if-none-match`."""
    answer = Answer()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            assert all(isinstance(v, bytes) for pair in message["headers"] for v in pair)
            names = [key.decode() for key, _ in message["headers"]]
            assert len(set(names)) == len(names), names
            assert all(name == name.lower() for name in names)
            answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            answer.body += message["body"]

    said = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": said,
        "client": ("127.0.0.1", 5),
    }
    await app(scope, receive, send)
    length = answer.headers.get("content-length")
    if method != "HEAD" and length is not None:
        assert int(length) == len(answer.body)
    return answer
