"""A UDP proxy between a client and the server, with loss, and a switch that cuts both ways."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from typing import Any

from tests.edge.webrtc.studio import Answer


class Proxy:
    """`through(answer)` gives the client an answer that leads here."""

    def __init__(self, loss: float = 0.0, seed: int = 1) -> None:
        self.cut = False
        self.lost = self.passed = 0
        self.loss = loss
        self._random = random.Random(seed)
        self._transports: list[Any] = []
        self._client: Any = None

    async def through(self, answer: Answer) -> Answer:
        found = re.search(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", answer.text)
        assert found is not None
        server = (found[1], int(found[2]))
        loop = asyncio.get_running_loop()
        proxy = self

        class Outer(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, address: Any) -> None:
                proxy._client = address
                proxy._pass(data, lambda: inner.sendto(data))

        class Inner(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, address: Any) -> None:
                if proxy._client is not None:
                    proxy._pass(data, lambda: outer.sendto(data, proxy._client))

        outer, _ = await loop.create_datagram_endpoint(Outer, local_addr=("127.0.0.1", 0))
        inner, _ = await loop.create_datagram_endpoint(Inner, remote_addr=server)
        self._transports += [outer, inner]
        port = outer.get_extra_info("sockname")[1]
        return Answer(
            answer.status,
            [(key.encode(), value.encode()) for key, value in answer.headers.items()],
            answer.text.replace(f" {server[1]} typ", f" {port} typ").encode(),
        )

    def _pass(self, data: bytes, send: Callable[[], None]) -> None:
        # RTP is lost, never RTCP, STUN and DTLS: their own retransmissions are not under test.
        media = 127 < data[0] < 192 and not 192 <= data[1] <= 208
        if self.cut or (media and self._random.random() < self.loss):
            self.lost += 1
        else:
            self.passed += 1
            send()

    def close(self) -> None:
        for transport in self._transports:
            transport.close()
