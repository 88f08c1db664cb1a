"""`ChunkSource`: the packets of one piece of a file, with the times that the whole gave them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from streamgen.control.chunks.cuts import Chunk
from streamgen.control.chunks.survey import HIDDEN, Survey, identity
from streamgen.encode.clock import RateCap
from streamgen.errors import SourceError
from streamgen.ingest.container import ContainerSource, open_source
from streamgen.media.frame import Frame, Layout, Plane, plane_shapes
from streamgen.media.packet import Packet

FORWARD = 4000
"""Packets that are read behind a jump before the one that is wanted counts as not there."""
_NS = 1_000_000_000


class ChunkSource:
    """A `protocols.Source` of video packets; also the `Mending` of its session, as every packet
    has its time already. Raises `SourceError` when the file is not the one that was surveyed."""

    def __init__(self, text: str, survey: Survey, chunk: Chunk) -> None:
        self._text = text
        self._survey = survey
        self._chunk = chunk
        self._inner = open_source(text)
        self._former: ContainerSource | None = None
        self.info = replace(self._inner.info, audio=(), data=())
        self.announced = 0
        self._cancelled = False
        times_ns = survey.times_ns(survey.rows["pts"])
        hidden = (survey.rows["flags"] & HIDDEN) != 0
        self._hidden = hidden | (times_ns < chunk.warm_ns) | (times_ns >= chunk.until_ns)
        self._own = ~hidden & (times_ns >= chunk.begin_ns) & (times_ns < chunk.end_ns)

    def packets(self) -> Iterator[Packet]:
        rows, chunk = self._survey.rows, self._chunk
        number = chunk.first
        for packet in self._from(chunk.first):
            row = rows[number]
            if identity(packet) != (row["raw_pts"], row["size"]):
                break
            self.announced += bool(self._own[number])
            yield replace(
                packet,
                pts=int(row["pts"]),
                dts=int(row["dts"]),
                duration=int(row["duration"]),
                epoch=int(row["epoch"]),
                discard=bool(self._hidden[number]),
            )
            if number == chunk.last:
                return
            number += 1
        if not self._cancelled:
            raise SourceError(f"{self.info.name}: was changed while it was worked on")

    def mend(self, packet: Packet, received_ns: int = 0) -> Packet:
        return replace(packet, received_ns=received_ns)

    def cancel(self) -> None:
        self._cancelled = True
        self._inner.cancel()

    def close(self) -> None:
        for source in (self._inner, self._former):
            if source is not None:
                source.close()

    def _from(self, first: int) -> Iterator[Packet]:
        """Video packets from this one on: found by the index where there is one, else from the
        start of the file."""
        row = self._survey.rows[first]
        wanted = (int(row["raw_pts"]), int(row["size"]))
        if first and self._inner.seek(wanted[0]):
            for number, packet in enumerate(packets := self._video(self._inner)):
                if identity(packet) == wanted:
                    yield packet
                    yield from packets
                    return
                if number == FORWARD:
                    break
        if first:  # the one before stays: its decoder is in use
            self._former, self._inner = self._inner, open_source(self._text)
        for number, packet in enumerate(self._video(self._inner)):
            if number >= first:
                yield packet

    @staticmethod
    def _video(source: ContainerSource) -> Iterator[Packet]:
        name = source.info.video.name
        return (packet for packet in source.packets() if packet.track == name)


class OwnPictures:
    """`session.Share`: what lies between the beginning and the end of a piece."""

    def __init__(self, chunk: Chunk) -> None:
        self._begin_ns, self._end_ns = chunk.begin_ns, chunk.end_ns

    def holds(self, frame: Frame) -> bool:
        base = frame.time_base
        at_ns = frame.pts * base.numerator * _NS // base.denominator
        return self._begin_ns <= at_ns < self._end_ns


def capped(survey: Survey, order: NDArray[np.int64], cap: RateCap) -> NDArray[np.bool_]:
    """Which pictures a frame rate cap keeps, in this order of presentation; the cap has then met
    them all. It remembers, so a piece lets it meet everything that comes before."""
    picture = _blank(survey.time_base)
    rows = survey.rows[order]
    times = zip(*(rows[name].tolist() for name in ("pts", "duration", "epoch")), strict=True)
    met = (picture.retimed(pts=pts, duration=long, epoch=epoch) for pts, long, epoch in times)
    return np.fromiter((cap.keep(one) is not None for one in met), np.bool_, len(order))


def _blank(time_base: Fraction) -> Frame:
    """A picture that stands for its times alone."""
    shapes = plane_shapes(Layout.I420, 2, 2)
    planes = tuple(Plane.of(np.zeros(shape, np.uint8)) for shape in shapes)
    return Frame(planes, Layout.I420, 2, 2, 0, time_base)
