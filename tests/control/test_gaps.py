"""What viewers see where nothing comes of the publisher: real decoder, real encoder, no network."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from streamgen.control.hosted import Attachment, opened_session
from streamgen.errors import ConfigError
from streamgen.graph.lane import Lane
from streamgen.ingest.link import LinkSource
from streamgen.media.packet import Packet
from streamgen.pipeline import parse_pipeline
from streamgen.plugins import models
from streamgen.protocols import Mode
from streamgen.report import measure
from streamgen.runtimes.choose import MeasuredEngines
from streamgen.session import run
from streamgen.telemetry import Telemetry
from tests.control.test_link_session import BASE, PIPELINE, STEP, Wire, published

STILL = 15_000


def still(at: int, *, key: bool = True) -> Packet:
    return Packet(b"", at, at, STILL, BASE, key, "video/0")


def carried(
    packets: Sequence[Packet],
    *,
    live: dict[str, Any] | None = None,
    codec: str = "h264",
    rungs: Sequence[tuple[str, int, int]] = (),
    stages: Sequence[Any] = (),
    after: Mapping[str, int] | None = None,
) -> tuple[Wire, Any]:
    """A session as a worker opens it for an edge, from its first packet to its last."""
    head = next((bytes(p.data) for p in packets if p.size_bytes), b"")
    pipeline = {**PIPELINE, "live": {"latency_budget": "5s", **(live or {})}, "stages": [*stages]}
    wanted = Attachment(
        1, 1, "x", pipeline, codec, head if codec else b"", BASE, Fraction(25), rungs=rungs
    )
    wanted = replace(wanted, after=after or {})
    wire, telemetry = Wire(), Telemetry()
    with Lane() as lane:
        engines = MeasuredEngines(Mode.LIVE, cache=None, cores=1, telemetry=telemetry)
        session, source = opened_session(
            wanted, lane, engines, telemetry, wire, lambda: datetime.now(UTC)
        )
        feeding = threading.Thread(target=feed, args=(source, wire, packets))
        feeding.start()
        with session:
            run(session)
        feeding.join()
    return wire, measure(session)


def feed(source: LinkSource, wire: Wire, packets: Sequence[Packet]) -> None:
    """One after the other, as fast as they come out: no picture is late. What is replayed waits
    for nothing."""
    for number, packet in enumerate(packets, 1):
        source.feed(packet)
        if packet.replayed:
            continue
        patience = time.monotonic() + 2
        while len(next(iter(wire.packets.values()), ())) < number and time.monotonic() < patience:
            time.sleep(0.0005)
    source.end()


def lumas(wire: Wire, track: str = "video/90p") -> list[tuple[int, float]]:
    """Time and mean luma of every picture that viewers see."""
    decoder: Any = av.CodecContext.create("h264", "r")
    found = []
    for packet in [*wire.packets[track], None]:
        unit = None
        if packet is not None:
            unit = av.Packet(bytes(packet.data))
            unit.pts = packet.pts
        for frame in decoder.decode(unit):
            found.append((frame.pts, float(frame.to_ndarray()[: frame.height].mean())))
    return found


def test_a_gap_shows_the_last_picture_however_long_it_is() -> None:
    clip = published(3)
    gap = [still(3 * STEP + n * STILL) for n in range(6 * 90)]  # a minute and a half
    wire, report = carried([*clip, *gap])
    seen = lumas(wire)
    assert [at for at, _ in seen] == [p.pts for p in [*clip, *gap]]
    assert all(abs(luma - seen[2][1]) < 2 for _, luma in seen[3:])
    assert report.frames_in == report.frames_out == 3 + len(gap)
    grid = [p.pts for p in wire.packets["video/90p"] if p.keyframe]
    assert len(grid) >= 90


@pytest.mark.parametrize("live", [{"gap": "slate"}, {"gap": "slate", "when_late": ["slate"]}])
def test_a_gap_shows_the_dark_slate_where_the_pipeline_says_so(live: dict[str, Any]) -> None:
    clip = published(30)
    packets = [*clip[:25], *(still(25 * STEP + n * STILL) for n in range(12))]
    again = [
        Packet(p.data, p.pts + 10 * 90_000, p.pts + 10 * 90_000, STEP, BASE, p.keyframe, p.track, 1)
        for p in published(5)
    ]
    wire, report = carried([*packets, *again], live=live)
    seen = lumas(wire)
    assert len(seen) == 42 and report.frames_out == 42
    assert all(abs(luma - 32) < 2 for _, luma in seen[25:37])
    assert abs(seen[37][1] - seen[0][1]) < 2  # the first picture again, and no slate with it


def test_a_picture_from_a_file_is_the_slate_of_gaps_too(tmp_path: Path) -> None:
    path = tmp_path / "soon.png"
    with av.open(str(path), "w", format="image2") as file:
        stream: Any = file.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 18, "rgb24"
        picture = av.VideoFrame(32, 18, "rgb24")
        for plane in picture.planes:
            plane.update(bytes([200]) * plane.buffer_size)
        file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    packets = [*published(2), *(still(2 * STEP + n * STILL) for n in range(3))]
    wire, _ = carried(packets, live={"slate": str(path)})
    assert [luma > 150 for _, luma in lumas(wire)] == [False, False, True, True, True]
    wire, _ = carried(packets, live={"slate": str(path), "gap": "picture", "when_late": ["slate"]})
    assert not any(luma > 150 for _, luma in lumas(wire))


def test_a_slate_that_nothing_shows_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither when_late nor gap"):
        parse_pipeline({**PIPELINE, "live": {"slate": "x.png", "gap": "picture"}})


def test_a_stream_without_pictures_has_steady_dark_ones() -> None:
    times = [n * STILL for n in range(1, 13)]
    wire, report = carried([still(at) for at in times], codec="")
    (track,) = [t for t in wire.tracks if t["kind"] == "video"]
    assert (track["width"], track["height"]) == (160, 90)
    assert [at for at, _ in lumas(wire)] == times
    assert all(abs(luma - 32) < 2 for _, luma in lumas(wire))
    assert report.frames_in == report.frames_out == 12


@pytest.mark.skipif("starry" not in models(), reason="the model is not installed")
def test_the_slate_is_not_painted_and_costs_no_model() -> None:
    packets = [still(n * STILL) for n in range(1, 7)]
    wire, report = carried(packets, codec="", stages=[{"style": {"model": "starry"}}])
    assert all(abs(luma - 32) < 2 for _, luma in lumas(wire)) and report.stages[0].frames == 0


def test_a_session_keeps_its_rungs_whatever_the_present_picture_is() -> None:
    rungs = [("180p", 320, 180), ("90p", 120, 90)]
    wire, _ = carried(published(3), rungs=rungs)
    tracks = [(t["name"], t["width"], t["height"]) for t in wire.tracks if t["kind"] == "video"]
    assert tracks == [("video/180p", 320, 180), ("video/90p", 120, 90)]
    assert len(lumas(wire, "video/180p")) == len(lumas(wire, "video/90p")) == 3


def test_each_rung_goes_on_with_a_key_frame_where_the_worker_before_left_it() -> None:
    packets = [replace(p, discard=n < 4, replayed=True) for n, p in enumerate(published(12))]
    rungs = [("90p", 160, 90), ("60p", 106, 60)]
    after = {"video/90p": 5 * STEP, "video/60p": 3 * STEP}
    wire, _ = carried(packets, rungs=rungs, after=after)
    out = {name: [(p.pts, p.keyframe) for p in some] for name, some in wire.packets.items()}
    assert out["video/90p"] == [(n * STEP, n == 6) for n in range(6, 12)]
    assert out["video/60p"] == [(n * STEP, n in (4, 6)) for n in range(4, 12)]
