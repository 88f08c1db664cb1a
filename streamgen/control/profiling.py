"""`profiled`: what a live pipeline takes of this machine, measured by running it in real time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import av
from av.filter import Graph

from streamgen.control.cost import own_memory_mb
from streamgen.control.placement.profiles import name_of, subject_of
from streamgen.control.placement.resources import Profile, Resources
from streamgen.deliver.link import LinkOutlet
from streamgen.encode.live import LiveSound
from streamgen.errors import StreamGenError
from streamgen.graph.lane import Lane
from streamgen.ingest.link import SOUND, LinkSource, MendedTimes, probe
from streamgen.media.packet import Packet
from streamgen.media.tracks import SourceInfo
from streamgen.opening import open_session
from streamgen.pipeline import Live, Pipeline
from streamgen.protocols import Mode
from streamgen.report import Report, measure
from streamgen.session import Session, run
from streamgen.telemetry import Telemetry

BASE = Fraction(1, 90_000)
WARM_S = 1.0
"""From the first picture on: what is loaded and allocated once is not counted."""
LAST_S = 10.0
"""Longest time from the last packet to the end of the session."""
CLIP_S = 2
"""Length of the picture that is shown again and again."""


@dataclass(frozen=True, slots=True)
class Clip:
    """H.264 as publishers send it, from a key frame on."""

    width: int
    height: int
    rate: Fraction
    packets: Sequence[bytes]
    """One access unit each (Annex B); the first is a key frame."""

    def packet(self, number: int) -> Packet:
        data = self.packets[number % len(self.packets)]
        at, step = round(number / self.rate / BASE), round(1 / self.rate / BASE)
        return Packet(data, at, at, step, BASE, number % len(self.packets) == 0, "video/0")


@dataclass(frozen=True, slots=True)
class Taken:
    """What one way to run it took."""

    cpu_ms: float
    """Of the processor for each picture: decoding, network, and all encodes."""
    memory_mb: float
    """More than the process had before it."""
    report: Report

    def needs(self, rate: Fraction) -> Resources:
        return Resources(cpu_ms=ceil(self.cpu_ms * rate), memory_mb=ceil(self.memory_mb))


def moving_clip(width: int, height: int, rate: Fraction) -> Clip:
    """Moving shapes with some grain, which costs about what pictures of cameras do."""
    graph = Graph()
    source = graph.add("testsrc2", f"size={width}x{height}:rate={rate}:duration={CLIP_S}")
    grain = graph.add("noise", "alls=6:allf=t")
    form = graph.add("format", "pix_fmts=yuv420p")
    sink = graph.add("buffersink")
    for one, other in ((source, grain), (grain, form), (form, sink)):
        one.link_to(other)
    graph.configure()
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = 1 / rate, rate
    encoder.bit_rate = max(1_000_000, width * height * 3)
    encoder.options = {"preset": "veryfast", "tune": "zerolatency", "x264-params": "scenecut=0"}
    encoder.gop_size = ceil(CLIP_S * rate)
    packets = []
    while True:
        try:
            frame: Any = sink.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            break
        packets += encoder.encode(frame)
    return Clip(width, height, rate, [bytes(one) for one in [*packets, *encoder.encode(None)]])


def ways(pipeline: Pipeline) -> list[Pipeline]:
    """A pipeline whole, without enhancement, and without the top rungs either, as far as these
    differ."""
    found = [pipeline]
    if pipeline.stages or pipeline.graph:
        bare = {"stages": (), "graph": {}, "output": "", "live": Live()}
        found.append(pipeline.model_copy(update=bare))
    if len(pipeline.ladder) > 1:
        found.append(found[-1].model_copy(update={"ladder": pipeline.ladder[-1:]}))
    return found


def profiled(
    pipeline: Pipeline, clip: Clip, seconds: float, heard: Callable[[Taken], None]
) -> Profile:
    """Run each of `ways` for so long. Raises `StreamGenError` where one cannot run.

    `heard` is told what each took.
    """
    needs: list[Resources] = []
    for way in ways(pipeline):
        taken = take(way, clip, seconds)
        heard(taken)
        found = taken.needs(clip.rate)
        # Giving up something never takes more: the rest is what two measurements differ by.
        needs.append(found.least(needs[-1]) if needs else found)
    if len(needs) == 2 and not pipeline.nodes()[0]:
        needs.insert(1, needs[0])  # there is no enhancement to give up
    rate = float(clip.rate)
    subject = subject_of(pipeline, clip.width, clip.height, rate)
    return Profile(name_of(pipeline.name, clip.height, rate), tuple(needs), subject=subject)


def take(pipeline: Pipeline, clip: Clip, seconds: float) -> Taken:
    """One live session in real time, between both ends of a link."""
    telemetry = Telemetry()
    video = probe("h264", clip.packets[0], name="profile", time_base=BASE, rate=clip.rate)
    source = LinkSource(SourceInfo("profile", "link", video, live=True))
    sounds = {}
    if pipeline.audio.codec != "none":
        sounds[SOUND] = LiveSound(source.sound, pipeline.audio, telemetry)
    before_mb = own_memory_mb()
    with Lane() as lane:
        session = open_session(
            pipeline,
            source,
            [LinkOutlet(_Nowhere())],
            lane=lane,
            mode=Mode.LIVE,
            telemetry=telemetry,
            timeline=MendedTimes(),
            sounds=sounds,
        )
        with session:
            running = _Running(session)
            running.start()
            feeding = _fed(source, clip, seconds, running)
            running.join(LAST_S)
            report = measure(session)
    if running.error is not None:
        raise running.error
    cpu_s, frames, memory_mb = feeding
    shown = report.frames_out - frames
    if shown <= 0:
        raise StreamGenError("no picture came out: this machine is too slow to measure on")
    return Taken(1000 * cpu_s / shown, max(0.0, memory_mb - before_mb), report)


class _Running(threading.Thread):
    """The session, beside the one that feeds it."""

    def __init__(self, session: Session) -> None:
        super().__init__(name="profile", daemon=True)
        self.session = session
        self.error: StreamGenError | None = None

    def run(self) -> None:
        try:
            run(self.session)
        except StreamGenError as error:
            self.error = error


def _fed(
    source: LinkSource, clip: Clip, seconds: float, running: _Running
) -> tuple[float, int, float]:
    """CPU seconds after the first one, the pictures before that, and the most memory."""
    cpu_s, frames, most_mb = 0.0, 0, 0.0
    began = time.monotonic()
    for number in range(ceil((WARM_S + seconds) * clip.rate)):
        time.sleep(max(0.0, began + number / float(clip.rate) - time.monotonic()))
        if running.error is not None:
            break
        if number == ceil(WARM_S * clip.rate):
            cpu_s, frames = time.process_time(), measure(running.session).frames_out
        source.feed(clip.packet(number))
        most_mb = max(most_mb, own_memory_mb())
    source.end()
    running.join(LAST_S)
    return time.process_time() - cpu_s, frames, most_mb


class _Nowhere:
    """`deliver.link.Sending` to nobody."""

    def announce(self, tracks: Sequence[Mapping[str, Any]]) -> None: ...

    def send(self, track: int, packet: Packet) -> None: ...

    def end(self) -> None: ...

    def broke(self, track: int) -> None: ...
