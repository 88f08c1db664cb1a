"""A server that is pushed to, in a process of its own: it takes all and tells when pictures come.

    python benchmarks/push_target.py rtmp|whip [PORT]

Prints its port, then `open` for each publisher and `TIME AT` for each picture: `time.monotonic`,
and the picture's own time in seconds. As WHIP server it can be told by lines of standard input:
`mute` takes requests and answers none of them, then or later, `silent` answers them, and of media
neither hears nor says anything (`mute` does so, too), `back` ends both.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from typing import Any

import uvicorn

from streamgen.media.packet import Packet
from streamgen_edge.rtmp import Ended, Publisher, RtmpServer, Sink, Track
from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.channel import Playable
from streamgen_edge.webrtc.network import Network


class Floor:
    """`rtmp.publisher.Sink`: everything falls through."""

    def track(self, track: Track) -> None:
        """Whatever it is."""

    def packet(self, packet: Packet) -> bool:
        if packet.track == "video/0":
            print(f"{time.monotonic():.4f} {packet.time_s:.4f}", flush=True)
        return True

    def ended(self, end: Ended) -> None:
        """The next one may come."""


class Open:
    """Everybody may publish, and nobody play."""

    async def publish(self, publisher: Publisher, /) -> Sink:
        print("open", flush=True)
        return Floor()

    async def find(self, name: str, /) -> Playable | None:
        return None

    async def may_play(self, viewer: object, /) -> int | None:
        return 403


async def by_rtmp(port: int) -> None:
    server = RtmpServer(f"127.0.0.1:{port}", Open().publish)
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()


class Deaf(socket.socket):
    """Of datagrams: as good as a wire that is pulled while `cut`."""

    cut = False

    def recvfrom(self, *args: Any) -> Any:
        found = super().recvfrom(*args)
        if Deaf.cut:
            raise BlockingIOError
        return found

    def sendto(self, data: Any, *args: Any) -> int:
        return len(data) if Deaf.cut else super().sendto(data, *args)

    def send(self, data: Any, *args: Any) -> int:
        return len(data) if Deaf.cut else super().send(data, *args)


class Ways(Network):
    def bind(self, address: str) -> socket.socket:
        sock = super().bind(address)
        return Deaf(fileno=sock.detach())


class Sulking:
    """An application that answers nothing while it is `mute`."""

    mute = False

    def __init__(self, app: WebRtcApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.mute:
            await asyncio.Event().wait()
        await self._app(scope, receive, send)

    def listen(self) -> None:
        """To what standard input says; a thread of its own."""
        for line in sys.stdin:
            self.mute = line == "mute\n"
            Deaf.cut = line in ("mute\n", "silent\n")


async def by_whip(port: int) -> None:
    app = Sulking(WebRtcApp(Open(), Ways(udp_ports="51000-51999", wall_s=time.time)))
    threading.Thread(target=app.listen, daemon=True).start()
    config = uvicorn.Config(app, port=port, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    sock = config.bind_socket()
    print(sock.getsockname()[1], flush=True)
    await server.serve([sock])


def main() -> None:
    protocol, *rest = sys.argv[1:]
    port = int(rest[0]) if rest else 0
    asyncio.run(by_rtmp(port) if protocol == "rtmp" else by_whip(port))


if __name__ == "__main__":
    main()
