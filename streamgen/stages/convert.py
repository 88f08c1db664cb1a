"""`convert`: the one visible step between what a stage gives and what the next one takes.

Not written by users: a plan puts it where an edge needs it. Pictures and RGB through swscale with
exact rounding, in the colour matrix and range of the picture (BT.601, BT.709, BT.2020, ITU-T
H.273); all else in numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from streamgen.config import Settings
from streamgen.errors import StageError
from streamgen.media.color import SWSCALE, Tagged
from streamgen.media.frame import Frame, Range, Sheet
from streamgen.media.pool import copy_padded, cropped
from streamgen.media.shell import shell, unwrap
from streamgen.protocols import StageContext, Value
from streamgen.stages.planar import readable
from streamgen.stages.scales import Scale

EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND
"""Without exact rounding swscale truncates: pictures get a code value darker each time."""
RGB_OF_GBR = (2, 0, 1)
"""Planes of red, green and blue in what swscale calls gbrp."""
Array = NDArray[Any]


class ConvertParams(Settings):
    """What is wanted, as `streamgen.media.port.Port` says it, and what is given."""

    to: Literal["picture", "rgb", "mask"]
    """Kind of the result."""
    dtype: str = "uint8"
    """Of the result's array."""
    range: tuple[float, float] | None = None
    """Lowest and highest value of the result; default 0..255, for floats 0..1."""
    planar: bool = False
    """RGB as `[3, H, W]`."""
    given_range: tuple[float, float] | None = None
    """Lowest and highest value of what is given; default as for `range`, by its dtype."""
    given_planar: bool | None = None
    """What is given is `[3, H, W]`; default: as its shape says."""


