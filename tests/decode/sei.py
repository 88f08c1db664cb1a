"""SEI messages of H.264 that no encoder here writes."""

from __future__ import annotations

from tests.decode.fields import Bits

_DISPLAY_ORIENTATION = 47


def orientation(quarters: int = 0, *, mirrored: bool = False) -> bytes:
    """A NAL unit that says how pictures are to be turned, quarters counter-clockwise, from here up
    to the next key frame (ITU-T H.264 D.1.27)."""
    said = Bits().u(1, 0).u(1, mirrored).u(1, 0).u(16, quarters << 14).ue(1).u(1, 0)
    payload = said.whole()
    return Bits().u(8, _DISPLAY_ORIENTATION).u(8, len(payload)).raw(payload).unit(6)
