"""What of GStreamer is on this machine, and small helpers for its tests."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import av
import pytest

from streamgen.gstreamer.process import PYTHON
from streamgen.media.packet import Packet
from tests.ports import free_port

SERVER = Path(__file__).with_name("rtsp_server.py")
ASKED = """
import sys, gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
for name in sys.argv[1:]:
    if name == "rtsp-server":
        try: gi.require_version("GstRtspServer", "1.0")
        except ValueError: print(name)
    elif Gst.ElementFactory.find(name) is None: print(name)
"""
MUCH = ("matroskamux", "h264parse", "x264enc", "voaacenc")


@cache
def missing(names: tuple[str, ...]) -> str:
    if not Path(PYTHON).exists():
        return PYTHON
    asked = subprocess.run([PYTHON, "-I", "-c", ASKED, *names], capture_output=True, text=True)
    return asked.stdout.strip() if asked.returncode == 0 else "python3-gst-1.0"


def needing(*names: str, ffmpeg: bool = False) -> pytest.MarkDecorator:
    """A mark that skips a test, by name of what is missing."""
    lacking = missing((*MUCH, *names))
    if ffmpeg and shutil.which("ffmpeg") is None:
        lacking = f"ffmpeg {lacking}".strip()
    return pytest.mark.skipif(bool(lacking), reason=f"missing: {lacking}")


def slices(data: bytes) -> list[bytes]:
    """The coded slices of one H.264 picture, whichever way they are packed; no parameter sets."""
    units = _by_length(data)
    if units is None:
        units = [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")]
    return [unit for unit in units if unit and unit[0] & 31 in (1, 5)]


def _by_length(data: bytes) -> list[bytes] | None:
    units = []
    while data:
        size = int.from_bytes(data[:4], "big")
        units.append(data[4 : 4 + size])
        if len(units[-1]) != size:
            return None  # start codes
        data = data[4 + size :]
    return units


def raw_aac(data: bytes) -> bytes:
    """Without the header of ADTS."""
    if len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return data[7 if data[1] & 1 else 9 :]
    return data


def coded(packets: Iterable[Packet]) -> tuple[list[list[bytes]], list[bytes]]:
    """All pictures and all sound, in decoding order, as encoded."""
    pictures, sound = [], []
    for packet in packets:
        data = bytes(packet.data)
        if packet.track == "video/0":
            pictures.append(slices(data))
        else:
            sound.append(raw_aac(data))
    return pictures, sound


def coded_file(path: Path) -> tuple[list[list[bytes]], list[bytes]]:
    with av.open(str(path)) as file:
        pictures = [slices(bytes(p)) for p in file.demux(video=0) if p.size]
    with av.open(str(path)) as file:
        sound = [raw_aac(bytes(p)) for p in file.demux(audio=0) if p.size]
    return pictures, sound


@contextmanager
def rtsp(pipeline: str) -> Iterator[str]:
    """Address of a server that plays a pipeline, or records into one that has `depay0`."""
    port = free_port()
    server = subprocess.Popen(
        [PYTHON, "-I", str(SERVER), str(port), pipeline],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout and server.stdin
    try:
        assert server.stdout.readline() == "ready\n"
        yield f"rtsp://127.0.0.1:{port}/x"
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()


def gone(pid: int, timeout_s: float = 10.0) -> bool:
    """Whether a process that is not ours to wait for ends soon, or has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    ended = bool(poll.poll(timeout_s * 1000))
    os.close(pidfd)
    return ended


def alive(pid: int) -> bool:
    """A process that runs, or has ended and was not waited for."""
    return Path(f"/proc/{pid}").exists()
