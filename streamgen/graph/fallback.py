"""What goes into a node, what may come out, and what takes its place when it gives nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamgen.errors import StageError
from streamgen.graph.blame import Blame
from streamgen.graph.graph import Node
from streamgen.graph.job import Call, Job
from streamgen.graph.plan import THE_SOURCE
from streamgen.graph.spec import EdgeKind
from streamgen.media.frame import Fence, Frame, Sheet
from streamgen.media.port import PICTURE, Port
from streamgen.protocols import Later, Value

Outputs = Mapping[str, Value]
NO_OUTPUTS: Outputs = {}


def gathered(job: Job, node: Node, call: Call, nodes: Sequence[Node], *, live: bool) -> Outputs:
    """The inputs that are there, by name."""
    inputs: dict[str, Value] = {}
    for edge in node.edges:
        if edge.node == THE_SOURCE:
            inputs[edge.port] = job.frame
            continue
        made: Call | None
        if edge.kind is EdgeKind.LATEST:
            made = nodes[edge.node].newest if live else call.latest[edge.port]
            if made is not None and made.done and not made.good:
                made = made.before  # as live: a failure leaves the last value there was
            if made is not None and age_ns(job, made) > edge.limit_ns:
                made = None
        else:
            made = job.calls[edge.node]
        if made is not None and made.done and made.outputs is not None:
            value = made.outputs.get(edge.output)
            if value is not None:
                inputs[edge.port] = value
    return inputs


def age_ns(job: Job, earlier: Call) -> int:
    """Time on the stream's clock since an earlier value; one of another epoch is too old."""
    if job.frame.epoch != earlier.epoch:
        return 1 << 62
    base = job.frame.time_base
    return abs(job.pts - earlier.pts) * base.numerator * 1_000_000_000 // base.denominator


def aside(node: Node, job: Job, inputs: Outputs, params: Any) -> Outputs | None:
    """What is there when the node steps aside: its main input under the name of its picture.

    None, which drops the frame, where the stage's own `bypass` fails.
    """
    bypass = getattr(job.stages[node.index], "bypass", None)
    main = inputs.get(node.main)
    if main is None:
        return NO_OUTPUTS
    if bypass is not None:
        try:
            with Blame(node.name, job.pts):
                found: Outputs = bypass(inputs, params)
                pending(found)
        except StageError as error:
            node.error = error
            return None
        return found
    if not isinstance(main, Frame):
        return NO_OUTPUTS
    return {name: main for name, port in node.contract.outputs.items() if port.kind == PICTURE}


def fallback(node: Node, job: Job, call: Call) -> Outputs | None:
    """What the pipeline file says takes the place of a result that failed; None: drop the frame."""
    match node.planned.spec.fallback:
        case "passthrough":
            return aside(node, job, call.inputs, call.params)
        case "last_good":
            memo = node.memo
            if memo is None or memo.outputs is None:
                return None
            return {name: retimed(value, job.frame) for name, value in memo.outputs.items()}
        case _:
            return None


def retimed(value: Value, like: Frame) -> Value:
    """The same pixels or numbers with the times of another picture."""
    if isinstance(value, Sheet):
        return Sheet(value.kind, value.data, like.pts, like.time_base, value.device, value.ready)
    return value.retimed(
        pts=like.pts,
        time_base=like.time_base,
        duration=like.duration,
        epoch=like.epoch,
        received_ns=like.received_ns,
        keyframe=like.keyframe,
    )


def checked(node: Node, job: Job, inputs: Outputs, outputs: Outputs) -> Outputs:
    """The outputs as declared, with the picture's own time. Raises `StageError`."""
    found: dict[str, Value] | None = None
    for name, port in node.contract.outputs.items():
        value = outputs.get(name)
        if value is None:
            if port.optional:
                continue
            raise _wrong(node, job, f"gave no '{name}'")
        if isinstance(value, Frame):
            size = (value.width, value.height)
            if port.kind != PICTURE:
                raise _wrong(node, job, f"gave a picture as '{name}', declared as {port}")
            if node.size not in (None, size) and size != _size(node, job, inputs):
                raise _wrong(node, job, f"gave a picture of {size[0]}x{size[1]} as '{name}'")
        elif value.kind != port.kind:
            raise _wrong(node, job, f"gave {value.kind} as '{name}', declared as {port}")
        elif problem := unsound(value, port):
            raise _wrong(node, job, f"gave {problem} as '{name}', declared as {port}")
        if value.pts != job.pts:
            found = dict(outputs) if found is None else found
            found[name] = retimed(value, job.frame)
    return outputs if found is None else found


def _size(node: Node, job: Job, inputs: Outputs) -> tuple[int, int]:
    """What its picture measures for these inputs."""
    main = inputs.get(node.main)
    if not isinstance(main, Frame):
        assert node.size is not None
        return node.size
    with Blame(node.name, job.pts):
        return job.stages[node.index].output_size(main.width, main.height)


def unsound(sheet: Sheet, port: Port) -> str:
    """In words, what is wrong with its numbers: another form than declared, NaN or infinity."""
    data = np.asarray(sheet.data)
    if misfit := port.misfit(data.dtype.name, data.shape):
        return misfit
    finite = data.dtype.kind != "f" or np.isfinite(data.sum(dtype=np.float64))
    return "" if finite else "numbers that are not finite"


def same(value: Value, before: Value) -> bool:
    """Whether two values are the very same pixels or numbers in memory."""
    if isinstance(value, Frame) and isinstance(before, Frame):
        return value.planes is before.planes
    return isinstance(value, Sheet) and isinstance(before, Sheet) and value.data is before.data


def pending(given: Outputs | Later) -> Fence | None:
    """A fence of what a stage gave that has not passed yet.

    Raises `TypeError` for what is neither outputs by name nor a `Later`.
    """
    if not isinstance(given, Mapping):
        later: Fence | None = getattr(given, "fence", None)
        if later is None:
            raise TypeError(f"gave {type(given).__name__}, not its outputs by name")
        return None if later.done() else later
    fence = None
    for name, value in given.items():
        if not isinstance(value, (Frame, Sheet)):
            raise TypeError(f"gave {type(value).__name__} as '{name}', not a Frame or a Sheet")
        if value.ready is not None and not value.ready.done():
            fence = fence or value.ready
    return fence


def flushed(node: Node) -> list[Outputs]:
    """What a stage with a latency still holds, oldest first. Raises `StageError`."""
    flush = getattr(node.stage, "flush", None)
    given: list[Outputs] = []
    with Blame(node.name):
        for outputs in () if flush is None else flush():
            pending(outputs)
            given.append(outputs)
    return given


def _wrong(node: Node, job: Job, what: str) -> StageError:
    return StageError(f"{node.name} {what}", stage=node.name, pts=job.pts)
