"""Files are read back with ffprobe, with PyAV, and box by box."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from streamgen.deliver.container import FileOutlet
from streamgen.deliver.manifest import InputIdentity, Manifest
from streamgen.errors import ConfigError, OutputError
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack

from .conftest import Encoded, box_order, boxes, deliver, encode_audio, encode_video, feed

Probe = Callable[..., dict[str, Any]]
SUFFIXES = ["mp4", "mov", "m4v", "mkv"]
MANIFEST = Manifest(input=InputIdentity(name="in.mp4"), pipeline="abc")


def source_stream(path: Path, kind: str) -> Any:
    return getattr(av.open(str(path)).streams, kind)[0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_picture_keeps_its_time_and_key_frames_stay(
    tmp_path: Path, video: Encoded, sound: Encoded, probe: Probe, suffix: str
) -> None:
    path = tmp_path / f"x.{suffix}"
    deliver(FileOutlet(path), video, sound)
    shown = probe(path, "-select_streams", "v", "-show_packets", "-show_streams")
    times = sorted(float(p["pts_time"]) for p in shown["packets"])
    assert times == pytest.approx([pts / 90_000 for pts in video.shown], abs=0.0006)
    keys = [float(p["pts_time"]) for p in shown["packets"] if "K" in p["flags"]]
    assert keys == pytest.approx([0, 2, 4])
    assert shown["streams"][0]["avg_frame_rate"] == "25/1"


@pytest.mark.parametrize("options", [{}, {"fragmented": True}], ids=["faststart", "fragmented"])
def test_a_variable_frame_rate_is_exact_in_mp4(tmp_path: Path, options: dict[str, Any]) -> None:
    times = [0, 3000, 3001, 9007, 90_011, 93_011, 93_500, 180_000]
    video = encode_video(times=times, rate=None)
    path = tmp_path / "x.mp4"
    deliver(FileOutlet(path, **options), video)
    with av.open(str(path)) as back:
        found = sorted(p.pts for p in back.demux(video=0) if p.pts is not None and p.size)
        assert back.streams.video[0].time_base == Fraction(1, 90_000)
    assert found == times


def test_the_index_of_an_mp4_stands_before_its_media(tmp_path: Path, video: Encoded) -> None:
    path = tmp_path / "x.mp4"
    deliver(FileOutlet(path), video)
    order = box_order(path.read_bytes())
    assert order.index("moov") < order.index("mdat")
    assert "moof" not in order


def test_a_fragmented_mp4_can_be_read_when_cut_off(
    tmp_path: Path, video: Encoded, sound: Encoded
) -> None:
    path = tmp_path / "x.mp4"
    deliver(FileOutlet(path, fragmented=True), video, sound)
    data = path.read_bytes()
    order = box_order(data)
    assert order.count("moof") == 3 and order.index("moov") < order.index("moof")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: data.rindex(b"moof") - 4])
    with av.open(str(cut)) as back:
        assert sum(1 for _ in back.decode(video=0)) == 100


def test_audio_priming_becomes_an_edit_list(
    tmp_path: Path, video: Encoded, sound: Encoded, probe: Probe
) -> None:
    path = tmp_path / "x.mp4"
    deliver(FileOutlet(path), video, sound)
    (edits,) = [
        next(boxes(trak, "edts", "elst"))
        for trak in boxes(path.read_bytes(), "moov", "trak")
        if list(boxes(trak, "mdia", "minf", "smhd"))
    ]
    count, _duration, skipped = struct.unpack_from(">III", edits, 4)
    assert (count, skipped) == (1, 1024)
    streams = probe(path, "-show_streams")["streams"]
    assert [float(stream["start_time"]) for stream in streams] == [0.0, 0.0]
    assert float(streams[1]["duration"]) == pytest.approx(6.0, abs=0.02)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_copied_audio_stays_in_sync_at_both_ends(
    tmp_path: Path, video: Encoded, sound: Encoded, probe: Probe, suffix: str
) -> None:
    original = tmp_path / "original.mp4"
    deliver(FileOutlet(original), video, sound)
    stream = source_stream(original, "audio")
    copied = [
        Packet(p, p.pts, p.dts, p.duration or 0, p.time_base, p.is_keyframe, "audio/0")
        for p in stream.container.demux(stream)
        if p.size
    ]
    track = EncodedTrack("audio/0", "audio", "aac", stream.time_base, stream)
    path = tmp_path / f"copy.{suffix}"
    deliver(FileOutlet(path), video, Encoded(track, tuple(copied)))
    shown = probe(path, "-show_packets", "-show_streams")
    picture = [float(p["pts_time"]) for p in shown["packets"] if p["codec_type"] == "video"]
    audio = [float(p["pts_time"]) for p in shown["packets"] if p["codec_type"] == "audio"]
    assert min(picture) == 0.0
    assert min(audio) == pytest.approx(-1024 / 48_000, abs=0.001)
    assert max(audio) == pytest.approx(sound.shown[-1] / 48_000, abs=0.001)


def test_audio_that_starts_late_starts_late(tmp_path: Path, video: Encoded, probe: Probe) -> None:
    path = tmp_path / "x.mp4"
    deliver(FileOutlet(path), video, encode_audio(seconds=1, start_s=3))
    streams = probe(path, "-show_streams")["streams"]
    # The priming before it is played as the silence that it is.
    assert float(streams[1]["start_time"]) == pytest.approx(3 - 1024 / 48_000, abs=0.002)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_and_pixel_aspect_are_written(
    tmp_path: Path, probe: Probe, suffix: str, rotation: int
) -> None:
    video = encode_video(times=range(0, 36_000, 3600), rotation=rotation, sar=Fraction(4, 3))
    path = tmp_path / f"x.{suffix}"
    deliver(FileOutlet(path), video)
    (stream,) = probe(path, "-show_streams")["streams"]
    assert stream["side_data_list"][0]["rotation"] % 360 == rotation
    assert stream["sample_aspect_ratio"] == "4:3"
    with av.open(str(path)) as back:
        assert next(back.decode(video=0)).rotation % 360 == rotation


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_languages_titles_chapters_and_tags_are_kept(
    tmp_path: Path, video: Encoded, sound: Encoded, probe: Probe, suffix: str
) -> None:
    other = encode_audio("audio/1", language="fra", title="Doublage", default=False)
    chapters = [
        {
            "id": number,
            "start": start,
            "end": start + 3000,
            "time_base": Fraction(1, 1000),
            "metadata": {"title": title},
        }
        for number, start, title in ((1, 0, "Eins"), (2, 3000, "Zwei"))
    ]
    tags = {"title": "Holiday", "comment": "mine", "major_brand": "qt", "encoder": "old"}
    path = tmp_path / f"x.{suffix}"
    outlet = FileOutlet(path, metadata=tags, chapters=chapters, manifest=MANIFEST)
    deliver(outlet, video, sound, other)
    shown = probe(path, "-show_streams", "-show_chapters", "-show_format")
    audio = [stream for stream in shown["streams"] if stream["codec_type"] == "audio"]
    assert [stream["tags"]["language"] for stream in audio] == ["deu", "fra"]
    assert [stream["disposition"]["default"] for stream in audio] == [1, 0]
    assert [c["tags"]["title"] for c in shown["chapters"]] == ["Eins", "Zwei"]
    assert [float(c["start_time"]) for c in shown["chapters"]] == [0.0, 3.0]
    found = {key.lower(): value for key, value in shown["format"]["tags"].items()}
    assert found["title"] == "Holiday" and found["comment"] == "mine"
    assert found["encoder"] != "old" and found.get("major_brand") != "qt"


def test_tags_without_a_place_in_mp4_are_reported(tmp_path: Path, video: Encoded) -> None:
    outlet = FileOutlet(tmp_path / "x.mp4", metadata={"title": "T", "weather": "rain"})
    deliver(outlet, video)
    assert outlet.dropped_tracks == ["tag 'weather': mp4 has no place for it"]


def subtitles(tmp_path: Path) -> Encoded:
    """Two lines of SubRip, read from a Matroska file."""
    text = "1\n00:00:00,500 --> 00:00:01,500\nHello\n\n2\n00:00:03,000 --> 00:00:04,000\nBye\n"
    (tmp_path / "s.srt").write_text(text)
    stream = source_stream(tmp_path / "s.srt", "subtitles")
    packets = [
        Packet(p, p.pts, p.dts, p.duration or 0, p.time_base, True, "subtitle/0")
        for p in stream.container.demux(stream)
        if p.size
    ]
    track = EncodedTrack(
        "subtitle/0", "subtitle", "subrip", stream.time_base, stream, language="eng"
    )
    return Encoded(track, tuple(packets))


def test_subtitles_are_kept_where_the_container_takes_them(
    tmp_path: Path, video: Encoded, probe: Probe
) -> None:
    path = tmp_path / "x.mkv"
    outlet = FileOutlet(path)
    deliver(outlet, video, subtitles(tmp_path))
    assert outlet.takes("subrip") and outlet.dropped_tracks == []
    shown = probe(path, "-select_streams", "s", "-show_packets", "-show_streams")
    assert shown["streams"][0]["codec_name"] == "subrip"
    assert shown["streams"][0]["tags"]["language"] == "eng"
    assert [float(p["pts_time"]) for p in shown["packets"]] == [0.5, 3.0]
    assert [float(p["duration_time"]) for p in shown["packets"]] == [1.0, 1.0]


def test_subtitles_without_a_place_are_left_out_and_named(
    tmp_path: Path, video: Encoded, probe: Probe
) -> None:
    path = tmp_path / "x.mp4"
    outlet = FileOutlet(path)
    deliver(outlet, video, subtitles(tmp_path))
    assert not outlet.takes("subrip") and outlet.takes("mov_text")
    assert outlet.dropped_tracks == ["subtitle/0 (subrip): mp4 has no place for it"]
    assert len(probe(path, "-show_streams")["streams"]) == 1


@pytest.mark.parametrize(("suffix", "kept"), [("mkv", True), ("mp4", False)])
def test_attachments_go_where_they_can(
    tmp_path: Path, video: Encoded, suffix: str, kept: bool
) -> None:
    source = tmp_path / "source.mkv"
    with av.open(str(source), "w") as made:
        made.add_attachment("font.ttf", "font/ttf", b"glyphs")
        stream = made.add_stream_from_template(video.track.template)
        shell = av.Packet(bytes(video.packets[0].data))
        shell.pts, shell.dts, shell.time_base = 0, 0, Fraction(1, 90_000)
        shell.stream = stream
        made.mux(shell)
    template = av.open(str(source)).streams.attachments[0]
    track = EncodedTrack("attachment/0", "attachment", "ttf", Fraction(1, 1000), template)
    path = tmp_path / f"x.{suffix}"
    outlet = FileOutlet(path)
    deliver(outlet, video, Encoded(track, ()))
    with av.open(str(path)) as back:
        found = [(a.name, a.data) for a in back.streams.attachments]
    assert found == ([("font.ttf", b"glyphs")] if kept else [])
    assert bool(outlet.dropped_tracks) is not kept
    assert outlet.takes("font.ttf") is kept


def test_only_the_top_rung_goes_into_a_file(
    tmp_path: Path, rungs: tuple[Encoded, ...], probe: Probe
) -> None:
    path = tmp_path / "x.mp4"
    deliver(FileOutlet(path), *rungs)
    (stream,) = probe(path, "-show_streams")["streams"]
    assert (stream["width"], stream["height"]) == (160, 120)


def test_one_packet_may_go_to_two_outlets(tmp_path: Path, video: Encoded, sound: Encoded) -> None:
    outlets = [FileOutlet(tmp_path / "a.mkv"), FileOutlet(tmp_path / "b.mp4")]
    for outlet in outlets:
        outlet.open([video.track, sound.track])
    for packet in (*video.packets, *sound.packets):
        for outlet in outlets:
            outlet.write(packet)
    times = []
    for outlet in outlets:
        outlet.finish()
        with av.open(str(outlet.path)) as back:
            times.append([round(float(f.pts * f.time_base), 3) for f in back.decode(video=0)])
    assert times[0] == times[1] == [n / 25 for n in range(150)]


def test_audio_far_behind_the_picture_does_not_block(
    tmp_path: Path, video: Encoded, sound: Encoded, probe: Probe
) -> None:
    path = tmp_path / "x.mp4"
    outlet = FileOutlet(path)
    outlet.open([video.track, sound.track])
    for packet in (*video.packets, *sound.packets):
        outlet.write(packet)
    outlet.finish()
    counts = [s["nb_frames"] for s in probe(path, "-show_streams")["streams"]]
    assert counts == [str(len(video.packets)), str(len(sound.packets))]


def test_hevc_gets_the_sample_entry_that_apple_plays(tmp_path: Path, probe: Probe) -> None:
    options = {"preset": "ultrafast", "x265-params": "log-level=none"}
    video = encode_video(codec="libx265", options=options, times=range(0, 36_000, 3600))
    path = tmp_path / "x.mp4"
    deliver(FileOutlet(path), video)
    assert probe(path, "-show_streams")["streams"][0]["codec_tag_string"] == "hvc1"


@pytest.mark.parametrize("name", ["x.avi", "x", "x.webm"])
def test_another_kind_of_file_is_refused_with_the_list(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"there are: \.mp4, \.m4v, \.mov, \.mkv"):
        FileOutlet(tmp_path / name)


def test_sound_that_the_container_does_not_take_is_refused(tmp_path: Path, video: Encoded) -> None:
    wrong = encode_audio(codec="pcm_alaw", seconds=0.2)
    outlet = FileOutlet(tmp_path / "x.mp4")
    with pytest.raises(OutputError, match="mp4 does not take pcm_alaw"):
        outlet.open([video.track, wrong.track])
    outlet.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "taken", "refused"),
    [
        ("mp4", "aac mp3 ac3 eac3 opus flac alac libopus", "vorbis pcm_s16le dts mp2 truehd"),
        ("m4v", "aac", "vorbis"),
        ("mov", "aac mp3 alac pcm_s16le pcm_s24be", "vorbis speex dts"),
        ("mkv", "aac vorbis pcm_s16le dts mp2 truehd opus", "qcelp"),
    ],
)
def test_sound_is_copied_only_where_players_play_it(
    tmp_path: Path, suffix: str, taken: str, refused: str
) -> None:
    outlet = FileOutlet(tmp_path / f"x.{suffix}")
    assert all(outlet.takes(codec) for codec in taken.split())
    assert not any(outlet.takes(codec) for codec in refused.split())
    assert outlet.takes("h264") and outlet.takes("hevc") and outlet.takes("libx264")


def test_a_file_whose_rung_broke_off_is_not_finished(tmp_path: Path, video: Encoded) -> None:
    outlet = FileOutlet(tmp_path / "x.mp4")
    outlet.open([video.track])
    feed(outlet, video, until_s=2)
    outlet.drop(video.track.name)
    with pytest.raises(OutputError, match="broke off"):
        outlet.finish()
    outlet.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["-dash.mp4", "new\nline.mkv", "a:b 100%d.mp4", "ü" * 100 + ".mkv"]
)
def test_strange_file_names_work(tmp_path: Path, video: Encoded, name: str) -> None:
    deliver(FileOutlet(tmp_path / name), video)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with av.open(f"file:{tmp_path / name}") as back:
        assert sum(1 for _ in back.decode(video=0)) == 150
