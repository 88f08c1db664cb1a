"""What a WHIP publisher may send once it is let in: never more than a moment is lost of it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Any, cast

import av
from aiortc import RTCPeerConnection
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtp import RtpPacket

from streamgen.deliver.rtp import h264_payloads
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.publisher import Publisher
from streamgen_edge.webrtc import whip
from streamgen_edge.webrtc.jitter import MOST
from streamgen_edge.webrtc.sync import TrackClock
from streamgen_edge.webrtc.whip import Incoming, Receiver
from tests.edge.webrtc.peers import looped
from tests.edge.webrtc.studio import Basket, Rung

H264, SSRC, FPS = 102, 0x1234, 25


class Rig:
    """A publisher's picture line without its network."""

    def __init__(self) -> None:
        self.basket = Basket()
        self.reasons: list[str] = []
        self.controls: list[bytes] = []
        publisher = Publisher(
            Publish("whip", "cam", None, "192.0.2.1", ""), cast(Any, None), Limits()
        )
        self.incoming = Incoming(RTCPeerConnection(), publisher, 1_000_000, self.reasons.append)
        self.incoming.sink = self.basket
        self.incoming.control = self.controls.append  # type: ignore[method-assign]
        codec = RTCRtpCodecParameters("video/H264", 90_000, payloadType=H264)
        parameters = RTCRtpReceiveParameters(codecs=[codec])
        self.receiver = Receiver(self.incoming, "video", TrackClock(90_000), parameters)
        self.incoming._receivers["video"] = self.receiver

    async def take(self, packets: Sequence[RtpPacket]) -> None:
        for packet in packets:
            await self.receiver._handle_rtp_packet(packet, 0)

    @property
    def shown(self) -> int:
        return len(self.basket.packets)

    def decoded(self) -> int:
        """From the first key frame on every picture must be decodable."""
        decoder = av.CodecContext.create("h264", "r")
        some = itertools.dropwhile(lambda one: not one.keyframe, self.basket.of("video/0"))
        return sum(len(decoder.decode(av.Packet(one.data))) for one in some)

    @property
    def since_key(self) -> int:
        """Pictures from the first key frame on."""
        some = self.basket.of("video/0")
        return len(some) - next(n for n, one in enumerate(some) if one.keyframe)


def stream(
    pictures: int, *, gop: int = 10, first: int = 65_500, ssrc: int = SSRC, most: int = 300
) -> list[RtpPacket]:
    """H.264 of an encoder in small packets."""
    rung = Rung(90, 200_000)
    out: list[RtpPacket] = []
    for number in range(pictures):
        (unit,) = rung.encode(number, number % gop == 0)
        payloads = h264_payloads(bytes(unit.data), most)
        for at, payload in enumerate(payloads):
            out.append(packet(payload, first + len(out), number, ssrc, at == len(payloads) - 1))
    return out


