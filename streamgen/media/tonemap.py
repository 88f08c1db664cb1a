"""High dynamic range to standard: PQ or HLG pictures become BT.709, once, at the decoder.

Every network, encoder and player behind the decoder works in standard range; HDR passed on as it
is would look washed out. The curve is the EETF of ITU-R BT.2390-11 section 5.4 on the largest of
R, G, B (hue is kept), from a 1000 cd/m2 master to a 203 cd/m2 white (BT.2408), then BT.2020
primaries to BT.709 and the inverse of the BT.1886 display. It is sampled into a 33-point
three-dimensional table that libavfilter applies with tetrahedral interpolation.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from streamgen.media.color import Transfer
from streamgen.media.frame import Color, Matrix, Range

POINTS = 33
PEAK = 1000.0
"""Brightest highlight of the master in cd/m2; what is above is clipped."""
WHITE = 203.0
"""Reference white of HDR (BT.2408) in cd/m2: the brightest the standard picture can show."""
TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
"""Linear BT.2020 to linear BT.709 (BT.2087-0)."""
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])
STANDARD = Color(Matrix.BT709, Range.STUDIO, primaries=1, transfer=1)
"""What comes out."""

Values = NDArray[np.float64]


def pq_to_light(code: Values) -> Values:
    """PQ code value 0..1 to cd/m2 (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = code ** (1 / m2)
    return 10_000.0 * (np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1)


def light_to_pq(light: Values) -> Values:
    """cd/m2 to PQ code value 0..1."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = np.clip(light / 10_000.0, 0.0, 1.0) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def hlg_to_light(code: Values) -> Values:
    """HLG code values `[..., 3]` to cd/m2 on a 1000 cd/m2 display (BT.2100 table 5, gamma 1.2)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    luma = np.maximum(scene @ LUMA_2020, 1e-9)[..., None]
    light: Values = PEAK * luma**0.2 * scene
    return light


def eetf(light: Values) -> Values:
    """The EETF of BT.2390: dark and middle tones as they are, highlights rolled off to `WHITE`."""
    top = float(light_to_pq(np.array(PEAK)))
    most = float(light_to_pq(np.array(WHITE))) / top
    knee = 1.5 * most - 0.5
    code = np.clip(light_to_pq(light) / top, 0.0, 1.0)
    t = np.clip((code - knee) / (1 - knee), 0.0, 1.0)
    rolled = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * most
    )
    return pq_to_light(np.where(code < knee, code, rolled) * top)


def table(transfer: int) -> Values:
    """`[POINTS, POINTS, POINTS, 3]` by blue, green, red code: BT.709 R'G'B' 0..1."""
    axis = np.linspace(0.0, 1.0, POINTS)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    code = np.stack([red, green, blue], axis=-1)
    light = hlg_to_light(code) if transfer == Transfer.HLG else pq_to_light(code)
    largest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    light = light * (eetf(largest) / largest) / WHITE
    standard: Values = np.clip(light @ TO_BT709.T, 0.0, 1.0) ** (1 / 2.4)
    return standard


class ToneMap:
    """Turns HDR pictures of one size and format into I420 BT.709; build a new one when they change.

    About 120 ms per 1080p picture on two cores: right, not fast. One thread.
    """

    def __init__(self, picture: av.VideoFrame, color: Color) -> None:
        self.key = (picture.width, picture.height, picture.format.name, color)
        self._graph = Graph()
        full = "pc" if color.range is Range.FULL else "tv"
        source = self._graph.add(
            "buffer",
            video_size=f"{picture.width}x{picture.height}",
            pix_fmt=picture.format.name,
            time_base="1/1000000",
            colorspace="bt2020nc",
            range=full,
        )
        with tempfile.TemporaryDirectory() as folder:
            cube = Path(folder) / "hdr.cube"
            _write_cube(cube, table(color.transfer))
            self._graph.link_nodes(
                source,
                self._graph.add("scale", in_color_matrix="bt2020", in_range=full, flags="bicubic"),
                self._graph.add("format", "gbrp16le"),
                self._graph.add("lut3d", file=str(cube), interp="tetrahedral"),
                self._graph.add("scale", out_color_matrix="bt709", out_range="tv", flags="bicubic"),
                self._graph.add("format", "yuv420p"),
                self._graph.add("buffersink"),
            )
            self._graph.configure()

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture in standard range (`STANDARD`), with the same pts; new memory."""
        self._graph.vpush(picture)
        return self._graph.vpull()


def _write_cube(path: Path, values: Values) -> None:
    with path.open("w", encoding="ascii") as file:
        file.write(f"LUT_3D_SIZE {POINTS}\n")
        np.savetxt(file, values.reshape(-1, 3), fmt="%.6f")
