"""Pictures that say which one they are, published in real time and read again by HLS."""

from __future__ import annotations

import io
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.live.serving import FFMPEG, Server
from tests.live.stages import shade

SIZE = (320, 180)
BITS, COLUMNS = 12, 6
"""Of the number, as light and dark cells in two rows."""
RATE = 25
_SEGMENT = re.compile(r"^(?:#EXT-X-MAP:URI=\"([^\"]+)\".*|([^#\s]\S*))$", re.MULTILINE)
_GAP = re.compile(r"^#EXT-X-GAP\n(?:#.*\n)*[^#\s].*\n", re.MULTILINE)


def drawn(number: int) -> Any:
    """The picture of a number, and some texture that moves."""
    width, height = SIZE
    bits = number >> np.arange(BITS) & 1
    cells = np.where(bits.reshape(2, COLUMNS), 200, 50)
    rows = np.arange(height)[:, None] * 2 // height
    columns = np.arange(width)[None, :]
    luma = cells[rows, columns * COLUMNS // width] + (columns * 3 + number * 5) % 30
    planes = np.full((height * 3 // 2, width), 128)
    planes[:height] = luma
    return av.VideoFrame.from_ndarray(planes.astype(np.uint8), format="yuv420p")


def number_of(picture: Any) -> int:
    luma = picture.to_ndarray(format="gray").astype(float)
    height, width = luma.shape
    middles = [
        luma[
            row * height // 2 + height // 8 : row * height // 2 + height * 3 // 8,
            column * width // COLUMNS + width // 24 : (column + 1) * width // COLUMNS - width // 24,
        ].mean()
        for row in range(2)
        for column in range(COLUMNS)
    ]
    return sum(bool(middle > 140) << at for at, middle in enumerate(middles))


def signature_of(picture: Any) -> int:
    """Whose it is, behind the stage `Signed`."""
    pixels = picture.width * picture.height
    blue = picture.to_ndarray(format="yuv420p").ravel()[pixels : pixels * 5 // 4]
    return round((float(blue.mean()) - shade(0)) / (shade(1) - shade(0)))


def tape(path: Path, pictures: int, *, gop: int, reordered: int = 0) -> Path:
    """An FLV file of numbered pictures, so many of them B-frames between two others."""
    with av.open(str(path), "w", format="flv") as sink:
        stream: Any = sink.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        told = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={reordered}:b-adapt=0"
        stream.options = {"preset": "ultrafast", "x264-params": told}
        for number in range(pictures):
            frame = drawn(number)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return path


def published(server: Server, name: str, file: Path) -> subprocess.Popen[bytes]:
    """Debian's ffmpeg, sending the file as it is, with a tone, in real time."""
    assert FFMPEG is not None
    command = [FFMPEG, "-nostdin", "-loglevel", "error", "-re", "-i", str(file)]
    command += ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"]
    command += ["-c:v", "copy", "-c:a", "aac", "-shortest", "-f", "flv"]
    return subprocess.Popen([*command, f"rtmp://127.0.0.1:{server.rtmp}/live/{name}"])


@dataclass
class Watched:
    """All segments of one rung so far."""

    server: Server
    place: str
    """Path of its media playlist."""
    header: bytes = b""
    segments: dict[str, bytes] = field(default_factory=dict)

    def look(self) -> None:
        """Fetch what is new; a segment that is listed never changes, and one that is a gap has
        nothing to fetch."""
        status, text = self.server.get(self.place)
        for header, uri in _SEGMENT.findall(_GAP.sub("", text)) if status == 200 else ():
            if header:
                self.header = self.header or self._fetched(header)
            elif uri not in self.segments:
                self.segments[uri] = self._fetched(uri)

    def _fetched(self, uri: str) -> bytes:
        folder = self.place.rpartition("/")[0]
        url = f"http://127.0.0.1:{self.server.http}{folder}/{uri}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())

    def numbers(self) -> list[int]:
        """Of all pictures, in the order in which they are shown."""
        return [number_of(picture) for picture in self._pictures()]

    def signed(self) -> list[tuple[int, int]]:
        """Number and signature of all pictures, in the order in which they are shown."""
        return [(number_of(picture), signature_of(picture)) for picture in self._pictures()]

    def _pictures(self) -> Iterator[Any]:
        with av.open(io.BytesIO(self.header + b"".join(self.segments.values())), "r") as file:
            yield from file.decode(video=0)
