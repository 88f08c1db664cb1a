"""`Worker`: the process in which an isolated stage works; it may die at any time.

It reads the pictures it is lent where they lie, and writes into buffers lent for its results. A
lease lasts as long as something here refers to the picture: an `ordered` stage may keep the last
one. Every answer lists what is still held, so that the host knows what it must not use again.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from pydantic import BaseModel, TypeAdapter

from streamgen.config import cache_dir, cores
from streamgen.errors import StreamGenError
from streamgen.graph.isolation import wire
from streamgen.graph.isolation.channel import Channel
from streamgen.graph.isolation.leases import Lease, Leases, LentPool
from streamgen.graph.isolation.tags import STAGE_TAGS, Tagged, TagTable, WireError, bare_tags
from streamgen.graph.isolation.wire import Message, PictureRef, Received, SheetRef
from streamgen.media.frame import CPU, Frame, Sheet
from streamgen.media.port import Contract
from streamgen.media.shared import packed_planes, packed_size
from streamgen.plugins import find, models
from streamgen.protocols import (
    Mode,
    ModelSpec,
    Running,
    Runtime,
    Stage,
    StageContext,
    Value,
)
from streamgen.telemetry import Telemetry

_RUN, _RESET, _CLOSE = int(Message.RUN), int(Message.RESET), int(Message.CLOSE)


class LateEngines:
    """Engines for a stage that runs a network in this process, made when it asks for one."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._engines: Any = None

    @property
    def requests(self) -> int:
        return 1 if self._engines is None else int(self._engines.requests)

    @property
    def running(self) -> Mapping[str, Running]:
        return {} if self._engines is None else self._engines.running

    def open(
        self, model: ModelSpec, width: int, height: int, *, matrix: str, full_range: bool
    ) -> Runtime:
        if self._engines is None:
            self._engines = find("engines", "measured")(
                self._mode, cache=cache_dir(), cores=cores(), telemetry=Telemetry()
            )
        engine: Runtime = self._engines.open(
            model, width, height, matrix=matrix, full_range=full_range
        )
        return engine


class LateModels(Mapping[str, ModelSpec]):
    """The catalog of networks, read when a stage asks for one."""

    @cached_property
    def _known(self) -> Mapping[str, ModelSpec]:
        return models()

    def __getitem__(self, name: str) -> ModelSpec:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def root(live: Callable[[], None]) -> NoReturn:
    """Run the whole life of a forked process, which never goes back to what it was forked from."""
    status = 1
    try:
        faulthandler.enable()
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        live()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # the process's root: printed for the host, which tells
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def restored(model: type[BaseModel], values: Mapping[str, Any]) -> Any:
    """Parameters from values that were validated before and went through JSON.

    Each becomes its field's type again (an enum, a tuple) without the validators for what people
    write: a duration is a number of nanoseconds by now, which nobody may write.
    """
    typed = {
        name: TypeAdapter[Any](field.annotation or Any).validate_python(values[name])
        for name, field in model.model_fields.items()
        if name in values
    }
    return model.model_construct(**typed)


