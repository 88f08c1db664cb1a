"""An application of ours asked without a wire: somebody else has heard the question."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote

from streamgen.control.api.door import Asgi

Headers = list[tuple[str, str]]


async def called(
    app: Asgi, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> tuple[int, Headers, str]:
    """Status, headers and body of the answer. `target` is a path as a request line has it, perhaps
    with a query. Who asks is taken for somebody on this machine."""
    path, _, query = target.partition("?")
    told = [("host", "localhost"), *headers]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode("latin-1"),
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in told],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    status, back, parts = 500, Headers(), list[bytes]()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(part: MutableMapping[str, Any]) -> None:
        nonlocal status
        if part["type"] == "http.response.start":
            status = part["status"]
            back.extend((k.decode("latin-1"), v.decode("latin-1")) for k, v in part["headers"])
        else:
            parts.append(part.get("body", b""))

    await app(scope, receive, send)
    return status, back, b"".join(parts).decode()
