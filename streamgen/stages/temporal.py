"""`temporal`: calms flicker, following what moves.

    temporal: {strength: 0.7}        # from: {picture: painted, guide: source}

Each picture is drawn towards the last result, shifted to where things are now, as far as that
shift explains the guide: what moved, appeared or was uncovered is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Bounds

from streamgen.config import Settings
from streamgen.media.frame import Frame, Layout
from streamgen.media.mixing import STRIP
from streamgen.media.port import PICTURE, Port
from streamgen.protocols import StageContext, Value
from streamgen.stages.grey import Bytes, GreyScaler, difference, grown, smoothed
from streamgen.stages.planar import readable
from streamgen.stages.vectors import BLOCK, REDUCED, Estimator, Field

MOST = 120
"""Weight of the last result at full strength, of 128: a past picture fades below a code value
within a second or so."""
FLICKER = 24
"""Code values by which the same thing may differ from one picture to the next."""
MOVING = 0.6
"""Share of the weight where things move."""
_LIMIT = np.int16(2 * FLICKER)
_SHIFT = np.int16(7)


class TemporalParams(Settings):
    """Parameters of `temporal`."""

    strength: float = Bounds(default=0.7, ge=0.0, le=1.0)
    """How much of the last result stays where nothing changes; 0 gives the input back."""
    tolerance: float = Bounds(default=16.0, ge=1.0, le=128.0)
    """Code values of brightness that the guide may differ from what its motion explains."""


class Temporal:
    """A recursive mean along the motion of `guide` (the source of a painted picture, say; default
    `picture` itself, whose own flicker then counts as change above `tolerance`)."""

    Params: ClassVar[type[Settings]] = TemporalParams
    inputs: ClassVar[Mapping[str, Port]] = {PICTURE: Port(), "guide": Port(optional=True)}
    state = "ordered"
    skippable = True

    def __init__(self, params: Any, context: StageContext) -> None:
        self._context = context
        self._scaler = GreyScaler()
        self._estimator = Estimator(self._scaler)
        self._rooms: dict[int, Bytes] = {}
        self._past: tuple[Frame, Bytes, Bytes] | None = None
        """The last result, and the luma of its guide, whole and reduced."""

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = readable(inputs[PICTURE], self._context, "temporal")
        guide = readable(inputs.get("guide", frame), self._context, "temporal").planes[0].array()
        if guide.shape != (frame.height, frame.width):
            guide = self._scaler.smooth(guide, frame.height, frame.width)
        small = self._scaler.mean(guide, -(-frame.height // REDUCED), -(-frame.width // REDUCED))
        past, result = self._past, frame
        if past is not None and params.strength > 0 and _alike(past[0], frame):
            field = self._estimator.field(past[2], small, frame.height, frame.width)
            weight = self._weight(self._moved(field, 3, past[1]), guide, small.shape, params)
            _lessen(weight, field)
            if weight.any():
                result = self._drawn(frame, past[0], field, weight)
        self._past = (result, guide, small)
        return {PICTURE: result}

    def _weight(
        self, expected: Bytes, guide: Bytes, shape: tuple[int, ...], params: TemporalParams
    ) -> Bytes:
        """How much of the last result stays, 0..`MOST`, at reduced size."""
        error = self._scaler.mean(difference(expected, guide), *shape)
        error = grown(smoothed(error), 1)
        trust = np.clip(2 - 2 * np.arange(256) / params.tolerance, 0, 1)
        weight: Bytes = np.take((trust * params.strength * MOST + 0.5).astype(np.uint8), error)
        return weight

    def _drawn(self, frame: Frame, last: Frame, field: Field, weight: Bytes) -> Frame:
        out = self._context.pool.take(Layout.I420, frame.width, frame.height)
        for index, (now, before, target) in enumerate(
            zip(frame.planes, last.planes, out.planes, strict=True)
        ):
            moved = self._moved(field, index, before.array())
            draw(now.array(), moved, self._scaler.smooth(weight, *now.shape), np.asarray(target))
        return out.publish(frame)

    def _moved(self, field: Field, place: int, plane: Bytes) -> Bytes:
        """Valid until the next picture: new memory for each would cost more than the work."""
        room = self._rooms.get(place)
        if room is None or room.shape != plane.shape:
            room = self._rooms[place] = np.empty(plane.shape, np.uint8)
        return field.moved(plane, room, 2 if place in (1, 2) else 1)

    def reset(self) -> None:
        self._past = None

    def close(self) -> None:
        self.reset()


def _alike(last: Frame, frame: Frame) -> bool:
    return (last.width, last.height, last.color) == (frame.width, frame.height, frame.color)


def _lessen(weight: Bytes, field: Field) -> None:
    """What moves is drawn less: shifts are whole pixels, and being half of one off shows."""
    if field.still:
        return
    side = BLOCK // REDUCED
    moves = ((field.down != 0) | (field.right != 0)).repeat(side, axis=0).repeat(side, axis=1)
    np.multiply(
        weight,
        MOVING,
        out=weight,
        where=moves[: weight.shape[0], : weight.shape[1]],
        casting="unsafe",
    )


def draw(now: Bytes, before: Bytes, weight: Bytes, out: Bytes) -> None:
    """`out` becomes `now`, drawn towards `before` by 0..127 of 128, rounded towards `now`.

    So a picture that stands still is reached exactly: a mean that rounds to the nearest would stop
    several code values short of it. What differs by more than `FLICKER` draws less and less, and
    not at all from twice that on: it is something else, not the same thing flickering.
    """
    scratch: NDArray[np.int16] = np.empty((3, min(STRIP, now.shape[0]), now.shape[1]), np.int16)
    for top in range(0, now.shape[0], STRIP):
        part = slice(top, top + STRIP)
        current = now[part]
        step, other, sign = scratch[:, : current.shape[0]]
        step[...] = before[part]
        other[...] = current
        step -= other
        np.right_shift(step, 15, out=sign)  # -1 where it goes down, else 0
        np.abs(step, out=step)
        np.subtract(_LIMIT, step, out=other)
        np.minimum(step, other, out=step)
        np.maximum(step, 0, out=step)
        other[...] = weight[part]
        step *= other
        step >>= _SHIFT
        step ^= sign
        step -= sign
        other[...] = current
        step += other
        out[part] = step
