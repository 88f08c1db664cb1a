"""The ladder on disk, read by a strict parser of its own, box by box, and by ffprobe."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from streamgen.deliver.hls import HlsOutlet
from streamgen.deliver.segments import Segments
from streamgen.errors import OutputError

from .conftest import Encoded, box_order, boxes, deliver, encode_audio, encode_video, feed
from .test_container import subtitles

Probe = Callable[..., dict[str, Any]]
TWO_S = 2_000_000_000
ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)')


def attributes(line: str) -> dict[str, str]:
    """Attribute list of RFC 8216 4.2; anything that does not fit fails."""
    found: dict[str, str] = {}
    text = line.partition(":")[2]
    at = 0
    while at < len(text):
        match = ATTRIBUTE.match(text, at)
        assert match is not None and match[1] not in found, line
        found[match[1]] = match[2].strip('"')
        at = match.end()
    return found


def media_playlist(path: Path) -> list[tuple[str, float]]:
    """Name and length of each segment of a complete VOD media playlist."""
    lines = path.read_text().splitlines()
    assert lines[0] == "#EXTM3U" and lines[-1] == "#EXT-X-ENDLIST"
    assert "#EXT-X-PLAYLIST-TYPE:VOD" in lines and '#EXT-X-MAP:URI="init.mp4"' in lines
    version = next(int(line[15:]) for line in lines if line.startswith("#EXT-X-VERSION:"))
    target = next(int(line[22:]) for line in lines if line.startswith("#EXT-X-TARGETDURATION:"))
    assert version >= 7
    segments = []
    for line, following in pairwise(lines):
        if line.startswith("#EXTINF:"):
            segments.append((following, float(line[8:].rstrip(","))))
    assert all(round(length) <= target for _, length in segments)
    assert all((path.parent / name).is_file() for name, _ in segments)
    return segments


def multivariant(path: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Variants (their URI under `URI`) and audio renditions."""
    lines = path.read_text().splitlines()
    assert lines[0] == "#EXTM3U" and "#EXT-X-INDEPENDENT-SEGMENTS" in lines
    variants, sounds = [], []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("#EXT-X-STREAM-INF:"):
            variants.append(attributes(line) | {"URI": following})
        elif line.startswith("#EXT-X-MEDIA:"):
            sounds.append(attributes(line))
        else:
            assert not line.startswith("#") or re.match(
                r"#EXTM3U$|#EXT-X-(VERSION:\d+|INDEPENDENT-SEGMENTS)$", line
            )
    assert all((path.parent / one["URI"]).is_file() for one in (*variants, *sounds))
    return variants, sounds


def start_of(segment: Path) -> int:
    """`baseMediaDecodeTime` of the first fragment, in the track's time scale."""
    (tfdt,) = list(boxes(segment.read_bytes(), "moof", "traf", "tfdt"))[:1]
    return int.from_bytes(tfdt[4:12] if tfdt[0] else tfdt[4:8], "big")


def media_time(init: Path) -> int:
    """Where the presentation begins in the track's own time, from its edit list."""
    edits = next(boxes(init.read_bytes(), "moov", "trak", "edts", "elst"))
    count, _duration, start = struct.unpack_from(">IIi", edits, 4)
    assert count == 1
    return int(start)


def packets_of(probe: Probe, folder: Path, joined: Path) -> list[dict[str, Any]]:
    names = [name for name, _ in media_playlist(folder / "index.m3u8")]
    parts = [(folder / name).read_bytes() for name in ["init.mp4", *names]]
    joined.write_bytes(b"".join(parts))
    found: list[dict[str, Any]] = probe(joined, "-show_packets")["packets"]
    return found


@pytest.fixture
def ladder(tmp_path: Path, rungs: tuple[Encoded, ...], sound: Encoded) -> Path:
    deliver(HlsOutlet(tmp_path / "out", segment_ns=TWO_S), *rungs, sound)
    return tmp_path / "out"


def test_a_ladder_has_one_folder_per_rendition(ladder: Path) -> None:
    found = sorted(str(path.relative_to(ladder)) for path in ladder.rglob("*") if path.is_file())
    segments = [f"seg_{number:05d}.m4s" for number in (1, 2, 3)]
    wanted = ["index.m3u8", "streamgen.json"]
    for rung in ("120p", "96p", "48p"):
        wanted += [f"{rung}/{name}" for name in ("index.m3u8", "init.mp4", *segments)]
    assert [name for name in found if not name.startswith("audio/")] == sorted(wanted)
    assert {"audio/0/index.m3u8", "audio/0/init.mp4"} <= set(found)