class Worker:
    """Serves one node of the host until it is told to end, or cannot go on."""

    def __init__(self, channel: Channel, stage: Any) -> None:
        self._channel = channel
        self._class = stage
        contract = Contract.of(stage)
        self._inputs = tuple(contract.inputs)
        self._outputs = {name: number for number, name in enumerate(contract.outputs)}
        self._leases = Leases()
        self._pool = LentPool(self._leases)
        self._tags = TagTable(STAGE_TAGS)
        self._queued: deque[Received] = deque()
        self._stage: Stage
        self._params: Any = None
        self._copied = 0

    def serve(self) -> None:
        """Answer until the host says that it is over, or is gone."""
        while (message := self._next()) is not None:
            if message.kind == _RESET:
                self._stage.reset()
            elif message.kind == _CLOSE:
                self._stage.close()
                return
            else:
                self._channel.send(self._answer(message))

    def _next(self) -> Received | None:
        return self._queued.popleft() if self._queued else self._receive()

    def _receive(self) -> Received | None:
        data, fds = self._channel.receive_with_fds()
        if not data:
            return None
        message = wire.unpack(data)
        if message.extra is not None:
            self._leases.admit(message.extra, fds)
            for number, tags in message.extra.get("tags", ()):
                self._tags.learn(number, tags)
        return message

    def _answer(self, message: Received) -> bytes:
        extra: dict[str, Any] = {}
        references: list[bytes] = []
        kind = Message.DONE
        try:
            references = self._work(message, extra)
            if self._tags.news:
                extra["tags"] = self._tags.take_news()
        except Exception as error:  # whatever a plugin raises is told to the host
            kind, extra, references = Message.FAILED, _told(error), []
        self._pool.lent.clear()
        if self._pool.meter.bytes != self._copied:
            self._copied = self._pool.meter.bytes
            extra["copied"] = [self._pool.meter.planes, self._pool.meter.bytes]
        held = self._leases.still_held()
        if held:
            self._leases.protect([wire.lease_of(one) for one in references])
        return wire.pack(kind, message.number, references, held, extra)

    def _work(self, message: Received, extra: dict[str, Any]) -> list[bytes]:
        """Do what was asked; what is referred to here only is let go on return."""
        news = message.extra or {}
        if message.kind == _RUN:
            if "params" in news:
                self._params = None  # not the last ones either, should these be wrong
                self._params = restored(self._class.Params, news["params"])
            return self._run(message)
        match message.kind:
            case Message.SIZE:
                extra["size"] = list(self._stage.output_size(*news["size"]))
            case Message.PREPARE:
                prepare: Any = self._stage
                color = Tagged.of(news["color"]).color
                prepare.prepare(*news["size"], color)
            case Message.FLUSH:
                return self._flush(message, extra)
            case Message.BUILD:
                self._build(news)
            case _:
                raise WireError(f"an unknown message {message.kind}")
        return []

    def _build(self, news: Mapping[str, Any]) -> None:
        mode = Mode(news["mode"])
        context = StageContext(
            CPU, mode, self._pool, self._pool.meter, LateEngines(mode), LateModels()
        )
        self._params = restored(self._class.Params, news["params"])
        self._stage = self._class(self._params, context)

    def _run(self, message: Received) -> list[bytes]:
        inputs: dict[str, Value] = {}
        for reference in message.references:
            if wire.is_lent(reference):
                self._pool.lent.append(wire.lent_of(reference))
            else:
                inputs[self._inputs[wire.port_of(reference)]] = self._value(reference)
        result: Any = self._stage.process(inputs, self._params)
        if type(result) is not dict and not isinstance(result, Mapping):
            # A `Later`: this process has nothing else to do.
            result.fence.wait()
            result = result.outputs()
        return self._given(result, message.number)

    def _flush(self, message: Received, extra: dict[str, Any]) -> list[bytes]:
        stage: Any = self._stage
        references: list[bytes] = []
        extra["groups"] = []
        for outputs in stage.flush():
            group = self._given(outputs, message.number)
            extra["groups"].append(len(group))
            references += group
        return references

    def _value(self, reference: bytes) -> Value:
        lease = self._leases.open(wire.lease_of(reference))
        if not wire.is_picture(reference):
            said = SheetRef.of(reference)
            array = said.within(np.asarray(lease))
            return Sheet(said.kind, array, said.pts, self._tags.of(said.tags).time_base)
        seen = PictureRef.of(reference)
        planes = seen.planes(lease.first, lease.size, lease)
        return seen.frame(planes, self._tags.of(seen.tags))

    def _given(self, outputs: Mapping[str, Value], number: int) -> list[bytes]:
        """References to what the stage gave. Raises `WireError` where it cannot cross."""
        references = []
        for name, value in outputs.items():
            port = self._outputs.get(name)
            if port is None:
                raise WireError(f"gave '{name}', which it does not declare")
            if isinstance(value, Frame):
                references.append(self._picture(value, port, number))
            elif isinstance(value, Sheet):
                references.append(self._sheet(value, name, port, number))
            else:
                raise WireError(f"gave a {type(value).__name__} as '{name}'")
        return references

    def _picture(self, frame: Frame, port: int, number: int) -> bytes:
        if frame.ready is not None:
            frame.ready.wait()
        lease = self._lease_of(frame)
        if lease is None:
            lease = self._claim(packed_size(frame.layout, frame.width, frame.height), number)
            planes = packed_planes(lease.first, frame.layout, frame.width, frame.height, lease)
            for source, target in zip(frame.planes, planes, strict=True):
                np.copyto(np.asarray(target), source.array())
            size = sum(plane.shape[0] * plane.shape[1] * plane.itemsize for plane in planes)
            self._pool.meter.copied("shared", size, len(planes))
            frame = frame.retimed(planes=planes)
        tags = self._tags.number(frame)
        return wire.picture(frame, lease.key, lease.first, port, tags)

    def _lease_of(self, frame: Frame) -> Lease | None:
        """The lent buffer in which all of the picture lies."""
        planes = frame.planes
        lease: Lease | None = planes[0].owner
        if type(lease) is not Lease:
            lease = self._leases.of(planes[0].ptr)
        if lease is None:
            return None
        for plane in planes:
            if not lease.first <= plane.ptr < lease.end:
                return None
        return lease

    def _sheet(self, sheet: Sheet, name: str, port: int, number: int) -> bytes:
        if sheet.ready is not None:
            sheet.ready.wait()
        array = np.asarray(sheet.data)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise WireError(f"gave '{name}' with values that are no numbers (NaN or infinite)")
        lease = self._leases.of(array.ctypes.data) if array.flags.c_contiguous else None
        if lease is None:
            lease = self._claim(array.nbytes, number)
            target = np.asarray(lease)[: array.nbytes].view(array.dtype).reshape(array.shape)
            np.copyto(target, array)
            self._pool.meter.copied("shared", array.nbytes)
            array = target
        offset = array.ctypes.data - lease.view.region.address
        tags = self._tags.number_of(bare_tags(sheet.time_base))
        return wire.sheet(array, sheet.kind, lease.key, offset, port, tags, sheet.pts)

    def _claim(self, size: int, number: int) -> Lease:
        """A lent buffer for an output; the host is asked for one if none fits."""
        lease = self._pool.claim(size)
        if lease is not None:
            return lease
        self._channel.send(wire.pack(Message.ASK, number, extra={"bytes": size}))
        while (message := self._receive()) is not None:
            if message.kind != Message.LENT:
                self._queued.append(message)
            elif not message.references:
                raise WireError(f"an output of {size} bytes is too large")
            else:
                lease = self._leases.open(wire.lease_of(message.references[0]))
                lease.view.protect(False)
                return lease
        raise SystemExit(0)  # the host is gone


def _told(error: Exception) -> dict[str, Any]:
    """What the host says of an error: its own text where it was raised on purpose."""
    own = isinstance(error, StreamGenError | WireError)
    text = str(error) if own else f"{type(error).__name__}: {error}"
    return {"error": text[:2000], "config": isinstance(error, StreamGenError)}
