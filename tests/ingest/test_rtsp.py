"""Pulling a stream by RTSP with libavformat alone, from a server of GStreamer's."""

from __future__ import annotations

import socket
from itertools import pairwise
from pathlib import Path

import pytest

from streamgen.errors import SourceError
from streamgen.ingest.container import open_source
from streamgen.testing import synthetic_clip
from tests.gstreamer.installed import coded, coded_file, needing, rtsp
from tests.ports import free_port

pytestmark = pytest.mark.timeout(60)
SERVED = (
    "( filesrc location={clip} ! qtdemux name=d d. ! queue ! h264parse ! rtph264pay name=pay0 pt=96"
    " d. ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )"
)
SECRET = "hunter2"


@needing("rtph264pay", "rtpmp4gpay", "rtsp-server")
def test_a_camera_s_stream_is_received_as_it_was_encoded(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "clip.mp4", frames=60, gop=10)
    with rtsp(SERVED.format(clip=clip)) as url:
        source = open_source(url, timeout_s=5.0)
        assert source.info.live and source.info.audio
        packets = []
        for packet in source.packets():
            packets.append(packet)
            if sum(one.track == "video/0" for one in packets) == 40:
                break
        source.close()
    pictures, _ = coded(packets)
    sent, _ = coded_file(clip)
    begin = sent.index(pictures[0])
    assert pictures == sent[begin : begin + 40]
    # Before the server's first report (RTP-Info, RTCP) libavformat knows no times.
    known = [one for one in packets if one.track == "video/0" and one.pts is not None]
    assert len(known) > 20
    assert all(a.pts < b.pts for a, b in pairwise(known))


def test_a_server_that_says_nothing_or_is_not_there_is_left_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(SourceError, match=r"127\.0\.0\.1") as said:
            open_source(f"rtsp://me:{SECRET}@127.0.0.1:{port}/x?k={SECRET}", timeout_s=1.0)
    assert SECRET not in str(said.value)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1"):
        open_source(f"rtsp://127.0.0.1:{free_port()}/x", timeout_s=1.0)