def test_rungs_are_cut_at_the_same_times_and_begin_with_key_frames(
    ladder: Path, tmp_path: Path, probe: Probe
) -> None:
    for rung in ("120p", "96p", "48p"):
        segments = media_playlist(ladder / rung / "index.m3u8")
        assert [length for _, length in segments] == [2.0, 2.0, 2.0]
        assert [start_of(ladder / rung / name) for name, _ in segments] == [0, 180_000, 360_000]
        packets = packets_of(probe, ladder / rung, tmp_path / "joined.mp4")
        keys = [float(p["pts_time"]) for p in packets if "K" in p["flags"]]
        assert keys == [0.0, 2.0, 4.0]
        for name, _ in segments:
            assert box_order((ladder / rung / name).read_bytes())[-2:] == ["moof", "mdat"]


def test_every_rendition_is_presented_from_the_same_zero(
    ladder: Path, tmp_path: Path, rungs: tuple[Encoded, ...], probe: Probe
) -> None:
    for encoded in rungs:
        name = encoded.track.name.removeprefix("video/")
        delay = encoded.packets[0].pts or 0
        delay -= encoded.packets[0].dts or 0
        assert media_time(ladder / name / "init.mp4") == delay
        packets = packets_of(probe, ladder / name, tmp_path / "joined.mp4")
        times = sorted(int(p["pts"]) for p in packets)
        assert times == encoded.shown
    assert media_time(ladder / "audio/0/init.mp4") == 1024
    assert start_of(ladder / "audio/0/seg_00001.m4s") == 0
    sounds = packets_of(probe, ladder / "audio/0", tmp_path / "joined.mp4")
    assert [int(p["pts"]) for p in sounds[:2]] == [-1024, 0]


def test_the_multivariant_playlist_tells_the_truth(
    ladder: Path, rungs: tuple[Encoded, ...]
) -> None:
    variants, sounds = multivariant(ladder / "index.m3u8")
    assert [v["URI"] for v in variants] == [f"{r}/index.m3u8" for r in ("120p", "96p", "48p")]
    assert [v["RESOLUTION"] for v in variants] == ["160x120", "128x96", "64x48"]
    assert all(v["FRAME-RATE"] == "25.000" and v["AUDIO"] == "audio" for v in variants)
    assert all(re.fullmatch(r"avc1\.6400[0-9A-F]{2},mp4a\.40\.2", v["CODECS"]) for v in variants)
    assert sounds == [
        {
            "TYPE": "AUDIO",
            "GROUP-ID": "audio",
            "NAME": "Original",
            "LANGUAGE": "deu",
            "DEFAULT": "YES",
            "AUTOSELECT": "YES",
            "CHANNELS": "2",
            "URI": "audio/0/index.m3u8",
        }
    ]
    for variant in variants:
        peak = average = 0.0
        for uri in (variant["URI"], "audio/0/index.m3u8"):
            folder = (ladder / uri).parent
            segments = media_playlist(ladder / uri)
            sizes = [(8 * (folder / name).stat().st_size, length) for name, length in segments]
            peak += max(bits / length for bits, length in sizes if length >= 1)
            average += sum(bits for bits, _ in sizes) / sum(length for _, length in sizes)
        assert int(variant["BANDWIDTH"]) == pytest.approx(peak, rel=0.02)
        assert int(variant["AVERAGE-BANDWIDTH"]) == pytest.approx(average, rel=0.001)
        assert int(variant["BANDWIDTH"]) >= int(variant["AVERAGE-BANDWIDTH"])


def test_a_ladder_is_read_by_ffprobe_and_decodes_completely(ladder: Path, probe: Probe) -> None:
    shown = probe(ladder / "index.m3u8", "-show_streams", "-show_programs", "-count_frames")
    assert len(shown["programs"]) == 3
    counts = [s["nb_read_frames"] for s in shown["streams"] if s["codec_type"] == "video"]
    assert counts == ["150", "150", "150"]


def test_key_frames_more_often_than_segments_keep_segments_whole(
    tmp_path: Path, rungs: tuple[Encoded, ...]
) -> None:
    deliver(HlsOutlet(tmp_path / "out", segment_ns=2 * TWO_S), rungs[0], rungs[1])
    for rung in ("120p", "96p"):
        lengths = [length for _, length in media_playlist(tmp_path / "out" / rung / "index.m3u8")]
        assert lengths == [4.0, 2.0]


