"""Homes: at which edge each stream's publisher is, so that all other edges find it there.

The newest publisher wins, wherever it is. Homes have epochs that never go back: of two edges that
say a stream is theirs the one with the higher epoch is right. What a home says of its stream, the
passport, outlives that edge for a while: the stream goes on where its publisher comes again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from streamgen.control.coordinator.directory import EdgeRegistered
from streamgen.control.coordinator.fencing import Epochs
from streamgen.errors import ConfigError

LONGEST_PASSPORT = 1 << 16
"""Characters, none of them NUL, which databases do not take."""
KEPT_MS = 900_000
"""What an edge that is gone said of its streams is kept so long."""
MOST_ALONE = 1_000
"""Streams whose edges are gone, at most; who was alone longest makes room."""
MOST_OF_AN_EDGE = 5_000
"""Streams that one edge has at most, and as many that it seeks."""
MOST_FORMER = 8
"""Claims of a stream that are known to have been superseded."""


@dataclass(frozen=True, slots=True)
class StreamClaimed:
    """An edge: a publisher of the stream is here. Said again to every new leader, and with each
    passport that is newer."""

    stream: str
    edge: str
    epoch: int = 0
    """By which the stream is there already; 0: it has none yet."""
    passport: str = ""
    """Empty: as it was."""
    ask: str = ""
    """Another one for each publisher that comes; empty: only said again."""


@dataclass(frozen=True, slots=True)
class StreamLeft:
    """An edge: the stream is over."""

    stream: str
    edge: str
    epoch: int
    """0: whichever it was given, as that was not heard yet."""


@dataclass(frozen=True, slots=True)
class StreamSought:
    """An edge: somebody wants to see the stream here. Where it is, is told at each change."""

    stream: str
    edge: str
    epoch: int = 0
    """Of the home that it knows."""


@dataclass(frozen=True, slots=True)
class StreamUnsought:
    """An edge: nobody does any more."""

    stream: str
    edge: str


@dataclass(frozen=True, slots=True)
class Home:
    """To edges that claim, had or seek a stream: where it is."""

    stream: str
    edge: str
    """Empty: nobody has it. An edge that died has its streams until others claim them."""
    epoch: int
    place: str = ""
    """Where that edge lets other edges in; empty: that is not known."""
    public_key: str = ""
    """Of that place, 64 hexadecimal digits; empty: a folder needs none."""
    passport: str = ""
    """What was said of the stream last, by this home or the one before it."""
    ask: str = ""
    """The claim that is answered by this."""
    alone_ms: int = 0
    """In an answer: for so long, as far as is known, the home before was gone."""


@dataclass(frozen=True, slots=True)
class KnownHome:
    """A home as the store remembers it."""

    stream: str
    edge: str
    epoch: int
    passport: str = ""


def check_passport(text: str) -> None:
    """Raises `ConfigError`."""
    if len(text) > LONGEST_PASSPORT or "\0" in text:
        raise ConfigError(f"not a passport of a stream: {len(text)} characters")


FromEdge = StreamClaimed | StreamLeft | StreamSought | StreamUnsought


@dataclass(slots=True)
class _Held:
    """A stream's home as it stands."""

    edge: str
    epoch: int
    passport: str = ""
    shown: int = 0
    """The epoch by which it was taken up, where that was of a former leader."""
    ask: str = ""
    alone_ms: int = 0
    """So long the stream had been alone."""
    former: tuple[tuple[str, str], ...] = ()
    """Claims that it superseded: each edge and what it asked."""


