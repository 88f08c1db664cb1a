"""`HostedStream`: one live stream on a worker: its session, and both ends of its link."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

from streamgen.control.cost import Done
from streamgen.control.placement.resources import Cut
from streamgen.control.sender import Say, Sender
from streamgen.deliver.link import LinkOutlet, Sending
from streamgen.encode.audio import AudioPath
from streamgen.encode.live import LiveSound, begins_at, last_end
from streamgen.errors import ConfigError, StreamGenError, Stuck
from streamgen.graph.lane import Lane
from streamgen.ingest.link import (
    SOUND,
    VIDEO,
    Description,
    LinkSource,
    MendedTimes,
    no_video,
    probe,
)
from streamgen.media.envelope import Envelope, Kind
from streamgen.media.packet import Packet
from streamgen.media.queue import Cancelled
from streamgen.media.tracks import SourceInfo, VideoTrack
from streamgen.opening import open_session
from streamgen.pipeline import parse_pipeline
from streamgen.protocols import Engines, Mode
from streamgen.report import measure
from streamgen.session import Session, run
from streamgen.telemetry import Telemetry

REHEARSAL_NICENESS = 10
NS = 1_000_000_000
PARAMS_WAIT_S = 0.5
"""How long a change may wait for its frame before the answer says that it is pending."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What the edge asks for: a stream, begun or gone on with."""

    stream: int
    term: int
    name: str
    pipeline: dict[str, Any]
    codec: str
    head: bytes
    """The access unit of a key frame, from which size and colour are read; without a codec
    there is none, and only sound."""
    time_base: Fraction
    rate: Fraction | None = None
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    """By track, the last PTS that viewers have."""
    rungs: Sequence[tuple[str, int, int]] = ()
    """Name, width and height of each, once a session has any: its tracks never change."""
    opening_ns: int | None = None
    """Output time of the one key frame beside the grid; None: it has been."""
    home: int = 0
    """Epoch by which the stream is at that edge; 0: nobody has said."""
    beside: bool = False
    """The stream goes on elsewhere, or here, until its edge changes over."""

    @classmethod
    def of(cls, message: Mapping[str, Any], head: bytes) -> Attachment:
        """From the link. Raises `ConfigError` for what is missing or of the wrong kind."""
        try:
            rate, opening_ns = message.get("rate"), message.get("opening_ns")
            return cls(
                stream=int(message["stream"]),
                term=int(message["term"]),
                name=str(message["name"]),
                pipeline=dict(message["pipeline"]),
                codec=str(message["codec"]),
                head=head,
                time_base=Fraction(*message["time_base"]),
                rate=None if rate is None else Fraction(*rate),
                params={str(k): dict(v) for k, v in message.get("params", {}).items()},
                after={str(k): int(v) for k, v in message.get("after", {}).items()},
                rungs=[(str(n), int(w), int(h)) for n, w, h in message.get("rungs", ())],
                opening_ns=None if opening_ns is None else int(opening_ns),
                home=int(message.get("home", 0)),
                beside=bool(message.get("beside", False)),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ConfigError(f"attach is incomplete: {error}") from error


class HostedStream:
    """Owned by the worker's I/O thread, except where a method says otherwise.

    `say` queues a control message for the edge, `wake` makes the I/O thread look at `outgoing`;
    both may be called from any thread.
    """

    def __init__(
        self,
        wanted: Attachment,
        lane: Lane,
        engines: Engines,
        say: Say,
        wake: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self.stream, self.term, self.name = wanted.stream, wanted.term, wanted.name
        self.telemetry = Telemetry()
        self._wanted = wanted
        self._lane = lane
        self._engines = engines
        self._now = now
        self._lock = threading.Lock()
        self.sender = Sender(wanted.stream, wanted.term, say, wake, self._lost)
        """What leaves; `deliver.link.Sending` for the session."""
        self._source: LinkSource | None = None
        self._session: Session | None = None
        self._stopped = False
        self._cut = Cut.NOTHING
        self.stuck: Stuck | None = None
        self._thread = threading.Thread(target=self._run, name=f"stream {self.name}", daemon=True)
        self._thread.start()

    # The session's threads.

    def _run(self) -> None:
        error = ""
        try:
            session = self._open()
            with session:
                self._tell("attached", tracks=self.sender.tracks, notes=session.notes)
                run(session)
        except Cancelled:
            pass
        except Stuck as failure:  # a thread is lost, and with it the worker, which says so
            self._tell("stuck", reason=str(failure), what=failure.what)
            self.stuck = failure
            return
        except StreamGenError as failure:
            error = str(failure)
        except Exception as failure:  # the thread's root: this stream ends, the worker goes on
            error = f"internal error: {type(failure).__name__}: {failure}"

        def ended(whole: bool) -> None:
            self._tell("ended", error=error, stats=self.stats(), whole=whole)

        self.sender.conclude(ended)

    def _open(self) -> Session:
        """Everything that takes time, before the edge sends the first packet."""
        wanted = self._wanted
        session, source = opened_session(
            wanted, self._lane, self._engines, self.telemetry, self.sender, self._now
        )
        for node, values in wanted.params.items():
            session.change(node, values)
        with self._lock:
            self._source, self._session = source, session
            stopped = self._stopped
            self._apply(self._cut)
        if stopped:
            session.__exit__(None, None, None)
            raise Cancelled
        return session

    def give_up(self, cut: Cut) -> None:
        """So much of it, for others or for want of room. Any thread."""
        with self._lock:
            self._cut = cut
            self._apply(cut)

    def _apply(self, cut: Cut) -> None:
        if self._session is not None and self._session.director is not None:
            stages, rungs = cut >= Cut.ENHANCEMENT, cut >= Cut.RUNGS
            self._session.director.give_up(stages=stages, rungs=rungs)

    def _tell(self, kind: str, **fields: Any) -> None:
        self.sender.tell(kind, **fields)

    def _lost(self, track: int, reason: str) -> None:
        self.telemetry.count("unsent", reason)
        if track == TOP:
            self.telemetry.count("unsent_pictures", f"link_{reason}")
        if self.sender.tracks[track]["kind"] == "video":
            self.request_keyframe()  # until one comes, the edge can use none of them

    # The I/O thread.

    def news(self) -> tuple[int, float | None] | None:
        """How far the session has come with what it was sent."""
        return None if self._source is None else self._source.intake.news()

    def feed(self, envelope: Envelope, packet: Packet) -> None:
        source = self._source
        if source is None:
            return
        match envelope.kind:
            case Kind.PACKET:
                source.feed(packet)
            case Kind.DESCRIPTION:
                codec, _, extradata = bytes(packet.data).partition(b"\0")
                source.describe(
                    packet.epoch, Description(codec.decode("ascii", "replace"), extradata)
                )
            case Kind.END:
                source.end()

    def request_keyframe(self) -> None:
        if self._session is not None:
            self._session.clock.request()

    def change(self, message: Mapping[str, Any]) -> None:
        """Parameters, on a thread of their own: a stage may be built anew, and a frame awaited."""
        threading.Thread(target=self._change, args=(message,), name="params", daemon=True).start()

    def _change(self, message: Mapping[str, Any]) -> None:
        request = message.get("request")
        session = self._session
        try:
            if session is None:
                raise ConfigError("the stream is not ready")
            node, values = str(message["node"]), dict(message["values"])
            change = session.change(node, values, over=str(message.get("over", "0s")))
            pts = change.wait(PARAMS_WAIT_S)
        except (KeyError, TypeError, StreamGenError) as error:
            self._tell("refused_params", request=request, error=str(error))
            return
        base = change.time_base
        self._tell(
            "params",
            request=request,
            version=change.version,
            pts=pts,
            time_base=None if base is None else [base.numerator, base.denominator],
        )

    def stats(self) -> dict[str, Any] | None:
        """The report so far; None before the first picture."""
        session = self._session
        if session is None or not session.started_ns:
            return None
        report = measure(session)
        dropped = report.dropped | self.telemetry.counts("unsent_pictures")
        return report.model_copy(update={"dropped": dropped}).model_dump(mode="json")

    def done(self) -> Done | None:
        """Any thread; cheap. None before the first picture."""
        session = self._session
        if session is None or not session.started_ns:
            return None
        spared = sum(sum(self.telemetry.counts(one).values()) for one in SPARED)
        director = session.director
        whole = director is None or not director.governor.level
        return Done(session.timeline.announced, spared, whole)

    def stop(self) -> None:
        """End soon, without what is inside."""
        with self._lock:
            self._stopped = True
            session, source = self._session, self._source
        self.sender.let_go()
        if source is not None:
            source.cancel()
        if session is not None:
            session.cancel()

    def join(self, timeout_s: float) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


def opened_session(
    wanted: Attachment,
    lane: Lane,
    engines: Engines,
    telemetry: Telemetry,
    link: Sending,
    now: Callable[[], datetime],
) -> tuple[Session, LinkSource]:
    """The session of a stream between both ends of its link. Raises what `open_session` does."""
    pipeline = parse_pipeline(wanted.pipeline)
    video = _video(wanted)
    source = LinkSource(SourceInfo(wanted.name, "link", video, live=True))
    sounds: dict[str, AudioPath] = {}
    if pipeline.audio.codec != "none":
        # Beside one that goes on it begins where the edge's sound does, when it is handed over.
        start = None if wanted.beside else begins_at(last_end(_samples(wanted.after)))
        sounds[SOUND] = LiveSound(source.sound, pipeline.audio, telemetry, start=start)
    session = open_session(
        pipeline,
        source,
        [LinkOutlet(link, after=wanted.after)],
        lane=lane,
        mode=Mode.LIVE,
        telemetry=telemetry,
        engines=engines,
        time_of_day=now,
        timeline=MendedTimes(),
        sounds=sounds,
        rungs=wanted.rungs,
    )
    begins_ns = wanted.opening_ns if wanted.opening_ns is not None else _onward_ns(wanted)
    if begins_ns is not None:
        session.clock.also_at(begins_ns)
    return session, source


def _video(wanted: Attachment) -> VideoTrack:
    base = wanted.time_base
    if not wanted.codec:
        return no_video(base)
    return probe(wanted.codec, wanted.head, name=wanted.name, time_base=base, rate=wanted.rate)


class _Nowhere:
    """The link of a rehearsal (`deliver.link.Sending`)."""

    def announce(self, tracks: Sequence[Mapping[str, Any]]) -> None: ...

    def send(self, track: int, packet: Packet) -> None: ...

    def end(self) -> None: ...

    def broke(self, track: int) -> None: ...


def rehearse(
    wanted: Attachment,
    lane: Lane,
    engines: Engines,
    now: Callable[[], datetime],
    ready: Callable[[], None],
) -> None:
    """Open a stream and close it again, on a thread of its own that yields to all others: what it
    needs is then compiled and loaded, should its worker die, and `ready` is called. Best effort."""

    def work() -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), REHEARSAL_NICENESS)
        with suppress(StreamGenError):  # whoever attaches the stream will hear of it
            session, _ = opened_session(wanted, lane, engines, Telemetry(), _Nowhere(), now)
            with session:
                pass
            ready()

    threading.Thread(target=work, name="rehearsal", daemon=True).start()


def _onward_ns(wanted: Attachment) -> int | None:
    """Output time from which on no rung has pictures yet. Before it some have what others lack, and
    do not get the key frame that is first for these."""
    shown = [pts for name, pts in wanted.after.items() if name.startswith("video/")]
    base = wanted.time_base
    return max(shown) * base.numerator * NS // base.denominator + 1 if shown else None


def _samples(after: Mapping[str, int]) -> dict[str, int]:
    return {name: pts for name, pts in after.items() if name.startswith("audio/")}


SPARED = ("dropped", "bypassed", "failed", "reused", "unsent_pictures")
"""Counters of what was not done, or was spared as nothing moved."""
TOP = 0
"""Number of the top rung, of those that go to an edge."""
TRACKS = {0: VIDEO, 1: SOUND}
"""Numbers of the tracks that come from an edge."""
