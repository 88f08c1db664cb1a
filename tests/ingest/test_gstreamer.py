"""`gst:` sources: what GStreamer reads, GStreamer 1.22 of Debian itself behind them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from streamgen.errors import SourceError
from streamgen.gstreamer import process
from streamgen.ingest.container import ContainerSource, open_source
from streamgen.testing import synthetic_clip
from tests.gstreamer.installed import alive, coded, coded_file, gone, needing, rtsp
from tests.ports import free_port

pytestmark = [pytest.mark.timeout(60), needing()]
SERVED = (
    "( filesrc location={clip} ! qtdemux name=d d. ! queue ! h264parse ! rtph264pay name=pay0 pt=96"
    " d. ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )"
)
OPENED: list[ContainerSource] = []
PICTURES = "videotestsrc num-buffers=30 ! video/x-raw,width=64,height=48"


def opened(description: str, timeout_s: float = 10.0) -> ContainerSource:
    source = open_source(f"gst:{description}", timeout_s=timeout_s, pipelines=True)
    OPENED.append(source)
    return source


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Also after a test that fails in the middle."""
    yield
    while OPENED:
        OPENED.pop().close()


def refusal(description: str, timeout_s: float = 10.0) -> str:
    with pytest.raises(SourceError) as caught:
        opened(description, timeout_s).close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """With B-frames: their times must come out as they went in."""
    return synthetic_clip(tmp_path / "clip.mp4", width=64, height=48, frames=75, b_frames=2)


@contextmanager
def srt_from(clip: Path, port: int) -> Iterator[None]:
    to = f"srt://127.0.0.1:{port}?mode=caller&passphrase=hunter2hunter2&connect_timeout=8000"
    command = ["ffmpeg", "-v", "error", "-readrate", "2", "-i", str(clip), "-c", "copy"]
    sender = subprocess.Popen([*command, "-f", "mpegts", to], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        sender.kill()
        sender.wait()


@needing("srtsrc", "tsdemux", ffmpeg=True)
@pytest.mark.parametrize("tail", ["", " ! tsparse ! tsdemux name=d d. ! h264parse"])
def test_srt_is_received_as_it_was_encoded(clip: Path, tail: str) -> None:
    port = free_port()
    with srt_from(clip, port):
        source = opened(
            f"srtsrc uri=srt://127.0.0.1:{port}?mode=listener passphrase=hunter2hunter2{tail}"
        )
        pictures, sound = coded(source.packets())
        source.close()
    sent, sent_sound = coded_file(clip)
    # ffmpeg hangs up before its last packets are through.
    assert len(sent) - 15 < len(pictures)
    assert pictures == sent[: len(pictures)]
    if tail:
        assert not sound  # the description takes the picture only
    else:
        assert len(sent_sound) - 30 < len(sound)
        assert sound == sent_sound[: len(sound)]


@needing("rtspsrc", "rtph264depay", "rtpmp4gpay", "rtsp-server")
def test_rtsp_is_received_as_it_was_encoded(clip: Path) -> None:
    with rtsp(SERVED.format(clip=clip)) as url:
        source = opened(f"rtspsrc location={url} protocols=tcp latency=100 buffer-mode=none")
        packets = list(source.packets())
        source.close()
    pictures, sound = coded(packets)
    sent, sent_sound = coded_file(clip)
    assert pictures == sent
    # The server leaves out the encoder's priming, and ends with the picture.
    begin = sent_sound.index(sound[0])
    assert sound == sent_sound[begin : begin + len(sound)]
    assert begin <= 2 and len(sound) >= len(sent_sound) - 4
    times = sorted(p.pts * p.time_base for p in packets if p.track == "video/0")
    steps = [float(after - before) for before, after in pairwise(times)]
    assert steps == pytest.approx([0.04] * 74, abs=0.001)


@needing("qtdemux", "videoconvert")
@pytest.mark.parametrize(
    ("description", "video", "audio"),
    [
        (f"{PICTURES}", "rawvideo", []),
        (f"{PICTURES} ! capsfilter caps=video/x-raw,format=RGBx", "rawvideo", []),
        (f"{PICTURES} ! x264enc", "h264", []),
        (f"{PICTURES} ! jpegenc", "mjpeg", []),
        (f"{PICTURES} ! vp8enc", "vp8", []),
        (f"audiotestsrc num-buffers=50 ! opusenc {PICTURES} ! x264enc", "h264", ["opus"]),
        (f"audiotestsrc num-buffers=50 {PICTURES} ! x264enc", "h264", ["pcm_s16le"]),
        ("filesrc location={clip} ! qtdemux", "h264", ["aac"]),
        ("filesrc location={clip} ! qtdemux name=d d.video_0 ! queue ! h264parse", "h264", []),
        (f"{PICTURES} ! x264enc ! mpegtsmux", "h264", []),
        (f"{PICTURES} ! x264enc ! rtph264pay ! capsfilter", "h264", []),
    ],
)
def test_what_a_description_leaves_open_is_the_source(
    clip: Path, description: str, video: str, audio: list[str]
) -> None:
    source = opened(description.replace("{clip}", str(clip)))
    pictures = [p for p in source.packets() if p.track == "video/0"]
    source.close()
    assert source.info.video.codec == video
    assert [track.codec for track in source.info.audio] == audio
    assert source.info.live
    assert len(pictures) == (75 if "{clip}" in description else 30)


@pytest.mark.parametrize(
    ("description", "why"),
    [
        ("", "empty"),
        ("videotestsrc ! !", "syntax error"),
        ("nosuchsrc uri=x", 'no element "nosuchsrc" (is it spelled right?'),
        ("ndisrc ndi-name=x", "gst-plugins-rs"),
        ("srtsrc urx=1", 'no property "urx"'),
        ("videotestsrc ! aacparse", "could not link"),
        ("videotestsrc ! fakesink", "leaves no end open"),
        ("filesrc location=/a filesrc location=/b", "join them"),
        ("filesrc location=/no/such/file", "No such file"),
        ("audiotestsrc num-buffers=20", "sound but no video"),
        ("fakesrc num-buffers=3", "ended before anything came"),
        ("filesrc location=/dev/zero num-buffers=50", "gives no video of a known kind"),
    ],
)
def test_an_odd_description_is_refused_in_one_line(description: str, why: str) -> None:
    said = refusal(description)
    assert said.startswith(f"gst:{description.partition(' ')[0] or '...'}: ")
    assert why in said


@pytest.mark.parametrize(
    "description",
    [
        "appsrc",
        "appsrc caps=video/x-h264",
        "videotestsrc is-live=true ! valve drop=true",
    ],
)
def test_a_pipeline_that_never_gives_a_picture_is_given_up(description: str) -> None:
    assert "no stream for 1 s from gst:" in refusal(description, timeout_s=1)


def test_a_secret_of_the_description_is_in_no_message() -> None:
    port = free_port()
    said = refusal(
        f"rtspsrc location=rtsp://me:hunter2@127.0.0.1:{port}/x?t=hunter2 user-pw=hunter2"
    )
    assert "hunter2" not in said
    assert "rtspsrc" in said
    assert "hunter2" not in refusal("srtsrc passphrase=hunter2 passphrase=hunter2 !")


def test_a_pipeline_that_is_killed_ends_the_stream_with_an_error() -> None:
    source = opened("videotestsrc is-live=true ! capsfilter caps=video/x-raw,width=64,height=48")
    pid = source._pipe._process.pid  # type: ignore[union-attr]
    packets = source.packets()
    next(packets)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SourceError, match="gst:videotestsrc: GStreamer was ended by SIGKILL"):
        list(packets)
    source.close()
    assert not alive(pid)


