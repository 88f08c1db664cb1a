"""A live session ends, with the name of what does not come back, wherever that is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamgen import opening
from streamgen.deliver.container import FileOutlet
from streamgen.encode.ffmpeg import X264
from streamgen.errors import Stuck
from streamgen.graph.lane import Lane
from streamgen.ingest.container import open_source
from streamgen.media import steps
from streamgen.opening import open_session
from streamgen.pipeline import Pipeline
from streamgen.protocols import Mode
from streamgen.session import run
from streamgen.testing import synthetic_clip
from tests.testing.stages import Plain

PIPELINE = {"name": "t", "stages": ["calm"], "ladder": [{"height": "source", "bitrate": "99k"}]}


@pytest.mark.parametrize(
    ("kind", "method", "named"),
    [(X264, "encode", "encoder h264 of rung source"), (Plain, "process", "stage calm")],
)
def test_a_call_that_does_not_come_back_ends_a_live_session(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    install: Callable[..., str],
    kind: Any,
    method: str,
    named: str,
) -> None:
    install(calm="tests.testing.stages:Plain")
    gate, calls, whole = threading.Event(), iter(range(1000)), getattr(kind, method)

    def hung(*arguments: Any) -> Any:
        if next(calls) == 1:
            gate.wait()
        return whole(*arguments)

    monkeypatch.setattr(steps, "LOOK_S", 0.05)
    monkeypatch.setitem(opening.PATIENCE, Mode.LIVE, 20)
    clip = synthetic_clip(tmp_path / "clip.mp4", width=96, height=64, frames=50)
    out = FileOutlet(tmp_path / "out.mp4")
    with pytest.raises(Stuck, match=f"{named} has not come back"), Lane() as lane:
        source = open_source(str(clip))
        pipeline = Pipeline.model_validate(PIPELINE)
        session = open_session(pipeline, source, [out], lane=lane, mode=Mode.LIVE)
        monkeypatch.setattr(kind, method, hung)  # not before: opening rehearses
        with session:
            run(session)
    gate.set()
    assert not list(tmp_path.glob("*out*"))
