"""What edges say to each other of the streams that they have: one ZeroMQ socket on each side.

    to the home        hello, want, unwant, had, keyframe, ask, beat
    from the home      begin, ladder, parts, synced, resting, none, over, answer, beat, anew,
                       packets

A message is JSON, with media in the frames behind it; a packet is an envelope
(`streamgen.media.envelope`) and its data. What is wanted has a number, which the one who wants it
gives. A side that was silent for `DEAD_S` is gone. Whom the home does not know, it tells so
(`anew`), and that one says `hello` and all that it wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import zmq

from streamgen.control.wire import LARGEST_MESSAGE_BYTES
from streamgen.deliver.copying import Act, Position, Step
from streamgen.deliver.live import Ladder, LiveSettings
from streamgen.deliver.playlist import Rates
from streamgen.deliver.rendition import Said
from streamgen.errors import StreamGenError
from streamgen.media.envelope import LinkError
from streamgen_edge.attachment import OutTrack
from streamgen_edge.viewing import Viewing

HIGH_WATER = 4_000
"""Messages that a socket may hold; what is under way has bounds of its own, in bytes."""
MESSAGE_BYTES = 1 << 20
"""Parts go in messages of about this size."""
UNDERSTOOD_NOT = (
    StreamGenError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
)
"""What a message of the right form and the wrong content may end in."""


class What(Enum):
    """What an edge may want of a stream."""

    STREAM = "stream"
    """How it is made, and when it ends or begins anew."""
    LADDER = "ladder"
    """For viewers of HLS: what the multivariant playlist says, of all renditions."""
    PARTS = "parts"
    """For viewers of HLS: one rendition, what there is and what comes."""
    PACKETS = "packets"
    """One track, from now on."""


def prepare(socket: Any) -> None:
    """Bounded, never lingering, loud about peers that are not there."""
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE_BYTES)
    if socket.type == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)


@dataclass(frozen=True, slots=True)
class Facts:
    """How a session is made: what a copy of it begins with."""

    session: str
    unix_ns: int
    hls: LiveSettings
    tracks: tuple[OutTrack, ...]

    @classmethod
    def of(cls, viewing: Viewing) -> Facts:
        """Of a session that has begun."""
        packager = viewing.packager
        assert packager is not None
        start = packager.start
        return cls(start.session, start.unix_ns, packager.settings, tuple(viewing.tracks))

    def written(self) -> dict[str, Any]:
        return {
            "session": self.session,
            "unix_ns": self.unix_ns,
            "hls": asdict(self.hls),
            "tracks": [track.told for track in self.tracks],
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Facts:
        hls = LiveSettings(**{str(key): int(ns) for key, ns in told["hls"].items()})
        tracks = tuple(OutTrack.of(track) for track in told["tracks"])
        return cls(str(told["session"]), int(told["unix_ns"]), hls, tracks)


def written_ladder(ladder: Ladder) -> dict[str, Any]:
    said = {
        place: [one.codecs, *one.size, one.rates.peak_bps, one.rates.average_bps]
        for place, one in ladder.said.items()
    }
    return {"said": said, "ready": ladder.ready}


def read_ladder(told: Mapping[str, Any]) -> Ladder:
    """Raises one of `UNDERSTOOD_NOT`."""
    said = {}
    for place, (codecs, width, height, peak_bps, average_bps) in told["said"].items():
        rates = Rates(int(peak_bps), int(average_bps))
        said[str(place)] = Said(str(codecs), (int(width), int(height)), rates)
    return Ladder(said, bool(told["ready"]))


def written_step(step: Step) -> list[Any]:
    """Without its data, which is a frame of its own."""
    match step.act:
        case Act.HEADER:
            return ["header", step.uri]
        case Act.BEGIN:
            return ["begin", step.number, step.start_ns, step.uri, step.anew]
        case Act.PART:
            return ["part", step.uri, step.duration_ns, step.independent]
    return [step.act.value]


def read_steps(told: Iterable[Sequence[Any]], frames: Iterable[bytes]) -> list[Step]:
    """Raises one of `UNDERSTOOD_NOT`."""
    data, steps = iter(frames), []
    for kind, *rest in told:
        match Act(kind):
            case Act.HEADER:
                steps.append(Step(Act.HEADER, uri=str(rest[0]), data=_next(data)))
            case Act.BEGIN:
                number, start_ns, uri, anew = rest
                begin = {"number": int(number), "start_ns": int(start_ns), "anew": bool(anew)}
                steps.append(Step(Act.BEGIN, uri=str(uri), **begin))  # type: ignore[arg-type]
            case Act.PART:
                uri, duration_ns, independent = rest
                length, first = int(duration_ns), bool(independent)
                part = Step(Act.PART, 0, 0, str(uri), False, length, first, _next(data))
                steps.append(part)
            case act:
                steps.append(Step(act))
    return steps


def _next(frames: Iterable[bytes]) -> bytes:
    for frame in frames:
        return frame
    raise LinkError("a message with fewer frames than it says")


def has_data(step: Step) -> bool:
    return step.act in (Act.HEADER, Act.PART)


def read_position(told: Any) -> Position | None:
    if told is None:
        return None
    number, parts, whole = told
    if int(number) < 0 or int(parts) < 0:
        raise LinkError(f"not a place in a stream: {told}")
    return int(number), int(parts), bool(whole)
