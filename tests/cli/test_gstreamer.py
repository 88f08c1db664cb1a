"""`streamgen run` from and to GStreamer."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from pathlib import Path

import av
import pytest

from tests.gstreamer.installed import gone, needing

from .conftest import STREAMGEN, Run

pytestmark = [pytest.mark.timeout(60), needing("tsparse")]
CAMERA = "audiotestsrc {more} videotestsrc {more} ! capsfilter caps=video/x-raw,width=96,height=64"


def counted(path: Path) -> Counter[str]:
    with av.open(str(path)) as made:
        return Counter(p.stream.codec_context.codec.canonical_name for p in made.demux() if p.size)


def test_a_pipeline_is_recorded(run: Run, tmp_path: Path) -> None:
    source = "gst:" + CAMERA.replace("{more}", "num-buffers=40")
    told = run(source, "-o", tmp_path / "made.mp4", "--report", tmp_path / "report.json")
    assert told.exit_code == 0, told.output
    made = counted(tmp_path / "made.mp4")
    assert made["h264"] == 40 and made["aac"] > 30


def test_a_file_is_sent_as_it_plays(run: Run, clip: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.ts"
    told = run(clip, "-o", f"gst:filesink location={made}")
    assert told.exit_code == 0, told.output
    assert "gst:filesink: 12 frames" in told.output
    made_of = counted(made)
    assert made_of["h264"] == 12 and made_of["aac"] > 10


def test_a_pipeline_goes_into_a_pipeline(run: Run, tmp_path: Path) -> None:
    made = tmp_path / "made.mkv"
    source = "gst:" + CAMERA.replace("{more}", "is-live=true num-buffers=30")
    sink = f"gst:video. ! m. audio. ! m. matroskamux name=m ! filesink location={made}"
    told = run(source, "-o", sink, "--report", tmp_path / "report.json")
    assert told.exit_code == 0, told.output
    assert counted(made)["h264"] > 15  # live: what is late is dropped
    assert counted(made)["aac"] > 15


def test_no_message_or_report_holds_a_secret_of_a_pipeline(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    bad = run("gst:srtsrc passphrase=hunter2 nosuch=hunter2", "-o", tmp_path / "x.mp4")
    bad_too = run(clip, "-o", "gst:srtsink passphrase=hunter2 nosuch=hunter2")
    good = run(clip, "-o", "gst:fakesink name=hunter2", "--report", report)
    assert (bad.exit_code, bad_too.exit_code, good.exit_code) == (1, 1, 0)
    for told in (bad.output, bad_too.output, good.output, report.read_text()):
        assert "hunter2" not in told
    assert "gst:srtsrc" in bad.output and "gst:srtsink" in bad_too.output


@pytest.mark.parametrize("silent", [False, True], ids=["running", "opening"])
def test_an_interrupt_ends_the_pipelines_too(plain: str, tmp_path: Path, silent: bool) -> None:
    source = "gst:appsrc" if silent else "gst:" + CAMERA.replace("{more}", "is-live=true")
    wanted = 1 if silent else 2
    command = [STREAMGEN[0], "-c", PIDS, "run", plain, source, "-o", "gst:fakesink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        pids = [int(running.stdout.readline()) for _ in range(wanted)]
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130
    assert all(gone(pid) for pid in pids)


PIDS = """
from streamgen.gstreamer.process import PipelineProcess
from streamgen.cli import main

begun = PipelineProcess.__init__

def told(self, *args, **kwargs):
    begun(self, *args, **kwargs)
    print(self.pid, flush=True)

PipelineProcess.__init__ = told
main()
"""
