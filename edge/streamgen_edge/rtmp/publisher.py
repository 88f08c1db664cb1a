"""An accepted publisher as its owner sees it, and where its media goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from streamgen.errors import StreamGenError
from streamgen.media.packet import Packet
from streamgen_edge.rtmp.address import Publish
from streamgen_edge.rtmp.demux import Demuxer, Track
from streamgen_edge.rtmp.limits import Limits
from streamgen_edge.rtmp.messages import Message

LOOPS = "the stream would come back to itself"


class Refused(StreamGenError):
    """The owner does not let a publisher in. The client is told the text."""

    def __init__(self, reason: str, *, later: bool = False, wait_s: int | None = None) -> None:
        """`later`: it may be another matter soon, and after so many seconds, if that is known."""
        super().__init__(reason)
        self.later = later
        self.wait_s = wait_s


class Looped(Refused):
    """A server sends a stream to itself, or to one that it comes from."""

    def __init__(self) -> None:
        super().__init__(LOOPS)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a publisher's connection ended."""

    explicit: bool
    """The client ended its stream by itself (FCUnpublish, deleteStream, closeStream): the stream
    is over. Otherwise the client may come back within its grace."""
    reason: str
    """For logs and lists."""


class Sink(Protocol):
    """Takes one publisher's media, on the event loop, without blocking."""

    def track(self, track: Track) -> None:
        """A track's description: before its first packet, and whenever it changes."""
        ...

    def packet(self, packet: Packet) -> bool:
        """One packet, in the order it came; the data is the sink's. False: full, it was dropped
        (the sink then drops to the next key frame by itself)."""
        ...

    def ended(self, end: Ended) -> None:
        """The last call."""
        ...


@dataclass(slots=True)
class Stats:
    """Counts of one publisher since it was let in."""

    bytes: int = 0
    """Sound and picture as they came."""
    packets: Counter[str] = field(default_factory=Counter)
    """By track."""
    keyframes: int = 0
    full: int = 0
    """Packets that the sink had no room for."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What could not be read, or was mended: see `Demuxer`."""


class Line(Protocol):
    """What a publisher asks of its connection."""

    def leave(self, reason: str) -> None: ...

    def hold(self, held: bool) -> None: ...

    def ask_to_reconnect(self, url: str | None) -> bool: ...


class Publisher:
    """One publisher: handed to the owner with the question, used by it from the answer on."""

    def __init__(self, request: Publish, line: Line, limits: Limits) -> None:
        self.request = request
        self.stats = Stats()
        self.metadata: Mapping[str, float | bool | str] = {}
        """What the client last said of its stream; a hint for people."""
        self.tracks: dict[str, Track] = {}
        self._line = line
        self._demuxer = Demuxer(most_tracks=limits.tracks, count=self._left_out)
        self._sink: Sink | None = None

    def close(self, reason: str) -> None:
        """End the connection; the client is told why. The sink gets `ended`."""
        self._line.leave(reason)

    def pause(self) -> None:
        """Read nothing more: TCP holds the client back. For short: a live encoder drops soon."""
        self._line.hold(True)

    def resume(self) -> None:
        self._line.hold(False)

    def request_keyframe(self) -> None:
        """Ask the client for a key frame, where its protocol knows how; RTMP does not."""
        ask = getattr(self._line, "request_keyframe", None)
        if ask is not None:
            ask()

    def reconnect(self, url: str | None = None) -> bool:
        """Ask the client to connect again, at `url` or here; False for one that does not know how
        (E-RTMP v2 reconnect request). It leaves by itself."""
        return self._line.ask_to_reconnect(url)

    def start(self, sink: Sink) -> None:
        self._sink = sink

    def media(self, message: Message) -> None:
        """Take one message apart, into the sink. Raises `ProtocolError`."""
        sink, stats = self._sink, self.stats
        if sink is None:
            return
        stats.bytes += len(message.body)
        for item in self._demuxer.feed(message):
            if isinstance(item, Packet):
                stats.packets[item.track] += 1
                stats.keyframes += item.keyframe and item.track.startswith("video")
                stats.full += not sink.packet(item)
            else:
                self.tracks[item.name] = item
                sink.track(item)

    def end(self, end: Ended) -> None:
        """Once: the connection lets go of its publisher with it."""
        if self._sink is not None:
            self._sink.ended(end)

    def _left_out(self, reason: str) -> None:
        self.stats.left_out[reason] += 1


OnPublish: TypeAlias = Callable[[Publisher], Awaitable[Sink]]
"""Asked for each publisher; gives the sink, or raises `Refused`. `publisher.request` says who."""
