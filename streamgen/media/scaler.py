"""Scaling on the CPU: swscale, each size from the next larger one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from streamgen.media.frame import Frame, Layout, Range
from streamgen.media.pool import CopyMeter, Pool, copy_padded, cropped
from streamgen.media.shell import shell, unwrap

Size = tuple[int, int]

INTERPOLATIONS = {
    "fast_bilinear": Interpolation.FAST_BILINEAR,
    "bilinear": Interpolation.BILINEAR,
    "bicubic": Interpolation.BICUBIC,
    "lanczos": Interpolation.LANCZOS,
}


class CascadeScaler:
    """One picture to many sizes (`protocols.Scaler`). Used by one thread at a time.

    Results lie in memory of libav, which the frames keep alive; a size that is already there is
    the same frame again. `pool` and `meter` serve the two visible copies: padding and letterbox.
    """

    def __init__(self, interpolation: str, pool: Pool, meter: CopyMeter) -> None:
        self._flags = INTERPOLATIONS[interpolation]
        self._pool = pool
        self._meter = meter
        # swscale keeps filters per pair of sizes; sharing one object would rebuild them each time.
        self._reformatters: dict[tuple[Size, Size], VideoReformatter] = {}

    def scale(self, frame: Frame, width: int, height: int) -> Frame:
        """Scale one picture, as I420; an aspect ratio that differs is stretched.

        Both sides of both sizes are even. The same size and layout is the same frame.
        """
        if (frame.width, frame.height) == (width, height) and frame.layout is Layout.I420:
            return frame
        pair = ((frame.width, frame.height), (width, height))
        reformatter = self._reformatters.setdefault(pair, VideoReformatter())
        picture = reformatter.reformat(
            shell(frame),
            width=width,
            height=height,
            format="yuv420p",
            interpolation=self._flags,
            threads=1,
        )
        return unwrap(picture, like=frame)

    def stretch(self, frame: Frame, width: int, height: int) -> Frame:
        """Make any picture exactly this size, odd ones too: what `scale` does for even sizes.

        An odd side is padded by repeating the edge (one counted copy) or cut off by a view.
        """
        if (frame.width, frame.height) == (width, height) and frame.layout is Layout.I420:
            return frame
        if frame.width % 2 or frame.height % 2:
            frame = copy_padded(frame, self._pool, self._meter, multiple=2)
        return cropped(self.scale(frame, width + width % 2, height + height % 2), width, height)

    def scale_all(self, frame: Frame, sizes: Sequence[Size]) -> list[Frame]:
        """The picture in every size, which are given largest first: a cascade."""
        pictures = []
        for width, height in sizes:
            frame = self.scale(frame, width, height)
            pictures.append(frame)
        return pictures

    def fit(self, frame: Frame, width: int, height: int, sar: Fraction) -> Frame:
        """Make any picture this size and pixel aspect, for a change of size inside a stream.

        An odd side is padded by repeating the edge; another layout is converted; another size is
        scaled with its display aspect kept, between black bars where it differs.
        """
        if frame.width % 2 or frame.height % 2:
            frame = copy_padded(frame, self._pool, self._meter, multiple=2)
        size = inside(frame, width, height, sar)
        scaled = self.scale(frame, *size)
        if size != (width, height):
            scaled = self._letterboxed(scaled, width, height)
        return scaled if scaled.sar == sar else scaled.retimed(sar=sar)

    def _letterboxed(self, frame: Frame, width: int, height: int) -> Frame:
        out = self._pool.take(Layout.I420, width, height)
        black = 16 if frame.color.range is Range.STUDIO else 0
        left, top = (width - frame.width) // 4 * 2, (height - frame.height) // 4 * 2
        for index, (source, target) in enumerate(zip(frame.planes, out.planes, strict=True)):
            pixels = np.asarray(target)
            pixels[:] = 128 if index else black
            x, y = (left // 2, top // 2) if index else (left, top)
            pixels[y : y + source.shape[0], x : x + source.shape[1]] = source.array()
            self._meter.copied("letterbox", source.shape[0] * source.shape[1])
        return out.publish(frame)


def inside(frame: Frame, width: int, height: int, sar: Fraction) -> Size:
    """The largest even size within `width` x `height` that shows the frame undistorted."""
    if (frame.width, frame.height) == (width, height):
        return (width, height)
    shape = frame.width * frame.sar / frame.height / sar
    size = (
        (width, 2 * round(width / shape / 2))
        if shape * height >= width
        else (2 * round(height * shape / 2), height)
    )
    # Rounding to even sides changes the shape by a pixel or two: no bar for that.
    near = abs(size[0] - width) <= 2 and abs(size[1] - height) <= 2
    return (width, height) if near else (max(2, size[0]), max(2, size[1]))
