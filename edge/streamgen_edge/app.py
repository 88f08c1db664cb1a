"""The edge's one HTTP application: HLS, WebRTC and the page straight to their own, the rest to the
API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any

from starlette.exceptions import HTTPException

from streamgen_edge.settings import Http

MOST_BODY = 1 << 20
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class Front:
    """By path to `hls`, `webrtc`, `page` or `rest`. A browser that was sent here under a foreign
    name is refused: a page from elsewhere could otherwise point its own name at this machine."""

    def __init__(self, hls: Asgi, webrtc: Asgi, page: Asgi, rest: Asgi, http: Http) -> None:
        self._hls = hls
        self._webrtc = webrtc
        self._page = page
        self._rest = rest
        self._names = {name.lower().encode() for name in http.hosts} | {http.host.lower().encode()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if scope["type"] == "http" and not self._known(scope):
            head = {"type": "http.response.start", "status": 421}
            await send({**head, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"not a name of this server\n"})
        elif path.startswith("/hls/"):
            await self._hls(scope, receive, send)
        elif path.startswith(("/whip/", "/whep/")):
            await self._webrtc(scope, receive, send)
        elif path == "/" or path.startswith("/page/"):
            await self._page(scope, receive, send)
        else:
            await self._rest(scope, _bounded(receive), send)

    def _known(self, scope: Scope) -> bool:
        host = next((value for key, value in scope["headers"] if key == b"host"), b"")
        name = host.rpartition(b":")[0] if not host.endswith(b"]") and b":" in host else host
        name = name.strip(b"[]").lower()
        return not name or name in self._names or _is_address(name)


def _bounded(receive: Receive) -> Receive:
    """The API reads whole bodies, before it knows who asks."""
    taken = 0

    async def some() -> MutableMapping[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BODY:
            raise HTTPException(413, f"a body has at most {MOST_BODY} bytes")
        return message

    return some


def _is_address(name: bytes) -> bool:
    try:
        ip_address(name.decode("ascii"))
    except ValueError:
        return False
    return True
