"""`HlsOutlet`: an HLS VOD ladder on disk, CMAF fragmented MP4, one folder per rendition.

    out/index.m3u8                      multivariant playlist
    out/720p/index.m3u8, init.mp4, seg_00001.m4s, ...
    out/audio/0/index.m3u8, init.mp4, seg_00001.m4s, ...
    out/streamgen.json                  manifest

Times in the segments are those of the packets; a reordering delay (B-frames) and audio priming
stand in the edit list of the rendition's `init.mp4`, so every rendition is presented from the
same zero.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from streamgen.deliver.atomic import (
    Partial,
    check_free_name,
    check_space,
    estimate_bytes,
    reason,
    refuse_input,
)
from streamgen.deliver.codecs import codec_string
from streamgen.deliver.manifest import Manifest, write_into_folder
from streamgen.deliver.muxer import Muxer
from streamgen.deliver.playlist import Rates, Rendition, media, multivariant
from streamgen.deliver.segments import Segments
from streamgen.errors import OutputError
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack

_SOUNDS = frozenset({"aac", "opus", "flac"})
"""Audio codecs that browsers play from fragmented MP4; others are better encoded again."""

_FRAGMENTS = "+frag_keyframe+delay_moov+default_base_moof+skip_trailer"
"""`delay_moov`: the edit list is known before the header is written."""
_LATE = "+frag_discont"
"""A late start stands in the fragments' times: players of segments ignore empty edits."""
_SOUND_FRAGMENT_S = Fraction(1, 2)
"""Sound can be cut anywhere; every half second keeps its segments close to the picture's."""


@dataclass(slots=True)
class _Folder:
    """One rendition while it is written. Its muxer opens with the first packet."""

    track: EncodedTrack
    place: str
    """Folder below the ladder's, with `/`."""
    codecs: str
    muxer: Muxer | None = None
    segments: Segments | None = None

    def abandon(self) -> None:
        if self.segments is not None and self.muxer is not None:
            self.segments.stop()
            self.muxer.abandon()


