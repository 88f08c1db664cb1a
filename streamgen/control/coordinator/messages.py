"""What coordinators, nodes and edges say to each other, as two frames of JSON: a head that names
the message and its leader, and a body with the fields of the event or command.

Clocks of machines differ, so a moment goes over the wire as the milliseconds until it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast, get_args

from pydantic import TypeAdapter, ValidationError

from streamgen.control.coordinator.commands import Command, Refuse, Wait
from streamgen.control.coordinator.directory import EdgeLeft, EdgeRegistered, Edges
from streamgen.control.coordinator.events import Event, KnownNode, StreamEnds, StreamWanted
from streamgen.control.coordinator.homes import FromEdge, Home, check_passport
from streamgen.control.coordinator.questions import LONGEST_BODY, FromAsking, RoomTold, Told
from streamgen.control.placement.parts import check_parts
from streamgen.control.placement.resources import Resources, amounts
from streamgen.control.placement.scheduler import Work
from streamgen.control.wire import MOST_CONTROL_BYTES, decoded, encoded
from streamgen.errors import ConfigError
from streamgen.media.envelope import LinkError

LONGEST_NAME = 64
"""As the store has room for."""
LONGEST_TEXT = 1_000
MOST = 1 << 63
"""Epochs are below it, and so is every other number."""
MOST_RESOURCE = 10**12
"""Sums over all streams of a cluster are still exact."""
_NAMES = frozenset({"node", "stream", "edge", "source"})


@dataclass(frozen=True, slots=True)
class Alive:
    """A peer lives. The address it comes from says who."""


@dataclass(frozen=True, slots=True)
class HeardLater:
    """To a leader that a peer does not listen to, as it has heard a later one."""

    leader: int
    """The epoch of the latest one."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A leader lives, and leads."""

    unknown: bool = False
    """It does not know who is told so: that one has to say hello again."""


ToCoordinator = Event | EdgeRegistered | EdgeLeft | FromEdge | FromAsking | Alive | HeardLater
FromCoordinator = Command | Edges | Home | Told | Beat
Message = ToCoordinator | FromCoordinator
KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Message)}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, and the epoch of the leader who sent it; 0: no leader did."""

    message: Message
    leader: int = 0


def sealed(message: Message, now_ms: int, leader: int = 0) -> tuple[bytes, bytes]:
    """The two frames. `now_ms` is of the clock of the moments in it."""
    kind = type(message).__name__
    head = {"type": kind, "leader": leader}
    return encoded(head), _adapter(kind).dump_json(_shifted(message, -now_ms))


def opened(frames: Sequence[bytes], now_ms: int) -> Letter:
    """What came. Moments in it are of the clock of `now_ms`. Raises `LinkError`."""
    if len(frames) != 2 or len(frames[1]) > MOST_CONTROL_BYTES:
        raise LinkError("a message that is not a head and a body")
    head = decoded(frames[0])
    kind, leader = head["type"], head.get("leader")
    if kind not in KINDS or type(leader) is not int or not 0 <= leader < MOST:
        raise LinkError(f"a message of an unknown kind: {kind[:40]!r}")
    try:
        message = _adapter(kind).validate_json(frames[1], strict=True)
        _check(message)
    except (ValidationError, ConfigError) as error:
        raise LinkError(f"not a message {kind}: {_reason(error)}") from error
    return Letter(_shifted(message, now_ms), leader)


def _shifted(message: T, by_ms: int) -> T:
    match message:
        case StreamWanted() if message.until_ms is not None:
            return replace(message, until_ms=message.until_ms + by_ms)
        case StreamEnds() if message.ends_ms is not None:
            return replace(message, ends_ms=message.ends_ms + by_ms)
        case Wait() | Refuse() | RoomTold() if message.earliest_ms is not None:
            return replace(message, earliest_ms=message.earliest_ms + by_ms)
    return message


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind])


def _check(value: Any) -> None:
    """Bounds of what is of the right type. Raises `ConfigError`."""
    match value:
        case int():
            if not -MOST < value < MOST:
                raise ConfigError("a number that is too large")
        case str():
            if len(value) > LONGEST_TEXT:
                raise ConfigError(f"a text of {len(value)} characters")
        case tuple() | frozenset():
            for one in value:
                _check(one)
        case Resources():
            if max(amounts(value)) > MOST_RESOURCE:
                raise ConfigError(f"{value} is more than any machine has")
        case _ if is_dataclass(value):
            _check_fields(value)


def _check_fields(value: Any) -> None:
    for name, kind in _fields_of(value.__class__):
        found = getattr(value, name)
        if kind == "passport":
            check_passport(found)
            continue
        if kind == "parts":
            check_parts(found)
            continue
        if kind == "body":
            if len(found) > LONGEST_BODY:
                raise ConfigError(f"a part of an answer of {len(found)} characters")
            continue
        _check(found)
        if kind == "name" and not (0 < len(found) <= LONGEST_NAME and found.isprintable()):
            raise ConfigError(f"not a name: {found[:LONGEST_NAME]!r}")
        if kind == "epoch" and found < 0:
            raise ConfigError(f"an epoch below 0: {found}")


@cache
def _fields_of(kind: Hashable) -> tuple[tuple[str, str], ...]:
    """Of a class of messages, and what each of them is."""
    named = kind in (Work, KnownNode)
    found = []
    for field in fields(cast(Any, kind)):
        is_name = field.name in _NAMES or (named and field.name == "name")
        is_name = is_name and (kind, field.name) != (Home, "edge")  # it may be nobody's
        found.append((field.name, "name" if is_name else field.name.rpartition("_")[2]))
    return tuple(found)


def _reason(error: ValidationError | ConfigError) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


ALIVE = list(sealed(Alive(), 0))
"""As it is always sent: there are many, and they are known by their bytes."""
