"""FFmpeg's WHIP muxer publishes, with a certificate that OpenSSL takes; without, it is told why."""

from __future__ import annotations

import logging
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import pytest
from aiortc.rtcdtlstransport import RTCCertificate
from cryptography.hazmat.primitives import serialization as form

from tests.edge.webrtc.serving import Served

pytestmark = pytest.mark.skipif(
    "whip" not in av.formats_available, reason="this PyAV has no WHIP muxer"
)
PUSH = """
import sys, time
from fractions import Fraction
import av, numpy as np
url, *files = sys.argv[1:]
options = dict(zip(("cert_file", "key_file"), files))
if files: options["whip_flags"] = "dtls_active"
out = av.open(url, "w", format="whip", options=options)
video = out.add_stream("libx264", rate=25)
video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
video.codec_context.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
video.codec_context.gop_size = 25
audio = out.add_stream("libopus", rate=48000)
out.start_encoding()
samples, began = 0, time.monotonic()
for n in range(75):
    time.sleep(max(0, began + n / 25 - time.monotonic()))
    frame = av.VideoFrame.from_ndarray(np.full((270, 320), n * 3, np.uint8), format="yuv420p")
    frame.pts, frame.time_base = n, Fraction(1, 25)
    for packet in video.encode(frame): out.mux(packet)
    while samples < (n + 1) * 1920:
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.float32), "flt", "stereo")
        sound.sample_rate, sound.pts, sound.time_base = 48000, samples, Fraction(1, 48000)
        for packet in audio.encode(sound): out.mux(packet)
        samples += 960
out.close()
"""


def push(served: Served, *files: str) -> subprocess.CompletedProcess[bytes]:
    url = f"http://127.0.0.1:{served.port}/whip/push"
    command = [sys.executable, "-c", PUSH, url, *files]
    return subprocess.run(command, capture_output=True, timeout=40, stdin=subprocess.DEVNULL)


def test_ffmpeg_publishes_with_a_p_256_certificate(tmp_path: Path) -> None:
    made = RTCCertificate.generateCertificate()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(made._cert.public_bytes(form.Encoding.PEM))
    key.write_bytes(
        made._key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    )
    with Served() as served:
        done = push(served, str(cert), str(key))
        assert done.returncode == 0, done.stderr
        basket = served.hub.baskets["push"]
        served.until(lambda: basket.end is not None, "end of the publisher")
        pictures = basket.of("video/0")
        decoder = av.CodecContext.create("h264", "r")
        decoded = [frame for one in pictures for frame in decoder.decode(av.Packet(one.data))]
        print(len(pictures), len(basket.of("audio/0")), served.hub.publishers["push"].request)
        assert len(decoded) >= 70
        assert {(frame.width, frame.height) for frame in decoded} == {(320, 180)}
        steps = {b.pts - a.pts for a, b in pairwise(pictures)}
        assert steps == {3600}
        assert len(basket.of("audio/0")) >= 140
        assert basket.end.explicit


def test_ffmpeg_s_own_certificate_is_refused_and_the_log_names_the_fix(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "streamgen.edge.webrtc"), Served() as served:
        done = push(served)
        assert done.returncode != 0
        served.until(lambda: not served.app.sessions, "end of the session")
    told = [record.getMessage() for record in caplog.records if "P-256" in record.getMessage()]
    assert len(told) == 1
    assert "secp224r1" in told[0] and "-cert_file" in told[0]
