"""`Relayed`: a live stream as an egress process has it: only what its viewers get."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamgen.media.packet import Packet
from streamgen_edge.feed import Feed, Subscriber, Subscription

Say = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Track:
    """`webrtc.channel.TrackFacts`, as far as they can be told in JSON."""

    name: str
    kind: str
    codec: str
    width: int
    height: int
    config: bytes
    bitrate_bps: int

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Track:
        return cls(**{**told, "config": bytes.fromhex(told["config"])})


class _Wanted(Feed):
    """Tells the edge which tracks anybody here has."""

    def __init__(self, want: Callable[[str, bool], None]) -> None:
        super().__init__()
        self._want = want
        self._having: dict[str, int] = {}

    def subscribe(self, track: str) -> Subscription:
        found = super().subscribe(track)
        self._having[track] = self._having.get(track, 0) + 1
        if self._having[track] == 1:
            self._want(track, True)
        return found

    def leave(self, track: str, one: Subscriber) -> None:
        super().leave(track, one)
        self._having[track] -= 1
        if not self._having[track]:
            self._want(track, False)


class Relayed:
    """Implements `webrtc.channel.Playable`."""

    def __init__(self, told: Mapping[str, Any], say: Say) -> None:
        self.number = int(told["number"])
        self.name = str(told["name"])
        self.session = str(told["session"])
        self.tracks: Sequence[Track] = [Track.of(track) for track in told["tracks"]]
        self.resting: Collection[str] = ()
        self.over = False
        self.feed: Feed = _Wanted(
            lambda track, on: say({"want": self.number, "track": track, "on": on})
        )
        self._say = say

    def request_keyframe(self, reason: str) -> None:
        self._say({"keyframe": self.number, "reason": reason})

    def put(self, packet: Packet, track: int) -> None:
        self.feed.put(replace(packet, track=self.tracks[track].name))

    def end(self) -> None:
        self.over = True
        self.feed.end()
