"""What the pages in docs/ tell people to write works as they tell it."""

from __future__ import annotations

import re
import shlex
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.errors import ConfigError
from streamgen.graph.draw import svg
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline, load_pipeline
from streamgen.session import run
from streamgen.testing import Basket, moving, run_stage, synthetic_clip
from tests.conftest import ROOT, Install

DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Block:
    """One block of code, with the file that the line before it names."""

    language: str
    text: str
    file: str


def blocks(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S):
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        named = re.findall(r"`([\w-]+\.(?:py|toml|yaml))`", before) if before[-1:] == ":" else []
        found.append(Block(match[1], match[2], named[-1] if named else ""))
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file that the page about plugins writes, as the current one."""
    made = tmp_path / "plugin"
    made.mkdir()
    for block in blocks("plugins.md"):
        if block.file:
            (made / block.file).write_text(block.text, encoding="utf-8")
    synthetic_clip(made / "clip.mp4", width=64, height=48, frames=5)
    for name in ("streamgen_tint", "test_tint"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(made))
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def installed(folder: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the page, as `pip install -e .` makes it known."""
    [named] = re.findall(r'^tint = "(.*)"$', (folder / "pyproject.toml").read_text(), re.M)
    install("streamgen-tint", tint=named, bright="streamgen_bright:Bright")
    install("streamgen-face-mask", face_mask="streamgen_face_mask:FaceMask")
    return folder


def test_the_page_writes_the_files_it_speaks_of() -> None:
    files = [block.file for block in blocks("plugins.md") if block.file]
    assert files == [
        "streamgen_tint.py",
        "pyproject.toml",
        "test_tint.py",
        "warm.yaml",
        "streamgen_bright.py",
    ]


@pytest.mark.parametrize("name", ["streamgen_tint.py", "pyproject.toml", "test_tint.py"])
def test_the_page_and_the_example_are_the_same(name: str) -> None:
    [text] = [block.text for block in blocks("plugins.md") if block.file == name]
    assert text.strip() == (ROOT / "examples" / "tint" / name).read_text().strip()


def test_the_stage_has_twenty_lines_and_a_few() -> None:
    [text] = [b.text for b in blocks("plugins.md") if b.file == "streamgen_tint.py"]
    body = [line for line in text.partition("class Tint:")[2].splitlines() if line.strip()]
    assert len(body) <= 22


def test_its_test_passes(folder: Path) -> None:
    module = import_module("test_tint")
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


def test_every_command_of_the_page_works_in_order(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        line
        for block in blocks("plugins.md")
        if block.language == "bash"
        for line in block.text.splitlines()
    ]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("streamgen ")]
    assert [command[:2] for command in commands] == [
        ["plugins", "list"],
        ["plugins", "check"],
        ["pipelines", "check"],
        ["run", "warm.yaml"],
    ]
    assert lines[:2] == ["pip install -e .", "pytest"]
    for command in commands:
        told = CliRunner().invoke(app, command)
        assert told.exit_code == 0, (command, told.output)
        if command[:2] == ["plugins", "check"]:
            [shown] = [b.text for b in blocks("plugins.md") if b.language == "text"]
            assert told.stdout.splitlines()[:2] == shown.splitlines()[:2]
    assert (installed / "warm.mp4").stat().st_size > 1000


def test_the_stage_with_a_memory_gives_a_mask_that_follows(folder: Path) -> None:
    bright = import_module("streamgen_bright").Bright
    first, *_, last = run_stage(bright, moving(6, 64, 48), {"calm": 0.5})
    assert set(map(float, set(first["mask"].data.ravel()))) <= {0.0, 1.0}  # type: ignore[union-attr]
    assert ((last["mask"].data > 0) & (last["mask"].data < 1)).any()  # type: ignore[union-attr]


@pytest.mark.parametrize("page", ["plugins.md", "graphs.md"])
def test_every_pipeline_of_a_page_can_be_run(installed: Path, page: str) -> None:
    found = [block for block in blocks(page) if block.language == "yaml"]
    assert len(found) >= 2
    for number, block in enumerate(found):
        path = installed / f"{number}.yaml"
        path.write_text(block.text.replace("isolation: process", "isolation: inline"))
        text = path.read_text()
        for key in ("timeout", "limits"):
            text = re.sub(rf"^ *{key}: .*\n", "", text, flags=re.M)
        path.write_text(text)
        assert load_pipeline(str(path)).plan().nodes


def test_the_drawing_of_the_page_is_what_is_drawn_today(installed: Path) -> None:
    [faces] = [b.text for b in blocks("graphs.md") if b.file == "faces.yaml"]
    (installed / "faces.yaml").write_text(faces)
    pipeline = load_pipeline(str(installed / "faces.yaml"))
    drawn = (DOCS / "faces.svg").read_text(encoding="utf-8")
    assert drawn == svg(pipeline.plan(), pipeline.name), (
        "draw it anew: streamgen pipelines show examples/face-mask/faces.yaml --svg docs/faces.svg"
    )


def anchors(path: Path) -> set[str]:
    """Names of the headings of a page, as its readers' programs make them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_every_link_leads_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
        path = DOCS / (target or page)
        assert target.startswith("https://") or path.exists(), target
        assert not anchor or target.startswith("https://") or anchor in anchors(path), anchor


def test_the_readme_names_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", text))
    assert named == {path.name for path in DOCS.glob("*.md")}


def test_the_lines_about_live_parameters_work(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = [block.text for block in blocks("graphs.md") if block.language == "python"]
    pipeline = Pipeline.model_validate(
        {"name": "x", "graph": {"painted": {"style": {}, "from": "source"}}}
    )
    clip = synthetic_clip(installed / "long.mp4", width=64, height=48, frames=300, audio=None)
    with (
        Lane() as lane,
        open_session(pipeline, open_source(str(clip)), [Basket()], lane=lane) as session,
    ):
        running = threading.Thread(target=run, args=(session,))
        running.start()
        exec(code, {"session": session})
        running.join()
        assert session.graph.knobs.values()["painted"].strength == 0.2  # type: ignore[attr-defined]
    assert re.fullmatch(r"1 (\d+|None)\n", capsys.readouterr().out)


def test_the_refusal_on_the_page_is_what_is_said(tmp_path: Path) -> None:
    [said] = [block.text for block in blocks("graphs.md") if block.language == "text"]
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ngraph:\n  painted: {style: {}, from: source}\n"
        "  out:\n    mask: {}\n    from:\n      picture: source\n      keep: source\n"
        "      mask: painted\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_pipeline(str(path))
    assert str(caught.value).replace(str(tmp_path) + "/", "") == said.strip()
