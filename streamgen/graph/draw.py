"""A planned graph as text, one line a node, and as an SVG drawing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from html import escape
from typing import Any

from streamgen.graph.layout import Item, Layout, Line, arranged
from streamgen.graph.plan import THE_SOURCE, Edge, Plan, PlannedNode
from streamgen.graph.spec import SOURCE, EdgeKind

OUTPUT = "output"
MARGIN_PX = 28
TITLE_PX = 34
GAP_PX = 72
HEAD_PX = 46
ROW_PX = 20
LETTER_PX = 7.4
"""Width of a letter of 13 px, generously."""
SMALL_PX = 6.3
"""Width of a letter of 11 px."""


def text(plan: Plan) -> str:
    """One line per node: name, stage, inputs with where they come from, and how it is run."""
    rows = [_row(node, plan) for node in plan.nodes]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    lines = [
        f"{name.ljust(widths[0])}  {stage.ljust(widths[1])}  {rest}".rstrip()
        for name, stage, rest in rows
    ]
    late = f", {plan.latency} frames late" if plan.latency else ""
    return "\n".join([*lines, f"{OUTPUT} <- {_producer(plan, plan.output)}{late}"])


def listed(plan: Plan) -> list[dict[str, Any]]:
    """The nodes for programs, in the order in which they can run."""
    return [
        {
            "name": node.name,
            "stage": node.spec.stage,
            "conversion": node.conversion,
            "inputs": {
                edge.port: {
                    "from": _producer(plan, edge),
                    "edge": edge.kind.value,
                    "limit_ms": edge.limit_ns / 1e6 or None,
                }
                for edge in node.edges
            },
            "outputs": {name: str(port) for name, port in node.contract.outputs.items()},
            "every_ms": None if node.spec.every is None else node.spec.every / 1e6,
            "isolation": node.spec.isolation,
            "fallback": node.spec.fallback,
            "state": node.contract.state,
            "latency": node.contract.latency,
            "skippable": node.contract.skippable,
        }
        for node in plan.nodes
    ]


def _row(node: PlannedNode, plan: Plan) -> tuple[str, str, str]:
    if node.conversion:
        edges = ", ".join(_producer(plan, edge) for edge in node.edges)
        made = ", ".join(map(str, node.contract.outputs.values()))
        return node.name, "(conversion)", f"{made} <- {edges}"
    edges = ", ".join(
        f"{edge.port} <- {_producer(plan, edge)}{_bracketed(_label(edge))}" for edge in node.edges
    )
    return node.name, node.spec.stage, edges + _bracketed(", ".join(_notes(node)))


def _bracketed(said: str) -> str:
    return f" [{said}]" if said else ""


def _producer(plan: Plan, edge: Edge) -> str:
    if edge.node == THE_SOURCE:
        return SOURCE
    node = plan.nodes[edge.node]
    return node.name if len(node.contract.outputs) == 1 else f"{node.name}.{edge.output}"


def _label(edge: Edge) -> str:
    if edge.kind is EdgeKind.SYNC:
        return ""
    return f"{edge.kind.value} {_duration(edge.limit_ns)}"


def _duration(duration_ns: int) -> str:
    ms = duration_ns / 1e6
    return f"{ms / 1000:g}s" if ms >= 1000 else f"{ms:g}ms"


def _notes(node: PlannedNode) -> list[str]:
    """How a node is run, where that is not the default."""
    notes = [] if node.spec.every is None else [f"every {_duration(node.spec.every)}"]
    if node.spec.isolation != "inline":
        notes.append(f"own {node.spec.isolation}")
    if node.spec.fallback != "passthrough":
        notes.append(f"else {node.spec.fallback.replace('_', ' ')}")
    if node.contract.latency:
        notes.append(f"{node.contract.latency} late")
    return notes


def svg(plan: Plan, title: str) -> str:
    """The graph from left to right, for light and dark pages.

    Lines are solid for `sync`, dashed for `latest`, dotted for `optional`; conversions are of
    another tint.
    """
    boxes: dict[Hashable, _Box] = {THE_SOURCE: _Box(SOURCE, "the decoded picture", "end")}
    for index, node in enumerate(plan.nodes):
        boxes[index] = _box(node)
    boxes[OUTPUT] = _Box(OUTPUT, "to the ladder", "end")
    edges = [(edge, index) for index, node in enumerate(plan.nodes) for edge in node.edges]
    joined: list[tuple[Edge, Hashable]] = [*edges, (plan.output, OUTPUT)]
    lines = [
        Line(
            start=edge.node,
            leaves_px=boxes[edge.node].leaves(edge.output),
            end=end,
            enters_px=boxes[end].enters(edge.port),
            bundle=(edge.node, edge.output, edge.kind),
            label_px=len(_label(edge)) * SMALL_PX + 52 if _label(edge) else 0.0,
        )
        for edge, end in joined
    ]
    sizes = {key: (box.width, box.height) for key, box in boxes.items()}
    layout = arranged(sizes, lines, gap=GAP_PX, last=OUTPUT)
    parts = [
        _line(edge, line, way, layout)
        for (edge, _), line, way in zip(joined, lines, layout.ways, strict=True)
    ]
    parts += [box.drawn(layout.items[key]) for key, box in boxes.items()]
    return _page(title, parts, layout)


class _Box:
    """A node as drawn: its name, its stage, and a row for each input where there are several."""

    def __init__(
        self,
        name: str,
        about: str,
        kind: str,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.kind, self._name, self._about = kind, name, about
        self._inputs = list(inputs) if len(inputs) > 1 else []
        self._outputs = list(outputs) if len(outputs) > 1 else []
        self._notes = ", ".join(notes)
        rows = max(len(self._inputs), len(self._outputs))
        pairs = [
            len(left) + len(right) + 4
            for left, right in zip(
                self._inputs + [""] * (rows - len(self._inputs)),
                self._outputs + [""] * (rows - len(self._outputs)),
                strict=True,
            )
        ]
        small = max([len(about), len(self._notes), *pairs])
        self.width = max(len(name) * LETTER_PX, small * SMALL_PX) + 30
        self._head = HEAD_PX + (15 if notes else 0)
        self.height = self._head + (rows * ROW_PX + 4 if rows else 0)

    def enters(self, port: str) -> float:
        return self._at(port, self._inputs)

    def leaves(self, output: str) -> float:
        return self._at(output, self._outputs)

    def _at(self, name: str, rows: Sequence[str]) -> float:
        if name not in rows:
            return self._head / 2
        return self._head + rows.index(name) * ROW_PX + ROW_PX / 2

    def drawn(self, item: Item) -> str:
        x, y = item.x, item.y
        parts = [
            f'<rect class="{self.kind}" x="{x:.1f}" y="{y:.1f}" width="{self.width:.1f}" '
            f'height="{self.height:.1f}" rx="{22 if self.kind == "end" else 8}"/>',
            _text(x + self.width / 2, y + 20, self._name, "name"),
            _text(x + self.width / 2, y + 36, self._about, "about"),
        ]
        if self._notes:
            parts.append(_text(x + self.width / 2, y + 51, self._notes, "notes"))
        for port in self._inputs:
            parts.append(_text(x + 10, y + self.enters(port) + 4, port, "port"))
        for port in self._outputs:
            parts.append(_text(x + self.width - 10, y + self.leaves(port) + 4, port, "port right"))
        return "\n".join(parts)


def _box(node: PlannedNode) -> _Box:
    inputs = [edge.port for edge in node.edges]
    outputs = list(node.contract.outputs)
    if node.conversion:
        made = str(node.contract.outputs["value"])
        return _Box(node.name, f"to {made}", "conversion", inputs)
    return _Box(node.name, node.spec.stage, "stage", inputs, outputs, _notes(node))


def _line(edge: Edge, line: Line, way: Sequence[Hashable], layout: Layout) -> str:
    """One curve through the places that its way has in the columns, with its arrow and label."""
    first, *between, last = (layout.items[key] for key in way)
    x, y = first.x + first.width, first.y + line.leaves_px
    path = f"M{x:.1f} {y:.1f}"
    for item in between:
        path += _curve(x, y, item.x, item.y) + f"H{item.x + item.width:.1f}"
        x, y = item.x + item.width, item.y
    end_x, end_y = last.x - 7, last.y + line.enters_px
    path += _curve(x, y, end_x, end_y)
    drawn = f'<path class="line {edge.kind.value}" d="{path}" marker-end="url(#arrow)"/>'
    label = _label(edge)
    if not label:
        return drawn
    beside = 14 if y < end_y - 1 else -6  # where the line does not come from
    return drawn + "\n" + _text(end_x - 4, end_y + beside, label, "label")


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    bend = (to_x - x) / 2
    return f"C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"


def _text(x: float, y: float, said: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(said)}</text>'


_STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-size: 11px;
  text-anchor: middle; fill: #4f5a6b }
.title { font-size: 15px; font-weight: 600; text-anchor: start; fill: #1c2330 }
.name { font-size: 13px; font-weight: 600; fill: #1c2330 }
.notes { fill: #8a5a00 }
.port { text-anchor: start } .right { text-anchor: end }
.label { text-anchor: end; paint-order: stroke; stroke: #ffffff; stroke-width: 4px;
  stroke-linejoin: round }
.paper { fill: #ffffff } .arrow { fill: #5b6b8c }
rect { stroke-width: 1.4 }
.stage { fill: #eef2fb; stroke: #5b6b8c }
.conversion { fill: #fff3da; stroke: #b7791f }
.end { fill: #e2f3e9; stroke: #2f855a }
.line { fill: none; stroke: #5b6b8c; stroke-width: 1.6 }
.latest { stroke-dasharray: 7 5 } .optional { stroke-dasharray: 1.6 4.4; stroke-linecap: round }
@media (prefers-color-scheme: dark) {
  text { fill: #b3bccb } .title, .name { fill: #eef1f6 } .notes { fill: #e3b45c }
  .label { stroke: #12151b } .paper { fill: #12151b } .arrow { fill: #93a6cc }
  .stage { fill: #1f2737; stroke: #93a6cc } .conversion { fill: #35290f; stroke: #d9a441 }
  .end { fill: #14301f; stroke: #67bd8c } .line { stroke: #93a6cc }
}
"""


def _page(title: str, parts: Sequence[str], layout: Layout) -> str:
    needed = max(layout.width, len(title) * 8.4)
    width, height = needed + 2 * MARGIN_PX, layout.height + 2 * MARGIN_PX + TITLE_PX
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="8" '
            'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
            '<path class="arrow" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
            f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>',
            _text(MARGIN_PX, MARGIN_PX + 8, title, "title"),
            f'<g transform="translate({MARGIN_PX} {MARGIN_PX + TITLE_PX})">',
            *parts,
            "</g>",
            "</svg>",
            "",
        ]
    )
