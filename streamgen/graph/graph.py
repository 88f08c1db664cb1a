"""`Chain`: the stages of a pipeline in their order, built and checked before the first picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streamgen.errors import StageError, StreamGenError
from streamgen.media.frame import Color, Frame
from streamgen.protocols import Stage
from streamgen.telemetry import Telemetry, Times

PICTURE = "picture"
"""Name of the one input and output of a stage in a chain."""


@dataclass(frozen=True, slots=True)
class Node:
    """One stage with the parameters of the frames to come."""

    name: str
    stage: Stage
    params: Any
    times: Times
    """Submission to completion, per picture."""

    def start(self, frame: Frame) -> Frame:
        """Begin this stage's work; the result's fence passes when it is done."""
        result = self.stage.process({PICTURE: frame}, self.params)[PICTURE]
        if not isinstance(result, Frame):
            raise StageError("gave no picture", stage=self.name, pts=frame.pts)
        return result


class Chain:
    """Stages one after the other. Owned by the lane's thread once the run has begun."""

    def __init__(self, stages: Sequence[tuple[str, Stage, Any]], telemetry: Telemetry) -> None:
        self.nodes = tuple(
            Node(name, stage, params, telemetry.times(f"stage/{number}/{name}"))
            for number, (name, stage, params) in enumerate(stages)
        )
        self._past: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return len(self.nodes)

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """Size of the last stage's picture for an input of this size."""
        for node in self.nodes:
            width, height = node.stage.output_size(width, height)
        return width, height

    def prepare(self, width: int, height: int, color: Color) -> None:
        """Load and compile what pictures of this size need, before the first one is waiting."""
        for node in self.nodes:
            prepare = getattr(node.stage, "prepare", None)
            if prepare is not None:
                prepare(width, height, color)
            width, height = node.stage.output_size(width, height)

    def meet(self, frame: Frame) -> None:
        """Reset every stage when the past no longer fits: a new epoch, or another size."""
        present = (frame.epoch, frame.width, frame.height)
        if self._past is not None and present != self._past:
            for node in self.nodes:
                node.stage.reset()
        self._past = present

    def close(self) -> None:
        first: StreamGenError | None = None
        for node in self.nodes:
            try:
                node.stage.close()
            except StreamGenError as error:
                first = first or error
        if first is not None:
            raise first
