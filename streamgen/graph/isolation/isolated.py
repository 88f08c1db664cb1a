"""`IsolatedStage`: a stage that works in a process of its own; whatever it does there, this
process goes on.

Pictures cross by reference, both ways: a picture in a decoder's memory is copied once into shared
memory, one that lies there already is not. `process` answers with a `Later`; what went wrong over
there (a crash, a hang, a wrong shape) comes out of it as a `StageError` of that picture alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from streamgen.errors import ConfigError, StageError
from streamgen.graph.isolation import wire
from streamgen.graph.isolation.keeper import BUILD_NS
from streamgen.graph.isolation.lending import Lending, shared_array
from streamgen.graph.isolation.line import Line
from streamgen.graph.isolation.reply import Reply
from streamgen.graph.isolation.tags import WireError, color_tags
from streamgen.graph.isolation.wire import Message, Received
from streamgen.graph.isolation.zygote import Zygote
from streamgen.graph.spec import NodeSpec
from streamgen.media.frame import Color, Frame, Layout, Sheet
from streamgen.media.port import PICTURE, Contract
from streamgen.media.scaler import CascadeScaler
from streamgen.media.shared import SharedPool, memory_left, packed_size
from streamgen.protocols import Mode, StageContext, Value

LIVE_NS = 250_000_000
OFFLINE_NS = 10_000_000_000
"""Longest time for one call where the node does not say."""
CONTROL_NS = 5_000_000_000
MULTIPLE = 16
"""Lent pictures have room for sizes of whole multiples, as networks want them."""
IN_FLIGHT = 8
"""Pictures of one node that are somewhere at a time; an estimate, to see whether memory fits."""
MOST_PREPARED = 4


class IsolatedStage:
    """A stage that lives elsewhere. `streamgen.graph.declared.stage_class` makes a subclass of
    it that declares what the other side declares; that is built and used like any stage."""

    spec: ClassVar[NodeSpec]
    contract: ClassVar[Contract]
    zygote: ClassVar[Zygote]
    methods: ClassVar[frozenset[str]] = frozenset()
    """Optional methods that the stage has over there."""

    def __init__(self, params: Any, context: StageContext) -> None:
        """Waits until the first worker has built the stage.

        Raises `ConfigError` where it cannot be built, with its own words.
        """
        if context.device.type != "cpu":
            raise ConfigError("isolation: process needs pictures in host memory")
        live = context.mode is Mode.LIVE
        self.notes: list[str] = []
        """What a person should know of the memory it takes."""
        self._mode = context.mode
        self._first = params
        self.timeout_ns = self.spec.timeout or (LIVE_NS if live else OFFLINE_NS)
        pool = context.pool
        self._owns_source = not isinstance(pool, SharedPool)
        own = SharedPool(context.meter, sealed=True)
        self._source = pool if isinstance(pool, SharedPool) else own
        self._sizes: dict[tuple[int, int], tuple[int, int]] = {}
        self._prepared: dict[tuple[int, int, Color], bytes] = {}
        self._sheet_bytes: dict[str, int] = {}
        self._lent_sizes: dict[tuple[Layout, tuple[int, int] | None], list[int | None]] = {}
        self._arrays: dict[str, tuple[Any, Any]] = {}
        self._ports = {name: number for number, name in enumerate(self.contract.inputs)}
        self._results = tuple(self.contract.outputs.items())
        self._paints = any(port.kind == PICTURE for _, port in self._results)
        self._main = self.contract.main
        self._scaler = CascadeScaler("bicubic", pool, context.meter)
        self._scaling = threading.Lock()
        limits = self.spec.limits
        self.line = Line(
            self.zygote,
            self._greet,
            context.meter,
            limits,
            self.timeout_ns,
            spare=live and limits.spare,
        )
        self.line.open()

    @property
    def deaths(self) -> int:
        """How many of its workers were lost so far."""
        return self.line.keeper.deaths

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        """Asked once per size; raises `StageError` where the stage cannot say."""
        size = self._sizes.get((width, height))
        if size is None:
            found: tuple[int, int] = self.line.ask(_Size(width, height)).outputs()
            self._sizes[width, height] = size = found
        return size

    def prepare(self, width: int, height: int, color: Color) -> None:
        """Let the stage load what pictures of this size need; every later worker does so too.

        Raises `ConfigError` when the pictures on their way would not fit into memory.
        """
        self._room(width, height)
        if "prepare" not in self.methods:
            return
        tags = (1, 1, *color_tags(color), 1, 1, 0)
        told = {"size": (width, height), "color": tags}

        self.line.ask(_Prepare(told)).outputs()
        self._prepared[width, height, color] = message = wire.pack(Message.PREPARE, 0, extra=told)
        while len(self._prepared) > MOST_PREPARED:
            del self._prepared[next(iter(self._prepared))]
        self.line.keeper.also(message)

    def process(self, inputs: Mapping[str, Value], params: Any) -> Reply:
        """Send one picture over; the reply's fence passes with the answer, the worker's death or
        the time-out. Raises `StageUnavailable` at once while there is no worker."""
        shared = {name: self._shared(name, value) for name, value in inputs.items()}
        return self.line.ask(_Run(self, shared, params, self._wanted(shared.get(self._main))))

    def bypass(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        """The main picture, in the size that the stage would give it."""
        main = inputs.get(self._main)
        if not isinstance(main, Frame):
            return {}
        try:
            size = self.output_size(main.width, main.height)
        except StageError:  # nobody is there to say: as it is
            size = (main.width, main.height)
        if size != (main.width, main.height):
            with self._scaling:
                main = self._scaler.stretch(main, *size)
        return {name: main for name, port in self._results if port.kind == PICTURE}

    def flush(self) -> Sequence[Mapping[str, Value]]:
        """What the stage still holds, oldest first; nothing where its worker is gone."""
        if "flush" not in self.methods:
            return []
        try:
            found: list[dict[str, Value]] = self.line.ask(_Flush(self)).outputs()
        except StageError:
            return []
        return found

    def reset(self) -> None:
        self.line.tell(Message.RESET)

    def close(self) -> None:
        self.line.close()
        self._source.forget()
        self._arrays.clear()
        self.line.pool.empty()
        if self._owns_source:
            self._source.empty()

    def _greet(self) -> list[bytes]:
        """What every worker is told first."""
        build = {"params": self._first.model_dump(mode="json"), "mode": self._mode.value}
        return [wire.pack(Message.BUILD, 0, extra=build), *self._prepared.values()]

    def _shared(self, name: str, value: Value) -> Value:
        if value.ready is not None:
            value.ready.wait()
        if isinstance(value, Frame):
            return self._source.shared(value)
        past = self._arrays.get(name)
        if past is None or past[0] is not value.data:  # a slow branch gives the same one again
            array = np.ascontiguousarray(value.data)
            self._arrays[name] = past = (value.data, shared_array(array, self._source))
        return Sheet(value.kind, past[1], value.pts, value.time_base)

    def _wanted(self, main: Value | None) -> tuple[int, int] | None:
        """Size of the output pictures; None where no main picture gives it."""
        if not self._paints or main is None:
            return None
        if isinstance(main, Frame):
            return self.output_size(main.width, main.height)
        if main.kind not in {"rgb", "mask"}:
            return None
        planar = self.contract.inputs[self.contract.main].planar
        rows, columns = main.data.shape[1:] if planar else main.data.shape[:2]
        return self.output_size(columns, rows)

    def refer(
        self, lending: Lending, shared: Mapping[str, Value], wanted: tuple[int, int] | None
    ) -> list[bytes]:
        """References to the inputs, and buffers for the outputs, as large as they probably are."""
        ports = self._ports
        references = [lending.show(ports[name], value) for name, value in shared.items()]
        main = shared.get(self._main)
        layout = main.layout if isinstance(main, Frame) else Layout.I420
        sizes = self._lent_sizes.get((layout, wanted))
        if sizes is None:
            sizes = []
            for name, port in self._results:
                if port.kind != PICTURE:
                    sizes.append(self._sheet_bytes.get(name))
                elif wanted is not None:
                    width, height = (-(-side // MULTIPLE) * MULTIPLE for side in wanted)
                    sizes.append(packed_size(layout, width, height))
            self._lent_sizes[layout, wanted] = sizes
        for size in sizes:
            if size is not None:
                references.append(lending.lend(size))
        return references

    def values(
        self, lending: Lending, references: Sequence[bytes], wanted: tuple[int, int] | None
    ) -> dict[str, Value]:
        """The outputs, all of them and as declared. Raises `WireError`."""
        values: dict[str, Value] = {}
        for reference in references:
            number = wire.port_of(reference)
            if number >= len(self._results):
                raise WireError(f"gave an output {number}")
            name, port = self._results[number]
            value = values[name] = lending.value(reference, name, port, wanted)
            if isinstance(value, Sheet) and value.data.nbytes > self._sheet_bytes.get(name, 0):
                self._sheet_bytes[name] = value.data.nbytes
                self._lent_sizes.clear()
        if len(values) < len(self._results) and (values or not self.contract.latency):
            missing = next(name for name, _ in self._results if name not in values)
            raise WireError(f"gave no '{missing}'")
        return values

    def _room(self, width: int, height: int) -> None:
        out = self.output_size(width, height) if self._paints else (width, height)
        needed = sum(IN_FLIGHT * packed_size(Layout.I420, *size) for size in ((width, height), out))
        left = memory_left()
        if left is None or needed < left // 2:
            return
        figures = (
            f"stage {self.spec.stage}: pictures in shared memory take about {needed >> 20} MB, "
            f"{left >> 20} MB are left"
        )
        if needed > left:
            raise ConfigError(figures)
        self.notes.append(figures)


class _Run(Reply):
    """One picture."""

    __slots__ = ("_inputs", "_params", "_stage", "_wanted")
    kind = Message.RUN

    def __init__(
        self,
        stage: IsolatedStage,
        inputs: Mapping[str, Value],
        params: Any,
        wanted: tuple[int, int] | None,
    ) -> None:
        pts = 0
        for value in inputs.values():
            pts = value.pts
            break
        super().__init__(stage.timeout_ns, pts)
        self._stage = stage
        self._inputs = inputs
        self._params = params
        self._wanted = wanted

    def refer(self, lending: Lending, extra: dict[str, Any]) -> list[bytes]:
        if lending.params is not self._params:
            lending.params = self._params
            extra["params"] = self._params.model_dump(mode="json")
        return self._stage.refer(lending, self._inputs, self._wanted)

    def take(self, lending: Lending, message: Received) -> dict[str, Value]:
        return self._stage.values(lending, message.references, self._wanted)


class _Size(Reply):
    __slots__ = ("_size",)
    kind = Message.SIZE

    def __init__(self, width: int, height: int) -> None:
        super().__init__(CONTROL_NS)
        self._size = (width, height)

    def refer(self, lending: Lending, extra: dict[str, Any]) -> list[bytes]:
        extra["size"] = self._size
        return []

    def take(self, lending: Lending, message: Received) -> tuple[int, int]:
        answer = (message.extra or {}).get("size")
        if not (isinstance(answer, list) and len(answer) == 2 and min(answer) > 0):
            raise WireError(f"gave no size but {answer!r}")
        return int(answer[0]), int(answer[1])


class _Prepare(Reply):
    __slots__ = ("_told",)
    kind = Message.PREPARE

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(BUILD_NS)
        self._told = told

    def refer(self, lending: Lending, extra: dict[str, Any]) -> list[bytes]:
        extra.update(self._told)
        return []


class _Flush(Reply):
    __slots__ = ("_stage",)
    kind = Message.FLUSH

    def __init__(self, stage: IsolatedStage) -> None:
        super().__init__(CONTROL_NS)
        self._stage = stage

    def take(self, lending: Lending, message: Received) -> list[dict[str, Value]]:
        groups = (message.extra or {}).get("groups", [])
        references = iter(message.references)
        return [
            self._stage.values(lending, [next(references) for _ in range(number)], None)
            for number in groups
        ]
