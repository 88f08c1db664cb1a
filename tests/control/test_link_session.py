"""A live session between a link's two ends: mended packets in, rungs and sound out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import pytest

from streamgen.deliver.link import LinkOutlet
from streamgen.encode.live import LiveSound
from streamgen.errors import SourceError
from streamgen.graph.lane import Lane
from streamgen.ingest.link import SOUND, LinkSource, MendedTimes, probe
from streamgen.media.packet import Packet
from streamgen.media.tracks import SourceInfo
from streamgen.opening import open_session
from streamgen.pipeline import parse_pipeline
from streamgen.protocols import Mode
from streamgen.report import measure
from streamgen.session import run
from streamgen.telemetry import Telemetry

BASE = Fraction(1, 90_000)
STEP = 3600
PIPELINE = {"name": "plain", "ladder": [{"height": 90, "bitrate": "200k"}]}


class Wire:
    """Remembers what the outlet sends."""

    def __init__(self) -> None:
        self.tracks: list[Mapping[str, Any]] = []
        self.packets: dict[str, list[Packet]] = {}
        self.ended = False

    def announce(self, tracks: Sequence[Mapping[str, Any]]) -> None:
        self.tracks = list(tracks)

    def send(self, track: int, packet: Packet) -> None:
        self.packets.setdefault(self.tracks[track]["name"], []).append(packet)

    def broke(self, track: int) -> None:
        raise AssertionError("no rung breaks here")

    def end(self) -> None:
        self.ended = True


def published(pictures: int, gop: int = 25) -> list[Packet]:
    """H.264 as the edge sends it: Annex B, parameter sets in every key frame."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 160, 90, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"keyint={gop}:scenecut=0",
    }
    found = []
    for number in range(pictures):
        frame = av.VideoFrame(160, 90, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([(number * 3) % 200 + 20]) * plane.buffer_size)
        frame.pts, frame.time_base = number, Fraction(1, 25)
        for unit in encoder.encode(frame):
            at = unit.pts * STEP
            found.append(Packet(bytes(unit), at, at, STEP, BASE, unit.is_keyframe, "video/0"))
    return found


def carried(packets: Sequence[Packet], after: Mapping[str, int] | None = None) -> tuple[Wire, Any]:
    telemetry = Telemetry()
    first = next(p for p in packets if p.size_bytes)
    video = probe("h264", bytes(first.data), name="x", time_base=BASE, rate=None)
    source = LinkSource(SourceInfo("x", "link", video, live=True))
    wire = Wire()
    pipeline = parse_pipeline(PIPELINE)
    with Lane() as lane:
        session = open_session(
            pipeline,
            source,
            [LinkOutlet(wire, after=after)],
            lane=lane,
            mode=Mode.LIVE,
            telemetry=telemetry,
            timeline=MendedTimes(),
            sounds={SOUND: LiveSound(source.sound, pipeline.audio, telemetry)},
        )
        for packet in packets:
            source.feed(packet)
        source.end()
        with session:
            run(session)
    return wire, measure(session)


def test_tracks_are_announced_before_packets_and_idrs_carry_their_parameter_sets() -> None:
    wire, report = carried(published(4))
    assert [(t["name"], t["codec"]) for t in wire.tracks] == [
        ("video/90p", "h264"),
        ("audio/aac", "aac"),
        ("audio/opus", "opus"),
    ]
    assert wire.ended
    for packet in wire.packets["video/90p"]:
        starts = [unit[0] & 0x1F for unit in bytes(packet.data).split(b"\0\0\1")[1:]]
        assert ({7, 8} <= set(starts)) == packet.keyframe
        assert packet.time_base == BASE and (packet.pts or 0) % STEP == 0
    assert report.frames_in == 4
    assert report.frames_in == report.frames_out + sum(report.dropped.values())


def test_what_is_only_to_be_decoded_is_not_shown_and_the_next_picture_is_a_key_frame() -> None:
    packets = published(12)
    replayed = [replace(p, discard=True, replayed=True) for p in packets[:10]]
    wire, report = carried([*replayed, *packets[10:]])
    out = wire.packets["video/90p"]
    assert [p.pts for p in out] == [10 * STEP, 11 * STEP]
    assert out[0].keyframe and report.frames_in == 2


def test_what_is_owed_is_shown_whole_before_the_stream_is_live_again() -> None:
    packets = published(60)
    shown = [replace(p, discard=n < 10, replayed=n < 50) for n, p in enumerate(packets)]
    wire, report = carried(shown)  # all at once, and far faster than it is shown
    assert [p.pts for p in wire.packets["video/90p"]] == [n * STEP for n in range(10, 60)]
    assert report.frames_in == report.frames_out == 50 and report.dropped == {}


def test_what_viewers_have_already_is_not_sent_again() -> None:
    wire, _ = carried(published(3), after={"video/90p": STEP})
    assert [p.pts for p in wire.packets["video/90p"]] == [2 * STEP]


def test_a_time_without_bytes_shows_the_last_picture_again() -> None:
    still = Packet(b"", 20_000, 20_000, 18_000, BASE, False, "video/0")
    wire, report = carried([*published(2), still])
    assert [p.pts for p in wire.packets["video/90p"]][-1] == 20_000
    assert report.frames_in == 3


@pytest.mark.parametrize("unit", [b"", b"\0\0\0\1\x65garbage", bytes(100)])
def test_a_head_that_is_no_key_frame_is_refused(unit: bytes) -> None:
    with pytest.raises(SourceError):
        probe("h264", unit, name="x", time_base=BASE, rate=None)


def key_frame(codec: str, width: int, height: int) -> bytes:
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = {"preset": "ultrafast" if codec == "libx264" else "12"}
    frame = av.VideoFrame(width, height, "yuv420p")
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return bytes([*encoder.encode(frame), *encoder.encode(None)][0])


def test_av1_is_read_and_decoded_in_software() -> None:
    head = key_frame("libsvtav1", 128, 72)
    track = probe("av1", head, name="x", time_base=BASE, rate=None)
    assert (track.codec, track.width, track.height) == ("av1", 128, 72)
    packet: Any = av.Packet(head)
    assert len([*track.codec_context.decode(packet), *track.codec_context.decode(None)]) == 1


def test_a_picture_that_would_take_all_memory_is_refused() -> None:
    with pytest.raises(SourceError, match="9437184 pixels"):
        probe("h264", key_frame("libx264", 4112, 2304), name="x", time_base=BASE, rate=None)
    track = probe("h264", key_frame("libx264", 4096, 16), name="x", time_base=BASE, rate=None)
    with pytest.raises(av.FFmpegError):
        track.codec_context.decode(av.Packet(key_frame("libx264", 4112, 2304)))


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(SourceError, match="mpeg2video"):
        probe("mpeg2video", b"x", name="x", time_base=BASE, rate=None)
