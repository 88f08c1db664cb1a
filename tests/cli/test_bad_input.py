"""Bad input: a clear line and status 1, or a documented conversion. Nothing is left behind."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamgen.testing import synthetic_clip

from .conftest import STREAMGEN, Run


def small(path: Path, **options: object) -> Path:
    return synthetic_clip(path, **({"width": 96, "height": 64, "frames": 12} | options))  # type: ignore[arg-type]


def without_rights(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run streamgen as somebody to whom file permissions apply; to root they do not."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv of util-linux to give up its rights")
        prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]
    command = [*prefix, *STREAMGEN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("This is no video.\n" * 100)
    return folder / "text.mp4"


def moov_less(folder: Path) -> Path:
    """Cut off before the index at the end, as a recorder that lost power leaves it."""
    data = small(folder / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: data.rindex(b"moov") - 4])
    return folder / "cut.mp4"


def zero_frames(folder: Path) -> Path:
    path = folder / "zero.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return path


def audio_only(folder: Path) -> Path:
    path = folder / "sound.m4a"
    with av.open(str(small(folder / "both.mp4"))) as source, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    return path


def cover_only(folder: Path) -> Path:
    """A song with its cover: one attached picture, which is no video."""
    sound, cover, path = audio_only(folder), folder / "cover.png", folder / "song.mp3"
    with av.open(str(cover), "w", format="image2") as image:
        stream = image.add_stream("png", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt = "rgb24"
        picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
        image.mux(stream.encode(picture))
        image.mux(stream.encode(None))
    id3 = b"\x03image/png\0\x03\0" + cover.read_bytes()
    frame = b"APIC" + struct.pack(">I", len(id3)) + b"\0\0" + id3
    size = len(frame)
    head = b"ID3\x03\0\0" + bytes((size >> s) & 127 for s in (21, 14, 7, 0))
    with av.open(str(sound)) as source, av.open(str(folder / "raw.mp3"), "w") as made:
        stream = made.add_stream("mp3", rate=48_000)
        for decoded in source.decode(audio=0):
            made.mux(stream.encode(decoded))
        made.mux(stream.encode(None))
    path.write_bytes(head + frame + (folder / "raw.mp3").read_bytes())
    return path


def folder_without_media(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    (folder / "nothing" / "notes.txt").write_text("no media")
    return folder / "nothing"


def playlist_of_local_files(folder: Path) -> Path:
    """What an attacker uploads to read the server's files."""
    path = folder / "playlist.m3u8"
    path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    )
    return path


