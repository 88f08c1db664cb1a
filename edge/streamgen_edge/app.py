"""The edge's one HTTP application: HLS, WebRTC and the page straight to their own, the rest to the
API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from streamgen.control import origin
from streamgen_edge.crowd import SURPLUS, Crowd
from streamgen_edge.settings import Http

MOST_BODY = 1 << 20
BODY_S = 10.0
"""The API waits for a body so long."""
RETRY_S = 5
NAMELESS = frozenset({"/healthz", "/readyz"})
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class Front:
    """By path to `hls`, `webrtc`, `page` or `rest`.

    A browser that was sent here under a foreign name is refused (421): a page from elsewhere could
    otherwise point its own name at this machine. A page of another site may let people watch, and
    by the WebRTC application's leave publish; all else is not for it (403). An address that has as
    many requests on their way as it may is told to come later (503), health aside.
    """

    def __init__(
        self,
        hls: Asgi,
        webrtc: Asgi,
        page: Asgi,
        rest: Asgi,
        http: Http,
        crowd: Crowd | None = None,
    ) -> None:
        """`crowd` has the requests of each address."""
        self._hls = hls
        self._webrtc = webrtc
        self._page = page
        self._rest = rest
        self._crowd = crowd or Crowd()
        self._names = {name.lower().encode() for name in http.hosts} | {http.host.lower().encode()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in NAMELESS:
            await self._route(scope, receive, send)
            return
        client = scope.get("client")
        address = client[0] if client else ""
        if scope.get(SURPLUS) or not self._crowd.enter(address):
            await _refuse(send, 503, "too many connections of this address, or of all")
            return
        try:
            await self._route(scope, receive, send)
        finally:
            self._crowd.leave(address)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        shared = path.startswith(("/hls/", "/whip/", "/whep/"))
        if scope["type"] == "http" and not self._known(scope, path):
            await _refuse(send, 421, "not a name of this server")
        elif scope["type"] == "http" and not shared and origin.foreign(scope["headers"]):
            await _refuse(send, 403, "not for pages of other sites")
        elif path.startswith("/hls/"):
            await self._hls(scope, receive, send)
        elif shared:
            await self._webrtc(scope, receive, send)
        elif path == "/" or path.startswith("/page/"):
            await self._page(scope, receive, send)
        else:
            await self._rest(scope, _bounded(receive), send)

    def _known(self, scope: Scope, path: str) -> bool:
        name = origin.host(scope["headers"])
        if name is None:  # who asks for health may be as simple as can be
            return path in NAMELESS
        return name in self._names or origin.is_address(name)


async def _refuse(send: Send, status: int, detail: str) -> None:
    """As `application/problem+json` (RFC 9457)."""
    told = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    text = json.dumps(told).encode()
    headers = [(b"content-type", b"application/problem+json")]
    headers.append((b"content-length", b"%d" % len(text)))
    if status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_S))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def _bounded(receive: Receive) -> Receive:
    """The API reads whole bodies, before it knows who asks."""
    taken, whole = 0, False
    until_s = asyncio.get_running_loop().time() + BODY_S

    async def some() -> MutableMapping[str, Any]:
        nonlocal taken, whole
        try:
            async with asyncio.timeout_at(None if whole else until_s):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, "the body did not come in time") from error
        whole = not message.get("more_body", False)
        taken += len(message.get("body", b""))
        if taken > MOST_BODY:
            raise HTTPException(413, f"a body has at most {MOST_BODY} bytes")
        return message

    return some
