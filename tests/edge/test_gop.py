"""What a worker that takes over must decode is kept, within bounds."""

from __future__ import annotations

from fractions import Fraction

from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.gop import Gop
from streamgen_edge.ledger import Ledger

BASE = Fraction(1, 90_000)
S = 90_000


def picture(at: int, *, key: bool = False, size: int = 10) -> Packet:
    return Packet(bytes(size), at, at, 3600, BASE, key, "video/0")


def sound(at: int) -> Packet:
    return Packet(b"s", at, at, 1920, BASE, True, "audio/0")


def test_the_gop_so_far_is_replayed_without_being_shown_and_sound_by_its_time() -> None:
    gop = Gop()
    for at in (0, 3600, 7200):
        gop.add(sound(at), at)
        gop.add(picture(at, key=at == 0), at)
    kept = [(k.packet.track, k.packet.pts, k.packet.discard) for k in gop.replay(3600)]
    assert kept == [
        ("video/0", 0, True),
        ("video/0", 3600, True),
        ("audio/0", 3600, False),
        ("video/0", 7200, True),
        ("audio/0", 7200, False),
    ]


def test_a_key_frame_begins_anew() -> None:
    gop = Gop()
    for at in range(0, 5 * 3600, 3600):
        gop.add(picture(at, key=at in (0, 7200)), at)
    assert [k.packet.pts for k in gop.replay(0)] == [7200, 10_800, 14_400]
    assert gop.head is not None and gop.head.pts == 7200


def test_a_gop_that_is_too_long_or_large_is_dropped_until_the_next_key_frame() -> None:
    for step, size in ((S, 10), (3600, 8 << 20)):
        gop = Gop()
        at = 0
        gop.add(picture(at, key=True, size=size), 0)
        while gop.whole:
            at += step
            gop.add(picture(at, size=size), 0)
        assert gop.dropped > 2 and list(gop.replay(0)) == []
        assert gop.head is not None and gop.head.pts == 0
        gop.add(picture(at + step, size=size), 0)
        assert not gop.whole
        gop.add(picture(at + 2 * step, key=True, size=size), 0)
        assert gop.whole and len(list(gop.replay(0))) == 1


def test_sound_is_kept_for_seconds_not_for_ever() -> None:
    gop = Gop()
    for at in range(0, 60 * S, 1920):
        gop.add(sound(at), 0)
    kept = [k.packet.pts or 0 for k in gop.replay(0)]
    assert 2.9 * S < kept[-1] - kept[0] <= 3 * S


def test_when_the_zero_is_decided_everything_kept_is_moved() -> None:
    gop = Gop()
    gop.add(picture(0, key=True), 0)
    gop.add(sound(100), 0)
    gop.shift(-50)
    assert [k.packet.pts for k in gop.replay(-100)] == [-50, 50]
    assert gop.head is not None and gop.head.pts == -50


def test_every_picture_is_accounted_for_over_two_workers() -> None:
    ledger = Ledger(Telemetry())
    ledger.frames_in, ledger.frames_out = 100, 90
    ledger.reported({"dropped": {"late": 4}, "fps": 25.0})
    assert ledger.stats()["on_the_way"] == 6
    ledger.close("worker_lost")
    assert ledger.dropped == {"late": 4, "worker_lost": 6}
    ledger.frames_in, ledger.frames_out = 200, 189
    ledger.reported({"dropped": {"late": 1}})
    stats = ledger.stats()
    assert stats["dropped"] == {"late": 5, "worker_lost": 6}
    assert stats["frames_in"] == stats["frames_out"] + sum(stats["dropped"].values())
    ledger.close("ended")
    assert ledger.dropped == {"late": 5, "worker_lost": 6}


def test_what_the_worker_measures_can_be_scraped() -> None:
    telemetry = Telemetry()
    ledger = Ledger(telemetry)
    ledger.frames_in, ledger.frames_out = 10, 7
    audio = {"codec": "aac", "samples": 48_000, "av_offset_ms": 3.5}
    latency = {"p50": 40.0, "p95": 70.0, "p99": 90.0}
    ledger.reported({"dropped": {"late": 2}, "audio": audio, "latency_ms": latency})
    gauges = telemetry.gauges()
    assert gauges["av_offset_ms", "sound"] == 3.5
    assert gauges["latency_ms", "p95"] == 70.0
    assert gauges["frames", "in"] == 10 and gauges["frames_dropped", "late"] == 2
