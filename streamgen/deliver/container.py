"""`FileOutlet`: one file with picture, sound, subtitles and chapters (MP4, fragmented MP4, MKV)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streamgen.deliver.atomic import (
    Partial,
    check_free_name,
    check_space,
    estimate_bytes,
    refuse_input,
)
from streamgen.deliver.manifest import TAG, Manifest, append_to_mp4
from streamgen.deliver.muxer import Muxer, taken_codecs
from streamgen.deliver.programme import Programme
from streamgen.errors import ConfigError, OutputError
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""libavformat's name of the container for each suffix we write."""
_FASTSTART = "+faststart"
# `delay_moov`: the edit lists of B-frames and audio priming are known before the header is written.
_FRAGMENTED = "+frag_keyframe+delay_moov+default_base_moof"
_OLD_FILE = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id", "handler_name"}
    | {"duration", TAG.lower()}
)
"""Tags that describe the file they stand in, not what it shows."""
_MP4_TAGS = frozenset(
    {"title", "artist", "album_artist", "composer", "album", "date", "comment", "genre"}
    | {"copyright", "grouping", "lyrics", "description", "synopsis", "show", "episode_id"}
    | {"network", "keywords", "episode_sort", "season_number", "media_type", "hd_video"}
    | {"gapless_playback", "compilation", "track", "disc", "tmpo", "creation_time"}
)
"""Tags that libavformat writes into MP4 where common players look for them."""


class FileOutlet:
    """Carries the top rung (the first video track), all audio, and the subtitles and attachments
    that the container takes. An `Outlet`.

    Times are written as they come: variable frame rates stay exact in MP4 and are rounded to
    milliseconds in MKV; negative times (audio priming) become edit lists in MP4.
    """

    def __init__(
        self,
        path: Path,
        *,
        overwrite: bool = False,
        fragmented: bool = False,
        metadata: Mapping[str, str] | None = None,
        chapters: Sequence[dict[str, Any]] = (),
        manifest: Manifest | None = None,
        duration_s: float | None = None,
        inputs: Sequence[Path] = (),
    ) -> None:
        """Check what can be checked before any work is done; writes nothing.

        `duration_s` is the expected length, for the check of free space; `inputs` are files that
        must not be overwritten. Raises `ConfigError` for a container we do not write and
        `OutputError` for a name that may not be used.
        """
        self.container = container_of(path)
        if fragmented and self.container == "matroska":
            raise ConfigError(f"{path}: only MP4 can be fragmented")
        refuse_input(path, inputs)
        check_free_name(path, folder=False, overwrite=overwrite)
        self.path = path
        self.dropped_tracks: list[str] = []
        """Tracks and tags left out, each with its reason; complete after `open`."""
        self._overwrite = overwrite
        self._fragmented = fragmented
        self._metadata = dict(metadata or {})
        self._chapters = chapters
        self._manifest = manifest
        self._duration_s = duration_s
        self._programme = Programme(str(path))
        self._partial: Partial | None = None

    def takes(self, codec: str) -> bool:
        """True when packets of this codec, or an attached file of this name, can be carried."""
        attached = "." in codec  # no name of a codec has a dot
        return codec in taken_codecs(self.container) or (attached and self.container == "matroska")

    def open(self, tracks: Sequence[EncodedTrack]) -> None:
        chosen = self._choose(tracks)
        need_bytes = estimate_bytes(self._duration_s, [track.bitrate_bps for track in chosen])
        check_space(self.path, need_bytes)
        self._partial = Partial(self.path, overwrite=self._overwrite)
        muxer = Muxer(
            self._partial.path, self.container, options=self._options(), name=str(self.path)
        )
        self._programme.open(muxer)
        muxer.describe(self._tags(), self._chapters)
        for track in chosen:
            if self._programme.add(track):
                continue
            if track.kind in {"video", "audio"}:
                raise OutputError(f"{self.path}: {self.container} does not take {track.codec}")
            self._leave_out(track)

    def write(self, packet: Packet) -> None:
        self._programme.write(packet)

    def drop(self, track: str) -> None:
        """Nothing more comes of this track. Without its picture the file cannot be finished."""
        self._programme.drop(track)

    def finish(self) -> None:
        self._programme.close()
        assert self._partial is not None  # opened before the programme
        if self._manifest is not None and self.container != "matroska":
            append_to_mp4(self._partial.path, self._manifest)
        self._partial.commit()
        self._partial = None

    def abort(self) -> None:
        if self._partial is not None:
            self._partial.discard()
        self._programme.abandon()
        self._partial = None

    def _choose(self, tracks: Sequence[EncodedTrack]) -> list[EncodedTrack]:
        chosen: list[EncodedTrack] = []
        for track in self._programme.offered(tracks):
            attached = track.kind == "attachment" and self.container == "matroska"
            if track.kind not in {"video", "audio", "subtitle"} and not attached:
                self._leave_out(track)
            else:
                chosen.append(track)
        return chosen

    def _leave_out(self, track: EncodedTrack) -> None:
        self.dropped_tracks.append(
            f"{track.name} ({track.codec}): {self.path.suffix[1:]} has no place for it"
        )

    def _options(self) -> dict[str, str]:
        if self.container == "matroska":
            # Otherwise one negative time, of audio priming, moves every picture.
            return {"avoid_negative_ts": "disabled"}
        return {"movflags": _FRAGMENTED if self._fragmented else _FASTSTART}

    def _tags(self) -> dict[str, str]:
        tags = {
            key: value
            for key, value in self._metadata.items()
            if key.lower() not in _OLD_FILE and not key.startswith("_STATISTICS")
        }
        if self.container == "matroska":
            if self._manifest is not None:
                tags[TAG] = self._manifest.model_dump_json()
            return tags
        self.dropped_tracks += [
            f"tag '{key}': {self.path.suffix[1:]} has no place for it"
            for key in sorted(tags)
            if key.lower() not in _MP4_TAGS
        ]
        return {key: value for key, value in tags.items() if key.lower() in _MP4_TAGS}


def container_of(path: Path) -> str:
    """libavformat's name of the container for a file name. Raises `ConfigError`."""
    container = CONTAINERS.get(path.suffix.lower())
    if container is None:
        raise ConfigError(
            f"{path}: unknown kind of file '{path.suffix}' (there are: {', '.join(CONTAINERS)}; "
            f"a name that ends in / gives an HLS ladder)"
        )
    return container
