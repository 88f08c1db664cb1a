"""`GstOutlet`: one stream into a GStreamer pipeline, which sends it where libavformat cannot."""

from __future__ import annotations

import os
import re
import select
from collections.abc import Sequence

from streamgen.deliver.muxer import Muxer
from streamgen.deliver.programme import Programme
from streamgen.errors import OutputError
from streamgen.gstreamer.process import PREFIX, PipelineProcess, name_of, unstarted
from streamgen.media.packet import Packet
from streamgen.media.tracks import EncodedTrack

_REFERENCE = re.compile(r"(?:^|\s)(video|audio)\.(?=\s|$)")
_PARSERS = {
    "h264": "h264parse",
    "hevc": "h265parse",
    "av1": "av1parse",
    "aac": "aacparse",
    "mp3": "mpegaudioparse",
    "opus": "opusparse",
}
"""By codec: what cuts it to the form that the next element asks for."""
_BROADCAST = frozenset({"h264", "hevc", "aac", "mp3", "ac3", "eac3"})
"""What receivers of MPEG-TS play; libavformat writes more."""
_MOST_BYTES = 64 << 20
_OPTIONS = {
    # Receivers set their clock by the PCR, and want to have a picture before it is due.
    "mpegts": {"max_delay": "100000", "flush_packets": "1"},
    "matroska": {"cluster_time_limit": "1", "flush_packets": "1", "live": "1"},
}


class GstOutlet:
    """Carries the top rung and the sound into a pipeline, at the speed they come. An `Outlet`.

    The pipeline's process takes MPEG-TS where the description does not say `video.` or `audio.`;
    else these stand for the encoded tracks. It is given `timeout_s` to take what is written, and
    to end after the stream's end.
    """

    def __init__(self, text: str, *, timeout_s: float = 10.0) -> None:
        """`text` is `gst:` and a description. Nothing is started yet."""
        self._description = text.removeprefix(PREFIX)
        self.name = name_of(text, sink=True)
        self.dropped_tracks: list[str] = []
        """Tracks left out, and what the pipeline said of itself."""
        self._wanted = {match[1] for match in _REFERENCE.finditer(self._description)}
        self._container = "matroska" if self._wanted else "mpegts"
        self._timeout_s = timeout_s
        self._programme = Programme(self.name)
        self._process: PipelineProcess | None = None
        self._entry: _Entry | None = None

    def takes(self, codec: str) -> bool:
        """True when packets of this codec can be carried as they are."""
        return codec in (_BROADCAST if self._container == "mpegts" else _PARSERS)

    def open(self, tracks: Sequence[EncodedTrack]) -> None:
        chosen = self._choose(tracks)
        try:
            self._process = PipelineProcess(
                "sink", self._description, name=self.name, head=self._head(chosen)
            )
        except OSError as error:
            raise OutputError(f"{self.name}: {unstarted(error)}") from error
        why = self._process.begin(self._timeout_s)
        if why is not None:
            raise OutputError(f"{self.name}: {why}")
        self._entry = _Entry(self._process, self._timeout_s)
        options = _OPTIONS[self._container]
        self._programme.open(Muxer(self._entry, self._container, options=options, name=self.name))
        for track in chosen:
            if not self._programme.add(track):
                raise OutputError(f"{self.name}: {self._container} does not take {track.codec}")

    def write(self, packet: Packet) -> None:
        self._programme.write(packet)

    def drop(self, track: str) -> None:
        """Nothing more comes of this track. Without its picture there is nothing to send."""
        self._programme.drop(track)

    def finish(self) -> None:
        self._programme.close()
        assert self._process is not None  # started before the programme
        self._process.close_media()
        why = self._process.why(patience_s=self._timeout_s)
        if why is not None:
            raise OutputError(f"cannot finish {self.name}: {why}")
        self.dropped_tracks += self._process.told.notes
        self._process.close()
        self._process = None

    def abort(self) -> None:
        if self._entry is not None:
            self._entry.shut = True
        self._programme.abandon()
        if self._process is not None:
            self._process.close()
        self._process = self._entry = None

    def _choose(self, tracks: Sequence[EncodedTrack]) -> list[EncodedTrack]:
        """One picture and one sound, as far as the description asks for them."""
        chosen: dict[str, EncodedTrack] = {}
        for track in self._programme.offered(tracks):
            if track.kind in chosen or track.kind not in (self._wanted or {"video", "audio"}):
                why = f"{self.name} has no place for it"
                self.dropped_tracks.append(f"{track.name} ({track.codec}): {why}")
            else:
                chosen[track.kind] = track
        for kind in sorted(self._wanted - chosen.keys()):
            raise OutputError(f"{self.name}: takes '{kind}.', but the stream has no {kind}")
        return list(chosen.values())

    def _head(self, tracks: Sequence[EncodedTrack]) -> str:
        """What stands before the user's description, from our pipe on."""
        if not self._wanted:
            # Buffers of whole packets; `alignment=7` would lose the last ones (GStreamer 1.22).
            return "fdsrc fd={fd} ! tsparse !"
        head = "fdsrc fd={fd} ! matroskademux name=streamgen"
        for track in tracks:
            parser = _PARSERS.get(track.codec, "identity")
            queue = f"queue max-size-buffers=0 max-size-time=0 max-size-bytes={_MOST_BYTES}"
            head += f" streamgen.{track.kind}_0 ! {queue} ! {parser} name={track.kind}"
        return head


class _Entry:
    """What libavformat writes to: the pipeline's pipe, with a bound on each wait."""

    def __init__(self, process: PipelineProcess, timeout_s: float) -> None:
        self.shut = False
        self._process = process
        self._timeout_s = timeout_s
        self._poll = select.poll()
        self._poll.register(process.media, select.POLLOUT)

    def write(self, data: bytes) -> int:
        """Take all of it. Raises `OutputError` in words for the user."""
        rest = memoryview(data)
        while rest and not self.shut:
            if not self._poll.poll(self._timeout_s * 1000):
                told = self._process.listen()
                last = f"; last it said: {told.warning}" if told.warning else ""
                raise self._failure(f"takes nothing for {self._timeout_s:g} s{last}")
            try:
                rest = rest[os.write(self._process.media, rest) :]
            except BrokenPipeError as error:
                why = self._process.why() or "has ended before the stream"
                raise self._failure(why) from error
        self._process.listen()
        return len(data)

    def _failure(self, why: str) -> OutputError:
        self.shut = True  # the trailer would fail as well
        return OutputError(f"{self._process.name}: {why}")
