"""Pieces become one output: their packets in order, with the whole sound beside them."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from streamgen.control.chunks.packets import Made, packets_of
from streamgen.deliver.link import described
from streamgen.encode.audio import AudioPath
from streamgen.encode.ladder import Ladder, PictureFormat, same_rungs
from streamgen.errors import OutputError
from streamgen.media.packet import Packet
from streamgen.media.pool import CopyMeter, FramePool
from streamgen.media.tracks import EncodedTrack, SourceInfo
from streamgen.opening import carried_tracks, open_sounds, source_timeline
from streamgen.pipeline import Pipeline
from streamgen.protocols import Mode, Outlet, Source
from streamgen.session import Mending
from streamgen.telemetry import Telemetry

AHEAD_S = Fraction(1, 2)
"""How far the sound is written ahead of the picture."""


@dataclass(frozen=True, slots=True)
class Joining:
    """What is joined: the pieces in order, and the tracks that they are pieces of."""

    folder: Path
    pieces: Sequence[Made]
    tracks: Sequence[EncodedTrack]

    def packets(self) -> Iterator[Packet]:
        """All packets in order, timed as one encoder would have timed them.

        Raises `OutputError` where a piece is damaged.
        """
        clocks = {
            track.name: _DecodingClock(max(piece.tracks[number].delay for piece in self.pieces))
            for number, track in enumerate(self.tracks)
        }
        for piece in self.pieces:
            for packet in packets_of(self.folder, piece, self.tracks):
                yield clocks[packet.track].timed(packet)


class _DecodingClock:
    """Decoding times of a whole track.

    The encoder of each piece had to guess those before its first picture. Decoding runs `delay`
    packets ahead of presentation, so the n-th packet is decoded when the picture n - delay is
    shown: a rule that needs no guess once there is a past.
    """

    def __init__(self, delay: int) -> None:
        self._delay = delay
        self._shown: list[int] = []
        self._met = 0

    def timed(self, packet: Packet) -> Packet:
        self._met += 1
        heapq.heappush(self._shown, packet.pts or 0)
        if self._met <= self._delay:
            return packet
        return replace(packet, dts=heapq.heappop(self._shown))


def joined_tracks(
    pipeline: Pipeline, info: SourceInfo, pieces: Sequence[Made]
) -> list[EncodedTrack]:
    """The rungs of the whole, described by encoders opened for it.

    Raises `OutputError` where a piece was encoded with other parameter sets: players that read
    them once would show it wrong.
    """
    rungs = [one.track for one in pieces[0].tracks]
    before = [(_rung_of(rung["name"]), rung["width"], rung["height"]) for rung in rungs]
    plan = same_rungs(pipeline.ladder, before)
    top = rungs[0]
    picture = PictureFormat(
        width=top["width"],
        height=top["height"],
        time_base=Fraction(*top["time_base"]),
        rate=None if top["rate"] is None else Fraction(*top["rate"]),
        sar=Fraction(*top["sar"]),
        rotation=top["rotation"],
        color=info.video.color,
    )
    pool = FramePool()
    ladder = Ladder(
        plan.rungs, picture, pipeline.encoder, mode=Mode.OFFLINE, pool=pool, meter=CopyMeter()
    )
    for piece in pieces:
        for track, made in zip(ladder.tracks, piece.tracks, strict=True):
            if described(track) != made.track:
                raise OutputError(
                    f"piece {piece.number + 1} of {track.name} was encoded with other parameters"
                )
    return ladder.tracks


def _rung_of(name: str) -> str:
    return name.removeprefix("video/")


@dataclass(frozen=True, slots=True)
class Assembly:
    """What is made of whole pieces, and where they lie."""

    pipeline: Pipeline
    folder: Path
    pieces: Sequence[Made]
    all_audio: bool
    telemetry: Telemetry
    """Counts what happens to the sound."""

    def into(self, source: Source, outlet: Outlet, notes: list[str]) -> AudioPath | None:
        """Put all pieces into an outlet, with the sound and subtitles of `source`, and finish it.

        Adds to `notes` what a user should know; returns the way of the first sound. The caller
        closes the source. Raises what outlets raise, and `OutputError` where a piece is damaged.
        """
        info, pipeline = source.info, self.pipeline
        notes += dict.fromkeys(note for piece in self.pieces for note in piece.report.notes)
        tracks = joined_tracks(pipeline, info, self.pieces)
        sounds, left_out = open_sounds(pipeline, info, [outlet], self.telemetry, self.all_audio)
        carried, not_taken = carried_tracks(info, [outlet])
        heard = [track for path in sounds.values() for track in path.tracks]
        outlet.open([*tracks, *heard, *carried])
        notes += [*left_out, *not_taken, *outlet.dropped_tracks]
        joining = Joining(self.folder, self.pieces, tracks)
        timeline = source_timeline(info, Telemetry())
        written = _join(joining, source, timeline, sounds, carried, outlet)
        self._check([written[track.name] for track in tracks])
        outlet.finish()
        notes += [note for note in outlet.dropped_tracks if note not in notes]
        return next(iter(sounds.values()), None)

    def _check(self, written: Sequence[int]) -> None:
        """Every packet of every piece is in the output, once."""
        for number, packets in enumerate(written):
            wanted = sum(piece.tracks[number].frames for piece in self.pieces)
            if packets != wanted:
                raise OutputError(f"{packets} of {wanted} pictures were put together")


def _join(
    joining: Joining,
    source: Source,
    timeline: Mending,
    sounds: Mapping[str, AudioPath],
    carried: Sequence[EncodedTrack],
    outlet: Outlet,
) -> dict[str, int]:
    """Write everything into an open outlet, in the order of time; returns packets by track.

    `source` is read again, for its sound and subtitles. The outlet is not finished here.
    """
    names = {track.name for track in carried}
    written: dict[str, int] = defaultdict(int)
    pictures = joining.packets()
    waiting = next(pictures, None)

    def write(packets: Sequence[Packet]) -> None:
        nonlocal waiting
        for packet in packets:
            while waiting is not None and _at(waiting) <= _at(packet) - AHEAD_S:
                outlet.write(waiting)
                written[waiting.track] += 1
                waiting = next(pictures, None)
            outlet.write(packet)
            written[packet.track] += 1

    if sounds or names:
        for raw in source.packets():
            packet = timeline.mend(raw)
            if packet.track in sounds:
                write(sounds[packet.track].push(packet))
            elif packet.track in names:
                write([packet])
        for path in sounds.values():
            write(path.flush())
    while waiting is not None:
        outlet.write(waiting)
        written[waiting.track] += 1
        waiting = next(pictures, None)
    return written


def _at(packet: Packet) -> Fraction:
    at = packet.dts if packet.dts is not None else packet.pts
    return (at or 0) * packet.time_base
