"""`Asking`: who wants to do what, as every way in puts it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

MOST_TOKEN = 4096
"""Characters of a token; longer ones are nobody's."""


class Scope(Enum):
    """What there is to be allowed. None implies another."""

    PUBLISH = "publish"
    PLAY = "play"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Asking:
    """One question of one client."""

    scope: Scope
    stream: str
    """Empty for `ADMIN`, which is of the whole server."""
    token: str | None = field(repr=False)
    """What it shows; never logged."""
    protocol: str = ""
    """`rtmp`, `whip`, `hls` or `whep`."""
    address: str | None = None
    """Where it comes from, as far as this server sees."""


class Undecided(Exception):
    """Nobody can say so now: the keys are not there. That is a no."""
