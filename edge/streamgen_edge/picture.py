"""`Pictures`: what a stream shows now, as JPEG, made by a short-lived process one at a time."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass

from streamgen.deliver.live import LivePackager
from streamgen.deliver.rendition import Rendition

WITHIN_S = 5.0
"""The process that makes a picture has so long, its start included."""
HERE_S = 3.0
"""Pictures of another edge may take so long to come."""
FRESH_S = 1.0
"""A picture is given again for so long."""
MOST_KEPT = 64
_COMMAND = (sys.executable, "-m", "streamgen_edge.picturing")


class NoPicture(Exception):
    """Why there is none; the text is for the client."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Made:
    at: float
    jpeg: bytes


def top_rung(packager: LivePackager) -> Rendition:
    return next(one for one in packager.renditions.values() if one.track.video)


def last_key_frame(packager: LivePackager) -> bytes | None:
    """A small movie that begins with the top rung's last key frame; None before the first."""
    window = top_rung(packager).window
    for piece in reversed(window.pieces):
        for part in reversed(piece.parts):
            if part.independent and not part.gap:
                return window.headers[piece.header] + part.data
    return None


async def _here(packager: LivePackager) -> bool:
    """Whether its pictures are, once they have come from the edge that has them."""
    place, news = top_rung(packager).track.place, asyncio.Event()

    def look(rendition: Rendition) -> None:
        news.set()

    packager.watch(look)
    try:
        async with asyncio.timeout(HERE_S):
            while not packager.wanted(place):
                news.clear()
                await news.wait()
    except TimeoutError:
        return packager.wanted(place)
    finally:
        packager.unwatch(look)
    return True


class Pictures:
    """On the loop's thread. Asking often makes no more of them."""

    def __init__(self, command: tuple[str, ...] = _COMMAND) -> None:
        self._command = command
        self._making = False
        self._made: dict[str, _Made] = {}
        """By session, the latest."""

    async def jpeg(self, packager: LivePackager) -> bytes:
        """Raises `NoPicture`."""
        session = packager.start.session
        made = self._made.get(session)
        if made is not None and time.monotonic() - made.at < FRESH_S:
            return made.jpeg
        movie = last_key_frame(packager) if await _here(packager) else None
        if movie is None:
            raise NoPicture("there is no picture yet", 503)
        if self._making:
            raise NoPicture("another picture is being made", 429)
        self._making = True
        try:
            jpeg = await self._decoded(movie)
        finally:
            self._making = False
        self._made.pop(session, None)
        self._made[session] = _Made(time.monotonic(), jpeg)
        while len(self._made) > MOST_KEPT:
            del self._made[next(iter(self._made))]
        return jpeg

    async def _decoded(self, movie: bytes) -> bytes:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
            )
        except OSError as error:
            raise NoPicture("no process can be started", 503) from error
        try:
            async with asyncio.timeout(WITHIN_S):
                found, _ = await process.communicate(movie)
        except TimeoutError as error:
            raise NoPicture("the picture took too long", 503) from error
        finally:
            if process.returncode is None:  # also where whoever asked has gone
                process.kill()
                await process.wait()
        if process.returncode != 0 or not found:
            raise NoPicture("the picture could not be decoded", 503)
        return found
