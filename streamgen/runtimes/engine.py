"""What every runtime shares: its settings, a network's contract, and requests on their way.

A request has a thread of its own, which spends its life inside the runtime without the GIL.
(OpenVINO's callbacks would save the hand-over, but a request that fails never calls back.)
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamgen.errors import ModelError
from streamgen.media.frame import Plane
from streamgen.media.queue import Bounded
from streamgen.protocols import Inputs

PLANES = ("y", "u", "v")
OUTPUTS = ("y_out", "u_out", "v_out")

Shape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How a network runs: one point of what the tuning measures."""

    threads: int = 1
    """Processors that all requests together may keep busy."""
    requests: int = 1
    """Pictures that run at the same time; each has `threads / requests` of the processors."""
    precision: str = "fp32"
    """Which file it is; told in reports, the file itself decides."""

    def __post_init__(self) -> None:
        if self.requests < 1 or self.threads < self.requests:
            raise ModelError(
                f"an engine has a thread for every request, got {self.threads} threads "
                f"for {self.requests} requests"
            )


def input_shape(name: str, width: int, height: int) -> Shape:
    """Shape of one input for pictures of this size; whatever is no plane is a live parameter."""
    if name == "y":
        return (1, 1, height, width)
    if name in PLANES:
        return (1, 1, height // 2, width // 2)
    return (1, 1, 1, 1)


def check_names(inputs: list[str], outputs: list[str]) -> None:
    """Refuse a network that does not take and give planes. Raises `ModelError`."""
    if not set(PLANES) <= set(inputs) or set(OUTPUTS) != set(outputs):
        raise ModelError(
            f"a network takes y, u, v and gives y_out, u_out, v_out; "
            f"this one takes {', '.join(inputs)} and gives {', '.join(outputs)}"
        )


class Address:
    """Memory that is looked at and not owned, for NumPy."""

    def __init__(self, ptr: int, shape: tuple[int, ...]) -> None:
        self.__array_interface__ = {
            "shape": shape,
            "strides": None,
            "typestr": "|u1",
            "data": (ptr, False),
            "version": 3,
        }


def check_plane(name: str, plane: Plane, shape: tuple[int, int] | None) -> None:
    """Refuse what a runtime would read or write wrongly: strided, of another size, not bytes.

    `shape` is None where the network itself does not say its output's size beforehand.
    """
    if not plane.packed:
        raise ModelError(f"{name}: a runtime takes packed planes, got a pitch of {plane.pitch}")
    if (shape is not None and plane.shape != shape) or plane.dtype != "uint8":
        rows, columns = shape or plane.shape
        raise ModelError(
            f"{name}: the network runs at {columns}x{rows}, "
            f"got {plane.shape[1]}x{plane.shape[0]} {plane.dtype}"
        )


KNOWN_ADDRESSES = 64
"""Tensors that are kept per port: decoders and pools use the same few buffers again and again."""


class Port:
    """One input or output of a request.

    A tensor here is an address and a shape, and owns nothing: the ticket keeps the planes, so a
    tensor made for an address is right for any plane that lies there.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int] | None,
        wrap: Callable[[NDArray[Any]], Any],
        bind: Callable[[Any], None],
    ) -> None:
        """`wrap` makes the runtime's tensor of an array, `bind` points the request at it."""
        self.name = name
        self._shape = shape
        self._wrap = wrap
        self._bind = bind
        self._bound = 0
        self._tensors: dict[int, Any] = {}

    def point(self, plane: Plane | float) -> None:
        """Read or write this plane from now on."""
        if not isinstance(plane, Plane):
            raise ModelError(f"{self.name} is a plane, got {plane}")
        check_plane(self.name, plane, self._shape)
        if plane.ptr == self._bound:
            return
        tensor = self._tensors.get(plane.ptr)
        if tensor is None:
            if len(self._tensors) >= KNOWN_ADDRESSES:
                self._tensors.clear()
            view = np.asarray(Address(plane.ptr, (1, 1, *plane.shape)))
            tensor = self._tensors[plane.ptr] = self._wrap(view)
        self._bind(tensor)
        self._bound = plane.ptr


class Completion:
    """Ticket and fence of one request in one object; holds its planes until it has passed.

    Without a lock of its own around the callbacks: appending and popping a deque are atomic, and
    each callback is popped, and so called, exactly once.
    """

    __slots__ = ("_began_ns", "_calls", "_error", "_gate", "_held", "_passed", "busy_ns")

    def __init__(self, inputs: Inputs, out: Mapping[str, Plane]) -> None:
        self.busy_ns = 0
        self._held: Any = (tuple(inputs.values()), tuple(out.values()))
        self._error: str | None = None
        self._passed = False
        self._calls: deque[Callable[[], None]] = deque()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._began_ns = time.perf_counter_ns()

    @property
    def fence(self) -> Completion:
        return self

    def done(self) -> bool:
        return self._passed

    def wait(self) -> None:
        """Block until the outputs are written. Raises `ModelError` if the run failed."""
        if not self._passed:
            with self._gate:
                pass
        if self._error is not None:
            raise ModelError(self._error)

    def on_done(self, call: Callable[[], None]) -> None:
        self._calls.append(call)
        if self._passed:
            self._call_all()

    def finish(self, error: str | None = None) -> None:
        """The outputs are written, or never will be: let the planes go and wake who waits."""
        self.busy_ns = time.perf_counter_ns() - self._began_ns
        self._error = error
        self._held = None
        self._passed = True
        self._gate.release()
        self._call_all()

    def _call_all(self) -> None:
        while True:
            try:
                call = self._calls.popleft()
            except IndexError:
                return
            call()


class Request(Protocol):
    """One of the pictures that a compiled network can work on at the same time."""

    def bind(self, inputs: Inputs, out: Mapping[str, Plane]) -> None:
        """Point the network at these planes. On the submitting thread."""
        ...

    def run(self) -> None:
        """Run to the end, without the GIL. Raises what the runtime raises."""
        ...


class Requests:
    """The requests of one engine, each with its thread; free ones wait in a queue.

    `failures` are the exceptions that the runtime raises, `reason` makes a line of one. `submit`
    belongs to one thread at a time; `close` may come from another once nobody submits any more.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        failures: tuple[type[Exception], ...],
        reason: Callable[[BaseException], str],
        name: str,
    ) -> None:
        self.all = requests
        self._failures = failures
        self._reason = reason
        self._free: Bounded[Request] = Bounded(len(requests), name="free requests")
        self._work: Bounded[tuple[Request, Completion]] = Bounded(len(requests), name="requests")
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name} {number}", daemon=True)
            for number in range(len(requests))
        ]
        for request, thread in zip(requests, self._threads, strict=True):
            self._free.put(request)
            thread.start()

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> Completion:
        """Start one picture; waits only while all requests are busy. Raises `ModelError`."""
        if self._closed:
            raise ModelError("the engine is closed")
        request = self._free.get()
        assert request is not None
        try:
            request.bind(inputs, out)
        except self._failures as error:
            self._free.put(request)
            raise ModelError(f"the network takes no such planes: {self._reason(error)}") from error
        except (ModelError, KeyError) as error:
            self._free.put(request)
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"the network also needs {error}") from error
        ticket = Completion(inputs, out)
        self._work.put((request, ticket))
        return ticket

    def _serve(self) -> None:
        for request, ticket in self._work:
            failure: str | None = "the network failed in a way that its runtime does not know"
            try:
                request.run()
                failure = None
            except self._failures as error:
                failure = f"the network failed: {self._reason(error)}"
            finally:  # whatever happens, nobody waits for ever
                self._free.put(request)
                ticket.finish(failure)

    def close(self) -> None:
        """Wait for what is on its way, then end the threads. Twice is fine."""
        if not self._closed:
            self._closed = True
            self._work.close()
            for thread in self._threads:
                thread.join()


def lines(error: BaseException) -> list[str]:
    """The lines of a runtime's long message, without empty ones; at least one."""
    text = [line.strip() for line in str(error).splitlines()]
    return [line for line in text if line] or [type(error).__name__]
