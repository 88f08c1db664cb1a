"""`Silence`: for how long each worker was not heard, and who is given up for it.

A worker that is killed is known to be dead at once: its connection closes. One that stands still,
or whose cable is pulled, only falls silent, and so, for a while, does one that gets no processor on
a busy machine. Giving up the living costs a takeover, waiting for the dead costs viewers the time.
So a worker has less time (`SILENT_S`) where that helps: others are heard all that time, and
somebody can say which of them has the streams. Where no worker is heard it is rather this edge that
is cut off. Then all have more time (`DEAD_S`), and once one of them is heard again, the others'
shorter time begins: TCP takes some seconds, too, until all connections go on.

Anything that comes of a worker counts, packets as well as beats. Time in which the edge itself did
not run does not: what workers said meanwhile still lies in its sockets.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamgen.control.wire import BEAT_S, DEAD_S, SILENT_S

HEARD_S = SILENT_S / 2
"""Who is not silent for longer is heard. It is two beats and a half, so that a late beat of the
only other worker delays nothing, and no more, so that all fall silent before one is given up."""


@dataclass(slots=True)
class _Quiet:
    """As of the last look; up to the time between two looks too much."""

    lasts_s: float = 0.0
    alone_s: float = 0.0
    """The part of it, up to now, in which others were heard."""


class Silence:
    """By the names of the workers. It has no clock of its own."""

    def __init__(self, now_s: float) -> None:
        self._quiet: dict[str, _Quiet] = {}
        self._looked_s = now_s

    def heard(self, worker: str) -> None:
        quiet = self._quiet.setdefault(worker, _Quiet())
        quiet.lasts_s = quiet.alone_s = 0.0

    def forget(self, worker: str) -> None:
        self._quiet.pop(worker, None)

    def look(self, now_s: float, *, elsewhere: bool) -> list[str]:
        """Some times in each `BEAT_S`: the workers that are to be given up. `elsewhere`: streams
        can be taken over by other workers now."""
        passed_s = min(now_s - self._looked_s, BEAT_S)
        self._looked_s = now_s
        for one in self._quiet.values():
            one.lasts_s += passed_s
        heard = any(one.lasts_s <= HEARD_S for one in self._quiet.values())
        for one in self._quiet.values():
            one.alone_s = one.alone_s + passed_s if heard and elsewhere else 0.0
        return [
            worker
            for worker, one in self._quiet.items()
            if one.alone_s > SILENT_S or one.lasts_s > DEAD_S
        ]
