"""`Chronicle`: what happened in a cluster of late, as people want to be told: who leads, which
nodes came and went, which streams moved, were taken over, or found no place.

Of all leaders there were: each one begins with what the store has of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from streamgen.control.coordinator.commands import (
    Assign,
    Command,
    Drained,
    Move,
    Persist,
    Refuse,
    Wait,
)
from streamgen.control.coordinator.events import (
    Drain,
    Event,
    Held,
    LeaseGained,
    LeaseLost,
    NodeLeft,
    NodeRegistered,
    Tick,
    WorkerLost,
)

MOST = 200
"""Entries that are kept."""


class Kind(StrEnum):
    LEADS = "leads"
    LEADS_NO_MORE = "leads no more"
    NODE_CAME = "node came"
    NODE_LEFT = "node left"
    NODE_DIED = "node died"
    DRAINS = "drains"
    USED_AGAIN = "used again"
    DRAINED = "drained"
    MOVES = "moves"
    """To another node, while it runs."""
    TAKEOVERS = "takeovers"
    """It ran, and has another owner."""
    WAITS = "waits"
    REFUSALS = "refusals"


@dataclass(frozen=True, slots=True)
class Entry:
    at_ms: int
    kind: Kind
    name: str = ""
    """Of the stream, of the node, or of the coordinator."""
    source: str = ""
    """The node that had the stream."""
    node: str = ""
    """The node that has it now, or is to have it."""
    reason: str = ""
    epoch: int = 0


class Chronicle:
    def __init__(self) -> None:
        self.owner = ""
        """The coordinator that leads, where it does."""
        self.told: Callable[[Sequence[Entry]], None] = lambda news: None
        """Hears what is news, too."""
        self._entries: deque[Entry] = deque(maxlen=MOST)
        self._owners: dict[str, Held] = {}
        """The newest of each stream."""
        self._boots: dict[str, str] = {}
        """Of the nodes that are there."""
        self._draining: set[str] = set()
        self.since_ms = 0
        """When this process began to lead."""
        self._leads = False

    def begin(self, entries: Sequence[Entry]) -> None:
        """What happened until now, from old to new."""
        self._entries = deque(entries, maxlen=MOST)

    def latest(self, most: int = MOST) -> list[Entry]:
        """The newest first."""
        return list(reversed(self._entries))[:most]

    def note(self, event: Event, commands: Sequence[Command], now_ms: int) -> list[Entry]:
        """What is news in what a coordinator made of this. A command that is only said once more
        is none."""
        news = [*self._of_event(event, now_ms)]
        for command in commands:
            news += self._of_command(event, command, now_ms)
        self._entries += news
        if news:
            self.told(news)
        return news

    def _of_event(self, event: Event, now_ms: int) -> Iterator[Entry]:
        match event:
            case LeaseGained():
                self.since_ms, self._leads = now_ms, True
                held = ((one.work.name, one.coming or one.here) for one in event.streams)
                self._owners = {name: one for name, one in held if one is not None}
                self._boots = {one.name: one.boot for one in event.nodes}
                self._draining = {one.name for one in event.nodes if one.draining}
                yield Entry(now_ms, Kind.LEADS, self.owner, epoch=event.epoch)
            case LeaseLost() if self._leads:
                self._leads = False
                self._owners, self._boots, self._draining = {}, {}, set()
                yield Entry(now_ms, Kind.LEADS_NO_MORE, self.owner)
            case NodeRegistered() if self._leads and self._boots.get(event.node) != event.boot:
                if event.node in self._boots:
                    yield self._gone(event.node, event, now_ms)
                self._boots[event.node] = event.boot
                yield Entry(now_ms, Kind.NODE_CAME, event.node)
            case Drain() if event.node in self._boots:
                (self._draining.add if event.wanted else self._draining.discard)(event.node)
                yield Entry(now_ms, Kind.DRAINS if event.wanted else Kind.USED_AGAIN, event.node)

    def _gone(self, node: str, event: Event, now_ms: int) -> Entry:
        """One that was emptied was meant to go, or to be started anew."""
        meant = isinstance(event, NodeLeft) or node in self._draining
        self._boots.pop(node, None)
        self._draining.discard(node)
        kind = Kind.NODE_LEFT if meant else Kind.NODE_DIED
        return Entry(now_ms, kind, node, reason=_why(event))

    def _of_command(self, event: Event, command: Command, now_ms: int) -> Iterator[Entry]:
        match command:
            case Assign() | Move():
                yield from self._owner(command, now_ms)
            case Drained():
                yield Entry(now_ms, Kind.DRAINED, command.node)
            case Wait():
                yield Entry(now_ms, Kind.WAITS, command.stream, reason=command.reason)
            case Refuse():
                yield Entry(now_ms, Kind.REFUSALS, command.stream, reason=command.reason)
            case Persist():
                for name in command.gone_streams:
                    self._owners.pop(name, None)
                for name in command.gone_nodes:
                    yield self._gone(name, event, now_ms)

    def _owner(self, command: Assign | Move, now_ms: int) -> Iterator[Entry]:
        name, before = command.work.name, self._owners.get(command.work.name)
        if before is not None and command.epoch <= before.epoch:
            return
        self._owners[name] = Held(command.node, command.epoch)
        if isinstance(command, Move):
            kind, source = Kind.MOVES, command.source
        elif before is not None:
            kind, source = Kind.TAKEOVERS, before.node
        else:
            return
        yield Entry(now_ms, kind, name, source, command.node, epoch=command.epoch)


def _why(event: Event) -> str:
    match event:
        case Tick():
            return "it was silent"
        case WorkerLost():
            return "its worker died"
        case NodeRegistered():
            return "its worker was started anew"
    return ""
