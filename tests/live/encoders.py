"""ffmpeg with any arguments as a publisher: the newest one, which speaks enhanced RTMP."""

from __future__ import annotations

import subprocess

import imageio_ffmpeg  # type: ignore[import-untyped]

from tests.live.serving import Publisher, Server

NEW = imageio_ffmpeg.get_ffmpeg_exe()
TONE = ("-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100")
CODECS = {
    "h264": ["libx264", "-preset", "ultrafast", "-tune", "zerolatency"],
    "hevc": ["libx265", "-preset", "ultrafast", "-tune", "zerolatency"],
    "av1": ["libsvtav1", "-preset", "13", "-svtav1-params", "lookahead=0:pred-struct=1:lp=1"],
}


def moving(size: str, rate: int) -> tuple[str, ...]:
    return "-re", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}"


def coded(codec: str, gop: int) -> tuple[str, ...]:
    """The pictures' codec; sound is AAC."""
    quiet = ["-x265-params", "log-level=none"] if codec == "hevc" else []
    codecs = ["-c:v", *CODECS[codec], *quiet, "-c:a", "aac"]
    return *codecs, "-g", str(gop), "-pix_fmt", "yuv420p"


class Encoder(Publisher):
    """Publishes until it is closed; sixty seconds at most."""

    def __init__(self, server: Server, name: str, *arguments: str) -> None:
        command = [NEW, "-nostdin", "-loglevel", "error", *arguments, "-t", "60", "-f", "flv"]
        command += [f"rtmp://127.0.0.1:{server.rtmp}/live/{name}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