REFUSED = [
    missing,
    empty,
    text,
    moov_less,
    zero_frames,
    audio_only,
    cover_only,
    folder_without_media,
    playlist_of_local_files,
]


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_what_cannot_be_used_is_refused_in_one_line(
    run: Run, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    (tmp_path / "in").mkdir()
    told = run(make(tmp_path / "in"), "-o", tmp_path / "new" / "out.mp4")
    assert told.exit_code == 1, told.output
    assert told.stderr.startswith("streamgen: ")
    assert len(told.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_an_impossible_address_is_refused_and_the_others_go_on(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    told = run("http://[bad/x?key=hunter2", clip, "-o", f"{tmp_path}/new/")
    assert told.exit_code == 1, told.output
    assert "is no possible address" in told.stderr and "hunter2" not in told.stderr
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["clip.mp4"]


def test_an_unreadable_input_is_refused(plain: str, tmp_path: Path) -> None:
    clip = small(tmp_path / "secret.mp4")
    clip.chmod(0)
    told = without_rights("run", plain, clip, "-o", tmp_path / "new" / "out.mp4")
    assert told.returncode == 1
    assert told.stderr.startswith("streamgen: ") and len(told.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("output", ["out.mp4", "out/"])
def test_a_folder_that_cannot_be_written_is_refused(
    plain: str, tmp_path: Path, output: str
) -> None:
    clip = small(tmp_path / "clip.mp4")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    told = without_rights("run", plain, clip, "-o", f"{locked}/{output}")
    assert told.returncode == 1
    assert told.stderr.startswith("streamgen: ") and len(told.stderr.splitlines()) == 1
    assert list(locked.iterdir()) == []


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit of util-linux")
@pytest.mark.parametrize("output", ["out.mp4", "out.mkv", "out/"])
def test_a_disk_that_fills_up_leaves_nothing_behind(
    plain: str, tmp_path: Path, output: str
) -> None:
    clip = small(tmp_path / "clip.mp4", frames=50)
    (tmp_path / "new").mkdir()
    command = ["prlimit", "--fsize=6000", *STREAMGEN, "run", plain, str(clip), "-o"]
    told = subprocess.run(
        [*command, f"{tmp_path}/new/{output}"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 1, told.stderr
    assert told.stderr.startswith("streamgen: ") and len(told.stderr.splitlines()) == 1
    assert list((tmp_path / "new").iterdir()) == []


SIZES = [(1, 1), (17, 31), (8192, 16), (2, 400)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_any_size_becomes_a_ladder(run: Run, tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    clip = synthetic_clip(
        tmp_path / "clip.mkv",
        width=width,
        height=height,
        frames=3,
        audio=None,
        codec="ffv1",
        pix_fmt="yuv444p",
    )
    told = run(clip, "-o", f"{tmp_path}/out/")
    assert told.exit_code == 0, told.output
    even = (width + width % 2, height + height % 2)
    with av.open(str(tmp_path / "out" / "source" / "index.m3u8")) as made:
        assert (made.streams.video[0].width, made.streams.video[0].height) == even
        assert sum(1 for _ in made.decode(video=0)) == 3
    if even != size:
        assert f"padded from {width}x{height}" in told.stdout


def test_one_frame_is_enough(run: Run, tmp_path: Path) -> None:
    told = run(small(tmp_path / "one.mp4", frames=1, audio=None), "-o", tmp_path / "out.mp4")
    assert told.exit_code == 0, told.output
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert sum(1 for _ in made.decode(video=0)) == 1


def test_a_truncated_recording_gives_what_is_there(run: Run, tmp_path: Path) -> None:
    whole = small(tmp_path / "whole.mkv", frames=50, audio=None, gop=5)
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    told = run(tmp_path / "cut.mkv", "-o", tmp_path / "out.mp4")
    assert told.exit_code == 0, told.output
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert 10 < sum(1 for _ in made.decode(video=0)) < 50


def test_damaged_slices_lose_frames_and_not_the_run(run: Run, tmp_path: Path) -> None:
    clip = small(tmp_path / "clip.mkv", frames=60, audio=None, gop=10)
    data = bytearray(clip.read_bytes())
    random = np.random.default_rng(7)
    for at in random.integers(len(data) // 3, len(data) * 2 // 3, 40):
        data[at] ^= 0xFF
    (tmp_path / "damaged.mkv").write_bytes(data)
    told = run(tmp_path / "damaged.mkv", "-o", tmp_path / "out.mp4")
    assert told.exit_code == 0, told.output
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert sum(1 for _ in made.decode(video=0)) >= 30


def test_a_change_of_size_inside_a_file_keeps_the_first_size(run: Run, tmp_path: Path) -> None:
    parts = [tmp_path / "a.ts", tmp_path / "b.ts"]
    small(parts[0], frames=10, audio=None)
    small(parts[1], width=128, height=96, frames=10, audio=None)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    told = run(joined, "-o", tmp_path / "out.mp4")
    assert told.exit_code == 0, told.output
    with av.open(str(tmp_path / "out.mp4")) as made:
        sizes = {(frame.width, frame.height) for frame in made.decode(video=0)}
        assert sizes == {(96, 64)}


def test_a_wrong_duration_is_not_believed(run: Run, tmp_path: Path) -> None:
    data = bytearray(small(tmp_path / "clip.mp4", audio=None).read_bytes())
    at = data.index(b"mvhd") + 4 + 16
    data[at : at + 4] = struct.pack(">I", 0x7FFFFFFF)
    (tmp_path / "long.mp4").write_bytes(data)
    told = run(tmp_path / "long.mp4", "-o", tmp_path / "out.mkv")
    assert told.exit_code == 0, told.output
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert made.duration is not None and Fraction(made.duration, av.time_base) < 2


def test_the_input_is_never_the_output(run: Run, tmp_path: Path) -> None:
    clip = small(tmp_path / "clip.mp4")
    before = clip.read_bytes()
    (tmp_path / "link.mp4").symlink_to(clip)
    os.link(clip, tmp_path / "hard.mp4")
    for output in ("clip.mp4", "link.mp4", "hard.mp4"):
        told = run(clip, "-o", tmp_path / output, "--overwrite")
        assert told.exit_code == 1 and len(told.stderr.splitlines()) == 1
        assert clip.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_refused(run: Run, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for output in (f"{tmp_path}/file/out/", tmp_path / "file" / "out.mp4"):
        told = run(clip, "-o", output)
        assert told.exit_code == 1, told.output
        assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("output", "reason"),
    [("out.webm", ".mp4"), ("out", "out/"), ("rtmp://host/live", "not a URL")],
)
def test_an_output_we_do_not_write_is_wrong_usage(
    run: Run, clip: Path, tmp_path: Path, output: str, reason: str
) -> None:
    told = run(clip, "-o", output if "://" in output else tmp_path / output)
    assert told.exit_code == 2
    assert reason in told.stderr and len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "override",
    ["nonsense.x=1", "encoder.nonsense=1", "encoder.preset=nonsense", "encoder", "audio.bitrate=x"],
)
def test_a_wrong_override_is_a_wrong_configuration(
    run: Run, clip: Path, tmp_path: Path, override: str
) -> None:
    told = run(clip, "-o", tmp_path / "out.mp4", "--set", override)
    assert told.exit_code == 2, told.output
    assert len(told.stderr.splitlines()) == 1
    assert not (tmp_path / "out.mp4").exists()
