"""`Passing`: what the API is asked of a stream whose home is another edge is asked there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request

from streamgen.control.api.calling import called
from streamgen_edge.app import Asgi, Receive, Scope, Send
from streamgen_edge.auth.administering import administrator
from streamgen_edge.mirror.mirrors import Mirrors
from streamgen_edge.publishing import Streams

_OF_A_STREAM = re.compile(r"/v1/streams/([^/]+)(/.*)?")
_HERE = frozenset({"/picture"})
"""What is answered here where it is only looked at."""
_TOLD = frozenset({"authorization", "content-type", "accept"})
"""Headers that go along."""
_BACK = frozenset({"content-type", "www-authenticate", "retry-after"})


class Passing:
    """An ASGI application in front of the API."""

    def __init__(self, api: Asgi, streams: Streams, mirrors: Mirrors) -> None:
        self._api = api
        self._streams = streams
        self._mirrors = mirrors
        self._admin = administrator(streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = self._elsewhere(scope)
        if name is None or not await self._admitted(scope):
            await self._api(scope, receive, send)
            return
        try:
            body = await _body(receive)
        except HTTPException as error:
            await _refuse(send, error.status_code, str(error.detail))
            return
        found = await self._mirrors.ask(name, _request(scope, body))
        alone = found is not None and found[1] is None
        if found is None or (alone and scope["method"] in ("GET", "HEAD")):
            await self._api(scope, _again(body), send)
        elif found[1] is None:
            home = found[0].edge
            await _refuse(send, 503, f"the stream's home, {home}, does not answer")
        else:
            await _send(send, found[1])

    def _elsewhere(self, scope: Scope) -> str | None:
        """The name of the stream, if it may have its home elsewhere and that is to be asked."""
        match = _OF_A_STREAM.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if match is None or (scope["method"] in ("GET", "HEAD") and (match[2] or "") in _HERE):
            return None
        name = unquote(match[1])
        here = self._streams.find(name)
        known = self._streams.server.stream(name) is not None
        return name if known and (here is None or here.over) else None

    async def _admitted(self, scope: Scope) -> bool:
        """Who is not is refused by the API itself."""
        try:
            await self._admin(Request(scope))
        except HTTPException:
            return False
        return True


async def answered(api: Asgi, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What another edge was asked of one of our streams: as if it had been asked here, by somebody
    who may administer there, and shows the same token here."""
    path = str(asked["path"])
    if not _OF_A_STREAM.fullmatch(path):
        return {"status": 404, "headers": [], "body": ""}  # all else is asked where it is
    status, said, body = await called(
        api,
        str(asked["method"]),
        f"{quote(path)}?{asked['query']}",
        [(str(key), str(value)) for key, value in asked["headers"]],
        str(asked["body"]).encode(),
    )
    headers = [[key, value] for key, value in said if key in _BACK]
    return {"status": status, "headers": headers, "body": body}


def _request(scope: Scope, body: bytes) -> dict[str, Any]:
    headers = ((k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"])
    return {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode("latin-1"),
        "headers": [[k, v] for k, v in headers if k in _TOLD],
        "body": body.decode("utf-8", "replace"),
    }


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(body: bytes) -> Receive:
    """For whoever reads it as if it came now."""

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    headers = [["content-type", "application/problem+json"]]
    if status == 503:
        headers.append(["retry-after", "1"])
    await _send(send, {"status": status, "headers": headers, "body": json.dumps(body)})


async def _send(send: Send, answer: Mapping[str, Any]) -> None:
    body = str(answer["body"]).encode()
    headers = [(str(k).encode("latin-1"), str(v).encode("latin-1")) for k, v in answer["headers"]]
    if answer["status"] not in (204, 304):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": answer["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
