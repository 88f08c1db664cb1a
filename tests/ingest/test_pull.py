"""Pulling a live stream from somebody else's server: Debian's nginx with its RTMP module."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from streamgen.deliver.container import FileOutlet
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.report import measure
from streamgen.session import run
from streamgen.testing import synthetic_clip
from tests.ports import free_port

MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
CONFIG = """
load_module {module};
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}
"""
pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not MODULE.exists(), reason="libnginx-mod-rtmp is missing"),
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is missing"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """Port of an RTMP server of its own."""
    port = free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(CONFIG.format(module=MODULE, folder=tmp_path, port=port))
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(tmp_path)])
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    yield port
    process.terminate()
    process.wait()


def test_an_rtmp_stream_is_recorded_until_its_publisher_leaves(server: int, tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "clip.mp4", frames=30)
    url = f"rtmp://127.0.0.1:{server}/live/x"
    options = ["-re", "-stream_loop", "5", "-i", str(clip), "-c:v", "libx264", "-g", "5"]
    options += ["-preset", "ultrafast", "-c:a", "aac", "-f", "flv", url]
    publisher = subprocess.Popen(["ffmpeg", "-hide_banner", "-loglevel", "error", *options])
    target = tmp_path / "out.mp4"
    try:
        time.sleep(0.5)
        source = open_source(url, timeout_s=3.0)
        with Lane() as lane:
            session = open_session(Pipeline(name="pull"), source, [FileOutlet(target)], lane=lane)
            with session:
                run(session)
                report = measure(session)
    finally:
        publisher.terminate()
        publisher.wait()
    assert any("the stream has ended" in note for note in report.notes)
    assert report.frames_in == report.frames_out + sum(report.dropped.values())
    with av.open(str(target)) as made:
        shown = sum(1 for _ in made.decode(video=0))
        assert shown == report.frames_out > 30
        assert made.streams.audio
