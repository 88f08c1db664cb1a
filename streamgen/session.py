"""The journey of one stream, on one page: pull, time, decode, process, encode, deliver.

`run` is the list of steps; the functions under it are the steps, in their order. Nothing else in
the project decides the order of the path. Live and offline differ in settings, not in code.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import attrgetter
from types import TracebackType
from typing import Any, Protocol, Self

from streamgen.config import parse_duration
from streamgen.encode.audio import AudioPath
from streamgen.encode.clock import FrameClock, RateCap
from streamgen.encode.ladder import Ladder
from streamgen.errors import ConfigError, DecodeError, EncodeError, OutputError, Stuck
from streamgen.graph.director import Director
from streamgen.graph.graph import Graph
from streamgen.graph.lane import Lane
from streamgen.graph.params import Change
from streamgen.graph.seat import Seat
from streamgen.media.frame import Color, Frame
from streamgen.media.packet import Packet
from streamgen.media.pool import CopyMeter
from streamgen.media.queue import Bounded, Cancelled
from streamgen.media.steps import StepGroup
from streamgen.media.timeline import Presentation
from streamgen.media.vigil import Vigil
from streamgen.protocols import Decoder, Encoder, Engines, Mode, Outlet, Source
from streamgen.telemetry import Telemetry


class Mending(Protocol):
    """Gives packets their time on the output's timeline: `media.timeline.Timeline` is one."""

    announced: int
    """Video packets so far that announce a picture to be shown."""

    def mend(self, packet: Packet, received_ns: int = 0) -> Packet: ...


class Share(Protocol):
    """Which pictures of a stream are encoded here."""

    def holds(self, frame: Frame) -> bool: ...


@dataclass
class Session:
    """What one stream owns while it runs. Built by `opening.open_session`; a `with` ends it."""

    source: Source
    outlets: Sequence[Outlet]
    mode: Mode
    telemetry: Telemetry
    meter: CopyMeter
    timeline: Mending
    presentation: Presentation
    decoder: Decoder
    cap: RateCap | None
    graph: Graph
    lane: Lane
    clock: FrameClock
    ladder: Ladder
    sounds: dict[str, AudioPath]
    carried: frozenset[str]
    """Names of subtitle tracks that at least one outlet takes as they are."""
    notes: list[str]
    """What the user should know: rungs left out, tracks dropped, sizes padded."""
    parallel: int
    """Pictures at work on the lane at once."""
    engines: Engines
    queues: dict[str, Bounded[Packet] | Bounded[Delivery] | Bounded[Frame] | Seat] = field(
        default_factory=dict
    )
    started_ns: int = 0
    ended_ns: int = 0
    cpu_s: float = 0.0
    sent: dict[str, Sent] = field(default_factory=dict)
    """What left each encoder, by track."""
    waiting_ns: dict[int, int] = field(default_factory=dict)
    """Arrival times of pictures that are in the top rung's encoder, by PTS."""
    group: StepGroup | None = None
    vigil: Vigil = field(default_factory=Vigil)
    seat: Seat | None = None
    director: Director | None = None
    """Of a live stream: keeps the latency budget."""
    gone: bool = False
    prepared: tuple[int, int, Color] | None = None
    """Size and colour that the stages are ready for."""
    share: Share | None = None
    """Of a piece of a file: which pictures are its own. The others only pass the stages."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with ExitStack() as leaving:  # in reverse order, each whatever the others raise
            for outlet in self.outlets:
                leaving.callback(outlet.abort)  # does nothing to an outlet that has finished
            if not isinstance(error, Stuck):  # nobody can wait for what does not come back
                leaving.callback(self.graph.close)
                if self.seat is not None:
                    leaving.callback(self.seat.drain)
            leaving.callback(self.source.close)

    def change(self, node: str, values: Mapping[str, Any], *, over: str = "0s") -> Change:
        """Set parameters of a node while the stream runs, all from one frame on; any thread.

        `change.wait()` gives the PTS of that frame. Numbers ramp `over` a duration of stream time,
        such as `500ms`. Raises `ConfigError` naming the node and the parameter.
        """
        try:
            over_ns = parse_duration(over)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return self.graph.knobs.change(node, values, over_ns=over_ns)

    def cancel(self) -> None:
        """Stop the run from another thread; `run` ends soon and no output is kept."""
        self.gone = True
        if self.group is not None:
            self.group.cancel()


@dataclass(frozen=True, slots=True)
class BrokeOff:
    """Takes a packet's place in the queue to the outlets: this track ends here, without its end."""

    track: str


Delivery = Packet | BrokeOff


@dataclass(slots=True)
class Sent:
    """What one encoder has given so far."""

    frames: int = 0
    keyframes: int = 0
    size_bytes: int = 0
    first_pts: int | None = None
    last_end: int = 0


