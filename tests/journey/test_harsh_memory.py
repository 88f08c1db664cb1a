"""The journey on fakes that are hard to please: pitched, poisoned, late memory, kept frames."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from streamgen.encode.clock import FrameClock
from streamgen.errors import EncodeError, OutputError, SourceError
from streamgen.graph.graph import Graph
from streamgen.graph.lane import Lane
from streamgen.media.frame import Frame, Layout
from streamgen.media.packet import Packet
from streamgen.media.pool import CopyMeter, FramePool, Pool, copy_padded, cropped
from streamgen.media.port import PICTURE
from streamgen.media.queue import Cancelled
from streamgen.media.timeline import Presentation, Timeline
from streamgen.media.tracks import EncodedTrack
from streamgen.protocols import Encoder, Mode, Source, Value
from streamgen.report import measure
from streamgen.session import Sent, Session, run
from streamgen.telemetry import Metrics, Telemetry
from streamgen.testing import (
    Basket,
    HarshPool,
    KeepingEncoder,
    LateFence,
    NoEngines,
    PacketSource,
    PassDecoder,
)

TIME_BASE = Fraction(1, 90_000)
STEP = 3600
FRAMES = 40
SIZE = (62, 46)


class Numbering:
    """Writes the picture's number into a padded copy of it; the result counts as ready later."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.spoiled = 0

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Value], params: Any) -> Mapping[str, Value]:
        frame = inputs[PICTURE]
        assert isinstance(frame, Frame)
        packed = copy_padded(frame, self.pool, FramePool().meter, 4)
        out = self.pool.take(Layout.I420, packed.width, packed.height)
        for source, target in zip(packed.planes, out.planes, strict=True):
            np.asarray(target)[:] = source.array()
        np.asarray(out.planes[0])[:] = frame.pts // STEP + 1
        published = out.publish(packed, ready=LateFence(0.001))
        if isinstance(self.pool, HarshPool):
            self.spoiled += self.pool.spoiled(published)
        return {PICTURE: cropped(published, frame.width, frame.height)}

    def reset(self) -> None: ...

    def close(self) -> None: ...


class Fixed:
    """A ladder of given encoders, all at the picture's own size."""

    def __init__(self, *encoders: Encoder) -> None:
        self.encoders = list(encoders)
        self.tracks = [encoder.track for encoder in encoders]

    def split(self, frame: Frame, rests: int = 0) -> list[Frame]:
        return [frame] * len(self.encoders)


class Breaking(KeepingEncoder):
    """Breaks down at its tenth picture."""

    def encode(self, frame: Frame) -> Sequence[Packet]:
        if frame.pts == 10 * STEP:
            raise EncodeError("no more", rung=self.track.name)
        return super().encode(frame)


def track(name: str) -> EncodedTrack:
    return EncodedTrack(f"video/{name}", "video", "none", TIME_BASE, None)


def packets(number: int = FRAMES) -> list[Packet]:
    return [
        Packet(b"", n * STEP, n * STEP, STEP, TIME_BASE, n % 10 == 0, "video/0")
        for n in range(number)
    ]


def session(
    lane: Lane,
    stage: Numbering,
    *encoders: Encoder,
    source: Source | None = None,
    outlet: Basket | None = None,
) -> Session:
    telemetry = Telemetry()
    return Session(
        source=source or PacketSource(packets()),
        outlets=[outlet or Basket()],
        mode=Mode.OFFLINE,
        telemetry=telemetry,
        meter=CopyMeter(),
        timeline=Timeline(telemetry),
        presentation=Presentation(telemetry),
        decoder=PassDecoder(*SIZE),
        cap=None,
        graph=Graph.chain([("number", stage, None)], telemetry),
        lane=lane,
        clock=FrameClock(1_000_000_000),
        ladder=Fixed(*encoders),  # type: ignore[arg-type]  # structurally a Ladder
        sounds={},
        carried=frozenset(),
        notes=[],
        parallel=2,
        engines=NoEngines(),
    )


@pytest.mark.parametrize("pool", [HarshPool(), FramePool()], ids=["harsh", "real"])
def test_every_picture_is_whole_when_a_keeping_encoder_reads_it_late(
    lane: Lane, pool: HarshPool | FramePool
) -> None:
    stage, basket = Numbering(pool), Basket()
    rungs = [KeepingEncoder(track("a"), keep=5), KeepingEncoder(track("b"), keep=1)]
    with session(lane, stage, *rungs, outlet=basket) as one:
        run(one)
    for rung in rungs:
        sums = [int.from_bytes(p.data, "little") for p in basket.of(rung.track.name)]
        assert sums == [(n + 1) * SIZE[0] * SIZE[1] for n in range(FRAMES)]
    assert stage.spoiled == 0
    assert basket.finished


