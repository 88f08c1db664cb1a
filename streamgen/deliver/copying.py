"""`Copying`: one rendition's window, step by step, as another process makes the same one of it.

A copy has the same parts, names, numbers and bytes, so its playlists read the same. There is no
queue: what is next is looked up in the window, so whoever reads slowly costs nothing, and who comes
too late goes on with the oldest that is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from streamgen.deliver.window import Part, Piece, Window

Position = tuple[int, int, bool]
"""Number of the newest segment, how many parts of it, and whether it is complete."""


class Act(Enum):
    """What a step does to a window."""

    HEADER = "header"
    """An initialisation section for segments from here on."""
    BEGIN = "begin"
    PART = "part"
    WHOLE = "whole"
    """The growing segment is complete."""
    END = "end"
    """Nothing more comes."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a window."""

    act: Act
    number: int = 0
    """BEGIN: of the segment."""
    start_ns: int = 0
    """BEGIN: output PTS of its first picture or sound."""
    uri: str = ""
    """Of the part; HEADER and BEGIN: of the initialisation section."""
    anew: bool = False
    """BEGIN: what was there before is not to be held against it, as something was missed."""
    duration_ns: int = 0
    independent: bool = False
    data: bytes = b""
    """HEADER and PART; empty: a gap."""


class Copying:
    """How far a copy of a window has come. On the thread that writes into the window."""

    def __init__(self, window: Window, has: Position | None = None) -> None:
        """`has` is what the copy has already."""
        self.missed = 0
        """So often something had left the window before it was copied."""
        self._window = window
        self._number: int | None = None
        self._parts, self._whole = 0, True
        if has is not None:
            self._number, self._parts, self._whole = has
        self._headers: set[str] = set()
        self._ended = False

    def step(self) -> Step | None:
        """What the copy needs next; None: it has all there is."""
        if self._ended:
            return None
        if self._whole:
            return self._begun()
        piece = self._piece(self._number)
        if piece is None and self._window.ended and self._parts == 0:
            return self._end()  # it had begun, and never was
        if piece is None or self._parts > len(piece.parts):
            return self._jumped()
        if self._parts < len(piece.parts):
            part = piece.parts[self._parts]
            self._parts += 1
            return Step(
                Act.PART,
                uri=part.uri,
                duration_ns=part.duration_ns,
                independent=part.independent,
                data=part.data,
            )
        if piece.complete:
            self._whole = True
            return Step(Act.WHOLE)
        return self._end()

    def _begun(self) -> Step | None:
        """The next segment begins, if it is there."""
        pieces = self._window.pieces
        if self._number is None:
            return self._next(pieces[0], anew=True) if pieces else self._end()
        piece = self._piece(self._number + 1)
        if piece is not None:
            return self._next(piece)
        if pieces and self._number != pieces[-1].number:
            return self._jumped()
        return self._end()

    def _jumped(self) -> Step | None:
        """What would be next is gone."""
        pieces = self._window.pieces
        if not pieces:
            return self._end()
        step = self._next(pieces[0], anew=True)
        self.missed += step.act is Act.BEGIN
        return step

    def _next(self, piece: Piece, *, anew: bool = False) -> Step:
        if piece.header not in self._headers:
            self._headers = {*self._headers & self._window.headers.keys(), piece.header}
            data = self._window.headers.get(piece.header, b"")
            return Step(Act.HEADER, uri=piece.header, data=data)
        self._number, self._parts, self._whole = piece.number, 0, False
        return Step(
            Act.BEGIN, number=piece.number, start_ns=piece.start_ns, uri=piece.header, anew=anew
        )

    def _piece(self, number: int | None) -> Piece | None:
        pieces = self._window.pieces
        if number is None or not pieces or not pieces[0].number <= number <= pieces[-1].number:
            return None
        return pieces[number - pieces[0].number]

    def _end(self) -> Step | None:
        self._ended = self._window.ended
        return Step(Act.END) if self._ended else None


def position(window: Window) -> Position | None:
    """How far a copy is; None: it has nothing."""
    if not window.pieces:
        return None
    last = window.pieces[-1]
    return last.number, len(last.parts), last.complete


def copy(step: Step, window: Window) -> None:
    """Do to a window what was done to the one that is copied. Raises `LookupError` where it does
    not fit."""
    match step.act:
        case Act.HEADER:
            window.headers[step.uri] = step.data
        case Act.BEGIN:
            instead_of = 0 if step.anew else step.number
            window.begin(step.number, step.start_ns, step.uri, instead_of=instead_of)
        case Act.PART:
            window.add(Part(step.uri, step.duration_ns, step.data, step.independent))
        case Act.WHOLE:
            window.finish()
        case Act.END:
            window.end()
