"""Drawings of graphs: every node and edge is there, in its place, and readable."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.graph.draw import listed, svg, text
from streamgen.graph.layout import Line, arranged
from streamgen.graph.plan import Plan, plan
from tests.graph.test_plan import planned

FACES = {
    "painted": {"paint": {}, "from": "source", "isolation": "process", "fallback": "last_good"},
    "faces": {"detect": {}, "from": "source", "every": "200ms"},
    "out": {
        "join": {},
        "from": {
            "picture": "painted",
            "keep": "source",
            "mask": {"node": "faces.boxes", "edge": "latest", "max_age": "500ms"},
        },
    },
}


@pytest.fixture
def faces() -> Plan:
    return planned(FACES)


def test_the_text_has_one_line_per_node_and_one_for_the_output(faces: Plan) -> None:
    assert text(faces).splitlines() == [
        "painted            paint         picture <- source [own process, else last good]",
        "faces              detect        picture <- source [every 200ms]",
        "mask(faces.boxes)  (conversion)  mask uint8 0..255 <- faces.boxes, source",
        "out                join          picture <- painted, keep <- source, "
        "mask <- mask(faces.boxes) [latest 500ms]",
        "output <- out",
    ]


def test_the_text_says_how_late_a_graph_is() -> None:
    assert text(planned({"a": {"slow": {}, "from": "source"}})).splitlines() == [
        "a  slow  picture <- source [2 late]",
        "output <- a, 2 frames late",
    ]
    assert text(plan({}, "source", {})) == "output <- source"


def test_programs_get_every_node_with_its_edges(faces: Plan) -> None:
    rows = listed(faces)
    assert [row["name"] for row in rows] == ["painted", "faces", "mask(faces.boxes)", "out"]
    assert rows[2]["conversion"] and not rows[3]["conversion"]
    assert rows[3]["inputs"]["mask"] == {
        "from": "mask(faces.boxes)",
        "edge": "latest",
        "limit_ms": 500.0,
    }


def test_the_drawing_shows_every_node_edge_and_label(faces: Plan) -> None:
    drawn = svg(faces, "faces <& co>")
    root = ElementTree.fromstring(drawn)
    said = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert {"painted", "faces", "mask(faces.boxes)", "out", "source", "output"} <= set(said)
    assert {"latest 500ms", "every 200ms", "keep", "boxes", "scores"} <= set(said)
    lines = [node for node in root.iter() if node.get("class", "").startswith("line")]
    assert len(lines) == sum(len(node.edges) for node in faces.nodes) + 1
    assert [node.get("class") for node in lines].count("line latest") == 1
    assert "prefers-color-scheme: dark" in drawn


def test_lines_begin_and_end_at_the_side_of_a_box(faces: Plan) -> None:
    root = ElementTree.fromstring(svg(faces, "faces"))
    boxes = [
        tuple(float(node.get(key, "nan")) for key in ("x", "y", "width", "height"))
        for node in root.iter()
        if node.get("class") in {"stage", "conversion", "end"}
    ]
    for node in root.iter():
        if node.get("class", "").startswith("line"):
            x, y, *_, end_x, end_y = map(float, re.findall(r"-?\d+\.?\d*", node.get("d", "")))
            assert any(abs(b[0] + b[2] - x) < 1 and b[1] <= y <= b[1] + b[3] for b in boxes)
            assert any(abs(b[0] - 7 - end_x) < 1 and b[1] <= end_y <= b[1] + b[3] for b in boxes)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_boxes_never_overlap_and_lines_run_to_the_right(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 14))
    sizes = {n: (data.draw(st.integers(40, 160)), data.draw(st.integers(30, 120)))
             for n in range(count)}  # fmt: skip
    lines = [
        Line(start, 5, end, 9, bundle=(start,))
        for end in range(1, count)
        for start in data.draw(st.sets(st.integers(0, end - 1), min_size=1, max_size=3))
    ]
    layout = arranged(sizes, lines, gap=50, last=count - 1)
    items = list(layout.items.values())
    for one in items:
        assert one.y >= 0 and one.x >= 0
        assert one.x + one.width <= layout.width and one.y + one.height <= layout.height + 1e-6
        for other in items:
            apart = one.y + one.height <= other.y or other.y + other.height <= one.y
            assert one is other or one.column != other.column or apart
    for line, way in zip(lines, layout.ways, strict=True):
        assert (way[0], way[-1]) == (line.start, line.end)
        columns = [layout.items[key].column for key in way]
        assert columns == list(range(columns[0], columns[-1] + 1))
        assert len(columns) >= 2
