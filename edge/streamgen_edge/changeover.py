"""`Changeover`: one worker's pictures up to one picture, and the next one's from there on.

Both get all that comes, and `cut` is the time of the first picture that the next one shows; the
other only decodes it. The former one's sound is taken up to there, too. Once it has all that is its
own it is told to finish, and a track goes on from the next one when the former one has given its
last of it; what the next one gives before is held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from streamgen.ingest.link import VIDEO, Description
from streamgen.media.packet import Packet
from streamgen.pipeline import parse_pipeline
from streamgen_edge.attachment import Attachment
from streamgen_edge.timeline import HZ

NS = 1_000_000_000
LONGEST_S = 3.0
"""For the former worker to give what is inside, once it has all that is its own."""
AHEAD = HZ // 5
"""The first picture of the next one is this much later than the last one so far: what the GOP so
far takes to be decoded is made up for by then."""
FURTHEST = 2 * HZ
"""A key frame that all rungs have anyway is waited for this long at most."""
SOUND_HZ = 48_000
SOUND_LATER = HZ // 10
"""The former worker gets this much more sound: its last piece is whole."""
SOUND_LATEST = HZ // 2
"""The sound may come this much later than the picture."""


def cut_after(front: int, pipeline: dict[str, Any]) -> int:
    """Time of the first picture of the next worker: where a key frame is due, if that is near."""
    interval_ns = parse_pipeline(pipeline).keyframe_interval_ns(live=True)
    least = front + AHEAD
    cell = least * NS // (HZ * interval_ns) + 1
    due = -(-cell * interval_ns * HZ // NS)
    return due if due - front <= FURTHEST else least


class Changeover:
    """On the loop's thread."""

    def __init__(
        self,
        former: Attachment,
        following: Attachment,
        cut: int,
        last: Mapping[str, int],
        deliver: Callable[[Packet], None],
        late: Callable[[], object],
    ) -> None:
        """`last` is the last PTS of each track that viewers have, as it grows by `deliver`; `late`
        is called when the former worker does not end in time."""
        self.given = 0
        """Pictures that the next one has to show."""
        self.shown = 0
        """Those of them that viewers have, on the top rung."""
        self.finishing = False
        """The former one has all that is its own."""
        self._former, self._following, self._cut = former, following, cut
        self._sound_cut = cut * SOUND_HZ // HZ
        self._last, self._deliver, self._late = last, deliver, late
        self._final = 0
        """Time of the former one's last picture."""
        self._past = False
        """No picture of the former one's comes any more."""
        self._held: dict[str, list[Packet]] = {}
        self._open: set[str] = set()
        """Tracks that go on from the next one."""
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def taking(self) -> bool:
        """The next one has what the former one has not."""
        return self.given > 0 or self.finishing

    # What the publisher sends.

    def send(self, packet: Packet, received_ns: int, sound: Description | None) -> None:
        """To both."""
        if packet.track != VIDEO:
            if not self.finishing:
                self._former.send(packet, received_ns, sound)
            self._following.send(packet, received_ns, sound)
        else:
            self._picture(packet, received_ns)
        self._look(packet, sound)

    def _picture(self, packet: Packet, received_ns: int) -> None:
        at, hidden = packet.pts or 0, replace(packet, discard=True)
        mine = at >= self._cut
        if not self._past and _decoded_at(packet) >= self._cut:
            self._past = True
            for track, last in list(self._last.items()):
                if track.startswith("video/") and last >= self._final:
                    self._go_on(track)
        for attachment, shows in ((self._former, not mine), (self._following, mine)):
            useless = not packet.size_bytes and not shows  # a still: there is nothing to decode
            if not useless and not (attachment is self._former and self._past):
                attachment.send(packet if shows else hidden, received_ns)
        if packet.discard:
            return
        if mine:
            self.given += 1
        else:
            self._final = max(self._final, at)

    def _look(self, packet: Packet, sound: Description | None) -> None:
        """Whether the former one has all that is its own: pictures, and sound a bit beyond."""
        at = _decoded_at(packet)
        if packet.track == VIDEO:
            ready = sound is None or at >= self._cut + SOUND_LATEST
        else:
            ready = packet.size_bytes > 0 and at >= self._cut + SOUND_LATER
        if self._past and ready:
            self.finish()

    def finish(self) -> None:
        """The former one gives what is inside, and ends."""
        if not self.finishing:
            self.finishing = True
            self._former.finish()
            self._deadline = asyncio.get_running_loop().call_later(LONGEST_S, self._late)

    # What the workers give.

    def lets(self, packet: Packet) -> bool:
        """Whether this one of the former worker's is for viewers."""
        video = packet.track.startswith("video/")
        return (packet.pts or 0) < (self._cut if video else self._sound_cut)

    def heard(self, packet: Packet) -> None:
        """Viewers have this one of the former worker's: is it the last one of its track?"""
        at = packet.pts or 0
        if packet.track.startswith("video/"):
            final = self._past and at >= self._final
        else:
            final = at + packet.duration >= self._sound_cut
        if final:
            self._go_on(packet.track)

    def follow(self, packet: Packet) -> None:
        """One of the next worker's."""
        if packet.track in self._open:
            self._pass_on(packet)
        else:
            self._held.setdefault(packet.track, []).append(packet)

    def _go_on(self, track: str) -> None:
        self._open.add(track)
        for packet in self._held.pop(track, ()):
            self._pass_on(packet)

    def _pass_on(self, packet: Packet) -> None:
        before = self._last.get(packet.track)
        if before is None or (packet.pts or 0) > before:  # else the former one gave this sound
            self._deliver(packet)
            self.shown += packet.track == self._following.tracks[0].name

    def complete(self) -> None:
        """The former one is over: everything goes on from the next one."""
        self.stop()
        for track in list(self._held):
            self._go_on(track)

    def stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _decoded_at(packet: Packet) -> int:
    return packet.dts if packet.dts is not None else packet.pts or 0
