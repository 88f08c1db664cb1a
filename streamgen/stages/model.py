"""Stages that run a network: `style`, `enhance`, `upscale`, and `model` for anything imported.

They differ in their parameters only. Pixels pass without a copy: the network reads the decoder's
planes and writes pooled ones; see `stages/planar.py` for the sizes that cost one row copy.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from streamgen.config import Settings
from streamgen.errors import ConfigError, StageError
from streamgen.media.frame import Color, Frame, Layout, Range
from streamgen.media.pool import cropped
from streamgen.media.port import PICTURE
from streamgen.media.scaler import CascadeScaler
from streamgen.protocols import ModelSpec, Runtime, StageContext, Value
from streamgen.stages.planar import packed, readable


class ModelParams(Settings):
    """Parameters of `model`."""

    model: str
    """Name of the network, as `streamgen models list` shows it."""
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """How far towards the network's picture: 0 gives the input back, bit for bit."""


class StyleParams(ModelParams):
    """Parameters of `style`."""

    model: str = "starry"
    """Name of the style."""
    size: Literal["auto", "small", "large"] = "auto"
    """`large` paints finer and costs more; `auto` is small on a processor, large on a GPU."""


class EnhanceParams(ModelParams):
    """Parameters of `enhance`."""

    model: str = "restore"
    """Name of the network that cleans the picture."""


class UpscaleParams(Settings):
    """Parameters of `upscale`."""

    model: str = "sr-x2"
    """Name of the network that enlarges the picture."""


MOST_ENGINES = 4
"""Engines kept by one stage; a stream has one size, or a few in turn."""

Fit = tuple[int, int, str, bool]
"""Padded width and height, colour matrix, full range."""


class Model:
    """Runs one network on every picture, on an engine for the picture's size and colour.

    `prepare` compiles an engine before its first picture comes; the last few are kept, so that a
    stream which goes back and forth between two sizes compiles each once.
    """

    Params: ClassVar[type[Settings]] = ModelParams
    kinds: ClassVar[tuple[str, ...]] = ()
    """Kinds of models that suit; empty: all."""
    fixed: ClassVar[frozenset[str]] = frozenset({"model"})

    def __init__(self, params: Any, context: StageContext) -> None:
        """Raises `ConfigError` where the model is missing, or is no model for this stage."""
        self._context = context
        self._spec = _pick(params, context)
        if self.kinds and self._spec.kind not in (*self.kinds, "imported"):
            raise ConfigError(
                f"{self._spec.name} is a {self._spec.kind} model, "
                f"this stage takes {' or '.join(self.kinds)}"
            )
        if self._spec.scale != 1 and getattr(params, "strength", 1.0) != 1.0:
            raise ConfigError(f"{self._spec.name} changes the size, so it has no strength")
        # Runtimes want packed planes, and 4:2:0 wants whole pairs of pixels.
        self._multiple = max(2, self._spec.multiple)
        self._engines: dict[Fit, Runtime] = {}
        self._lock = threading.Lock()
        self._scaler = CascadeScaler("bicubic", context.pool, context.meter)

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width * self._spec.scale, height * self._spec.scale

    def prepare(self, width: int, height: int, color: Color) -> None:
        """Load and compile for pictures of this size. Slow; raises `ModelError`. Any thread."""
        self._ready(self._fit(width, height, color))

    def _fit(self, width: int, height: int, color: Color) -> Fit:
        width, height = (-(-size // self._multiple) * self._multiple for size in (width, height))
        return width, height, color.matrix.value, color.range is Range.FULL

    def _ready(self, fit: Fit) -> Runtime:
        """The engine that fits, compiled if need be; the oldest makes room."""
        with self._lock:
            engine = self._engines.get(fit)
        if engine is not None:
            return engine
        width, height, matrix, full_range = fit
        engine = self._context.engines.open(
            self._spec, width, height, matrix=matrix, full_range=full_range
        )
        with self._lock:
            self._engines[fit] = engine
            spare = list(self._engines)[: max(0, len(self._engines) - MOST_ENGINES)]
            closing = [self._engines.pop(old) for old in spare]
        for old in closing:
            old.close()
        return engine

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        """Submit one picture; the result's `ready` passes when it is painted."""
        frame = inputs[PICTURE]
        assert isinstance(frame, Frame)
        if frame.device != self._context.device:
            raise StageError(
                f"the picture is on {frame.device}, the network on {self._context.device}",
                stage=self._spec.name,
                pts=frame.pts,
            )
        strength = getattr(params, "strength", 1.0)
        scale = self._spec.scale
        if strength == 0.0 and scale == 1:
            return {PICTURE: frame}
        source = self._packed(frame)
        engine = self._ready(self._fit(source.width, source.height, frame.color))
        out = self._context.pool.take(
            Layout.I420, source.width * scale, source.height * scale, multiple=self._multiple
        )
        y, u, v = source.planes
        y_out, u_out, v_out = out.planes
        ticket = engine.submit(
            {"y": y, "u": u, "v": v, "strength": strength},
            {"y_out": y_out, "u_out": u_out, "v_out": v_out},
        )
        painted = out.publish(frame, ready=ticket.fence)
        return {PICTURE: cropped(painted, frame.width * scale, frame.height * scale)}

    def _packed(self, frame: Frame) -> Frame:
        if self._context.blitter is not None:
            return self._context.blitter.planar(frame, self._multiple)
        if frame.ready is not None:
            frame.ready.wait()  # passed: the executor hands over pictures that are there
        return packed(frame, self._context.pool, self._context.meter, self._multiple)

    def bypass(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        """The picture without the network, in the size that the network would give it."""
        if self._spec.scale == 1:
            return inputs
        frame = readable(inputs[PICTURE], self._context, self._spec.name)
        width, height = self.output_size(frame.width, frame.height)
        return {PICTURE: self._scaler.stretch(frame, width, height)}

    def reset(self) -> None:
        """Nothing to forget: the networks see one picture at a time."""

    def close(self) -> None:
        """Wait for pictures on their way and free the network."""
        with self._lock:
            engines, self._engines = self._engines, {}
        for engine in engines.values():
            engine.close()


class Style(Model):
    """`style: {model: starry, strength: 0.8}`"""

    Params = StyleParams
    kinds = ("style",)
    fixed = frozenset({"model", "size"})


class Enhance(Model):
    """`enhance: {model: restore, strength: 1.0}`"""

    Params = EnhanceParams
    kinds = ("restore",)
    skippable = True


class Upscale(Model):
    """`upscale: {model: sr-x2}`"""

    Params = UpscaleParams
    kinds = ("sr",)


def _pick(params: Any, context: StageContext) -> ModelSpec:
    """The network that the parameters mean on this device."""
    name, size = params.model, getattr(params, "size", "small")
    large = f"{name}-large"
    on_gpu = size == "auto" and context.device.type != "cpu"
    if size == "large" or (on_gpu and large in context.models):
        name = large
    if name not in context.models:
        known = ", ".join(sorted(context.models)) or "none"
        raise ConfigError(f"unknown model '{name}' (there are: {known})")
    return context.models[name]
