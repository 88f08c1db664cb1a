"""Pipeline files: what is refused, where, and what an override changes."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    assert [stage.name for stage in pipeline.stages] == ["style", "enhance"]
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


def test_the_digest_is_the_same_for_the_same_pipeline(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    assert load_pipeline(path).digest() == load_pipeline(path).digest()


def test_every_shipped_model_has_its_files() -> None:
    known = models()
    assert {"starry"} <= set(known)
    assert all(path.is_file() for spec in known.values() for path in spec.files.values())
