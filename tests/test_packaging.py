"""What a user gets: the wheel, the make targets, the CI script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from streamgen.plugins import find_stage, models, pipeline_files, stage_names

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling", reason="needs hatchling (make test installs it)")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    packages = {"streamgen", "streamgen_edge", "streamgen_models", "streamgen_pipelines"}
    assert {top for top in tops if not top.endswith(".dist-info")} == packages
    for package in packages:
        assert f"{package}/py.typed" in wheel.namelist()


def test_the_wheel_carries_pipelines_weights_and_licence(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for path in pipeline_files().values():
        assert f"streamgen_pipelines/{path.name}" in names
    for spec in models().values():
        for file in spec.files.values():
            if ROOT in file.parents:
                assert file.relative_to(ROOT / "models").as_posix() in names
    assert any(name.endswith("LICENSE") for name in names)


@pytest.mark.parametrize(
    "folder",
    ["edge/streamgen_edge/page", "streamgen/control/api/page", "streamgen/control/api/look"],
)
def test_the_wheel_carries_the_pages(wheel: zipfile.ZipFile, folder: str) -> None:
    files = [path for path in (ROOT / folder).iterdir() if path.is_file()]
    assert {".css", ".js"} < {path.suffix for path in files}
    for path in files:
        assert f"{folder.removeprefix('edge/')}/{path.name}" in wheel.namelist()


def test_the_wheel_carries_the_sources_of_kernels(wheel: zipfile.ZipFile) -> None:
    sources = [
        path for path in (ROOT / "streamgen/cuda").iterdir() if path.suffix in {".cu", ".cuh"}
    ]
    assert sources
    for path in sources:
        assert f"streamgen/cuda/{path.name}" in wheel.namelist()


def test_the_wheel_carries_the_page_s_player_where_it_was_fetched(wheel: zipfile.ZipFile) -> None:
    fetched = ROOT / "edge/streamgen_edge/page/vendor"
    names = sorted(path.name for path in fetched.iterdir()) if fetched.is_dir() else []
    assert names in ([], ["hls.LICENSE", "hls.mjs"])
    carried = [name for name in wheel.namelist() if "/vendor/" in name]
    assert sorted(carried) == [f"streamgen_edge/page/vendor/{name}" for name in names]


def test_the_wheel_is_small(wheel: zipfile.ZipFile) -> None:
    assert sum(info.compress_size for info in wheel.infolist()) < 20e6


def test_the_default_install_has_no_gpu_package_and_no_torch() -> None:
    text = " ".join(PROJECT["dependencies"])
    assert not re.search(r"torch|tensorrt|cuda|nvidia|\bray\b", text)


@pytest.mark.parametrize(
    "group", ["streamgen.commands", "streamgen.stages", "streamgen.models", "streamgen.pipelines"]
)
def test_what_pyproject_names_is_what_is_installed(group: str) -> None:
    wanted = set(PROJECT["entry-points"][group])
    assert wanted <= {point.name for point in entry_points(group=group)}


def test_every_stage_of_ours_loads() -> None:
    for name in set(PROJECT["entry-points"]["streamgen.stages"]) & set(stage_names()):
        assert find_stage(name).Params


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)


def test_make_alone_explains_the_targets() -> None:
    told = make()
    assert told.returncode == 0
    for target in ("setup", "demo", "test", "serve", "bench", "check"):
        assert f"make {target} " in told.stdout


def test_make_serve_serves_the_chosen_pipeline() -> None:
    told = make("--dry-run", "serve", "PIPELINE=wave", "CONFIG=mine.yaml")
    assert "streamgen serve --config 'mine.yaml' --pipeline 'wave'" in told.stdout


def test_make_refuses_an_old_python(tmp_path: Path) -> None:
    told = make("setup", "PYTHON=false", f"VENV={tmp_path}/venv")
    assert told.returncode != 0
    assert "needs Python 3.11" in told.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("name", ["my clip.mp4", "it's.mp4", "$(touch x).mp4", "-dash.mp4"])
def test_make_demo_takes_any_file_name(tmp_path: Path, name: str) -> None:
    """With a `streamgen` that only tells what it was given."""
    binaries = tmp_path / "venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").touch()
    (binaries / "streamgen").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (binaries / "streamgen").chmod(0o755)
    (tmp_path / "venv" / ".ready").touch()
    (tmp_path / "venv" / ".ready-serve").touch()
    told = make(
        "demo", f"VENV={tmp_path}/venv", f"OUT={tmp_path}/demo", f"INPUT={name.replace('$', '$$')}"
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines().count(name) == 3


def test_ci_runs_the_readme_s_own_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in script and "make check" in script
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_pipeline_of_ours_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in pipeline_files():
        assert f"| `{name}` |" in readme
