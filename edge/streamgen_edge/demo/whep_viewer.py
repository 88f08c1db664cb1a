"""`WhepViewer`: plays one stream by WHEP, and says when each picture was there.

aiortc brings SDP, ICE and DTLS. Its receiver is left out: it gives a picture only when the next
one's first packet comes, a whole picture late. Here a picture is decoded with the packet that bears
its marker, as browsers do.
"""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import depayload
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtp import RTCP_PSFB_PLI, RTCP_RTPFB_NACK, RtcpPsfbPacket, RtcpRtpfbPacket
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from streamgen.deliver.rtp import nal_units
from streamgen.errors import StreamGenError
from streamgen_edge.webrtc import stack
from streamgen_edge.webrtc.jitter import Arrived, JitterBuffer
from streamgen_edge.webrtc.line import SecureLine
from streamgen_edge.webrtc.network import Network
from streamgen_edge.webrtc.whep import preferred
from streamgen_edge.webrtc.whip import begins_key_picture

PORTS = "51000-59999"
"""Where viewers on this machine get their media."""
WAIT_NS = 200_000_000
RETRY_S = 0.04
PLI_S = 0.5
_IDR = 5
Seen = Callable[[VideoFrame, int, float], None]
"""A picture, its RTP timestamp counted on without wraps, and `time.monotonic` when it was there."""


class WhepViewer:
    """On the loop that starts it; `close` leaves."""

    def __init__(self, seen: Seen) -> None:
        self.pictures = 0
        self.first_s: float | None = None
        """From the request to the first picture."""
        self.skipped = 0
        """Times that something missing was given up."""
        self._seen = seen
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._began = 0.0
        self._place = ""
        self._screen: _Screen | None = None

    async def start(self, url: str) -> None:
        """Ask for a stream. Raises `StreamGenError` where the server refuses."""
        self._began = time.monotonic()
        line = self._peer.addTransceiver("video", direction="recvonly")
        line.setCodecPreferences(preferred("video", "H264"))
        stack.on_receiving(line, self._begin)
        stack.use_network(self._peer, Network(udp_ports=PORTS, wall_s=time.time))
        await self._peer.setLocalDescription(await self._peer.createOffer())
        text = await asyncio.to_thread(negotiated, url, self._peer.localDescription.sdp)
        await self._peer.setRemoteDescription(RTCSessionDescription(text, "answer"))

    def _begin(self, parameters: RTCRtpReceiveParameters, dtls: RTCDtlsTransport) -> None:
        self._screen = _Screen(self._show, SecureLine(dtls), parameters.codecs[0])
        stack.register_receiver(dtls, self._screen, parameters)

    def _show(self, frame: VideoFrame, timestamp: int) -> None:
        now = time.monotonic()
        if self.first_s is None:
            self.first_s = now - self._began
        self.pictures += 1
        self._seen(frame, timestamp, now)

    async def close(self) -> None:
        if self._screen is not None:
            self.skipped = self._screen.buffer.skipped
            self._screen.close()
        await self._peer.close()


class _Screen:
    """Implements `stack.Endpoint`: RTP in, decoded pictures out."""

    _ssrc = 0

    def __init__(
        self,
        show: Callable[[VideoFrame, int], None],
        line: SecureLine,
        codec: RTCRtpCodecParameters,
    ) -> None:
        self.buffer = JitterBuffer(video=True, wait_ns=WAIT_NS, is_key=_is_key)
        self._show = show
        self._line = line
        self._codec = codec
        self._decoder = _decoder()
        self._source = 0
        self._last = 0
        self._asked = 0.0
        self._retry: asyncio.TimerHandle | None = None

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None:
        if not packet.payload:
            return
        self._source = packet.ssrc
        data = depayload(self._codec, packet.payload)
        begins = begins_key_picture(packet.payload)
        arrived = Arrived(packet.timestamp, bool(packet.marker), data, begins)
        now_ns = time.monotonic_ns()
        self._decode(self.buffer.add(packet.sequence_number, arrived, now_ns))
        if self.buffer.blocked and self._retry is None:
            self._chase()

    def _chase(self) -> None:
        """Ask for what is missing, again and again until it comes or is given up."""
        self._retry = None
        self._decode(self.buffer.expire(time.monotonic_ns()))
        now = time.monotonic()
        if self.buffer.broken and now - self._asked > PLI_S:
            self._asked = now
            self._line.control(bytes(RtcpPsfbPacket(RTCP_PSFB_PLI, 1, self._source)))
        if self.buffer.blocked:
            nack = RtcpRtpfbPacket(RTCP_RTPFB_NACK, 1, self._source)
            nack.lost = self.buffer.missing()[:64]
            self._line.control(bytes(nack))
        if self.buffer.blocked or self.buffer.broken:
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._chase)

    def _decode(self, units: list[Any]) -> None:
        for unit in units:
            step = (unit.timestamp - self._last) & 0xFFFFFFFF
            self._last += step - (step >> 31 << 32)
            packet = av.Packet(unit.data)
            packet.pts, packet.time_base = self._last, Fraction(1, 90_000)
            try:
                frames = self._decoder.decode(packet)
            except av.error.InvalidDataError:
                continue  # a picture whose references were lost
            for frame in frames:
                self._show(frame, self._last)

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        return None

    def _handle_disconnect(self) -> None:
        return None

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()


def _decoder() -> VideoCodecContext:
    """A decoder that gives each picture at once."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    decoder.options = {"flags": "+low_delay"}
    return decoder


def _is_key(data: bytes) -> bool:
    return any(unit[0] & 0x1F == _IDR for unit in nal_units(data))


def negotiated(url: str, offer: str) -> str:
    """The answer to an offer. Raises `StreamGenError` where the server refuses."""
    request = urllib.request.Request(url, offer.encode(), {"content-type": "application/sdp"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            raise StreamGenError(
                f"the offer was refused: {error.code} {error.read().decode()}"
            ) from error
