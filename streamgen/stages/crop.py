"""`crop`: a part of the picture, without a copy.

crop: {left: 160, top: 0, width: 960, height: 720}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from streamgen.config import Settings
from streamgen.errors import ConfigError, StageError
from streamgen.media.frame import Frame, Layout, Plane, plane_shapes
from streamgen.media.port import PICTURE
from streamgen.protocols import StageContext, Value


class CropParams(Settings):
    """Parameters of `crop`, in pixels of the picture as it is stored."""

    left: int = Field(default=0, ge=0, multiple_of=2)
    """First column that stays; even, as two pixels share their colour."""
    top: int = Field(default=0, ge=0, multiple_of=2)
    """First row that stays; even too. Both may move while it runs."""
    width: int | None = Field(default=None, ge=1)
    """Columns that stay; default all to the right edge."""
    height: int | None = Field(default=None, ge=1)
    """Rows that stay; default all to the bottom."""


class Crop:
    """Shows a part: strided views on the same memory."""

    Params: ClassVar[type[Settings]] = CropParams
    fixed = frozenset({"width", "height"})

    def __init__(self, params: Any, context: StageContext) -> None:
        self._params = params
        self._started: tuple[int, int] | None = None

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """Raises `ConfigError` for a part that lies outside the picture."""
        return _size(self._params, width, height)

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs[PICTURE]
        if not isinstance(frame, Frame):
            raise StageError("expected a picture", stage="crop", pts=frame.pts)
        try:
            width, height = self.output_size(frame.width, frame.height)
        except ConfigError as error:
            raise StageError(str(error), stage="crop", pts=frame.pts) from error
        # What slides beyond the edge stops there: a moving part never loses the stream. On its way
        # it passes odd places.
        left = min(params.left, frame.width - width) // 2 * 2
        top = min(params.top, frame.height - height) // 2 * 2
        return {PICTURE: part(frame, left, top, width, height)}

    def reset(self) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to free."""


def _size(params: CropParams, width: int, height: int) -> tuple[int, int]:
    wide = width - params.left if params.width is None else params.width
    high = height - params.top if params.height is None else params.height
    if params.left + wide > width or params.top + high > height or wide < 1 or high < 1:
        raise ConfigError(
            f"crop takes {wide}x{high} at ({params.left}, {params.top}), "
            f"which does not fit into {width}x{height}"
        )
    return wide, high


def part(frame: Frame, left: int, top: int, width: int, height: int) -> Frame:
    """A rectangle of a frame as a view, no copy; `left` and `top` are even."""
    shapes = plane_shapes(frame.layout, width, height)
    planes = []
    for index, (plane, shape) in enumerate(zip(frame.planes, shapes, strict=True)):
        halves = index > 0
        pairs = halves and frame.layout is not Layout.I420
        rows = top // 2 if halves else top
        columns = left if pairs or not halves else left // 2
        planes.append(_moved(plane, rows, columns, shape))
    return frame.retimed(planes=tuple(planes), width=width, height=height)


def _moved(plane: Plane, rows: int, columns: int, shape: tuple[int, int]) -> Plane:
    ptr = plane.ptr + rows * plane.pitch + columns * plane.itemsize
    return replace(plane, ptr=ptr, shape=shape)