def packet(
    payload: bytes, number: int, picture: int = 0, ssrc: int = SSRC, marker: bool = False
) -> RtpPacket:
    return RtpPacket(
        payload_type=H264,
        marker=int(marker),
        sequence_number=number & 0xFFFF,
        timestamp=(picture * 90_000 // FPS - 3000) & 0xFFFFFFFF,
        ssrc=ssrc,
        payload=payload,
    )


@looped
async def test_numbers_and_times_that_wrap_lose_nothing() -> None:
    rig = Rig()
    await rig.take(stream(30))
    assert rig.shown == rig.decoded() == 30


@looped
async def test_duplicates_padding_and_disorder_lose_nothing() -> None:
    rig = Rig()
    packets = stream(60)
    ends = len(packets)
    doubled = [one for one in packets for _ in range(2)]
    dice = random.Random(5)
    late = sorted(
        enumerate(doubled), key=lambda pair: pair[0] + (dice.randrange(500) if pair[0] > 40 else 0)
    )
    await rig.take([one for _, one in late])
    await rig.take([packet(b"", 65_500 + ends + n, 60) for n in range(200)])
    assert rig.shown == rig.decoded() == 60


@looped
async def test_a_key_frame_that_lost_its_parameter_sets_begins_nothing() -> None:
    rig = Rig()
    packets = stream(25)
    await rig.take(packets[1:])
    assert rig.incoming.publisher.stats.left_out["no_config"] == 1
    assert rig.controls and rig.decoded() == rig.since_key == 15


@looped
async def test_another_source_goes_on_with_its_first_key_frame() -> None:
    rig = Rig()
    await rig.take(stream(20))
    await rig.take(stream(20, ssrc=77, first=9000)[3:])
    await rig.take(stream(20, ssrc=78, first=100))
    assert rig.shown >= 20 + 9 + 20 and not rig.reasons


@looped
async def test_a_publisher_of_endless_sources_is_closed_and_costs_no_memory() -> None:
    rig = Rig()
    some = stream(1)
    await rig.take([packet(some[0].payload, n, ssrc=n) for n in range(1, whip.MOST_SOURCES + 10)])
    assert rig.reasons and "SSRC" in rig.reasons[0]
    assert len(rig.receiver._stats) == 1


@looped
async def test_pieces_without_an_end_are_given_up_and_cost_no_memory() -> None:
    rig = Rig()
    packets = stream(20)
    await rig.take(packets)
    first = 65_500 + len(packets)
    piece = bytes([0x7C, 0x05]) + bytes(1000)
    for number in range(65_536):
        await rig.receiver._handle_rtp_packet(packet(piece, first + number, 20), 0)
    assert len(rig.receiver._buffers[0]._held) <= MOST + 1
    await rig.take(stream(20, first=first + 65_536))
    assert rig.shown >= 39


@looped
async def test_payloads_that_lie_are_counted_and_the_next_key_frame_shows() -> None:
    rig = Rig()
    await rig.take(stream(20, first=0))
    lies = [
        *(b"\x78\xff\xff\x67", b"\x78\x00", b"\x78\x00\x00\x00\x00", b"\x7c", b"\x1d\x00", b"\x00"),
        *(b"\x78" + b"\x00\x05\x67\x42", b"\x65", b"\x67", b"\x68", b"\x19abc", b"\xff" * 40),
    ]
    start = len(stream(20))
    for number, lie in enumerate(lies * 4):
        await rig.take([packet(lie, start + number, 20 + number, marker=True)])
    assert rig.incoming.publisher.stats.left_out["damaged"] > 0
    await asyncio.sleep(0.3)
    before = rig.shown
    await rig.take(stream(25, first=start + 4 * len(lies)))
    await asyncio.sleep(0.3)
    assert rig.shown - before == 25


@looped
async def test_a_third_lost_shows_what_can_be_decoded_and_asks_for_the_rest() -> None:
    rig = Rig()
    dice = random.Random(8)
    packets = [one for one in stream(150, gop=5, most=1200) if dice.random() > 0.3]
    for at in range(0, len(packets), 15):
        await rig.take(packets[at : at + 15])
        await asyncio.sleep(0.03)
    await asyncio.sleep(0.3)
    assert rig.since_key == rig.decoded() > 10
    kinds = {(one[0] & 31, one[1]) for one in rig.controls}
    assert kinds == {(1, 205), (1, 206)}  # generic NACK and PLI (RFC 4585)
    assert len(rig.controls) < 100


@looped
async def test_two_seconds_of_silence_end_with_the_next_key_frame() -> None:
    rig = Rig()
    packets = stream(80, gop=20)
    times = sorted({one.timestamp + 3000 & 0xFFFFFFFF for one in packets})
    lost = set(times[25:75])
    kept = [one for one in packets if one.timestamp + 3000 & 0xFFFFFFFF not in lost]
    cut = next(n for n, one in enumerate(kept) if one.timestamp + 3000 & 0xFFFFFFFF > times[74])
    await rig.take(kept[:cut])
    await rig.take(kept[cut:])
    await asyncio.sleep(0.3)
    assert rig.receiver._buffers[0].broken and rig.controls
    await rig.take(stream(20, first=65_500 + len(packets)))
    assert rig.shown >= 25 + 20
