"""`Repeating`: a decoder that shows its last picture again where a packet has no bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamgen.media.frame import Frame
from streamgen.media.packet import Packet
from streamgen.protocols import Decoder
from streamgen.telemetry import Telemetry


class NoDecoder:
    """Of a stream without pictures (`protocols.Decoder`)."""

    def decode(self, packet: Packet) -> Sequence[Frame]:
        return []

    def flush(self) -> Sequence[Frame]:
        return []


class Repeating:
    """Wraps the decoder of a live stream (`protocols.Decoder`).

    While nothing comes of a publisher, the edge goes on with packets that hold a time and nothing
    else, so that viewers see the last picture and no player runs dry. Counted `repeated{gap}`.
    If such a packet says that a key frame follows, what the decoder holds back is shown first;
    else the decoder goes on where it was, and what it holds back comes too late to be shown,
    counted `dropped{behind_still}`.
    """

    def __init__(
        self, decoder: Decoder, telemetry: Telemetry, *, first: Frame | None = None
    ) -> None:
        """`first` stands in before there is any picture."""
        self._decoder = decoder
        self._telemetry = telemetry
        self._last = first
        self._still: int | None = None
        """Time of the last packet without bytes."""
        self._hidden: set[int] = set()
        """Times of pictures inside the decoder that are not shown."""

    def decode(self, packet: Packet) -> Sequence[Frame]:
        if packet.discard and packet.pts is not None:
            # Decoded as if it were shown: it may be the last picture there is.
            self._hidden.add(packet.pts)
            packet = replace(packet, discard=False)
        if packet.size_bytes:
            return self._kept(self._decoder.decode(packet))
        held = self.flush() if packet.keyframe else []
        last, pts = self._last, packet.pts
        if last is None or pts is None:
            self._telemetry.count("dropped", "no_picture")
            return held
        self._telemetry.count("repeated", "gap")
        self._still = pts
        again = last.retimed(
            pts=pts,
            time_base=packet.time_base,
            duration=packet.duration,
            epoch=packet.epoch,
            received_ns=self._telemetry.clock.now_ns(),
            keyframe=False,
            still=True,
        )
        return [*held, again]

    def flush(self) -> Sequence[Frame]:
        return self._kept(self._decoder.flush())

    def _kept(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        if frames:
            self._last = frames[-1]
        if self._hidden:
            shown = [frame for frame in frames if frame.pts not in self._hidden]
            self._hidden -= {frame.pts for frame in frames}
            frames = shown
        if self._still is None or not frames:
            return frames
        shown = [frame for frame in frames if frame.pts > (self._still or 0)]
        if len(shown) < len(frames):
            self._telemetry.count("dropped", "behind_still", len(frames) - len(shown))
        elif frames:
            self._still = None
        return shown
