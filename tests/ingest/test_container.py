"""What opens, what is refused, and in which words."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamgen.errors import SourceError
from streamgen.ingest.container import expand_inputs, open_source
from streamgen.testing import synthetic_clip
from tests.ingest.opening import packets, refusal, write


def test_a_file_tells_its_tracks_before_the_first_packet(clip: Path) -> None:
    info = open_source(str(clip)).info
    assert (info.name, info.video.codec, info.video.name) == ("clip.mp4", "h264", "video/0")
    assert (info.video.width, info.video.height) == (64, 48)
    assert (info.video.rate, info.video.frames) == (Fraction(25), 10)
    assert info.video.duration_s == pytest.approx(0.4)
    [sound] = info.audio
    assert (sound.name, sound.codec, sound.rate_hz, sound.channels) == ("audio/0", "aac", 48_000, 1)
    assert info.start == 0
    assert not info.live


def test_packets_carry_libavformats_own_data_and_no_end_marks(clip: Path) -> None:
    video = [p for p in packets(clip) if p.track == "video/0"]
    assert len(video) == 10
    assert all(isinstance(p.data, av.Packet) and p.size_bytes for p in video)
    assert [p.keyframe for p in video] == [True] + [False] * 9


def test_packets_outside_the_edit_list_are_marked(tmp_path: Path) -> None:
    times = [n - 4 for n in range(10)]
    clip = synthetic_clip(tmp_path / "a.mp4", frames=10, pts=times, audio=None)
    assert [p.discard for p in packets(clip)] == [True] * 4 + [False] * 6


def test_hidden_pictures_of_vp8_are_marked(tmp_path: Path) -> None:
    plain = synthetic_clip(
        tmp_path / "a.webm", width=64, height=48, frames=8, codec="libvpx", audio=None
    )
    hiding = tmp_path / "b.webm"
    with av.open(str(plain)) as source, av.open(str(hiding), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, unit in enumerate(p for p in source.demux() if p.size):
            data = bytearray(unit)
            data[0] &= 0xEF if number == 3 else 0xFF  # the bit show_frame
            copy: Any = av.Packet(bytes(data))
            copy.stream, copy.pts, copy.dts = stream, unit.pts, unit.dts
            copy.time_base, copy.is_keyframe = unit.time_base, unit.is_keyframe
            container.mux(copy)
    assert [p.discard for p in packets(hiding)] == [number == 3 for number in range(8)]


def cover_art(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=48_000, layout="mono")
        cover: Any = container.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame(64, 64, "yuvj420p")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        for n in range(20):
            frame.pts = n * 1024
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def no_pictures(path: Path) -> Path:
    """A whole file whose video track holds no picture."""
    with av.open(str(path), "w", options={"movflags": "empty_moov+frag_custom"}) as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


def without_index(path: Path) -> Path:
    whole = synthetic_clip(path.with_suffix(".whole.mp4"), width=64, height=48, frames=10)
    data = whole.read_bytes()
    return write(path, data[: data.index(b"moov") - 4])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: write(path, b""), "is empty"),
    "directory": (lambda path: path.mkdir(), "is a directory"),
    "text": (lambda path: write(path, b"dear diary\n" * 500), "not a video"),
    "noise": (lambda path: write(path, bytes(range(256)) * 40), "not a video"),
    "zeros": (lambda path: write(path, bytes(10_000)), "not a video"),
    "moov-less": (without_index, "its index is missing"),
    "head only": (lambda path: write(path, b"\0\0\0\x20ftypisom"), "its index is missing"),
    "zero-frame": (no_pictures, "has no pictures"),
    "audio-only": (sound_only, "has sound but no video"),
    "cover-art-only": (cover_art, "only cover art"),
}


@pytest.mark.parametrize(("make", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_input_is_refused_in_one_clear_line(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "bad.mp4"
    make(path)
    message = refusal(path)
    assert words in message
    assert message.startswith("bad.mp4: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(clip: Path) -> None:
    clip.chmod(0)
    assert "permission denied" in refusal(clip)


def test_a_text_file_is_not_drawn_as_a_picture(tmp_path: Path) -> None:
    assert "not a video" in refusal(write(tmp_path / "a.txt", b"hello\n" * 1000))


def test_a_clip_cut_in_the_middle_gives_what_is_left(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.mkv", width=64, height=48, frames=50, audio=None)
    write(clip, clip.read_bytes()[: clip.stat().st_size // 2])
    assert 5 < len(packets(clip)) < 50


def test_the_larger_default_video_is_chosen_and_cover_art_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for width in (32, 96, 64):
            stream: Any = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
            streams.append(stream)
        for stream in streams:
            container.mux(stream.encode(av.VideoFrame(stream.width, 48, "yuv420p")))
            container.mux(stream.encode(None))
    source = open_source(str(path))
    assert source.info.video.width == 96
    assert [track.kind for track in source.info.data] == ["data", "data"]
    assert {p.track for p in source.packets()} == {"video/0"}


def test_cancel_ends_a_file_too(clip: Path) -> None:
    source = open_source(str(clip))
    stream = source.packets()
    next(stream)
    source.cancel()
    assert list(stream) == []


def test_an_unknown_sound_codec_is_listed_and_does_no_harm(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.mkv", width=64, height=48, frames=5)
    write(clip, clip.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    source = open_source(str(clip))
    assert source.info.audio == ()
    assert [(t.kind, t.codec) for t in source.info.data] == [("data", "unknown")]
    assert {p.track for p in source.packets()} == {"video/0"}


def test_a_directory_is_its_media_files_in_order(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "c.txt", "d.mov"):
        (tmp_path / name).touch()
    names = ["a.MKV", "b.mp4", "d.mov"]
    assert expand_inputs([str(tmp_path)]) == [str(tmp_path / n) for n in names]


def test_a_pattern_is_its_matches_in_order(tmp_path: Path) -> None:
    for name in ("2.mp4", "1.mp4", "x.mkv", "[1].mp4"):
        (tmp_path / name).touch()
    assert expand_inputs([f"{tmp_path}/?.mp4"]) == [f"{tmp_path}/1.mp4", f"{tmp_path}/2.mp4"]
    assert expand_inputs([f"{tmp_path}/[1].mp4"]) == [f"{tmp_path}/[1].mp4"]


def test_urls_and_standard_input_stay_as_they_are() -> None:
    assert expand_inputs(["-", "rtmp://a/b?c=*"]) == ["-", "rtmp://a/b?c=*"]


@pytest.mark.parametrize("text", ["nothing.mp4", "no*thing.mp4", "empty", "a\0b"])
def test_a_name_that_stands_for_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError):
        expand_inputs([text])
