"""Scaling on the device where a picture lies: all rungs in one pass, to the host only what must."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from streamgen.media.blitter import Blitter
from streamgen.media.frame import Frame, Layout
from streamgen.media.scaler import Size, inside


class DeviceScaler:
    """One picture to many sizes, as `CascadeScaler` does on the processor. One thread.

    Rungs of the sizes `on_host` are encoded on the processor: each of these costs exactly one copy
    to the host, as I420. All others stay on the device, as NV12.
    """

    def __init__(self, blitter: Blitter, on_host: frozenset[Size]) -> None:
        self._blitter = blitter
        self._on_host = on_host

    def fit(self, frame: Frame, width: int, height: int, sar: Fraction) -> Frame:
        """Make any picture this pixel aspect, and this shape, for a change inside a stream."""
        size = inside(frame, width, height, sar)
        if size != (width, height):
            frame = self._blitter.boxed(frame, width, height, size)
        return frame if frame.sar == sar else frame.retimed(sar=sar)

    def scale_all(self, frame: Frame, sizes: Sequence[Size]) -> list[Frame]:
        """The picture in every size; a size is one of a rung's."""
        wanted = [(s, Layout.I420 if s in self._on_host else Layout.NV12) for s in sizes]
        pictures = self._blitter.sized(frame, wanted)
        return [
            self._blitter.to_host(picture) if size in self._on_host else picture
            for picture, size in zip(pictures, sizes, strict=True)
        ]
