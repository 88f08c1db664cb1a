from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.protocols import Mode
from streamgen.runtimes.cache import TuneResult

LISTINGS = [["pipelines", "list"], ["models", "list"], ["doctor"]]


@pytest.mark.parametrize("listing", LISTINGS, ids=" ".join)
def test_every_listing_is_an_array_of_objects_with_names(listing: list[str]) -> None:
    told = CliRunner().invoke(app, [*listing, "--json"])
    assert told.exit_code == 0, told.output
    rows = json.loads(told.stdout)
    assert rows and all(row["name"] for row in rows)


@pytest.mark.parametrize("listing", LISTINGS, ids=" ".join)
def test_every_listing_reads_as_a_table(listing: list[str]) -> None:
    names = [
        row["name"] for row in json.loads(CliRunner().invoke(app, [*listing, "--json"]).stdout)
    ]
    table = CliRunner().invoke(app, listing).stdout.splitlines()
    assert "NAME" in table[0]
    for name, line in zip(names, table[1:], strict=True):
        assert name in line


def test_a_ready_made_pipeline_is_shown_as_its_file() -> None:
    told = CliRunner().invoke(app, ["pipelines", "show", "starry"])
    assert told.stdout.startswith("# ") and "style: {model: starry" in told.stdout


def test_a_pipeline_is_shown_with_all_its_defaults_as_json() -> None:
    told = json.loads(CliRunner().invoke(app, ["pipelines", "show", "transcode", "--json"]).stdout)
    assert told["name"] == "transcode" and told["encoder"]["preset"] == "veryfast"


GRAPH = """\
name: two
graph:
  painted: {style: {model: starry}, from: source}
  inked: {style: {model: ink}, from: painted}
output: inked
"""


def test_a_graph_is_shown_with_its_edges_and_again_the_same_once_saved(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(GRAPH, encoding="utf-8")
    shown = CliRunner().invoke(app, ["pipelines", "show", str(mine)]).stdout
    assert shown.startswith(GRAPH)
    assert "#   inked    style  picture <- painted\n#   output <- inked\n" in shown
    mine.write_text(shown, encoding="utf-8")
    assert CliRunner().invoke(app, ["pipelines", "show", str(mine)]).stdout == shown


def test_a_graph_is_listed_as_json_and_drawn(tmp_path: Path) -> None:
    mine, drawing = tmp_path / "mine.yaml", tmp_path / "mine.svg"
    mine.write_text(GRAPH, encoding="utf-8")
    told = CliRunner().invoke(
        app, ["pipelines", "show", str(mine), "--json", "--svg", str(drawing)]
    )
    assert [node["name"] for node in json.loads(told.stdout)["nodes"]] == ["painted", "inked"]
    assert drawing.read_text(encoding="utf-8").startswith("<svg ")
    told = CliRunner().invoke(app, ["pipelines", "show", str(mine), "--svg", "mine.png"])
    assert (told.exit_code, told.stderr) == (
        2,
        "streamgen: a drawing is a .svg file, got 'mine.png'\n",
    )


def test_a_shown_pipeline_can_be_saved_changed_and_checked(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    text = CliRunner().invoke(app, ["pipelines", "show", "starry"]).stdout
    mine.write_text(text.replace("strength: 1.0", "strength: 0.5"), encoding="utf-8")
    told = CliRunner().invoke(app, ["pipelines", "check", str(mine)])
    assert (told.exit_code, told.stdout) == (0, f"{mine}: fine (style; 3 rungs)\n")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("name: x\nstages:\n  - nonsense: {}\n", 3, "unknown stage 'nonsense'"),
        ("name: x\nstages:\n  - style: {model: nonsense}\n", 3, "unknown model 'nonsense'"),
        ("name: x\nladder:\n  - {height: 720, bitrate: 2500k, widht: 3}\n", 3, "unknown key"),
        ("name: x\nladder:\n  - {height: 720, bitrate: 2500q}\n", 3, "not a bitrate"),
        ("name: x\nkeyframe_interval: 2\n", 2, "not a duration"),
        ("name: x\nladder:\n  - {height: 721, bitrate: 1M}\n", 3, "even"),
        ("name: x\nname: y\n", 2, "stands twice"),
        ("- a list\n", None, "expected keys and values"),
    ],
)
def test_a_wrong_pipeline_file_is_refused_with_line_and_reason(
    tmp_path: Path, text: str, line: int | None, reason: str
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text, encoding="utf-8")
    told = CliRunner().invoke(app, ["pipelines", "check", str(wrong)])
    assert told.exit_code == 2
    assert len(told.stderr.splitlines()) == 1
    assert reason in told.stderr
    assert line is None or f"line {line}:" in told.stderr


def test_a_model_is_shown_with_licence_and_files() -> None:
    told = json.loads(CliRunner().invoke(app, ["models", "show", "starry", "--json"]).stdout)
    assert told[0]["license"] and all(Path(file).exists() for file in told[0]["files"])


def inverted(path: Path) -> Path:
    """Somebody's network: RGB 0..1 in, the negative out, any size."""
    shape = [1, 3, "height", "width"]
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    graph = helper.make_graph(
        [helper.make_node("Sub", ["one", "input"], ["output"])],
        "inverted",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [one],
    )
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, ir_version=9, opset_imports=opset).SerializeToString()
    )
    return path


def test_another_network_is_imported_and_then_runs_as_a_stage(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGEN_CACHE", str(tmp_path / "cache"))
    told = CliRunner().invoke(app, ["models", "import", str(inverted(tmp_path / "inverted.onnx"))])
    assert told.exit_code == 0, told.output
    rows = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)
    assert {row["name"]: row["kind"] for row in rows}["inverted"] == "imported"
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "name: mine\nstages:\n  - model: {model: inverted}\n"
        "ladder:\n  - {height: source, bitrate: 1M}\n"
    )
    told = CliRunner().invoke(app, ["run", str(mine), str(clip), "-o", str(tmp_path / "out.mp4")])
    assert told.exit_code == 0, told.output
    assert abs(brightness(clip) + brightness(tmp_path / "out.mp4") - 251) < 12


def brightness(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(next(container.decode(video=0)).to_ndarray(format="gray").mean())


def test_what_is_no_network_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.onnx").write_text("no network")
    told = CliRunner().invoke(app, ["models", "import", str(tmp_path / "text.onnx")])
    assert told.exit_code == 1
    assert len(told.stderr.splitlines()) == 1
    assert not list((tmp_path / "cache").glob("models/*"))


def test_tuning_shows_every_way_and_the_chosen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def measured(*question: object, again: bool) -> list[TuneResult]:
        asked.append((*question[1:], again))
        return [
            TuneResult("one", "int8", 2, 2, 10.0, 180.0, 20.0, chosen=True),
            TuneResult("two", "fp32", 2, 2, 20.0, 90.0, 40.0),
        ]

    monkeypatch.setattr("streamgen.cli.models.measure", measured)
    told = CliRunner().invoke(app, ["models", "tune", "starry", "--size", "854x478", "--json"])
    rows = json.loads(told.stdout)
    assert [(row["name"], row["chosen"]) for row in rows] == [("starry", True), ("starry", False)]
    assert asked == [(856, 480, Mode.OFFLINE, False)]


def test_a_wrong_size_is_wrong_usage() -> None:
    told = CliRunner().invoke(app, ["models", "tune", "starry", "--size", "big"])
    assert told.exit_code == 2
    assert "1280x720" in told.stderr
