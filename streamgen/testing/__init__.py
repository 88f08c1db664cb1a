"""Public fakes for tests of streamgen and of its plugins: hard to please, and deterministic.

`HarshPool` is pitched and poisoned, as GPU memory is, and `late` makes a picture ready only some
time from now. `KeepingEncoder` keeps frames, as NVENC does. `PacketSource`, `PassDecoder` and
`Basket` carry a run without any codec; `synthetic_clip` writes a real one.
`FakeDevice` and `fake_hardware` are a GPU that decodes, paints and encodes, later than it says.
`run_stage` puts frames through one stage and checks what it gives (`docs/plugins.md`).
"""

from __future__ import annotations

from streamgen.testing.clips import frame_of, picture, synthetic_clip
from streamgen.testing.device import FakeDevice, FakeEvent, FakeStream
from streamgen.testing.fakes import (
    Basket,
    KeepingEncoder,
    NoEngines,
    PacketSource,
    PassDecoder,
    video_track,
)
from streamgen.testing.given import flat, gradient, inputs_like, moving, noise, sheet
from streamgen.testing.hardware import FakeDecoder, FakeEncoder, FakeEngines, fake_hardware
from streamgen.testing.harness import Rig, checksum, run_stage
from streamgen.testing.memory import POISON, HarshPool, LateFence, ManualClock, ManualFence, late

__all__ = [
    "POISON",
    "Basket",
    "FakeDecoder",
    "FakeDevice",
    "FakeEncoder",
    "FakeEngines",
    "FakeEvent",
    "FakeStream",
    "HarshPool",
    "KeepingEncoder",
    "LateFence",
    "ManualClock",
    "ManualFence",
    "NoEngines",
    "PacketSource",
    "PassDecoder",
    "Rig",
    "checksum",
    "fake_hardware",
    "flat",
    "frame_of",
    "gradient",
    "inputs_like",
    "late",
    "moving",
    "noise",
    "picture",
    "run_stage",
    "sheet",
    "synthetic_clip",
    "video_track",
]
