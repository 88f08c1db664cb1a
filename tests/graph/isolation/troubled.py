"""Stages that go wrong, for tests of isolation. Other processes import this module."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from streamgen.config import DurationNs, Settings
from streamgen.errors import ConfigError, StageError
from streamgen.media.frame import Color, Frame, Sheet
from streamgen.media.port import Port
from streamgen.protocols import StageContext, Value


class Way(Enum):
    """How a stage goes wrong."""

    NULL = "null"
    SIGNAL = "signal"
    HANG = "hang"
    EXIT = "exit"
    LEAK = "leak"
    PRINT = "print"
    SHAPE = "shape"
    NAME = "name"
    RAISE = "raise"
    SCRIBBLE = "scribble"
    CHILD = "child"


class Negative:
    """Turns every picture into its negative."""

    class Params(Settings):
        """Parameters."""

        amount: float = Field(default=1.0, ge=0.0, le=1.0)
        """Of nothing."""
        hold: DurationNs = 2_000_000
        """A duration, which is written with its unit."""
        way: Way = Way.RAISE
        """How it goes wrong."""
        every: int = Field(default=0, ge=0)
        """On every so many pictures; 0: never."""

    def __init__(self, params: Any, context: StageContext) -> None:
        self.pool = context.pool
        self.kept: list[Any] = []
        self.built = params

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs["picture"]
        assert isinstance(frame, Frame)
        out = self.pool.take(frame.layout, frame.width, frame.height)
        for source, target in zip(frame.planes, out.planes, strict=True):
            np.subtract(255, source.array(), out=np.asarray(target))
        return {"picture": out.publish(frame)}

    def reset(self) -> None:
        self.kept.clear()

    def close(self) -> None: ...


class Troubled(Negative):
    """The negative, but something happens on every so many pictures."""

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs["picture"]
        assert isinstance(frame, Frame)
        if params.every and frame.pts % params.every == params.every - 1:
            spoiled = self.spoil(frame, params.way)
            if spoiled is not None:
                return spoiled
        return super().process(inputs, params)

    def spoil(self, frame: Frame, way: Way) -> Mapping[str, Value] | None:
        """Go wrong, in a function of its own that a trace can name."""
        match way:
            case Way.NULL:
                ctypes.string_at(0)
            case Way.SIGNAL:
                os.kill(os.getpid(), signal.SIGSEGV)
            case Way.HANG:
                time.sleep(60)
            case Way.EXIT:
                sys.exit(3)
            case Way.LEAK:
                self.kept.append(np.ones(80 << 20, np.uint8))
                time.sleep(0.3)
            case Way.PRINT:
                sys.stdout.write("many words " * 500_000)
            case Way.RAISE:
                raise IndexError("no such face")
            case Way.SCRIBBLE:
                np.asarray(frame.planes[0])[:] = 0
            case Way.CHILD:
                subprocess.Popen(["sleep", "60"])
                os.kill(os.getpid(), signal.SIGKILL)
            case Way.NAME:
                return {"portrait": frame}
            case Way.SHAPE:
                return {"picture": self.pool.take(frame.layout, 32, 16).publish(frame)}
        return None


class Same(Negative):
    """Gives back what it gets."""

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        return {"picture": inputs["picture"]}


class Own(Negative):
    """Paints into memory of its own."""

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs["picture"]
        assert isinstance(frame, Frame)
        self.pool.take(frame.layout, frame.width, frame.height)  # what was lent is used up
        first = self.pool.take(frame.layout, frame.width, frame.height)
        second = self.pool.take(frame.layout, frame.width, frame.height)
        for source, target in zip(frame.planes, second.planes, strict=True):
            np.subtract(255, source.array(), out=np.asarray(target))
        del first
        return {"picture": second.publish(frame)}


class Before(Negative):
    """Gives the picture before, which it keeps."""

    state: ClassVar[str] = "ordered"

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs["picture"]
        assert isinstance(frame, Frame)
        before = self.kept.pop() if self.kept else frame
        self.kept.append(frame)
        return {"picture": before.retimed(pts=frame.pts)}


class Hoarder(Negative):
    """Keeps every picture it ever saw."""

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        self.kept.append(inputs["picture"])
        return {"picture": inputs["picture"]}


class Late(Negative):
    """Gives each picture two frames later, painted; keeps its own results meanwhile."""

    state: ClassVar[str] = "ordered"
    latency: ClassVar[int] = 2

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        self.kept.append(super().process(inputs, params))
        return self.kept.pop(0) if len(self.kept) > 2 else {}

    def flush(self) -> list[Mapping[str, Value]]:
        kept, self.kept = self.kept, []
        return kept


class Afterwards(Negative):
    """Writes into a picture that it gave away before."""

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        for frame in self.kept:
            np.asarray(frame.planes[0])[:] = 7
        result = super().process(inputs, params)
        self.kept.append(result["picture"])
        return result


class Marks(Negative):
    """A mask where a picture is bright, within boxes; NaN on every so many pictures."""

    inputs: ClassVar[Mapping[str, Port]] = {
        "picture": Port(),
        "boxes": Port("boxes", optional=True),
    }
    outputs: ClassVar[Mapping[str, Port]] = {"mask": Port("mask", dtype="float32")}
    fixed: ClassVar[frozenset[str]] = frozenset({"hold"})

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame, boxes = inputs["picture"], inputs.get("boxes")
        assert isinstance(frame, Frame)
        mask = (frame.planes[0].array()[::2, ::2] > 128).astype(np.float32)
        if isinstance(boxes, Sheet):
            mask[:] = 0
            for x0, y0, x1, y1 in np.asarray(boxes.data, int) // 2:
                mask[y0:y1, x0:x1] = 1
        if params.every and frame.pts % params.every == params.every - 1:
            mask[3, 3] = np.nan
        return {"mask": Sheet("mask", mask, frame.pts, frame.time_base)}


class Unbuildable(Negative):
    """Refuses to be built."""

    def __init__(self, params: Any, context: StageContext) -> None:
        raise ConfigError("there is no cascade for ears")


class Prepared(Negative):
    """Works for prepared sizes only."""

    def prepare(self, width: int, height: int, color: Color) -> None:
        self.kept.append((width, height))

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs["picture"]
        assert isinstance(frame, Frame)
        if (frame.width, frame.height) not in self.kept:
            raise StageError("not prepared", stage="prepared", pts=frame.pts)
        if params.every and frame.pts % params.every == params.every - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().process(inputs, params)


class ShortLived(Negative):
    """Dies at every picture."""

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


class Doubled(Negative):
    """Would give pictures of twice the size."""

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return 2 * width, 2 * height
