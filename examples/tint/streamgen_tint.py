"""A stage in twenty lines: tints the picture. Written for `docs/plugins.md`."""

import numpy as np
from pydantic import Field

from streamgen.config import Settings


class TintParams(Settings):
    warmth: float = Field(default=0.5, ge=-1.0, le=1.0)
    """Towards orange; below 0 towards blue."""


class Tint:
    """`tint: {warmth: 0.5}`"""

    Params = TintParams

    def __init__(self, params, context):
        self.pool = context.pool

    def output_size(self, width, height):
        return width, height

    def process(self, inputs, params):
        frame = inputs["picture"]
        out = self.pool.take(frame.layout, frame.width, frame.height)
        shifts = (0, round(-40 * params.warmth), round(40 * params.warmth))
        for given, made, shift in zip(frame.planes, out.planes, shifts, strict=True):
            shifted = given.array().astype(np.int16) + shift
            made.array()[:] = np.clip(shifted, 0, 255)
        return {"picture": out.publish(frame)}

    def reset(self):
        pass

    def close(self):
        pass
