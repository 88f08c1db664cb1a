"""`Layout`: where the boxes and lines of a drawn graph stand.

Columns from left to right, each node right of all it reads (Sugiyama's layers); a line that passes
a column has a place of its own in it. Units are pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

GAP_PX = 28
"""Between two items of a column."""
SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """From an output of one box to an input of another, a number of pixels below their tops."""

    start: Hashable
    leaves_px: float
    end: Hashable
    enters_px: float
    bundle: Hashable
    """Lines of one bundle that start together share their way."""
    label_px: float = 0.0
    """Room that its label needs before the box it leads to."""


@dataclass(slots=True)
class Item:
    """A box, or the place where a line passes a column."""

    key: Hashable
    column: int
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0
    before: list[tuple[Hashable, float, float]] = field(default_factory=list)
    """Neighbours on the left: key, where the line leaves it, where it enters here."""
    after: list[tuple[Hashable, float, float]] = field(default_factory=list)
    """Neighbours on the right: key, where the line enters it, where it leaves here."""


@dataclass(slots=True)
class Layout:
    """Everything with its place."""

    items: dict[Hashable, Item]
    ways: list[list[Hashable]]
    """Of each line: the items it goes through, from box to box."""
    width: float = 0.0
    height: float = 0.0


def arranged(
    sizes: Mapping[Hashable, tuple[float, float]],
    lines: Sequence[Line],
    *,
    gap: float,
    last: Hashable,
) -> Layout:
    """Place boxes of these sizes (in an order in which every line leads onwards); `last` stands
    rightmost. `gap` is the least distance of columns."""
    depth: dict[Hashable, int] = {}
    for key in sizes:
        depth[key] = max((depth[line.start] + 1 for line in lines if line.end == key), default=0)
    depth[last] = max(depth.values())
    items = {key: Item(key, depth[key], *size) for key, size in sizes.items()}
    ways = [_way(line, items) for line in lines]
    for line, way in zip(lines, ways, strict=True):
        _join(line, way, items)
    columns: list[list[Item]] = [[] for _ in range(depth[last] + 1)]
    for item in items.values():
        columns[item.column].append(item)
    layout = Layout(items, ways)
    _place_columns(columns, lines, items, gap, layout)
    _place_rows(columns, items, layout)
    return layout


def _way(line: Line, items: dict[Hashable, Item]) -> list[Hashable]:
    """The items of one line; places in the columns between are made where missing."""
    way: list[Hashable] = [line.start]
    for column in range(items[line.start].column + 1, items[line.end].column):
        key = ("passing", line.bundle, column)
        items.setdefault(key, Item(key, column))
        way.append(key)
    return [*way, line.end]


def _join(line: Line, way: list[Hashable], items: dict[Hashable, Item]) -> None:
    for left, right in pairwise(way):
        leaves = line.leaves_px if left == line.start else 0.0
        enters = line.enters_px if right == line.end else 0.0
        items[left].after.append((right, enters, leaves))
        items[right].before.append((left, leaves, enters))


def _place_columns(
    columns: Sequence[list[Item]],
    lines: Sequence[Line],
    items: Mapping[Hashable, Item],
    gap: float,
    layout: Layout,
) -> None:
    x = 0.0
    for number, column in enumerate(columns):
        labels = [line.label_px for line in lines if items[line.end].column == number]
        x += max([gap, *labels]) if number else 0.0
        width = max(item.width for item in column)
        for item in column:
            item.x = x
            item.width = item.width or width  # a passing line crosses the column
        x += width
    layout.width = x


def _place_rows(
    columns: Sequence[list[Item]], items: Mapping[Hashable, Item], layout: Layout
) -> None:
    for column in columns:
        _stack(column, lambda item: item.y)

    def wanted(item: Item, side: Callable[[Item], list[tuple[Hashable, float, float]]]) -> float:
        near = [items[key].y + there - here for key, there, here in side(item)]
        return sum(near) / len(near) if near else item.y

    for sweep in range(SWEEPS):
        ordering = sweep < SWEEPS // 2
        for column in columns[1:]:
            _settle(column, lambda item: wanted(item, lambda one: one.before), ordering)
        for column in columns[-2::-1]:
            _settle(column, lambda item: wanted(item, lambda one: one.after), ordering)
    top = min(item.y for item in items.values())
    for item in items.values():
        item.y -= top
    layout.height = max(item.y + item.height for item in items.values())


def _settle(column: list[Item], wanted: Callable[[Item], float], ordering: bool) -> None:
    places = {id(item): wanted(item) for item in column}
    if ordering:
        column.sort(key=lambda item: places[id(item)] + item.height / 2)
    _stack(column, lambda item: places[id(item)])


def _stack(column: Sequence[Item], wanted: Callable[[Item], float]) -> None:
    """Put items as near to where they want to be as their order and distance allow."""
    places = [wanted(item) for item in column]
    bottom = None
    for item, place in zip(column, places, strict=True):
        item.y = place if bottom is None else max(place, bottom + GAP_PX)
        bottom = item.y + item.height
    off = sum(place - item.y for item, place in zip(column, places, strict=True))
    for item in column:
        item.y += off / max(len(column), 1)
