"""The door for other people's stages: a broken one is told apart and stops nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.errors import ConfigError
from streamgen.pipeline import load_pipeline
from streamgen.plugins import find_stage, stage_names, stage_plugins
from streamgen.stages.model import Style
from tests.conftest import Install

HERE = "tests.testing.stages"


@pytest.fixture
def module(tmp_path: Path, install: Install) -> Path:
    """A module of the installed package, to be filled."""
    return tmp_path / "site" / "strange.py"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_na"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError: "),
        ("raise SystemExit(4)", "SystemExit: 4"),
        ("raise RuntimeError", "RuntimeError: no reason given"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("", "AttributeError: "),
        ("class Stage: pass", "is no stage: strange:Stage needs 'Params'"),
        ("Stage = 3", "is no stage"),
    ],
)
def test_a_stage_that_cannot_be_loaded_says_why_and_stops_nobody(
    module: Path, install: Install, text: str, reason: str
) -> None:
    module.write_text(text)
    install(strange="strange:Stage", fine=f"{HERE}:Plain")
    with pytest.raises(ConfigError) as caught:
        find_stage("strange")
    assert "stage 'strange' (other-stages 1.2)" in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert find_stage("fine").__name__ == "Plain"
    assert find_stage("style") is Style
    assert {"strange", "fine", "style"} <= set(stage_names())


def test_a_stage_for_a_later_protocol_is_refused(install: Install) -> None:
    install(future=f"{HERE}:Future")
    with pytest.raises(ConfigError, match=r"made for version 99 of stages, this streamgen has 1"):
        find_stage("future")


def test_wrong_declarations_are_refused_with_their_reason(
    module: Path,
    install: Install,
) -> None:
    module.write_text(f"from {HERE} import Plain\nclass Stage(Plain):\n    outputs = ['picture']\n")
    install(wrong="strange:Stage")
    with pytest.raises(ConfigError, match=r"outputs are Ports by name, got \['picture'\]"):
        find_stage("wrong")


def test_nobody_can_hide_a_built_in_stage(install: Install) -> None:
    install(style=f"{HERE}:Plain")
    assert find_stage("style") is Style


def test_a_name_that_two_packages_claim_is_refused(install: Install) -> None:
    install("one", twice=f"{HERE}:Plain")
    install("two", twice=f"{HERE}:Plain")
    with pytest.raises(ConfigError, match="stage 'twice' comes from one and two; keep one of them"):
        find_stage("twice")


def test_a_plugin_s_stage_is_used_as_our_own_are(
    install: Install,
    tmp_path: Path,
) -> None:
    install(negative=f"{HERE}:Negative")
    path = tmp_path / "p.yaml"
    path.write_text("stages:\n  - negative: {amount: 0.5}\n")
    assert [node.name for node in load_pipeline(str(path)).plan().nodes] == ["negative"]
    path.write_text("stages:\n  - negative: {amount: 5}\n")
    with pytest.raises(ConfigError, match="line 2: amount"):
        load_pipeline(str(path))
    assert [one.package for one in stage_plugins() if one.name == "negative"] == ["other-stages"]


def test_the_listing_shows_broken_ones_with_the_reason(
    module: Path,
    install: Install,
) -> None:
    module.write_text("import os\nos.abort()\n")  # not even a process can load it
    install(strange="strange:Stage", masks=f"{HERE}:Masks")
    told = CliRunner().invoke(app, ["plugins", "list", "--json"])
    rows = {row["name"]: row for row in json.loads(told.stdout)}
    assert rows["style"]["state"] == rows["masks"]["state"] == "fine"
    assert rows["masks"]["outputs"] == {"mask": "mask float32 0..1"}
    assert (rows["masks"]["package"], rows["masks"]["version"]) == ("other-stages", "1.2")
    assert rows["strange"]["state"].startswith("broken: crashes (SIGABRT) while loading it")
    table = CliRunner().invoke(app, ["plugins", "list"]).stdout.splitlines()
    assert table[0].split()[:3] == ["NAME", "PACKAGE", "VERSION"]


def test_a_package_is_checked_stage_by_stage(install: Install) -> None:
    package = install("My.Stages", good=f"{HERE}:EvenOnly", bad=f"{HERE}:Scribbles")
    told = CliRunner().invoke(app, ["plugins", "check", "my-stages", "--json"])
    assert told.exit_code == 1, (package, told.output)
    bad, good = json.loads(told.stdout)
    assert (bad["name"], good["name"]) == ("bad", "good")
    assert good["fine"] and "refuses 321x243: takes even sizes only" in good["notes"]
    assert not bad["fine"] and "writes into its input" in bad["broken"][0]
    told = CliRunner().invoke(app, ["plugins", "check", "good"])
    assert told.exit_code == 0
    assert told.stdout.startswith("good: fine\n  takes picture; gives picture; state none\n")
    assert "ms for a 720p picture" in told.stdout


def test_parameters_are_given_to_the_check(install: Install) -> None:
    install(asks=f"{HERE}:Asks")
    told = CliRunner().invoke(app, ["plugins", "check", "asks"])
    assert told.exit_code == 2
    assert told.stdout.startswith("asks: not run\n") and "missing key 'level'" in told.stdout
    told = CliRunner().invoke(app, ["plugins", "check", "asks", "--set", "asks.level=3"])
    assert told.exit_code == 0, told.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nothing-of-this-name"], "no stage and no package with stages is called"),
        (["style", "--set", "strength"], "--set takes name=value"),
        (["style", "--set", "enhance.strength=1"], "no stage 'enhance' is checked here"),
        (["style", "--set", "strength=["], "not a value"),
    ],
)
def test_a_wrong_question_is_refused_in_one_line(arguments: list[str], reason: str) -> None:
    told = CliRunner().invoke(app, ["plugins", "check", *arguments])
    assert told.exit_code == 2
    assert reason in told.stderr and len(told.stderr.splitlines()) == 1
