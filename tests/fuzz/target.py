"""`Target`: one parser, what it may raise, and what each input may cost."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

LARGEST = 64 << 10
MOST_S = 2.0
MOST_BYTES = 200 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """`run` is given bytes of a stranger, and asserts what must hold whatever they are."""

    name: str
    run: Callable[[bytes], None]
    allowed: tuple[type[Exception], ...] = ()
    """The errors its callers take care of."""
    seeds: Callable[[], list[bytes]] = list
    """What honest clients send, to begin with."""


def check(target: Target, data: bytes) -> None:
    """Raises what the target should not have, and `AssertionError` when it cost too much."""
    began, peak = time.process_time(), _peak()
    with suppress(*target.allowed):
        target.run(data)
    took, grown = time.process_time() - began, _peak() - peak
    assert took < MOST_S, f"{len(data)} bytes took {took:.1f} s"
    assert grown < MOST_BYTES, f"{len(data)} bytes took {grown >> 20} MiB"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class Draws:
    """Turns the bytes of an input into decisions; zeros when there are none left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def take(self, length: int) -> bytes:
        self._at += length
        return self._data[self._at - length : self._at]

    def sized(self) -> bytes:
        """Some bytes, with their length in front."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def sized(*parts: bytes) -> bytes:
    """What `Draws.sized` reads back."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def cut(data: bytes, places: bytes) -> list[bytes]:
    """The same bytes in pieces, each byte of `places` the length of one."""
    out, at = [], 0
    for place in places:
        out.append(data[at : at + place])
        at += place
    return [*out, data[at:]]
