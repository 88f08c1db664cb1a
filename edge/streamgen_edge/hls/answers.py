"""Answers to players as ASGI messages: one head and its body, with as little work as possible."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

from streamgen_edge.hls.request import Scope, header, wanted_range

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
_Said = tuple[Headers, bytes, bytes]
"""Head, entity tag and body."""

_CORS = (b"access-control-allow-origin", b"*")
_EXPOSE = (b"access-control-expose-headers", b"content-length, content-range, date, retry-after")
_PLAYLIST: Headers = [
    (b"content-type", b"application/vnd.apple.mpegurl"),
    (b"vary", b"accept-encoding"),
    _CORS,
]
_FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")
_MEDIA: dict[bool, Headers] = {
    video: [
        (b"content-type", kind),
        _FOREVER,
        (b"accept-ranges", b"bytes"),
        _CORS,
    ]
    for video, kind in ((True, b"video/mp4"), (False, b"audio/mp4"))
}
_PREFLIGHT: Headers = [
    _CORS,
    (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
    (b"access-control-allow-headers", b"authorization, range"),
    (b"access-control-max-age", b"86400"),
]
_OF_BODIES = frozenset({b"content-length", b"content-encoding"})
_LEAST_PACKED = 400
"""Shorter texts do not get shorter by packing."""


async def preflight(send: Send) -> None:
    await _whole(send, 204, _PREFLIGHT, b"")


async def refuse(
    send: Send, status: int, text: str, *, retry: bool = False, cache_s: int = 0
) -> None:
    """An error, as `application/problem+json` (RFC 9457)."""
    said = f"max-age={cache_s}" if cache_s else "no-store"
    headers = [(b"content-type", b"application/problem+json"), _CORS, _EXPOSE]
    headers.append((b"cache-control", said.encode()))
    if retry:
        headers.append((b"retry-after", b"1"))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    told = {"title": HTTPStatus(status).phrase, "status": status, "detail": text}
    body = json.dumps(told).encode()
    headers.append((b"content-length", b"%d" % len(body)))
    await _whole(send, status, headers, body)


class Sheet:
    """A playlist ready to be sent: its heads are made once for all who ask."""

    __slots__ = ("_facts", "_pack", "_packed", "_plain")

    def __init__(
        self, text: bytes, packed: Callable[[], bytes], *, tag: bytes, cache: bytes
    ) -> None:
        """`tag` names this very text; `packed()` is the text by gzip, asked for once."""
        self._plain = _said(text, tag, cache)
        self._pack = packed if len(text) >= _LEAST_PACKED else None
        self._packed: _Said | None = None
        self._facts = tag + b"z", cache

    async def send(self, send: Send, scope: Scope) -> None:
        """Send it, packed when the player takes that."""
        chosen = self._plain
        if self._pack is not None and b"gzip" in header(scope, b"accept-encoding"):
            if self._packed is None:
                headers, etag, body = _said(self._pack(), *self._facts)
                self._packed = [*headers, (b"content-encoding", b"gzip")], etag, body
            chosen = self._packed
        headers, etag, body = chosen
        if header(scope, b"if-none-match") == etag:
            bare = [pair for pair in headers if pair[0] not in _OF_BODIES]
            await _whole(send, 304, bare, b"")
        else:
            await _whole(send, 200, headers, b"" if scope["method"] == "HEAD" else body)


def _said(body: bytes, tag: bytes, cache: bytes) -> _Said:
    etag = b'"%b"' % tag
    said = [(b"cache-control", cache), (b"etag", etag), (b"content-length", b"%d" % len(body))]
    return [*_PLAYLIST, *said], etag, body


async def media(send: Send, scope: Scope, chunks: Sequence[bytes], *, video: bool) -> None:
    """Immutable media: its chunks one after the other, or the range that was asked for."""
    size = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
    asked = header(scope, b"range")
    status, extra = 200, None
    if asked:
        try:
            wanted = wanted_range(asked, size)
        except ValueError:
            headers = [*_MEDIA[video], (b"content-range", b"bytes */%d" % size)]
            await _whole(send, 416, [*headers, (b"content-length", b"0")], b"")
            return
        if wanted is not None:
            begin, end = wanted
            extra = (b"content-range", b"bytes %d-%d/%d" % (begin, end - 1, size))
            status = 206
            chunks = _slices(chunks, begin, end)
            size = end - begin
    headers = [*_MEDIA[video], (b"content-length", b"%d" % size)]
    if extra is not None:
        headers += (extra, _EXPOSE)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["method"] == "HEAD":
        chunks = [b""]
    for chunk in chunks[:-1]:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": chunks[-1]})


def _slices(chunks: Sequence[bytes], begin: int, end: int) -> list[bytes]:
    found = []
    for chunk in chunks:
        part = chunk[max(begin, 0) : max(end, 0)]
        if part:
            found.append(part)
        begin, end = begin - len(chunk), end - len(chunk)
    return found


async def _whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
