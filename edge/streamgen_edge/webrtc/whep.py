"""`Viewing`: one WHEP viewer: its peer connection, and one sender for each of its lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiortc import RTCPeerConnection, RTCRtpCodecCapability, RTCRtpSender
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpSendParameters
from aiortc.rtcrtptransceiver import RTCRtpTransceiver
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    unpack_remb_fci,
)

from streamgen.deliver.rtp import goodbye
from streamgen.deliver.webrtc import RtpSender
from streamgen_edge.webrtc import stack
from streamgen_edge.webrtc.adapting import Adapting
from streamgen_edge.webrtc.channel import SOUND, Channel
from streamgen_edge.webrtc.choice import choose
from streamgen_edge.webrtc.line import SecureLine
from streamgen_edge.webrtc.offer import Offer

log = logging.getLogger("streamgen.edge.webrtc")


def preferred(kind: str, *codecs: str) -> list[RTCRtpCodecCapability]:
    """The stack's codecs of these types, in this order; of H.264 Constrained Baseline first."""
    known = RTCRtpSender.getCapabilities(kind).codecs
    out: list[RTCRtpCodecCapability] = []
    for codec in codecs:
        same = [one for one in known if one.mimeType.lower() == f"{kind}/{codec}".lower()]
        same.sort(key=lambda one: one.parameters.get("profile-level-id") != "42e01f")
        out += same
    return out


class Feedback:
    """What a viewer says of one of its lines, from the stack's router."""

    def __init__(
        self,
        ssrc: int,
        sender: RtpSender,
        ask: Callable[[], None],
        reported: Callable[[float, float | None], None] = lambda loss, trip_ms: None,
    ) -> None:
        """`reported` hears of each report: the part lost of late, and the round trip."""
        self._ssrc = ssrc
        self._sender = sender
        self._ask = ask
        self._reported = reported
        self.lost = 0
        """Packets that the viewer misses for good."""
        self.estimate_bps: int | None = None

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        if isinstance(packet, RtcpRtpfbPacket):
            if packet.fmt == RTCP_RTPFB_NACK:
                self._sender.repair(packet.lost)
        elif isinstance(packet, RtcpRrPacket):
            for report in packet.reports:
                if report.ssrc == self._ssrc:
                    self.lost = report.packets_lost
                    trip = self._sender.trip_ms(report.lsr, report.dlsr)
                    self._reported(report.fraction_lost / 256, trip)
        elif isinstance(packet, RtcpPsfbPacket):
            if packet.fmt in (RTCP_PSFB_PLI, RTCP_PSFB_FIR):
                self._ask()
            elif packet.fmt == RTCP_PSFB_APP:
                try:
                    self.estimate_bps = unpack_remb_fci(packet.fci)[0]
                except (ValueError, IndexError):
                    return


