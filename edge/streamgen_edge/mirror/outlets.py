"""What one other edge gets of a stream that has its home here: what its multivariant playlist says,
one rendition's parts, or one track's packets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamgen.deliver.copying import Copying, Position, Step
from streamgen.deliver.live import LivePackager
from streamgen.deliver.live_playlist import Report
from streamgen.deliver.rendition import Rendition
from streamgen.media.envelope import LinkError, seal
from streamgen.media.packet import Packet
from streamgen_edge.mirror.wire import MESSAGE_BYTES, has_data, written_ladder, written_step
from streamgen_edge.viewing import Viewing

WINDOW_BYTES = 8 << 20
"""So much may be under way: 16 s at 4 Mbit/s."""
WINDOW_MESSAGES = 500
Say = Callable[[Mapping[str, Any], Sequence[bytes]], None]
"""A message and its frames."""
Send = Callable[[bytes, Any], None]
"""The header of a packet, and its data."""
Count = Callable[[str], None]
"""Hears why something was left out."""


class Flow:
    """How much of one thing is under way to its copy."""

    def __init__(self) -> None:
        self._sent = self._had = self._messages = self._taken = 0

    @property
    def full(self) -> bool:
        under_way = self._sent - self._had >= WINDOW_BYTES
        return under_way or self._messages - self._taken >= WINDOW_MESSAGES

    @property
    def half(self) -> bool:
        """No more than half of what may be is."""
        few = 2 * (self._messages - self._taken) <= WINDOW_MESSAGES
        return few and 2 * (self._sent - self._had) <= WINDOW_BYTES

    def sent(self, size_bytes: int) -> None:
        self._sent += size_bytes
        self._messages += 1

    def had(self, size_bytes: int, messages: int) -> None:
        """The copy has come so far, in all."""
        self._had = max(self._had, min(size_bytes, self._sent))
        self._taken = max(self._taken, min(messages, self._messages))


class LadderOutlet:
    """What the multivariant playlist says: at most once for each segment of a rendition."""

    def __init__(self, number: int, viewing: Viewing, say: Say) -> None:
        assert viewing.packager is not None
        self.flow = Flow()
        self._number = number
        self._packager: LivePackager = viewing.packager
        self._say = say
        self._seen: object = None
        self._packager.watch(self._published)
        self.pump()

    def _published(self, rendition: Rendition) -> None:
        self.pump()

    def pump(self) -> None:
        """Say it, where it may have changed."""
        renditions = self._packager.renditions.values()
        seen = [(one.window.following()[0], one.parameters) for one in renditions]
        if seen != self._seen:
            self._seen = seen
            said = written_ladder(self._packager.ladder)
            self._say({"type": "ladder", "sub": self._number, **said}, ())

    def close(self) -> None:
        self._packager.unwatch(self._published)


class PartsOutlet:
    """One rendition, from what the copy has. There is no queue: a copy that is slow goes on with
    what the window still has."""

    def __init__(
        self,
        number: int,
        viewing: Viewing,
        place: str,
        has: Position | None,
        say: Say,
        count: Count,
    ) -> None:
        assert viewing.packager is not None
        self.flow = Flow()
        self._number = number
        self._packager: LivePackager = viewing.packager
        self._rendition = self._packager.renditions[place]
        self._say = say
        self._count = count
        self._copying = Copying(self._rendition.window, has)
        self._told: Any = None
        """The parameters that were said last."""
        self._open = False
        """A message said that more follows."""
        self._reported: Sequence[Report] | None = None
        self._breaks = 0
        self._synced = False
        self._packager.watch(self._published)
        self.pump()

    def _published(self, rendition: Rendition) -> None:
        self.pump()

    def pump(self) -> None:
        """Say what is new, as far as it may be under way."""
        while self._some():
            pass
        if not self._synced and not self.flow.full:
            self._synced = True
            self._say({"type": "synced", "sub": self._number}, ())

    def _some(self) -> bool:
        """One message; False where there is none to send now."""
        if self.flow.full:
            return False
        copying = self._copying
        missed = copying.missed
        steps: list[Step] = []
        size, more = 0, False
        while (step := copying.step()) is not None:
            steps.append(step)
            size += len(step.data)
            if size >= MESSAGE_BYTES:
                more = True
                break
        told = self._reported is self._rendition.reports
        if not steps and told and not self._open:
            return False
        if copying.missed != missed:
            self._count("too_slow")
        self._open = more
        self._send(steps, size, more=more)
        return True

    def _send(self, steps: Sequence[Step], size: int, *, more: bool) -> None:
        rendition = self._rendition
        message: dict[str, Any] = {
            "type": "parts",
            "sub": self._number,
            "steps": [written_step(step) for step in steps],
            "more": more,
            "reports": [[one.uri, *one.position] for one in rendition.reports],
        }
        known = rendition.parameters
        if known is not None and self._told is not known:
            self._told = known
            message["parameters"] = [known.sps.hex(), known.pps.hex()]
        if len(self._packager.breaks) != self._breaks:
            self._breaks = len(self._packager.breaks)
            message["breaks"] = sorted(self._packager.breaks)
        self._reported = rendition.reports
        self.flow.sent(size)
        self._say(message, [step.data for step in steps if has_data(step)])

    def close(self) -> None:
        self._packager.unwatch(self._published)


class PacketsOutlet:
    """One track. Implements `feed.Subscriber`. Pictures of a copy that is slow go, up to the next
    key frame."""

    def __init__(
        self, number: int, viewing: Viewing, track: str, say: Say, send: Send, count: Count
    ) -> None:
        self.flow = Flow()
        self._number = number
        self._viewing = viewing
        self._track = track
        self._say, self._send, self._count = say, send, count
        self._resting: frozenset[str] = frozenset()
        self._await_key = True
        self._late = False
        viewing.feed.join(track, self)

    def put(self, packet: Packet) -> None:
        resting = frozenset(self._viewing.resting)
        if resting != self._resting:
            self._resting = resting
            message = {"type": "resting", "sub": self._number, "rungs": sorted(resting)}
            self._say(message, ())
        if self._late:
            self._late = not self.flow.half
        elif self.flow.full:
            self._late = self._await_key = True
            self._count("too_slow")
        if self._late or (self._await_key and not packet.keyframe):
            return
        self._await_key = False
        try:
            header = seal(packet, stream=self._number, term=0, track=0)
        except LinkError:  # times beyond all measure: the home's own viewers get none either
            return
        self.flow.sent(packet.size_bytes)
        self._send(header, packet.data)

    def end(self) -> None:
        """Whoever wants it hears of that by itself."""

    def pump(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self._viewing.feed.leave(self._track, self)
