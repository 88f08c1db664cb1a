"""Interlaced pictures to progressive ones, through libavfilter's bwdif."""

from __future__ import annotations

from collections.abc import Sequence

import av
from av.error import BlockingIOError as NeedsMore
from av.error import EOFError as Drained
from av.filter import Graph

SMALLEST_PX = 4
"""bwdif reads two lines up and down; smaller pictures are left as they are."""


class Deinterlacer:
    """One progressive picture for every interlaced one; progressive ones pass unchanged.

    The filter looks one picture ahead, so it holds one back until `flush`. It keeps the pixel
    format. For one size and format; build a new one when they change. One thread.
    """

    def __init__(self, picture: av.VideoFrame) -> None:
        self.key = (picture.width, picture.height, picture.format.name)
        self._graph = Graph()
        self._graph.link_nodes(
            self._graph.add(
                "buffer",
                video_size=f"{picture.width}x{picture.height}",
                pix_fmt=picture.format.name,
                time_base="1/1000000",
            ),
            self._graph.add("bwdif", mode="send_frame", parity="auto", deint="interlaced"),
            self._graph.add("buffersink"),
        )
        self._graph.configure()

    def __call__(self, picture: av.VideoFrame) -> Sequence[av.VideoFrame]:
        """Pictures that are ready, each with the pts it came with."""
        self._graph.vpush(picture)
        return self._pull()

    def flush(self) -> Sequence[av.VideoFrame]:
        """The picture that was held back. Afterwards this object is used up."""
        self._graph.vpush(None)
        return self._pull()

    def _pull(self) -> list[av.VideoFrame]:
        ready: list[av.VideoFrame] = []
        while True:
            try:
                picture = self._graph.vpull()
            except (NeedsMore, Drained):
                return ready
            # bwdif counts in half ticks, to have times for single fields.
            if picture.pts is not None:
                picture.pts //= 2
            ready.append(picture)
