"""`Grid`: where a live stream is cut, and what the pieces are called. A pure function of time.

Media sequence numbers and dates come from the output timeline alone, so a packager that takes a
stream over, on this machine or another, goes on with the numbers of the one before it, and
without a store: they never go back (RFC 8216bis, 6.2.1 and 6.2.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of the output timeline; cell `n` holds the media of segment `n`.

    Cell 0 begins with the session and lasts `opening_ns`, so that players have something to play
    soon. From cell 2 on, cells begin at whole multiples of `segment_ns`, which is the grid of
    `encode/clock.py`; cell 1 fills what lies between.
    """

    start_ns: int
    """Output PTS of the session's first picture."""
    unix_ns: int
    """Wall clock at that picture."""
    segment_ns: int = NS
    opening_ns: int = NS // 2
    """Length of cell 0. The encoders put a key frame at its end; see `opening_cut_ns`."""

    @property
    def opening_cut_ns(self) -> int:
        """Where the one key frame outside the regular grid belongs."""
        return self.start_ns + self.opening_ns

    @property
    def _first(self) -> int:
        """Multiple of `segment_ns` at which cell 2 begins. Cell 1 is at least half as long as
        cell 0: very short segments cost players more than they win."""
        return -(-(self.opening_cut_ns + self.opening_ns // 2) // self.segment_ns)

    def number(self, at_ns: int) -> int:
        """The cell of a time; 0 before the session, too."""
        if at_ns < self.opening_cut_ns:
            return 0
        return max(at_ns // self.segment_ns - self._first + 2, 1)

    def start_of(self, number: int) -> int:
        """Where a cell begins, in ns on the output timeline."""
        if number <= 1:
            return self.start_ns if number <= 0 else self.opening_cut_ns
        return (number - 2 + self._first) * self.segment_ns

    def date(self, at_ns: int) -> str:
        """EXT-X-PROGRAM-DATE-TIME of a time (4.4.4.6): ISO 8601 with milliseconds, UTC."""
        wall_ms = (self.unix_ns + at_ns - self.start_ns + NS // 2000) // (NS // 1000)
        whole = datetime.fromtimestamp(wall_ms // 1000, UTC)
        return f"{whole:%Y-%m-%dT%H:%M:%S}.{wall_ms % 1000:03d}Z"
