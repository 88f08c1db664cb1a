"""Zero copies between the decoder and the top rung's encoder: by pointers, and counted outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import pytest

from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.deliver.container import FileOutlet
from streamgen.encode import codec as encoders
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.media.frame import Frame, Plane
from streamgen.media.packet import Packet
from streamgen.media.shell import shell
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.protocols import Inputs, Mode, ModelSpec, Runtime, Ticket
from streamgen.runtimes.choose import MeasuredEngines
from streamgen.session import run
from streamgen.testing import synthetic_clip

FRAMES = 12
COUNTER = Path(__file__).parents[2] / "benchmarks" / "memcpy_count.c"


def styled() -> Pipeline:
    return Pipeline.model_validate(
        {
            "name": "test",
            "stages": [{"style": {"model": "starry"}}],
            "ladder": [{"height": "source", "bitrate": "2M"}],
            "encoder": {"tune": "zerolatency"},
        }
    )


class Seen:
    """Addresses of the planes at each border of the journey."""

    def __init__(self) -> None:
        self.decoded: list[tuple[int, ...]] = []
        self.read: list[tuple[int, ...]] = []
        self.written: list[tuple[int, ...]] = []
        self.encoded: list[tuple[int, ...]] = []


class SpyEngines(MeasuredEngines):
    """Real engines that note which memory they are given."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(Mode.OFFLINE, tune="never")
        self.seen = seen

    def open(self, model: ModelSpec, width: int, height: int, **color: Any) -> Any:
        return SpyRuntime(super().open(model, width, height, **color), self.seen)


class SpyRuntime:
    def __init__(self, inner: Runtime, seen: Seen) -> None:
        self.inner = inner
        self.seen = seen

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> Ticket:
        planes = [plane for plane in inputs.values() if isinstance(plane, Plane)]
        self.seen.read.append(tuple(plane.ptr for plane in planes))
        self.seen.written.append(tuple(plane.ptr for plane in out.values()))
        return self.inner.submit(inputs, out)

    def close(self) -> None:
        self.inner.close()


def carried(
    lane: Lane, clip: Path, target: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> dict[str, int]:
    """Run the clip through a style with every border watched; the copy meter's planes."""
    real_decode = FFmpegDecoder.decode

    def decode(self: FFmpegDecoder, packet: Packet) -> Sequence[Frame]:
        frames = real_decode(self, packet)
        seen.decoded += [tuple(plane.ptr for plane in frame.planes) for frame in frames]
        return frames

    def watched(frame: Frame) -> av.VideoFrame:
        picture = shell(frame)
        seen.encoded.append(tuple(plane.buffer_ptr for plane in picture.planes))
        return picture

    monkeypatch.setattr(FFmpegDecoder, "decode", decode)
    monkeypatch.setattr(encoders, "shell", watched)
    engines = SpyEngines(seen)
    session = open_session(
        styled(), open_source(str(clip)), [FileOutlet(target)], lane=lane, engines=engines
    )
    with session:
        run(session)
        return dict(session.meter.planes)


def test_at_720p_the_network_reads_the_decoder_and_the_encoder_reads_the_network(
    lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", width=1280, height=720, frames=FRAMES, audio=None)
    seen = Seen()
    copies = carried(lane, clip, tmp_path / "x.mp4", seen, monkeypatch)
    assert len(seen.read) == len(seen.encoded) == FRAMES
    assert seen.read[: len(seen.decoded)] == seen.decoded
    assert seen.encoded == seen.written
    assert copies == {}


def test_at_854_pixels_each_plane_is_copied_once_on_the_way_in_and_never_on_the_way_out(
    lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", width=854, height=480, frames=FRAMES, audio=None)
    seen = Seen()
    copies = carried(lane, clip, tmp_path / "x.mp4", seen, monkeypatch)
    assert seen.encoded == seen.written
    assert copies == {"unpacked plane": 3 * FRAMES}


PROGRAM = """
import sys
from pathlib import Path
from tests.journey.test_copies import styled
from streamgen.deliver.container import FileOutlet
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.opening import open_session
from streamgen.session import run
with Lane() as lane:
    outlet = FileOutlet(Path(sys.argv[2]))
    with open_session(styled(), open_source(sys.argv[1]), [outlet], lane=lane) as session:
        run(session)
        print(session.meter.total)
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc)")
    library = tmp_path_factory.mktemp("counter") / "memcpy_count.so"
    command = [compiler, "-O2", "-fno-builtin", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(COUNTER)], check=True)
    return library


@pytest.mark.parametrize(("width", "height", "planes"), [(1280, 720, 0), (854, 480, 3)])
def test_a_counter_outside_the_process_agrees_with_the_meter(
    counter: Path, tmp_path: Path, width: int, height: int, planes: int
) -> None:
    """Rows as long as a plane's, and whole planes; one copy of a plane would be `height` of them.

    The decoder's own border rows are longer than the picture, and packets have other sizes. A
    runtime may copy rows of its own that are as long (15 of chroma's length a picture were seen,
    on one processor and not on another): fewer in all than one plane has rows.
    """
    clip = synthetic_clip(
        tmp_path / "in.mp4", width=width, height=height, frames=FRAMES, audio=None
    )
    counts = tmp_path / "counts"
    environment = {**os.environ, "LD_PRELOAD": str(counter), "MEMCPY_COUNT": str(counts)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(clip), str(tmp_path / "x.mp4")],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert int(done.stdout) == planes * FRAMES
    calls = {int(size): int(n) for size, n in map(str.split, counts.read_text().splitlines())}
    stray = FRAMES * 20
    assert stray <= height // 2
    luma, chroma = calls.get(width, 0), calls.get(width // 2, 0)
    wanted = height * FRAMES if planes else 0
    assert wanted <= luma < wanted + stray
    assert wanted <= chroma < wanted + stray
    assert calls.get(width * height, 0) == calls.get(width * height // 4, 0) == 0
