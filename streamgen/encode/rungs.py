"""What a ladder is: the rungs a user writes, and the rungs that a picture of some size gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import permutations
from typing import Literal

from pydantic import Field, field_validator

from streamgen.config import Bitrate, Settings
from streamgen.errors import ConfigError
from streamgen.media.frame import Color

Codec = Literal["x264", "x265", "svt-av1"]
FORMATS: dict[Codec, str] = {"x264": "h264", "x265": "hevc", "svt-av1": "av1"}
"""What each makes, by libavcodec's name."""
Preset = Literal[
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
]
Tune = Literal[
    "film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency"
]


class Rung(Settings):
    """One rendition of the output."""

    height: int | Literal["source"]
    """Short side of the picture, before and after rotation; `source` keeps the input's size."""
    bitrate: Bitrate = Field(ge=1_000, le=500_000_000)
    """Target, such as `2500k`; peaks stay below 1.1 times this, over the buffer's length."""
    codec: Codec = "x264"
    profile: str | None = None
    """Codec profile, such as `high` or `baseline`. Default: the codec's best for 8 bit 4:2:0."""
    preset: Preset | None = None
    """Speed against quality of this rung; default: the ladder's."""

    @field_validator("height")
    @classmethod
    def _even(cls, value: int | str) -> int | str:
        if isinstance(value, int) and (value < 2 or value % 2):
            raise ValueError(f"a rung's height is even and at least 2, got {value}")
        return value

    @property
    def name(self) -> str:
        """`720p`, or `source`; unique within a ladder."""
        return "source" if self.height == "source" else f"{self.height}p"


class Encoding(Settings):
    """How all rungs are encoded."""

    preset: Preset = "veryfast"
    """x264's names, `ultrafast` to `placebo`; translated for the other codecs."""
    tune: Tune | None = None
    """x264's tunings. Default: look-ahead and B-frames offline, `zerolatency` live."""
    threads: int = Field(default=0, ge=0, le=64)
    """Per encoder; 0 follows cores and rungs: one each when there are as many rungs as cores."""
    scaler: Literal["fast_bilinear", "bilinear", "bicubic", "lanczos"] = "bicubic"
    """Filter of the smaller rungs."""


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """What is the same for every picture that goes into a ladder."""

    width: int
    height: int
    time_base: Fraction
    rate: Fraction | None = None
    """Nominal frame rate in Hz: a hint for rate control, never a source of timestamps."""
    sar: Fraction = Fraction(1)
    rotation: int = 0
    color: Color = field(default_factory=Color)


@dataclass(frozen=True, slots=True)
class PlannedRung:
    """A rung that fits the picture. Both sides are even."""

    name: str
    width: int
    height: int
    bitrate_bps: int
    codec: Codec = "x264"
    profile: str | None = None
    preset: Preset | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The rungs of one picture size, largest first, and what the user must be told."""

    rungs: tuple[PlannedRung, ...]
    notes: tuple[str, ...]


def plan_rungs(
    rungs: Sequence[Rung], width: int, height: int, *, sar: Fraction = Fraction(1)
) -> Plan:
    """Fit a ladder to pictures of this stored size.

    No rung is larger than the picture. One that would be is left out and said so; if that leaves
    none, the lowest rung stays, at the picture's own size. Widths follow the aspect ratio. A
    picture with an odd side is padded by one row or column. Raises `ConfigError` for an impossible
    ladder (`ladder_problem`).
    """
    problem = ladder_problem(rungs)
    if problem is not None:
        raise ConfigError(problem)
    even = (width + width % 2, height + height % 2)
    # The side that is short on the display: anamorphic pictures may be stored the other way round.
    landscape = width * sar >= height
    short = height if landscape else width
    notes = [] if even == (width, height) else [_padded(width, height, even)]
    fitting = [r for r in rungs if r.height == "source" or int(r.height) <= short]
    for rung in rungs:
        if rung not in fitting:
            notes.append(f"rung {rung.name} is left out: the picture is only {width}x{height}")
    if not fitting:
        lowest = min(rungs, key=lambda r: short if r.height == "source" else int(r.height))
        notes.append(f"every rung is above the picture: one rung of {even[0]}x{even[1]} is made")
        return Plan((_planned(lowest, f"{short}p", *even),), tuple(notes))
    planned: dict[tuple[int, int], PlannedRung] = {}
    for rung in fitting:
        size = even
        if rung.height != "source" and int(rung.height) < short:
            size = _scaled(even, int(rung.height), short, landscape)
        if size in planned:
            notes.append(f"rung {rung.name} is left out: {planned[size].name} has the same size")
        else:
            planned[size] = _planned(rung, rung.name, *size)
    largest_first = sorted(planned.values(), key=lambda p: p.width * p.height, reverse=True)
    return Plan(tuple(largest_first), tuple(notes))


def same_rungs(rungs: Sequence[Rung], before: Sequence[tuple[str, int, int]]) -> Plan:
    """The rungs of a session that goes on: by name, width and height as they were planned for its
    first picture, whatever the present one is."""
    named = {rung.name: rung for rung in rungs}
    sized = [rung for rung in rungs if rung.height != "source"]
    lowest = min(sized or rungs, key=lambda r: 0 if r.height == "source" else int(r.height))
    return Plan(tuple(_planned(named.get(n, lowest), n, w, h) for n, w, h in before), ())


def ladder_problem(rungs: Sequence[Rung]) -> str | None:
    """What makes this ladder impossible for any picture, as a sentence; None: nothing."""
    if not rungs:
        return "impossible ladder: a ladder has at least one rung"
    names = [rung.name for rung in rungs]
    for name in names:
        if names.count(name) > 1:
            return f"impossible ladder: rung {name} stands twice"
    sized = [rung for rung in rungs if rung.height != "source"]
    for small, large in permutations(sized, 2):
        same_codec = small.codec == large.codec
        if same_codec and int(small.height) < int(large.height) and small.bitrate > large.bitrate:
            return f"impossible ladder: {small.name} has a higher bitrate than {large.name}"
    return None


def _planned(rung: Rung, name: str, width: int, height: int) -> PlannedRung:
    return PlannedRung(name, width, height, rung.bitrate, rung.codec, rung.profile, rung.preset)


def _scaled(even: tuple[int, int], wanted: int, short: int, landscape: bool) -> tuple[int, int]:
    long = even[0] if landscape else even[1]
    other = max(2, 2 * round(Fraction(long * wanted, 2 * short)))
    return (other, wanted) if landscape else (wanted, other)


def _padded(width: int, height: int, even: tuple[int, int]) -> str:
    return (
        f"the picture is padded from {width}x{height} to {even[0]}x{even[1]} "
        "(4:2:0 video has even sides)"
    )
