"""Waiting for what ends by itself, when the server stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

LOOK_S = 0.02
"""So often it is looked whether all have ended."""


class Ending(Protocol):
    """Something of its own thread or process."""

    @property
    def running(self) -> bool: ...

    def end(self) -> None:
        """Do what is left, and end; does not wait."""
        ...


async def all_ended(them: Sequence[Ending], within_s: float) -> bool:
    """Tell all to end. False where one takes longer than that."""
    until = time.monotonic() + within_s
    for one in them:
        one.end()
    while any(one.running for one in them):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(LOOK_S)
    return True
