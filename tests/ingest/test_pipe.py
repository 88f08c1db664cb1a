"""Standard input and FIFOs: read once, never waited for without end."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from streamgen.errors import SourceError
from streamgen.ingest.container import open_source
from streamgen.ingest.pipe import Pipe
from streamgen.testing import synthetic_clip
from tests.ingest.opening import PLAYLISTS, packets, refusal


def fed(path: Path, data: bytes, *, hold: threading.Event | None = None) -> threading.Thread:
    """A FIFO with a writer."""
    os.mkfifo(path)

    def feed() -> None:
        with path.open("wb") as fifo:
            fifo.write(data)
            if hold is not None:
                fifo.flush()
                hold.wait(5)

    writer = threading.Thread(target=feed)
    writer.start()
    return writer


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.mkv", width=64, height=48, frames=30)
    writer = fed(tmp_path / "fifo", clip.read_bytes())
    assert sum(p.track == "video/0" for p in packets(tmp_path / "fifo")) == 30
    writer.join()


def test_a_dash_is_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = synthetic_clip(tmp_path / "a.mkv", width=64, height=48, frames=10)
    with clip.open("rb") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert sum(p.track == "video/0" for p in packets("-")) == 10
        assert stdin.fileno() >= 0


def test_a_playlist_in_a_pipe_opens_nothing(tmp_path: Path, clip: Path) -> None:
    text = PLAYLISTS["hls"].format(target=clip)
    writer = fed(tmp_path / "fifo", text.encode())
    assert "not a video" in refusal(tmp_path / "fifo")
    writer.join()


def test_a_pipe_without_a_writer_times_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "no answer within 0.2 s" in refusal(tmp_path / "fifo", timeout_s=0.2)


def test_a_pipe_that_falls_silent_is_an_error_and_cancel_ends_it_at_once(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "a.ts", frames=50, audio=None)
    hold = threading.Event()
    writer = fed(tmp_path / "fifo", clip.read_bytes(), hold=hold)
    source = open_source(str(tmp_path / "fifo"), timeout_s=4)
    threading.Timer(0.2, source.cancel).start()
    began = time.monotonic()
    list(source.packets())
    assert time.monotonic() - began < 2
    source.close()
    hold.set()
    writer.join()


@pytest.mark.parametrize("early", [True, False], ids=["early", "late"])
@pytest.mark.parametrize("opening", [True, False], ids=["opening", "reading"])
def test_an_interrupt_while_libavformat_calls_us_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: bool, opening: bool
) -> None:
    clip = synthetic_clip(tmp_path / "a.mkv", width=64, height=48, frames=10, audio=None)
    read, armed = Pipe.read, threading.Event()

    def interrupted(self: Pipe, size: int) -> bytes:
        if early and armed.is_set():
            signal.raise_signal(signal.SIGINT)
        found = read(self, size)
        if armed.is_set():
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(Pipe, "read", interrupted)
    if opening:
        armed.set()
    with clip.open("rb") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(KeyboardInterrupt), closing(open_source("-")) as source:
            armed.set()
            list(source.packets())


def test_an_mp4_in_a_pipe_with_its_index_at_the_end_says_so(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    noise = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qmin": "1", "qmax": "1"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for _ in range(30):  # more than libavformat holds back to look at
            pixels = noise.integers(0, 256, (720, 640), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    feeding = fed(tmp_path / "fifo", path.read_bytes())
    with pytest.raises(SourceError, match="an MP4 needs its index at the start"):
        for _ in open_source(str(tmp_path / "fifo")).packets():
            pass
    feeding.join(10)
