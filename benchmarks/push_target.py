"""A server that is pushed to, in a process of its own: it takes all and tells when pictures come.

    python benchmarks/push_target.py rtmp|whip [PORT]

Prints its port, then `open` for each publisher and `TIME AT` for each picture: `time.monotonic`,
and the picture's own time in seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time

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

    def find(self, name: str, /) -> Playable | None:
        return None

    async def may_play(self, viewer: object, /) -> int | None:
        return 403


async def by_rtmp(port: int) -> None:
    server = RtmpServer(f"127.0.0.1:{port}", Open().publish)
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()


async def by_whip(port: int) -> None:
    app = WebRtcApp(Open(), Network(udp_ports="51000-51999", wall_s=time.time))
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
