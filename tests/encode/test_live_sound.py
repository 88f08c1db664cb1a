"""Live sound never ends, never starts late, and goes on seamlessly on another worker."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from streamgen.encode.audio import AudioSettings
from streamgen.encode.live import GRID, LATE, RATE_HZ, LiveSound, begins_at, last_end
from streamgen.media.packet import Packet
from streamgen.telemetry import Telemetry

BASE = Fraction(1, RATE_HZ)
TRACKS = {"audio/aac": 1024, "audio/opus": 960}


@dataclass(frozen=True)
class Told:
    codec: str
    extradata: bytes


def tone(seconds: float, *, start: int = 0, rate_hz: int = 44_100) -> tuple[Told, list[Packet]]:
    """AAC of a 440 Hz tone as a publisher sends it, in packets of 1024 samples."""
    encoder: Any = av.CodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate_hz, "mono", "fltp"
    encoder.flags |= 1 << 22
    encoder.open()
    at = np.arange(round(seconds * rate_hz))
    samples = (0.3 * np.sin(at * (2 * np.pi * 440 / rate_hz))).astype(np.float32)
    packets = []
    for begin in range(0, len(samples) - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[None, begin : begin + 1024]), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, begin, Fraction(1, rate_hz)
        packets += encoder.encode(frame)
    base = Fraction(1, rate_hz)
    shift = round(start * base.denominator / RATE_HZ)
    told = Told("aac", bytes(encoder.extradata))
    return told, [
        Packet(bytes(p), p.pts + shift, p.pts + shift, 1024, base, True, "audio/0") for p in packets
    ]


def tick(at: int) -> Packet:
    return Packet(b"", at, at, 0, BASE, True, "audio/0")


def spans(packets: Sequence[Packet], name: str) -> list[int]:
    return [p.pts or 0 for p in packets if p.track == name]


def heard(packets: Sequence[Packet], name: str, sound: LiveSound) -> np.ndarray[Any, Any]:
    """What a decoder gives for these packets, one channel."""
    track = next(t for t in sound.tracks if t.name == name)
    decoder: Any = av.CodecContext.create(track.codec, "r")
    decoder.extradata = bytes(track.template.codec_context.extradata)
    blocks: list[Any] = []
    for packet in packets:
        if packet.track == name:
            unit = av.Packet(bytes(packet.data))
            blocks += [f.to_ndarray()[0] for f in decoder.decode(unit)]
    return np.concatenate(blocks)


def test_both_codecs_are_there_from_the_first_moment_without_any_sound() -> None:
    telemetry = Telemetry()
    sound = LiveSound(lambda epoch, at: None, AudioSettings(), telemetry)
    out = [p for at in range(0, RATE_HZ, 4800) for p in sound.push(tick(at))]
    assert [(t.name, t.codec, t.rate_hz, t.channels) for t in sound.tracks] == [
        ("audio/aac", "aac", 48_000, 2),
        ("audio/opus", "opus", 48_000, 2),
    ]
    for name, length in TRACKS.items():
        at = spans(out, name)
        assert at[-1] > RATE_HZ - 4800 - 4 * length
        assert {b - a for a, b in itertools.pairwise(at)} == {length}
    assert telemetry.counts("corrected")["silence"] > 0
    assert abs(heard(out, "audio/aac", sound)).max() < 1e-3


def test_sound_is_resampled_and_lies_on_both_grids() -> None:
    told, packets = tone(1.0)
    sound = LiveSound(lambda epoch, at: told, AudioSettings(), Telemetry())
    out = [p for packet in packets for p in sound.push(packet)] + sound.flush()
    for name, length in TRACKS.items():
        at = spans(out, name)
        assert {b - a for a, b in itertools.pairwise(at)} == {length}
    pcm = heard(out, "audio/aac", sound)
    middle = pcm[12_000:36_000]
    peak = np.argmax(abs(np.fft.rfft(middle))) * RATE_HZ / len(middle)
    assert abs(peak - 440) < 4
    assert 0.2 < abs(middle).max() < 0.45


def test_a_hole_in_the_sound_is_filled_once_it_is_late() -> None:
    told, packets = tone(1.0)
    telemetry = Telemetry()
    sound = LiveSound(lambda epoch, at: told, AudioSettings(), telemetry)
    out = [p for packet in packets for p in sound.push(packet)]
    end = max(spans(out, "audio/aac"))
    out += sound.push(tick(RATE_HZ + LATE // 2))
    assert max(spans(out, "audio/aac")) == end  # it may still come
    out += sound.push(tick(4 * RATE_HZ))
    assert max(spans(out, "audio/aac")) > 4 * RATE_HZ - 4096
    assert telemetry.counts("corrected")["silence"] == 1


def test_sound_that_comes_after_its_place_was_filled_is_left_out() -> None:
    told, packets = tone(0.5)
    telemetry = Telemetry()
    sound = LiveSound(lambda epoch, at: told, AudioSettings(), telemetry)
    out = sound.push(tick(2 * RATE_HZ))
    out += [p for packet in packets for p in sound.push(packet)]
    at = spans(out, "audio/aac")
    assert at == sorted(set(at))
    assert telemetry.counts("corrected")["audio_overlap"] > 0


def test_undescribed_and_damaged_sound_is_lost_and_counted() -> None:
    told, packets = tone(0.3)
    telemetry = Telemetry()
    descriptions: dict[int, Told] = {}
    sound = LiveSound(lambda epoch, at: descriptions.get(epoch), AudioSettings(), telemetry)
    assert sound.push(packets[0]) == []
    assert telemetry.counts("lost") == {"audio": 1}
    descriptions[0] = told
    sound.push(Packet(b"\xff" * 40, 0, 0, 1024, Fraction(1, 44_100), True, "audio/0"))
    out = [p for packet in packets[1:] for p in sound.push(packet)]
    assert out  # described later, and not put off by damage


def test_sound_that_is_described_anew_goes_on_in_its_new_form() -> None:
    told, packets = tone(0.5)
    other, faster = tone(0.5, start=RATE_HZ // 2, rate_hz=22_050)
    telemetry = Telemetry()
    descriptions = {0: told}
    sound = LiveSound(lambda epoch, at: descriptions.get(epoch), AudioSettings(), telemetry)
    out = [p for packet in packets for p in sound.push(packet)]
    descriptions[0] = other
    out += [p for packet in faster for p in sound.push(packet)]
    pcm = heard(out, "audio/aac", sound)
    for begin in (8_000, 30_000):
        block = pcm[begin : begin + 8_000]
        peak = np.argmax(abs(np.fft.rfft(block))) * RATE_HZ / len(block)
        assert abs(peak - 440) < 8
    assert not telemetry.counts("lost")


@pytest.mark.parametrize("codec", ["pcm_alaw", "pcm_mulaw"])
def test_telephone_sound_is_heard(codec: str) -> None:
    rate_hz, length = 8_000, 160
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate_hz, "mono", "s16"
    encoder.open()
    at = np.arange(rate_hz)
    samples = (10_000 * np.sin(at * (2 * np.pi * 440 / rate_hz))).astype(np.int16)
    base = Fraction(1, rate_hz)
    sound = LiveSound(lambda epoch, at: Told(codec, b""), AudioSettings(), telemetry := Telemetry())
    out = []
    for begin in range(0, rate_hz, length):
        block = np.ascontiguousarray(samples[None, begin : begin + length])
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
        frame.sample_rate = rate_hz
        data = b"".join(bytes(packet) for packet in encoder.encode(frame))
        out += sound.push(Packet(data, begin, begin, length, base, True, "audio/0"))
    block = heard(out, "audio/aac", sound)[8_000:24_000]
    assert abs(np.argmax(abs(np.fft.rfft(block))) * RATE_HZ / len(block) - 440) < 8
    assert not telemetry.counts("lost")


def halves(told: Told, packets: list[Packet], cut: int) -> Iterator[list[Packet]]:
    """The packets of a worker that dies at `cut`, and those of its successor."""
    first = LiveSound(lambda epoch, at: told, AudioSettings(), Telemetry())
    before = [p for one in packets[:cut] for p in first.push(one)]
    sent = {name: max(spans(before, name)) for name in TRACKS}
    second = LiveSound(
        lambda epoch, at: told, AudioSettings(), Telemetry(), start=begins_at(last_end(sent))
    )
    after = [p for one in packets[max(0, cut - 60) :] for p in second.push(one)]
    yield before
    yield [p for p in after if (p.pts or 0) > sent[p.track]]


def test_another_worker_goes_on_with_the_very_next_packet() -> None:
    told, packets = tone(4.0)
    before, after = halves(told, packets, 100)
    whole = LiveSound(lambda epoch, at: told, AudioSettings(), Telemetry())
    for name, length in TRACKS.items():
        assert min(spans(after, name)) == max(spans(before, name)) + length
        pcm = heard([*before, *after], name, whole)
        steps = abs(np.diff(pcm[4096:]))
        assert steps.max() < 0.03  # 440 Hz at 0.3: 0.017 a sample; a click would be far more


def test_a_successor_begins_where_both_codecs_have_a_boundary() -> None:
    assert begins_at(0) == 0
    for end in (5000, 20_000, 1_000_003):
        assert begins_at(end) % GRID == 0
        assert end - begins_at(end) >= 4800 or begins_at(end) == 0


def test_sound_after_silence_begins_at_its_very_own_time() -> None:
    told, packets = tone(0.5, start=RATE_HZ + 1624, rate_hz=48_000)
    telemetry = Telemetry()
    sound = LiveSound(lambda epoch, at: told, AudioSettings(), telemetry)
    out = sound.push(tick(RATE_HZ))
    filled = sound._line.next
    assert filled is not None and filled < (packets[0].pts or 0)
    out += [one for packet in packets for one in sound.push(packet)]
    assert sound.worst_offset_ms == 0.0
    assert sound._line.next == (packets[-1].pts or 0) + 1024
