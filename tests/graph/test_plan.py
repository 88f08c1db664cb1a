"""`plan`: the order of nodes, conversions, and every graph that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.errors import ConfigError
from streamgen.graph.plan import THE_SOURCE, Plan, plan
from streamgen.graph.spec import EdgeKind, NodeSpec
from streamgen.media.port import Contract, Port

PLAIN = Contract()
MASK = Port(kind="mask")
RGB = Port(kind="rgb")
CONTRACTS = {
    "paint": PLAIN,
    "motion": Contract(outputs={"mask": MASK}, state="ordered"),
    "detect": Contract(outputs={"boxes": Port(kind="boxes"), "scores": Port(kind="tensor")}),
    "join": Contract(
        inputs={
            "picture": Port(),
            "keep": Port(),
            "mask": Port(kind="mask", optional=True),
        }
    ),
    "rgb": Contract(inputs={"rgb": RGB}, outputs={"rgb": RGB}),
    "float": Contract(
        inputs={"picture": Port(), "rgb": Port(kind="rgb", dtype="float32", planar=True)}
    ),
    "grow": Contract(inputs={"mask": MASK}, outputs={"mask": MASK}),
    "slow": Contract(state="ordered", latency=2),
    "twins": Contract(outputs={"left": Port(), "right": Port()}),
    "nothing": Contract(inputs={}),
    "tensor": Contract(inputs={"x": Port(kind="tensor", shape=(4,))}, outputs={"mask": MASK}),
    "dream": Contract(inputs={"mask": MASK}),
}


def planned(graph: Mapping[str, Any], output: str = "") -> Plan:
    """A graph of the stages above; the output is the last node if not said."""
    nodes = {name: NodeSpec.model_validate(written) for name, written in graph.items()}
    contracts = {name: CONTRACTS[spec.stage] for name, spec in nodes.items()}
    return plan(nodes, output or list(nodes or ["source"])[-1], contracts)


def names(made: Plan) -> list[str]:
    return [node.name for node in made.nodes]


def reads(made: Plan, name: str) -> dict[str, str]:
    """Input -> `node.output` of one planned node."""
    node = next(node for node in made.nodes if node.name == name)
    return {
        edge.port: ("source" if edge.node == THE_SOURCE else made.nodes[edge.node].name)
        + f".{edge.output}"
        for edge in node.edges
    }


def test_no_nodes_give_the_source() -> None:
    made = plan({}, "source", {})
    assert made.nodes == ()
    assert (made.output.node, made.output.output) == (THE_SOURCE, "picture")
    assert made.latency == 0


def test_nodes_come_after_what_they_read_and_else_as_written() -> None:
    made = planned(
        {
            "out": {"join": {}, "from": {"picture": "late", "keep": "b"}},
            "b": {"paint": {}, "from": "source"},
            "a": {"paint": {}, "from": "source"},
            "late": {"paint": {}, "from": "a"},
        },
        "out",
    )
    assert names(made) == ["b", "a", "late", "out"]
    assert reads(made, "out") == {"picture": "late.picture", "keep": "b.picture"}
    assert made.nodes[made.output.node].name == "out"


def test_an_unnamed_edge_leads_to_the_main_input() -> None:
    made = planned(
        {
            "a": {"motion": {}, "from": "source"},
            "b": {"grow": {}, "from": "a"},
            "out": {"join": {}, "from": {"": "source", "keep": "source", "mask": "b"}},
        }
    )
    assert reads(made, "b") == {"mask": "a.mask"}
    assert reads(made, "out")["picture"] == "source.picture"


def test_an_optional_input_may_stay_open() -> None:
    made = planned({"out": {"join": {}, "from": {"picture": "source", "keep": "source"}}})
    assert list(reads(made, "out")) == ["picture", "keep"]


def test_edge_kinds_and_their_limits_are_kept() -> None:
    made = planned(
        {
            "m": {"motion": {}, "from": "source", "every": "200ms"},
            "out": {
                "join": {},
                "from": {
                    "picture": "source",
                    "keep": "source",
                    "mask": {"node": "m", "edge": "latest", "max_age": "500ms"},
                },
            },
        }
    )
    edge = made.nodes[-1].edges[-1]
    assert (edge.kind, edge.limit_ns) == (EdgeKind.LATEST, 500_000_000)
    assert made.nodes[0].spec.every == 200_000_000


def test_a_conversion_is_made_once_and_shared() -> None:
    made = planned(
        {
            "a": {"rgb": {}, "from": "source"},
            "b": {"rgb": {}, "from": "source"},
            "out": {"join": {}, "from": {"picture": "a", "keep": "b"}},
        }
    )
    assert names(made) == ["rgb(source)", "a", "b", "picture(a)", "picture(b)", "out"]
    assert reads(made, "a") == reads(made, "b") == {"rgb": "rgb(source).value"}
    assert reads(made, "picture(a)") == {"value": "a.rgb", "like": "source.picture"}
    assert made.nodes[0].conversion and made.nodes[0].spec.stage == "convert"
    assert made.nodes[0].spec.params == {
        "to": "rgb",
        "dtype": "uint8",
        "range": [0.0, 255.0],
        "planar": False,
    }
    assert made.nodes[3].contract.outputs == {"value": Port()}


def test_different_wishes_for_one_picture_get_conversions_of_different_names() -> None:
    made = planned(
        {
            "a": {"rgb": {}, "from": "source"},
            "out": {"float": {}, "from": {"picture": "a", "rgb": "source"}},
        }
    )
    assert "rgb(source)" in names(made)
    assert "rgb float32 0..1 planar(source)" in names(made)
    assert len(set(names(made))) == len(made.nodes)


def test_boxes_become_a_mask_of_the_picture_that_was_searched() -> None:
    made = planned(
        {
            "painted": {"paint": {}, "from": "source"},
            "faces": {"detect": {}, "from": "painted", "every": "100ms"},
            "out": {
                "join": {},
                "from": {
                    "picture": "source",
                    "keep": "painted",
                    "mask": {"node": "faces.boxes", "edge": "latest", "max_age": "1s"},
                },
            },
        }
    )
    assert reads(made, "mask(faces.boxes)") == {"value": "faces.boxes", "like": "painted.picture"}
    conversion = made.nodes[2]
    assert conversion.spec.every == 100_000_000  # as often as what it converts
    assert conversion.edges[0].kind is EdgeKind.SYNC
    assert made.nodes[3].edges[-1].kind is EdgeKind.LATEST


def test_the_output_is_converted_to_a_picture_where_it_can_be() -> None:
    made = planned({"a": {"rgb": {}, "from": "source"}})
    assert names(made) == ["rgb(source)", "a", "picture(a)"]
    assert made.output.node == 2


def test_a_node_may_follow_one_that_runs_as_seldom() -> None:
    made = planned(
        {
            "m": {"motion": {}, "from": "source", "every": "200ms"},
            "g": {"grow": {}, "from": "m", "every": "200ms"},
            "out": {
                "join": {},
                "from": {
                    "picture": "source",
                    "keep": "source",
                    "mask": {"node": "g", "edge": "latest", "max_age": "1s"},
                },
            },
        }
    )
    assert names(made) == ["m", "g", "out"]


def test_the_latency_is_that_of_the_longest_way() -> None:
    made = planned(
        {
            "a": {"slow": {}, "from": "source"},
            "b": {"slow": {}, "from": "a"},
            "out": {"join": {}, "from": {"picture": "b", "keep": "source"}},
        }
    )
    assert made.latency == 4
    assert planned({"a": {"paint": {}, "from": "source"}}).latency == 0


def test_an_output_of_several_is_named_after_a_dot() -> None:
    made = planned(
        {
            "t": {"twins": {}, "from": "source"},
            "out": {"join": {}, "from": {"picture": "t.left", "keep": "t.right"}},
        },
    )
    assert reads(made, "out") == {"picture": "t.left", "keep": "t.right"}
    assert planned({"t": {"twins": {}, "from": "source"}}, "t.left").output.output == "left"


SYNC_MASK = {"picture": "source", "keep": "source", "mask": "m"}


@pytest.mark.parametrize(
    ("graph", "output", "message"),
    [
        ({"a": {"paint": {}, "from": "b"}}, "a", "node 'a', input 'picture': unknown node 'b'"),
        ({"a": {"paint": {}, "from": {"pic": "source"}}}, "a", "input 'pic': paint has no such"),
        ({"a": {"paint": {}, "from": "source.mask"}}, "a", "'source' has no output 'mask'"),
        ({"a": "paint"}, "a", "node 'a', input 'picture': is not connected"),
        ({"a": {"join": {}, "from": "source"}}, "a", "node 'a', input 'keep': is not connected"),
        (
            {"a": {"paint": {}, "from": {"": "source", "picture": "source"}}},
            "a",
            "input 'picture': stands twice",
        ),
        (
            {"a": {"paint": {}, "from": "b"}, "b": {"paint": {}, "from": "a"}},
            "a",
            "circle: a reads b reads a",
        ),
        ({"a": {"paint": {}, "from": "a"}}, "a", "circle: a reads a"),
        (
            {"m": {"motion": {}, "from": "source"}, "a": {"paint": {}, "from": "m"}},
            "a",
            "node 'a', input 'picture': takes picture, and 'm' gives mask uint8 0..255",
        ),
        (
            {"d": {"detect": {}, "from": "source"}, "a": {"paint": {}, "from": "d"}},
            "a",
            r"'d' has several outputs; name one \(there are: d.boxes, d.scores\)",
        ),
        (
            {
                "m": {"motion": {}, "from": "source", "every": "200ms"},
                "a": {"join": {}, "from": SYNC_MASK},
            },
            "a",
            "node 'a', input 'mask': 'm' runs every 200ms only",
        ),
        ({"a": {"paint": {}, "from": "source", "every": "1s"}}, "a", "output: 'a' runs every"),
        ({"m": {"motion": {}, "from": "source"}}, "m", "output: takes picture, and 'm' gives mask"),
        ({"a": {"paint": {}, "from": "source"}}, "b", "output: unknown node 'b'"),
        (
            {"a": {"paint": {}, "from": "source"}, "b": {"paint": {}, "from": "source"}},
            "a",
            "node 'b': nothing reads it",
        ),
        (
            {
                "x": {"paint": {}, "from": "source"},
                "a": {
                    "join": {},
                    "from": {
                        "picture": "source",
                        "keep": {"node": "source", "edge": "latest", "max_age": "1s"},
                    },
                },
            },
            "a",
            "an edge from source is always sync",
        ),
        (
            {
                "x": {"paint": {}, "from": "source"},
                "a": {"paint": {}, "from": {"node": "x", "edge": "latest", "max_age": "1s"}},
            },
            "a",
            "node 'a', input 'picture': the main input",
        ),
        ({"a": "nothing"}, "a", "node 'a': nothing takes nothing"),
        (
            {"m": {"motion": {}, "from": "source"}, "a": {"dream": {}, "from": "m"}},
            "a",
            "node 'a': dream gives a picture and takes none",
        ),
        (
            {"a": {"slow": {}, "from": "source", "every": "1s"}},
            "a",
            "node 'a': slow is 2 frames late",
        ),
        (
            {"a": {"tensor": {}, "from": "source"}},
            "a",
            "node 'a', input 'x': takes tensor float32 4, and 'source' gives picture",
        ),
    ],
)
def test_a_graph_that_cannot_run_is_refused(
    graph: dict[str, Any], output: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(graph, output)


def test_a_refusal_leads_to_the_edge() -> None:
    with pytest.raises(ConfigError) as caught:
        planned(
            {
                "m": {"motion": {}, "from": "source"},
                "a": {"join": {}, "from": {"picture": "source", "keep": "m"}},
            }
        )
    assert caught.value.at == ("a", "from", "keep")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_graph_that_fits_is_ordered_and_converted_once(data: st.DataObject) -> None:
    graph: dict[str, Any] = {}
    for number in range(data.draw(st.integers(1, 8))):
        stage = data.draw(st.sampled_from(["paint", "rgb", "join", "float"]))
        inputs = list(CONTRACTS[stage].inputs)[:2]
        graph[f"n{number}"] = {
            stage: {},
            "from": {name: data.draw(st.sampled_from(["source", *graph])) for name in inputs},
        }
    # One more reads all that nothing reads, two at a time.
    read = {node for spec in graph.values() for node in spec["from"].values()}
    loose = [name for name in graph if name not in read]
    while len(loose) > 1:
        name = f"j{len(graph)}"
        graph[name] = {"join": {}, "from": {"picture": loose.pop(), "keep": loose.pop()}}
        loose.append(name)
    shuffled = dict(data.draw(st.permutations(list(graph.items()))))
    made = planned(shuffled, loose[0])
    assert {node.name for node in made.nodes if not node.conversion} == set(graph)
    assert len(set(names(made))) == len(made.nodes)
    seen = set()
    for index, node in enumerate(made.nodes):
        for edge in node.edges:
            assert THE_SOURCE <= edge.node < index
            value = Port() if edge.node < 0 else made.nodes[edge.node].contract.outputs[edge.output]
            assert node.contract.inputs[edge.port].takes(value)
        if node.conversion:
            key = (node.edges[0].node, node.edges[0].output, *node.contract.outputs.values())
            assert key not in seen
            seen.add(key)
