"""`Repeating`: a decoder that shows its last picture again where a packet has no bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamgen.media.frame import Frame
from streamgen.media.packet import Packet
from streamgen.protocols import Decoder
from streamgen.telemetry import Telemetry


class Repeating:
    """Wraps the decoder of a live stream (`protocols.Decoder`).

    While a publisher is away, the edge goes on with packets that hold a time and nothing else, so
    that viewers see the last picture and no player runs dry. Counted `repeated{gap}`.
    """

    def __init__(self, decoder: Decoder, telemetry: Telemetry) -> None:
        self._decoder = decoder
        self._telemetry = telemetry
        self._last: Frame | None = None
        self._hidden: set[int] = set()
        """Times of pictures inside the decoder that are not shown."""

    def decode(self, packet: Packet) -> Sequence[Frame]:
        if packet.discard and packet.pts is not None:
            # Decoded as if it were shown: it may be the last picture there is.
            self._hidden.add(packet.pts)
            packet = replace(packet, discard=False)
        if packet.size_bytes:
            return self._kept(self._decoder.decode(packet))
        held = self._kept(self._decoder.flush())
        last, pts = self._last, packet.pts
        if last is None or pts is None:
            self._telemetry.count("dropped", "no_picture")
            return held
        self._telemetry.count("repeated", "gap")
        again = last.retimed(
            pts=pts,
            time_base=packet.time_base,
            duration=packet.duration,
            epoch=packet.epoch,
            received_ns=self._telemetry.clock.now_ns(),
            keyframe=False,
        )
        return [*held, again]

    def flush(self) -> Sequence[Frame]:
        return self._kept(self._decoder.flush())

    def _kept(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        if frames:
            self._last = frames[-1]
        if not self._hidden:
            return frames
        shown = [frame for frame in frames if frame.pts not in self._hidden]
        self._hidden -= {frame.pts for frame in frames}
        return shown
