"""Days of a stream: sound and picture stay together over every wrap of the publisher's clock."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from streamgen.encode.samples import SampleLine
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry
from streamgen_edge.timeline import HZ, LiveTimeline

RATE_HZ = 48_000
HOURS = 27
STEP_S = 8
BEGINS_S = 7  # not at its clock's zero
MOST_S = 0.020
CLOCKS = [(33, 90_000), (32, 90_000), (32, 1_000), (31, 1_000), (24, 1_000)]


def lived(bits: int, ticks_hz: int, ppm: int = 0) -> tuple[float, Telemetry]:
    """The worst distance of sound from picture in seconds, of a picture and a block of
    sound every few seconds. Samples last `ppm` longer than they should; the
    publisher's times are right."""
    telemetry = Telemetry()
    timeline, line = LiveTimeline(telemetry), SampleLine(RATE_HZ, 1, telemetry)
    timeline.arrive()
    base, block = Fraction(1, ticks_hz), np.zeros((STEP_S * RATE_HZ, 1), np.float32)
    worst = 0.0
    for number in range(HOURS * 3600 // STEP_S):
        picture_s = number * STEP_S + number % 3 / 7  # never whole ticks
        heard_s = number * STEP_S * (1 + ppm / 1e6)
        now_ns = number * STEP_S * 1_000_000_000
        picture, sound = (
            timeline.mend(Packet(b"", at, at, 0, base, True, track), now_ns)
            for track, at in (
                ("video/0", round((BEGINS_S + picture_s) * ticks_hz) % (1 << bits)),
                ("audio/0", round((BEGINS_S + heard_s) * ticks_hz) % (1 << bits)),
            )
        )
        if not number:
            timeline.begin(now_ns)
        start = round((sound.pts or 0) * RATE_HZ / HZ)
        at, piece = list(line.place(start, block))[-1]
        first = at + len(piece) - len(block)  # of the block, where its beginning was cut off
        ahead_s = first / RATE_HZ - (picture.pts or 0) / HZ
        worst = max(worst, abs(ahead_s - (heard_s - picture_s)))
    return worst, telemetry


@pytest.mark.parametrize(("bits", "ticks_hz"), CLOCKS)
def test_sound_and_picture_stay_together_over_wraps_at(bits: int, ticks_hz: int) -> None:
    worst, telemetry = lived(bits, ticks_hz)
    assert worst < MOST_S
    wraps = (BEGINS_S + HOURS * 3600) * ticks_hz >> bits
    # Below 32 bits a step back says nothing of why: it is a jump, of both tracks at once.
    kind, times = ("wrap", 2 * wraps) if bits >= 32 else ("jump_back", wraps)
    assert telemetry.counts("corrected").get(kind, 0) == times


@pytest.mark.parametrize("ppm", [-50, 50])
def test_a_sound_card_that_is_fast_or_slow_does_not_drift_away(ppm: int) -> None:
    worst, telemetry = lived(33, 90_000, ppm)
    assert worst < MOST_S
    drift_s = HOURS * 3600 * abs(ppm) / 1e6
    kind = "audio_gap" if ppm > 0 else "audio_overlap"
    assert telemetry.counts("corrected")[kind] >= drift_s / MOST_S
