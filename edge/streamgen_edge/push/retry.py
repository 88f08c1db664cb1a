"""`Retry`: how long to wait before the next try."""

from __future__ import annotations

import random

LOST_S = (0.2, 0.5, 1.0)
"""After a connection that was lost or did not come about: a target that is back has the stream
within 3 s, the wait for a key frame included."""
REFUSED_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""After a target said no. The last ones for every further time."""
SPREAD = 0.25
"""Waits are longer or shorter by up to this share, so that a thousand streams do not all come back
at once."""
HEALTHY_S = 5.0
"""A connection that lasted so long begins anew."""


class Retry:
    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._times = 0
        self._refused = False

    def wait_s(self, lasted_s: float, *, refused: bool) -> float:
        """After a try that `lasted_s`, connecting included."""
        if lasted_s > HEALTHY_S or refused is not self._refused:
            self._times = 0
        self._refused = refused
        waits = REFUSED_S if refused else LOST_S
        wait = waits[min(self._times, len(waits) - 1)]
        self._times += 1
        return wait * self._dice.uniform(1 - SPREAD, 1 + SPREAD)
