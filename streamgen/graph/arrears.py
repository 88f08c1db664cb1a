"""`Arrears`: how long a stream that goes on for a dead worker may take for what that one owed."""

from __future__ import annotations

from streamgen.media.frame import Frame

LONGEST_NS = 2_000_000_000
"""By then the newest picture is the next one to be shown, whatever waits."""
LOOKED_NS = 1_000_000_000
"""After so long it must have been faster than the stream, or it never comes to its end."""


class Arrears:
    """Pictures that are owed hold up those behind them, so viewers get all, later than they should.
    That is borne for a while: after it the stream is live again, and what still waits is lost."""

    def __init__(self) -> None:
        self.over = False
        self._began: tuple[int, int] | None = None
        """When the first picture came, and its time in the stream, both in nanoseconds."""

    def patient(self, frame: Frame, now_ns: int) -> bool:
        """Whether this picture, which is owed, may wait for its turn."""
        base = frame.time_base
        at_ns = frame.pts * base.numerator * 1_000_000_000 // base.denominator
        if self._began is None:
            self._began = now_ns, at_ns
        began_ns, first_ns = self._began
        took_ns = now_ns - began_ns
        gains = at_ns - first_ns > took_ns
        self.over |= took_ns > LONGEST_NS or (took_ns > LOOKED_NS and not gains)
        return not self.over
