"""`LiveStream`: all of a stream that must survive its workers and its publisher.

no publisher -> `arrive` -> first key frame -> attach -> live
live: worker lost   -> attach elsewhere, replay the GOP, go on
      publisher lost -> fill with the last picture for `grace`, then end
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from fractions import Fraction
from typing import Any

from streamgen.deliver.live import LivePackager, LiveSettings, LiveStart
from streamgen.errors import OutputError
from streamgen.ingest.link import SOUND, VIDEO, Description
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.attachment import Attachment, OutTrack
from streamgen_edge.feed import Feed
from streamgen_edge.gop import Gop
from streamgen_edge.ledger import Ledger
from streamgen_edge.link import Link
from streamgen_edge.timeline import BASE, HZ, LiveTimeline

FILL = HZ // 5
"""While nobody publishes the last picture is shown again this often."""
FILL_AFTER_S = 0.4
TICK = HZ // 10
"""The sound is told this often how far the picture has come."""
SOUND_BACK = HZ
"""How much sound before the last that was sent a new worker gets, to make up for what died."""
NO_WORKER_S = 0.1
MOST_DEATHS = 5
"""Workers that one stream may lose in `DEATHS_S` before it is taken for the cause."""
DEATHS_S = 30.0
KEYFRAME_S = 1.0
OPENING_NS = 500_000_000
FIXED = ("ladder", "keyframe_interval", "audio")
"""Of a pipeline: what a running session cannot change, as its tracks never do."""
NS = 1_000_000_000
log = logging.getLogger("streamgen.edge.stream")


class State(Enum):
    WAITING = "waiting"
    """For a publisher's first key frame."""
    STARTING = "starting"
    """For a worker."""
    LIVE = "live"
    GAP = "gap"
    """The publisher is away; viewers see its last picture."""
    ENDED = "ended"


class Refusal(Exception):
    """A change was not accepted; the text is for the client."""


