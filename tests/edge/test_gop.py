"""What a worker that takes over must decode is kept, within bounds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.gop import OWED, Gop
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
        (stands_in,) = gop.replay(0, 0)
        assert gop.dropped > 2 and stands_in.packet.discard and stands_in.packet.pts == 0
        assert gop.head is not None and gop.head.pts == 0
        gop.add(picture(at + step, size=size), 0)
        assert not gop.whole
        gop.add(picture(at + 2 * step, key=True, size=size), 0)
        assert gop.whole and len(list(gop.replay(0))) == 1


def owed(gop: Gop, shown: int | None) -> tuple[list[int], list[int]]:
    """Times of the pictures that are only decoded, and of those that are shown."""
    found: tuple[list[int], list[int]] = [], []
    for kept in gop.replay(0, shown):
        assert kept.packet.replayed
        found[not kept.packet.discard].append(kept.at)
    return found


def test_what_no_viewer_has_is_shown_by_the_next_worker() -> None:
    gop = Gop()
    for at in range(0, 5 * 3600, 3600):
        gop.add(picture(at, key=at == 0), at)
    assert owed(gop, 7200) == ([0, 3600, 7200], [10_800, 14_400])
    assert owed(gop, 14_400) == ([0, 3600, 7200, 10_800, 14_400], [])
    assert owed(gop, None) == ([0, 3600, 7200, 10_800, 14_400], [])


def test_what_was_only_to_be_decoded_the_first_time_is_not_shown_the_second() -> None:
    gop = Gop()
    gop.add(picture(0, key=True), 0)
    gop.add(replace(picture(3600), discard=True), 0)
    gop.add(picture(7200), 0)
    assert owed(gop, -1) == ([3600], [0, 7200])


def test_a_gop_stays_while_its_pictures_may_be_owed() -> None:
    gop = Gop()
    for at in range(0, 3 * S, 3600):
        gop.add(picture(at, key=at % S == 0), at)
    assert owed(gop, 2 * S - 7200)[1][0] == 2 * S - 3600  # of the GOP before the present one
    assert owed(gop, 2 * S - 7200)[0][0] == S
    assert owed(gop, 2 * S - 3600)[0] == []
    gop.add(picture(20 * S, key=True), 0)
    assert owed(gop, S) == ([], [20 * S])


def test_pictures_that_come_before_their_key_frame_bring_the_gop_that_they_need() -> None:
    gop = Gop()
    gop.add(picture(0, key=True), 0)
    gop.add(picture(3600), 0)
    gop.add(replace(picture(10_800, key=True), dts=7200), 0)
    gop.add(replace(picture(7200), dts=10_800), 0)
    assert owed(gop, 3600) == ([0, 3600], [10_800, 7200])
    assert owed(gop, 7200) == ([7200], [10_800])


def test_what_is_owed_for_long_is_not_shown_any_more() -> None:
    gop = Gop()
    for at in range(0, 4 * S, 3600):
        gop.add(picture(at, key=at == 0), at)
    newest = 4 * S - 3600
    assert owed(gop, 0)[1] == list(range(newest - OWED + 3600, newest + 1, 3600))


def test_gops_of_the_past_never_take_more_room_than_one() -> None:
    gop = Gop()
    for at in range(0, S, 3600):
        gop.add(picture(at, key=True, size=8 << 20), at)
    decoded, shown = owed(gop, -1)
    assert (decoded, len(shown)) == ([], 4) and gop.dropped == 0


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


def test_what_the_next_worker_owes_is_not_lost_whatever_the_last_one_said_of_it() -> None:
    ledger = Ledger(Telemetry())
    ledger.frames_in, ledger.frames_out = 100, 90
    ledger.reported({"dropped": {"late": 4}})
    ledger.close("worker_lost", 5)
    assert ledger.dropped == {"late": 4, "worker_lost": 1}
    ledger.frames_in, ledger.frames_out = 110, 95
    ledger.reported({"dropped": {"overflow": 2}})
    ledger.close("worker_lost", 10)  # both that it dropped among them
    assert ledger.dropped == {"late": 4, "worker_lost": 1}
    assert ledger.stats()["on_the_way"] == 10
    ledger.frames_out = 105
    ledger.frames_in = 115
    ledger.drop("link_credit", 5)  # they were not sent
    ledger.close("worker_lost", 5)  # and are now
    assert ledger.dropped == {"late": 4, "worker_lost": 1}


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
