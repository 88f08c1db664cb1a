"""`Channel`: one stream for all of its WHEP viewers: its tracks as RTP, once for all."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Protocol

from streamgen.deliver.media_clock import MediaClock
from streamgen.deliver.webrtc import RtpTrack
from streamgen.media.packet import Packet

ASK_S = 1.05
"""Key frames are asked for no more often, however many viewers want one."""
REPORT_S = 1.0
SILENT_S = 0.8
"""A rung that is silent for so long, while the sound goes on, is gone; its viewers move."""
WITH_HEADERS = 1.06
SOUND = "audio/opus"
SOUND_HZ = 48_000
PICTURE_HZ = 90_000


class Subscribed(Protocol):
    def __aiter__(self) -> AsyncIterator[Packet]: ...

    def close(self) -> None: ...


class Playing(Protocol):
    """A live stream's feed."""

    def subscribe(self, track: str) -> Subscribed: ...


class TrackFacts(Protocol):
    """What the stream says of a track."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def codec(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def config(self) -> bytes: ...
    @property
    def bitrate_bps(self) -> int:
        """As it was asked of the encoder; 0 where nobody knows."""
        ...


class Playable(Protocol):
    """A stream that viewers may watch."""

    @property
    def name(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def over(self) -> bool: ...
    @property
    def tracks(self) -> Sequence[TrackFacts]: ...
    @property
    def feed(self) -> Playing: ...
    @property
    def resting(self) -> Collection[str]:
        """Rungs that get no pictures while others do."""
        ...

    def request_keyframe(self, reason: str) -> None: ...


class Viewer(Protocol):
    """Who plays from this channel."""

    def report(self) -> None: ...

    def judge(self) -> None: ...

    def moved(self, gone: str, to: str) -> None: ...

    def returned(self, rung: str) -> None: ...

    def ended(self) -> None: ...


class Channel:
    """Opened for the first viewer, closed with the last. On the loop's thread."""

    def __init__(
        self,
        stream: Playable,
        closed: Callable[[Channel], None],
        count: Callable[[str, str], None] = lambda name, reason: None,
    ) -> None:
        """`count` hears of `rung_changes`, by reason."""
        self.stream = stream
        self.viewers: set[Viewer] = set()
        self.asked = 0
        """Key frames asked of the stream."""
        self._clock = MediaClock(time.monotonic_ns, time.time_ns)
        self._origins = {True: secrets.randbits(32), False: secrets.randbits(32)}
        self._tracks: dict[str, RtpTrack] = {}
        self._seen: dict[str, float] = {}
        self._sounding = 0.0
        """When the sound began again, after all was still."""
        self._gone: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked_at = float("-inf")
        self._pending: asyncio.TimerHandle | None = None
        self._on_close = closed
        self._count = count
        self._tick = asyncio.get_running_loop().call_later(REPORT_S, self._report)

    def track(self, name: str) -> RtpTrack:
        """A track as RTP. Raises `KeyError` when the stream has none of this name."""
        if name not in {one.name for one in self.stream.tracks}:
            raise KeyError(name)
        found = self._tracks.get(name)
        if found is None:
            video = name.startswith("video/")
            found = self._tracks[name] = RtpTrack(
                video=video,
                rate_hz=PICTURE_HZ if video else SOUND_HZ,
                origin=self._origins[video],
                clock=self._clock,
                later=asyncio.get_running_loop().call_later,
                ask=self.ask,
            )
            # The loop holds tasks weakly; this one lives as long as the channel.
            self._tasks[name] = asyncio.create_task(self._pump(name, found))
        return found

    async def _pump(self, name: str, track: RtpTrack) -> None:
        packets = self.stream.feed.subscribe(name)
        try:
            async for packet in packets:
                self._note(name)
                if self.stream.resting:
                    self._leave_resting()
                if track.video and packet.keyframe and self._pending is not None:
                    self._pending.cancel()
                    self._pending = None
                track.put(packet)
                if name in self._gone:
                    self._gone.discard(name)
                    for viewer in tuple(self.viewers):
                        viewer.returned(name)
        finally:
            packets.close()
        for viewer in tuple(self.viewers):
            viewer.ended()

    def _note(self, name: str) -> None:
        now = time.monotonic()
        if name == SOUND and now - self._seen.get(SOUND, now) > SILENT_S / 2:
            self._sounding = now
        self._seen[name] = now

    def ask(self) -> None:
        """A viewer cannot go on without a key frame: all wishes of a second become one."""
        if self._pending is not None:
            return
        wait = self._asked_at + ASK_S - time.monotonic()
        if wait <= 0:
            self._ask()
        else:
            self._pending = asyncio.get_running_loop().call_later(wait, self._ask)

    def _ask(self) -> None:
        self._pending = None
        self._asked_at = time.monotonic()
        self.asked += 1
        self.stream.request_keyframe("viewer")

    def leave(self, viewer: Viewer) -> None:
        self.viewers.discard(viewer)
        if not self.viewers:
            self.close()

    def close(self) -> None:
        self._tick.cancel()
        if self._pending is not None:
            self._pending.cancel()
        current = asyncio.current_task()
        for task in self._tasks.values():
            if task is not current:
                task.cancel()
        self._tasks.clear()
        self._tracks.clear()
        on_close, self._on_close = self._on_close, lambda _: None
        on_close(self)

    def _report(self) -> None:
        for viewer in tuple(self.viewers):
            viewer.report()
        self._move()
        self._judge()
        self._tick = asyncio.get_running_loop().call_later(REPORT_S / 2, self._again)

    def _again(self) -> None:
        self._move()
        self._judge()
        self._tick = asyncio.get_running_loop().call_later(REPORT_S / 2, self._report)

    def _judge(self) -> None:
        for viewer in tuple(self.viewers):
            viewer.judge()

    def needs_bps(self, rung: str) -> int | None:
        """What a rung takes with the sound; None while it is not there, or not known yet."""
        if rung in self._gone or rung in self.stream.resting or rung not in self._tracks:
            return None
        picture = self._tracks[rung].rate.bps
        if picture is None:
            asked = next((one.bitrate_bps for one in self.stream.tracks if one.name == rung), 0)
            picture = int(asked * WITH_HEADERS)
        sound = self._tracks[SOUND].rate.bps if SOUND in self._tracks else None
        return picture + (sound or 0) if picture else None

    def switched(self, reason: str) -> None:
        """A viewer gets another rung."""
        self._count("rung_changes", reason)

    def _move(self) -> None:
        """A rung that the worker gave up is left; its viewers go on with the next one."""
        now = time.monotonic()
        if now - self._seen.get(SOUND, 0.0) > SILENT_S / 2:
            return  # all of the stream is still: another worker takes it, say
        names = [one.name for one in self.stream.tracks if one.kind == "video"]
        for name in names:
            seen = max(self._seen.get(name, now), self._sounding)
            silent = name in self._tracks and now - seen > SILENT_S
            if not silent or name in self._gone:
                continue
            self._leave_rung(name)

    def _leave_resting(self) -> None:
        for name in self.stream.resting:
            if name not in self._gone and name in self._tracks:
                self._leave_rung(name)

    def _leave_rung(self, name: str) -> None:
        """To the next smaller one that is there, or else a larger one."""
        self._gone.add(name)
        names = [one.name for one in self.stream.tracks if one.kind == "video"]
        at = names.index(name)
        for other in names[at + 1 :] + names[:at][::-1]:
            if other not in self._gone and other not in self.stream.resting:
                for viewer in tuple(self.viewers):
                    viewer.moved(name, other)
                break
