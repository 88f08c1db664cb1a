from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from streamgen.control.offline import Choices, Sound
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import (
    Listener,
    in_pieces,
    left_over,
    packets,
    pipeline,
    whole,
    worst_db,
)

FRAMES = 300
ALIKE_DB = 25.0
"""Two encodes of one picture are more alike than this, its neighbours on these clips are not."""


def variable() -> list[int]:
    """Milliseconds: 25 Hz, with some pictures missing and all others a little off."""
    return [40 * n + (n * 7) % 11 for n in range(FRAMES + 40) if n % 9][:FRAMES]


def clip(path: Path, **more: object) -> Path:
    plain = {"width": 160, "height": 120, "frames": FRAMES}
    return synthetic_clip(path, **(plain | more))  # type: ignore[arg-type]


def edited(path: Path) -> Path:
    """The first 1.3 s of a clip stand outside its edit list: some packets are for decoding only."""
    with av.open(str(clip(path.with_name("unedited.mp4"), b_frames=2))) as source:
        options = {"avoid_negative_ts": "disabled"}
        with av.open(str(path), "w", options=options) as sink:
            outs = {s.index: sink.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is None or packet.pts is None:
                    continue
                shift = round(Fraction(13, 10) / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = outs[packet.stream_index]
                sink.mux(packet)
    with av.open(str(path)) as made:
        assert any(packet.is_discard for packet in made.demux(video=0))
    return path


MADE: dict[str, Callable[[Path], Path]] = {
    "b-frames and sound": lambda folder: clip(folder / "in.mp4", b_frames=2, gop=30),
    "variable rate": lambda folder: clip(
        folder / "in.mkv", b_frames=2, pts=variable(), time_base=Fraction(1, 1000)
    ),
    "open gop": lambda folder: clip(
        folder / "in.ts",
        options={"x264-params": "keyint=30:min-keyint=30:scenecut=0:open-gop=1", "bf": "2"},
    ),
    "edit list": lambda folder: edited(folder / "in.mp4"),
    "no sound": lambda folder: clip(folder / "in.mov", audio=None),
}


@pytest.mark.parametrize("kind", MADE)
def test_the_joined_output_has_every_picture_at_the_time_of_an_uncut_one(
    kind: str, tmp_path: Path
) -> None:
    source = MADE[kind](tmp_path)
    one, other = tmp_path / "whole.mp4", tmp_path / "pieces.mp4"
    listener = Listener()
    uncut = whole(pipeline(), source, one)
    joined = in_pieces(pipeline(), source, other, listener=listener)
    assert listener.pieces > 1
    assert packets(other) == packets(one)
    assert packets(other, "audio") == packets(one, "audio")
    assert worst_db(one, other) > ALIKE_DB
    assert (joined.frames_in, joined.frames_out) == (uncut.frames_in, uncut.frames_out)
    assert joined.frames_out == len(packets(one))
    assert joined.rungs[0].keyframes == uncut.rungs[0].keyframes
    assert (joined.audio is None) == (uncut.audio is None)
    assert left_over(tmp_path) == []


def test_a_ladder_has_the_segments_of_an_uncut_one(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", b_frames=2)
    rungs = [{"height": 120, "bitrate": "300k"}, {"height": 60, "bitrate": "100k"}]
    work = pipeline(ladder=rungs)
    one, other = tmp_path / "whole", tmp_path / "pieces"
    whole(work, source, one)
    report = in_pieces(work, source, other)
    for rung in ("120p", "60p", "audio/0"):
        kind = "audio" if rung.startswith("audio") else "video"
        playlist = f"{rung}/index.m3u8"
        assert packets(other / playlist, kind) == packets(one / playlist, kind)
        assert (other / playlist).read_text() == (one / playlist).read_text()
    assert worst_db(one / "60p/index.m3u8", other / "60p/index.m3u8") > ALIKE_DB
    assert [rung.frames for rung in report.rungs] == [FRAMES, FRAMES]
    assert left_over(tmp_path) == []


def test_a_frame_rate_cap_and_stages_that_remember_give_the_pictures_of_an_uncut_run(
    tmp_path: Path,
) -> None:
    source = clip(tmp_path / "in.mp4", rate=50, frames=2 * FRAMES, gop=50)
    work = pipeline(fps_cap=30, stages=[{"temporal": {"strength": 0.7}}])
    one, other = tmp_path / "whole.mkv", tmp_path / "pieces.mkv"
    choices = Choices(sound=Sound.NONE)
    uncut = whole(work, source, one, choices)
    joined = in_pieces(work, source, other, choices)
    assert packets(other) == packets(one)
    assert worst_db(one, other) > ALIKE_DB
    assert joined.dropped == uncut.dropped == {"fps_cap": FRAMES}


def test_what_cannot_be_cut_is_made_whole_and_says_why(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=50)
    listener = Listener()
    report = in_pieces(pipeline(), source, tmp_path / "out.mp4", listener=listener)
    assert report.frames_out == 50
    assert listener.notes == ["made by one process: it is too short"]
    assert left_over(tmp_path) == []
