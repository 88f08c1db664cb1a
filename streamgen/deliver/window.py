"""`Window`: the last seconds of one live rendition, as players may still ask for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum


class Absent(Enum):
    """Why there is no such part or segment."""

    SOON = "soon"
    """It is the one being made: worth waiting for."""
    NEVER = "never"
    """It is not part of the stream, or not by now."""
    GONE = "gone"
    """It was there, and has left the window."""


@dataclass(frozen=True, slots=True)
class Part:
    """A Partial Segment (RFC 8216bis, 4.4.4.9): one CMAF fragment."""

    uri: str
    duration_ns: int
    data: bytes
    """Empty where the rendition has a gap."""
    independent: bool
    """Begins with a key frame."""

    @property
    def gap(self) -> bool:
        return not self.data


@dataclass(slots=True)
class Piece:
    """A Media Segment: its parts one after the other. It grows until it is `complete`."""

    number: int
    """Media sequence number."""
    start_ns: int
    """Output PTS of its first picture or sound."""
    header: str
    """URI of its initialisation section."""
    parts: list[Part] = field(default_factory=list)
    complete: bool = False

    @property
    def uri(self) -> str:
        return f"{self.number}.m4s"

    @property
    def duration_ns(self) -> int:
        return sum(part.duration_ns for part in self.parts)

    @property
    def size_bytes(self) -> int:
        return sum(len(part.data) for part in self.parts)

    @property
    def gap(self) -> bool:
        return any(part.gap for part in self.parts)


class Window:
    """Segments by number, without holes. One thread writes and reads.

    A playlist lists `window_ns` of media. What has left it is kept for as long again, because a
    player may hold the playlist that still listed it (6.2.2); then it is let go of.
    """

    def __init__(self, window_ns: int) -> None:
        self.window_ns = window_ns
        self.pieces: deque[Piece] = deque()
        """All that are kept; the last one may be growing."""
        self.headers: dict[str, bytes] = {}
        self.revision = 0
        """Grows with everything that is published."""
        self.ended = False
        self._length_ns = 0
        self._listed_ns = 0
        self._hidden = 0

    @property
    def growing(self) -> Piece | None:
        return self.pieces[-1] if self.pieces and not self.pieces[-1].complete else None

    @property
    def ready(self) -> bool:
        """There is one full segment: before, players give up on the playlist."""
        return bool(self.pieces) and self.pieces[0].complete

    def listed(self) -> Iterator[Piece]:
        """What a playlist says, oldest first."""
        for at in range(self._hidden, len(self.pieces)):
            if self.pieces[at].parts:
                yield self.pieces[at]

    def begin(
        self, number: int, start_ns: int, header: str, *, instead_of: int | None = None
    ) -> None:
        """A segment begins. Numbers that do not follow the last one empty the window. It may come
        `instead_of` one that was not to be, and of all behind that."""
        if instead_of is not None:
            self._cut(instead_of)
        if self.pieces and number != self.pieces[-1].number + 1:
            self._cut(0)
        self.pieces.append(Piece(number, start_ns, header))
        if len(self.headers) > 1:
            used = {piece.header for piece in self.pieces}
            self.headers = {uri: data for uri, data in self.headers.items() if uri in used}

    def _cut(self, number: int) -> None:
        """Let go of this segment and those behind it."""
        while self.pieces and self.pieces[-1].number >= number:
            gone = self.pieces.pop()
            self._length_ns -= gone.duration_ns if gone.complete else 0
        self._hidden, self._listed_ns = 0, self._length_ns
        self._hide()

    def add(self, part: Part) -> None:
        self.pieces[-1].parts.append(part)
        self.revision += 1

    def finish(self) -> None:
        """The growing segment is complete. One without parts never was."""
        last = self.pieces[-1]
        last.complete = True
        self.revision += 1
        self._length_ns += last.duration_ns
        self._listed_ns += last.duration_ns
        self._hide()
        while self._length_ns - self.pieces[0].duration_ns >= 2 * self.window_ns:
            self._length_ns -= self.pieces.popleft().duration_ns
            self._hidden -= 1

    def _hide(self) -> None:
        """Playlists list no more than the window."""
        while self._hidden < len(self.pieces):
            first_ns = self.pieces[self._hidden].duration_ns
            if self._listed_ns - first_ns < self.window_ns:
                return
            self._listed_ns -= first_ns
            self._hidden += 1

    def end(self) -> None:
        """Nothing more comes."""
        if self.growing is not None:
            if self.pieces[-1].parts:
                self.finish()
            else:
                self.pieces.pop()
        self.ended = True
        self.revision += 1

    def position(self) -> tuple[int, int]:
        """Number and index of the newest part; (-1, -1) before the first (LAST-MSN, LAST-PART)."""
        for piece in reversed(self.pieces):
            if piece.parts:
                return piece.number, len(piece.parts) - 1
        return -1, -1

    def following(self) -> tuple[int, int]:
        """Number and index of the part being made (EXT-X-PRELOAD-HINT)."""
        if not self.pieces:
            return 0, 0
        last = self.pieces[-1]
        return (last.number + 1, 0) if last.complete else (last.number, len(last.parts))

    def has(self, number: int, index: int | None) -> bool:
        """Whether a playlist of now satisfies `_HLS_msn` and `_HLS_part` (6.2.5.2).

        A part beyond the last of a complete segment means the first of the next one.
        """
        if not self.pieces:
            return False
        last = self.pieces[-1]
        complete = number < last.number or (number == last.number and last.complete)
        if index is None or number < last.number - 1:
            return complete
        behind = last.number - number
        if behind < 0 or behind >= len(self.pieces):
            return behind > 0
        if index < len(self.pieces[-1 - behind].parts):
            return True
        return behind == 1 and bool(last.parts)

    def part(self, number: int, index: int) -> Part | Absent:
        piece = self._piece(number)
        if isinstance(piece, Piece):
            if index < len(piece.parts):
                part = piece.parts[index]
                return Absent.NEVER if part.gap else part
            if piece.complete or self.ended:
                return Absent.NEVER
        elif piece is Absent.GONE:
            return Absent.GONE
        following = self.following()
        soon = (number, index) in (following, (following[0] + 1, 0)) and not self.ended
        return Absent.SOON if soon else Absent.NEVER

    def segment(self, number: int) -> Piece | Absent:
        piece = self._piece(number)
        if not isinstance(piece, Piece) or (piece.complete and not piece.gap):
            return piece
        return Absent.NEVER if piece.complete else Absent.SOON

    def _piece(self, number: int) -> Piece | Absent:
        if not self.pieces or number > self.pieces[-1].number:
            return Absent.NEVER
        first = self.pieces[0].number
        return Absent.GONE if number < first else self.pieces[number - first]


def forget(window: Window) -> None:
    """Let go of all that it has. What comes next may have any number."""
    window._cut(0)
    window.revision += 1
