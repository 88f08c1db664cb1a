"""`StartedKernels`: what a blitter asks of a device, as launches of the kernels in this folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from numpy.typing import NDArray

from streamgen.cuda.launch import Launch
from streamgen.cuda.planes import to_planes
from streamgen.cuda.rungs import Scaling
from streamgen.media.blitter import Stream
from streamgen.media.frame import Frame, Plane, Range
from streamgen.media.pool import Memory, WritableFrame
from streamgen.media.scaler import Size

MOST_SCALINGS = 8
"""Kept at a time: a stream has one size, or a few in turn, and as many rungs always."""


class KernelStream(Stream, Protocol):
    """A stream that kernels are started on. Nothing here keeps memory alive or waits."""

    def start(self, launch: Launch) -> None: ...

    def copy(self, source: int, target: int, size_bytes: int) -> None:
        """One copy between two addresses, each on the device or in pinned memory of the host."""
        ...

    def fill(self, plane: Plane, value: int) -> None:
        """Set every byte of the plane's rows."""
        ...


class StartedKernels:
    """`media.blitter.Kernels` for one blitter."""

    def __init__(
        self,
        stream: KernelStream,
        upload: Callable[[NDArray[Any]], Memory],
        interpolation: str = "bicubic",
    ) -> None:
        """`upload` gives memory of the device that holds an array, and waits until it does."""
        self.stream = stream
        self._upload = upload
        self._interpolation = interpolation
        self._scalings: dict[tuple[Size, tuple[Size, ...]], tuple[Scaling, Memory]] = {}

    def planar(self, source: Frame, target: WritableFrame) -> None:
        self.stream.start(to_planes([source], [target.planes]))

    def sized(self, source: Frame, targets: Sequence[WritableFrame]) -> None:
        sizes = tuple((target.width, target.height) for target in targets)
        scaling, tables = self._scaling((source.width, source.height), sizes)
        self.stream.start(scaling.launch([source], [[target] for target in targets], tables.ptr))

    def boxed(self, source: Frame, target: WritableFrame, inside: Size) -> None:
        luma, chroma = target.planes
        self.stream.fill(luma, 16 if source.color.range is Range.STUDIO else 0)
        self.stream.fill(chroma, 128)
        left, top = (target.width - inside[0]) // 4 * 2, (target.height - inside[1]) // 4 * 2
        middle = (
            replace(luma, ptr=luma.ptr + top * luma.pitch + left, shape=(inside[1], inside[0])),
            replace(
                chroma,
                ptr=chroma.ptr + top // 2 * chroma.pitch + left,
                shape=(inside[1] // 2, inside[0]),
            ),
        )
        self.sized(source, [WritableFrame(middle, target.layout, *inside, target.slot)])

    def download(self, source: Frame, target: WritableFrame) -> None:
        first, last = source.planes[0], source.planes[-1]
        size_bytes = last.ptr + last.pitch * last.shape[0] - first.ptr
        self.stream.copy(first.ptr, target.planes[0].ptr, size_bytes)

    def _scaling(self, source: Size, sizes: tuple[Size, ...]) -> tuple[Scaling, Memory]:
        """Made when a size comes for the first time; in some milliseconds, with one upload."""
        made = self._scalings.get((source, sizes))
        if made is None:
            scaling = Scaling(*source, sizes, self._interpolation)
            made = scaling, self._upload(scaling.tables)
            if len(self._scalings) == MOST_SCALINGS:
                self.stream.record().wait()  # what was started may still read them
                self._scalings.clear()
            self._scalings[source, sizes] = made
        return made