def test_a_pipeline_that_reports_an_error_ends_a_live_stream_that_is_kept() -> None:
    # An encoder that holds pictures back would give them behind the error: GStreamer drains it.
    source = opened(
        "videotestsrc pattern=snow ! video/x-raw,width=160,height=120,framerate=30/1 "
        "! x264enc speed-preset=ultrafast tune=zerolatency ! identity error-after=900"
    )
    numbers = [round(p.pts * p.time_base * 30) for p in source.packets()]
    assert 0 < len(numbers) <= 899  # what was on its way when it failed may be lost
    assert numbers == list(range(len(numbers)))
    assert any("the stream has ended: identity" in note for note in source.notes)
    source.close()


def test_a_silent_track_is_left_out_and_told() -> None:
    source = opened(f"audiotestsrc is-live=true ! valve drop=true {PICTURES} ! x264enc")
    assert len(list(source.packets())) == 30
    assert any("left out: nothing came of it" in note for note in source.notes)
    source.close()


def test_nothing_is_left_of_a_pipeline_that_is_closed_while_it_runs() -> None:
    before = len(os.listdir("/proc/self/fd"))
    source = opened(PICTURES.replace("num-buffers=30", "is-live=true"))
    pid = source._pipe._process.pid  # type: ignore[union-attr]
    packets = source.packets()
    next(packets)
    source.cancel()
    assert len(list(packets)) < 10
    source.close()
    source.close()
    assert not alive(pid)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pipeline_ends_with_the_process_that_started_it() -> None:
    code = (
        "import sys, time; from streamgen.ingest.container import open_source\n"
        "s = open_source('gst:videotestsrc is-live=true', pipelines=True)\n"
        "print(s._pipe._process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


@pytest.mark.parametrize("python", ["/no/such/python", sys.executable])
def test_where_gstreamer_is_missing_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    monkeypatch.setattr(process, "PYTHON", python)
    assert "python3-gst-1.0" in refusal("videotestsrc")


def test_only_who_says_so_may_open_pipelines(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(SourceError, match="are refused here"):
        open_source(f"gst:fakesrc num-buffers=1 ! filesink location={made}")
    assert not made.exists()
