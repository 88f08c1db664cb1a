"""`gst:` outlets: what GStreamer sends, GStreamer 1.22 of Debian itself behind them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from streamgen.deliver.gstreamer import GstOutlet
from streamgen.errors import OutputError
from streamgen.ingest.container import ContainerSource, open_source
from streamgen.ingest.pace import Paced
from streamgen.media.tracks import EncodedTrack
from streamgen.telemetry import MonotonicClock
from streamgen.testing import synthetic_clip
from tests.gstreamer.installed import alive, coded_file, needing, rtsp, slices
from tests.ports import free_port

pytestmark = [pytest.mark.timeout(60), needing("tsparse", "matroskademux", "aacparse")]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return synthetic_clip(tmp_path / "clip.mp4", width=64, height=48, frames=50, b_frames=2)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than a pipe holds."""
    path = synthetic_clip(
        tmp_path_factory.mktemp("long") / "long.mp4", frames=30, options={"crf": "1"}
    )
    assert path.stat().st_size > 200_000
    return path


def tracks_of(source: ContainerSource) -> list[EncodedTrack]:
    """The tracks of a file as if they had been encoded just now."""
    video = source.info.video
    stream = source._container.streams.video[0]
    found = [EncodedTrack(video.name, "video", video.codec, video.time_base, stream, 0)]
    for sound in source.info.audio:
        found.append(
            EncodedTrack(sound.name, "audio", sound.codec, sound.time_base, sound.stream, 0)
        )
    return found


def send(
    clip: Path, description: str, *, timeout_s: float = 10.0, paced: bool = False
) -> Sequence[str]:
    """All packets of a clip through a pipeline; what was left out."""
    source = open_source(str(clip))
    outlet = GstOutlet(f"gst:{description}", timeout_s=timeout_s)
    try:
        outlet.open(tracks_of(source))
        playing = Paced(source, MonotonicClock()) if paced else source
        for packet in playing.packets():
            outlet.write(packet)
        outlet.finish()
    finally:
        outlet.abort()
        source.close()
    return outlet.dropped_tracks


def failure(clip: Path, description: str, *, timeout_s: float = 10.0) -> str:
    with pytest.raises(OutputError) as caught:
        send(clip, description, timeout_s=timeout_s)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "description",
    [
        "filesink location={made}",
        "video. ! m. audio. ! m. matroskamux name=m ! filesink location={made}",
        "mp4mux name=m ! filesink location={made} audio. ! m. video. ! m.",
    ],
)
@needing("mp4mux", "matroskamux")
def test_a_pipeline_gets_what_was_encoded(clip: Path, tmp_path: Path, description: str) -> None:
    made = tmp_path / "made"
    assert send(clip, description.replace("{made}", str(made))) == []
    assert coded_file(made) == coded_file(clip)


def test_a_description_that_takes_the_picture_only_gets_no_sound(
    clip: Path, tmp_path: Path
) -> None:
    left_out = send(clip, f"video. ! matroskamux ! filesink location={tmp_path / 'made'}")
    assert left_out == ["audio/0 (aac): gst:filesink has no place for it"]
    with av.open(str(tmp_path / "made")) as made:
        assert [stream.type for stream in made.streams] == ["video"]


@needing("srtsink", ffmpeg=True)
def test_srt_is_sent_and_read_back_by_ffmpeg(clip: Path, tmp_path: Path) -> None:
    port = free_port()
    made = tmp_path / "made.mp4"
    url = f"srt://127.0.0.1:{port}?mode=listener&passphrase=hunter2hunter2"
    reading = ["ffmpeg", "-v", "error", "-i", url, "-c", "copy", str(made)]
    reader = subprocess.Popen(reading, stderr=subprocess.DEVNULL)
    try:
        send(clip, f"srtsink uri=srt://127.0.0.1:{port} passphrase=hunter2hunter2", paced=True)
        reader.wait(20)
    finally:
        reader.kill()
        reader.wait()
    pictures, sound = coded_file(made)
    sent, sent_sound = coded_file(clip)
    # Hanging up, libsrt lets go of what is not acknowledged yet.
    assert len(pictures) > len(sent) - 15 and len(sound) > len(sent_sound) - 30
    begin = sent.index(pictures[0])
    assert pictures == sent[begin : begin + len(pictures)]
    begin = sent_sound.index(sound[0])
    assert sound == sent_sound[begin : begin + len(sound)]


