"""Pipeline files: what is refused, where, and what an override changes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgen.errors import ConfigError
from streamgen.pipeline import Pipeline, load_pipeline
from streamgen.plugins import models, pipeline_files

GOOD = """\
name: mine
stages:
  - style: {model: starry, strength: 0.8}
  - enhance: {model: restore}
ladder:
  - {height: 720, bitrate: 2500k}
  - {height: 480, bitrate: 1.2M}
keyframe_interval: 2s
audio: {codec: auto, bitrate: 128k}
live: {latency_budget: 150ms, when_late: [reuse, skip, passthrough]}
"""


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return str(path)


def test_a_file_as_in_the_interface_is_taken(tmp_path: Path) -> None:
    pipeline = load_pipeline(written(tmp_path, GOOD))
    assert [spec.stage for spec in pipeline.stages] == ["style", "enhance"]
    assert pipeline.stages[0].settings().strength == 0.8
    assert [rung.bitrate for rung in pipeline.ladder] == [2_500_000, 1_200_000]
    assert pipeline.keyframe_interval_ns(live=False) == 2_000_000_000
    assert pipeline.live.latency_budget == 150_000_000


def test_the_keyframe_interval_depends_on_the_mode_until_it_is_given() -> None:
    pipeline = Pipeline(name="x")
    assert pipeline.keyframe_interval_ns(live=False) == 2_000_000_000
    assert pipeline.keyframe_interval_ns(live=True) == 1_000_000_000


@pytest.mark.parametrize("name", sorted(pipeline_files()))
def test_every_ready_made_pipeline_is_valid(name: str) -> None:
    pipeline = load_pipeline(name)
    assert pipeline.name == name
    assert pipeline.description


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("name: mine", "nome: mine", 1, "unknown key 'nome'"),
        ("strength: 0.8", "strenght: 0.8", 3, "unknown key 'strenght'"),
        ("strength: 0.8", "strength: 8", 3, "strength"),
        ("style:", "stile:", 3, "unknown stage 'stile'"),
        ("model: restore", "model: restaur", 4, "unknown model 'restaur'"),
        ("bitrate: 2500k", "bitrate: 2500 knots", 6, "not a bitrate"),
        ("keyframe_interval: 2s", "keyframe_interval: 2", 8, "not a duration"),
        ("keyframe_interval: 2s", "keyframe_interval: 2 weeks", 8, "not a duration"),
        ("height: 480", "height: 481", 7, "even"),
        ("height: 480", "height: 0", 7, "height"),
        ("[reuse, skip, passthrough]", "[panic]", 10, "when_late"),
        ("latency_budget: 150ms", "latency_budget: 0ms", 10, "latency_budget"),
        ("name: mine", "name: mine\nname: yours", 2, "stands twice"),
        ("stages:", "stages: [", None, "p.yaml line"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, line: int | None, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pipeline(written(tmp_path, GOOD.replace(old, new)))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    if line is not None:
        assert caught.value.line == line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected keys and values"),
        ("- a", "expected keys and values"),
        ("stages: 3", "expected a list"),
        ("stages: [{style: {}, enhance: {}}]", "one name"),
        ("ladder: []", "at least one rung"),
        ("fps_cap: 0", "fps_cap"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_pipeline(written(tmp_path, text))


def test_what_does_not_exist_is_refused_with_what_does(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there are: .*starry"):
        load_pipeline("stary")
    with pytest.raises(ConfigError, match="cannot read"):
        load_pipeline(str(tmp_path / "none.yaml"))


def test_overrides_change_stages_and_other_keys(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    changed = load_pipeline(
        path, ["style.strength=0.5", "audio.bitrate=96k", "encoder.preset=fast"]
    )
    assert changed.stages[0].settings().strength == 0.5
    assert changed.audio.bitrate == 96_000
    assert changed.encoder.preset == "fast"
    assert changed.digest() != load_pipeline(path).digest()


def test_overrides_reach_top_keys_and_places_of_lists(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    changed = load_pipeline(
        path,
        ["keyframe_interval=1s", "fps_cap=30", "ladder.0.bitrate=3M", "live.when_late.1=reuse"],
    )
    assert changed.keyframe_interval == 1_000_000_000
    assert changed.fps_cap == 30
    assert [rung.bitrate for rung in changed.ladder] == [3_000_000, 1_200_000]
    assert list(map(str, changed.live.when_late)) == ["reuse", "reuse", "passthrough"]


def test_an_override_reaches_the_ladder_that_nobody_wrote(tmp_path: Path) -> None:
    changed = load_pipeline(written(tmp_path, "name: x"), ["ladder.0.bitrate=1M"])
    assert [(rung.height, rung.bitrate) for rung in changed.ladder] == [("source", 1_000_000)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["audio.bitrate=x"], "--set audio.bitrate: not a bitrate: 'x' "),
        (["keyframe_interval=2"], "--set keyframe_interval: not a duration: 2 "),
        (["style.strength=8"], "--set style.strength: Input should be less than "),
        (["style.model=stary"], "--set style.model: unknown model 'stary'"),
        (["fps_cap=30", "fps_cap=0", "encoder.preset=fast"], "--set fps_cap: Input should be "),
    ],
)
def test_a_wrong_value_is_blamed_on_its_override_and_not_on_the_file(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pipeline(written(tmp_path, GOOD), overrides)
    assert str(caught.value).startswith(message)
    assert caught.value.path is None


def test_a_mistake_of_the_file_is_not_blamed_on_an_override(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("height: 480", "height: 481"))
    with pytest.raises(ConfigError) as caught:
        load_pipeline(path, ["style.strength=0.5"])
    assert caught.value.line == 7


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("nonsense=1", "takes stage.param=value"),
        ("stages=[]", "takes stage.param=value"),
        ("ladder.2.bitrate=1M", "'2' is no place in a list of 2"),
        ("ladder.top.bitrate=1M", "'top' is no place in a list of 2"),
        ("style", "takes stage.param=value"),
        ("style=1", "takes stage.param=value"),
        ("style..x=1", "takes stage.param=value"),
        ("paint.strength=1", "no stage 'paint'"),
        ("style.strenght=1", "unknown key 'strenght'"),
        ("style.strength=loud", "strength"),
        ("style.strength=[", "not a value"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_pipeline(written(tmp_path, GOOD), [override])


GRAPH = """\
name: two
graph:
  painted: {style: {model: starry}, from: source}
  inked:
    style: {model: ink, strength: 0.5}
    from: painted
    fallback: last_good
