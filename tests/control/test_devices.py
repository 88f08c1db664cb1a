"""A run goes to a GPU where it is asked for, and does not go anywhere else instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgen.control import devices, offline
from streamgen.control.devices import Wanted, open_hardware
from streamgen.control.offline import Choices, Job, carry
from streamgen.errors import ConfigError, DeviceError
from streamgen.graph.lane import Lane
from streamgen.pipeline import Pipeline
from streamgen.testing import FakeDevice, fake_hardware, synthetic_clip
from tests.control.test_offline import Nobody

TRANSCODE = Pipeline.model_validate({"name": "t"})
PAINTED = Pipeline.model_validate({"name": "t", "stages": ["style"]})


@pytest.mark.parametrize("wanted", [Wanted.AUTO, Wanted.CPU])
@pytest.mark.parametrize("pipeline", [TRANSCODE, PAINTED])
def test_unless_a_gpu_is_asked_for_a_run_stays_on_the_processor(
    wanted: Wanted, pipeline: Pipeline
) -> None:
    assert open_hardware(wanted, pipeline, live=False) is None


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "probe", lambda: "a driver, but no GPU")
    with pytest.raises(DeviceError, match="no GPU: a driver, but no GPU"):
        open_hardware(Wanted.CUDA, TRANSCODE, live=False)


@pytest.mark.parametrize(("pipeline", "live"), [(PAINTED, False), (TRANSCODE, True)])
def test_stages_and_live_streams_are_not_for_a_gpu(pipeline: Pipeline, live: bool) -> None:
    with pytest.raises(ConfigError, match="runs on the processor: leave out --device cuda"):
        open_hardware(Wanted.CUDA, pipeline, live=live)


def test_a_run_goes_through_the_device_that_was_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = FakeDevice()
    monkeypatch.setattr(
        offline, "open_hardware", lambda *asked, **more: fake_hardware(fake, sessions=0)
    )
    clip = synthetic_clip(tmp_path / "in.mp4", width=64, height=48, frames=5)
    job = Job(str(clip), tmp_path / "out.mp4", ladder=False)
    with Lane() as lane:
        outcome = carry(TRANSCODE, job, Choices(device=Wanted.CUDA), Nobody(), lane)
    assert outcome.report is not None
    assert fake.downloads == outcome.report.frames_out == 5
    assert outcome.report.copies == {"to host": 15}
