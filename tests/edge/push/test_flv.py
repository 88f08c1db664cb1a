"""Packets as FLV tags: what a server sees of times and parameter sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from streamgen.deliver.h264 import access_unit, parameters
from streamgen.media.packet import Packet
from streamgen_edge.push.flv import Tags, on_meta_data
from streamgen_edge.rtmp.messages import AUDIO, VIDEO
from tests.deliver.live_packets import live_video, moved
from tests.edge.push.show import recorded

AAC = {"config": "1190", "rate_hz": 48_000, "channels": 2, "bitrate_bps": 128_000}
ORDER: dict[str, Any] = {"bitrate_bps": 200_000, "rate": 30.0, "sound": AAC}


def of(name: str) -> list[Packet]:
    return [packet for packet in recorded()[1] if packet.track == name]


def tagged(packets: list[Packet], tags: Tags | None = None) -> list[tuple[int, int, bytes]]:
    tags = tags or Tags(AAC)
    return [tag for packet in packets for tag in tags.of(packet)]


def test_a_connection_begins_with_both_headers_and_a_key_frame_at_zero() -> None:
    late = moved([p for p in recorded()[1] if p.track != "video/90p"], 3600)
    found = tagged(late[1:])  # the first key frame is missed
    (kind, at, body), (sound_kind, sound_at, sound), (_, key_at, key) = found[:3]
    unit = access_unit(bytes(late[0].data))
    assert (kind, at, body[:5]) == (VIDEO, 0, b"\x17\0\0\0\0")
    assert body[5:] == parameters(unit.sps, unit.pps).record()
    assert (sound_kind, sound_at, sound) == (AUDIO, 0, b"\xaf\0\x11\x90")
    assert (key_at, key[:2]) == (0, b"\x17\x01")
    assert all(at >= 0 for _, at, _ in found)


def test_times_are_those_of_the_packets() -> None:
    found = [(at, body) for kind, at, body in tagged(of("video/180p")) if body[1] == 1]
    assert [at for at, _ in found] == [n * 1000 // 30 for n in range(len(found))]


def test_what_comes_late_or_twice_never_goes_back_in_time() -> None:
    some = of("video/180p")[:20]
    again = [*some, replace(some[3], pts=some[3].pts, keyframe=False)]
    times = [at for _, at, _ in tagged(again)]
    assert times == sorted(times)


def test_a_day_and_seven_weeks_are_no_trouble() -> None:
    key = of("video/180p")[0]
    tags = Tags(None)
    tagged([key], tags)
    (_, late, _) = tagged(moved([key], 25 * 86_400), tags)[0]
    assert late == 25 * 86_400_000
    (_, wrapped, _) = tagged(moved([key], 50 * 86_400), tags)[0]
    assert wrapped == 50 * 86_400_000 % (1 << 32)


def test_another_rung_brings_its_own_parameter_sets() -> None:
    tags = Tags(None)
    tagged(of("video/180p")[:10], tags)
    later = moved(of("video/90p")[:2], 1)
    (_, _, header), (_, _, picture), _ = tagged(later, tags)
    assert header[:2] == b"\x17\0" and picture[:2] == b"\x17\x01"
    again = tagged(moved(of("video/90p")[:1], 2), tags)
    assert [body[1] for _, _, body in again] == [1]  # the same sets once more


def test_pictures_that_are_shown_later_than_decoded_say_so() -> None:
    options = {"preset": "ultrafast", "bf": "2", "b-adapt": "0", "x264-params": "keyint=15"}
    _, packets = live_video(seconds=1, options=options)
    assert any(packet.pts != packet.dts for packet in packets)
    shifts = [body[2:5] for _, _, body in tagged(packets) if body[1] == 1]
    found = [int.from_bytes(shift, "big", signed=True) for shift in shifts]
    shown = [(p.pts or 0) // 90 - (p.dts or 0) // 90 for p in packets]
    assert found == shown


def test_the_metadata_tells_size_rate_and_sound() -> None:
    told = on_meta_data(ORDER, bytes(of("video/90p")[0].data))
    assert (told["width"], told["height"], told["framerate"]) == (160, 90, 30.0)
    assert (told["videocodecid"], told["audiocodecid"], told["audiosamplerate"]) == (7, 10, 48_000)
    assert told["stereo"] is True
