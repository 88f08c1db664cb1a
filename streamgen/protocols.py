"""The seams, on one page. Each backend is one module behind one of these.

All are synchronous, and called from one thread at a time: the step that owns them. Frames come
and go by reference; nobody writes into a frame that was published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from streamgen.media.blitter import Blitter
from streamgen.media.frame import Device, Fence, Frame, Plane, Sheet
from streamgen.media.packet import Packet
from streamgen.media.pool import CopyMeter, Pool
from streamgen.media.tracks import EncodedTrack, SourceInfo


class Mode(Enum):
    """What a run optimises. The path is the same; depths, policies and encoder settings differ."""

    OFFLINE = "offline"
    """Throughput; never drops."""
    LIVE = "live"
    """Latency; drops at the governor's inbox."""


class Source(Protocol):
    """Packets of one input, in the container's order, all tracks mixed.

    May have `notes`, a list of what a user should know once `packets` has ended.
    """

    info: SourceInfo

    def packets(self) -> Iterator[Packet]:
        """Demux until the input ends. Raises `SourceError` when it breaks off."""
        ...

    def cancel(self) -> None:
        """End `packets()` soon, from another thread."""
        ...

    def close(self) -> None: ...


class Decoder(Protocol):
    """Packets of one video track to pictures in presentation order.

    A damaged packet raises `DecodeError`: it is lost, the next may be decoded.
    """

    def decode(self, packet: Packet) -> Sequence[Frame]: ...

    def flush(self) -> Sequence[Frame]:
        """Give what is still inside; afterwards a new epoch may begin."""
        ...


Value = Frame | Sheet
"""What flows along an edge of the graph."""


class Later(Protocol):
    """Outputs that are known only once a fence has passed."""

    @property
    def fence(self) -> Fence: ...

    def outputs(self) -> Mapping[str, Value]:
        """Valid once the fence has passed. Raises `StageError`."""
        ...


class Flushing(Protocol):
    """A stage with a latency: gives what it still holds, oldest first, at a break and at the
    end."""

    def flush(self) -> Sequence[Mapping[str, Value]]: ...


class Bypassing(Protocol):
    """A stage that knows better than to pass its input when it steps aside (`upscale` enlarges
    without its network, so that the size stays)."""

    def bypass(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]: ...


class Stage(Protocol):
    """One step of a pipeline. Inputs and outputs by name; a plain stage has `picture` in and out.

    A class declares what it takes and gives as `streamgen.media.port.Contract` says; what it does
    not declare is one picture in, one out, no memory. `process` may return before the pixels are
    there: the frame's `ready` fence then passes later. Where not even the outputs are known yet,
    it returns a `Later`.
    """

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """Size of the output picture for an input of this size."""
        ...

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value] | Later:
        """Work on one picture. `params` is the stage's Pydantic model, the values of this frame.

        A missing optional input is not in `inputs`. A stage with a latency gives nothing (an
        empty mapping) for its first frames. Raises `StageError`: this frame is lost to it.
        """
        ...

    def reset(self) -> None:
        """Forget the past: a discontinuity, a cut, or another size follows."""
        ...

    def close(self) -> None: ...


Inputs = Mapping[str, Plane | float]
"""A network's inputs by name: planes, or the value of a live parameter."""


class Ticket(Protocol):
    """One request on its way through a runtime."""

    @property
    def fence(self) -> Fence:
        """Passed when the outputs are written; `wait` raises `ModelError` if the run failed."""
        ...

    @property
    def busy_ns(self) -> int:
        """Time the network took; valid once the fence has passed."""
        ...


