"""`Door`: in front of a coordinator's API and page. It refuses what a page of another site sends by
a browser, under whatever name."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from streamgen.control import origin
from streamgen.control.api.pages import Receive, Scope, Send

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
NAMELESS = frozenset({"/healthz", "/readyz"})
"""Who asks for health may be as simple as can be, and learns nothing else."""
PROBLEM = "application/problem+json"


class Door:
    """To `page` and, for all else, `api`.

    A browser that was sent here under a foreign name is refused (421): a page from elsewhere could
    point its own name at this machine. Links of other sites may lead to the page; nothing else of
    theirs gets anywhere (403).
    """

    def __init__(self, page: Asgi, api: Asgi, host: str) -> None:
        """`host` is the name it is called by, beside localhost and numbers."""
        self._page, self._api = page, api
        self._names = {b"localhost", host.lower().encode()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in NAMELESS:
            await self._api(scope, receive, send)
            return
        headers, path = scope["headers"], scope["path"]
        page = path == "/" or path.startswith("/page/")
        name = origin.host(headers)
        if name is None or not (name in self._names or origin.is_address(name)):
            await _refuse(send, 421, "not a name of this server")
        elif origin.foreign(headers) if page else origin.from_other_site(headers):
            await _refuse(send, 403, "pages of other sites may do nothing here")
        elif page:
            await self._page(scope, receive, send)
        else:
            await self._api(scope, receive, send)


async def _refuse(send: Send, status: int, detail: str) -> None:
    """As RFC 9457 wants it."""
    told = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    text = json.dumps(told).encode()
    headers = [(b"content-type", PROBLEM.encode()), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
