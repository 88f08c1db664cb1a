"""`Pages`: the files of a page as a plain ASGI application.

    /                  index.html
    /page/{file}       its style sheets, modules and pictures

The files are read once; a path is only ever looked up among them. Nothing else may load into the
page or embed it: it can administer its server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".mjs": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
POLICY = b"; ".join(
    [
        b"default-src 'self'",
        b"img-src 'self' blob:",  # QR codes come by requests with a key
        b"media-src 'self' blob:",  # hls.js hands its pictures to the browser so
        b"object-src 'none'",
        b"base-uri 'none'",
        b"form-action 'none'",
        b"frame-ancestors 'none'",
    ]
)
_GUARDS: Headers = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_PLAIN = (b"content-type", b"text/plain; charset=utf-8")
NO_DEVICES = b"camera=(), microphone=(), display-capture=(), geolocation=()"


def look() -> list[Traversable]:
    """What all pages of streamgen have in common: colours, type, light and dark."""
    return list((files(__package__) / "look").iterdir())


def cluster_page() -> Pages:
    """The page of a cluster, as a coordinator shows it."""
    return Pages([*(files(__package__) / "page").iterdir(), *look()])


class Pages:
    """Any loop."""

    def __init__(
        self,
        every: Iterable[Traversable],
        more: Mapping[str, bytes] | None = None,
        *,
        permissions: bytes = NO_DEVICES,
    ) -> None:
        """Files of other kinds than a page has are left out. `more` has texts by path, where no
        file is. `permissions`: which devices the page may ask for."""
        ours = [file for file in every if _ending(file.name) in TYPES]
        self._files = {_place(file.name): _File(file.name, file.read_bytes()) for file in ours}
        for path, text in (more or {}).items():
            self._files.setdefault(path, _File(path, text))
        self._guards: Headers = [*_GUARDS, (b"permissions-policy", permissions)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = self._files.get(scope["path"])
        head = scope["method"] == "HEAD"
        if file is None:
            await self._answer(send, 404, [_PLAIN], b"there is no such file\n", head)
        elif scope["method"] not in ("GET", "HEAD"):
            await self._answer(send, 405, [_PLAIN, (b"allow", b"GET, HEAD")], b"only GET\n", head)
        elif _knows(scope, file.tag):
            await self._answer(send, 304, file.head, b"", head)
        else:
            await self._answer(send, 200, [*file.head, file.kind], file.body, head)

    async def _answer(
        self, send: Send, status: int, headers: Headers, body: bytes, head: bool
    ) -> None:
        every = [*self._guards, *headers]
        if status != 304:
            every.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": every})
        await send({"type": "http.response.body", "body": b"" if head else body})


class _File:
    """One file as it is sent."""

    def __init__(self, name: str, body: bytes) -> None:
        self.body = body
        self.kind = (b"content-type", TYPES[_ending(name)])
        self.tag = b'"%s"' % sha256(self.body).hexdigest()[:20].encode()
        self.head = [(b"etag", self.tag), (b"cache-control", b"no-cache")]


def _ending(name: str) -> str:
    return name[name.rfind(".") :]


def _place(name: str) -> str:
    return "/" if name == "index.html" else f"/page/{name}"


def _knows(scope: Scope, tag: bytes) -> bool:
    """The browser has this very file (RFC 9110, 13.1.2)."""
    known = [value for key, value in scope["headers"] if key == b"if-none-match"]
    tags = {one.strip().removeprefix(b"W/") for one in b",".join(known).split(b",")}
    return tag in tags or b"*" in tags
