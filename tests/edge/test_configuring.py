"""`streamgen config check` says whether a server would start with a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamgen.cli import app


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("pipeline: starry\nstreams: {a: {pipeline: wave, publish: anyone}}\n", 0, "ok"),
        ("pipeline: starry\nhls: {part: 333}\n", 2, "line 2"),
        ("streams: {a: {pipeline: nothing-like-it, publish: anyone}}\n", 2, "nothing-like-it"),
        ("http: {tls: {cert: /nowhere.pem, key: /nowhere.key}}\n", 2, "/nowhere.pem: No such file"),
        ("recording: {folder: /dev/null}\nstreams: {a: {record: true}}\n", 2, "is no folder"),
        ("recording: {folder: /dev/null}\nstreams: {a: {record: false}}\n", 0, "ok"),
    ],
)
def test_a_file_is_all_right_or_says_why_not(
    tmp_path: Path, text: str, status: int, said: str
) -> None:
    file = tmp_path / "streamgen.yaml"
    file.write_text(text)
    told = CliRunner().invoke(app, ["config", "check", str(file)])
    assert told.exit_code == status
    assert said in told.output
