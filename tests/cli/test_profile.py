"""What a pipeline takes, as `streamgen profile` measures it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.control.placement.resources import DIMENSIONS

PIPELINE = """
name: split
stages: [crop: {left: 2, width: 316, height: 180}]
ladder: [{height: source, bitrate: 300k}, {height: 90, bitrate: 100k}]
"""
SHORT = ["--size", "320x180", "--rate", "10", "--seconds", "1"]


def test_each_way_to_run_it_is_measured_and_can_be_simulated(tmp_path: Path) -> None:
    file = tmp_path / "split.yaml"
    file.write_text(PIPELINE)
    done = CliRunner().invoke(app, ["profile", str(file), *SHORT])
    assert done.exit_code == 0, done.output
    (found,) = yaml.safe_load(done.stdout)
    assert found["name"] == "split-180p10" and len(found["needs"]) == 3
    assert all(need["cpu_ms"] > 0 for need in found["needs"])
    costs = [need["cpu_ms"] for need in found["needs"]]
    assert costs == sorted(costs, reverse=True)
    assert done.stderr.count(" 20 pictures") == 3


def test_json_has_every_dimension() -> None:
    done = CliRunner().invoke(app, ["profile", "transcode", *SHORT, "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert all(set(need) == set(DIMENSIONS) for need in answer["needs"])
    assert answer["fits_here"] >= 1


@pytest.mark.parametrize(
    "wrong", [["--size", "640"], ["--size", "641x360"], ["--rate", "fast"], ["--rate", "0"]]
)
def test_what_makes_no_sense_is_refused(wrong: list[str]) -> None:
    done = CliRunner().invoke(app, ["profile", "transcode", *wrong])
    assert done.exit_code == 2 and done.stderr.startswith("streamgen: --")