class HlsOutlet:
    """Carries every video track as a rung, top first, and every audio track in one group.
    An `Outlet`. Subtitles and attachments are left out and named in `dropped_tracks`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        overwrite: bool = False,
        segment_ns: int = 6_000_000_000,
        metadata: Mapping[str, str] | None = None,
        chapters: Sequence[dict[str, Any]] = (),
        manifest: Manifest | None = None,
        duration_s: float | None = None,
        inputs: Sequence[Path] = (),
    ) -> None:
        """Check what can be checked before any work is done; writes nothing.

        `metadata` and `chapters` have no place in a ladder and are only reported. `duration_s` is
        the expected length, for the check of free space; `inputs` are files that must not be
        overwritten. Raises `OutputError`.
        """
        refuse_input(folder, inputs)
        check_free_name(folder, folder=True, overwrite=overwrite)
        self.path = folder
        self.segment_ns = segment_ns
        self.dropped_tracks: list[str] = []
        """What is left out, each with its reason; complete after `finish`."""
        if chapters:
            self.dropped_tracks.append("chapters: not carried in ladders")
        if "title" in {key.lower() for key in metadata or {}}:
            self.dropped_tracks.append("title and other tags: not carried in ladders")
        self._overwrite = overwrite
        self._manifest = manifest
        self._duration_s = duration_s
        self._folders: dict[str, _Folder] = {}
        self._partial: Partial | None = None

    def takes(self, codec: str) -> bool:
        """True when packets of this audio or subtitle codec can be carried as they are."""
        return codec in _SOUNDS

    def open(self, tracks: Sequence[EncodedTrack]) -> None:
        for track in tracks:
            if track.kind in {"video", "audio"}:
                self._folders[track.name] = _Folder(track, _place(track), codec_string(track))
            else:
                self.dropped_tracks.append(f"{track.name} ({track.codec}): not carried in ladders")
        bitrates_bps = [folder.track.bitrate_bps for folder in self._folders.values()]
        check_space(self.path, estimate_bytes(self._duration_s, bitrates_bps))
        self._partial = Partial(self.path, folder=True, overwrite=self._overwrite)

    def write(self, packet: Packet) -> None:
        folder = self._folders.get(packet.track)
        if folder is None or self._partial is None:
            return
        if folder.muxer is None:
            folder.muxer = self._begin(folder, packet, self._partial.path)
        folder.muxer.write(packet)

    def drop(self, track: str) -> None:
        """Nothing more comes of this track: the ladder goes on without it."""
        folder = self._folders.pop(track, None)
        if folder is None or self._partial is None:
            return
        self.dropped_tracks.append(f"{track}: broke off")
        folder.abandon()
        shutil.rmtree(self._partial.path / folder.place, ignore_errors=True)

    def finish(self) -> None:
        if self._partial is None:
            raise OutputError(f"{self.path}: nothing was opened")
        rungs: list[Rendition] = []
        sounds: list[Rendition] = []
        try:
            for folder in self._folders.values():
                if folder.muxer is None or folder.segments is None:
                    self.dropped_tracks.append(f"{folder.track.name}: empty")
                    continue
                kind = rungs if folder.track.kind == "video" else sounds
                kind.append(self._end(folder, folder.muxer, folder.segments))
            if not rungs:
                raise OutputError(f"cannot finish {self.path}: there is no picture")
            playlist = self._partial.path / "index.m3u8"
            playlist.write_text(multivariant(rungs, sounds), encoding="utf-8")
            write_into_folder(self._partial.path, self._manifest)
        except OSError as error:
            raise OutputError(f"cannot finish {self.path}: {reason(error)}") from error
        self._partial.commit()
        self._folders.clear()
        self._partial = None

    def abort(self) -> None:
        if self._partial is not None:
            self._partial.discard()
        for folder in self._folders.values():
            folder.abandon()
        self._folders.clear()
        self._partial = None

    def _begin(self, folder: _Folder, first: Packet, root: Path) -> Muxer:
        place = root / folder.place
        try:
            place.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {reason(error)}") from error
        movflags = _FRAGMENTS + (_LATE if (first.pts or 0) > 0 else "")
        options = {"movflags": movflags, "avoid_negative_ts": "disabled"}
        if folder.track.kind == "audio":
            options["frag_duration"] = str(int(_SOUND_FRAGMENT_S * 1_000_000))
        every = Fraction(self.segment_ns, 1_000_000_000)
        folder.segments = Segments(place, every=every)
        muxer = Muxer(folder.segments, "mp4", options=options, name=str(self.path))
        if not muxer.add(folder.track):
            raise OutputError(f"{self.path}: HLS does not take {folder.track.codec}")
        return muxer

    def _end(self, folder: _Folder, muxer: Muxer, segments: Segments) -> Rendition:
        """Close a rendition, write its playlist and measure it."""
        muxer.close()
        segments.close()
        track, table = folder.track, segments.table(muxer.end)
        (segments.folder / "index.m3u8").write_text(media(table), encoding="utf-8")
        rate = track.rate or (muxer.packets / muxer.end if muxer.end else None)
        return Rendition(
            uri=f"{folder.place}/index.m3u8",
            codecs=folder.codecs,
            rates=Rates.of(table, self.segment_ns / 1e9),
            size=_display_size(track),
            rate=rate if track.kind == "video" else None,
            language=track.language,
            title=track.title,
            default=track.default,
            channels=track.channels,
        )


def _place(track: EncodedTrack) -> str:
    """`720p` for `video/720p`, `audio/0` for itself."""
    return track.name.removeprefix("video/")


def _display_size(track: EncodedTrack) -> tuple[int, int]:
    """Width and height on the screen: after pixel aspect and rotation."""
    width, height = round(track.width * track.sar), track.height
    return (height, width) if track.rotation in {90, 270} else (width, height)
