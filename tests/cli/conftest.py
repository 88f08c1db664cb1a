from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.testing import synthetic_clip

STREAMGEN = [sys.executable, "-c", "from streamgen.cli import main; main()"]
"""The command in a process of its own."""
Run = Callable[..., Any]
PLAIN = """\
name: plain
ladder:
  - {height: source, bitrate: 500k}
  - {height: 32, bitrate: 100k}
encoder: {preset: ultrafast}
"""


@pytest.fixture
def plain(tmp_path: Path) -> str:
    """Path of a pipeline without a network that keeps the input's size."""
    path = tmp_path / "plain.yaml"
    path.write_text(PLAIN, encoding="utf-8")
    return str(path)


@pytest.fixture
def run(plain: str) -> Run:
    """`streamgen run` of the plain pipeline."""

    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["run", plain, *map(str, arguments)])

    return run


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Half a second with sound."""
    return synthetic_clip(tmp_path / "clip.mp4", width=96, height=64, frames=12)
