"""Where a client wants to publish: application, stream and token, in the forms encoders use.

`rtmp://host/live/{stream}?token=..`; OBS's server `rtmp://host/live` with the key
`{stream}?token=..`; the query at the application or in tcUrl only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_QUERY = 8192
"""Characters of a query; a signed token has up to 4 KiB."""
_FIELDS = 16
_SOFTWARE = 64
_MARK = re.compile(r"\bstreamgen-[0-9a-f]{16}\b")
MOST_MARKS = 16


@dataclass(frozen=True, slots=True)
class Publish:
    """A client asks to publish; it is answered before any media is taken."""

    app: str
    stream: str
    """A valid stream name: letters, digits, `_` and `-`."""
    token: str | None = field(repr=False)
    """What proves the right to publish; never logged. None where none was sent."""
    address: str
    """The client's IP address."""
    software: str
    """What the client calls itself (`flashVer`), printable ASCII."""
    via: tuple[str, ...] = ()
    """Marks of the streams of other servers, or of this one, that it comes from."""


def is_name(text: str) -> bool:
    """Whether this may be the name of a stream (the same rule as in the configuration)."""
    return _NAME.fullmatch(text) is not None


def split(text: str) -> tuple[str, str]:
    """A name without slashes around it, and its query."""
    name, _, query = text.partition("?")
    return name.strip("/"), query


def url_query(url: str) -> str:
    """The query of tcUrl; empty for what is no URL."""
    try:
        return urlsplit(url).query
    except ValueError:
        return ""


def find_token(*queries: str) -> str | None:
    """The `token` of the first query that has one."""
    for query in queries:
        if query and len(query) <= _QUERY:
            try:
                fields = dict(parse_qsl(query, max_num_fields=_FIELDS))
            except ValueError:
                continue
            if "token" in fields:
                return fields["token"]
    return None


def printable(text: object) -> str:
    """What a client calls itself, fit for logs and lists."""
    shown = str(text) if isinstance(text, str) else ""
    return "".join(c for c in shown[:_SOFTWARE] if c.isascii() and c.isprintable())


def marks(text: object) -> tuple[str, ...]:
    """What a server that pushes says of the streams on the way (`CDN-Loop` of RFC 8586); the last
    ones where there are too many."""
    return tuple(_MARK.findall(text if isinstance(text, str) else "")[-MOST_MARKS:])