def test_every_slot_comes_back_when_the_run_is_over(lane: Lane) -> None:
    pool = HarshPool()
    with session(lane, Numbering(pool), KeepingEncoder(track("a"))) as one:
        run(one)
    del one
    gc.collect()
    assert pool.out == 0
    assert pool.taken == 2 * FRAMES


def test_a_broken_rung_does_not_take_the_others(lane: Lane) -> None:
    basket = Basket()
    good, bad = KeepingEncoder(track("good")), Breaking(track("bad"))
    with session(lane, Numbering(FramePool()), good, bad, outlet=basket) as one:
        run(one)
    assert len(basket.of("video/good")) == FRAMES
    assert basket.left_out == ["video/bad"]
    assert one.telemetry.counts("rungs_lost") == {"video/bad": 1}
    assert basket.finished


def test_when_the_top_rung_breaks_the_report_says_so_and_balances(lane: Lane) -> None:
    bad, good = Breaking(track("bad")), KeepingEncoder(track("good"))
    with session(lane, Numbering(FramePool()), bad, good) as one:
        run(one)
        report = measure(one)
    assert report.frames_in == FRAMES
    assert set(report.dropped) == {"encoder"}
    assert report.frames_in == report.frames_out + report.dropped["encoder"]
    assert len(one.notes) == 1


def test_what_a_session_measures_is_in_its_metrics(lane: Lane) -> None:
    with session(lane, Numbering(FramePool()), KeepingEncoder(track("a"))) as one:
        run(one)
        one.meter.copied("unpacked plane", 100, planes=3)
        measure(one)
    metrics = Metrics()
    metrics.add("s", one.telemetry)
    text = metrics.text().decode()
    assert 'streamgen_frames{of="in",stream="s"} 40.0' in text
    assert 'streamgen_frames{of="video/a",stream="s"} 40.0' in text
    assert 'streamgen_plane_copies{of="unpacked plane",stream="s"} 3.0' in text
    assert 'streamgen_queue_peak{of="packets",stream="s"}' in text


def test_without_any_rung_left_the_run_fails_and_nothing_is_kept(lane: Lane) -> None:
    basket = Basket()
    one = session(lane, Numbering(FramePool()), Breaking(track("a")), outlet=basket)
    with pytest.raises(EncodeError, match="no more"), one:
        run(one)
    assert basket.aborted and not basket.finished


class BreakingOff(PacketSource):
    """A source that breaks off in the middle."""

    def packets(self) -> Any:
        for number, packet in enumerate(super().packets()):
            if number == 7:
                raise SourceError("the connection broke")
            yield packet


def test_a_source_that_breaks_off_ends_the_run_and_nothing_is_kept(lane: Lane) -> None:
    basket = Basket()
    one = session(
        lane,
        Numbering(FramePool()),
        KeepingEncoder(track("a")),
        source=BreakingOff(packets()),
        outlet=basket,
    )
    with pytest.raises(SourceError, match="broke"), one:
        run(one)
    assert basket.aborted and not basket.finished


def test_a_source_without_pictures_is_an_error(lane: Lane) -> None:
    basket = Basket()
    one = session(
        lane,
        Numbering(FramePool()),
        KeepingEncoder(track("a")),
        source=PacketSource([]),
        outlet=basket,
    )
    with pytest.raises(OutputError, match="no picture"), one:
        run(one)
    assert basket.aborted


def test_a_cancelled_run_keeps_nothing(lane: Lane) -> None:
    basket = Basket()

    class Endless(PacketSource):
        def packets(self) -> Any:
            number = 0
            while not self._stopped.is_set():
                yield Packet(b"", number * STEP, number * STEP, STEP, TIME_BASE, True, "video/0")
                number += 1
                if number == 20:
                    one.cancel()

    one = session(
        lane, Numbering(FramePool()), KeepingEncoder(track("a")), source=Endless([]), outlet=basket
    )
    with pytest.raises(Cancelled), one:
        run(one)
    assert not basket.finished
    assert basket.aborted


def test_a_session_is_looked_at_while_tracks_give_their_first_packets(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session(lane, Numbering(FramePool()), KeepingEncoder(track("a"))) as one:
        run(one)
        one.meter.copied("unpacked plane", 100, planes=1)
        gauge = one.telemetry.gauge

        def meanwhile(name: str, label: str, value: float) -> None:
            one.sent[f"audio/{len(one.sent)}"] = Sent()
            one.meter.copied(f"reason {len(one.sent)}", 100, planes=1)
            gauge(name, label, value)

        monkeypatch.setattr(one.telemetry, "gauge", meanwhile)
        assert measure(one).frames_out == FRAMES