def test_ntsc_rates_cut_where_the_key_frames_are(tmp_path: Path) -> None:
    times = [number * 3003 for number in range(180)]
    parts = [
        encode_video(f"video/{n}", times=times, key_every=60, rate=Fraction(30_000, 1001))
        for n in ("a", "b")
    ]
    deliver(HlsOutlet(tmp_path / "out", segment_ns=TWO_S), *parts)
    for rung in ("a", "b"):
        segments = media_playlist(tmp_path / "out" / rung / "index.m3u8")
        assert [length for _, length in segments] == pytest.approx([2.002] * 3)
        starts = [start_of(tmp_path / "out" / rung / name) for name, _ in segments]
        assert starts == [0, 180_180, 360_360]
    variants, _ = multivariant(tmp_path / "out" / "index.m3u8")
    assert variants[0]["FRAME-RATE"] == "29.970"


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path, probe: Probe) -> None:
    times = [0, 3000, 3001, 90_000, 180_000, 183_000, 200_000, 290_000, 360_000, 363_000]
    video = encode_video(times=times, key_every=4, rate=None)
    deliver(HlsOutlet(tmp_path / "out", segment_ns=TWO_S), video)
    packets = packets_of(probe, tmp_path / "out/120p", tmp_path / "joined.mp4")
    assert sorted(int(p["pts"]) for p in packets) == times
    lengths = [n for _, n in media_playlist(tmp_path / "out/120p/index.m3u8")]
    assert lengths == [2.0, 2.0, pytest.approx(6600 / 90_000, abs=1e-6)]


def test_sound_that_starts_late_says_so_in_its_fragments(
    tmp_path: Path, video: Encoded, probe: Probe
) -> None:
    late = encode_audio(seconds=2, start_s=3)
    deliver(HlsOutlet(tmp_path / "out", segment_ns=TWO_S), video, late)
    folder = tmp_path / "out/audio/0"
    assert start_of(folder / "seg_00001.m4s") == 3 * 48_000 - 1024
    packets = packets_of(probe, folder, tmp_path / "joined.mp4")
    assert float(packets[0]["pts_time"]) == pytest.approx(3 - 1024 / 48_000, abs=0.001)
    assert sum(n for _, n in media_playlist(folder / "index.m3u8")) == pytest.approx(5, abs=0.03)


def test_sound_is_cut_close_to_the_picture_however_long_it_is(
    tmp_path: Path, video: Encoded
) -> None:
    sound = encode_audio(seconds=60)
    deliver(HlsOutlet(tmp_path / "out", segment_ns=TWO_S), video, sound)
    folder = tmp_path / "out/audio/0"
    segments = media_playlist(folder / "index.m3u8")
    starts = [start_of(folder / name) / 48_000 for name, _ in segments]
    assert starts == pytest.approx([2 * n + 0.25 for n in range(30)], abs=0.3)
    assert sum(length for _, length in segments) == pytest.approx(60, abs=0.03)


def test_several_sounds_form_one_group_with_one_default(
    tmp_path: Path, video: Encoded, sound: Encoded
) -> None:
    other = encode_audio("audio/1", seconds=2, language="fra", title='The "dub"\n')
    opus = encode_audio("audio/2", codec="libopus", seconds=2, title="Original")
    deliver(HlsOutlet(tmp_path / "out", segment_ns=TWO_S), video, sound, other, opus)
    variants, sounds = multivariant(tmp_path / "out" / "index.m3u8")
    assert [s["URI"] for s in sounds] == [f"audio/{n}/index.m3u8" for n in (0, 1, 2)]
    assert [s["NAME"] for s in sounds] == ["Original", "The 'dub'", "Original 3"]
    assert [s["DEFAULT"] for s in sounds] == ["YES", "NO", "NO"]
    assert [s.get("LANGUAGE") for s in sounds] == ["deu", "fra", None]
    assert variants[0]["CODECS"].split(",")[1:] == ["mp4a.40.2", "opus"]


def test_a_ladder_without_sound_has_no_audio_group(tmp_path: Path, video: Encoded) -> None:
    deliver(HlsOutlet(tmp_path / "out"), video)
    variants, sounds = multivariant(tmp_path / "out" / "index.m3u8")
    assert sounds == [] and "AUDIO" not in variants[0]
    assert "," not in variants[0]["CODECS"]


def test_one_picture_is_a_ladder_too(tmp_path: Path) -> None:
    deliver(HlsOutlet(tmp_path / "out"), encode_video(times=[0]))
    variants, _ = multivariant(tmp_path / "out" / "index.m3u8")
    assert int(variants[0]["BANDWIDTH"]) > 0
    assert media_playlist(tmp_path / "out/120p/index.m3u8") == [("seg_00001.m4s", 0.04)]