output: inked
live: {when_late: [reuse, {skip: [inked]}, drop_rung, slate], slate: dark.png}
"""


def test_a_file_may_hold_a_graph(tmp_path: Path) -> None:
    pipeline = load_pipeline(written(tmp_path, GRAPH))
    nodes, output = pipeline.nodes()
    assert (list(nodes), output) == (["painted", "inked"], "inked")
    assert nodes["inked"].fallback == "last_good"
    assert nodes["inked"].settings().strength == 0.5
    assert [node.name for node in pipeline.plan().nodes] == ["painted", "inked"]
    assert list(map(str, pipeline.live.when_late)) == ["reuse", "skip inked", "drop_rung", "slate"]


def test_the_output_of_a_graph_is_the_node_that_none_reads(tmp_path: Path) -> None:
    text = GRAPH.replace("output: inked\n", "")
    assert load_pipeline(written(tmp_path, text)).nodes()[1] == "inked"


def test_a_list_is_the_simplest_graph() -> None:
    pipeline = Pipeline.model_validate(
        {
            "name": "x",
            "stages": ["style", {"style": {"model": "ink"}, "fallback": "drop"}, {"enhance": None}],
        }
    )
    nodes, output = pipeline.nodes()
    assert (list(nodes), output) == (["style", "style-2", "enhance"], "enhance")
    assert [spec.inputs[""].node for spec in nodes.values()] == ["source", "style", "style-2"]
    assert nodes["style-2"].fallback == "drop"
    assert Pipeline(name="x").nodes() == ({}, "source")


def test_overrides_address_nodes_of_a_graph(tmp_path: Path) -> None:
    path = written(tmp_path, GRAPH.replace("{style: {model: starry}, ", "{style: , "))
    changed = load_pipeline(path, ["inked.strength=0.25", "painted.model=wave"])
    nodes, _ = changed.nodes()
    assert nodes["inked"].settings().strength == 0.25
    assert nodes["painted"].settings().model == "wave"
    assert changed.digest() != load_pipeline(path).digest()
    with pytest.raises(ConfigError, match=r"no stage 'style' .*there are: painted, inked"):
        load_pipeline(path, ["style.strength=1"])


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("from: painted", "from: paintd", 6, "node 'inked', input 'picture': unknown node"),
        ("from: painted", "from: {keep: painted}", 6, "input 'keep': style has no such input"),
        ("from: painted", "from: source", 3, "node 'painted': nothing reads it"),
        ("from: source}", "from: inked}", 3, "circle: painted reads inked reads painted"),
        ("strength: 0.5", "strenght: 0.5", 5, "unknown key 'strenght'"),
        ("model: ink,", "model: inc,", 5, "unknown model 'inc'"),
        ("style: {model: ink", "stile: {model: ink", 5, "unknown stage 'stile'"),
        ("fallback: last_good", "fallback: cry", 7, "fallback"),
        ("fallback: last_good", "fallbakc: drop", 4, "'style' and 'fallbakc'"),
        ("fallback: last_good", "timeout: 1s", 4, "timeout is for a node with 'isolation"),
        ("output: inked", "output: inkd", 8, "output: unknown node 'inkd'"),
        ("skip: [inked]", "skip: [painter]", None, "when_late: unknown node 'painter'"),
        ("skip: [inked]", "reuse: [inked]", 9, "only skip names nodes"),
        ("drop_rung", "passthrough", 9, "passthrough shows raw pictures and slate hides them"),
        (", slate]", "], gap: picture", 9, "neither when_late nor gap ever shows it"),
        ("graph:", "stages: [style]\ngraph:", None, "stages or a graph, not both"),
        ("  inked:", "  audio:", 2, "'audio' is no name for a node"),
        ("  inked:", "  in.ked:", 2, "'in.ked' is no name for a node"),
    ],
)
def test_a_mistake_in_a_graph_is_named_with_line_node_and_edge(
    tmp_path: Path, old: str, new: str, line: int | None, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pipeline(written(tmp_path, GRAPH.replace(old, new)))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    if line is not None:
        assert caught.value.line == line


def test_an_override_that_breaks_the_graph_is_blamed(tmp_path: Path) -> None:
    path = written(tmp_path, GRAPH)
    with pytest.raises(ConfigError, match=r"--set output: unknown node 'nobody'"):
        load_pipeline(path, ["output=nobody"])


def test_a_stage_of_a_list_takes_no_edges(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from is for a graph") as caught:
        load_pipeline(written(tmp_path, "stages:\n  - {style: {}, from: source}\n"))
    assert caught.value.line == 2
    with pytest.raises(ConfigError, match="output names a node of a graph"):
        load_pipeline(written(tmp_path, "stages: [style]\noutput: style\n"))


def test_the_digest_is_the_same_for_the_same_pipeline(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    assert load_pipeline(path).digest() == load_pipeline(path).digest()


def test_every_shipped_model_has_its_files() -> None:
    known = models()
    assert {"starry"} <= set(known)
    assert all(path.is_file() for spec in known.values() for path in spec.files.values())


NONSENSE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["", "source", "a", "a.b", "style", "mask", "200ms", "latest", "process"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "style", "mask", "from", "every", "node", "edge", "", 3]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None)
@given(NONSENSE, st.sampled_from(["stages", "graph", "output", "live"]))
def test_whatever_a_file_holds_it_is_taken_or_refused_in_one_line(value: Any, key: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "p.yaml"
        path.write_text(yaml.safe_dump({"name": "x", key: value}))
        for overrides in ([], ["a.level=3"], ["style.strength=0.5"], ["live.when_late.0=skip"]):
            try:
                load_pipeline(str(path), overrides).plan()
            except ConfigError as error:
                assert "\n" not in str(error)