class Viewing:
    """Implements `channel.Viewer`. `done` is called once, when the peer is to be closed."""

    def __init__(self, peer: RTCPeerConnection, channel: Channel, done: Callable[[], None]) -> None:
        self.peer = peer
        self.channel = channel
        self.senders: dict[str, RtpSender] = {}
        self.feedback: dict[str, Feedback] = {}
        self.rung = self.chosen = ""
        """What it gets now, and what it was given at first: it goes back there when it can."""
        self.adapting: Adapting | None = None
        """None for a viewer of sound alone."""
        self._done = done
        self._numbered: dict[str, int] = {}
        self._line: SecureLine | None = None
        self._ssrcs: list[int] = []
        self._cname = b""
        channel.viewers.add(self)

    def prepare(self, offer: Offer) -> None:
        """Before the offer is set: what we would send on each of its lines."""
        for kind in offer.kinds:
            line = self.peer.addTransceiver(kind, direction="sendonly")
            codecs = ("H264", "rtx") if kind == "video" else ("opus",)
            line.setCodecPreferences(preferred(kind, *codecs))

    def attach(self, offer: Offer, asked: Mapping[str, str]) -> None:
        """After the offer is set: choose the rung. Raises `NoRung`."""
        for line in self.peer.getTransceivers():
            if line.kind == "video":
                level = offer.level(stack.agreed(line)[0].payloadType)
                self._choose([one.name for one in choose(self.channel.stream.tracks, level, asked)])
            numbers = offer.transport_numbers(line.kind)
            if numbers is not None:
                self._numbered[line.kind] = numbers
                stack.count_packets(line, numbers)
            stack.on_sending(line, self._beginner(line))
        if any(one.name == SOUND for one in self.channel.stream.tracks):
            self.channel.track(SOUND)

    def _choose(self, rungs: Sequence[str]) -> None:
        self.rung = self.chosen = rungs[0]
        for rung in rungs:
            self.channel.track(rung)
        self.adapting = Adapting(self, rungs, self.channel.needs_bps, self.channel.switched)

    def _beginner(
        self, line: RTCRtpTransceiver
    ) -> Callable[[RTCRtpSendParameters, RTCDtlsTransport], None]:
        return lambda parameters, dtls: self._begin(line, parameters, dtls)

    def _begin(
        self, line: RTCRtpTransceiver, parameters: RTCRtpSendParameters, dtls: RTCDtlsTransport
    ) -> None:
        """The way is open: send."""
        if self._line is None:
            self._line = SecureLine(dtls)
            stack.on_transport_feedback(dtls, self._told)
        numbered, sent = self._numbered.get(line.kind), None
        if numbered is not None:
            sent = self._line.count(numbered)
            if self.adapting is not None and self.adapting.estimate is None:
                self.adapting.follow(sent)
        self._cname = (parameters.rtcp.cname or "").encode()
        numbers = stack.own_numbers(line, parameters, sent)
        ssrc = numbers.ssrc
        sender = self.senders[line.kind] = RtpSender(self._line, numbers)
        ask = self.channel.ask if line.kind == "video" else _nothing
        heard = self.feedback[line.kind] = Feedback(ssrc, sender, ask)
        if line.kind == "video" and self.adapting is not None:
            heard = self.feedback[line.kind] = Feedback(ssrc, sender, ask, self.adapting.reported)
        stack.register_sender(dtls, heard, parameters)
        self._ssrcs.append(ssrc)
        try:
            sender.play(self.channel.track(self.rung if line.kind == "video" else SOUND))
        except KeyError:
            log.info("a viewer has no %s: the stream has none", line.kind)

    def _told(self, message: bytes) -> None:
        if self.adapting is not None:
            self.adapting.told(message)

    # `adapting.Player`.

    def change(self, rung: str) -> None:
        """Another rung, for as long as its way carries that."""
        self.rung = self.chosen = rung

    def pause(self) -> None:
        if "video" in self.senders:
            self.senders["video"].pause()

    def resume(self) -> None:
        if "video" in self.senders:
            self.senders["video"].play(self.channel.track(self.rung))

    def pad(self, octets: int) -> None:
        if "video" in self.senders:
            self.senders["video"].pad(octets)

    # `channel.Viewer`.

    def judge(self) -> None:
        if self.adapting is not None and "video" in self.senders:
            heard = self.feedback["video"].estimate_bps
            self.adapting.hearsay.remb_bps = heard
            self.adapting.judge()

    def report(self) -> None:
        for sender in self.senders.values():
            sender.report(self._cname)

    def moved(self, gone: str, to: str) -> None:
        sender = self.senders.get("video")
        if sender is not None and self.rung == gone:
            self.rung = to
            sender.play(self.channel.track(to))

    def returned(self, rung: str) -> None:
        sender = self.senders.get("video")
        if sender is not None and rung == self.chosen != self.rung:
            self.rung = rung
            sender.play(self.channel.track(rung))

    def ended(self) -> None:
        self._done()

    def close(self) -> None:
        """Send no more. The peer is closed by whoever opened it."""
        if self.adapting is not None:
            self.adapting.stop()
        for sender in self.senders.values():
            sender.stop()
        if self._line is not None:
            for ssrc in self._ssrcs:
                self._line.control(goodbye(ssrc))
        self.channel.leave(self)


def _nothing() -> None:
    """Sound has no key frames."""
