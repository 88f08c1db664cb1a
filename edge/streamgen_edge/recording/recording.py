"""`Recording`: one stream's way from the HLS packager to its files, with a budget of its own.

The loop puts fragments into a bounded queue and never waits; a thread of its own writes them. When
the disk is slow the queue is emptied, and what comes is left out up to the next key frame.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from streamgen.deliver.fragments import decode_time, sample_count
from streamgen.deliver.live import LivePackager
from streamgen.deliver.movie import MovieFile
from streamgen.deliver.rendition import Rendition
from streamgen.media.queue import Bounded, WhenFull
from streamgen_edge.ending import all_ended
from streamgen_edge.recording.reel import SOUND, VIDEO, Counting, Cut, Kept, Label, Reel, State
from streamgen_edge.recording.settings import RecordingSettings
from streamgen_edge.settings import STREAM_NAME

MOST_BYTES = 16 << 20
"""What a recording may be behind: 10 s at 12 Mbit/s, or 30 s at 4."""
_EACH_BYTES = 1024
"""What a fragment weighs beside its data."""
MOST_ASKED = 256
"""Names for which the API's wish is remembered; the oldest makes room."""


class Recording:
    """On the loop's thread, but for `_write`."""

    def __init__(
        self,
        stream: str,
        settings: RecordingSettings,
        telemetry: Counting,
        *,
        create: Callable[[Path, Sequence[bytes]], MovieFile] = MovieFile,
        kept: Callable[[Kept], None] = lambda _: None,
    ) -> None:
        """`stream` becomes the name of a folder; `kept` hears of each file that is closed, on
        another thread."""
        if not STREAM_NAME.fullmatch(stream):
            raise ValueError(f"not a stream's name: {stream!r}")
        self.settings = settings
        self._stream = stream
        self._telemetry = telemetry
        self._create = create
        self._kept = kept
        self._ended = False
        self._packager: LivePackager | None = None
        self._reel: Reel | None = None
        self._thread: threading.Thread | None = None
        self._seen: dict[Rendition, tuple[int, int]] = {}
        """By track, number and index of the fragment that comes next."""
        self._backlog: Bounded[Cut] = Bounded(
            MOST_BYTES,
            WhenFull.DROP_TO_KEYFRAME,
            name="recording",
            weigh=lambda cut: len(cut.data) + _EACH_BYTES,
            is_key=lambda cut: cut.track == VIDEO and cut.first and cut.key,
            on_drop=self._shed,
        )

    @property
    def running(self) -> bool:
        """Its thread may still write, or will."""
        if self._thread is None:
            return not self._ended
        return self._thread.is_alive()

    def follow(self, packager: LivePackager) -> None:
        """Record the session from its next segment on."""
        if self._ended:
            return
        self._packager = packager
        top = next(one for one in packager.renditions.values() if one.track.video)
        sound = next((one for one in packager.renditions.values() if not one.track.video), None)
        number, index = top.window.following()
        begins = number if index == 0 else number + 1
        self._seen = {one: (begins, 0) for one in (top, sound) if one is not None}
        start = packager.start
        header = None if sound is None else next(iter(sound.window.headers.values()))
        label = Label(self._stream, start.session[:6], start.unix_ns - start.pts_ns)
        self._reel = Reel(
            label,
            self.settings,
            self._telemetry,
            sound=header,
            create=self._create,
            kept=self._kept,
        )
        # A disk that hangs must not keep the process from its end.
        name = f"recording {self._stream}"
        self._thread = threading.Thread(target=self._write, name=name, daemon=True)
        self._thread.start()
        packager.watch(self._published)

    def end(self) -> None:
        """Nothing more is taken; the file is finished soon."""
        if self._ended:
            return
        self._ended = True
        if self._packager is not None:
            self._packager.unwatch(self._published)
            self._packager = None
        self._backlog.close()

    def facts(self) -> dict[str, Any]:
        """For the API."""
        reel = self._reel
        if reel is None:
            state = State.ENDED if self._ended else State.WAITING
            return {"state": state.value, "file": None, "files": 0, "bytes": 0, "behind_bytes": 0}
        return {
            "state": reel.state.value,
            "error": reel.error or None,
            "file": None if reel.path is None else f"{self._stream}/{reel.path.name}",
            "files": reel.files,
            "bytes": reel.bytes,
            "behind_bytes": self._backlog.weight,
        }

    def _published(self, rendition: Rendition) -> None:
        if rendition not in self._seen:
            return
        for cut in self._new(rendition):
            self._backlog.put(cut)
        self._telemetry.gauge("recording_behind_bytes", "queue", self._backlog.weight)

    def _new(self, rendition: Rendition) -> Iterator[Cut]:
        """What was published since the last look."""
        number, index = self._seen[rendition]
        window, pace = rendition.window, rendition.cutter.pace
        behind = 0
        for piece in reversed(window.pieces):
            if piece.number < number:
                break
            behind += 1
        for at in range(len(window.pieces) - behind, len(window.pieces)):
            piece = window.pieces[at]
            begins = index if piece.number == number else 0
            for place in range(begins, len(piece.parts)):
                part = piece.parts[place]
                if part.gap:
                    self._telemetry.count("recording_gaps", "resting")
                    continue
                start_ns = pace.ns(decode_time(part.data))
                yield Cut(
                    track=VIDEO if rendition.track.video else SOUND,
                    number=piece.number,
                    first=place == 0,
                    key=part.independent,
                    start_ns=start_ns,
                    end_ns=start_ns + part.duration_ns,
                    header=window.headers[piece.header],
                    data=part.data,
                )
            self._seen[rendition] = (piece.number, len(piece.parts))

    def _shed(self, cut: Cut) -> None:
        if cut.track == VIDEO:
            self._telemetry.count("recording_dropped", "slow", sample_count(cut.data))

    def _write(self) -> None:
        """The thread."""
        reel = self._reel
        assert reel is not None
        try:
            for cut in self._backlog:
                reel.write(cut)
        finally:
            reel.close()


