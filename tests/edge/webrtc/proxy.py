"""A UDP proxy between a client and the server: it loses, repeats, moves, and cuts both ways."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from typing import Any

from streamgen.testing.bottleneck import Bottleneck
from tests.edge.webrtc.studio import Answer


def is_media(data: bytes) -> bool:
    return 127 < data[0] < 192 and not 192 <= data[1] <= 208


def is_dtls(data: bytes) -> bool:
    return 19 < data[0] < 64


class Proxy:
    """`through(answer)` gives the client an answer that leads here."""

    def __init__(self, loss: float = 0.0, seed: int = 1) -> None:
        self.cut = False
        self.lost = self.passed = 0
        self.loss = loss
        self.lacks: Callable[[bytes], bool] = lambda _: False
        """What does not come through, whichever way it goes."""
        self.changed: Callable[[bytes], list[bytes]] = lambda data: [data]
        """What the server gets of each datagram of the client."""
        self.down = Bottleneck()
        """The way from the server to the client."""
        self._random = random.Random(seed)
        self._transports: list[Any] = []
        self._client: Any = None
        self._server: tuple[str, int] = ("", 0)
        self._inner: Any = None
        self._outer: Any = None

    async def through(self, answer: Answer) -> Answer:
        found = re.search(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", answer.text)
        assert found is not None
        self._server = (found[1], int(found[2]))
        proxy = self

        class Outer(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, address: Any) -> None:
                proxy._client = address
                proxy._pass(data, lambda: proxy.say(*proxy.changed(data)))

        loop = asyncio.get_running_loop()
        self._outer, _ = await loop.create_datagram_endpoint(Outer, local_addr=("127.0.0.1", 0))
        self._transports.append(self._outer)
        await self.move()
        port = self._outer.get_extra_info("sockname")[1]
        return Answer(
            answer.status,
            [(key.encode(), value.encode()) for key, value in answer.headers.items()],
            answer.text.replace(f" {self._server[1]} typ", f" {port} typ").encode(),
        )

    async def move(self) -> None:
        """From now on the server sees the client at another port, and nobody is at the old one."""
        proxy = self

        class Inner(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, address: Any) -> None:
                if proxy._client is not None:
                    proxy._pass(data, lambda: proxy._send_down(data))

        if self._inner is not None:
            self._inner.close()
        self._inner, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Inner, remote_addr=self._server
        )
        self._transports.append(self._inner)

    def say(self, *datagrams: bytes) -> None:
        """To the server, from where it sees the client."""
        for data in datagrams:
            self._inner.sendto(data)

    def _send_down(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        out = self.down.carry(len(data), now)
        if out is None:
            self.lost += 1
        elif out <= now:
            self._outer.sendto(data, self._client)
        else:
            loop.call_at(out, self._outer.sendto, data, self._client)

    def _pass(self, data: bytes, send: Callable[[], None]) -> None:
        # RTP is lost, never RTCP, STUN and DTLS: their own retransmissions are not under test.
        lost = is_media(data) and self._random.random() < self.loss
        if self.cut or lost or self.lacks(data):
            self.lost += 1
        else:
            self.passed += 1
            send()

    def close(self) -> None:
        for transport in self._transports:
            transport.close()
