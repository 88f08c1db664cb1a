"""`WhipPush`: one session at a WHIP server, as its client (RFC 9725).

python -m streamgen_edge.push.whip < ORDER AND PACKETS
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_address
from typing import Any

from streamgen.media.packet import Packet
from streamgen_edge.outbound.client import Answer, Client
from streamgen_edge.outbound.resolving import Forbidden, OutboundError
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.outbound.url import Url
from streamgen_edge.push.peer import Outward, PeerPush
from streamgen_edge.push.sender import main, resolved, say
from streamgen_edge.push.target import Failure
from streamgen_edge.rtmp.publisher import LOOPS

ANSWERS_S = 10.0
LATE_S = 0.5
"""An offer that waits longer has its endpoint knocked at; a knock has so long to be answered."""
KNOCKS = 2
"""So many unanswered ones, and then so many answered ones, say that the target hung and is back."""
LEAVES_S = 0.5
MOST_HOPS = 3
MOST_SDP = 64 << 10
MOST_CANDIDATES = 16
"""Each of them is knocked at."""
SDP = "application/sdp"
_LOOP = 508
_MOVED = frozenset({307, 308})
_SOON_OVER = frozenset({404, 408, 409, 425, 429})
"""Client errors that are no lasting refusal: an endpoint comes and goes with its server."""


class Endpoint:
    """The HTTP side: who is asked, and with which token."""

    def __init__(
        self, url: Url, token: str | None, outbound: OutboundSettings, via: str = ""
    ) -> None:
        self.url = url
        self._token = token
        self._via = via
        self._outbound = outbound
        self._client = Client(outbound)
        self._session: Url | None = None

    async def publish(self, offer: str) -> str:
        """The answer to an offer. Raises `Failure`."""
        for _ in range(MOST_HOPS):
            answer = await self._offered(offer)
            if answer.status in _MOVED and answer.location is not None:
                self._move(answer.location)
                continue
            if answer.status != 201:
                raise _refusal(answer.status)
            if answer.location is not None:
                with suppress(ValueError):
                    self._session = self.url.led(answer.location)
            return answer.body.decode("utf-8", "replace")
        raise Failure("the target sends from place to place", refused=True)

    async def _offered(self, offer: str) -> Answer:
        """One request, which is not waited for when it is lost: what a server had been asked before
        it hung is often answered by nobody, such as by a proxy whose server is another one now."""
        asked = asyncio.create_task(self._ask(self.url, "POST", offer.encode()))
        unheard = heard = 0  # knocks in a row, and those since
        try:
            while not (await asyncio.wait((asked,), timeout=LATE_S))[0]:
                if await self._knock():
                    heard += 1
                else:
                    unheard, heard = (1 if heard else unheard + 1), 0
                if min(unheard, heard) >= KNOCKS:
                    raise Failure("the target has lost what it was asked")
            return asked.result()
        finally:
            asked.cancel()

    async def _knock(self) -> bool:
        """Whether anybody answers there, with whatever. Nothing is begun by it (RFC 9725, 4.2)."""
        with suppress(OutboundError):
            await self._client.ask(self.url, "OPTIONS", {}, b"", LATE_S, None)
            return True
        return False

    async def leave(self) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(Failure, TimeoutError):
                async with asyncio.timeout(LEAVES_S):
                    await self._ask(session, "DELETE", b"")

    def _move(self, location: str) -> None:
        """Ask there instead. The token goes to no other host than it was given for."""
        try:
            there = self.url.led(location)
        except ValueError:
            raise Failure("the target sends to where it is not safe", refused=True) from None
        if there.authority != self.url.authority:
            self._token = None
        self.url = there

    async def _ask(self, url: Url, method: str, body: bytes) -> Answer:
        headers = {"content-type": SDP, "accept": SDP} if body else {}
        if self._via:
            headers["cdn-loop"] = self._via  # RFC 8586
        if self._token is not None and url.authority == self.url.authority:
            headers["authorization"] = f"Bearer {self._token}"
        try:
            return await self._client.ask(url, method, headers, body, ANSWERS_S, MOST_SDP)
        except Forbidden as error:
            raise Failure(str(error), refused=True) from None
        except OutboundError as error:
            raise Failure(str(error)) from None


class WhipPush:
    """Implements `sender.Sending`."""

    def __init__(self, peer: PeerPush, endpoint: Endpoint) -> None:
        self._peer = peer
        self._endpoint = endpoint

    @property
    def bytes(self) -> int:
        return self._peer.bytes

    @property
    def pictures(self) -> int:
        return self._peer.pictures

    def send(self, packets: Sequence[Packet]) -> None:
        self._peer.send(packets)

    async def lost(self) -> Failure:
        return await self._peer.lost()

    async def close(self) -> None:
        self._peer.stop()
        await self._endpoint.leave()
        await self._peer.close()

    async def abort(self) -> None:
        await self.close()


def _refusal(status: int) -> Failure:
    if status == _LOOP:
        return Failure(LOOPS, refused=True)
    lasting = 400 <= status < 500 and status not in _SOON_OVER
    return Failure(f"the target answers {status}", refused=lasting)


def reachable(answer: str, own: Collection[str], outbound: OutboundSettings) -> str:
    """The answer without the candidates that lead where we do not go: media follows them.

    `own` are the addresses of the endpoint, which were looked at. Raises `Failure` when none is
    left.
    """
    kept: list[str] = []
    candidates = 0
    for line in answer.splitlines():
        if line.startswith("a=candidate:"):
            if candidates == MOST_CANDIDATES or not _may_be(line, own, outbound):
                continue
            candidates += 1
        kept.append(line)
    if not candidates:
        raise Failure("the target names no address that media may go to", refused=True)
    return "\r\n".join(kept) + "\r\n"


def _may_be(line: str, own: Collection[str], outbound: OutboundSettings) -> bool:
    fields = line.split()
    try:
        ip = ip_address(fields[4])
    except (IndexError, ValueError):
        return False  # a name, or nothing
    return str(ip) in own or outbound.refusal("", ip) is None


async def opened(order: Mapping[str, Any]) -> WhipPush:
    """Raises `Failure`."""
    outbound = OutboundSettings(allow=order["allow"])
    endpoint = Endpoint(Url.of(order["url"]), order["token"], outbound, order.get("via", ""))
    own = await resolved(endpoint.url, outbound)
    kinds = ("video",) if order["sound"] is None else ("video", "audio")
    try:
        network = Outward(own[0], endpoint.url.port)
    except OSError:
        raise Failure("there is no way to the target") from None
    async with AsyncExitStack() as failing:
        peer = PeerPush(network, kinds, lambda: say(keyframe=True))
        push = WhipPush(peer, endpoint)
        failing.push_async_callback(push.abort)
        answer = await endpoint.publish(await peer.offer())
        await peer.connect(reachable(answer, own, outbound))
        failing.pop_all()
    return push


if __name__ == "__main__":
    main(opened)
