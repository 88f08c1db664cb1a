"""A publisher of barcodes in real time, in a process of its own: RTMP by FFmpeg, WHIP by aiortc.

Its `main` takes an address: rtmp://127.0.0.1:1935/live/me or http://127.0.0.1:8080/whip/me.

The time in a picture is that of its drawing; then come x264 (ultrafast, zerolatency) and the way
out. No sound: the server fills in silence.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av.video.frame import PictureType
from barcode import Mark, Painter

from streamgen_edge.demo.whep_viewer import PORTS, negotiated
from streamgen_edge.webrtc import stack
from streamgen_edge.webrtc.network import Network
from streamgen_edge.webrtc.whep import preferred


class Camera:
    """Numbered pictures of one size and rate, encoded."""

    def __init__(self, width: int, height: int, rate: int, gop: int, bps: int, first: int) -> None:
        self.rate = rate
        self._painter = Painter(width, height)
        self._first = first
        self.key = False
        """The next picture is to be a key frame."""
        codec: Any = av.CodecContext.create("libx264", "w")
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.framerate, codec.bit_rate = Fraction(1, rate), rate, bps
        codec.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
        codec.options["forced-idr"] = "1"
        codec.options["x264-params"] = f"keyint={gop}:min-keyint={gop}:scenecut=0:threads=1"
        self.codec = codec

    def take(self, number: int) -> list[av.Packet]:
        """Draw a picture now, and encode it."""
        mark = Mark(self._first + number, time.monotonic_ns() // 1_000_000)
        frame = av.VideoFrame.from_ndarray(self._painter.picture(mark), format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, self.rate)
        frame.pict_type = PictureType.I if self.key else PictureType.NONE
        self.key = False
        return list(self.codec.encode(frame))


def moments(rate: int, seconds: float) -> Iterator[tuple[int, float]]:
    """Numbers of pictures, and how long to wait before each."""
    began = time.monotonic()
    for number in range(round(seconds * rate)):
        yield number, max(0.0, began + number / rate - time.monotonic())


def publish_rtmp(
    url: str, camera: Camera, seconds: float, over: Callable[[], bool] = lambda: False
) -> None:
    """So long at most, and until it is `over`."""
    with av.open(url, "w", format="flv", options={"flush_packets": "1"}) as out:
        stream: Any = out.add_stream("libx264", rate=camera.rate)
        codec = camera.codec
        stream.width, stream.height, stream.pix_fmt = codec.width, codec.height, "yuv420p"
        stream.bit_rate = codec.bit_rate
        stream.codec_context.options = codec.options
        stream.codec_context.flags |= av.codec.context.Flags.global_header
        camera.codec = stream.codec_context
        for number, wait_s in moments(camera.rate, seconds):
            time.sleep(wait_s)
            if over():
                break
            for packet in camera.take(number):
                packet.stream = stream
                out.mux(packet)


class Pictures(MediaStreamTrack):
    """Encoded pictures as aiortc sends them."""

    kind = "video"

    def __init__(self, camera: Camera, seconds: float) -> None:
        super().__init__()
        self._camera = camera
        self._moments = moments(camera.rate, seconds)

    async def recv(self) -> Any:
        found = next(self._moments, None)
        if found is None:
            self.stop()
            raise asyncio.CancelledError
        number, wait_s = found
        await asyncio.sleep(wait_s)
        (packet,) = self._camera.take(number)
        return packet


async def publish_whip(url: str, camera: Camera, seconds: float) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    line = peer.addTransceiver(Pictures(camera, seconds), direction="sendonly")
    line.setCodecPreferences(preferred("video", "H264", "rtx"))

    def keyframe() -> None:
        camera.key = True

    line.sender._send_keyframe = keyframe  # aiortc's own encoder would be told
    stack.use_network(peer, Network(udp_ports=PORTS, wall_s=time.time))
    await peer.setLocalDescription(await peer.createOffer())
    text = await asyncio.to_thread(negotiated, url, peer.localDescription.sdp)
    await peer.setRemoteDescription(RTCSessionDescription(text, "answer"))
    await asyncio.sleep(seconds)
    await peer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--rate", type=int, default=30)
    parser.add_argument("--gop", type=int, default=30)
    parser.add_argument("--bitrate", type=int, default=1_500_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--first", type=int, default=0, help="number of the first picture")
    asked = parser.parse_args()
    width, height = map(int, asked.size.split("x"))
    camera = Camera(width, height, asked.rate, asked.gop, asked.bitrate, asked.first)
    if asked.url.startswith("rtmp"):
        publish_rtmp(asked.url, camera, asked.seconds)
    else:
        asyncio.run(publish_whip(asked.url, camera, asked.seconds))
