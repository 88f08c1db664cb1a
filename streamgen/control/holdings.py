"""`Holdings`: which streams a node carries, each by the coordinator's word (`Assign`) that came
with it, and for which edge; older words than the newest for a stream are refused, and edges that
had it before the newest home: so a zombie gets nowhere."""

from __future__ import annotations

import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from streamgen.control.coordinator.commands import Assign, Change
from streamgen.control.coordinator.events import Running
from streamgen.control.cost import Carried, Done
from streamgen.control.placement.resources import Cut
from streamgen.errors import ConfigError

MOST_FENCED = 10_000
"""Streams whose newest epoch is remembered; the one not heard of for longest makes room."""
_ASSIGN = TypeAdapter(Assign)


def written(grant: Assign) -> dict[str, Any]:
    """For a message of the link."""
    value: dict[str, Any] = _ASSIGN.dump_python(grant, mode="json")
    return value


def read(value: Mapping[str, Any]) -> Assign:
    """Raises `ConfigError`."""
    try:
        return _ASSIGN.validate_python(value)
    except ValidationError as error:
        raise ConfigError("a coordinator's word that is not understood") from error


class Held(Protocol):
    """A stream on this worker."""

    def done(self) -> Done | None: ...

    def stop(self) -> None: ...

    def give_up(self, cut: Cut) -> None: ...


class Holdings:
    """Any thread."""

    def __init__(self, node: str) -> None:
        self.changed: Callable[[], None] = lambda: None
        """Called when something begins or ends; any thread."""
        self._node = node
        self._lock = threading.Lock()
        self._held: dict[Held, Assign] = {}
        self._homes: dict[Held, int] = {}
        """Epochs by which the edges that asked have the streams; those that said none are not here.
        """
        self._fenced: OrderedDict[str, int] = OrderedDict()
        """By stream, the lowest epoch that may begin."""
        self._newest: OrderedDict[str, int] = OrderedDict()
        """By stream, the epoch of its newest home."""
        self._tokens: dict[str, tuple[int, str]] = {}
        """By stream, what the coordinator itself has said last: epoch and token."""
        self._models: dict[str, None] = {}

    def refusal(self, grant: Assign, home: int = 0) -> str:
        """Why a stream may not begin by this word, at the home of that epoch; empty: it may."""
        name, epoch = grant.work.name, grant.epoch
        if grant.node != self._node:
            return f"it is the word for {grant.node}"
        with self._lock:
            if epoch < self._fenced.get(name, 0):
                return "a later owner of the stream was seen"
            if 0 < home < self._newest.get(name, 0):
                return "a later home of the stream was seen"
            said, token = self._tokens.get(name, (0, ""))
        if said == epoch and not hmac.compare_digest(token.encode(), grant.token.encode()):
            return "its token is not the coordinator's"
        return ""

    def newest_home(self, name: str) -> int:
        """Epoch of the newest home of a stream that was seen; 0: none was."""
        with self._lock:
            return self._newest.get(name, 0)

    def told(self, grant: Assign) -> None:
        """By the coordinator itself; the edge comes with the same word, sooner or later."""
        if grant.node != self._node:
            return
        with self._lock:
            former = self._fence(grant.work.name, grant.epoch)
            self._tokens[grant.work.name] = grant.epoch, grant.token
        self._end(former)

    def begin(self, grant: Assign, stream: Held, home: int = 0) -> None:
        """The stream is here by this word, which was not refused; what former owners, and former
        homes, have of it ends."""
        with self._lock:
            former = self._fence(grant.work.name, grant.epoch)
            if home:
                former += self._leave_homes(grant.work.name, home)
                self._homes[stream] = home
            self._held[stream] = grant
            self._models |= dict.fromkeys(sorted(grant.work.profile.models))
        stream.give_up(grant.cut)
        self._end(former)
        self.changed()

    def change(self, command: Change) -> bool:
        """The stream goes on here, as another one or with so much given up. Whether it is here by
        this owner's word."""
        work, cut, found = command.work, command.cut, []
        with self._lock:
            for stream, one in self._held.items():
                if (one.work.name, one.epoch) == (work.name, command.epoch):
                    self._held[stream] = replace(one, work=work, cut=cut)
                    found.append(stream)
        for stream in found:
            stream.give_up(cut)
        if found:
            self.changed()
        return bool(found)

    def ended(self, stream: Held) -> None:
        with self._lock:
            self._held.pop(stream, None)
            self._homes.pop(stream, None)
        self.changed()

    def revoke(self, name: str, epoch: int) -> bool:
        """Owners up to this epoch are none. Whether any was here."""
        with self._lock:
            former = self._fence(name, epoch + 1)
        self._end(former)
        return bool(former)

    def __len__(self) -> int:
        with self._lock:
            return len(self._held)

    def running(self) -> tuple[Running, ...]:
        """What is said to coordinators."""
        with self._lock:
            found = {(one.work.name, one.epoch): one for one in self._held.values()}
        return tuple(Running(one.work, one.epoch, one.cut) for one in found.values())

    def carried(self) -> list[Carried]:
        """What is here, as a `CostMeter` looks at it."""
        with self._lock:
            held = list(self._held.items())
        return [Carried(s, one.work.profile, one.cut, s.done()) for s, one in held]

    def models(self) -> tuple[str, ...]:
        """Networks that were loaded for what ran here: their engines are kept."""
        with self._lock:
            return tuple(self._models)

    def loaded(self, network: str) -> None:
        """For streams to come."""
        with self._lock:
            self._models[network] = None

    def _fence(self, name: str, lowest: int) -> list[Held]:
        """Whose time is over by that."""
        self._fenced[name] = max(lowest, self._fenced.pop(name, 0))
        while len(self._fenced) > MOST_FENCED:
            self._tokens.pop(self._fenced.popitem(last=False)[0], None)
        return [s for s, one in self._held.items() if one.work.name == name and one.epoch < lowest]

    def _leave_homes(self, name: str, home: int) -> list[Held]:
        """Whose home is an older one than that."""
        self._newest[name] = max(home, self._newest.pop(name, 0))
        while len(self._newest) > MOST_FENCED:
            self._newest.popitem(last=False)
        here = ((s, self._homes.get(s, home)) for s, g in self._held.items() if g.work.name == name)
        return [stream for stream, epoch in here if epoch < home]

    def _end(self, former: list[Held]) -> None:
        for stream in former:
            stream.stop()