class Convert:
    """`value` in, `value` out; `like` says size, times and colour where `value` does not."""

    Params: ClassVar[type[Settings]] = ConvertParams
    fixed = frozenset(ConvertParams.model_fields)

    def __init__(self, params: Any, context: StageContext) -> None:
        self._context = context
        self._params = params
        self._to_rgb, self._packing, self._to_picture = (VideoReformatter() for _ in range(3))
        self._wanted = Scale.of(params.dtype, params.range)

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        """Raises `StageError` for a value that is not what was declared."""
        value, to = inputs["value"], self._params.to
        if isinstance(value, Frame):
            if to == "picture":
                return {"value": value}
            return {"value": self._rgb(readable(value, self._context, "convert"))}
        if value.ready is not None:
            value.ready.wait()
        data = np.asarray(value.data)
        if to == "picture":
            return {"value": self._picture(value, data, inputs["like"])}
        if value.kind == "boxes":
            data = self._boxes(value, data, inputs["like"])
        elif to == "rgb":
            data = self._other_rgb(value, data)
        else:
            data = self._scaled(data)
        return {"value": Sheet(to, data, value.pts, value.time_base)}

    def _rgb(self, frame: Frame) -> Sheet:
        even = frame
        if frame.width % 2 or frame.height % 2:
            even = copy_padded(frame, self._context.pool, self._context.meter, multiple=2)
        color = frame.color
        planar = self._to_rgb.reformat(
            shell(even),
            format="gbrp",
            src_colorspace=SWSCALE[color.matrix],
            dst_colorspace=SWSCALE[color.matrix],
            src_color_range=_tag(color.range),
            dst_color_range=Tagged.FULL,
            interpolation=EXACT,
            threads=1,
        )
        shape = (frame.height, frame.width)
        if self._params.planar or not self._wanted.is_bytes:
            colors = [_plane(planar.planes[index], shape) for index in RGB_OF_GBR]
            data = self._arranged(colors, Scale.of("uint8", None))
        else:
            packed = self._packing.reformat(planar, format="rgb24", threads=1)
            data = _plane(packed.planes[0], (*shape, 3))
        self._context.meter.copied("converted", data.nbytes, 3)
        return Sheet("rgb", data, frame.pts, frame.time_base)

    def _arranged(self, colors: list[Array], given: Scale) -> Array:
        """Red, green and blue in the arrangement and scale that is wanted."""
        rows, columns = colors[0].shape
        shape = (3, rows, columns) if self._params.planar else (rows, columns, 3)
        out = np.empty(shape, self._wanted.dtype)
        for index, color in enumerate(colors):
            given.turn(color, self._wanted, out[index] if self._params.planar else out[..., index])
        return out

    def _split(self, value: Sheet, data: Array) -> list[Array]:
        """Red, green and blue of an RGB sheet. Raises `StageError`."""
        planar = self._params.given_planar
        if planar is None:
            planar = data.ndim == 3 and data.shape[0] == 3 and data.shape[2] != 3
        if data.ndim != 3 or data.shape[0 if planar else 2] != 3 or not data.size:
            raise StageError(
                f"RGB is [H, W, 3] or [3, H, W], got {list(data.shape)}",
                stage="convert",
                pts=value.pts,
            )
        return [data[index] if planar else data[..., index] for index in range(3)]

    def _given(self, data: Array) -> Scale:
        return Scale.of(data.dtype.name, self._params.given_range)

    def _other_rgb(self, value: Sheet, data: Array) -> Array:
        out = self._arranged(self._split(value, data), self._given(data))
        self._context.meter.copied("converted", out.nbytes, 3)
        return out

    def _picture(self, value: Sheet, data: Array, like: Value) -> Frame:
        """RGB in the colour, times and tags of the picture that it was made from."""
        assert isinstance(like, Frame)
        colors = self._split(value, data)
        rows, columns = colors[0].shape
        rgb = self._bytes(data, colors)
        picture = self._to_picture.reformat(
            av.VideoFrame.from_numpy_buffer(rgb),
            format="yuv420p",
            src_color_range=Tagged.FULL,
            dst_colorspace=SWSCALE[like.color.matrix],
            dst_color_range=_tag(like.color.range),
            interpolation=EXACT,
            threads=1,
        )
        self._context.meter.copied("converted", rgb.nbytes // 2, 3)
        return cropped(unwrap(picture, like=like), columns, rows)

    def _bytes(self, data: Array, colors: list[Array]) -> Array:
        """Interleaved bytes of even sides, as swscale reads them: the data itself if it can be."""
        given, (rows, columns) = self._given(data), colors[0].shape
        lendable = given.is_bytes and data.strides[1:] == (3, 1) and data.strides[0] > 0
        if lendable and colors[0].strides[1] == 3 and rows % 2 == columns % 2 == 0:
            return data
        rgb = np.empty((rows + rows % 2, columns + columns % 2, 3), np.uint8)
        for index, color in enumerate(colors):
            given.turn(color, Scale.of("uint8", None), rgb[:rows, :columns, index])
        rgb[rows:] = rgb[rows - 1 : rows]  # an odd side is padded by repeating the edge
        rgb[:, columns:] = rgb[:, columns - 1 : columns]
        return rgb

    def _scaled(self, mask: Array) -> Array:
        out = np.empty(mask.shape, self._wanted.dtype)
        self._given(mask).turn(mask, self._wanted, out)
        self._context.meter.copied("converted", out.nbytes)
        return out

    def _boxes(self, value: Sheet, boxes: Array, like: Value) -> Array:
        """A mask in the size of the picture, highest within the boxes."""
        assert isinstance(like, Frame)
        if boxes.ndim != 2 or boxes.shape[1] < 4:
            raise StageError(
                f"boxes are [N, 4], got {list(boxes.shape)}", stage="convert", pts=value.pts
            )
        out = np.full((like.height, like.width), self._wanted.low, self._wanted.dtype)
        edges = np.nan_to_num(boxes[:, :4].astype(np.float64), posinf=1e6, neginf=0.0)
        low = np.floor(np.clip(edges[:, :2], 0, (like.width, like.height))).astype(int)
        high = np.ceil(np.clip(edges[:, 2:], 0, (like.width, like.height))).astype(int)
        for (left, top), (right, bottom) in zip(low.tolist(), high.tolist(), strict=True):
            out[top:bottom, left:right] = self._wanted.high
        self._context.meter.copied("converted", out.nbytes)
        return out

    def reset(self) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to free."""


def _tag(range_: Range) -> Tagged:
    return Tagged.FULL if range_ is Range.FULL else Tagged.STUDIO


def _plane(plane: Any, shape: tuple[int, ...]) -> Array:
    """View on a plane of libav, which the array keeps alive; bytes, packed pixels."""
    strides = (plane.line_size, 3, 1) if len(shape) == 3 else (plane.line_size, 1)
    return np.ndarray(shape, np.uint8, buffer=plane, strides=strides)
