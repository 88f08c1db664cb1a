"""Which device an offline run works on."""

from __future__ import annotations

from enum import Enum

from streamgen.config import cache_dir
from streamgen.control.gpu import probe
from streamgen.errors import ConfigError, DeviceError
from streamgen.pipeline import Pipeline
from streamgen.plugins import find
from streamgen.protocols import Hardware


class Wanted(Enum):
    """Where pictures are decoded, scaled and encoded."""

    AUTO = "auto"
    """On the processor. Not yet on a GPU where one is: none has run this path so far."""
    CPU = "cpu"
    CUDA = "cuda"


def open_hardware(wanted: Wanted, pipeline: Pipeline, *, live: bool) -> Hardware | None:
    """The GPU that CUDA shows first; None for the processor.

    Stages run on the processor so far, and so do live streams. Raises `ConfigError` where `cuda`
    is asked of what does not run there, `DeviceError` where there is no GPU for it.
    """
    if wanted is not Wanted.CUDA:
        return None
    nodes, _ = pipeline.nodes()
    if live or nodes:
        what = "a live stream" if live else f"stage {next(iter(nodes))}"
        raise ConfigError(f"{what} runs on the processor: leave out --device cuda")
    found = probe()
    if isinstance(found, str):
        raise DeviceError(f"no GPU: {found}")
    hardware: Hardware = find("hardware", "cuda")(0, cache_dir(), pipeline.encoder.scaler)
    return hardware
