from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamgen.cli import app

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
    assert len(table) == len(names)
    for name, line in zip(names, table, strict=True):
        assert name in line


def test_a_ready_made_pipeline_is_shown_as_its_file() -> None:
    told = CliRunner().invoke(app, ["pipelines", "show", "starry"])
    assert told.stdout.startswith("# ") and "style: {model: starry" in told.stdout


def test_a_pipeline_is_shown_with_all_its_defaults_as_json() -> None:
    told = json.loads(CliRunner().invoke(app, ["pipelines", "show", "transcode", "--json"]).stdout)
    assert told["name"] == "transcode" and told["encoder"]["preset"] == "veryfast"


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
