"""What does not come back ends its run, with its name, and not the runs behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamgen import opening
from streamgen.cli import app
from streamgen.decode.ffmpeg import FFmpegDecoder
from streamgen.encode.ffmpeg import X264
from streamgen.media import steps
from streamgen.protocols import Mode
from tests.cli.conftest import PLAIN, Run
from tests.testing.stages import Plain

Hanging = Callable[[Any, str], None]


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """`hanging(kind, method)`: the first call of this method, in whichever run, does not come back
    while the test lasts."""
    gate, first = threading.Event(), threading.Lock()
    monkeypatch.setattr(steps, "LOOK_S", 0.05)
    monkeypatch.setattr(steps, "LEAVE_S", 0.2)
    monkeypatch.setitem(opening.PATIENCE, Mode.OFFLINE, 20)
    monkeypatch.setattr(opening, "FIRST", 40)

    def hang(kind: Any, method: str) -> None:
        whole = getattr(kind, method)

        def hung(*arguments: Any) -> Sequence[Any]:
            if first.acquire(blocking=False):
                gate.wait()
            given: Sequence[Any] = whole(*arguments)
            return given

        monkeypatch.setattr(kind, method, hung)

    yield hang
    gate.set()


@pytest.mark.parametrize(
    ("kind", "method", "named"),
    [
        (X264, "encode", "encoder h264 of rung source"),
        (X264, "flush", "encoder h264 of rung source"),
        (FFmpegDecoder, "decode", "decoder h264"),
    ],
)
def test_a_codec_that_does_not_come_back_is_named_and_leaves_no_output(
    run: Run, hanging: Hanging, clip: Path, tmp_path: Path, kind: Any, method: str, named: str
) -> None:
    hanging(kind, method)
    result = run(clip, "-o", tmp_path / "out.mp4")
    assert result.exit_code == 1
    assert f"streamgen: {named} has not come back for " in result.stderr
    assert not list(tmp_path.glob("*out*"))


def test_the_next_input_is_made_all_the_same(
    run: Run, hanging: Hanging, clip: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second.mp4"
    second.write_bytes(clip.read_bytes())
    hanging(X264, "encode")
    result = run(clip, second, "-o", f"{tmp_path}/out/")
    assert result.exit_code == 1 and "1 of 2 inputs failed" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["second.mp4"]


def test_a_stage_that_does_not_come_back_is_named(
    install: Callable[..., str], hanging: Hanging, clip: Path, tmp_path: Path
) -> None:
    install(calm="tests.testing.stages:Plain")
    hanging(Plain, "process")
    pipeline = tmp_path / "calm.yaml"
    pipeline.write_text(f"{PLAIN}stages: [{{calm: {{}}}}]\n", encoding="utf-8")
    out = tmp_path / "out.mp4"
    result = CliRunner().invoke(app, ["run", str(pipeline), str(clip), "-o", str(out)])
    assert result.exit_code == 1
    assert "streamgen: stage calm has not come back for 40 s" in result.stderr
    assert not list(tmp_path.glob("*out*"))
