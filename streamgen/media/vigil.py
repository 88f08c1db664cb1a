"""`Vigil`: notices a call into other people's code that does not come back.

No thread can be taken out of such a call, so whoever looks gives up on more than the call: offline
on the run, live on the process. It costs a picture two writes, and a second one look.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from streamgen.errors import Stuck

LOOK_S = 1.0
"""Between two looks. What counts is how often a call was seen, not the clock: a machine or process
that was stopped in between, or is too busy to look, takes nothing from its patience."""


class UnderWay(NamedTuple):
    """What is being called."""

    name: str
    call: Hashable
    """The same as at the last look: no call has come back in between."""
    first: bool = False
    """Nothing has ever come of it: it may still be compiling."""


class Vigil:
    """`patience` looks at the same call, and it is stuck; `first` looks where it is the first.

    One thread looks, once in `LOOK_S`.
    """

    def __init__(self, patience: int = 600, first: int = 900) -> None:
        self._patience, self._first = patience, first
        self._watched: list[Callable[[], UnderWay | None]] = []
        self._seen: dict[int, tuple[UnderWay, int]] = {}

    def watch(self, *watched: Callable[[], UnderWay | None]) -> None:
        """Each says what is under way there, if anything is; from the thread that looks."""
        self._watched += watched

    def look(self) -> Stuck | None:
        """The error of a call that has been seen too often."""
        for number, watched in enumerate(self._watched):
            now = watched()
            if now is None:
                self._seen.pop(number, None)
                continue
            last, looks = self._seen.get(number, (None, 0))
            looks = looks + 1 if last == now else 1
            self._seen[number] = now, looks
            if looks > (self._first if now.first else self._patience):
                for_s = round((looks - 1) * LOOK_S)
                return Stuck(f"{now.name} has not come back for {for_s} s", what=now.name)
        return None


class _Calls:
    """Marks the calls of one thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._number = 0
        self._inside = False

    def __enter__(self) -> None:
        self._number += 1
        self._inside = True

    def __exit__(self, *_: object) -> None:
        self._inside = False

    def under_way(self) -> UnderWay | None:
        return UnderWay(self._name, self._number) if self._inside else None


class WatchedDecoder:
    """A decoder (`protocols.Decoder`) whose calls are watched by `under_way`."""

    def __init__(self, decoder: Any, name: str) -> None:
        self._decoder = decoder
        self._calls = _Calls(name)
        self.under_way = self._calls.under_way

    def decode(self, packet: Any) -> Sequence[Any]:
        with self._calls:
            given: Sequence[Any] = self._decoder.decode(packet)
        return given

    def flush(self) -> Sequence[Any]:
        with self._calls:
            given: Sequence[Any] = self._decoder.flush()
        return given


class WatchedEncoder:
    """An encoder (`protocols.Encoder`) whose calls are watched by `under_way`."""

    def __init__(self, encoder: Any, name: str) -> None:
        self.track = encoder.track
        self._encoder = encoder
        self._calls = _Calls(name)
        self.under_way = self._calls.under_way

    def encode(self, frame: Any) -> Sequence[Any]:
        with self._calls:
            given: Sequence[Any] = self._encoder.encode(frame)
        return given

    def flush(self) -> Sequence[Any]:
        with self._calls:
            given: Sequence[Any] = self._encoder.flush()
        return given