def test_rotation_and_pixel_aspect_reach_player_and_playlist(tmp_path: Path) -> None:
    video = encode_video(times=range(0, 36_000, 3600), rotation=90, sar=Fraction(4, 3))
    deliver(HlsOutlet(tmp_path / "out"), video)
    variants, _ = multivariant(tmp_path / "out" / "index.m3u8")
    assert variants[0]["RESOLUTION"] == "120x213"
    data = (tmp_path / "out/120p/init.mp4").read_bytes()
    data += (tmp_path / "out/120p/seg_00001.m4s").read_bytes()
    (tmp_path / "joined.mp4").write_bytes(data)
    with av.open(str(tmp_path / "joined.mp4")) as back:
        frame = next(back.decode(video=0))
        assert frame.rotation == 90
        assert back.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_hevc_and_av1_ladders_are_named_and_read(tmp_path: Path, probe: Probe) -> None:
    times = range(0, 36_000, 3600)
    x265 = {"preset": "ultrafast", "x265-params": "log-level=none"}
    parts = [
        encode_video("video/a", codec="libx265", options=x265, times=times),
        encode_video("video/b", codec="libsvtav1", options={"preset": "12"}, times=times),
    ]
    deliver(HlsOutlet(tmp_path / "out"), *parts)
    variants, _ = multivariant(tmp_path / "out" / "index.m3u8")
    assert [v["CODECS"].split(".")[0] for v in variants] == ["hvc1", "av01"]
    shown = probe(tmp_path / "out" / "a" / "index.m3u8", "-show_streams", "-count_frames")
    assert shown["streams"][0]["codec_tag_string"] == "hvc1"
    assert shown["streams"][0]["nb_read_frames"] == "10"


def test_what_a_ladder_cannot_carry_is_named(tmp_path: Path, video: Encoded, probe: Probe) -> None:
    outlet = HlsOutlet(tmp_path / "out", metadata={"title": "T"}, chapters=[{"id": 1}])
    silent = Encoded(encode_audio(seconds=0.1).track, ())
    deliver(outlet, video, subtitles(tmp_path), silent)
    assert outlet.dropped_tracks == [
        "chapters: not carried in ladders",
        "title and other tags: not carried in ladders",
        "subtitle/0 (subrip): not carried in ladders",
        "audio/0: empty",
    ]
    assert not outlet.takes("subrip") and outlet.takes("aac")


def test_a_ladder_goes_on_without_a_rung_that_broke_off(
    tmp_path: Path, rungs: tuple[Encoded, ...]
) -> None:
    outlet = HlsOutlet(tmp_path / "out", segment_ns=TWO_S)
    outlet.open([one.track for one in rungs])
    feed(outlet, *rungs, until_s=3)
    outlet.drop("video/96p")
    feed(outlet, Encoded(rungs[1].track, rungs[1].packets[100:]))
    outlet.finish()
    variants, _ = multivariant(outlet.path / "index.m3u8")
    assert [v["URI"] for v in variants] == ["120p/index.m3u8", "48p/index.m3u8"]
    assert not (outlet.path / "96p").exists()
    assert outlet.dropped_tracks == ["video/96p: broke off"]


def test_a_ladder_without_a_picture_is_not_finished(tmp_path: Path, video: Encoded) -> None:
    outlet = HlsOutlet(tmp_path / "out")
    with pytest.raises(OutputError, match="there is no picture"):
        deliver(outlet, Encoded(video.track, ()))
    outlet.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["-dash", "new\nline", "100%d %v:x"])
def test_strange_folder_names_work(
    tmp_path: Path, video: Encoded, sound: Encoded, name: str
) -> None:
    deliver(HlsOutlet(tmp_path / name, segment_ns=TWO_S), video, sound)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(media_playlist(tmp_path / name / "120p" / "index.m3u8")) == 3


def test_a_disk_that_fills_up_is_noticed_on_the_way(
    tmp_path: Path, video: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet = HlsOutlet(tmp_path / "out", segment_ns=TWO_S)
    outlet.open([video.track])
    feed(outlet, video, until_s=3)

    def full(path: Path, mode: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutputError, match=r"cannot write .*out: no space left on device"):
        feed(outlet, Encoded(video.track, video.packets[75:]))
    monkeypatch.undo()
    outlet.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_segments_do_not_depend_on_how_the_stream_is_written(
    tmp_path: Path, video: Encoded, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    few = Encoded(video.track, video.packets[:60])
    deliver(HlsOutlet(tmp_path / "whole", segment_ns=TWO_S), few)
    write = Segments.write

    def in_pieces(self: Segments, data: bytes) -> int:
        return sum(write(self, data[at : at + piece]) for at in range(0, len(data), piece))

    monkeypatch.setattr(Segments, "write", in_pieces)
    deliver(HlsOutlet(tmp_path / "pieces", segment_ns=TWO_S), few)
    for path in (tmp_path / "whole").rglob("*.m*"):
        other = tmp_path / "pieces" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes()
