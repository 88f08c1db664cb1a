"""A player of HLS on a thread of its own: all renditions of a stream at one edge, playlists and
parts, and whatever of them is not as it must be."""

from __future__ import annotations

import threading
import urllib.request
from hashlib import sha256
from types import TracebackType
from typing import Any

from tests.deliver.live_trace import Seen, read
from tests.live.playlists import renditions
from tests.live.serving import Server

POLL_S = 0.1
OFF_S = 0.4
"""A segment begins at its place in the grid, or with the first picture behind it that a busy
machine did not give up. One with a wrong number is a second off."""


class Player:
    """`with` it plays."""

    def __init__(self, edge: Server, name: str) -> None:
        self.edge = edge
        self.wrong: list[str] = []
        """What no player may see."""
        self.gaps: set[tuple[str, int]] = set()
        """Segments with parts that are missing."""
        self.parts = 0
        """Fetched so far."""
        self.numbers: dict[str, set[int]] = {}
        """Of the segments that each rendition's playlists have listed."""
        self.places = edge.until(lambda: renditions(edge, name), f"playlists of {name}", 30)
        self.newest: dict[str, tuple[int, int]] = {}
        self._zero_s: dict[str, float] = {}
        self._had: dict[str, bytes] = {}
        """What each part is."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, name=f"player of {name}", daemon=True)

    def __enter__(self) -> Player:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(30)

    @property
    def session(self) -> str:
        return str(self.places[0].split("/")[3])

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Segments between the first and the last that were never listed: nobody published then."""
        return [
            (place, number)
            for place, seen in self.numbers.items()
            for number in range(min(seen), max(seen))
            if number not in seen
        ]

    @property
    def double(self) -> int:
        """Parts that are what another one was."""
        return len(self._had) - len(set(self._had.values()))

    def moves(self, segments: int = 2, seconds: float = 30) -> None:
        """Wait for so many more segments of each rendition, in which nothing is missing."""
        want = {place: at[0] + segments for place, at in self.newest.items()}

        def moved() -> bool:
            return bool(self.newest) and all(
                self.newest[place][0] >= want.get(place, 0) for place in self.places
            )

        self.edge.until(moved, f"motion of {self.places}", seconds)

    def _play(self) -> None:
        while not self._over.wait(POLL_S):
            for place in self.places:
                try:
                    self._look(place)
                except AssertionError as error:
                    self.wrong.append(f"{place}: {error}")

    def _look(self, place: str) -> None:
        status, text = self.edge.get(place)
        assert status == 200, f"{status}: {text}"
        found = read(text)
        assert not found.ended, "it has ended"
        for segment in found.segments:
            self._check(place, segment)
        newest = found.newest
        assert newest >= self.newest.get(place, (0, 0)), f"from {self.newest[place]} to {newest}"
        self.newest[place] = newest

    def _check(self, place: str, segment: Seen) -> None:
        self.numbers.setdefault(place, set()).add(segment.number)
        if segment.number >= 2:  # the first two are shorter
            zero_s = segment.date - segment.number
            off_s = zero_s - self._zero_s.setdefault(place, zero_s)
            assert abs(off_s) < OFF_S, f"segment {segment.number} is {off_s:+.3f} s off"
        for part in segment.parts:
            if part.get("GAP") == "YES":
                self.gaps.add((place, segment.number))
            else:
                self._fetch(place.rpartition("/")[0] + "/" + part["URI"])

    def _fetch(self, path: str) -> None:
        if path in self._had:
            return
        url = f"http://127.0.0.1:{self.edge.http}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                self._had[path] = sha256(answer.read()).digest()
        except OSError as error:
            raise AssertionError(f"{path}: {error}") from error
        self.parts += 1

    def facts(self) -> dict[str, Any]:
        return {
            "parts": self.parts,
            "missing": self.missing,
            "double": self.double,
            "gaps": sorted(n for _, n in self.gaps),
            "wrong": self.wrong,
        }