class Homes:
    """Those of one leader. What is to be said and remembered gathers until it is taken."""

    def __init__(self, epochs: Epochs, rows: Iterable[KnownHome] = (), now_ms: int = 0) -> None:
        """Edges of former leaders' rows are taken for gone until they say otherwise."""
        self._epochs = epochs
        self._held: dict[str, _Held] = {}
        self._of: dict[str, dict[str, None]] = {}
        """Streams by edge."""
        self._alone: dict[str, int] = {}
        """Streams of edges that are gone, and since when; who was alone longest comes first."""
        self._doors: dict[str, tuple[str, str]] = {}
        self._away: set[str] = set()
        """Edges that are gone, whose doors are kept as long as they have streams."""
        self._sought: dict[str, dict[str, None]] = {}
        """Edges by stream."""
        self._seeks: dict[str, dict[str, None]] = {}
        """Streams by edge."""
        self._now_ms = now_ms
        self._listened = False
        self._said: list[tuple[str, Home]] = []
        self._changed: dict[str, None] = {}
        for row in rows:
            self._hold(row.stream, _Held(row.edge, row.epoch, row.passport, row.epoch))
            self._alone[row.stream] = now_ms

    # Edges come and go.

    def registered(self, edge: EdgeRegistered, now_ms: int) -> None:
        """It says all of it again after this; what it does not say, it has lost."""
        self._unseek_all(edge.edge)
        self._away.discard(edge.edge)
        for stream in self._of.get(edge.edge, ()):
            self._alone.setdefault(stream, now_ms)
        door = (edge.mirror, edge.mirror_key)
        if self._doors.get(edge.edge) != door:
            self._doors[edge.edge] = door
            for stream in self._of.get(edge.edge, ()):
                self._tell(stream)

    def gone(self, edges: Iterable[str], now_ms: int) -> None:
        """Their streams are theirs until others claim them; seekers keep what they have."""
        for edge in edges:
            self._unseek_all(edge)
            for stream in self._of.get(edge, ()):
                self._alone.setdefault(stream, now_ms)
            if edge in self._of:
                self._away.add(edge)
            else:
                self._doors.pop(edge, None)

    def time_went_by(self, now_ms: int) -> None:
        """What nobody came back to is forgotten."""
        self._now_ms = now_ms
        while self._alone and self._listened:
            stream, since_ms = next(iter(self._alone.items()))
            if len(self._alone) <= MOST_ALONE and now_ms - since_ms < KEPT_MS:
                break
            self._forget(stream)

    def listened(self) -> None:
        """All edges had time to say what they have: from now on what is unknown is nowhere."""
        self._listened = True
        for stream in self._sought:
            if stream not in self._held:
                self._tell(stream)

    # What edges say.

    def later(self, event: FromEdge) -> bool:
        """Whether it shows an epoch of a leader after this one."""
        return not isinstance(event, StreamUnsought) and self._epochs.later(event.epoch)

    def hear(self, event: FromEdge) -> None:
        """Who says it may say it."""
        match event:
            case StreamClaimed():
                self._claimed(event)
            case StreamLeft():
                self._over(event)
            case StreamSought():
                self._seek(event)
            case StreamUnsought():
                self._unseek(event.edge, event.stream)

    def _claimed(self, event: StreamClaimed) -> None:
        stream, held = event.stream, self._held.get(event.stream)
        if held is not None and _same(held, event):
            self._alone.pop(stream, None)
            held.ask = event.ask or held.ask
            if event.passport not in ("", held.passport):
                held.passport = event.passport
                self._changed[stream] = None
                self._tell(stream)
            if event.ask or event.epoch != held.epoch:
                self._answer(event)
        elif held is not None and not self._newer(held, event):
            self._answer(event)
        elif len(self._of.get(event.edge, ())) < MOST_OF_AN_EDGE:
            self._give(event, held)

    def _newer(self, held: _Held, event: StreamClaimed) -> bool:
        """Whether this claim came after that of the home."""
        if event.ask:
            return (event.edge, event.ask) not in held.former
        # Only said again: given by a former leader, whose row of it was not written any more.
        return event.epoch > held.shown and not self._epochs.mine(event.epoch)

    def _give(self, event: StreamClaimed, former: _Held | None) -> None:
        shown = 0 if event.ask else event.epoch
        held = _Held(event.edge, self._epochs.next(), event.passport, shown, event.ask)
        held.shown = held.shown or held.epoch
        also = []
        if former is not None:
            held.alone_ms = self._now_ms - self._alone.get(event.stream, self._now_ms)
            held.passport = held.passport or former.passport
            held.former = (*former.former, (former.edge, former.ask))[-MOST_FORMER:]
            also = [former.edge] if former.edge != event.edge else []
        self._drop(event.stream)
        self._hold(event.stream, held)
        self._changed[event.stream] = None
        self._answer(event)
        self._tell(event.stream, *also, but=event.edge)

    def _over(self, event: StreamLeft) -> None:
        held = self._held.get(event.stream)
        if held is None:
            return
        its_own = held.edge == event.edge and event.epoch in (0, held.epoch)
        # Or a newer home's, of which there was no row any more.
        if its_own or (event.epoch > held.shown and not self._epochs.mine(event.epoch)):
            self._forget(event.stream)

    def _seek(self, event: StreamSought) -> None:
        own = self._seeks.setdefault(event.edge, {})
        if event.stream not in own and len(own) >= MOST_OF_AN_EDGE:
            return
        own[event.stream] = None
        self._sought.setdefault(event.stream, {})[event.edge] = None
        held = self._held.get(event.stream)
        if (held is None and self._listened) or (held is not None and held.epoch != event.epoch):
            self._said.append((event.edge, self._home(event.stream)))

    def _unseek(self, edge: str, stream: str) -> None:
        for by, one, other in ((self._sought, stream, edge), (self._seeks, edge, stream)):
            some = by.get(one, {})
            some.pop(other, None)
            if not some:
                by.pop(one, None)

    def _unseek_all(self, edge: str) -> None:
        for stream in list(self._seeks.get(edge, ())):
            self._unseek(edge, stream)

    # What there is.

    def get(self, stream: str) -> Home | None:
        """None: nobody has it."""
        return self._home(stream) if stream in self._held else None

    def number(self, edge: str) -> int:
        """Of the streams that are there."""
        return len(self._of.get(edge, ()))

    def _hold(self, stream: str, held: _Held) -> None:
        self._held[stream] = held
        self._of.setdefault(held.edge, {})[stream] = None

    def _drop(self, stream: str) -> _Held | None:
        held = self._held.pop(stream, None)
        self._alone.pop(stream, None)
        if held is not None:
            del self._of[held.edge][stream]
            if not self._of[held.edge]:
                del self._of[held.edge]
                if held.edge in self._away:
                    self._away.remove(held.edge)
                    self._doors.pop(held.edge, None)
        return held

    def _forget(self, stream: str) -> None:
        held = self._drop(stream)
        if held is not None:
            self._changed[stream] = None
            nobody = Home(stream, "", held.epoch)
            self._said += [(edge, nobody) for edge in self._sought.get(stream, ())]

    def _home(self, stream: str) -> Home:
        held = self._held.get(stream)
        if held is None:
            return Home(stream, "", 0)
        place, key = self._doors.get(held.edge, ("", ""))
        return Home(stream, held.edge, held.epoch, place, key, held.passport)

    def _answer(self, event: StreamClaimed) -> None:
        home, held = self._home(event.stream), self._held.get(event.stream)
        alone_ms = 0 if held is None else held.alone_ms
        self._said.append((event.edge, replace(home, ask=event.ask, alone_ms=alone_ms)))

    def _tell(self, stream: str, *also: str, but: str = "") -> None:
        """All that seek it, and these, at once: it is one message."""
        home = self._home(stream)
        edges = dict.fromkeys([*also, *self._sought.get(stream, ())])
        self._said += [(edge, home) for edge in edges if edge != but]

    def take(self) -> tuple[list[tuple[str, Home]], list[KnownHome], list[str]]:
        """Since the last time: which edge is to be told what, homes that are new, and streams that
        have none any more."""
        said, self._said = self._said, []
        changed, self._changed = self._changed, {}
        known = [
            KnownHome(stream, held.edge, held.epoch, held.passport)
            for stream in changed
            if (held := self._held.get(stream)) is not None
        ]
        return said, known, [stream for stream in changed if stream not in self._held]


def _same(held: _Held, event: StreamClaimed) -> bool:
    """Whether the home says so itself. Another epoch than its own is one of before."""
    if held.edge != event.edge:
        return False
    if event.ask:
        return event.ask == held.ask or (held.epoch == event.epoch)
    return 0 < event.epoch <= held.epoch
