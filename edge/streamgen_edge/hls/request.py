"""What a player asks for, taken from an ASGI scope and checked."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from streamgen_edge.auth.asking import MOST_TOKEN

MOST_QUERY_BYTES = 3 * MOST_TOKEN + 1024
"""A token may have its letters as %XX."""
_MEDIA = re.compile(r"(0|[1-9][0-9]{0,11})(?:\.(0|[1-9][0-9]{0,2}))?\.m4s")
_WHOLE = re.compile(r"[0-9]{1,12}")
_TOKEN = re.compile(rf"[A-Za-z0-9._~%+/=-]{{1,{3 * MOST_TOKEN}}}")
_RANGE = re.compile(rb"bytes=(\d{0,15})-(\d{0,15})")

Scope = MutableMapping[str, Any]


class BadRequest(Exception):
    """The request makes no sense; its text says why, to the one who asked."""


@dataclass(frozen=True, slots=True)
class Directives:
    """Delivery directives (RFC 8216bis, 6.2.5)."""

    msn: int | None
    part: int | None
    skip: bool


@dataclass(frozen=True, slots=True)
class Query:
    directives: Directives
    token: str | None
    """As sent: still percent-encoded."""


_NOTHING = Query(Directives(None, None, False), None)


def query(raw: bytes) -> Query:
    """Read a playlist's query. Unknown keys are left alone. Raises `BadRequest`."""
    if not raw:
        return _NOTHING
    if len(raw) > MOST_QUERY_BYTES:
        raise BadRequest("the query is too long")
    # What we know has no need of percent encoding, so none is undone.
    pairs = (pair.partition("=") for pair in raw.decode("latin-1").split("&"))
    found = {key: value for key, _, value in pairs}
    msn, part = _number(found, "_HLS_msn"), _number(found, "_HLS_part")
    if part is not None and msn is None:
        raise BadRequest("_HLS_part without _HLS_msn")
    skip = found.get("_HLS_skip") in {"YES", "v2"}
    token = found.get("token")
    if token is not None and not _TOKEN.fullmatch(token):
        raise BadRequest("the token has characters that belong percent-encoded")
    return Query(Directives(msn, part, skip), token)


def _number(found: dict[str, str], key: str) -> int | None:
    value = found.get(key)
    if value is None:
        return None
    if not _WHOLE.fullmatch(value):
        raise BadRequest(f"{key} is not a number")
    return int(value)


def bearer(scope: Scope, token: str | None) -> str | None:
    """The viewer's token: from the query, else from the header Authorization."""
    if token is not None:
        return unquote_plus(token)
    kind, _, value = header(scope, b"authorization").partition(b" ")
    return value.strip().decode("latin-1") if kind.lower() == b"bearer" else None


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of this name, in lower case; empty without one."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return b""


def media(file: str) -> tuple[int, int | None] | None:
    """Segment and part of a media URI; None when it is none."""
    match = _MEDIA.fullmatch(file)
    if match is None:
        return None
    return int(match[1]), None if match[2] is None else int(match[2])


def wanted_range(value: bytes, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last of a Range header (RFC 9110, 14.1.2); None when the
    whole is to be sent: no range, several, or not one in bytes. Raises `ValueError` when the
    range lies outside."""
    match = _RANGE.fullmatch(value)
    if match is None or match.group(0) == b"bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        begin, end = max(size - int(last), 0), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < begin:
            return None
    if begin >= end:
        raise ValueError("range")
    return begin, end
