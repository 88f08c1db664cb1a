"""`LiveStream`: all of a stream that must survive its workers and its publisher.

no publisher -> `arrive` -> first key frame -> a worker -> live
live: worker lost    -> another one, which decodes the GOP so far and goes on
      publisher lost -> the last picture for `grace`, then the end
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from streamgen.deliver.live import LiveSettings
from streamgen.ingest.link import SOUND, VIDEO, Description
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.attachment import Attachment
from streamgen_edge.beginning import Beginning
from streamgen_edge.changeover import cut_after
from streamgen_edge.gop import Gop
from streamgen_edge.handover import DEADLY, hand_over, pass_over
from streamgen_edge.hooks.event import EndReason
from streamgen_edge.ledger import Ledger
from streamgen_edge.link import Link
from streamgen_edge.passport import Legacy
from streamgen_edge.replacement import kept
from streamgen_edge.seats import Seating
from streamgen_edge.state import Publishing, State
from streamgen_edge.stills import Stills
from streamgen_edge.tenure import Tenure
from streamgen_edge.timeline import BASE, HZ, LiveTimeline
from streamgen_edge.viewing import Viewing

BEAT_S = 0.1
"""So often it is looked whether pictures come."""
TICK = HZ // 10
"""The sound is told this often how far the picture has come."""
FINISH_S = 5.0
"""How long a worker may give nothing of what is inside when a stream ends."""
log = logging.getLogger("streamgen.edge.stream")


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
        seating: Seating | None = None,
        legacy: Legacy | None = None,
    ) -> None:
        """`wall_ns` is the clock on the wall; `ended` is called once, at the end. With a `legacy`
        it goes on where another edge had it, and `hls` is what that says."""
        self.name = name
        self.session = secrets.token_urlsafe(16)
        self.state = State.WAITING
        self.pipeline = pipeline
        self.params: dict[str, dict[str, Any]] = {}
        self.version = 0
        """Of pipeline and parameters."""
        self.error = ""
        self.reason = EndReason.FAILED
        """Why it is over, once it is."""
        self.publisher: Publishing | None = None
        """Whoever publishes now; None: nobody."""
        self.changed: Callable[[], None] = lambda: None
        """Called when something of it is other than before that its next edge must know."""
        inherited = None if legacy is None else legacy.viewing
        self.viewing = inherited or Viewing(Telemetry(), hls)
        self.telemetry = self.viewing.telemetry
        self.ledger = Ledger(self.telemetry)
        self.tenure = Tenure(link, number, self, seating)
        self._hls = hls
        self._grace_s = grace_s
        self._wall_ns = wall_ns
        self._on_end = ended
        self._timeline = LiveTimeline(self.telemetry)
        self.stills = Stills(self._timeline, self.telemetry)
        self._gop = Gop()
        self._codec = self._attached_codec = ""
        self._rate: Fraction | None = None
        self._sound: Description | None = None
        self._ticked = 0
        self._beginning = Beginning()
        self._left = "worker_lost"
        """Why the pictures that the former worker had are lost."""
        self._needs_key = False
        """What the worker has is of no use to what comes until the next key frame."""
        self._timer: asyncio.TimerHandle | None = None
        self._away_since: float | None = None
        if legacy is not None:
            self._go_on(legacy)

    def _go_on(self, legacy: Legacy) -> None:
        """As after a publisher was lost, but for the worker."""
        passport, line = legacy.passport, self._timeline
        self.session, self.version = passport.session, passport.version
        self.pipeline, self.params = passport.pipeline, passport.params
        shown = self.viewing.go_on(self.session, passport.unix_ns, passport.tracks)
        pass_over(self.viewing, line.go_on(time.monotonic_ns(), legacy.elapsed_ns, shown))
        line.still = self.viewing.still
        self._left = "starting"
        self._gap()
        self._beat()

    @property
    def ids(self) -> dict[str, str]:
        """For the log, which shall not say the whole name of a session: who has it may fetch."""
        return {"stream": self.name, "session": self.session[:6]}

    @property
    def over(self) -> bool:
        """Nothing is taken any more."""
        return self.state in (State.ENDING, State.ENDED)

    # The publisher.

    def arrive(self, publisher: Publishing) -> None:
        """Another publisher: its first key frame goes on where the stream stands."""
        self.publisher = publisher
        self._timeline.arrive()
        self._gop.forget()
        self._sound = None
        self._beginning = Beginning()
        self._away_since = None
        self.tenure.seating.ends(None)
        self.stills.restart(time.monotonic_ns())
        if self._timeline.begun:
            self._gap()
        log.info("a publisher is here", extra=self.ids)

    def describe(self, track: str, codec: str, extradata: bytes, rate: Fraction | None) -> None:
        """How a track of the present publisher is coded."""
        if track == VIDEO:
            if codec != self._codec:
                self._gop.forget()
            self._codec, self._rate = codec, rate
        elif track == SOUND:
            self._sound = Description(codec, extradata)

    def take(self, packet: Packet, now_ns: int) -> bool:
        """One packet of the present publisher. False: it was of no use."""
        video = packet.track == VIDEO
        if self.over or not (video or packet.track == SOUND):
            return False
        announced = self.publisher is not None and self.publisher.announces_pictures
        if not self._beginning.here(packet, now_ns, announced=announced):
            self.telemetry.count("unused", "before_key_frame")
            return False
        mended = self._timeline.mend(packet, now_ns)
        if video:
            self.ledger.frames_in += 1
            mended = self._placed(mended, now_ns)
        self._keep(mended, now_ns)
        self._forward(mended, now_ns)
        return True

    def _placed(self, picture: Packet, now_ns: int) -> Packet:
        """The mended picture, only to be decoded where its time has passed."""
        placed = self.stills.place(picture, now_ns)
        if placed is None:
            self.ledger.drop("behind_still")
            return replace(picture, discard=True)
        if self._timeline.begun and (placed.pts or 0) < 0:
            self.ledger.frames_in -= 1  # shown before the first picture of all
            return replace(placed, discard=True)
        return placed

    def _keep(self, packet: Packet, now_ns: int) -> None:
        dropped = self._gop.dropped
        self._gop.add(packet, now_ns)
        if self._gop.dropped != dropped:
            self.telemetry.count("gop_dropped", "too_long", self._gop.dropped - dropped)

    def _forward(self, packet: Packet, now_ns: int) -> None:
        """To the worker, if it can make use of it."""
        video = packet.track == VIDEO
        begins = video and packet.keyframe
        if self.tenure.attachment is None and (begins or self._blank):
            self.tenure.seek()
        if self.tenure.live is not None and video and self._needs_key:
            if not begins:
                if not packet.discard:
                    self.ledger.drop("waits_for_key_frame")
                return
            self._resume()
            if self._codec != self._attached_codec:
                self.telemetry.count("takeovers", "codec")
                self._left = "codec_changed"
                self.tenure.seek(anew=True)
        self._send(packet, now_ns)

    def _send(self, packet: Packet, now_ns: int) -> None:
        replacement = self.tenure.replacement
        replacement.send(packet, now_ns, self._sound)
        at = packet.dts if packet.dts is not None else packet.pts or 0
        if packet.track == VIDEO and not -TICK < at - self._ticked < TICK:
            self._ticked = at
            replacement.send(Packet(b"", at, at, 0, BASE, True, SOUND, packet.epoch), now_ns)

    def leave(self, publisher: Publishing, *, explicit: bool) -> None:
        """The publisher is gone: for good, or lost, and then it may come back within grace."""
        if publisher is not self.publisher or self.over:
            return
        self.publisher = None
        if explicit or not self._timeline.begun:
            self.end(EndReason.PUBLISHER)
            return
        log.info("the publisher was lost", extra=self.ids)
        self._away_since = time.monotonic()
        self.tenure.seating.ends(self._grace_s)
        self._gap()

    # The gap.

    def _gap(self) -> None:
        """Nothing that can be decoded comes until the next key frame."""
        self._needs_key = True
        self.stills.restart(time.monotonic_ns())
        self.state = State.LIVE if self._blank and self.publisher is not None else State.GAP

    def _resume(self) -> None:
        self._needs_key = False
        self.state = State.LIVE

    @property
    def _blank(self) -> bool:
        """There is sound, and there never was a picture."""
        return self._gop.head is None and (self._beginning.with_sound or self._timeline.begun)

    def _beat(self) -> None:
        """Look whether pictures come, and show others where they do not."""
        self._timer = asyncio.get_running_loop().call_later(BEAT_S, self._beat)
        away = self._away_since
        if away is not None and time.monotonic() - away > self._grace_s:
            log.info("the publisher did not come back", extra=self.ids)
            self.end(EndReason.LOST)
            return
        now_ns = time.monotonic_ns()
        if self.tenure.live is None:
            return
        if not self._needs_key:
            self.state = State.GAP if self.stills.stalls(now_ns) else State.LIVE
            if self.state is State.LIVE:
                return
        if self.publisher is not None and not self._blank:
            self.publisher.request_keyframe()  # it knows how often that makes sense
        for at in self.stills.due(now_ns):
            self.ledger.frames_in += 1
            key, line = self._needs_key, self._timeline
            still = Packet(b"", at, at, line.still, BASE, key, VIDEO, line.epoch)
            self._send(still, now_ns)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The worker (`tenure.Tenant`).

    def wanted(self) -> tuple[Mapping[str, Any], bytes] | None:
        head = self._gop.head
        if self.over or (head is None and not self._blank):
            return None
        rate = self._rate
        self._attached_codec = "" if head is None else self._codec
        begun = self._timeline.begun
        asked = {
            "name": self.name,
            "pipeline": self.pipeline,
            "params": self.params,
            "version": self.version,
            "codec": self._attached_codec,
            "time_base": [1, HZ],
            "rate": None if rate is None else [rate.numerator, rate.denominator],
            "after": self.viewing.last,
            "rungs": self.viewing.rungs,
            "opening_ns": None if begun else self._hls.opening_ns,
        }
        return asked, b"" if head is None else bytes(head.data)

    def seated(self, attachment: Attachment, *, beside: bool = False) -> int | None:
        """A worker is ready: it is told what it must know, then the stream goes on live."""
        if beside:
            return self._prepared(attachment)
        now_ns = time.monotonic_ns()
        first = not self._timeline.begun
        if first:
            self._gop.shift(self._timeline.begin(now_ns, sound=self._blank))
            self._beat()
            self.viewing.begin(self.session, self._wall_ns(), attachment.tracks)
            self._timeline.still = self.viewing.still
            self.changed()
        else:
            self.telemetry.count("takeovers", "done")
        fits = self._attached_codec == self._codec and self._gop.whole
        whole = fits and self.tenure.deaths < DEADLY
        owed = hand_over(self._gop, self._sound, self.viewing, attachment, whole=whole)
        self.ledger.close("starting" if first else self._left, owed)
        self._left = "worker_lost"
        attachment.live = True
        self.stills.restart(now_ns)
        if self.publisher is not None:
            self.publisher.request_keyframe()
        if self.publisher is None or not fits:
            self._gap()
        else:
            self._resume()
        return None

    def _prepared(self, attachment: Attachment) -> int | None:
        """Give the next worker what it has to decode, once that can be done from its beginning."""
        if not self._blank and not (self._gop.whole and self._attached_codec == self._codec):
            if self.publisher is not None:
                self.publisher.request_keyframe()
            return None
        hand_over(self._gop, self._sound, self.viewing, attachment, whole=False)
        return cut_after(self._timeline.front, self.pipeline)

    def vacated(self, error: str) -> None:
        if self.over or not error:
            self._finish()
            return
        self.error = error
        log.error("the stream failed: %s", error, extra=self.ids)
        self.end(EndReason.FAILED)

    # What operators ask for.

    async def change(self, node: str, values: Mapping[str, Any], over: str) -> dict[str, Any]:
        """Change parameters. `pts` is the first picture's, None while no frames flow.

        Raises `asking.Refusal`.
        """
        pts, base = await self.tenure.replacement.change(node, values, over)
        self.params = {**self.params, node: {**self.params.get(node, {}), **values}}
        self.version += 1
        self.changed()
        seconds = None if pts is None or base is None else pts * base[0] / base[1]
        return {"version": self.version, "pts": pts, "time_base": base, "time_s": seconds}

    def use(self, pipeline: dict[str, Any]) -> None:
        """Another pipeline from now on. The ladder, and so the tracks, stay as they are."""
        before, begun = (self.pipeline, self.params), self._timeline.begun
        self.pipeline, self.params = kept(self.pipeline, pipeline) if begun else pipeline, {}
        self.version += 1
        self.changed()
        if begun:
            self.tenure.replacement.renew(before)

    # The end.

    def end(self, reason: EndReason = EndReason.ASKED) -> None:
        """Finish what is inside, then tell the viewers that it is over."""
        if self.over:
            return
        self.state, self.reason = State.ENDING, reason
        self._stop_timer()
        self.changed()
        if reason is not EndReason.MOVED and self.tenure.replacement.finish():
            self._await_rest(None)
        else:
            self._finish()

    def _await_rest(self, shown: Mapping[str, int] | None) -> None:
        """Until nothing more of it comes; `shown` is how far it had come at the last look."""
        last = dict(self.viewing.last)
        if last == shown:
            self._finish()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(FINISH_S, self._await_rest, last)

    def _finish(self) -> None:
        self._stop_timer()
        self.state = State.ENDED
        self.tenure.release(over=True)
        self.ledger.close("ended")
        log.info("the stream ended", extra=self.ids)
        on_end, self._on_end = self._on_end, lambda _: None
        try:
            end = self.viewing.let_go if self.reason is EndReason.MOVED else self.viewing.end
            end()
        finally:
            on_end(self)
