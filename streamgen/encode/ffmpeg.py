"""Encoders of libavcodec: x264, x265, SVT-AV1.

All rungs take their key frames from `frame.keyframe` alone: scene cuts are off, GOPs are closed,
and the GOP length given to the encoder is only a safety net. Times are carried exactly, so a
variable frame rate stays what it was.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from streamgen.encode.codec import B_FRAMES, SAFETY_NET_FRAMES, Codec, rate, zero_latency
from streamgen.encode.crew import Crew
from streamgen.encode.rungs import Encoding, PictureFormat, PlannedRung
from streamgen.errors import ConfigError
from streamgen.media.frame import Frame
from streamgen.media.packet import Packet
from streamgen.protocols import Mode

_SVT_PRESETS = {
    "ultrafast": 12,
    "superfast": 11,
    "veryfast": 10,
    "faster": 9,
    "fast": 8,
    "medium": 7,
    "slow": 6,
    "slower": 4,
    "veryslow": 3,
    "placebo": 1,
}


class X264:
    """H.264 by libx264 (`protocols.Encoder`)."""

    def __init__(
        self,
        rung: PlannedRung,
        picture: PictureFormat,
        encoding: Encoding,
        *,
        mode: Mode,
        threads: int,
    ) -> None:
        options = rate(rung, mode) | _gop(encoding, mode) | _speed(rung, encoding, mode)
        options["sc_threshold"] = "0"
        # Live, any viewer may be a browser's WebRTC, which takes Constrained Baseline everywhere.
        options["profile"] = rung.profile or ("baseline" if mode is Mode.LIVE else "high")
        self._codec = Codec("libx264", rung, picture, options, _slices(encoding, mode), threads)
        self.track = self._codec.track

    def encode(self, frame: Frame) -> Sequence[Packet]:
        return self._codec.encode(frame)

    def flush(self) -> Sequence[Packet]:
        return self._codec.flush()


class X265:
    """H.265 by libx265 (`protocols.Encoder`)."""

    def __init__(
        self,
        rung: PlannedRung,
        picture: PictureFormat,
        encoding: Encoding,
        *,
        mode: Mode,
        threads: int,
    ) -> None:
        options = rate(rung, mode) | _gop(encoding, mode) | _speed(rung, encoding, mode)
        options["profile"] = rung.profile or "main"
        options["x265-params"] = f"scenecut=0:open-gop=0:info=0:log-level=error:pools={threads}"
        self._codec = Codec("libx265", rung, picture, options, _slices(encoding, mode), threads)
        self.track = self._codec.track

    def encode(self, frame: Frame) -> Sequence[Packet]:
        return self._codec.encode(frame)

    def flush(self) -> Sequence[Packet]:
        return self._codec.flush()


class SvtAv1:
    """AV1 by SVT-AV1 (`protocols.Encoder`)."""

    def __init__(
        self,
        rung: PlannedRung,
        picture: PictureFormat,
        encoding: Encoding,
        *,
        mode: Mode,
        threads: int,
    ) -> None:
        # The library prints a banner for every encoder unless told: errors only.
        os.environ.setdefault("SVT_LOG", "1")
        # Its variable bitrate plans by its own key frames: with forced ones it misses the target
        # by 40 %. Constant bitrate keeps it, and exists in low delay only, so offline has it too.
        options = {
            "preset": str(_SVT_PRESETS[rung.preset or encoding.preset]),
            "g": str(SAFETY_NET_FRAMES),
            "svtav1-params": f"rc=2:pred-struct=1:scd=0:irefresh-type=2:lp={min(threads, 6)}",
        }
        if rung.profile is not None:
            raise ConfigError(f"rung {rung.name}: svt-av1 has one profile, leave it out")
        slices = _slices(encoding, mode)
        self._crew = Crew()
        before = scheduling()
        with self._crew.hired():
            self._codec = Codec("libsvtav1", rung, picture, options, slices, threads)
        leave_real_time(before)
        self.track = self._codec.track

    def encode(self, frame: Frame) -> Sequence[Packet]:
        self._crew.rest()
        return self._codec.encode(frame)

    def flush(self) -> Sequence[Packet]:
        self._crew.rest()
        return self._codec.flush()


def scheduling() -> int:
    """The scheduling policy of the calling thread; 0 where the system has none."""
    return os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else 0


def leave_real_time(policy: int = 0) -> None:
    """Take every thread of this process back from real-time scheduling, to `policy`: the system's
    usual one, or what they had before.

    Run as root, SVT-AV1 gives itself, and the thread that opened it, SCHED_FIFO at the highest
    priority: it then starves whatever else runs on the machine.
    """
    if not hasattr(os, "sched_getscheduler"):
        return
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError):  # it has ended meanwhile
            if os.sched_getscheduler(int(thread)) in (os.SCHED_FIFO, os.SCHED_RR):
                os.sched_setscheduler(int(thread), policy, os.sched_param(0))


def _slices(encoding: Encoding, mode: Mode) -> bool:
    """Threads share one picture (no delay) instead of working on several."""
    return zero_latency(encoding, mode)


def _gop(encoding: Encoding, mode: Mode) -> dict[str, str]:
    b_frames = 0 if mode is Mode.LIVE or zero_latency(encoding, mode) else B_FRAMES
    return {"g": str(SAFETY_NET_FRAMES), "forced-idr": "1", "bf": str(b_frames)}


def _speed(rung: PlannedRung, encoding: Encoding, mode: Mode) -> dict[str, str]:
    tune = "zerolatency" if zero_latency(encoding, mode) else encoding.tune
    preset: dict[str, str] = {"preset": rung.preset or encoding.preset}
    return preset if tune is None else preset | {"tune": tune}
