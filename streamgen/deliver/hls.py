"""`HlsOutlet`: an HLS VOD ladder on disk, CMAF fragmented MP4, one folder per rendition.

    out/index.m3u8                      multivariant playlist
    out/720p/index.m3u8, init.mp4, seg_00001.m4s, ...
    out/audio/0/index.m3u8, init.mp4, seg_00001.m4s, ...
    out/streamgen.json                  manifest

libavformat's segmenter cuts each rendition at the first key frame at or after every multiple of
the segment length. Key frames have identical times on all rungs, so the cuts have too. Times in
the segments are those of the packets; a reordering delay (B-frames) and audio priming stand in the
edit list of the rendition's `init.mp4`, so every rendition is presented from the same zero.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

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
from streamgen.deliver.muxer import Muxer, check_whole
from streamgen.deliver.playlist import Rendition, multivariant, read_segments
from streamgen.errors import OutputError
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack

_SOUNDS = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
"""Audio codecs that HLS knows in fragmented MP4."""


@dataclass(slots=True)
class _Folder:
    """One rendition while it is written. Its muxer opens with the first packet."""

    track: EncodedTrack
    place: str
    """Folder below the ladder's, with `/`."""
    codecs: str
    muxer: Muxer | None = None


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
        manifest: Manifest | None = None,
        duration_s: float | None = None,
        inputs: Sequence[Path] = (),
    ) -> None:
        """Check what can be checked before any work is done; writes nothing.

        `duration_s` is the expected length, for the check of free space; `inputs` are files that
        must not be overwritten. Raises `OutputError`.
        """
        refuse_input(folder, inputs)
        check_free_name(folder, folder=True, overwrite=overwrite)
        self.path = folder
        self.segment_ns = segment_ns
        self.dropped_tracks: list[str] = []
        """Tracks left out, each with its reason; complete after `finish`."""
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
            folder.muxer = self._begin(folder, packet, self._partial)
        folder.muxer.write(packet)

    def drop(self, track: str) -> None:
        """Nothing more comes of this track: the ladder goes on without it."""
        folder = self._folders.pop(track, None)
        if folder is None or self._partial is None:
            return
        self.dropped_tracks.append(f"{track}: broke off")
        if folder.muxer is not None:
            _clear(self._partial.path / folder.place)
            folder.muxer.abandon()

    def finish(self) -> None:
        if self._partial is None:
            raise OutputError(f"{self.path}: nothing was opened")
        rungs: list[Rendition] = []
        sounds: list[Rendition] = []
        try:
            for folder in self._folders.values():
                if folder.muxer is None:
                    self.dropped_tracks.append(f"{folder.track.name}: empty")
                    continue
                kind = rungs if folder.track.kind == "video" else sounds
                kind.append(self._end(folder, folder.muxer, self._partial.path))
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
            if folder.muxer is not None:
                folder.muxer.abandon()
        self._folders.clear()
        self._partial = None

    def _begin(self, folder: _Folder, first: Packet, partial: Partial) -> Muxer:
        place = partial.path / folder.place
        try:
            place.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {reason(error)}") from error
        harmless = partial.without_percent / folder.place
        options = {
            "hls_segment_type": "fmp4",
            "hls_playlist_type": "vod",
            "hls_time": f"{self.segment_ns / 1e9:.6f}",
            "hls_list_size": "0",
            "hls_flags": "independent_segments",
            "hls_fmp4_init_filename": "init.mp4",
            "hls_segment_filename": f"file:{harmless}/seg_%05d.m4s",
            "start_number": "1",
            "avoid_negative_ts": "disabled",
        }
        if (first.pts or 0) > 0:
            # A late start stands in the fragments' times: players of segments ignore empty edits.
            options["hls_segment_options"] = "movflags=+frag_discont"
        muxer = Muxer(harmless / "index.m3u8", "hls", options=options, name=str(self.path))
        if not muxer.add(folder.track):
            muxer.abandon()
            raise OutputError(f"{self.path}: HLS does not take {folder.track.codec}")
        return muxer

    def _end(self, folder: _Folder, muxer: Muxer, root: Path) -> Rendition:
        """Close a rendition and measure it."""
        muxer.close()
        place, track = root / folder.place, folder.track
        files = [Path(entry.path) for entry in os.scandir(place)]
        check_whole(files, muxer.payload_bytes, str(self.path))
        segments = read_segments(place / "index.m3u8")
        lasted_s = sum(segment.duration_s for segment in segments)
        rate = track.rate or (Fraction(muxer.packets / lasted_s) if lasted_s else None)
        return Rendition(
            uri=f"{folder.place}/index.m3u8",
            codecs=folder.codecs,
            segments=segments,
            target_s=self.segment_ns / 1e9,
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


def _clear(folder: Path) -> None:
    for entry in os.scandir(folder):
        os.unlink(entry.path)
    folder.rmdir()
