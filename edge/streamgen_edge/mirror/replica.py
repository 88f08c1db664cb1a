"""`Replica`: another edge's stream as it is here: what its viewers want comes from its home, once.

HLS viewers get the home's own parts, in windows that are made of them, of the renditions that they
ask for; for WebRTC those tracks come that anybody here has. Where the home is lost, what is there
stays for `grace`, and the next home goes on with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamgen.control.coordinator.homes import Home
from streamgen.deliver.live import LivePackager
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.mirror.line import Line, Sub
from streamgen_edge.mirror.rung import RungCopy
from streamgen_edge.mirror.wire import Facts, What, read_ladder
from streamgen_edge.viewing import Viewing

LINGER_S = 10.0
"""So long after the last viewer nothing comes any more."""
KEPT_S = 30.0
"""An ended session can still be played to its end."""
OURS_S = 2.0
"""A session is over so long after a publisher came here who did not go on with it."""
log = logging.getLogger("streamgen.edge.mirror")


class Replica:
    """Implements `viewers.Watched` once it has `begun`. On the loop's thread."""

    def __init__(self, name: str, grace_s: float, viewing: Viewing | None = None) -> None:
        """`viewing` is what viewers have here already: it goes on."""
        self.name = name
        self.telemetry = Telemetry() if viewing is None else viewing.telemetry
        self.home: Home | None = None
        """None: that is not known yet."""
        self.over = False
        self.line: Line | None = None
        self._viewing = viewing
        self._rungs: dict[str, RungCopy] = {}
        """By place."""
        if viewing is not None:
            self._show(viewing, here=True)
        self._grace_s = grace_s
        self._stream: Sub | None = None
        self._ladder: Sub | None = None
        self._topped = viewing is not None
        """There is what the multivariant playlist says."""
        self._packets: dict[str, Sub] = {}
        self._ours = False
        """It is here now, as another session: who watches this one is not to be kept long."""
        self._absent = False
        """The home says that it has no such stream."""
        self.since = self._asked = self._asked_hls = time.monotonic()
        self._joined: dict[str, float] = {}
        """When somebody had a track last."""
        self._away_since: float | None = None
        self._over_since: float | None = None
        self._changed: list[asyncio.Future[None]] = []

    # `viewers.Watched`.

    @property
    def begun(self) -> bool:
        return self._viewing is not None

    @property
    def viewing(self) -> Viewing:
        assert self._viewing is not None
        return self._viewing

    @property
    def _packager(self) -> LivePackager:
        packager = self.viewing.packager
        assert packager is not None
        return packager

    @property
    def session(self) -> str:
        return self._packager.start.session

    # Viewers.

    def touch(self, *, hls: bool) -> None:
        """Somebody is here for it."""
        self._asked = time.monotonic()
        if hls:
            self._asked_hls = self._asked
            self._want_ladder()

    def usable(self, *, hls: bool) -> bool:
        if not self.begun or not hls:
            return self.begun
        return self._topped or self.over or (self.alone and self._packager.playable)

    def _wanted(self, place: str) -> bool:
        """Somebody asks for a rendition: whether it is here as it is at the home, or as it can be
        without."""
        rung = self._rungs[place]
        rung.asked = time.monotonic()
        if self.line is not None and not (self.over and rung.synced):
            rung.want(self.line)
        return rung.synced or (self.alone and rung.playable)

    @property
    def alone(self) -> bool:
        """Its home is not heard, or does not know it any more."""
        return self.line is None or self.line.silent or self._absent

    @property
    def nowhere(self) -> bool:
        """There is nothing, and nothing to wait for."""
        nobody = self._absent or (self.home is not None and not self.home.place)
        return not self.begun and nobody

    async def until(self, there: Callable[[], bool], seconds: float) -> None:
        """Wait for a change that makes it so, this long at most."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while not there() and loop.time() < ends:
            future: asyncio.Future[None] = loop.create_future()
            self._changed.append(future)
            await asyncio.wait({future}, timeout=max(0.0, ends - loop.time()))
            if not future.done():
                self._changed.remove(future)

    def _ring(self) -> None:
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)

    # The home.

    def live_at(self, home: Home, line: Line | None, *, ours: bool) -> None:
        """Its home is there, by this line; without one it is nowhere that can be reached, or
        `ours`."""
        former, self.home = self.home, home
        self._absent, self._ours = False, ours
        moved = former is not None and former.epoch != home.epoch
        if moved:
            for rung in self._rungs.values():
                rung.moved()
        if line is not self.line or self._stream is None or moved:
            self.leave()
            self.line = line
            if line is not None:
                self._stream = line.want(self._sub(What.STREAM, self._told))
                now = time.monotonic()
                if now - self._asked_hls <= LINGER_S:
                    self._want_ladder()
                for rung in self._rungs.values():
                    if now - rung.asked <= LINGER_S:
                        rung.want(line)
                for track in self._viewing.feed.tracks if self._viewing is not None else ():
                    self._want_packets(track)
                    line.say({"type": "keyframe", "stream": self.name, "reason": "new home"})
        self._ring()

    def leave(self) -> None:
        """Want nothing of the home any more."""
        for sub in (self._stream, self._ladder, *self._packets.values()):
            if sub is not None and self.line is not None:
                self.line.unwant(sub)
        self._stream = self._ladder = None
        self._packets.clear()
        for rung in self._rungs.values():
            rung.leave()

    def give_up(self) -> Viewing | None:
        """The stream has its home here now: its viewers are that one's."""
        self.leave()
        for rung in self._rungs.values():
            rung.give_up()
        viewing = self._viewing
        if viewing is not None:
            _unbound(viewing)
            viewing.resting.clear()
        return viewing

    # What is wanted of it.

    def _sub(
        self,
        what: What,
        heard: Callable[[Mapping[str, Any], Sequence[bytes]], None],
        track: str = "",
    ) -> Sub:
        wanted = {"stream": self.name, "what": what.value} | ({"track": track} if track else {})
        return Sub(lambda: wanted, heard, lambda packet: self._packet(track, packet))

    def _want_ladder(self) -> None:
        if self._ladder is None and self.line is not None and not self.over:
            self._ladder = self.line.want(self._sub(What.LADDER, self._top))

    def _join(self, track: str) -> None:
        if self._viewing is not None and track in self._viewing.feed.tracks:
            self._want_packets(track)
        self._joined[track] = time.monotonic()

    def _want_packets(self, track: str) -> None:
        if track not in self._packets and self.line is not None and not self.over:
            sub = self._sub(What.PACKETS, self._rests, track)
            self._packets[track] = self.line.want(sub)

    def look(self) -> bool:
        """From time to time: let go of what nobody needs; False: of all."""
        now, line = time.monotonic(), self.line
        if self._ladder is not None and now - self._asked_hls > LINGER_S and line is not None:
            line.unwant(self._ladder)
            self._ladder, self._topped = None, False
        for rung in self._rungs.values():
            if now - rung.asked > LINGER_S:
                rung.let_go()
        tracks = self._viewing.feed.tracks if self._viewing is not None else set()
        for track, sub in list(self._packets.items()):
            late = now - self._joined.get(track, 0.0) > LINGER_S
            if track not in tracks and late and line is not None:
                line.unwant(sub)
                del self._packets[track]
        self._look_for_home(now)
        if self._over_since is not None and now - self._over_since > KEPT_S:
            return False
        return bool(tracks) or now - self._asked <= LINGER_S

    def _look_for_home(self, now: float) -> None:
        """Without one it goes on for `grace`."""
        if not self.alone or not self.begun or self.over:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now
        elif now - self._away_since > (min(OURS_S, self._grace_s) if self._ours else self._grace_s):
            log.info("%s did not come back", self.name, extra={"stream": self.name})
            self._end()

    # What comes.

    def _told(self, message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
        match message["type"]:
            case "begin":
                self._begin(Facts.read(message))
            case "none":
                self._absent = True
            case "over":
                self._end()
        self._ring()

    def _begin(self, facts: Facts) -> None:
        self._absent = False
        if self.begun and self.session == facts.session and not self.over:
            return
        former = self._viewing
        if former is not None and not self.over:
            former.end()
        for rung in self._rungs.values():
            rung.leave()
        self.over, self._over_since = False, None
        viewing = Viewing(self.telemetry, facts.hls)
        if former is not None:
            _unbound(former)
            viewing.audience = former.audience
        viewing.begin(facts.session, facts.unix_ns, facts.tracks)
        self._viewing, self._topped = viewing, False
        self._show(viewing, here=False)

    def _show(self, viewing: Viewing, *, here: bool) -> None:
        """From now on it is what viewers get; `here` it was packaged until now."""
        packager = viewing.packager
        assert packager is not None
        self._rungs = {
            place: RungCopy(self.name, place, packager, self.telemetry, here=here)
            for place in packager.renditions
        }
        viewing.feed.changed, packager.wanted = self._join, self._wanted

    def _end(self) -> None:
        if self.over:
            return
        self.over, self._over_since = True, time.monotonic()
        for rung in self._rungs.values():
            rung.end()
        if self._viewing is not None:
            self._viewing.end()
        self._ring()

    def _top(self, message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
        """What the multivariant playlist says now."""
        if self.begun and not self.over:
            packager = self._packager
            packager.elsewhere, self._topped = read_ladder(message), True
            for place, rendition in packager.renditions.items():
                packager.copied(place, rendition.reports)  # for those who wait for it
            self._ring()

    def _rests(self, message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
        if message["type"] == "resting" and self._viewing is not None:
            self._viewing.resting.clear()
            self._viewing.resting.update(str(rung) for rung in message["rungs"])

    def _packet(self, track: str, packet: Packet) -> None:
        if self._viewing is not None and not self.over:
            self._viewing.feed.put(replace(packet, track=track))


def _unbound(viewing: Viewing) -> None:
    """It is no copy of ours any more."""
    viewing.feed.changed = lambda track: None
    if viewing.packager is not None:
        viewing.packager.wanted = lambda place: True
