"""`Incoming`: one WHIP publisher: encoded pictures and sound, undecoded, into the stream's sink."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from aiortc import RTCPeerConnection
from aiortc.codecs import depayload
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtcrtptransceiver import RTCRtpTransceiver
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
    unwrap_rtx,
)

from streamgen.deliver.h264 import parameters as picture_parameters
from streamgen.deliver.rtp import nal_units
from streamgen.errors import OutputError
from streamgen.media.packet import Packet
from streamgen_edge.rtmp.demux import Track
from streamgen_edge.rtmp.publisher import Publisher, Sink
from streamgen_edge.webrtc import stack
from streamgen_edge.webrtc.jitter import Arrived, JitterBuffer, Unit
from streamgen_edge.webrtc.line import SecureLine
from streamgen_edge.webrtc.offer import Offer
from streamgen_edge.webrtc.sync import TrackClock
from streamgen_edge.webrtc.whep import preferred

WAIT_NS = {"video": 200_000_000, "audio": 60_000_000}
RETRY_S = 0.04
"""What is missing is asked for again so often."""
PLI_S = 0.5
REPORT_S = 0.5
MOST_SOURCES = 256
"""Changes of a line's source in one session."""
VIDEO, SOUND = "video/0", "audio/0"
_IDR, _SPS, _PPS, _STAP_A, _FU_A = 5, 7, 8, 24, 28
OPUS_HEAD = b"OpusHead\x01\x02" + bytes(2) + (48_000).to_bytes(4, "little") + bytes(3)
"""Two channels at 48 kHz, nothing to skip (RFC 7845, 5.1)."""
log = logging.getLogger("streamgen.edge.webrtc")


class Receiver:
    """One media line of a publisher, in the place of the stack's own receiver."""

    _ssrc = 0

    def __init__(
        self, owner: Incoming, kind: str, clock: TrackClock, parameters: RTCRtpReceiveParameters
    ) -> None:
        self.lost = 0
        self._owner = owner
        self._kind = kind
        self._clock = clock
        self._codecs = {codec.payloadType: codec for codec in parameters.codecs}
        self._buffers: dict[int, JitterBuffer] = {}
        self._stats: dict[int, StreamStatistics] = {}
        self._reports: dict[int, tuple[int, int]] = {}
        self._primary = 0
        self._sources = 0
        self._codec: Any = parameters.codecs[0]
        self._asked = 0.0
        self._retry: asyncio.TimerHandle | None = None

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        codec = self._codecs.get(packet.payload_type)
        if codec is None:
            return
        if codec.name.lower() == "rtx":
            apt = codec.parameters.get("apt")
            if len(packet.payload) < 2 or not isinstance(apt, int) or apt not in self._codecs:
                return
            packet = unwrap_rtx(packet, payload_type=apt, ssrc=self._primary)
            codec = self._codecs[apt]
        else:
            if packet.ssrc != self._primary:
                self._begin_source(packet.ssrc)
            stats = self._stats.get(packet.ssrc)
            if stats is None:
                stats = self._stats[packet.ssrc] = StreamStatistics(codec.clockRate)
            stats.add(packet)
        self._codec = codec
        self._take(packet, codec)

    def _begin_source(self, ssrc: int) -> None:
        """Another source: a publisher may begin anew (RFC 3550, 8.2), but not for ever."""
        if self._primary:
            self._clock.restart()
        self._primary = ssrc
        self._buffers.clear()
        self._stats.clear()
        self._reports.clear()
        self._sources += 1
        if self._sources > MOST_SOURCES:
            self._owner.lost("the publisher sends from ever other sources (SSRC)")

    def _take(self, packet: RtpPacket, codec: Any) -> None:
        payload = packet.payload
        try:
            data = depayload(codec, payload) if payload else b""
        except ValueError:
            self._owner.publisher.stats.left_out["damaged"] += 1
            return
        h264 = codec.name == "H264"
        begins = begins_key_picture(payload) if h264 else False
        buffer = self._buffers.get(0)
        if buffer is None:
            is_key = _h264_key if h264 else _vp8_key
            buffer = self._buffers[0] = JitterBuffer(
                video=self._kind == "video", wait_ns=WAIT_NS[self._kind], is_key=is_key
            )
        now = time.monotonic_ns()
        was_blocked = buffer.blocked
        arrived = Arrived(packet.timestamp, bool(packet.marker), data, begins)
        self._emit(buffer.add(packet.sequence_number, arrived, now), now)
        if buffer.blocked and not was_blocked and self._retry is None:
            self._chase()
        if buffer.broken:
            self.ask()

    def _chase(self) -> None:
        """Ask for what is missing, again and again until it comes or is given up."""
        self._retry = None
        buffer = self._buffers.get(0)
        if buffer is None or self._owner.closed:
            return
        now = time.monotonic_ns()
        self._emit(buffer.expire(now), now)
        if buffer.broken:
            self.ask()
        if buffer.blocked:
            if self._kind == "video":
                for lost in rising(buffer.missing(64)):
                    nack = RtcpRtpfbPacket(RTCP_RTPFB_NACK, self._owner.ssrc, self._primary)
                    nack.lost = lost
                    self._owner.control(bytes(nack))
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._chase)

    def _emit(self, units: list[Unit], now_ns: int) -> None:
        for unit in units:
            pts = self._clock.place(unit.timestamp, now_ns)
            if pts is None:
                self._owner.publisher.stats.left_out["moved_back"] += 1
            elif self._kind == "audio":
                self._owner.sound(unit.data, pts)
            else:
                self._owner.picture(unit.data, pts, self._codec.name)

    def ask(self) -> None:
        """A picture loss indication, at most one in half a second (RFC 4585, 6.3.1)."""
        now = time.monotonic()
        if self._primary and now - self._asked > PLI_S and self._kind == "video":
            self._asked = now
            pli = RtcpPsfbPacket(RTCP_PSFB_PLI, self._owner.ssrc, self._primary)
            self._owner.control(bytes(pli))

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket) and packet.ssrc == self._primary:
            info = packet.sender_info
            self._reports[packet.ssrc] = (info.ntp_timestamp >> 16 & 0xFFFFFFFF, _now_64k())
            self._clock.reported(info.ntp_timestamp, info.rtp_timestamp)

    def _handle_disconnect(self) -> None:
        self._owner.lost("the connection was closed by the publisher")

    def report(self) -> list[RtcpReceiverInfo]:
        """What came of each source (RFC 3550, 6.4.2)."""
        out = []
        for ssrc, stats in self._stats.items():
            if stats.max_seq is None or ssrc != self._primary:
                continue
            lsr, at = self._reports.get(ssrc, (0, 0))
            self.lost = stats.packets_lost
            out.append(
                RtcpReceiverInfo(
                    ssrc=ssrc,
                    fraction_lost=min(255, stats.fraction_lost),
                    packets_lost=stats.packets_lost,
                    highest_sequence=stats.cycles + stats.max_seq & 0xFFFFFFFF,
                    jitter=stats.jitter & 0xFFFFFFFF,
                    lsr=lsr,
                    dlsr=(_now_64k() - at) & 0xFFFFFFFF if lsr else 0,
                )
            )
        return out

    @property
    def source(self) -> int:
        return self._primary


