"""What forms are made of: every parameter's schema, with values that a change may name."""

from __future__ import annotations

import pytest

from streamgen.config import parse_duration, written_duration
from streamgen.errors import ConfigError
from streamgen.pipeline import pipeline_value
from streamgen.plugins import pipeline_files
from streamgen_edge.knobs import knobs, refuse_wrong


def test_a_node_has_its_schema_and_the_values_in_force() -> None:
    (style,) = knobs(pipeline_value("starry"), {"style": {"strength": 0.25}})
    assert (style["node"], style["stage"]) == ("style", "style")
    assert style["values"] == {"model": "starry", "strength": 0.25, "size": "auto"}
    fields = style["schema"]["properties"]
    assert (fields["strength"]["minimum"], fields["strength"]["maximum"]) == (0.0, 1.0)
    assert fields["strength"]["x-live"] and not fields["model"]["x-live"]
    assert {"starry", "wave"} <= set(fields["model"]["examples"])
    assert not any("restore" in name for name in fields["model"]["examples"])


@pytest.mark.parametrize("name", sorted(pipeline_files()))
def test_every_value_can_be_given_back_as_it_is(name: str) -> None:
    value = pipeline_value(name)
    for node in knobs(value, {}):
        refuse_wrong(value, {}, node["node"], node["values"])


@pytest.mark.parametrize(
    ("node", "values", "reason"),
    [
        ("style", {"strength": 7}, "strength"),
        ("style", {"colour": 1}, "colour"),
        ("paint", {}, "unknown node 'paint'"),
    ],
)
def test_what_no_worker_could_run_with_is_refused(node: str, values: object, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        refuse_wrong(pipeline_value("starry"), {}, node, values)


@pytest.mark.parametrize("text", ["2s", "400ms", "33.3667ms", "0s"])
def test_durations_are_written_as_they_are_read(text: str) -> None:
    assert written_duration(parse_duration(text)) == text
