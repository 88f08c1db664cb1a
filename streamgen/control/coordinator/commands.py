"""What a coordinator wants done. A command that is said twice is meant once: the epoch tells."""

from __future__ import annotations

from dataclasses import dataclass

from streamgen.control.coordinator.events import KnownNode, KnownStream
from streamgen.control.coordinator.homes import KnownHome
from streamgen.control.placement.resources import Cut
from streamgen.control.placement.scheduler import Work


@dataclass(frozen=True, slots=True)
class Assign:
    """To a node, and to the stream's edge: this node owns the stream from this epoch on."""

    work: Work
    node: str
    epoch: int
    token: str
    cut: Cut


@dataclass(frozen=True, slots=True)
class Move:
    """As `Assign`, but the stream runs on `source` until then: the edge changes over at a key
    frame of the new owner."""

    work: Work
    node: str
    epoch: int
    token: str
    cut: Cut
    source: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """To a node: it does not own the stream, or not any more."""

    stream: str
    node: str
    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """To a node: the stream goes on there, with this profile and so much given up."""

    work: Work
    node: str
    epoch: int
    cut: Cut


@dataclass(frozen=True, slots=True)
class Wait:
    """To who wants the stream: there is no room yet."""

    stream: str
    reason: str
    earliest_ms: int | None
    """When there will be room if nothing else happens; None: that is not known."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """To who wants the stream: no. It is forgotten, and may be asked for again."""

    stream: str
    reason: str
    earliest_ms: int | None


@dataclass(frozen=True, slots=True)
class Warm:
    """To a node: load these networks, they are in demand."""

    node: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cordon:
    """To a node: it is to be emptied, so it gives back its pieces of jobs and takes none; not
    `wanted`: after all it may."""

    node: str
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Drained:
    """A node that was to be emptied is empty."""

    node: str


@dataclass(frozen=True, slots=True)
class Persist:
    """To the store, fenced by the lease to lead. Nobody waits for it: what is not written yet when
    a leader dies is what nodes report and edges say again."""

    nodes: tuple[KnownNode, ...] = ()
    gone_nodes: tuple[str, ...] = ()
    streams: tuple[KnownStream, ...] = ()
    gone_streams: tuple[str, ...] = ()
    homes: tuple[KnownHome, ...] = ()
    gone_homes: tuple[str, ...] = ()


Command = Assign | Move | Revoke | Change | Wait | Refuse | Warm | Cordon | Drained | Persist