def run(session: Session) -> None:
    """Carry one stream from its source to its outlets until the source ends.

    Raises any step's first error, and `Cancelled` after `cancel`; no outlet has finished then.
    """
    s = session
    encoders = s.ladder.encoders
    producers = len(encoders) + (1 if s.sounds else 0) + (1 if s.carried else 0)
    packets: Bounded[Packet] = Bounded(64, name="packets")
    audio: Bounded[Packet] = Bounded(8 << 20, name="audio", weigh=attrgetter("size_bytes"))
    # Live waits nowhere for long; offline, deep queues even out costly pictures between the steps.
    live = s.mode is Mode.LIVE
    depth, ahead = (s.parallel, LIVE_AHEAD) if live else (s.parallel + 6, 8)
    seat = s.seat = Seat(
        s.lane, s.graph, s.telemetry, depth=depth, parallel=s.parallel, director=s.director
    )
    pictures: list[Bounded[Frame]] = [Bounded(ahead, name=e.track.name) for e in encoders]
    rungs: Bounded[Delivery] = Bounded(256, name="rungs", producers=producers)
    s.queues = {"packets": packets, "audio": audio, "process": seat, "rungs": rungs}
    s.queues |= {f"encode/{e.track.name}": q for e, q in zip(encoders, pictures, strict=True)}
    cpu_s, s.started_ns = time.process_time(), s.telemetry.clock.now_ns()

    # Offline the largest rung sets the pace, and all that feeds it goes first.
    niceness = 0 if live else AHEAD_NICENESS
    with StepGroup(
        s.source, seat, packets, audio, rungs, *pictures, niceness=niceness, look=s.vigil.look
    ) as s.group:
        if s.gone:
            s.group.cancel()
        s.group.start("pull", pull, s, packets, audio, rungs)
        s.group.start("decode", decode, s, packets, seat)
        if len(encoders) == 1:  # one rung needs no hand-off
            one = (picture for (picture,) in sized(s, seat))
            s.group.start("encode", encode, s, encoders[0], one, rungs, leads=True)
        else:
            s.group.start("split", split, s, seat, pictures, leads=True)
            for encoder, queue in zip(encoders, pictures, strict=True):
                first = encoder is encoders[0]
                s.group.start(encoder.track.name, encode, s, encoder, queue, rungs, leads=first)
        if s.sounds:
            s.group.start("audio", transcode, s, audio, rungs)
        s.group.start("deliver", deliver, s, rungs)
    if s.group.cancelled:
        raise Cancelled

    s.ended_ns = s.telemetry.clock.now_ns()
    s.cpu_s = time.process_time() - cpu_s


def pull(
    s: Session, packets: Bounded[Packet], audio: Bounded[Packet], rungs: Bounded[Delivery]
) -> None:
    """Demux, mend the time, and send each packet its way."""
    now_ns = s.telemetry.clock.now_ns
    video = s.source.info.video.name
    for raw in s.source.packets():
        packet = s.timeline.mend(raw, now_ns())
        if packet.track == video:
            packets.put(packet)
        elif packet.track in s.sounds:
            audio.put(packet)
        elif packet.track in s.carried:
            rungs.put(packet)
    s.notes += getattr(s.source, "notes", [])
    packets.close()
    audio.close()
    if s.carried:
        rungs.close()


def decode(s: Session, packets: Bounded[Packet], seat: Seat) -> None:
    """Packets to pictures in presentation order, handed to the lane."""
    times = s.telemetry.times("decode")
    now_ns = s.telemetry.clock.now_ns
    epoch, owed = 0, False
    for packet in packets:
        owed = packet.replayed or (owed and len(packets) > 0)  # so is what came behind
        if packet.epoch != epoch:
            epoch = packet.epoch
            present(s, s.decoder.flush(), seat, owed=owed)
        began_ns = now_ns()
        try:
            frames = s.decoder.decode(packet)
        except DecodeError:
            s.telemetry.count("lost", "decode")
            continue
        times.span(began_ns, now_ns(), packet.pts)
        present(s, frames, seat, owed=owed)
    present(s, s.decoder.flush(), seat)
    seat.close()


def present(s: Session, frames: Sequence[Frame], seat: Seat, *, owed: bool = False) -> None:
    """Give shown pictures their final time; the frame rate cap acts before any work is spent."""
    for decoded in frames:
        frame = s.presentation.show(decoded)
        if frame is not None and s.cap is not None:
            frame = s.cap.keep(frame)
        if frame is not None:
            fit(s, frame)
            seat.put(frame, owed=owed)


def fit(s: Session, frame: Frame) -> None:
    """Compile for another size or colour here, on the stream's own thread: never on the lane."""
    present = (frame.width, frame.height, frame.color)
    if present != s.prepared:
        s.graph.prepare(*present)
        s.prepared = present


def sized(s: Session, seat: Seat) -> Iterator[list[Frame]]:
    """Decide the key frames, once, and make one picture for every rung that does not rest."""
    times = s.telemetry.times("scale")
    now_ns = s.telemetry.clock.now_ns
    rests = 0
    for processed in seat:
        if s.share is not None and not s.share.holds(processed):
            continue
        rested, rests = rests, resting(s)
        if rests < rested:
            s.clock.request()  # a rung comes back: a GOP begins, on all rungs
        frame = s.clock.mark(processed)
        if len(s.waiting_ns) < MOST_WAITING:
            s.waiting_ns[frame.pts] = frame.received_ns
        began_ns = now_ns()
        pictures = s.ladder.split(frame, rests)
        times.span(began_ns, now_ns(), frame.pts)
        yield pictures


