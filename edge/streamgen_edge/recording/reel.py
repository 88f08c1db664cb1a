"""`Reel`: the files of one recording, one after the other. On the recording's own thread."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Protocol

from streamgen.deliver.fragments import sample_count
from streamgen.deliver.grid import NS
from streamgen.deliver.movie import MovieFile
from streamgen.deliver.rendition import VIDEO_HZ
from streamgen_edge.recording.settings import RecordingSettings

VIDEO, SOUND = 1, 2
"""Numbers of the tracks in a file."""
RETRY_S = 5.0
"""After an error a new file is tried no sooner."""
MOST_EARLY = 16
"""Fragments of sound that may wait for the pictures of their segment."""
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
log = logging.getLogger("streamgen.edge.recording")


class State(Enum):
    WAITING = "waiting"
    """For a key frame."""
    RECORDING = "recording"
    FULL = "full"
    """The disk has no space, or less than `min_free`."""
    FAILED = "failed"
    """The file cannot be written; another one is tried."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Cut:
    """One fragment of a stream on its way to a file."""

    track: int
    number: int
    """Of its segment; segments of pictures and of sound with one number belong together."""
    first: bool
    """Of its segment."""
    key: bool
    """Begins with a key frame."""
    start_ns: int
    """On the output timeline, as `end_ns`."""
    end_ns: int
    header: bytes
    """Of its track."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Label:
    """What the files of one session are called."""

    stream: str
    """A name that has been checked: it becomes a folder."""
    session: str
    """How the session's name begins; the whole of it opens the session's playlists."""
    unix_ns: int
    """Wall clock at zero of the output timeline."""

    def path(self, folder: Path, start_ns: int, number: int) -> Path:
        began = datetime.fromtimestamp((self.unix_ns + start_ns) // NS, UTC)
        return folder / self.stream / f"{began:%Y%m%dT%H%M%SZ}-{self.session}-{number}.mp4"

    def last(self, folder: Path) -> int:
        """Number of this session's last file so far; 0 without any. Raises `OSError`."""
        known = re.compile(rf"\d{{8}}T\d{{6}}Z-{re.escape(self.session)}-(\d{{1,9}})\.mp4")
        found = map(known.fullmatch, os.listdir(folder / self.stream))
        return max((int(match[1]) for match in found if match is not None), default=0)


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is closed."""

    stream: str
    session: str
    path: str
    """Below the folder of recordings."""
    bytes: int
    seconds: float


class Counting(Protocol):
    def count(self, name: str, reason: str = "", number: int = 1) -> None: ...

    def gauge(self, name: str, label: str, value: float) -> None: ...


def free_bytes(folder: Path) -> int:
    """What this process may still write there."""
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize


@dataclass(slots=True)
class _Open:
    file: MovieFile
    begins: int
    """Number of its first segment."""
    start_ns: int
    end_ns: int
    header: bytes
    longest: int = 0
    """Bytes of its largest segment so far, and where the present one began."""
    segment_at: int = 0


class Reel:
    """Takes cuts in the order in which they were published, and never raises."""

    def __init__(
        self,
        label: Label,
        settings: RecordingSettings,
        telemetry: Counting,
        *,
        sound: bytes | None,
        create: Callable[[Path, Sequence[bytes]], MovieFile] = MovieFile,
        free: Callable[[Path], int] = free_bytes,
        kept: Callable[[Kept], None] = lambda _: None,
    ) -> None:
        """`sound` is the header of that track, None where there is none. `kept` is called for each
        file that is closed, on this thread."""
        self.state = State.WAITING
        self.error = ""
        self.path: Path | None = None
        """Of the newest file."""
        self.files = 0
        self.bytes = 0
        self._last = 0
        """Number in the name of the newest file."""
        self._label = label
        self._settings = settings
        self._limit = settings.limit
        self._telemetry = telemetry
        self._sound = sound
        self._create = create
        self._free = free
        self._kept = kept
        self._open: _Open | None = None
        self._former: _Open | None = None
        """Waits for sound that belongs into it."""
        self._number = -1
        """Of the last segment with pictures."""
        self._early: deque[Cut] = deque()
        self._not_before = float("-inf")

    @property
    def ids(self) -> Mapping[str, str]:
        """For the log."""
        return {"stream": self._label.stream, "session": self._label.session}

    def write(self, cut: Cut) -> None:
        if cut.track == SOUND:
            self._early.append(cut)
            self._catch_up()
            return
        if cut.first:
            self._turn(cut)
        self._number = cut.number
        if self._open is None or not self._put(self._open, cut):
            self._lose(cut)
        self._catch_up()

    def _catch_up(self) -> None:
        """Sound waits for the pictures of its segment, but not for ever: a rung may rest."""
        early = self._early
        while early and (early[0].number <= self._number or len(early) > MOST_EARLY):
            self._hear(early.popleft())

    def close(self) -> None:
        """Nothing more comes: what is there is finished."""
        while self._early:
            self._hear(self._early.popleft())
        self._finish(self._former)
        self._finish(self._open)
        self._former = self._open = None
        self._be(State.ENDED)

    def _turn(self, cut: Cut) -> None:
        """A segment begins: whether in this file, in the next one, or in none."""
        former, now = self._former, self._open
        if former is not None and now is not None and cut.number > now.begins + 1:
            self._finish(former)
            self._former = None
        if now is not None and not self._room():
            self._drop_file()
        elif now is not None and cut.key and self._enough(now, cut):
            self._finish(self._former)
            self._former, self._open = now, None
        if self._open is None and cut.key and time.monotonic() >= self._not_before:
            self._begin(cut)
        elif self._open is not None:
            self._open.segment_at = self._open.file.size_bytes

    def _enough(self, now: _Open, cut: Cut) -> bool:
        if cut.header != now.header:
            return True  # one file has one set of parameters
        now.longest = max(now.longest, now.file.size_bytes - now.segment_at)
        long = self._limit.ns is not None and cut.start_ns - now.start_ns >= self._limit.ns
        size = now.file.size_bytes + now.longest
        return long or (self._limit.bytes is not None and size > self._limit.bytes)

    def _begin(self, cut: Cut) -> None:
        folder = self._settings.folder
        try:
            (folder / self._label.stream).mkdir(mode=0o750, parents=True, exist_ok=True)
            if not self._room():
                return
            headers = [cut.header] if self._sound is None else [cut.header, self._sound]
            number, path = self._next(cut.start_ns)
            file = self._create(path, headers)
        except OSError as error:
            self._fail(error)
            return
        self._open = _Open(file, cut.number, cut.start_ns, cut.start_ns, cut.header)
        self.path, self._last = file.path, number
        self.files += 1
        self._grow(file.size_bytes)
        self._be(State.RECORDING)
        log.info("recording to %s", file.path, extra=dict(self.ids))

    def _next(self, start_ns: int) -> tuple[int, Path]:
        """Number and name of the next file. Recording may have been off before: it goes on."""
        label, folder = self._label, self._settings.folder
        number = (self._last or label.last(folder)) + 1
        return number, label.path(folder, start_ns, number)

    def _room(self) -> bool:
        try:
            free = self._free(self._settings.folder)
        except OSError as error:
            self._fail(error)
            return False
        if free >= self._settings.min_free:
            return True
        said = f"{free / 1e9:.3g} GB free, less than min_free"
        self._be(State.FULL, said)
        return False

    def _hear(self, cut: Cut) -> None:
        """Sound goes where the pictures of its segment are."""
        now, former = self._open, self._former
        if now is not None and cut.number >= now.begins:
            self._put(now, cut)
            if former is not None:
                self._finish(former)
                self._former = None
        elif former is not None and cut.number >= former.begins:
            self._put(former, cut)
        elif now is not None or former is not None:
            self._telemetry.count("recording_dropped", "late_sound", sample_count(cut.data))

    def _put(self, where: _Open, cut: Cut) -> bool:
        try:
            where.file.append(cut.track, cut.data)
        except OSError as error:
            self._fail(error)
            return False
        where.end_ns = max(where.end_ns, cut.end_ns)
        self._grow(len(cut.data))
        return True

    def _grow(self, size: int) -> None:
        self.bytes += size
        self._telemetry.count("recording_bytes", "", size)

    def _lose(self, cut: Cut) -> None:
        if self.state in (State.FULL, State.FAILED):
            self._telemetry.count("recording_dropped", self.state.value, sample_count(cut.data))

    def _fail(self, error: OSError) -> None:
        """The present file ends here; another one may do better later."""
        self._not_before = time.monotonic() + RETRY_S
        state = State.FULL if error.errno in _NO_SPACE else State.FAILED
        self._be(state, os.strerror(error.errno) if error.errno else str(error))
        self._drop_file()

    def _drop_file(self) -> None:
        """Finished as far as it came."""
        former, now = self._former, self._open
        self._former = self._open = None
        self._finish(former)
        self._finish(now)

    def _finish(self, done: _Open | None) -> None:
        if done is None:
            return
        file, lasts_ns = done.file, done.end_ns - done.start_ns
        try:
            file.close(lasts_ns * VIDEO_HZ // NS)
        except OSError as error:  # its fragments are all there: only its length is not said
            said = os.strerror(error.errno) if error.errno else str(error)
            log.warning("%s was not finished: %s", file.path, said, extra=dict(self.ids))
        label, path = self._label, f"{self._label.stream}/{file.path.name}"
        self._kept(Kept(label.stream, label.session, path, file.size_bytes, lasts_ns / NS))

    def _be(self, state: State, error: str = "") -> None:
        if state is not self.state and state in (State.FULL, State.FAILED):
            log.warning("not recording: %s", error, extra=dict(self.ids))
        self.state, self.error = state, error
        self._telemetry.gauge("recording", "on", float(state is State.RECORDING))