@needing("rtspclientsink", "rtph264depay", "rtsp-server")
def test_rtsp_is_sent_as_it_was_encoded(clip: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.h264"
    recorded = (
        f"video/x-h264,stream-format=byte-stream ! filesink buffer-mode=unbuffered location={made}"
    )
    with rtsp(f"( rtph264depay name=depay0 ! h264parse ! {recorded} )") as url:
        send(clip, f"video. ! rtspclientsink location={url}", paced=True)
    with av.open(str(made)) as file:
        pictures = [slices(bytes(packet)) for packet in file.demux() if packet.size]
    sent, _ = coded_file(clip)
    assert len(pictures) > len(sent) - 10
    assert pictures == sent[: len(pictures)]


@pytest.mark.parametrize(
    ("description", "why"),
    [
        ("", "gst:...: syntax error"),
        ("nosuchsink", 'gst:nosuchsink: no element "nosuchsink" (is it spelled right?'),
        ("srtsink urx=1", 'gst:srtsink: no property "urx"'),
        ("filesink location=/no/such/folder/x", "No such file"),
        ("video. ! fakesink audio. ! nosuch. ", "gst:fakesink: "),
        ("identity error-after=3 ! fakesink", "Failed after iterations as requested"),
    ],
)
def test_an_odd_description_is_refused_in_one_line(clip: Path, description: str, why: str) -> None:
    assert why in failure(clip, description)


def test_a_pipeline_may_not_end_before_the_stream(long: Path) -> None:
    said = failure(long, "identity eos-after=3 ! fakesink")
    assert said == "gst:fakesink: has ended before the stream"


def test_a_description_may_not_take_what_is_not_there(tmp_path: Path) -> None:
    silent = synthetic_clip(tmp_path / "silent.mp4", width=64, height=48, frames=5, audio=None)
    said = failure(silent, "video. ! m. audio. ! m. matroskamux name=m ! fakesink")
    assert said == "gst:fakesink: takes 'audio.', but the stream has no audio"


def test_a_pipeline_that_takes_nothing_is_given_up(long: Path) -> None:
    said = failure(long, "identity sleep-time=60000000 ! fakesink", timeout_s=1)
    assert said.startswith("gst:fakesink: takes nothing for 1 s")


def test_a_pipeline_that_is_killed_ends_the_stream_with_an_error(clip: Path) -> None:
    source = open_source(str(clip))
    outlet = GstOutlet("gst:fakesink")
    outlet.open(tracks_of(source))
    assert outlet._process
    pid = outlet._process.pid
    packets = source.packets()
    for _, packet in zip(range(20), packets, strict=False):
        outlet.write(packet)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(OutputError, match="gst:fakesink: GStreamer was ended by SIGKILL"):
        for packet in packets:
            outlet.write(packet)
        outlet.finish()
    outlet.abort()
    source.close()
    assert not alive(pid)


def test_nothing_is_left_of_a_pipeline_that_is_given_up(clip: Path, tmp_path: Path) -> None:
    source = open_source(str(clip))
    before = len(os.listdir("/proc/self/fd"))
    outlet = GstOutlet("gst:identity sleep-time=60000000 ! fakesink")
    outlet.open(tracks_of(source))
    assert outlet._process
    pid = outlet._process.pid
    for _, packet in zip(range(20), source.packets(), strict=False):
        outlet.write(packet)
    outlet.abort()
    outlet.abort()
    assert not alive(pid)
    assert len(os.listdir("/proc/self/fd")) == before
    source.close()


def test_a_secret_of_the_description_is_in_no_message(clip: Path) -> None:
    said = failure(clip, "srtsink uri=srt://me:hunter2@x?passphrase=hunter2 passphrase=hunter2 !")
    assert "hunter2" not in said
