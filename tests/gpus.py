"""An NVIDIA GPU for tests that need one; without it they are skipped, and say why."""

from __future__ import annotations

import av
import pytest
from av.codec.hwaccel import HWAccel

from streamgen.config import cache_dir
from streamgen.control.gpu import probe
from streamgen.media.frame import Device, Fence, Frame
from streamgen.plugins import find
from streamgen.protocols import Hardware


def open_gpu() -> Hardware:
    """The first GPU that CUDA shows."""
    pytest.importorskip("cuda.core", reason="needs cuda-core (the extra gpu)")
    found = probe()
    if isinstance(found, str):
        pytest.skip(f"needs an NVIDIA GPU: {found}")
    hardware: Hardware = find("hardware", "cuda")(0, cache_dir(), "bicubic")
    return hardware


def on_host(hardware: Hardware, frame: Frame) -> Frame:
    """The picture as I420 in host memory, its pixels there."""
    copied = hardware.stages.to_host(hardware.stages.planar(frame, multiple=2))
    assert copied.ready is not None
    copied.ready.wait()
    return copied


class Driverless:
    """A GPU of a machine that has none: libavcodec is asked all the same, and refuses."""

    device = Device("cuda")

    def enter(self) -> None: ...

    def acceleration(self) -> HWAccel:
        return HWAccel("cuda", device=0, allow_software_fallback=False, is_hw_owned=True)

    def decoded(self) -> Fence:
        raise AssertionError("nothing was decoded")

    def lend(self, frame: Frame) -> av.VideoFrame:
        raise AssertionError("nothing was opened")
