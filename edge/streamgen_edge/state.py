"""`State`: how a stream does; and whoever publishes it, as it sees them."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class State(Enum):
    WAITING = "waiting"
    """For a publisher's first key frame, and a worker."""
    LIVE = "live"
    GAP = "gap"
    """Nothing that can be shown comes; viewers see the last picture, or a slate."""
    ENDING = "ending"
    """The worker gives what is inside."""
    ENDED = "ended"


class Publishing(Protocol):
    """Whoever publishes, as the stream sees it."""

    @property
    def announces_pictures(self) -> bool:
        """Whether it has said that it will send any."""
        ...

    def request_keyframe(self) -> None:
        """A key frame would help; not every protocol can say so."""
        ...
