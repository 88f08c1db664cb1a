"""What a piece became: its encoded packets in one file, and a small JSON that says it is whole.

    chunk-00003.7f3a9c12.packets    packets of all rungs, as the encoders gave them
    chunk-00003.json                name, size, SHA-256 of that file; tracks, counts, report

The JSON appears last, in one step. Two processes that worked on the same piece have files of their
own, and the JSON names one of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from streamgen.deliver.atomic import reason
from streamgen.deliver.link import described
from streamgen.errors import OutputError
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack
from streamgen.report import Report

_HEAD = struct.Struct("<BBqqqI")
_READ_BYTES = 1 << 20


class TrackMade(BaseModel):
    """One rung of a piece."""

    model_config = ConfigDict(frozen=True)

    track: dict[str, Any]
    """As `deliver.link.described`."""
    frames: int
    keyframes: int
    size_bytes: int
    delay: int
    """Packets that are decoded before the first picture is shown."""


class Made(BaseModel):
    """One piece that is whole."""

    model_config = ConfigDict(frozen=True)

    number: int
    identity: str = ""
    """Of the plan that it is a piece of: a folder may come to hold another one."""
    file: str
    size_bytes: int
    sha256: str
    tracks: tuple[TrackMade, ...]
    report: Report


class PacketFile:
    """`protocols.Outlet` of a piece. After `finish` the packets are on disk; `publish` says so."""

    def __init__(self, folder: Path, number: int, identity: str) -> None:
        self.dropped_tracks: list[str] = []
        self._folder = folder
        self._number = number
        self._identity = identity
        self._path = folder / f"chunk-{number:05d}.{secrets.token_hex(4)}.packets"
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        self._tracks: list[EncodedTrack] = []
        self._packets: list[list[tuple[int, int, bool, int]]] = []
        self._numbers: dict[str, int] = {}

    def takes(self, codec: str) -> bool:
        """Sound and subtitles are not cut."""
        return False

    def open(self, tracks: Sequence[EncodedTrack]) -> None:
        self._tracks = list(tracks)
        self._packets = [[] for _ in tracks]
        self._numbers = {track.name: number for number, track in enumerate(tracks)}
        try:
            self._file = self._path.open("wb")
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {reason(error)}") from error

    def write(self, packet: Packet) -> None:
        assert self._file is not None
        number, data = self._numbers[packet.track], memoryview(packet.data)
        pts, dts = packet.pts or 0, packet.dts or 0
        self._packets[number].append((pts, dts, packet.keyframe, data.nbytes))
        head = _HEAD.pack(number, packet.keyframe, pts, dts, packet.duration, data.nbytes)
        try:
            for part in (head, data):
                self._digest.update(part)
                self._size_bytes += len(part)
                self._file.write(part)
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {reason(error)}") from error

    def drop(self, track: str) -> None:
        raise OutputError(f"piece {self._number}: its rung {track} broke off")

    def finish(self) -> None:
        assert self._file is not None
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"cannot finish {self._path}: {reason(error)}") from error
        self._file.close()
        self._file = None

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)

    def publish(self, report: Report) -> Made:
        """Say that this piece is whole. Raises `OutputError`."""
        made = Made(
            number=self._number,
            identity=self._identity,
            file=self._path.name,
            size_bytes=self._size_bytes,
            sha256=self._digest.hexdigest(),
            tracks=tuple(map(_track_made, self._tracks, self._packets)),
            report=report,
        )
        write_json(self._folder / name_of(self._number), made.model_dump_json())
        return made


def _track_made(track: EncodedTrack, packets: Sequence[tuple[int, int, bool, int]]) -> TrackMade:
    first = min((pts for pts, _, _, _ in packets), default=0)
    return TrackMade(
        track=described(track),
        frames=len(packets),
        keyframes=sum(key for _, _, key, _ in packets),
        size_bytes=sum(size for _, _, _, size in packets),
        delay=sum(dts < first for _, dts, _, _ in packets),
    )


def name_of(number: int | str) -> str:
    """Name of the JSON of a piece; `*` gives the pattern of all."""
    return f"chunk-{number:>05}.json" if isinstance(number, int) else f"chunk-{number}.json"


def write_json(path: Path, text: str) -> None:
    """Put a small file in its place in one step, on disk. Raises `OutputError`."""
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def made_already(folder: Path, number: int, identity: str, *, check: bool = False) -> Made | None:
    """What was made of a piece of this plan, if it is there and whole; `check` reads all of it
    again."""
    try:
        made = Made.model_validate_json((folder / name_of(number)).read_bytes())
        if (made.number, made.identity) != (number, identity):
            return None
        if (folder / made.file).stat().st_size != made.size_bytes:
            return None
        if check and _digest(folder / made.file) != made.sha256:
            return None
    except (OSError, ValidationError, json.JSONDecodeError):
        return None
    return made


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def packets_of(folder: Path, made: Made, tracks: Sequence[EncodedTrack]) -> Iterator[Packet]:
    """The packets of a piece as they were written, checked to the last byte.

    Raises `OutputError` at the end when they are not what was written.
    """
    path, digest = folder / made.file, hashlib.sha256()
    try:
        with path.open("rb") as file:
            while head := file.read(_HEAD.size):
                number, keyframe, pts, dts, duration, size = _HEAD.unpack(head)
                data = file.read(size)
                digest.update(head)
                digest.update(data)
                track = tracks[number]
                base = track.time_base
                yield Packet(data, pts, dts, duration, base, bool(keyframe), track.name)
    except (OSError, struct.error, IndexError) as error:
        raise OutputError(f"cannot read {path}: {reason(error)}") from error
    if digest.hexdigest() != made.sha256:
        raise OutputError(f"{path} is damaged")
