"""Short FLV recordings by real encoders, to be damaged tag by tag and published in real time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from typing import Any

import av
import numpy as np

from streamgen.encode.crew import Crew

AUDIO, VIDEO, DATA = 8, 9, 18
SIZE = (128, 72)
RATE = 25
SECONDS = 2.4


@dataclass(frozen=True)
class Tag:
    kind: int
    at_ms: int
    body: bytes
    stamp: int | None = None
    """What it says of its time, where that is not so."""

    @property
    def config(self) -> bool:
        """It describes a track."""
        if self.kind == DATA:
            return True
        if self.kind == AUDIO:
            return self.body[0] & 0xF0 == 0xA0 and self.body[1] == 0
        return self.body[1] == 0 if not self.body[0] & 0x80 else not self.body[0] & 0x0F


Tape = Sequence[Tag]


def recorded(
    video: str | None = "libx264",
    audio: str | None = "aac",
    *,
    size: tuple[int, int] = SIZE,
    pix_fmt: str = "yuv420p",
    rate: int = RATE,
    seconds: float = SECONDS,
    gop: int = 25,
    options: Mapping[str, str] | None = None,
    rate_hz: int = 44_100,
    layout: str = "stereo",
) -> list[Tag]:
    """Moving pictures and a tone; a key frame every `gop` pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format="flv") as sink:
        lines: list[Any] = []
        if video is not None:
            lines.append(_pictures(sink, video, size, pix_fmt, rate, seconds, gop, options or {}))
        if audio is not None:
            lines.append(_tone(sink, audio, rate_hz, layout, seconds))
        packets = [packet for line in lines for packet in line]
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            sink.mux(packet)
    return list(tags_of(file.getvalue()))


def _pictures(
    sink: Any,
    codec: str,
    size: tuple[int, int],
    pix_fmt: str,
    rate: int,
    seconds: float,
    gop: int,
    options: Mapping[str, str],
) -> Iterator[Any]:
    quick = {"libx264": {"preset": "ultrafast"}, "libsvtav1": {"preset": "12"}}.get(codec, {})
    quick = quick or {"preset": "ultrafast", "x265-params": "log-level=none"}
    stream = sink.add_stream(codec, rate=rate, options={**quick, **options})
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    stream.codec_context.gop_size = gop
    stream.codec_context.max_b_frames = int(options.get("bf", "0"))

    def pictures() -> Iterator[Any]:
        crew = Crew()
        with crew.hired():
            stream.codec_context.open()
        for number in range(round(seconds * rate)):
            frame = moving(number, size).reformat(format=pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            crew.rest()
            yield from stream.encode(frame)
        crew.rest()
        yield from stream.encode(None)

    return pictures()


def moving(number: int, size: tuple[int, int]) -> Any:
    width, height = size
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    image = (rows * 3 + columns * 2 + number * 5 + np.array([0, 60, 120])) % 256
    return av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")


def _tone(sink: Any, codec: str, rate_hz: int, layout: str, seconds: float) -> Iterator[Any]:
    stream = sink.add_stream(codec, rate=rate_hz, layout=layout)
    context = stream.codec_context
    context.open()
    block = context.frame_size or 1024

    def sound() -> Iterator[Any]:
        resample = av.AudioResampler(context.format.name, layout, rate_hz)
        for at in range(0, round(seconds * rate_hz), block):
            wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(at, at + block) / rate_hz)
            frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, at, Fraction(1, rate_hz)
            for one in resample.resample(frame):
                yield from stream.encode(one)
        yield from stream.encode(None)

    return sound()


def tags_of(flv: bytes) -> Iterator[Tag]:
    """All tags of a file (FLV 10.1, E.3 and E.4)."""
    at = 13
    while at + 11 <= len(flv):
        size = int.from_bytes(flv[at + 1 : at + 4], "big")
        time = int.from_bytes(flv[at + 4 : at + 7], "big") | flv[at + 7] << 24
        yield Tag(flv[at], time, flv[at + 11 : at + 11 + size])
        at += 15 + size


# What can be done to a tape.


def pictures(tape: Tape) -> list[Tag]:
    return [tag for tag in tape if tag.kind == VIDEO and not tag.config and len(tag.body) > 5]


def sounds(tape: Tape) -> list[Tag]:
    return [tag for tag in tape if tag.kind == AUDIO and not tag.config]


def configs(tape: Tape, kind: int = VIDEO) -> list[Tag]:
    return [tag for tag in tape if tag.kind == kind and tag.config]


def changed(tape: Tape, kind: int, change: Callable[[int, Tag], bytes | None]) -> list[Tag]:
    """Each tag of pictures or sound with another body; None leaves it out."""
    out: list[Tag] = []
    number = 0
    for tag in tape:
        if tag.kind == kind and not tag.config:
            body = change(number, tag)
            number += 1
            if body is not None:
                out.append(replace(tag, body=body))
        else:
            out.append(tag)
    return out


def described(tape: Tape, kind: int, change: Callable[[Tag], bytes | None]) -> list[Tag]:
    """The descriptions of pictures or sound with another body; None leaves them out."""
    out: list[Tag] = []
    for tag in tape:
        if tag.kind == kind and tag.config:
            body = change(tag)
            if body is not None:
                out.append(replace(tag, body=body))
        else:
            out.append(tag)
    return out


def stamped(tape: Tape, stamp: Callable[[Tag], int]) -> list[Tag]:
    """Sent when they are due, but with other times."""
    return [replace(tag, stamp=stamp(tag) % (1 << 32)) for tag in tape]


def joined(*tapes: Tape) -> list[Tag]:
    """One behind the other."""
    out: list[Tag] = []
    for tape in tapes:
        start = max((tag.at_ms for tag in out), default=-40) + 40
        out += [replace(tag, at_ms=tag.at_ms + start) for tag in tape]
    return out


def again(tape: Tape) -> Iterator[Tag | None]:
    """The tape without end, each time behind the last; None between them."""
    length = max(tag.at_ms for tag in tape) + 40
    for begins in count(0, length):
        for tag in tape:
            stamp = None if tag.stamp is None else (tag.stamp + begins) % (1 << 32)
            yield replace(tag, at_ms=tag.at_ms + begins, stamp=stamp)
        yield None


def units(body: bytes) -> list[bytes]:
    """NAL units of a legacy H.264 picture."""
    found, at = [], 5
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        found.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def packed(head: bytes, nals: Sequence[bytes], size: int = 4) -> bytes:
    return head + b"".join(len(nal).to_bytes(size, "big") + nal for nal in nals)


def avcc(profile: bytes, sets: Sequence[bytes], pps: Sequence[bytes], size: int = 4) -> bytes:
    """A sequence header with these parameter sets."""
    out = b"\x17\0\0\0\0\x01" + profile + bytes([0xFC | size - 1, 0xE0 | len(sets)])
    out += b"".join(len(one).to_bytes(2, "big") + one for one in sets)
    return out + bytes([len(pps)]) + b"".join(len(one).to_bytes(2, "big") + one for one in pps)


def parameter_sets(tape: Tape) -> tuple[bytes, bytes]:
    """SPS and PPS of a tape of H.264."""
    record = configs(tape)[0].body[5:]
    size = record[6] << 8 | record[7]
    sps, rest = record[8 : 8 + size], record[8 + size :]
    return sps, rest[3 : 3 + (rest[1] << 8 | rest[2])]