class Recorded(Protocol):
    """What viewers get of a stream, and what its file gets."""

    recording: Recording | None

    def record(self, recording: Recording | None) -> None: ...


class Recordings:
    """Those of one edge. On the loop's thread."""

    def __init__(self, kept: Callable[[Kept], None] | None = None) -> None:
        """`kept` hears of each file that is closed, on the loop's thread."""
        self._kept = kept
        self._all: list[Recording] = []
        self._asked: dict[str, bool] = {}

    def ask(self, name: str, wanted: bool) -> None:
        """The API wants this name recorded, or not, whatever the configuration says."""
        self._asked.pop(name, None)
        self._asked[name] = wanted
        while len(self._asked) > MOST_ASKED:
            del self._asked[next(iter(self._asked))]

    def wish(self, name: str) -> bool | None:
        """The API's; None: it has none."""
        return self._asked.get(name)

    def inherit(self, name: str, wish: bool | None) -> None:
        """The API's wish as another edge had it."""
        self._asked.pop(name, None)
        if wish is not None:
            self.ask(name, wish)

    def asked(self, name: str, *, configured: bool) -> bool:
        """Whether it is to be recorded."""
        return self._asked.get(name, configured)

    def apply(
        self, name: str, viewing: Recorded, telemetry: Counting, wanted: RecordingSettings | None
    ) -> None:
        """Record a stream as it is wanted now; None: not at all."""
        present = viewing.recording
        if wanted == (None if present is None else present.settings):
            return
        recording = None
        if wanted is not None:
            recording = Recording(name, wanted, telemetry, kept=self._handing_over())
        viewing.record(recording)
        self._all = [one for one in self._all if one.running]
        if recording is not None:
            self._all.append(recording)

    def _handing_over(self) -> Callable[[Kept], None]:
        """From the thread of a recording to the loop, which may have ended."""
        kept = self._kept
        if kept is None:
            return lambda _: None
        loop = asyncio.get_running_loop()

        def hand_over(file: Kept) -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(kept, file)

        return hand_over

    async def finished(self, within_s: float) -> bool:
        """Every file is closed. False where a disk takes longer than that."""
        return await all_ended(self._all, within_s)
