"""`Muxer`: one libavformat container being written, fed with our packets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import av

from streamgen.deliver.atomic import reason
from streamgen.errors import OutputError
from streamgen.media.interrupts import unbroken
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack

_KEPT_SIDE_DATA = frozenset(
    {"skip_samples", "webvtt_identifier", "webvtt_settings", "matroska_block_additional"}
)
"""What a muxer needs beside the bytes. Encoders also attach statistics, which no file holds."""
_APPLE_TAGS = {"hevc": "hvc1"}
"""Sample entries that players ask for where libavformat would write another one."""
_PLAYED = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
_PLAYED_SOUND = {"mp4": _PLAYED, "mov": _PLAYED | {"pcm"}}
"""Sound that players play from these containers, PCM of any kind as `pcm`. libavformat writes
more, such as Vorbis and PCM into MP4, which are silent in browsers and on phones."""
_DEFAULT = 1
_ATTACHMENT = "attachment"


class Sink(Protocol):
    """What libavformat may write to instead of a file."""

    def write(self, data: bytes) -> int: ...


class Muxer:
    """Owned by one thread. The header is written with the first packet."""

    def __init__(
        self, target: Path | Sink, container: str, *, options: Mapping[str, str], name: str
    ) -> None:
        """Open `target` as libavformat's `container`; errors name it `name`.

        Raises `OutputError`.
        """
        self.name = name
        self.packets = 0
        self.end = Fraction(0)
        """End of the last packet in presentation order, in seconds."""
        self.mp4 = container in {"mp4", "mov"}
        self._calls_back = not isinstance(target, Path)
        self._streams: dict[str, Any] = {}
        self._spans: dict[str, int] = {}
        try:
            # The explicit protocol and the absolute path keep colons and dashes in names harmless.
            file = f"file:{target.absolute()}" if isinstance(target, Path) else target
            self._container = av.open(file, "w", format=container, container_options=dict(options))
        except (av.error.FFmpegError, OSError) as error:
            raise OutputError(f"cannot write {self.name}: {reason(error)}") from error

    def describe(self, metadata: Mapping[str, str], chapters: Sequence[dict[str, Any]]) -> None:
        """Set title, chapters and so on; before the first packet."""
        self._container.metadata.update(metadata)
        if chapters:
            self._container.set_chapters([dict(chapter) for chapter in chapters])  # type: ignore[misc]

    def add(self, track: EncodedTrack) -> bool:
        """Add a track; False where this container does not take its codec."""
        try:
            stream: Any = self._container.add_stream_from_template(track.template)
        except ValueError:
            return False
        if track.kind != _ATTACHMENT:
            stream.time_base = track.time_base
            self._streams[track.name] = stream
        if track.language is not None:
            stream.metadata["language"] = track.language
        if track.title is not None:
            stream.metadata["title"] = track.title
        if track.kind == "video":
            if track.rotation:
                stream.set_display_rotation(track.rotation)
            if self.mp4 and track.template.codec_context.codec.canonical_name in _APPLE_TAGS:
                stream.codec_context.codec_tag = "hvc1"
            if track.rate:
                stream.codec_context.framerate = track.rate
                self._spans[track.name] = round(1 / (track.rate * track.time_base))
        if track.kind != _ATTACHMENT:
            stream.disposition = _DEFAULT if track.default else 0
        return True

    def write(self, packet: Packet) -> None:
        """Mux one packet of a track that was added. Raises `OutputError`."""
        stream = self._streams[packet.track]
        shell = _shell(packet, packet.duration or self._spans.get(packet.track, 0))
        shell.stream = stream
        self.packets += 1
        self.end = max(self.end, ((packet.pts or 0) + shell.duration) * packet.time_base)
        try:
            with self._unbroken():
                self._container.mux_one(shell)
        except (av.error.FFmpegError, OSError) as error:
            raise OutputError(f"cannot write {self.name}: {reason(error)}") from error

    def close(self) -> None:
        """Write what is left and the trailer. Raises `OutputError`."""
        try:
            with self._unbroken():
                self._container.start_encoding()
                self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise OutputError(f"cannot finish {self.name}: {reason(error)}") from error

    def abandon(self) -> None:
        """Let go of the file, whatever state it is in. The caller has removed it already."""
        # What fails is the trailer of what nobody will read.
        with suppress(av.error.FFmpegError, OSError), self._unbroken():
            self._container.close()

    def _unbroken(self) -> AbstractContextManager[None]:
        """Around what libavformat writes; it calls a `Sink` for that."""
        return unbroken() if self._calls_back else nullcontext()


def _shell(packet: Packet, duration: int) -> Any:
    """An `av.Packet` of our own over the same bytes: muxers rewrite its times in place."""
    shell: Any = av.Packet(packet.data)
    shell.pts, shell.dts = packet.pts, packet.dts
    shell.time_base = packet.time_base
    shell.duration = duration
    shell.is_keyframe = packet.keyframe
    if isinstance(packet.data, av.Packet):
        for extra in packet.data.iter_sidedata():
            if extra.data_type in _KEPT_SIDE_DATA:
                extra.to_packet(shell)
    return shell


@cache
def taken_codecs(container: str) -> frozenset[str]:
    """Names of all codecs that libavformat's `container` takes, encoder and generic ones.

    Of sound only what players also play from it: the rest is better encoded again.
    """
    with av.open(os.devnull, "w", format=container) as probe:
        names = probe.supported_codecs
    taken = set()
    for name in names:
        codecs = tuple(_codecs(name))
        if all(_played(container, codec) for codec in codecs):
            taken |= {name, *(codec.canonical_name for codec in codecs)}
    return frozenset(taken)


def _codecs(name: str) -> Iterator[av.Codec]:
    """The codec as it is read and as it is written, as far as this libavcodec has either."""
    for mode in ("r", "w"):
        try:
            yield av.Codec(name, mode)
        except av.codec.codec.UnknownCodecError:
            continue


def _played(container: str, codec: av.Codec) -> bool:
    if codec.type != "audio" or container not in _PLAYED_SOUND:
        return True
    return codec.canonical_name.partition("_")[0] in _PLAYED_SOUND[container]
