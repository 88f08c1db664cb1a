"""`Beginning`: where the times of a new publisher begin."""

from __future__ import annotations

from streamgen.ingest.link import SOUND
from streamgen.media.packet import Packet

PICTURE_WAIT_NS = 3_000_000_000
"""A publisher that has announced pictures, and sends sound, may take so long for the first one."""
SOUND_WAIT_NS = 1_000_000_000
"""The same for one that has announced none."""


class Beginning:
    """At its first key frame; or, where nothing but sound comes for long, at its sound."""

    def __init__(self) -> None:
        self.awaited = True
        self.with_sound = False
        """It began without a picture."""
        self._sounding_ns: int | None = None

    def here(self, packet: Packet, now_ns: int, *, announced: bool) -> bool:
        """Whether it is this packet of the publisher's, or lies before it."""
        if not self.awaited:
            return True
        if packet.track == SOUND:
            if self._sounding_ns is None:
                self._sounding_ns = now_ns
            wait_ns = PICTURE_WAIT_NS if announced else SOUND_WAIT_NS
            self.awaited = now_ns - self._sounding_ns < wait_ns
            self.with_sound = not self.awaited
        else:
            self.awaited = not packet.keyframe
        return not self.awaited
