"""`TagTable`: what the pictures of a stream have in common crosses once, then as a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from streamgen.media.frame import Color, Frame, Matrix, Range

HOST_TAGS, STAGE_TAGS = 0, 0x8000
"""First of the numbers that each side gives to tags."""
MOST_TAGS = 0x4000


class WireError(Exception):
    """A message that does not say what it should. Its text is for the error of the stage."""


Tags = tuple[int, ...]
"""What pictures of a stream have in common: time base, colour, pixel aspect, rotation."""
_MATRICES = tuple(Matrix)
_RANGES = tuple(Range)


def tags_of(frame: Frame) -> Tags:
    base, sar = frame.time_base, frame.sar
    return (
        *(base.numerator, base.denominator),
        *color_tags(frame.color),
        *(sar.numerator, sar.denominator, frame.rotation),
    )


def color_tags(color: Color) -> Tags:
    """The part of the tags that says how code values map to colour."""
    matrix, span = _MATRICES.index(color.matrix), _RANGES.index(color.range)
    return (matrix, span, color.primaries, color.transfer)


def bare_tags(time_base: Fraction) -> Tags:
    """Tags of a sheet, which has a time base only."""
    return (time_base.numerator, time_base.denominator, 0, 0, 2, 2, 1, 1, 0)


@dataclass(frozen=True, slots=True)
class Tagged:
    """Tags as the values they stand for."""

    time_base: Fraction
    color: Color
    sar: Fraction
    rotation: int

    @classmethod
    def of(cls, tags: Tags) -> Tagged:
        """Raises `WireError`."""
        try:
            base, den, matrix, span, primaries, transfer, sar, sar_den, rotation = map(int, tags)
            color = Color(_MATRICES[matrix], _RANGES[span], primaries, transfer)
            return cls(Fraction(base, den), color, Fraction(sar, sar_den), rotation)
        except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
            raise WireError(f"tags that mean nothing: {tags!r}") from error


class TagTable:
    """Numbers for tags, the same on both sides; whoever sees new ones tells the other."""

    def __init__(self, first: int) -> None:
        """`first`: of the numbers that this side gives."""
        self._next = first
        self._numbers: dict[Tags, int] = {}
        self._tagged: dict[int, Tagged] = {}
        self._last: tuple[Any, ...] = (None, None, None, None, 0)
        self.news: list[tuple[int, Tags]] = []

    def of(self, number: int) -> Tagged:
        """Raises `WireError`."""
        tagged = self._tagged.get(number)
        if tagged is None:
            raise WireError(f"tags {number}, which nobody has told")
        return tagged

    def number(self, frame: Frame) -> int:
        """Raises `WireError` when there are too many."""
        base, color, sar, rotation, number = self._last
        if (
            frame.time_base is base
            and frame.color is color
            and frame.sar is sar
            and frame.rotation == rotation
        ):
            found: int = number  # as a rule; to take them apart costs ten times as much
            return found
        found = self.number_of(tags_of(frame))
        self._last = (frame.time_base, frame.color, frame.sar, frame.rotation, found)
        return found

    def number_of(self, tags: Tags) -> int:
        number = self._numbers.get(tags)
        if number is None:
            number, self._next = self._next, self._next + 1
            if len(self._numbers) >= MOST_TAGS:
                raise WireError("the stream changes its time base or colour all the time")
            self.learn(number, tags)
            self.news.append((number, tags))
        return number

    def learn(self, number: int, tags: Sequence[int]) -> None:
        """What the other side has told. Raises `WireError`."""
        if len(self._numbers) >= 2 * MOST_TAGS:
            raise WireError("tags without end")
        self._tagged[number] = Tagged.of(tuple(tags))
        self._numbers[tuple(tags)] = number

    def take_news(self) -> list[tuple[int, Tags]]:
        news, self.news = self.news, []
        return news
