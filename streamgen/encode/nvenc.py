"""Pictures to packets on an NVIDIA GPU: NVENC behind libavcodec, from pictures that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import av
from av.codec.hwaccel import HWAccel

from streamgen.encode.codec import B_FRAMES, SAFETY_NET_FRAMES, Codec, rate, zero_latency
from streamgen.encode.rungs import FORMATS, Encoding, PictureFormat, PlannedRung
from streamgen.errors import ConfigError, EncodeError
from streamgen.media.frame import Device, Frame
from streamgen.media.packet import Packet
from streamgen.protocols import Mode

_PRESETS = {
    "ultrafast": "p1",
    "superfast": "p1",
    "veryfast": "p2",
    "faster": "p3",
    "fast": "p3",
    "medium": "p4",
    "slow": "p5",
    "slower": "p6",
    "veryslow": "p7",
    "placebo": "p7",
}


class Gpu(Protocol):
    """A GPU as its encoder knows it: `streamgen.cuda.gpu.Gpu`."""

    device: Device

    def enter(self) -> None:
        """Make its context that of the calling thread."""
        ...

    def acceleration(self) -> HWAccel:
        """libavcodec's way to it."""
        ...

    def lend(self, frame: Frame) -> av.VideoFrame:
        """libav's frame over a picture in one block of this GPU, which it keeps alive."""
        ...


class Nvenc:
    """H.264, HEVC or AV1 by NVENC (`protocols.Encoder`), whatever the rung's own encoder is.

    Each is one of the sessions that a GPU has: some have no encoder, some few sessions. So it is
    opened on the GPU here and not at the first picture. Pictures are NV12, in one block, and kept
    until their packet is out. Live, no picture waits for a later one.
    """

    def __init__(
        self,
        gpu: Gpu,
        rung: PlannedRung,
        picture: PictureFormat,
        encoding: Encoding,
        *,
        mode: Mode,
        threads: int,
    ) -> None:
        """`threads` is for the encoders of processors. Raises `EncodeError` where the GPU has no
        encoder for this rung or refuses one more session."""
        self._gpu = gpu
        name = f"{FORMATS[rung.codec]}_nvenc"
        gpu.enter()
        try:
            self._codec = Codec(
                name,
                rung,
                picture,
                options(rung, encoding, mode),
                slices=True,
                threads=1,
                hwaccel=gpu.acceleration(),
                lend=self._lent,
            )
        except (ConfigError, NotImplementedError) as error:
            raise EncodeError(f"{gpu.device} has no {name}: {error}", rung=rung.name) from error
        self.track = self._codec.track

    def encode(self, frame: Frame) -> Sequence[Packet]:
        self._gpu.enter()
        return self._codec.encode(frame)

    def flush(self) -> Sequence[Packet]:
        self._gpu.enter()
        return self._codec.flush()

    def _lent(self, frame: Frame) -> av.VideoFrame:
        if frame.ready is not None:
            frame.ready.wait()  # NVENC reads on a stream of its own; only this rung's thread waits
        return self._gpu.lend(frame)


def options(rung: PlannedRung, encoding: Encoding, mode: Mode) -> dict[str, str]:
    """What libavcodec is told: key frames only where they are forced, and those IDR."""
    at_once = zero_latency(encoding, mode)
    told = rate(rung, mode) | {
        "preset": _PRESETS[rung.preset or encoding.preset],
        "tune": "ull" if at_once else "hq",
        "rc": "cbr" if mode is Mode.LIVE else "vbr",
        "g": str(SAFETY_NET_FRAMES),
        "forced-idr": "1",
        "no-scenecut": "1",
        "bf": "0" if at_once or mode is Mode.LIVE else str(B_FRAMES),
        "b_ref_mode": "disabled",
    }
    if at_once:
        told |= {"zerolatency": "1", "delay": "0"}
    # HEVC and AV1 have one profile for 8 bits, which is the default.
    if FORMATS[rung.codec] == "h264":
        told["profile"] = rung.profile or ("baseline" if mode is Mode.LIVE else "high")
    return told
