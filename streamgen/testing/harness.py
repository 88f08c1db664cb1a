"""`Rig`: one stage with all it is given, and a check of all it gives. The harness of plugin tests.

    given = moving(8)
    outputs = run_stage(Tint, given, {"amount": 0.5})
    assert outputs[0]["picture"].planes[1].array().mean() > 128

A rig treats a stage as streamgen does: it resets it when the size changes, waits until pixels are
there, asks what it still holds at the end. Beyond that it is hard to please: rows have spare bytes,
fresh memory holds rubbish, and whatever the stage declares is held against what it gives.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from streamgen.config import check
from streamgen.errors import ConfigError, StageError
from streamgen.media.frame import CPU, Frame, Sheet
from streamgen.media.pool import Pool
from streamgen.media.port import PICTURE, Contract, Port
from streamgen.plugins import find_stage
from streamgen.protocols import Engines, Mode, ModelSpec, StageContext, Value
from streamgen.testing.fakes import NoEngines
from streamgen.testing.memory import HarshPool

Values = dict[str, Value]


def run_stage(
    stage: Any,
    frames: Sequence[Frame | Mapping[str, Value]],
    params: Mapping[str, Any] | None = None,
    *,
    pool: Pool | None = None,
    engines: Engines | None = None,
    models: Mapping[str, ModelSpec] | None = None,
    mode: Mode = Mode.OFFLINE,
) -> list[Values]:
    """What a stage gives for these frames, by name of the output, in their order.

    `stage` is its class, or its name if it is installed. A frame goes to the main input; a mapping
    gives several inputs by name. A stage with a latency gives as many outputs as frames, too.
    Raises `StageError` when the stage raises it, and when anything it gives is not what it
    declares; `ConfigError` for wrong parameters or inputs.
    """
    with Rig(stage, params, pool=pool, engines=engines, models=models, mode=mode) as rig:
        made = [rig.process(frame) for frame in frames]
        return [one for one in made if one] + rig.flush()


class Rig:
    """A stage under test. One thread."""

    def __init__(
        self,
        stage: Any,
        params: Mapping[str, Any] | None = None,
        *,
        pool: Pool | None = None,
        engines: Engines | None = None,
        models: Mapping[str, ModelSpec] | None = None,
        mode: Mode = Mode.OFFLINE,
    ) -> None:
        """Builds the stage. Raises what its class raises, and `ConfigError`."""
        found = find_stage(stage) if isinstance(stage, str) else stage
        self.name = stage if isinstance(stage, str) else found.__name__
        self.contract = Contract.of(found)
        self.params = check(found.Params, dict(params or {}), name=f"stage {self.name}")
        self.pool = HarshPool() if pool is None else pool
        self.stage = found(
            self.params,
            StageContext(
                CPU, mode, self.pool, self.pool.meter, engines or NoEngines(), models or {}
            ),
        )
        self._past: tuple[int, int, int] | None = None
        self._given = 0
        self._waiting: list[tuple[Value, tuple[int, int] | None]] = []
        """Main inputs whose outputs are still inside, with the size they shall have."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stage.close()

    def process(self, frame: Frame | Mapping[str, Value], params: Any = None) -> Values:
        """One frame's outputs; empty while a stage with a latency fills. Raises `StageError`."""
        outputs, problems = self.tried(frame, params)
        self._raise(problems, self._main(self._named(frame)).pts)
        return outputs

    def tried(
        self, frame: Frame | Mapping[str, Value], params: Any = None
    ) -> tuple[Values, list[str]]:
        """The outputs, and in words everything about them that is not as declared."""
        inputs = self._named(frame)
        main = self._main(inputs)
        self._meet(main)
        before = {name: checksum(value) for name, value in inputs.items()}
        size = None
        if isinstance(main, Frame):
            size = tuple(self.stage.output_size(main.width, main.height))
        self._waiting.append((main, size))
        try:
            result = self.stage.process(inputs, self.params if params is None else params)
            if not isinstance(result, Mapping):
                result.fence.wait()
                result = result.outputs()
        except StageError:
            self._waiting.pop()  # this frame is lost, and nothing of it will come
            raise
        self._given += 1
        outputs, problems = self._looked_at(dict(result))
        for name, value in inputs.items():
            if checksum(value) != before[name]:
                problems.append(f"writes into its input '{name}', which others read")
        return outputs, problems

    def flush(self) -> list[Values]:
        """What a stage with a latency still holds. Raises `StageError`."""
        flush = getattr(self.stage, "flush", None)
        made = []
        for result in [] if flush is None else flush():
            main = self._waiting[0][0]
            outputs, problems = self._looked_at(dict(result))
            self._raise(problems, main.pts)
            made.append(outputs)
        if self._waiting:
            self._raise([f"keeps {len(self._waiting)} frames for ever"], self._waiting[0][0].pts)
        return made

    def reset(self) -> None:
        """As after a break: the stage gives what it holds, then forgets the past."""
        self.flush()
        self.stage.reset()
        self._given = 0
        self._past = None

    def _named(self, frame: Frame | Mapping[str, Value]) -> Values:
        """The inputs by name. Raises `ConfigError` where the test gives what is not declared."""
        inputs: Values = {self.contract.main: frame} if isinstance(frame, Frame) else dict(frame)
        for name, port in self.contract.inputs.items():
            if name not in inputs and not port.optional:
                raise ConfigError(f"{self.name} needs '{name}' ({port}); give frames as mappings")
        for name, value in inputs.items():
            if name not in self.contract.inputs:
                raise ConfigError(f"{self.name} has no input '{name}'")
            why = unlike(value, self.contract.inputs[name])
            if why:
                raise ConfigError(f"{self.name} takes {self.contract.inputs[name]}, given {why}")
        return inputs

    def _main(self, inputs: Mapping[str, Value]) -> Value:
        return inputs[self.contract.main]

    def _meet(self, main: Value) -> None:
        """Another size or epoch is a break."""
        if not isinstance(main, Frame):
            return
        present = (main.epoch, main.width, main.height)
        if self._past is not None and present != self._past:
            self.reset()
        self._past = present

    def _looked_at(self, outputs: Values) -> tuple[Values, list[str]]:
        if not outputs and self._given <= self.contract.latency:
            return {}, []
        main, size = self._waiting.pop(0)
        for value in outputs.values():
            if getattr(value, "ready", None) is not None:
                value.ready.wait()  # type: ignore[union-attr]
        problems = []
        for name, port in self.contract.outputs.items():
            if name not in outputs and not port.optional:
                problems.append(f"gives no '{name}', which it declares")
        for name, value in outputs.items():
            if name not in self.contract.outputs:
                problems.append(f"gives '{name}', which it does not declare")
                continue
            why = unlike(value, self.contract.outputs[name]) or self._untrue(value, main, size)
            if why:
                problems.append(f"gives {why} as '{name}', declared {self.contract.outputs[name]}")
        return outputs, problems

    def _untrue(self, value: Value, main: Value, size: tuple[int, int] | None) -> str:
        """What is wrong with a value of the right form; empty: nothing."""
        if (value.pts, value.time_base) != (main.pts, main.time_base):
            return f"the time {value.pts}, where its input has {main.pts},"
        if not isinstance(value, Frame):
            return ""
        if (value.width, value.height) != size:
            said = "no size" if size is None else f"{size[0]}x{size[1]}"
            return f"{value.width}x{value.height}, where output_size said {said},"
        if isinstance(self.pool, HarshPool) and self.pool.spoiled(value):
            return "a picture with bytes written behind its rows"
        return ""

    def _raise(self, problems: Sequence[str], pts: int) -> None:
        if problems:
            raise StageError("; ".join(problems), stage=self.name, pts=pts)


def unlike(value: Any, port: Port) -> str:
    """What is not as this port says, in words; empty: it fits."""
    if port.kind == PICTURE:
        return "" if isinstance(value, Frame) else f"{_called(value)}, not a Frame,"
    if not isinstance(value, Sheet):
        return f"{_called(value)}, not a Sheet,"
    if value.kind != port.kind:
        return f"a sheet of kind {value.kind}"
    array = np.asarray(value.data)
    if misfit := port.misfit(array.dtype.name, array.shape):
        return misfit
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return "numbers that are not finite"
    if port.range is not None and array.size:
        low, high = port.range
        if array.min() < low or array.max() > high:
            return f"values {array.min():g}..{array.max():g}"
    return ""


def _called(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def checksum(value: Value) -> int:
    """Of all that a value holds: equal for equal pixels or numbers, whatever memory they are in."""
    if isinstance(value, Sheet):
        return zlib.crc32(np.ascontiguousarray(value.data).data)
    total = 0
    for plane in value.planes:
        total = zlib.crc32(np.ascontiguousarray(plane.array()).data, total)
    return total
