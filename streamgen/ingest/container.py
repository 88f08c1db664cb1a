"""Sources that libavformat demuxes: files, pipes, HTTP(S), and pulled HLS, RTMP and RTSP."""

from __future__ import annotations

import glob
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import ExitError, FFmpegError, HTTPClientError, HTTPError, InvalidDataError
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from streamgen.errors import SourceError
from streamgen.ingest.address import Address, find, is_pipeline, is_url, local_path, printable
from streamgen.ingest.gstreamer import GstPipe, PipelineEnded
from streamgen.ingest.pipe import Pipe
from streamgen.ingest.tracks import audio_track, best_video, data_tracks, first_shown, video_track
from streamgen.media.interrupts import unbroken
from streamgen.media.orientation import orientation_of
from streamgen.media.packet import Packet
from streamgen.media.tracks import SourceInfo

MEDIA = (
    *(".3gp", ".avi", ".flv", ".gif", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv", ".y4m"),
)
"""Extensions that a directory is searched for."""
MOST_DAMAGES = 32
"""Unreadable places in a row after which the rest of an input is given up."""
PROBED_PACKETS = 64
"""Packets looked at for the first picture of a file, which has the rotation."""
GENERATE_PTS = 0x0001
"""AVFMT_FLAG_GENPTS, which PyAV sets."""
SHOW_FRAME = 0x10
"""Bit of a VP8 frame's first byte; without it the frame only serves as reference (RFC 6386 9.1)."""


def expand_inputs(texts: Sequence[str]) -> list[str]:
    """Inputs by name: a directory becomes its media files, a pattern its matches, both sorted.

    Files, URLs and `-` (standard input) stay as they are. A name that exists is never taken for a
    pattern. Raises `SourceError` when a name stands for nothing.
    """
    found: list[str] = []
    for text in texts:
        path = local_path(text)
        if text == "-" or is_url(text):
            found.append(text)
        elif path.is_dir():
            names = sorted(str(p) for p in path.iterdir() if p.suffix.lower() in MEDIA)
            if not names:
                raise SourceError(f"{printable(text)}: has no media files")
            found += names
        elif path.exists() or not glob.has_magic(text):
            found.append(text)
        else:
            names = sorted(name for name in glob.glob(text, recursive=True) if Path(name).is_file())
            if not names:
                raise SourceError(f"nothing matches '{printable(text)}'")
            found += names
    missing = next((t for t in found if t != "-" and not is_url(t) and not _exists(t)), None)
    if missing is not None:
        raise SourceError(f"{printable(missing)}: no such file")
    return found


def _exists(text: str) -> bool:
    try:
        return local_path(text).exists()
    except (OSError, ValueError):
        return False


def open_source(text: str, *, timeout_s: float = 10.0, pipelines: bool = False) -> ContainerSource:
    """Open a file, `-` (standard input), a FIFO, or an http, https, rtmp, rtmps, rtsp URL.

    With `pipelines` also `gst:` and the description of a GStreamer pipeline. It may read and write
    whatever this user may, so it must come from the user of this machine, never from the network.


    A local file opens itself and nothing else; a playlist on disk is refused. A playlist or
    redirect on the network may lead to other addresses on the network, never to a file here.
    `timeout_s` bounds opening, and each wait for data of a pipe or URL. Raises `SourceError` in
    one line for the user: missing, unreadable, empty, cut short, no video, refused.
    """
    address = find(text)
    if is_pipeline(text) and not pipelines:
        raise SourceError(f"{address.name}: pipelines of GStreamer are refused here")
    with ExitStack() as undo:
        pipe: Pipe | GstPipe | None = None
        if is_pipeline(text):
            pipe = undo.enter_context(closing(GstPipe(text, timeout_s=timeout_s)))
        elif address.pipe:
            pipe = undo.enter_context(closing(Pipe(address.text, timeout_s=timeout_s)))
        container = undo.enter_context(_opened(address, timeout_s, pipe))
        source = ContainerSource(address, container, pipe, timeout_s=timeout_s)
        undo.pop_all()
    return source


class ContainerSource:
    """Packets of one container (`Source` protocol).

    All audio and subtitle tracks are demuxed beside the best video track; other data is listed in
    `info` and not read. One thread iterates `packets`; `close` comes after it.
    """

    def __init__(
        self,
        address: Address,
        container: InputContainer,
        pipe: Pipe | GstPipe | None,
        *,
        timeout_s: float,
    ) -> None:
        self._address = address
        self._container = container
        self._pipe = pipe
        self._timeout_s = timeout_s
        self.notes: list[str] = []
        self._cancelled = threading.Event()
        try:
            video = best_video(container, address.name)
        except SourceError as error:
            raise SourceError(f"{error}{self._in_a_pipe(container)}") from error
        self.info = self._described(video, _rotation(address, container, video.index, timeout_s))

    def _described(self, video: VideoStream, rotation: int) -> SourceInfo:
        container = self._container
        sounds = [s for s in container.streams.audio if s.codec_context is not None]
        audio = tuple(audio_track(s, n, container) for n, s in enumerate(sounds))
        data = tuple(data_tracks(container, video))
        names: dict[int, str] = {video.index: "video/0"}
        names |= {track.stream.index: track.name for track in audio}
        names |= {track.stream.index: track.name for track in data if track.kind == "subtitle"}
        self._names = names
        self._streams: list[Stream] = [s for s in container.streams if s.index in names]
        for stream in container.streams:
            if stream.index not in names:
                stream.discard = Discard.all
        length = container.duration
        return SourceInfo(
            name=self._address.name,
            container=container.format.name,
            video=video_track(video, container, rotation),
            audio=audio,
            data=data,
            metadata=dict(container.metadata),
            chapters=tuple(dict(chapter) for chapter in container.chapters()),
            duration_s=None if length is None else length / 1e6,
            live=self._address.live or (length is None and is_url(self._address.text)),
            start=first_shown([video, *sounds]),
        )

    def packets(self) -> Iterator[Packet]:
        """Demux until the input ends or `cancel` is called.

        Unreadable places are skipped. Raises `SourceError` when the input breaks off, when nothing
        comes for `timeout_s`, and at the end when there was no picture at all. A live stream that
        has shown pictures just ends then, with a note: there is no more of it to come.
        """
        damages = pictures = 0
        while damages <= MOST_DAMAGES:
            try:
                for packet in self._demux():
                    damages = 0
                    pictures += packet.track == "video/0"
                    yield packet
                break
            except (InvalidDataError, av.error.MemoryError):
                damages += 1  # the second: a damaged length asked for far too much
            except IndexError:
                break  # PyAV at the end of an input in which more streams turned up on the way
            except (FFmpegError, OSError) as error:
                if self._cancelled.is_set():
                    return
                why = _ended(error, self._timeout_s)
                if self._address.live and pictures:
                    self.notes.append(f"the stream has ended: {why}")
                    break
                raise SourceError(f"{self._address.name}: {why}") from error
        if isinstance(self._pipe, GstPipe):
            self.notes += self._pipe.notes
        if not pictures and not self._cancelled.is_set():
            why = self._in_a_pipe(self._container)
            raise SourceError(f"{self._address.name}: has no pictures{why}")

    def _in_a_pipe(self, container: InputContainer) -> str:
        """What a user may not know of an MP4 that cannot be gone back in."""
        if self._pipe is None or "mp4" not in container.format.name:
            return ""
        return "; in a pipe, an MP4 needs its index at the start: give the file itself"

    def _demux(self) -> Iterator[Packet]:
        names, cancelled = self._names, self._cancelled.is_set
        bases = {s.index: Fraction(s.time_base or 1) for s in self._streams}
        vp8 = self.info.video.codec == "vp8"
        units = self._container.demux(self._streams)
        while True:
            with _unbroken(self._pipe):
                unit = next(units, None)
            if unit is None or cancelled():
                return
            if not unit.size:
                continue  # libavformat's end marks
            track = names[unit.stream_index]
            yield Packet(
                unit,
                unit.pts,
                unit.dts,
                unit.duration or 0,
                bases[unit.stream_index],
                unit.is_keyframe,
                track,
                0,
                unit.is_discard or (vp8 and track == "video/0" and _hidden(unit)),
            )

    def seek(self, pts: int) -> bool:
        """Let the next `packets` begin at a key frame of the picture at or before this time of its
        own track. False, and nothing is changed, where the container has no index to trust."""
        if not self._address.local or not self.info.container.startswith(("mov", "matroska")):
            return False
        video = next(s for s in self._streams if self._names[s.index] == self.info.video.name)
        try:
            self._container.seek(pts, stream=video)
        except FFmpegError:
            return False
        return True

    def cancel(self) -> None:
        """End `packets` soon, from another thread: a silent network within the timeout."""
        self._cancelled.set()
        if self._pipe is not None:
            self._pipe.cancel()

    def close(self) -> None:
        """Close the input. Not while another thread is in `packets`."""
        self._cancelled.set()
        self._container.close()
        if self._pipe is not None:
            self._pipe.close()


def _opened(
    address: Address, timeout_s: float, pipe: Pipe | GstPipe | None = None
) -> InputContainer:
    options = {"protocol_whitelist": address.protocols, "format_whitelist": address.formats}
    if address.text.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    if "tls" in address.protocols:
        options |= _trust()
    try:
        file: Any = pipe or address.text
        with _unbroken(pipe):
            container: InputContainer = av.open(
                file,
                "r",
                options=options,
                metadata_errors="replace",
                buffer_size=1 << 18,
                # A regular file is never late, and the check would take the interpreter's lock.
                timeout=None if address.local or pipe else timeout_s,
            )
    except (FFmpegError, OSError, ValueError) as error:
        raise SourceError(f"{address.name}: {_refused(error, address, timeout_s)}") from error
    # Filling in times would read ahead without bound; the timeline does it.
    container.flags &= ~GENERATE_PTS
    return container


def _trust() -> dict[str, str]:
    """Options by which libavformat believes whom this machine, or `SSL_CERT_FILE`, believes.

    Without them FFmpeg 8 checks no certificate, and the wheel's GnuTLS knows of one place only.
    """
    file = ssl.get_default_verify_paths().cafile
    return {"tls_verify": "1"} | ({"ca_file": file} if file else {})


def _unbroken(pipe: Pipe | GstPipe | None) -> AbstractContextManager[None]:
    """Around what may read from the pipe: libavformat calls back for that."""
    return nullcontext() if pipe is None else unbroken(pipe.cancel)


def _rotation(address: Address, container: InputContainer, index: int, timeout_s: float) -> int:
    """Degrees counter-clockwise, from the first picture of a file, which is opened again for it."""
    rotates = container.format.name.startswith(("mov", "matroska")) and container.duration
    if not address.local and (address.pipe or not rotates):
        return 0
    with _opened(address, timeout_s) as again:
        stream = again.streams[index]
        assert isinstance(stream, VideoStream)
        stream.codec_context.thread_count = 1
        number = 0
        try:
            for number, unit in enumerate(again.demux(stream)):
                for picture in unit.decode():
                    return orientation_of(picture).rotation
                if number == PROBED_PACKETS:
                    return 0
        except FFmpegError:
            return 0
    if number == 0:
        raise SourceError(f"{address.name}: has no pictures")
    return 0


def _hidden(unit: av.Packet[Any]) -> bool:
    return not memoryview(unit)[0] & SHOW_FRAME


def _refused(error: Exception, address: Address, timeout_s: float) -> str:
    """Why it did not open, in words for the user."""
    if isinstance(error, PipelineEnded):
        return str(error)
    if isinstance(error, ExitError | TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, HTTPClientError | HTTPError):
        return f"the server refused it ({_words(error)})"
    if isinstance(error, ConnectionError):
        return f"cannot be reached ({_words(error)})"
    if address.head[4:8] == b"ftyp":
        return "is a broken MP4: its index is missing or damaged; perhaps it was cut short"
    if isinstance(
        error, InvalidDataError | av.error.EOFError | av.error.ArgumentError | ValueError
    ):
        if is_pipeline(address.text):
            return "gives no video of a known kind"
        if is_url(address.text):
            return "does not answer with a video of a known kind"
        return "is not a video of a known kind, or is damaged"
    if "tls" in address.protocols and isinstance(error, OSError):
        return "cannot be reached, broke off at once, or its certificate does not hold"
    if is_url(address.text):
        return "cannot be reached, or broke off at once"
    return f"cannot be opened ({_words(error)})"


def _ended(error: Exception, timeout_s: float) -> str:
    if isinstance(error, PipelineEnded):
        return str(error)
    if isinstance(error, ExitError | TimeoutError):
        return f"nothing came for {timeout_s:g} s"
    return f"broke off ({_words(error)})"


def _words(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error).lower()
    return text.removeprefix("server returned ")