def split(s: Session, seat: Seat, rungs: Sequence[Bounded[Frame]]) -> None:
    """Hand every rung that does not rest its picture; the slowest sets the pace."""
    for pictures in sized(s, seat):
        rests = len(rungs) - len(pictures)
        if rests:
            s.telemetry.count("dropped", "rung")
        for queue, picture in zip(rungs[rests:], pictures, strict=True):
            queue.put(picture)
    for queue in rungs:
        queue.close()


def encode(
    s: Session, encoder: Encoder, pictures: Iterable[Frame], rungs: Bounded[Delivery]
) -> None:
    """One rung. If its encoder breaks, the other rungs go on without it."""
    name = encoder.track.name
    times = s.telemetry.times(f"encode/{name}")
    now_ns = s.telemetry.clock.now_ns
    sent = s.sent.setdefault(name, Sent())
    try:
        for frame in pictures:
            began_ns = now_ns()
            out = encoder.encode(frame)
            times.span(began_ns, now_ns(), frame.pts)
            for packet in out:
                account(s, sent, packet, encoder)
                rungs.put(packet)
        for packet in encoder.flush():
            account(s, sent, packet, encoder)
            rungs.put(packet)
    except EncodeError as error:
        lose_rung(s, name, error)
        rungs.put(BrokeOff(name))
        for _ in pictures:
            pass
    rungs.close()


def resting(s: Session) -> int:
    """How many rungs at the top get no pictures now: none where all others have broken."""
    rests = 0 if s.director is None else s.director.rests
    lost = s.telemetry.counts("rungs_lost") if rests else {}
    return rests if any(e.track.name not in lost for e in s.ladder.encoders[rests:]) else 0


def account(s: Session, sent: Sent, packet: Packet, encoder: Encoder) -> None:
    """Count what left an encoder, and how long the picture was on its way: the last byte out of the
    largest rung that is fed ends its latency."""
    sent.frames += 1
    sent.keyframes += packet.keyframe
    sent.size_bytes += packet.size_bytes
    pts = packet.pts or 0
    sent.first_pts = pts if sent.first_pts is None else min(pts, sent.first_pts)
    sent.last_end = max(sent.last_end, pts + packet.duration)
    top = encoder is s.ladder.encoders[resting(s)]
    if top and (received_ns := s.waiting_ns.pop(pts, 0)):
        now_ns = s.telemetry.clock.now_ns()
        s.telemetry.times("latency").add(now_ns - received_ns)
        if s.director is not None:
            s.director.governor.finished(received_ns, now_ns)


def lose_rung(s: Session, name: str, error: EncodeError) -> None:
    """A broken rung is left out of the outputs; without any rung left the run fails."""
    s.telemetry.count("rungs_lost", name)
    s.notes.append(f"rung {name} failed and is left out: {error}")
    if len(s.telemetry.counts("rungs_lost")) == len(s.ladder.encoders):
        raise error


def transcode(s: Session, audio: Bounded[Packet], rungs: Bounded[Delivery]) -> None:
    """Sound goes the short way: copied, or decoded and encoded again."""
    times = s.telemetry.times("audio")
    now_ns = s.telemetry.clock.now_ns
    for packet in audio:
        began_ns = now_ns()
        out = s.sounds[packet.track].push(packet)
        times.span(began_ns, now_ns(), packet.pts)
        for sound in out:
            rungs.put(sound)
    for path in s.sounds.values():
        for sound in path.flush():
            rungs.put(sound)
    rungs.close()


def deliver(s: Session, rungs: Bounded[Delivery]) -> None:
    """Hand every packet to every outlet; when all have come, make the outputs visible."""
    times = s.telemetry.times("deliver")
    now_ns = s.telemetry.clock.now_ns
    for item in rungs:
        began_ns = now_ns()
        for outlet in s.outlets:
            if isinstance(item, BrokeOff):
                outlet.drop(item.track)
            else:
                outlet.write(item)
        times.span(began_ns, now_ns(), None if isinstance(item, BrokeOff) else item.pts)
    if not any(sent.frames for sent in s.sent.values()):
        raise OutputError(f"{s.source.info.name}: no picture could be decoded")
    for outlet in s.outlets:
        outlet.finish()
        s.notes += [note for note in outlet.dropped_tracks if note not in s.notes]


AHEAD_NICENESS = 10
"""Of the steps that run ahead of the one that sets the pace: a tenth more pictures a second where
the network is cheap and two cores do everything (`benchmarks/offline.py`)."""
LIVE_AHEAD = 2
"""Live pictures that may wait for each encoder."""
MOST_WAITING = 1000
"""Pictures whose latency is being measured; more wait only when the top rung has broken."""
