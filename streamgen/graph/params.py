"""`Knobs`: the parameters of a graph's nodes while it runs, changed from any thread.

A change is validated at once, takes hold of one whole frame, and may ramp: numbers then move in a
straight line over the frames' own time, everything else switches at the first frame.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pydantic import BaseModel, ValidationError

from streamgen.config import Nanoseconds
from streamgen.errors import ConfigError


class Change:
    """One accepted change. `pts` is None until a frame came that it took hold of.

    Of a ramp that is the frame at which it starts: there the old value still stands.
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self.pts: int | None = None
        self.time_base: Fraction | None = None
        self._settled = threading.Event()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """PTS of the first frame it took hold of; None if no frame flowed until then, or the
        stream has ended. Blocks at most `timeout_s`."""
        self._settled.wait(timeout_s)
        return self.pts

    def settle(self, pts: int | None = None, time_base: Fraction | None = None) -> None:
        """It holds from this frame on, or never will. Called once, by `Knobs`."""
        self.pts, self.time_base = pts, time_base
        self._settled.set()


@dataclass(frozen=True, slots=True)
class _Pending:
    """A change that waits for its frame."""

    change: Change
    node: str
    values: Mapping[str, Any]
    over_ns: int
    swap: Any
    """The stage built anew, or None."""


@dataclass(frozen=True, slots=True)
class _Ramp:
    begins: int
    """PTS of the first frame."""
    time_base: Fraction
    over_ns: int
    start: float
    target: float

    def at(self, pts: int) -> float | None:
        """The value at this PTS; None once it has arrived."""
        gone_ns = (pts - self.begins) * self.time_base.numerator * 1_000_000_000
        share = gone_ns / (self.time_base.denominator * self.over_ns)
        if share >= 1.0:
            return None
        value = self.start + (self.target - self.start) * share
        return round(value) if isinstance(self.target, int) else value


