"""`Replica`: another edge's stream as it is here: what its viewers want comes from its home, once.

HLS viewers get the home's own parts, in windows that are made of them; for WebRTC those tracks come
that anybody here has. Where the home is lost, what is there stays for `grace`, and the next home
goes on with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from streamgen.control.coordinator.homes import Home
from streamgen.deliver.copying import Act, Position, Step, copy, position
from streamgen.deliver.h264 import parameters
from streamgen.deliver.live import LivePackager
from streamgen.deliver.live_playlist import Report
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.mirror.line import Line, Sub
from streamgen_edge.mirror.wire import UNDERSTOOD_NOT, Facts, What, read_steps
from streamgen_edge.viewing import Viewing

LINGER_S = 10.0
"""So long after the last viewer nothing comes any more."""
KEPT_S = 30.0
"""An ended session can still be played to its end."""
OURS_S = 2.0
"""A session is over so long after a publisher came here who did not go on with it."""
DOUBT = 2
"""The next home may have made the last segments, so many beside the growing one, in its own way."""
AGAIN_S = 1.0
"""What does not fit is asked for anew, this often at most."""
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
        self.synced = viewing is not None
        """There is what HLS viewers need."""
        self.line: Line | None = None
        self._viewing = viewing
        if viewing is not None:
            viewing.feed.changed = self._join
        self._grace_s = grace_s
        self._stream: Sub | None = None
        self._parts: Sub | None = None
        self._packets: dict[str, Sub] = {}
        self._ours = False
        """It is here now, as another session: who watches this one is not to be kept long."""
        self._absent = False
        """The home says that it has no such stream."""
        self._doubt = viewing is not None
        """Another home than the one whose parts these are."""
        self._unfit: set[str] = set()
        """Places where what is here does not fit what comes."""
        self._pending: dict[str, tuple[dict[str, Any], list[bytes]]] = {}
        """By place, what is only half there: nobody may see it."""
        self.since = self._asked = self._asked_hls = time.monotonic()
        self._joined: dict[str, float] = {}
        """When somebody had a track last."""
        self._away_since: float | None = None
        self._over_since: float | None = None
        self._again = 0.0
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
            self._want_parts()

    def usable(self, *, hls: bool) -> bool:
        if not self.begun or not hls:
            return self.begun
        return self.synced or self.over or (self.alone and self._packager.playable)

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
        self._doubt = self._doubt or (former is not None and former.epoch != home.epoch)
        if line is not self.line or self._stream is None or self._doubt:
            self.leave()
            self.line = line
            if line is not None:
                self._stream = line.want(self._sub(What.STREAM, self._told))
                if time.monotonic() - self._asked_hls <= LINGER_S:
                    self._want_parts()
                for track in self._viewing.feed.tracks if self._viewing is not None else ():
                    self._want_packets(track)
                    line.say({"type": "keyframe", "stream": self.name, "reason": "new home"})
        self._ring()

    def leave(self) -> None:
        """Want nothing of the home any more."""
        for sub in (self._stream, self._parts, *self._packets.values()):
            if sub is not None and self.line is not None:
                self.line.unwant(sub)
        self._stream = self._parts = None
        self._packets.clear()
        self._pending.clear()

    def give_up(self) -> Viewing | None:
        """The stream has its home here now: its viewers are that one's."""
        self.leave()
        viewing = self._viewing
        if viewing is not None:
            viewing.feed.changed = lambda track: None
            viewing.resting.clear()
        return viewing

    # What is wanted of it.

    def _sub(
        self,
        what: What,
        heard: Callable[[Mapping[str, Any], Sequence[bytes]], None],
        track: str = "",
    ) -> Sub:
        def want() -> Mapping[str, Any]:
            wanted = {"stream": self.name, "what": what.value}
            if what is What.PARTS:
                session = self.session if self.begun else ""
                return {**wanted, "session": session, "has": self._has()}
            return wanted | ({"track": track} if track else {})

        return Sub(want, heard, partial(self._packet, track))

    def _has(self) -> dict[str, Position | None]:
        """By place, what need not come again."""
        self._pending.clear()
        if not self.begun:
            return {}
        has = {
            place: None if place in self._unfit else position(one.window)
            for place, one in self._packager.renditions.items()
        }
        if self._doubt:
            for place, at in has.items():
                young = at is None or at[0] <= DOUBT
                has[place] = None if young or at is None else (at[0] - DOUBT - 1, 0, True)
        return has

    def _want_parts(self) -> None:
        if self._parts is None and self.line is not None and not self.over:
            self._parts = self.line.want(self._sub(What.PARTS, self._come))

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
        if self._parts is not None and now - self._asked_hls > LINGER_S and line is not None:
            line.unwant(self._parts)
            self._parts = None
            self.synced = False
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
        self._pending.clear()
        self._unfit.clear()
        self.over, self._over_since = False, None
        viewing = Viewing(self.telemetry, facts.hls)
        if former is not None:
            former.feed.changed = lambda track: None
            viewing.audience = former.audience
        viewing.begin(facts.session, facts.unix_ns, facts.tracks)
        viewing.feed.changed = self._join
        self._viewing = viewing
        self.synced = self.synced and former is None

    def _end(self) -> None:
        if self.over:
            return
        self.over, self._over_since = True, time.monotonic()
        if self._viewing is not None:
            self._viewing.end()
        self._ring()

    def _come(self, message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
        """Parts, or that all there are have come."""
        if not self.begun or self.over:
            return
        try:
            if message["type"] == "synced":
                self.synced, self._doubt = True, False
                self._ring()
            else:
                self._gather(message, frames)
        except UNDERSTOOD_NOT as error:
            log.warning("what came of %s does not fit: %s", self.name, error)
            self.telemetry.count("mirror_resyncs", "unfit")
            self._anew()

    def _gather(self, message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
        place = str(message["place"])
        whole, data = self._pending.pop(place, ({"steps": []}, []))
        whole = {**whole, **message, "steps": [*whole["steps"], *message["steps"]]}
        if message["more"]:
            self._pending[place] = whole, [*data, *frames]
        else:
            self._publish(place, whole, read_steps(whole["steps"], [*data, *frames]))

    def _publish(self, place: str, message: Mapping[str, Any], steps: Sequence[Step]) -> None:
        packager = self._packager
        rendition = packager.renditions[place]
        packager.breaks.update(int(number) for number in message.get("breaks", ()))
        if "parameters" in message:
            sps, pps = (bytes.fromhex(text) for text in message["parameters"])
            rendition.parameters = parameters(sps, pps)
        for step in steps:
            if step.act is Act.BEGIN and step.anew and place not in self._unfit:
                step = replace(step, anew=not rendition.cutter.bridge(step.number))
            copy(step, rendition.window)
        self._unfit.discard(place)
        reports = [Report(str(uri), (int(a), int(b))) for uri, a, b in message["reports"]]
        packager.copied(place, reports)

    def _anew(self) -> None:
        now = time.monotonic()
        if now - self._again < AGAIN_S or self._parts is None or self.line is None:
            return
        self._again = now
        self._unfit = set(self._packager.renditions)
        self.line.again(self._parts)

    def _rests(self, message: Mapping[str, Any], frames: Sequence[bytes]) -> None:
        if message["type"] == "resting" and self._viewing is not None:
            self._viewing.resting.clear()
            self._viewing.resting.update(str(rung) for rung in message["rungs"])

    def _packet(self, track: str, packet: Packet) -> None:
        if self._viewing is not None and not self.over:
            self._viewing.feed.put(replace(packet, track=track))
