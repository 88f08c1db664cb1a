"""What a decoder on a device leaves to the processor, shows as it is, or drops: on a fake."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamgen.decode.nvdec import describe
from streamgen.errors import SourceError
from streamgen.ingest.container import open_source
from streamgen.ingest.link import probe
from streamgen.media.frame import Frame
from streamgen.media.packet import Packet
from streamgen.media.tracks import VideoTrack
from streamgen.telemetry import Telemetry
from streamgen.testing import FakeDecoder, FakeDevice, fake_hardware, synthetic_clip
from tests.decode import sei
from tests.decode.played import raw_clip
from tests.decode.test_interlaced import PICTURES, mbaff
from tests.decode.test_orientation import BASE, GOP, encoded
from tests.gpus import on_host

ANY = frozenset({"h264", "ffv1"})


def opened(track: VideoTrack) -> tuple[FakeDecoder, Telemetry]:
    fake, telemetry = FakeDevice(), Telemetry()
    return FakeDecoder(fake, ANY, track, pool=fake.pool, telemetry=telemetry), telemetry


def decoded(packets: Iterator[Packet], base: Fraction) -> tuple[list[Frame], Telemetry]:
    first = next(packets)
    decoder, telemetry = opened(
        probe("h264", bytes(first.data), name="a", time_base=base, rate=None)
    )
    frames = [f for packet in itertools.chain([first], packets) for f in decoder.decode(packet)]
    return [*frames, *decoder.flush()], telemetry


@pytest.mark.parametrize("transfer", [16, 18], ids=["pq", "hlg"])
def test_hdr_is_refused_before_the_first_picture(tmp_path: Path, transfer: int) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}
    clip = raw_clip(tmp_path / "a.mkv", "yuv420p10le", tags=tags)
    with pytest.raises(SourceError, match="HDR video is converted on the processor"):
        opened(open_source(str(clip)).info.video)


def test_video_that_is_to_be_turned_is_refused(tmp_path: Path) -> None:
    clip, flat = tmp_path / "in.mp4", synthetic_clip(tmp_path / "flat.mp4", frames=3, audio=None)
    with av.open(str(flat)) as source, av.open(str(clip), "w") as turned:
        stream = turned.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                turned.mux(packet)
    track = open_source(str(clip)).info.video
    assert track.rotation
    with pytest.raises(SourceError, match="turned stays on the processor"):
        opened(track)


def test_interlaced_pictures_are_shown_as_they_are_and_counted() -> None:
    frames, telemetry = decoded(mbaff(top_first=True), Fraction(1, 50))
    assert len(frames) == PICTURES
    assert telemetry.counts("corrupt") == {"interlaced": PICTURES}
    assert telemetry.counts("converted") == {}


def test_pictures_that_turn_in_mid_stream_are_dropped_and_counted() -> None:
    def packets() -> Iterator[Packet]:
        for n, (data, key) in enumerate(encoded(2 * GOP)):
            said = b"\0\0\0\1" + sei.orientation(1) if n == 5 else b""
            yield Packet(said + data, n, n, 1, BASE, key, "video/0")

    frames, telemetry = decoded(packets(), BASE)
    assert [f.pts for f in frames] == [*range(5), *range(GOP, 2 * GOP)]
    assert telemetry.counts("dropped") == {"undecodable": GOP - 5}


def test_a_new_decoder_knows_what_the_demuxer_knew(tmp_path: Path) -> None:
    """Colours that stand in the container and not in the pictures, and headers out of band."""
    clip = synthetic_clip(tmp_path / "in.mp4", frames=5, audio=None)
    source = open_source(str(clip))
    given = source.info.video.codec_context
    given.colorspace, given.color_range = 6, 2
    context = av.CodecContext.create("h264", "r")
    describe(context, given)
    assert (context.colorspace, context.color_range) == (6, 2)
    pictures = [p for packet in source.packets() for p in context.decode(packet.data)]
    assert len([*pictures, *context.decode(None)]) == 5


def test_surfaces_hold_what_the_processor_decodes(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", width=70, height=46, frames=4, audio=None)
    fake = FakeDevice()
    hardware = fake_hardware(fake)
    source = open_source(str(clip))
    decoder = hardware.decoder(source.info.video, pool=fake.pool, telemetry=Telemetry())
    given = [f for packet in source.packets() for f in decoder.decode(packet)]
    given += decoder.flush()
    with av.open(str(clip)) as container:
        for frame, wanted in zip(given, container.decode(video=0), strict=True):
            luma = on_host(hardware, frame).planes[0].array()
            assert np.array_equal(luma, wanted.to_ndarray()[:46])
