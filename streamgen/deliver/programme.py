"""`Programme`: one picture and what belongs to it in one container, as outlets write it."""

from __future__ import annotations

from collections.abc import Sequence

from streamgen.deliver.muxer import Muxer
from streamgen.errors import OutputError
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack


class Programme:
    """Owned by one thread. Without its picture there is nothing to finish."""

    def __init__(self, name: str) -> None:
        """Errors name it `name`. Nothing is written yet."""
        self.name = name
        self._picture: str | None = None
        self._lost: str | None = None
        self._carried: set[str] = set()
        self._muxer: Muxer | None = None

    def offered(self, tracks: Sequence[EncodedTrack]) -> list[EncodedTrack]:
        """All but the lower rungs, which belong to ladders."""
        self._picture = next((track.name for track in tracks if track.kind == "video"), None)
        return [one for one in tracks if one.kind != "video" or one.name == self._picture]

    def open(self, muxer: Muxer) -> None:
        self._muxer = muxer

    def add(self, track: EncodedTrack) -> bool:
        """False where the container does not take its codec."""
        taken = self._muxer is not None and self._muxer.add(track)
        if taken:
            self._carried.add(track.name)
        return taken

    def write(self, packet: Packet) -> None:
        """One packet of whatever track. Raises `OutputError`."""
        if packet.track in self._carried and self._muxer is not None:
            self._muxer.write(packet)

    def drop(self, track: str) -> None:
        """Nothing more comes of this track."""
        if track == self._picture:
            self._lost = track

    def close(self) -> None:
        """Write what is left. Raises `OutputError`, also where its picture broke off."""
        if self._muxer is None:
            raise OutputError(f"{self.name}: nothing was opened")
        if self._lost is not None:
            raise OutputError(f"cannot finish {self.name}: its track {self._lost} broke off")
        self._muxer.close()
        self._muxer = None

    def abandon(self) -> None:
        """Let go of it, whatever state it is in."""
        if self._muxer is not None:
            self._muxer.abandon()
        self._muxer = None
