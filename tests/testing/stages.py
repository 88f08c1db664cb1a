"""Stages for tests of the harness: a good one, and one for each way to be wrong."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from streamgen.config import Settings
from streamgen.errors import StageError
from streamgen.media.frame import Frame, Layout, Sheet
from streamgen.media.port import Port
from streamgen.protocols import StageContext, Value


class Nothing(Settings):
    """No parameters."""


class Plain:
    """Gives its picture back."""

    Params: ClassVar[type[Settings]] = Nothing

    def __init__(self, params: Any, context: StageContext) -> None:
        self.pool = context.pool

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        return dict(inputs)

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass

    def copied(self, frame: Frame) -> Any:
        """A writable copy."""
        out = self.pool.take(Layout.I420, frame.width, frame.height)
        for source, target in zip(frame.planes, out.planes, strict=True):
            target.array()[:] = source.array()
        return out


class NegativeParams(Settings):
    amount: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far."""


class Negative(Plain):
    """A good stage."""

    Params = NegativeParams

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        frame = inputs["picture"]
        out = self.copied(frame)
        luma = out.planes[0].array()
        luma[:] = luma + (params.amount * (255.0 - 2.0 * luma)).astype(np.int16)
        return {"picture": out.publish(frame)}


class Late(Plain):
    """A good stage that is two frames late."""

    state = "ordered"
    latency = 2

    def __init__(self, params: Any, context: StageContext) -> None:
        super().__init__(params, context)
        self.held: deque[Frame] = deque()

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        self.held.append(inputs["picture"])
        return {"picture": self.held.popleft()} if len(self.held) > 2 else {}

    def flush(self) -> Sequence[Mapping[str, Value]]:
        held, self.held = self.held, deque()
        return [{"picture": frame} for frame in held]

    def reset(self) -> None:
        self.held.clear()


class Forgetful(Late):
    """Late, but keeps the last ones."""

    def flush(self) -> Sequence[Mapping[str, Value]]:
        return []


class Raises(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        raise ValueError("no such thing")


class Refuses(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        raise StageError("not today", stage="refuses", pts=inputs["picture"].pts)


class Scribbles(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        inputs["picture"].planes[0].array()[0, 0] ^= 1
        return dict(inputs)


class WrongName(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        return {"image": inputs["picture"]}


class WrongSize(Plain):
    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return 2 * width, 2 * height


class WrongTime(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        return {"picture": inputs["picture"].retimed(pts=0)}


class Overruns(Plain):
    """Writes one byte behind a row."""

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        out = self.copied(inputs["picture"])
        _, columns = out.planes[0].shape
        ctypes.memset(out.planes[0].ptr + columns, 0, 1)
        return {"picture": out.publish(inputs["picture"])}


class Masks(Plain):
    """Gives a mask; what it gives is set by subclasses."""

    outputs: ClassVar[Mapping[str, Port]] = {"mask": Port(kind="mask", dtype="float32")}

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        frame = inputs["picture"]
        mask = self.mask(frame.planes[0].array().astype(np.float32) / 255.0)
        return {"mask": Sheet("mask", mask, frame.pts, frame.time_base)}

    def mask(self, luma: Any) -> Any:
        return luma


class NotANumber(Masks):
    def mask(self, luma: Any) -> Any:
        return luma * np.nan


class WrongDtype(Masks):
    def mask(self, luma: Any) -> Any:
        return luma.astype(np.uint8)


class WrongShape(Masks):
    def mask(self, luma: Any) -> Any:
        return luma[None]


class TooBright(Masks):
    def mask(self, luma: Any) -> Any:
        return luma * 255


class Counts(Masks):
    """Remembers, and says it does not."""

    def __init__(self, params: Any, context: StageContext) -> None:
        super().__init__(params, context)
        self.calls = 0

    def mask(self, luma: Any) -> Any:
        self.calls += 1
        return np.full_like(luma, self.calls / 1e6)


class KeepsAll(Counts):
    """Says that it remembers, and does not forget either."""

    state = "ordered"


class Leaks(Plain):
    kept: ClassVar[list[Any]] = []

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        pages = mmap.mmap(-1, 200_000)  # not from the heap, which may have room from before
        pages.write(bytes(200_000))
        self.kept.append(pages)
        return dict(inputs)


class Chatters(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        print("processing a picture, all is well")
        return dict(inputs)


class Crashes(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        print("about to read nothing", file=sys.stderr, flush=True)
        ctypes.string_at(0)
        return {}


class Leaves(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        os._exit(3)


class Hangs(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        time.sleep(3600)
        return {}


class Slow(Plain):
    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        time.sleep(0.06)
        return dict(inputs)


class EvenOnly(Negative):
    """Refuses odd sizes, as it may."""

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        frame = inputs["picture"]
        if frame.width % 2 or frame.height % 2:
            raise StageError("takes even sizes only", stage="even", pts=frame.pts)
        return super().process(inputs, params)


class AsksParams(Settings):
    level: int
    """No default."""


class Asks(Plain):
    Params = AsksParams


class Future(Plain):
    api = 99


class NoClose:
    Params = Nothing

    def __init__(self, params: Any, context: StageContext) -> None:
        pass


class FixedParams(Settings):
    size: int = Field(default=4, ge=1, le=8)
    """Taken on once."""


class Fixed(Plain):
    """Cannot change its size while it runs."""

    Params = FixedParams
    fixed = frozenset({"size"})

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        assert params.size == 4
        return dict(inputs)


class SwapsChannels(Plain):
    """Red for blue, on RGB as floats."""

    inputs: ClassVar[Mapping[str, Port]] = {"rgb": Port(kind="rgb", dtype="float32", planar=True)}
    outputs: ClassVar[Mapping[str, Port]] = {"rgb": Port(kind="rgb", dtype="float32", planar=True)}

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        sheet = inputs["rgb"]
        swapped = np.ascontiguousarray(sheet.data[::-1])
        return {"rgb": Sheet("rgb", swapped, sheet.pts, sheet.time_base)}


class LeftHalf(Plain):
    """Finds one box: the left half of the picture."""

    outputs: ClassVar[Mapping[str, Port]] = {"boxes": Port(kind="boxes")}

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        frame = inputs["picture"]
        box = np.array([[0, 0, frame.width / 2, frame.height]], np.float32)
        return {"boxes": Sheet("boxes", box, frame.pts, frame.time_base)}
