"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamgen.testing import synthetic_clip

README = Path(__file__).parents[1] / "README.md"


def test_the_library_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    synthetic_clip(tmp_path / "in.mp4", frames=5)
    exec(compile(example, str(README), "exec"), {})
    assert float(capsys.readouterr().out) > 0
    assert (tmp_path / "out" / "index.m3u8").is_file()