class Incoming:
    """A publisher's peer. `sink` is where an RTMP publisher's media would go, too."""

    def __init__(
        self,
        peer: RTCPeerConnection,
        publisher: Publisher,
        most_bps: int,
        lost: Callable[[str], None],
    ) -> None:
        self.peer = peer
        self.publisher = publisher
        self.ssrc = 0
        self.closed = False
        self.sink: Sink | None = None
        self._most_bps = most_bps
        self._on_lost = lost
        self._line: SecureLine | None = None
        self._receivers: dict[str, Receiver] = {}
        self._picture_clock = TrackClock(90_000)
        self._clocks = {
            "video": self._picture_clock,
            "audio": TrackClock(48_000, self._picture_clock),
        }
        self._sets: dict[int, bytes] = {}
        self._described: dict[str, bytes] = {}
        self._tick: asyncio.TimerHandle | None = None

    def prepare(self, offer: Offer) -> None:
        """Before the offer is set: H.264 first, VP8 after it, Opus."""
        for kind in offer.kinds:
            line = self.peer.addTransceiver(kind, direction="recvonly")
            codecs = ("H264", "VP8", "rtx") if kind == "video" else ("opus",)
            line.setCodecPreferences(preferred(kind, *codecs))

    def attach(self, sink: Sink) -> None:
        """After the offer is set and the publisher was let in."""
        self.sink = sink
        self.publisher.start(sink)
        for line in self.peer.getTransceivers():
            stack.on_receiving(line, self._beginner(line))

    def _beginner(
        self, line: RTCRtpTransceiver
    ) -> Callable[[RTCRtpReceiveParameters, RTCDtlsTransport], None]:
        return lambda parameters, dtls: self._begin(line, parameters, dtls)

    def _begin(
        self,
        line: RTCRtpTransceiver,
        parameters: RTCRtpReceiveParameters,
        dtls: RTCDtlsTransport,
    ) -> None:
        if self._line is None:
            self._line = SecureLine(dtls)
            self.ssrc = stack.own_ssrc(line)
            self._tick = asyncio.get_running_loop().call_later(REPORT_S / 4, self._report)
        receiver = Receiver(self, line.kind, self._clocks[line.kind], parameters)
        self._receivers[line.kind] = receiver
        stack.register_receiver(dtls, receiver, parameters)

    def ask(self) -> None:
        """A key frame, please: a worker begins anew."""
        if "video" in self._receivers:
            self._receivers["video"].ask()

    def control(self, packet: bytes) -> None:
        if self._line is not None and not self.closed:
            self._line.control(packet)

    def _report(self) -> None:
        """Receiver reports, and how much we take: without a word a browser sends 0.4 Mbit/s."""
        reports = [info for one in self._receivers.values() for info in one.report()]
        packet = bytes(RtcpRrPacket(ssrc=self.ssrc, reports=reports))
        video = self._receivers.get("video")
        if video is not None and video.source:
            fci = pack_remb_fci(self._most_bps, [video.source])
            packet += bytes(RtcpPsfbPacket(RTCP_PSFB_APP, self.ssrc, 0, fci))
        self.control(packet)
        self._tick = asyncio.get_running_loop().call_later(REPORT_S, self._report)

    def picture(self, data: bytes, pts: int, codec: str) -> None:
        """One access unit."""
        if codec == "H264":
            data, key = self._with_parameters(data)
            if key and len(self._sets) < 2:
                # Its first packet was lost: nobody could begin with this picture.
                self.publisher.stats.left_out["no_config"] += 1
                self.ask()
                return
        else:
            key = _vp8_key(data)
            self._describe(VIDEO, codec.lower(), b"", Fraction(1, 90_000))
        self._put(Packet(data, pts, pts, 0, Fraction(1, 90_000), key, VIDEO))

    def _with_parameters(self, data: bytes) -> tuple[bytes, bool]:
        """Every IDR with its parameter sets, though the publisher may send them once."""
        kinds = set()
        for unit in nal_units(data):
            kind = unit[0] & 0x1F
            kinds.add(kind)
            if kind in (_SPS, _PPS):
                self._sets[kind] = unit
        if _IDR not in kinds:
            return data, False
        sets = b"".join(b"\0\0\0\1" + self._sets[k] for k in (_SPS, _PPS) if k in self._sets)
        if _SPS not in kinds or _PPS not in kinds:
            data = sets + data
        self._describe(VIDEO, "h264", sets, Fraction(1, 90_000))
        return data, True

    def sound(self, data: bytes, pts: int) -> None:
        self._describe(SOUND, "opus", OPUS_HEAD, Fraction(1, 48_000))
        self._put(Packet(data, pts, pts, 0, Fraction(1, 48_000), True, SOUND))

    def _describe(self, name: str, codec: str, extradata: bytes, base: Fraction) -> None:
        if self._described.get(name) == extradata or self.sink is None:
            return
        self._described[name] = extradata
        width = height = 0
        if codec == "h264" and len(self._sets) == 2:
            try:
                seen = picture_parameters(self._sets[_SPS], self._sets[_PPS])
                width, height = seen.width, seen.height
            except OutputError:
                self.publisher.stats.left_out["damaged"] += 1
        audio = name == SOUND
        track = Track(
            name, codec, extradata, base, width, height, 48_000 if audio else 0, 2 if audio else 0
        )
        self.publisher.tracks[name] = track
        self.sink.track(track)

    def _put(self, packet: Packet) -> None:
        stats = self.publisher.stats
        stats.packets[packet.track] += 1
        stats.bytes += packet.size_bytes
        stats.keyframes += packet.keyframe and packet.track == VIDEO
        if self.sink is not None and not self.closed:
            stats.full += not self.sink.packet(packet)

    def lost(self, reason: str) -> None:
        self._on_lost(reason)

    def close(self) -> None:
        self.closed = True
        if self._tick is not None:
            self._tick.cancel()


def begins_key_picture(payload: bytes) -> bool:
    """Whether an H.264 payload begins with a sequence parameter set, alone or in STAP-A."""
    if len(payload) < 4:
        return False
    kind = payload[0] & 0x1F
    return kind == _SPS or (kind == _STAP_A and payload[3] & 0x1F == _SPS)


def rising(numbers: list[int]) -> list[list[int]]:
    """Cut where sequence numbers begin again at zero: the stack writes no list across that."""
    cuts = [at for at in range(1, len(numbers)) if numbers[at] < numbers[at - 1]]
    pairs = zip([0, *cuts], [*cuts, len(numbers)], strict=True)
    return [numbers[begin:end] for begin, end in pairs if end > begin]


def _h264_key(data: bytes) -> bool:
    return any(unit[0] & 0x1F == _IDR for unit in nal_units(data))


def _vp8_key(data: bytes) -> bool:
    """RFC 6386, 9.1: the lowest bit of a frame's first byte."""
    return bool(data) and not data[0] & 1


def _now_64k() -> int:
    """Local time in the unit of a report's delay: 1/65536 s."""
    return time.monotonic_ns() * 65536 // 1_000_000_000
