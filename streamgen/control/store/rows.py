"""What the store holds, one noun a table. Values go in and come out; nobody edits a row in place.

Times are whole milliseconds since 1970 by the store's clock (`Database.now_ms`), documents JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamgen.control.notices import Notice

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that works, or an edge that listens."""

    name: str
    kind: str
    state: str
    facts: Document = field(default_factory=dict)
    """Capabilities and measured profiles."""
    version: int = 0
    """An older one never takes the place of a newer one."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream, and how it stands."""

    name: str
    state: str
    session: str = ""
    facts: Document = field(default_factory=dict)
    """Pipeline, parameters, priority, rungs."""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Home:
    """At which edge a stream's publisher is, or was last."""

    name: str
    state: str
    edge: str
    epoch: int
    """Goes up with every home, and never back."""
    passport: str = ""
    """What it said of the stream."""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """Work on files. `key` is the submitter's: the same one again is the same job."""

    name: str
    key: str
    state: str
    created_ms: int
    priority: int = 0
    """Lower goes first."""
    facts: Document = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a job that one worker does alone."""

    job: str
    number: int
    priority: int = 0
    facts: Document = field(default_factory=dict)
    """Where it begins and ends, and what warms it up."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, kept for people."""

    number: int
    """Higher than any before it."""
    kind: str
    about: str
    """The stream, node or coordinator."""
    created_ms: int
    body: Document = field(default_factory=dict)


Row = Node | Stream | Home | Job | Chunk | Event | Notice


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do something alone, until it expires or is taken over."""

    name: str
    owner: str
    epoch: int
    """Goes up with every new owner and never back, across restarts too."""
    token: str
    """128 random bits, of this owner and epoch alone."""
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A chunk in somebody's hands. Another claim of it has a higher `attempt`."""

    job: str
    number: int
    attempt: int
    owner: str
    expires_ms: int
    facts: Document
