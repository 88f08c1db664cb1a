"""What WHIP publishers, WHEP viewers and strangers send: offers, requests, RTP, RTCP and STUN."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtp import HeaderExtensionsMap, RtcpPacket, RtpPacket
from aiortc.sdp import SessionDescription, candidate_to_sdp

from streamgen.deliver.media_clock import MediaClock
from streamgen.deliver.rtp import h264_payloads, sender_report
from streamgen.deliver.webrtc import Numbers, RtpSender, RtpTrack
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.publisher import Publisher
from streamgen_edge.webrtc import stack
from streamgen_edge.webrtc.app import MALFORMED
from streamgen_edge.webrtc.http import Asked, Refusal
from streamgen_edge.webrtc.jitter import MOST, Arrived, JitterBuffer
from streamgen_edge.webrtc.offer import MOST_BYTES, BadOffer, read_offer, rebuilt, usable
from streamgen_edge.webrtc.sync import TrackClock
from streamgen_edge.webrtc.whep import Feedback
from streamgen_edge.webrtc.whip import Incoming, Receiver
from tests.edge.webrtc.studio import Basket, Rung
from tests.edge.webrtc.test_bad_viewers import nonsense, remb
from tests.edge.webrtc.test_offer import DATA, HEAD, PICTURE, SOUND
from tests.fuzz.target import Draws, Target, sized

MS = 1_000_000
H264, VP8, RTX, OPUS = 102, 96, 103, 111
_EXTENSION_IDS = ("mid", "abs_send_time", "transport_sequence_number", "audio_level")


def offer(data: bytes) -> None:
    text = data[:MOST_BYTES].decode("utf-8", "replace")
    read = read_offer(text, direction=("recvonly",), candidates=True)
    assert 1 <= len(read.kept) <= 2
    for payload_type in (0, 102, 127):
        assert 0 <= read.level(payload_type) <= 0xFF
    read.payload_types("video", "H264")
    mine = HEAD + "".join(f"m={kind} 7 X 1\r\nc=IN IP4 10.0.0.1\r\n" for kind in read.kinds)
    answer = rebuilt(mine, read, lambda address: [address])
    assert answer.count("\r\nm=") == len(read.sections)
    try:
        parsed = SessionDescription.parse(read.text)
    except MALFORMED:
        return
    assert len(parsed.media) == len(read.kept)
    for one in parsed.media:
        for candidate in one.ice_candidates:
            assert usable("a=candidate:" + candidate_to_sdp(candidate)), candidate


def request(data: bytes) -> None:
    draws = Draws(data)
    names = (b"authorization", b"origin", b"host", b"content-type", b"if-match")
    headers = [(name, draws.sized()) for name in names]
    asked = Asked.of({"query_string": draws.rest(), "headers": headers, "client": None})
    assert asked.token is None or isinstance(asked.token, str)
    assert isinstance(asked.foreign, bool)
    asked.needs("application/sdp")


def jitter(data: bytes) -> None:
    draws = Draws(data)
    video = bool(draws.number(1) & 1)
    one = JitterBuffer(video=video, wait_ns=200 * MS, is_key=lambda unit: unit[:1] == b"K")
    now = given = out = 0
    sequence = 0
    while draws:
        step = draws.number(2)
        now += (step >> 12) * 10 * MS
        sequence += (1, 0, 2, -1, draws.number(2), 2999, 17, 1)[step & 7]
        if step & 8:
            out += sum(len(unit.data) for unit in one.expire(now))
            continue
        payload = (b"K", b"p", b"", b"px")[step >> 4 & 3]
        given += len(payload)
        arrived = Arrived(sequence * 1500 & ~1 & 0xFFFFFFFF, bool(step & 64), payload)
        out += sum(len(unit.data) for unit in one.add(sequence & 0xFFFF, arrived, now))
        assert len(one._held) == len(one._came_ns) <= MOST + 1
        assert one.blocked == bool(one.missing(1)) or not one.blocked
    one.expire(now + 200 * MS)
    assert not one.blocked and out <= given


class _Line:
    """Nothing goes out, and all of it is counted."""

    def __init__(self) -> None:
        self.octets = 0

    def send(self, packets: list[tuple[bytes, bytes]]) -> bool:
        self.octets += sum(len(head) + len(payload) for head, payload in packets)
        return True

    def control(self, packet: bytes) -> None:
        self.octets += len(packet)


@cache
def _extensions() -> HeaderExtensionsMap:
    found = HeaderExtensionsMap()
    for number, name in enumerate(_EXTENSION_IDS, 1):
        setattr(found._HeaderExtensionsMap__ids, name, number)  # type: ignore[attr-defined]
    return found


def _codec(name: str, kind: int, rate: int, **parameters: Any) -> RTCRtpCodecParameters:
    return RTCRtpCodecParameters(name, rate, payloadType=kind, parameters=parameters)


def _incoming() -> tuple[Incoming, dict[str, Receiver], _Line]:
    publisher = Publisher(Publish("whip", "cam", None, "192.0.2.1", ""), cast(Any, None), Limits())
    incoming = Incoming(cast(Any, None), publisher, 1_000_000, lambda _: None)
    incoming.sink, incoming._line = Basket(), cast(Any, _Line())
    video = [_codec("video/H264", H264, 90_000), _codec("video/VP8", VP8, 90_000)]
    video.append(_codec("video/rtx", RTX, 90_000, apt=H264))
    picture = TrackClock(90_000)
    receivers = {
        kind: Receiver(incoming, kind, clock, RTCRtpReceiveParameters(codecs=codecs))
        for kind, clock, codecs in (
            ("video", picture, video),
            ("audio", TrackClock(48_000, picture), [_codec("audio/opus", OPUS, 48_000)]),
        )
    }
    incoming._receivers = receivers
    return incoming, receivers, cast(Any, incoming._line)


def rtp(data: bytes) -> None:
    """RTP and RTCP of a publisher: as `stack` has it, what cannot be read is passed over."""
    asyncio.run(_published(data))


async def _published(data: bytes) -> None:
    incoming, receivers, line = _incoming()
    draws, number = Draws(data), 0
    while draws:
        packet = draws.sized()
        number += 1
        with suppress(ValueError, struct.error, IndexError):
            if len(packet) > 1 and 192 <= packet[1] <= 223:
                for told in RtcpPacket.parse(packet):
                    for one in receivers.values():
                        await one._handle_rtcp_packet(told)
                continue
            read = RtpPacket.parse(packet, _extensions())
        if "read" in locals():
            kind = "audio" if read.payload_type == OPUS else "video"
            await receivers[kind]._handle_rtp_packet(read, 0)
            del read
    sink = cast(Basket, incoming.sink)
    assert len(sink.packets) <= number
    incoming._report()
    incoming.close()
    for one in receivers.values():
        one._chase()
        if one._retry is not None:
            one._retry.cancel()
    assert line.octets <= 4 * len(data) + 4096


def feedback(data: bytes) -> None:
    """RTCP of a viewer."""
    line = _Line()
    clock = MediaClock(lambda: 0, lambda: 0)
    track = RtpTrack(
        video=True, rate_hz=90_000, origin=0, clock=clock, later=lambda *_: None, ask=lambda: None
    )
    sender = RtpSender(line, Numbers(1, H264, 65_530, (2, RTX, 0)))
    for packet in _pictures():
        track.put(packet)
        if packet.keyframe:
            sender.play(track)
    sent = line.octets
    heard = Feedback(1, sender, lambda: None)
    with suppress(ValueError, struct.error, IndexError):
        asyncio.run(_heard(heard, data))
    assert line.octets - sent <= 256 << 10
    assert heard.estimate_bps is None or heard.estimate_bps >= 0


async def _heard(heard: Feedback, data: bytes) -> None:
    for told in RtcpPacket.parse(data):
        await heard._handle_rtcp_packet(told)


class _Connection:
    """Takes what is no STUN, and checks one address."""

    _check_list = (SimpleNamespace(remote_addr=("192.0.2.1", 5000)),)

    def data_received(self, data: bytes, component: int) -> None:
        assert data

    def request_received(self, message: Any, addr: tuple[str, int], protocol: Any) -> None:
        assert message.message_class is not None


def datagram(data: bytes) -> None:
    """Of anybody, before there is any key, and of whom ICE checks."""
    asyncio.run(_came(data))


async def _came(data: bytes) -> None:
    protocol = stack.Datagrams(cast(Any, _Connection()))
    protocol.local_candidate = cast(Any, type("Candidate", (), {"component": 1}))
    for address in (("192.0.2.2", 5000), ("192.0.2.1", 5000)):
        protocol.datagram_received(data, address)


# What honest clients send.


@cache
def _pictures() -> list[Any]:
    rung = Rung(90, 100_000)
    return [packet for n in range(6) for packet in rung.encode(n, n % 3 == 0)]


def _packets() -> list[bytes]:
    out: list[bytes] = []
    for picture in _pictures():
        payloads = h264_payloads(bytes(picture.data), 300)
        for at, payload in enumerate(payloads, 1):
            out.append(_packet(H264, len(out), picture.pts, payload, at == len(payloads)))
    out += [_packet(OPUS, n, 960 * n, b"\xfc\xff\xfe") for n in range(3)]
    out += [
        _packet(VP8, n, 3000 * n, b"\x90\x80\x81\x10\x02\x00\x9d\x01\x2a", True) for n in (0, 1)
    ]
    out.append(_packet(RTX, 5, 3600, b"\0\1" + b"\x41abc", True))
    out.append(sender_report(7, ntp_time=1 << 40, timestamp=90, packets=1, octets=9, cname=b"c"))
    extension = struct.pack(">HHB3sB2sB", 0xBEDE, 2, 0x22, b"abc", 0x31, b"\0\1", 0)
    out.append(b"\x90" + _packet(H264, 90, 90_000, b"")[1:] + extension + b"\x41abc")
    return out


def _packet(kind: int, number: int, at: int, payload: bytes, marker: bool = False) -> bytes:
    head = struct.pack(">BBHII", 0x80, kind | marker << 7, number, at & 0xFFFFFFFF, kind)
    return head + payload


def _requests() -> list[bytes]:
    heads = (b"Bearer abc", b"http://127.0.0.1:8080", b"127.0.0.1:8080", b"application/sdp", b'"1"')
    return [sized(*heads) + b"token=abc&rung=480p"]


def _binding() -> list[bytes]:
    attributes = struct.pack(">HH4sHHI", 6, 4, b"ab:c", 0x24, 4, 1) + struct.pack(
        ">HHHHI", 0x20, 8, 1, 5000, 0
    )
    return [
        struct.pack(">HHI12s", kind, len(attributes), 0x2112A442, bytes(12)) + attributes
        for kind in (0x0001, 0x0101, 0x0111)
    ]


TARGETS = [
    Target("offer", offer, (BadOffer,), lambda: [(HEAD + SOUND + DATA + PICTURE).encode()]),
    Target("request", request, (Refusal,), _requests),
    Target("jitter", jitter, seeds=lambda: [b"\1" + b"\0\0\0\x40" * 60 + b"\x30\2\x30\x08" * 9]),
    Target("rtp", rtp, seeds=lambda: [sized(*_packets())]),
    Target("feedback", feedback, seeds=lambda: [*nonsense(1), remb(5, 5, 1)]),
    Target("datagram", datagram, seeds=_binding),
]
