"""One try to tell a service of an event, and what to think of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from streamgen_edge.outbound.client import Answer, Client
from streamgen_edge.outbound.resolving import Forbidden, OutboundError
from streamgen_edge.outbound.url import Url

WITHIN_S = 10.0
"""For all of it, redirects included."""
MOST_HOPS = 3
MOVED = frozenset({307, 308})
"""Ask there instead, in the same way; the other redirects make a GET of a POST."""
SOON_OVER = frozenset({408, 425, 429})
"""Client errors that are no last word."""
SAYS_WHEN = frozenset({429, 503})
_MOST_HEADER = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try."""

    reason: str = ""
    """Why the service has not heard it; empty: it has. Nothing that the service said."""
    final: bool = False
    """Trying again is of no use."""
    after_s: float | None = None
    """The service wants to be left in peace for so long."""


async def told(
    client: Client,
    url: Url,
    body: bytes,
    headers: Mapping[str, str],
    *,
    wall_s: float,
    within_s: float = WITHIN_S,
) -> Outcome:
    """POST `body`, JSON. A redirect is followed, as any address is: where it may lead."""
    home, there = url.host, url
    headers = {"content-type": "application/json", "accept": "*/*", **headers}
    try:
        async with asyncio.timeout(within_s):
            for _ in range(MOST_HOPS):
                answer = await client.ask(there, "POST", headers, body, within_s, None)
                if answer.status not in MOVED or answer.location is None:
                    return _outcome(home, answer, wall_s)
                try:
                    there = there.led(answer.location)
                except ValueError:
                    return Outcome(f"{home}: it sends to where it is not safe", final=True)
    except Forbidden as error:
        sends = "" if there is url else "it sends to "
        return Outcome(f"{home}: {sends}{error.reason}", final=True)
    except OutboundError as error:
        return Outcome(f"{home}: {error.reason}")
    except TimeoutError:
        return Outcome(f"{home}: no answer within {within_s:g} s")
    return Outcome(f"{home}: it sends from place to place", final=True)


def _outcome(host: str, answer: Answer, wall_s: float) -> Outcome:
    if answer.good:
        return Outcome()
    status = answer.status
    final = 300 <= status < 500 and status not in SOON_OVER
    after_s = retry_after_s(answer.retry_after, wall_s) if status in SAYS_WHEN else None
    return Outcome(f"{host}: the status of its answer is {status}", final, after_s)


def retry_after_s(text: str | None, wall_s: float) -> float | None:
    """From now on; None where a `Retry-After` (RFC 9110, 10.2.3) cannot be read, or is none."""
    if text is None or len(text) > _MOST_HEADER:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return max(0.0, at.timestamp() - wall_s)
    except (ValueError, OverflowError):
        return None
