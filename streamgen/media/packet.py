"""`Packet`: one piece of encoded video, audio or subtitle."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True)
class Packet:
    """Encoded data with its time.

    `data` is anything with the buffer protocol; packets from libavformat keep the `av.Packet`
    itself, so that side data survives and nothing is copied. A packet belongs to one step at a
    time: muxers rewrite the timestamps of an `av.Packet` in place.
    """

    data: Any
    """The encoded bytes (buffer protocol)."""
    pts: int | None
    """Presentation time in `time_base` units; None where the container has none."""
    dts: int | None
    """Decoding time in `time_base` units."""
    duration: int
    """Length in `time_base` units; 0 where unknown."""
    time_base: Fraction
    keyframe: bool
    track: str
    """`video/0`, `audio/1` from a source; `video/720p`, `audio/0` from an encoder."""
    epoch: int = 0
    """Number of the discontinuity epoch the packet lies in; see `media/timeline.py`."""
    discard: bool = False
    """The picture is decoded (others refer to it) but never shown: outside the edit list."""
    received_ns: int = 0
    """Clock time at which it came into this process, the start of the latency of the pictures that
    it lets out; 0: not said."""
    replayed: bool = False
    """A live packet that a worker before this one had: what it shows is owed to viewers."""

    @property
    def size_bytes(self) -> int:
        return memoryview(self.data).nbytes

    @property
    def time_s(self) -> float:
        """Presentation time (decoding time where there is none) in seconds, for humans and logs."""
        at = self.pts if self.pts is not None else self.dts
        return float((at or 0) * self.time_base)
