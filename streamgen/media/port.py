"""`Port`: what a stage takes or gives under one name, and whether one fits the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamgen.errors import ConfigError

KINDS = ("picture", "rgb", "mask", "boxes", "tensor")
_DTYPES = {"picture": "uint8", "rgb": "uint8", "mask": "uint8"}
PICTURE = "picture"
"""Name of the one input and output of a plain stage, and the kind of a `Frame`."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a stage.

    `picture` is a `Frame`. Everything else is a `Sheet` whose `data` is an array:
    `rgb` `[H, W, 3]`, or `[3, H, W]` where `planar`; `mask` `[H, W]`, the lowest value is
    "no", the highest "yes"; `boxes` `[N, 4]` float32 in pixels (x0, y0, x1, y1); `tensor` as
    `shape` says. A dimension is a number, or a name for what is only known later.
    """

    kind: str = PICTURE
    dtype: str = ""
    """Of the array; default `uint8` for pictures, RGB and masks, else `float32`."""
    range: tuple[float, float] | None = None
    """Lowest and highest value; default 0..255 for uint8, 0..1 for float RGB and masks."""
    shape: tuple[int | str, ...] = ()
    """Of a tensor."""
    planar: bool = False
    """RGB as `[3, H, W]`."""
    optional: bool = False
    """An input that may be missing: the stage then gets its other inputs only."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"a port is {', '.join(KINDS)}, got '{self.kind}'")
        if not self.dtype:
            object.__setattr__(self, "dtype", _DTYPES.get(self.kind, "float32"))
        if self.range is None and self.kind in {"rgb", "mask"}:
            high = 255.0 if self.dtype == "uint8" else 1.0
            object.__setattr__(self, "range", (0.0, high))

    def __str__(self) -> str:
        if self.kind == PICTURE:
            return "picture"
        about = [self.dtype]
        if self.kind == "tensor":
            about.append("x".join(str(size) for size in self.shape) or "any shape")
        if self.range is not None:
            about.append(f"{self.range[0]:g}..{self.range[1]:g}")
        if self.planar:
            about.append("planar")
        return f"{self.kind} {' '.join(about)}"

    def takes(self, other: Port) -> bool:
        """Whether what `other` gives can be handed to this port as it is."""
        if self.kind != other.kind or self.dtype != other.dtype or self.planar != other.planar:
            return False
        if self.range is not None and other.range is not None and self.range != other.range:
            return False
        if not self.shape or not other.shape:
            return True
        return len(self.shape) == len(other.shape) and all(
            a == b or isinstance(a, str) or isinstance(b, str)
            for a, b in zip(self.shape, other.shape, strict=True)
        )

    def misfit(self, dtype: str, shape: tuple[int, ...]) -> str:
        """What is not as declared about an array of a `Sheet`, in words; empty: it fits."""
        if dtype != self.dtype:
            return dtype
        return "" if self._shaped(shape) else f"the shape {shape}"

    def _shaped(self, shape: tuple[int, ...]) -> bool:
        match self.kind:
            case "mask":
                return len(shape) == 2
            case "rgb":
                return len(shape) == 3 and shape[0 if self.planar else 2] == 3
            case "boxes":
                return len(shape) == 2 and shape[1] == 4
        sizes = self.shape
        return not sizes or (
            len(sizes) == len(shape)
            and all(isinstance(a, str) or a == b for a, b in zip(sizes, shape, strict=True))
        )

    def convertible(self, other: Port) -> bool:
        """Whether one visible conversion turns what `other` gives into what this port takes."""
        pixels = {PICTURE, "rgb"}
        return (
            (self.kind in pixels and other.kind in pixels)
            or (self.kind == other.kind == "mask")
            or (self.kind == "mask" and other.kind == "boxes")
        )


_PLAIN: Mapping[str, Port] = {PICTURE: Port()}

API = 1
"""Version of the stage protocol; a stage that names a later one is refused."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What a stage class declares of itself, each as a class attribute of the same name."""

    inputs: Mapping[str, Port] = field(default_factory=lambda: _PLAIN)
    outputs: Mapping[str, Port] = field(default_factory=lambda: _PLAIN)
    state: str = "none"
    """`none`: the result depends on this frame's inputs and parameters alone. `ordered`: it
    remembers; frames come in order, one at a time, and `reset` at every break."""
    latency: int = 0
    """In frames: the call for frame n gives the outputs of frame n - latency."""
    fixed: frozenset[str] = frozenset()
    """Parameters that only a new stage can take on; all others change while it runs."""
    skippable: bool = False
    """May step aside when time is short without changing what the picture is meant to be."""
    api: int = API

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs"):
            ports = getattr(self, name)
            if not isinstance(ports, Mapping) or not all(
                isinstance(key, str) and isinstance(port, Port) for key, port in ports.items()
            ):
                raise ConfigError(f"{name} are Ports by name, got {ports!r}")
        if self.state not in {"none", "ordered"}:
            raise ConfigError(f"a stage's state is none or ordered, got '{self.state}'")
        if self.latency < 0:
            raise ConfigError(f"a latency is 0 or more frames, got {self.latency}")
        if self.latency and self.state != "ordered":
            raise ConfigError("a stage with a latency remembers: its state is ordered")
        if not self.outputs:
            raise ConfigError("a stage gives at least one output")
        if self.api > API:
            raise ConfigError(f"made for version {self.api} of stages, this streamgen has {API}")

    @classmethod
    def of(cls, stage: Any) -> Contract:
        """Read the declarations of a stage class; what it does not say has the default.

        Raises `ConfigError`.
        """
        said = {
            name: getattr(stage, name) for name in cls.__dataclass_fields__ if hasattr(stage, name)
        }
        return cls(**said)

    @property
    def main(self) -> str:
        """The input whose size and times the outputs have, and that passes when it steps aside."""
        pictures = [name for name, port in self.inputs.items() if port.kind == PICTURE]
        return PICTURE if PICTURE in self.inputs else next(iter(pictures or self.inputs), "")
