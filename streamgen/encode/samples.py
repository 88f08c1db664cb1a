"""`SampleLine`: decoded sound laid end to end at its own times, without drift."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamgen.telemetry import Telemetry

TOLERANCE_S = 0.015
"""Smaller deviations are jitter of coarse timestamps: filling them would be heard as clicks."""

Samples = NDArray[np.float32]
"""Samples x channels, -1..1."""


class SampleLine:
    """Turns blocks of samples with a start time into one unbroken line.

    A block that begins late has silence put before it, one that begins early loses what overlaps.
    Every block is compared with the absolute time, so small deviations never add up. Both are
    counted as `corrected{audio_gap}` and `corrected{audio_overlap}`.
    """

    def __init__(self, rate_hz: int, channels: int, telemetry: Telemetry) -> None:
        self._rate_hz = rate_hz
        self._channels = channels
        self._telemetry = telemetry
        self._tolerance = round(TOLERANCE_S * rate_hz)
        self.next: int | None = None
        """Index of the sample that follows the line; None before the first block."""
        self.worst = 0
        """Largest deviation that was left alone, in samples."""

    def place(
        self, start: int | None, block: Samples, *, exact: bool = False
    ) -> Iterator[tuple[int, Samples]]:
        """What to append, as pairs of index and samples. `start` None: right after the last.
        `exact`: small deviations are mended, too, as nobody can hear it here."""
        if self.next is None:
            self.next = start or 0
        deviation = 0 if start is None else start - self.next
        if exact and 0 < abs(deviation) <= self._tolerance and start is not None:
            yield from self._silence(deviation)
            block = block[max(-deviation, 0) :]
            deviation = 0
        if deviation > self._tolerance:
            self._telemetry.count("corrected", "audio_gap")
            yield from self._silence(deviation)
        elif deviation < -self._tolerance:
            self._telemetry.count("corrected", "audio_overlap")
            block = block[-deviation:]
        else:
            self.worst = max(self.worst, abs(deviation))
        if len(block):
            yield self._append(block)

    def _silence(self, length: int) -> Iterator[tuple[int, Samples]]:
        # In pieces: a gap of minutes must not become one array.
        for begin in range(0, length, self._rate_hz):
            piece = min(self._rate_hz, length - begin)
            yield self._append(np.zeros((piece, self._channels), np.float32))

    def _append(self, block: Samples) -> tuple[int, Samples]:
        at = self.next or 0
        self.next = at + len(block)
        return at, block