class Knobs:
    """Parameters by node. `at` and `swaps` belong to the lane's thread, the rest to any thread.

    A change never makes the lane wait: not while it is validated, nor while a stage is built.
    """

    def __init__(
        self,
        values: Mapping[str, BaseModel],
        fixed: Mapping[str, frozenset[str]],
        rebuild: Callable[[str, BaseModel], Any] | None = None,
    ) -> None:
        """`values` in the order of the nodes; `fixed` names what only a new stage can take on,
        which `rebuild(node, parameters)` builds, slowly, on the thread that asks for it."""
        self.version = 0
        self._fixed = fixed
        self._rebuild = rebuild
        self._targets = dict(values)
        self._present = tuple(values.values())
        self._index = {name: index for index, name in enumerate(values)}
        self._ramps: dict[tuple[int, str], _Ramp] = {}
        self._past = (0, 0)
        self._pending: deque[_Pending] = deque()  # appended under the lock, taken by the lane
        self._swaps: list[tuple[str, Any]] = []
        self._closed = False
        self._editing = threading.Lock()
        self._building = {name: threading.Lock() for name in values}

    def values(self) -> Mapping[str, BaseModel]:
        """The newest accepted parameters of every node, where ramps will end."""
        with self._editing:
            return dict(self._targets)

    def change(self, node: str, values: Mapping[str, Any], *, over_ns: int = 0) -> Change:
        """Set some parameters of a node, all from the same frame on.

        Numbers ramp over `over_ns` of stream time. A parameter that is fixed makes the caller wait
        until the new stage is built. Raises `ConfigError` naming node and parameter; then nothing
        has changed. Raises whatever building a stage raises.
        """
        if node not in self._targets:
            known = ", ".join(self._targets) or "none"
            raise ConfigError(f"unknown node '{node}' (there are: {known})")
        if over_ns < 0:
            raise ConfigError(f"{node}: a ramp lasts 0 or longer, got {over_ns} ns")
        fixed = self._fixed.get(node, frozenset()) & values.keys()
        if not fixed:
            return self._accept(node, values, over_ns)
        with self._building[node]:  # one at a time: each builds on what the one before has set
            old = self.values()[node]
            new = _merged(node, old, values)
            changed = sorted(name for name in fixed if getattr(old, name) != getattr(new, name))
            if not changed:
                return self._accept(node, values, over_ns)
            if self._rebuild is None:
                raise ConfigError(f"{node}.{changed[0]} cannot change while the stream runs")
            return self._accept(node, values, over_ns, self._rebuild(node, new))

    def _accept(
        self, node: str, values: Mapping[str, Any], over_ns: int, swap: Any = None
    ) -> Change:
        with self._editing:
            if self._closed:
                raise ConfigError(f"{node}: the stream has ended")
            target = self._targets[node] = _merged(node, self._targets[node], values)
            self.version += 1
            change = Change(self.version)
            checked = {name: getattr(target, name) for name in values}
            self._pending.append(_Pending(change, node, checked, over_ns, swap))
            return change

    def at(self, pts: int, time_base: Fraction, epoch: int = 0) -> tuple[BaseModel, ...]:
        """Parameters of every node for this frame, in the nodes' order.

        Frames come in order. While nothing changes it is the same object every time, and a node
        that does not change keeps its own. Where time breaks off (another epoch, PTS going back)
        ramps end at once.
        """
        if not self._pending and not self._ramps:
            return self._present
        if epoch != self._past[0] or pts < self._past[1]:
            self._move(None)
        self._past = (epoch, pts)
        taken = [self._pending.popleft() for _ in range(len(self._pending))]
        for one in taken:
            self._take(one, pts, time_base)
        self._move(pts)
        for one in taken:
            one.change.settle(pts, time_base)
        return self._present

    def _take(self, one: _Pending, pts: int, time_base: Fraction) -> None:
        """Switch what switches, and start the ramps, from wherever an older one has come."""
        index = self._index[one.node]
        now = self._present[index]
        at_once = {}
        for name, target in one.values.items():
            start = getattr(now, name)
            self._ramps.pop((index, name), None)
            if one.over_ns and _number(start) and _number(target) and start != target:
                self._ramps[index, name] = _Ramp(pts, time_base, one.over_ns, start, target)
            else:
                at_once[name] = target
        self._set(index, at_once)
        if one.swap is not None:
            self._swaps.append((one.node, one.swap))

    def _move(self, pts: int | None) -> None:
        """Ramps on to this PTS; None: all to their ends."""
        moved: dict[int, dict[str, float]] = {}
        for (index, name), ramp in list(self._ramps.items()):
            value = None if pts is None else ramp.at(pts)
            if value is None:
                value = ramp.target
                del self._ramps[index, name]
            moved.setdefault(index, {})[name] = value
        for index, values in moved.items():
            self._set(index, values)

    def _set(self, index: int, values: Mapping[str, Any]) -> None:
        now = self._present[index]
        if any(getattr(now, name) != value for name, value in values.items()):
            new = now.model_copy(update=dict(values))
            self._present = (*self._present[:index], new, *self._present[index + 1 :])

    def swaps(self) -> Sequence[tuple[str, Any]]:
        """Stages built anew, by node, to take their places from the frame that `at` was just
        called for. The caller closes the old ones. Mostly empty, and then no new object."""
        if not self._swaps:
            return ()
        swaps, self._swaps = self._swaps, []
        return swaps

    def schema(self) -> dict[str, Any]:
        """JSON schema of every node's parameters; `x-live` says which change while it runs
        without building the stage anew."""
        return {name: self._schema_of(name, model) for name, model in self._targets.items()}

    def _schema_of(self, node: str, model: BaseModel) -> dict[str, Any]:
        schema = type(model).model_json_schema()
        for name, field in schema.get("properties", {}).items():
            field["x-live"] = name not in self._fixed.get(node, ())
        return schema

    def close(self) -> list[tuple[str, Any]]:
        """The stream has ended: wake all who wait for a frame, refuse later changes, and give the
        stages that never took their places, for the caller to close. The lane is done."""
        with self._editing:
            self._closed = True
        rest = list(self._swaps)
        while self._pending:
            one = self._pending.popleft()
            one.change.settle()
            if one.swap is not None:
                rest.append((one.node, one.swap))
        self._swaps = []
        return rest


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _merged(node: str, old: BaseModel, values: Mapping[str, Any]) -> BaseModel:
    """A validated model with some values replaced. Raises `ConfigError`."""
    fields = type(old).model_fields
    for name in values:
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise ConfigError(f"{node}: unknown parameter '{name}' (there are: {known})")
    kept = {name: _kept(getattr(old, name)) for name in fields}
    try:
        return type(old).model_validate({**kept, **values})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join([node, *map(str, problem["loc"])])
        text = str(problem["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{where}: {text}") from error


def _kept(value: Any) -> Any:
    """Validated before, and again now: a duration must not need its unit a second time."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return Nanoseconds(value) if whole else value