class LiveStream:
    """One stream from its first publisher to its end. On the loop's thread."""

    def __init__(
        self,
        name: str,
        number: int,
        link: Link,
        pipeline: dict[str, Any],
        *,
        grace_s: float,
        hls: LiveSettings,
        wall_ns: Callable[[], int],
        ended: Callable[[LiveStream], None],
    ) -> None:
        """`wall_ns` is the clock on the wall; `ended` is called once, at the end."""
        self.name = name
        self.session = secrets.token_urlsafe(9)
        self.state = State.WAITING
        self.pipeline = pipeline
        self.params: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.telemetry = Telemetry()
        self.ledger = Ledger()
        self.feed = Feed()
        self.packager: LivePackager | None = None
        self.tracks: list[OutTrack] = []
        self.notes: list[str] = []
        self.error = ""
        self.publisher: object | None = None
        """Whoever publishes now; None: nobody."""
        self.took_over_s: list[float] = []
        """How long each change of workers took, from the loss to the new one's first picture."""
        self._number = number
        self._link = link
        self._grace_s = grace_s
        self._hls = hls
        self._wall_ns = wall_ns
        self._on_end = ended
        self._timeline = LiveTimeline(self.telemetry)
        self._gop = Gop()
        self._attachment: Attachment | None = None
        self._term = 0
        self._codec = ""
        self._attached_codec = ""
        self._rate: Fraction | None = None
        self._sound: Description | None = None
        self._last: dict[str, int] = {}
        """By track, the last PTS that viewers have."""
        self._ticked = 0
        self._awaits_key = True
        """A new publisher's times begin with its first key frame."""
        self._filling: asyncio.TimerHandle | None = None
        self._seeking: asyncio.TimerHandle | None = None
        self._away_since: float | None = None
        self._fills = False
        self._asked_at = 0.0
        self._answers: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._request = 0
        self._deaths: list[float] = []
        self._lost_at: float | None = None

    @property
    def worker(self) -> str | None:
        return None if self._attachment is None else self._attachment.worker.name

    # The publisher.

    def arrive(self, publisher: object) -> None:
        """Another publisher: its first key frame goes on where the stream stands."""
        self.publisher = publisher
        self._timeline.arrive()
        self._gop.forget()
        self._sound = None
        self._awaits_key = True
        self._away_since = None
        if self._timeline.begun:
            self._gap()
        log.info("a publisher is here", extra=self.ids)

    def describe(self, track: str, codec: str, extradata: bytes, rate: Fraction | None) -> None:
        """How a track of the present publisher is coded."""
        if track == VIDEO:
            self._codec, self._rate = codec, rate
        elif track == SOUND:
            self._sound = Description(codec, extradata)

    def take(self, packet: Packet, now_ns: int) -> bool:
        """One packet of the present publisher. False: it was of no use, or dropped."""
        video = packet.track == VIDEO
        if self.state is State.ENDED or not (video or packet.track == SOUND):
            return False
        if self._awaits_key:
            if not (video and packet.keyframe):
                self.telemetry.count("unused", "before_key_frame")
                return False
            self._awaits_key = False
        dropped = self._gop.dropped
        mended = self._timeline.mend(packet, now_ns)
        if video and self._timeline.begun and (mended.pts or 0) < 0:
            mended = replace(mended, discard=True)
        self._gop.add(mended, now_ns)
        if self._gop.dropped != dropped:
            self.telemetry.count("gop_dropped", "too_long", self._gop.dropped - dropped)
        if video and not mended.discard:
            self.ledger.frames_in += 1
        self._forward(mended, now_ns)
        return True

    def _forward(self, packet: Packet, now_ns: int) -> None:
        attachment = self._attachment
        video = packet.track == VIDEO
        if attachment is None:
            if video and packet.keyframe and self._seeking is None:
                self._attach()
            return
        if not attachment.live:
            return
        if self._fills:
            if not (video and packet.keyframe):
                if video and not packet.discard:
                    self.ledger.drop("waits_for_key_frame")
                return
            self._resume()
            if self._codec != self._attached_codec:
                self._move("another codec")
                return
        if not video and self._sound is not None:
            attachment.describe(packet.epoch, self._sound)
        attachment.send(packet, now_ns)
        if video:
            self._tick(packet, now_ns)

    def _tick(self, packet: Packet, now_ns: int) -> None:
        at = packet.dts if packet.dts is not None else packet.pts or 0
        if not -TICK < at - self._ticked < TICK and self._attachment is not None:
            self._ticked = at
            tick = Packet(b"", at, at, 0, BASE, True, SOUND, packet.epoch)
            self._attachment.send(tick, now_ns)

    def leave(self, publisher: object, *, explicit: bool) -> None:
        """The publisher is gone: for good, or lost, and then it may come back within grace."""
        if publisher is not self.publisher or self.state is State.ENDED:
            return
        self.publisher = None
        if explicit or not self._timeline.begun:
            self.end()
            return
        log.info("the publisher was lost", extra=self.ids)
        self._away_since = time.monotonic()
        self._gap()

    # The gap.

    def _gap(self) -> None:
        """Nothing that can be decoded comes until the next key frame."""
        self.state = State.GAP
        self._fills = True
        self._cancel()
        self._filling = asyncio.get_running_loop().call_later(FILL_AFTER_S, self._fill)

    def _fill(self) -> None:
        """Show the last picture again, now and until somebody publishes."""
        away = self._away_since
        if away is not None and time.monotonic() - away > self._grace_s:
            log.info("the publisher did not come back", extra=self.ids)
            self.end()
            return
        attachment = self._attachment
        if attachment is not None and attachment.live:
            now_ns = time.monotonic_ns()
            at = self._timeline.fill(now_ns, FILL)
            epoch = self._timeline.epoch
            picture = Packet(b"", at, at, FILL, BASE, False, VIDEO, epoch)
            self.ledger.frames_in += 1
            self.telemetry.count("filled", "picture")
            attachment.send(picture, now_ns)
            self._tick(picture, now_ns)
        self._filling = asyncio.get_running_loop().call_later(FILL / HZ, self._fill)

    def _resume(self) -> None:
        self._fills = False
        self._cancel()
        self.state = State.LIVE

    def _cancel(self) -> None:
        if self._filling is not None:
            self._filling.cancel()
            self._filling = None

    # The worker.

    def _attach(self, avoid: str | None = None) -> None:
        """Ask a worker to take the stream; again soon while there is none."""
        if self._seeking is not None:
            self._seeking.cancel()
            self._seeking = None
        head = self._gop.head
        if self.state is State.ENDED or head is None:
            return
        if not self._timeline.begun:
            self.state = State.STARTING
        worker = self._link.idlest(avoid)
        if worker is None:
            self._seek()
            return
        self._term += 1
        self._attached_codec = self._codec
        self._attachment = Attachment(self._link, worker, self._number, self._term, self)
        rate = self._rate
        asked = {
            "name": self.name,
            "pipeline": self.pipeline,
            "params": self.params,
            "version": self.version,
            "codec": self._codec,
            "time_base": [1, HZ],
            "rate": None if rate is None else [rate.numerator, rate.denominator],
            "after": self._last,
            "opening_ns": None if self._timeline.begun else OPENING_NS,
        }
        if not self._attachment.ask(asked, bytes(head.data)):
            self._attachment.forget()
            self._attachment = None
            self._seek()

    def _seek(self) -> None:
        self._seeking = asyncio.get_running_loop().call_later(NO_WORKER_S, self._attach)

    def attached(self, notes: list[str]) -> None:
        """The worker is ready: replay what it must know, then go on live."""
        attachment = self._attachment
        assert attachment is not None
        now_ns = time.monotonic_ns()
        first = not self._timeline.begun
        if first:
            self._begin(attachment, now_ns)
        self.notes = notes
        self.ledger.close("starting" if first else "worker_lost")
        sound_from = self._sound_from()
        if self._sound is not None:
            attachment.describe(self._timeline.epoch, self._sound)
        if self._gop.whole:
            for kept in self._gop.replay(sound_from):
                if kept.packet.track == SOUND and self._sound is not None:
                    attachment.describe(kept.packet.epoch, self._sound)
                attachment.send(kept.packet, kept.received_ns)
        elif self._gop.head is not None:
            # The GOP is too long to keep: its first picture stands in until the next one.
            attachment.send(replace(self._gop.head, discard=True), now_ns)
        attachment.live = True
        log.info("worker %s has the stream", attachment.worker.name, extra=self.ids)
        if self.publisher is None or not self._gop.whole:
            self._gap()
        else:
            self._resume()

    def _begin(self, attachment: Attachment, now_ns: int) -> None:
        """The output's zero is now; tracks never change from here on."""
        at = self._timeline.front
        self._timeline.begin(at, now_ns)
        self._gop.shift(-at)
        self.tracks = attachment.tracks
        tracks = [live for live in (track.for_hls() for track in self.tracks) if live is not None]
        start = LiveStart(self.session, self._wall_ns())
        self.packager = LivePackager(start, tracks, telemetry=self.telemetry, settings=self._hls)
        self.state = State.LIVE

    def _sound_from(self) -> int:
        """Where the sound for a new worker begins: before the last that was sent."""
        sent = [
            round(pts * Fraction(HZ, 48_000))
            for name, pts in self._last.items()
            if name.startswith("audio/")
        ]
        return min(sent) - SOUND_BACK if sent else 0

    def worker_lost(self) -> None:
        """The worker died: another one takes the stream."""
        former, self._attachment = self._attachment, None
        now = time.monotonic()
        self._lost_at = now
        self._deaths = [at for at in self._deaths if now - at < DEATHS_S] + [now]
        self._fail_requests("the worker died")
        if len(self._deaths) > MOST_DEATHS:
            self.fail("too many workers died of this stream")
            return
        self.telemetry.count("takeovers", "worker_lost")
        self._attach(None if former is None else former.worker.name)

    def worker_ended(self, error: str) -> None:
        """The worker is done with the stream: as told, or because it cannot go on."""
        self._attachment = None
        if self.state is State.ENDED or not error:
            self._finish()
        else:
            self.fail(error)

    def _move(self, reason: str) -> None:
        """Go on with a new attachment: what runs cannot take what comes."""
        if self._attachment is not None:
            self._attachment.leave()
            self._attachment = None
        self.telemetry.count("takeovers", reason.replace(" ", "_"))
        self._lost_at = time.monotonic()
        self._attach()

    def delivered(self, packet: Packet, received_ns: int) -> None:
        """A packet for the viewers."""
        pts = packet.pts or 0
        last = self._last.get(packet.track)
        if last is not None and pts <= last:
            self.telemetry.count("double", packet.track)
            return
        self._last[packet.track] = pts
        if self.tracks and packet.track == self.tracks[0].name:
            self.ledger.frames_out += 1
            if self._lost_at is not None:
                self.took_over_s.append(time.monotonic() - self._lost_at)
                self._lost_at = None
        self.feed.put(packet)
        if self.packager is not None and packet.track != "audio/opus":
            try:
                self.packager.write(packet)
            except (KeyError, OutputError) as error:
                self.telemetry.count("unpacked", type(error).__name__)

    def reported(self, stats: Mapping[str, Any]) -> None:
        self.ledger.reported(stats)

    def broke(self, track: str) -> None:
        """A rung's encoder failed: its players see gaps, the others nothing."""
        if self.packager is not None and track.startswith("video/"):
            self.packager.drop(track)

    def unsent(self, packet: Packet, reason: str) -> None:
        """The worker did not take it in time."""
        if packet.track == VIDEO and not packet.discard:
            self.ledger.drop(f"link_{reason}")

    # What viewers and operators ask for.

    def request_keyframe(self, reason: str) -> None:
        """A key frame on all rungs, at most one per second."""
        now = time.monotonic()
        if self._attachment is not None and now - self._asked_at > KEYFRAME_S:
            self._asked_at = now
            self._attachment.say({"type": "keyframe", "reason": reason})

    async def change(
        self, node: str, values: Mapping[str, Any], over: str, timeout_s: float = 1.0
    ) -> dict[str, Any]:
        """Change parameters. `pts` is the first picture's, None while no frames flow.

        Raises `Refusal`.
        """
        attachment = self._attachment
        pts, base = None, None
        if attachment is not None and attachment.live:
            self._request += 1
            number = self._request
            answer = self._answers[number] = asyncio.get_running_loop().create_future()
            asked = {"type": "params", "request": number, "node": node, "values": dict(values)}
            attachment.say({**asked, "over": over})
            try:
                told = await asyncio.wait_for(answer, timeout_s)
            except TimeoutError:
                told = {}
            finally:
                self._answers.pop(number, None)
            if "error" in told:
                raise Refusal(str(told["error"]))
            pts, base = told.get("pts"), told.get("time_base")
        self.params = {**self.params, node: {**self.params.get(node, {}), **values}}
        self.version += 1
        seconds = None if pts is None or base is None else pts * base[0] / base[1]
        return {"version": self.version, "pts": pts, "time_base": base, "time_s": seconds}

    def answered(self, message: Mapping[str, Any]) -> None:
        answer = self._answers.get(message["request"])
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _fail_requests(self, error: str) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result({})

    def use(self, pipeline: dict[str, Any]) -> None:
        """Another pipeline from now on. The ladder, and so the tracks, stay as they are."""
        if self._timeline.begun:
            pipeline = {k: v for k, v in pipeline.items() if k not in FIXED}
            pipeline |= {k: v for k, v in self.pipeline.items() if k in FIXED}
        self.pipeline = pipeline
        self.params = {}
        self.version += 1
        if self._timeline.begun:
            self._move("pipeline")

    # The end.

    def fail(self, error: str) -> None:
        """Nothing can be done for this stream."""
        self.error = error
        log.error("the stream failed: %s", error, extra=self.ids)
        self.end()

    def end(self) -> None:
        """Finish what is inside, then tell the viewers that it is over."""
        if self.state is State.ENDED:
            return
        self.state = State.ENDED
        self._cancel()
        attachment = self._attachment
        if attachment is not None and attachment.live:
            attachment.finish()
            asyncio.get_running_loop().call_later(5.0, self._finish)
        else:
            self._finish()

    def _finish(self) -> None:
        self._cancel()
        self.state = State.ENDED
        if self._attachment is not None:
            self._attachment.leave()
            self._attachment = None
        self.ledger.close("ended")
        if self.packager is not None and not self.packager.ended:
            self.packager.end()
        self.feed.end()
        self._fail_requests("the stream ended")
        log.info("the stream ended", extra=self.ids)
        on_end, self._on_end = self._on_end, lambda _: None
        on_end(self)

    @property
    def ids(self) -> dict[str, str]:
        """For the log."""
        return {"stream": self.name, "session": self.session}
