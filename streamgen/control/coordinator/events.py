"""What a coordinator is told. Times are whole milliseconds of one clock, the caller's."""

from __future__ import annotations

from dataclasses import dataclass

from streamgen.control.coordinator.homes import KnownHome
from streamgen.control.placement.resources import Cut, Profile, Resources
from streamgen.control.placement.scheduler import Work


@dataclass(frozen=True, slots=True)
class Held:
    """One owner of a stream."""

    node: str
    epoch: int
    cut: Cut = Cut.NOTHING
    was: Work | None = None
    """What it carries, where that is not what the stream is to become by the move under way."""


@dataclass(frozen=True, slots=True)
class KnownStream:
    """A stream as the store remembers it."""

    work: Work
    here: Held | None
    coming: Held | None = None
    """Where it is being moved to."""


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node as the store remembers it."""

    name: str
    capacity: Resources
    models: tuple[str, ...] = ()
    boot: str = ""
    draining: bool = False
    profiles: tuple[Profile, ...] = ()
    """What it has measured."""
    parts: frozenset[str] | None = None
    """As in `NodeRegistered`."""


@dataclass(frozen=True, slots=True)
class Running:
    """A stream that a node says it carries."""

    work: Work
    epoch: int
    cut: Cut = Cut.NOTHING


@dataclass(frozen=True, slots=True)
class LeaseGained:
    """This coordinator leads from now on; what the store holds comes along."""

    epoch: int
    """Of the lease to lead: goes up with every leader."""
    nodes: tuple[KnownNode, ...] = ()
    streams: tuple[KnownStream, ...] = ()
    homes: tuple[KnownHome, ...] = ()
    whole: bool = True
    """Nothing says that the store has forgotten what it held."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """Somebody else leads, or nobody knows."""


@dataclass(frozen=True, slots=True)
class NodeRegistered:
    """A node offers itself; said again after every connection."""

    node: str
    boot: str
    """Another one: its worker was started anew."""
    capacity: Resources
    models: tuple[str, ...] = ()
    """Networks that are loaded."""
    running: tuple[Running, ...] = ()
    profiles: tuple[Profile, ...] = ()
    """What streams take there, as it has measured."""
    parts: frozenset[str] | None = None
    """The stages, models and codecs that it has (`placement.parts`); None: it does not say, as
    earlier releases do not, and is taken to have all."""


@dataclass(frozen=True, slots=True)
class NodeMeasured:
    """All that a node has measured, said again when there is something new in it."""

    node: str
    profiles: tuple[Profile, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """Heartbeats, those of one tick together."""

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """All that a node carries, now and then: what was lost on the way is put right by it."""

    node: str
    running: tuple[Running, ...]
    models: tuple[str, ...] = ()
    pieces: int = 0
    """Of jobs, that it makes in what streams leave: they are in nobody's way, and not counted."""
    cordoned: bool = False
    """It takes no pieces and has none any more, as it was told."""


@dataclass(frozen=True, slots=True)
class Drain:
    """A node is to be emptied, live streams one at a time; not `wanted`: after all not."""

    node: str
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A node went on purpose."""

    node: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A node's worker died, as its supervisor says. It registers anew when it is back."""

    node: str


@dataclass(frozen=True, slots=True)
class StreamWanted:
    """An edge, or a job, wants a stream to run. Said again to every new leader."""

    work: Work
    until_ms: int | None
    """When it gives up waiting for room; None: it does not."""
    epoch: int = 0
    """The owner whose pictures it gets now; 0: nobody's."""


@dataclass(frozen=True, slots=True)
class StreamChanged:
    """Another pipeline, size or standing for a stream that is wanted."""

    work: Work


@dataclass(frozen=True, slots=True)
class StreamReleased:
    """Nobody wants the stream any more."""

    stream: str


@dataclass(frozen=True, slots=True)
class StreamEnds:
    """The stream is over at this moment unless something happens: its publisher was lost, and has
    so long to come back."""

    stream: str
    ends_ms: int | None
    """None: after all not."""


@dataclass(frozen=True, slots=True)
class StreamAttached:
    """The first picture of this owner has arrived; a former owner is not listened to any more."""

    stream: str
    node: str
    epoch: int


@dataclass(frozen=True, slots=True)
class StreamLost:
    """This owner does not carry the stream: it could not begin, or broke off."""

    stream: str
    epoch: int
    reason: str
    silent: bool = False
    """The edge says so, since it hears nothing from the node."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by: at least some times a second."""


Event = (
    LeaseGained
    | LeaseLost
    | NodeRegistered
    | Heard
    | NodeReport
    | NodeMeasured
    | Drain
    | NodeLeft
    | WorkerLost
    | StreamWanted
    | StreamChanged
    | StreamReleased
    | StreamEnds
    | StreamAttached
    | StreamLost
    | Tick
)