class Runtime(Protocol):
    """A network compiled for one size on one device. Several requests may be on their way."""

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> Ticket:
        """Run once, from packed planes into packed planes.

        Planes are seen as `[1, 1, rows, columns]`; a float becomes `[1, 1, 1, 1]`. Both sides
        must live until the fence has passed: the ticket holds them. Blocks only while all
        parallel requests are busy.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One network of the catalog: where its files are and what it takes and gives.

    Contract of every file: inputs `y`, `u`, `v` uint8 `[N,1,H,W]`, `[N,1,H/2,W/2]` and one
    float32 `[N,1,1,1]` per live parameter; outputs `y_out`, `u_out`, `v_out` uint8.
    """

    name: str
    kind: str
    """`style`, `restore`, `sr` or `imported`."""
    files: Mapping[str, Path]
    """By precision: `fp32`, `int8`."""
    multiple: int = 4
    """Width and height of the input are multiples of this."""
    scale: int = 1
    """Size of the output over the input."""
    matrix: str = "bt709"
    range: str = "tv"
    folds: bool = True
    """The colour matrix of other sources can be folded into the first and last convolution."""
    parameters: int = 0
    live: tuple[str, ...] = ()
    """Names of the live parameters."""
    license: str = ""
    credit: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    """By precision, as the manifest says; checked by `streamgen doctor`."""


class Running(Protocol):
    """What a network runs on."""

    @property
    def runtime(self) -> str: ...

    @property
    def precision(self) -> str: ...


class Engines(Protocol):
    """Gives running networks: the measured choice of runtime, precision, threads, requests."""

    @property
    def requests(self) -> int:
        """Pictures that one engine works on at once."""
        ...

    @property
    def running(self) -> Mapping[str, Running]:
        """What each opened model runs on, by its name."""
        ...

    def open(
        self, model: ModelSpec, width: int, height: int, *, matrix: str, full_range: bool
    ) -> Runtime:
        """A runtime for pictures of this (padded) size and colour. Slow: never on the frame path.

        Raises `ModelError`.
        """
        ...


def _uncounted(name: str, reason: str) -> None:
    """Nobody counts."""


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a stage is given when it is built."""

    device: Device
    mode: Mode
    pool: Pool
    meter: CopyMeter
    engines: Engines
    models: Mapping[str, ModelSpec]
    count: Callable[[str, str], None] = _uncounted
    """Counts an event by name and reason, as `Telemetry.count`."""
    title: str = ""
    """Name of the stream or file, for people."""
    time_of_day: Callable[[], datetime] | None = None
    """The clock on the wall; None where a result must not depend on when it was made."""
    blitter: Blitter | None = None
    """Reshapes pictures where `device` is no processor, on the stream that its networks run on."""


class Scaler(Protocol):
    """One picture to another size, same layout and colour."""

    def scale(self, frame: Frame, width: int, height: int) -> Frame: ...


class Encoder(Protocol):
    """One rung. `frame.keyframe` begins a closed GOP there, and nothing else does."""

    track: EncodedTrack

    def encode(self, frame: Frame) -> Sequence[Packet]:
        """Encode one picture; may keep it and give packets later. Raises `EncodeError`."""
        ...

    def flush(self) -> Sequence[Packet]: ...


@dataclass(frozen=True, slots=True)
class Hardware:
    """What one session uses of a device that is no processor: its decoder, memory and encoders."""

    device: Device
    pool: Pool
    """Memory on the device."""
    stages: Blitter
    """What stages reshape pictures with; the networks of this device run on its stream."""
    ladder: Blitter
    """What makes the rungs, on a stream of its own."""
    decoder: Callable[..., Decoder]
    """Built as the decoder of the processor is. Raises `SourceError` for what it cannot decode."""
    encoder: Callable[..., Encoder]
    """Built as encoders of the processor are, for NV12 pictures on the device. Raises
    `EncodeError` where the device has no encoder for this rung, or refuses one more."""


class Outlet(Protocol):
    """Where packets leave: a file, a ladder on disk, an edge."""

    dropped_tracks: list[str]
    """Tracks left out, each with its reason; complete after `open`."""

    def takes(self, codec: str) -> bool:
        """Whether packets of this codec fit in as they are."""
        ...

    def open(self, tracks: Sequence[EncodedTrack]) -> None:
        """All tracks, once, before the first packet. Raises `OutputError`."""
        ...

    def write(self, packet: Packet) -> None: ...

    def drop(self, track: str) -> None:
        """This track broke off: leave it out, keep the others."""
        ...

    def finish(self) -> None:
        """Make it whole and visible under its final name. Raises `OutputError`."""
        ...

    def abort(self) -> None:
        """Leave nothing behind. Safe after `open` failed, and twice."""
        ...
