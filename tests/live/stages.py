"""Stages that are as slow as they are told to be, or stop for ever, while the stream runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from streamgen.config import Settings
from streamgen.encode.ffmpeg import X264
from streamgen.media.frame import Frame, Layout
from streamgen.media.packet import Packet
from streamgen.protocols import StageContext, Value


class SlowParams(Settings):
    ms: float = Field(default=0.0, ge=0.0, le=1000.0)
    """Time for each picture."""


class Slow:
    """Gives its picture back, later."""

    Params: ClassVar[type[Settings]] = SlowParams

    def __init__(self, params: Any, context: StageContext) -> None: ...

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        time.sleep(params.ms / 1000)
        return dict(inputs)

    def reset(self) -> None: ...

    def close(self) -> None: ...


class Trap(Slow):
    """`$TRAP/encoder` makes one call of an encoder hang: the first that takes the file away, for as
    long as its process lives."""

    def __init__(self, params: Any, context: StageContext) -> None:
        super().__init__(params, context)
        if X264.encode is not _trapped:
            setattr(X264, "encode", _trapped)  # noqa: B010  # of this process, for the test


def _trapped(encoder: X264, frame: Frame) -> Sequence[Packet]:
    try:
        os.unlink(os.path.join(os.environ["TRAP"], "encoder"))
    except FileNotFoundError:
        return _encode(encoder, frame)
    threading.Event().wait()
    return []


class Signed(Slow):
    """Colours its picture by `$SIGNED`, a number that each worker has of its own."""

    def __init__(self, params: Any, context: StageContext) -> None:
        super().__init__(params, context)
        self._pool = context.pool
        self._shade = shade(int(os.environ["SIGNED"]))

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        return {name: self._signed(value) for name, value in inputs.items()}

    def _signed(self, frame: Frame) -> Frame:
        out = self._pool.take(Layout.I420, frame.width, frame.height)
        luma, blue, red = (plane.array() for plane in out.planes)
        luma[:], blue[:], red[:] = frame.planes[0].array(), self._shade, 128
        return out.publish(frame)


def shade(signature: int) -> int:
    """Of the blue plane, for numbers from 0 to 4: far enough from each other for every encoder."""
    return 40 + 40 * signature


_encode = X264.encode
