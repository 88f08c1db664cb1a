"""What a worker says that it has, by trying."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgen.control.outfit import Outfit
from streamgen.encode.rungs import FORMATS
from streamgen.plugins import ENCODERS

MANIFEST = '[[model]]\nname = "own"\nkind = "style"\nfiles = {}\n'
BROKEN = "raise RuntimeError('no such library')\n"
CRASHING = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
WHOLE = Path("examples/tint/streamgen_tint.py").read_text(encoding="utf-8")


def plugin(folder: Path, name: str, module: str) -> None:
    """A package with a stage `tint`, as an installer would leave it in this folder."""
    facts = folder / f"{name}-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[streamgen.stages]\ntint = {name}:Tint\n")
    (folder / f"{name}.py").write_text(module, encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that this process and its children look into."""
    monkeypatch.setenv("STREAMGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


def test_encoders_that_open_stages_that_load_and_models_are_said(site: Path) -> None:
    plugin(site, "whole_tint", WHOLE)
    found = Outfit.tried().parts()
    assert found is not None
    assert {"codec 'h264'", "stage 'style'", "stage 'tint'", "model 'starry'"} <= found


def test_a_plugin_that_does_not_load_and_an_encoder_that_does_not_open_are_not(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(site, "broken_tint", BROKEN)
    monkeypatch.setitem(ENCODERS, "svt-av1", "a_library_that_is_not_there:Encoder")
    found = Outfit.tried().parts()
    assert found is not None
    assert {"codec 'h264'", "codec 'hevc'", "stage 'style'"} <= found
    assert not {"codec 'av1'", "stage 'tint'"} & found
    assert len(FORMATS) == len(ENCODERS)


def test_where_a_plugin_ends_its_process_nothing_is_claimed(site: Path) -> None:
    plugin(site, "crashing_tint", CRASHING)
    assert Outfit.tried().parts() is None


def test_a_model_is_there_once_it_is_imported(site: Path) -> None:
    outfit = Outfit(frozenset())
    before = outfit.parts()
    assert before is not None and "model 'own'" not in before
    folder = site.parent / "cache" / "models" / "own"
    folder.mkdir(parents=True)
    (folder / "manifest.toml").write_text(MANIFEST)
    assert outfit.parts() == before | {"model 'own'"}
