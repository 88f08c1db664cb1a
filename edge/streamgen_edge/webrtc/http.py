"""HTTP of WHIP and WHEP: requests read with limits, answers with what browsers need (CORS)."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode

from streamgen.control.origin import foreign
from streamgen_edge.auth.asking import MOST_TOKEN

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
SDP = "application/sdp"
TRICKLE = "application/trickle-ice-sdpfrag"
MOST_QUERY = 3 * MOST_TOKEN + 1024
"""A token may have its letters as %XX."""
BODY_S = 10.0
"""How long a body may take."""
RETRY_S = 5
"""Where nobody knows when it will be another matter."""
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"location, link, etag, retry-after"),
]
_PREFLIGHT = [
    (b"access-control-allow-methods", b"POST, PATCH, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"authorization, content-type, if-match"),
    (b"access-control-max-age", b"86400"),
]


class Refusal(Exception):
    """The answer is an error; the text is for the client."""

    def __init__(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers


def denied(status: int, text: str, retry_s: int | None = None) -> Refusal:
    """401 tells what is needed, 503 when to ask again."""
    told = {401: ("www-authenticate", "Bearer"), 503: ("retry-after", str(retry_s or RETRY_S))}
    return Refusal(status, text, *([told[status]] if status in told else ()))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says beside its body."""

    query: dict[str, str]
    headers: dict[bytes, bytes]
    address: str

    @classmethod
    def of(cls, scope: Scope) -> Asked:
        raw = scope["query_string"][:MOST_QUERY].decode("latin-1")
        client = scope.get("client")
        try:
            query = dict(parse_qsl(raw, max_num_fields=16))
        except ValueError as error:
            raise Refusal(400, "too many fields in the query") from error
        return cls(query, dict(scope["headers"]), client[0] if client else "")

    @property
    def token(self) -> str | None:
        """The bearer token (RFC 9725, 4.7), or the one in the query."""
        scheme, _, value = self.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            return value.strip().decode("latin-1")
        return self.query.get("token")

    def shows(self, token: str | None) -> bool:
        """Whether it has this very token; nothing is asked for where there was none."""
        shown = (self.token or "").encode()
        return token is None or secrets.compare_digest(shown, token.encode())

    def located(self, place: str) -> str:
        """`place` as this client has to ask for it: the token goes along where it came."""
        token = self.query.get("token")
        own = token is not None and b"authorization" not in self.headers
        return f"{place}?{urlencode({'token': token})}" if own else place

    @property
    def origin(self) -> str:
        """Of the page that asks, if it is one."""
        return self.headers.get(b"origin", b"").decode("latin-1")

    @property
    def foreign(self) -> bool:
        """A page of another site asks."""
        return foreign(self.headers.items())

    def needs(self, content_type: str) -> None:
        """Raises `Refusal` for a body of another type."""
        given = self.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if given.decode("latin-1") != content_type:
            raise Refusal(415, f"the body must be {content_type}")


async def body(receive: Receive, most: int) -> str:
    """The whole body as text. Raises `Refusal` when it is too long, too slow or no text."""
    try:
        async with asyncio.timeout(BODY_S):
            data = await _read(receive, most)
    except TimeoutError as error:
        raise Refusal(408, "the body did not come in time", ("connection", "close")) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(400, "the body is not UTF-8") from error


async def _read(receive: Receive, most: int) -> bytes:
    data: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the request broke off")
        data += message.get("body", b"")
        if len(data) > most:
            raise Refusal(413, "the body is too long")
        if not message.get("more_body"):
            return data


def only_for(origins: Collection[str], scope: Scope, send: Send) -> Send:
    """A `send` that lets pages of these other sites read the answer, and of no others."""
    origin = dict(scope["headers"]).get(b"origin", b"")

    async def some(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            kept = [(k, v) for k, v in message["headers"] if not k.startswith(b"access-control-")]
            if origin.decode("latin-1") in origins:
                kept = [(k, origin if v == b"*" else v) for k, v in message["headers"]]
            message = {**message, "headers": [*kept, (b"vary", b"origin")]}
        await send(message)

    return some


async def answer(
    send: Send,
    status: int,
    *headers: tuple[str, str],
    content: bytes = b"",
    content_type: str | None = None,
) -> None:
    all_headers = [*_CORS, (b"cache-control", b"no-store")]
    all_headers += [(key.encode(), value.encode("latin-1")) for key, value in headers]
    all_headers.append((b"content-length", str(len(content)).encode()))
    if content_type is not None:
        all_headers.append((b"content-type", content_type.encode()))
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": content})


async def refuse(send: Send, refusal: Refusal) -> None:
    """As `application/problem+json` (RFC 9457)."""
    told = {"title": HTTPStatus(refusal.status).phrase, "status": refusal.status}
    text = json.dumps({**told, "detail": str(refusal)}).encode()
    await answer(
        send,
        refusal.status,
        *refusal.headers,
        content=text,
        content_type="application/problem+json",
    )


async def preflight(send: Send, accept: str) -> None:
    """OPTIONS (RFC 9725, 4.2)."""
    headers = [*_CORS, *_PREFLIGHT, (b"accept-post", accept.encode())]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
