"""What broken and strange encoders do to a tape, and what is expected of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from streamgen_edge.rtmp import amf0
from tests.decode import fields
from tests.live import tapes
from tests.live.tapes import AUDIO, DATA, VIDEO, Tag, Tape, recorded


@dataclass(frozen=True)
class Case:
    tape: Callable[[], Tape]
    plays: int = 0
    """At least so many pictures come out; 0: the stream never begins or fails."""
    left_out: str = ""
    """What the API counts of the publisher."""
    closed: str = ""
    """What the publisher is told when it is closed."""
    mended: str = ""
    """What is counted of its times."""


@cache
def plain() -> Tape:
    return recorded()


@cache
def mute() -> Tape:
    return recorded(audio=None)


@cache
def other() -> Tape:
    return recorded(size=(96, 160), gop=100, options={"profile": "high", "preset": "veryfast"})


def nals(tape: Tape, change: Callable[[int, list[bytes]], list[bytes] | None]) -> list[Tag]:
    """Each H.264 picture with other NAL units."""

    def body(number: int, tag: Tag) -> bytes | None:
        found = change(number, tapes.units(tag.body))
        return None if found is None else tapes.packed(tag.body[:5], found)

    return tapes.changed(tape, VIDEO, body)


def kinds(*kept: int) -> Callable[[int, list[bytes]], list[bytes]]:
    return lambda _, found: [one for one in found if one[0] & 31 in kept]


def header(change: Callable[[bytes, bytes, bytes], bytes]) -> list[Tag]:
    """The plain tape with a sequence header made of profile, SPS and PPS."""
    sps, pps = tapes.parameter_sets(plain())
    return tapes.described(plain(), VIDEO, lambda _: change(sps[1:4], sps, pps))


def without_sets(tape: Tape) -> list[Tag]:
    return nals(tape, lambda _, found: [one for one in found if one[0] & 31 not in (7, 8)])


def sized(size: int) -> list[Tag]:
    """NAL lengths in so many bytes; the pictures of the tape are small enough."""
    small = recorded(size=(32, 32), options={"x264-params": "qp=51"}) if size == 1 else plain()
    sps, pps = tapes.parameter_sets(small)
    out = tapes.described(small, VIDEO, lambda _: tapes.avcc(sps[1:4], [sps], [pps], size))

    def body(_: int, tag: Tag) -> bytes | None:
        found = tapes.units(tag.body)
        if any(len(one) >= 1 << 8 * size for one in found):
            return None
        return tapes.packed(tag.body[:5], found, size)

    return tapes.changed(out, VIDEO, body)


def lying(number: int, tag: Tag) -> bytes:
    """Every third picture says lengths that are not its own."""
    lie = (0xFFFFFFFF, 0, len(tag.body) * 2)[number // 3 % 3].to_bytes(4, "big")
    return tag.body[:5] + lie + tag.body[9:] if number % 3 == 1 else tag.body


def start_codes(_: int, tag: Tag) -> bytes:
    return tag.body[:5] + b"".join(b"\0\0\0\1" + one for one in tapes.units(tag.body))


def flipped(seed: int, bits: int) -> Callable[[int, Tag], bytes]:
    """Bit flips behind the slice's first bytes of every picture."""
    dice = random.Random(seed)

    def change(_: int, tag: Tag) -> bytes:
        body = bytearray(tag.body)
        for _ in range(bits if len(body) > 20 else 0):
            body[dice.randrange(12, len(body))] ^= 1 << dice.randrange(8)
        return bytes(body)

    return change


def offset(of: Callable[[int], int]) -> Callable[[int, Tag], bytes]:
    """Other composition times."""
    return lambda n, tag: tag.body[:2] + (of(n) & 0xFFFFFF).to_bytes(3, "big") + tag.body[5:]


def codec(number: int) -> Callable[[int, Tag], bytes]:
    return lambda _, tag: bytes([tag.body[0] & 0xF0 | number]) + tag.body[1:]


def said(values: dict[str, object]) -> list[Tag]:
    body = amf0.encode(["onMetaData", values])
    return [Tag(DATA, 0, body), *(tag for tag in plain() if tag.kind != DATA)]


def paired(*, apart: bool = False) -> list[Tag]:
    """Pictures that are two fields each, `apart`: in two tags with one time."""
    sps, pps = fields.parameter_sets()
    out = [Tag(VIDEO, 0, tapes.avcc(sps[1:4], [sps], [pps]))]
    for number in range(60):
        head = b"\x17\1\0\0\0" if number % fields.GOP == 0 else b"\x27\1\0\0\0"
        first, second = fields.pair(number)
        if apart:
            out.append(Tag(VIDEO, 40 * number, tapes.packed(head, [first])))
            out.append(Tag(VIDEO, 40 * number, tapes.packed(b"\x27\1\0\0\0", [second])))
        else:
            out.append(Tag(VIDEO, 40 * number, tapes.packed(head, [first, second])))
    sound = [tag for tag in plain() if tag.kind == AUDIO]
    return sorted([*out, *sound], key=lambda tag: tag.at_ms)


def legacy_hevc() -> list[Tag]:
    """Codec id 12, as encoders did before there was a standard."""
    out = []
    for tag in recorded("libx265"):
        if tag.kind == VIDEO and tag.body[0] & 0x80:
            kind, frame = tag.body[0] & 15, tag.body[0] >> 4 & 7
            head = bytes([frame << 4 | 12])
            if kind == 0:
                tag = replace(tag, body=head + b"\0\0\0\0" + tag.body[5:])
            elif kind in (1, 3):
                rest = tag.body[5:] if kind == 1 else b"\0\0\0" + tag.body[5:]
                tag = replace(tag, body=head + b"\1" + rest)
            else:
                continue
        out.append(tag)
    return out


def adts(_: int, tag: Tag) -> bytes:
    """The frame behind an ADTS header of 44.1 kHz stereo (14496-3, 1.A.2.2)."""
    size = len(tag.body) - 2 + 7
    head = bytes([0xFF, 0xF1, 0x50, 0x80 | size >> 11, size >> 3 & 255, size << 5 & 255 | 31, 252])
    return tag.body[:2] + head + tag.body[2:]


def sound(config: bytes | None, tape: Tape | None = None) -> list[Tag]:
    """The tape with another AudioSpecificConfig."""
    new = None if config is None else b"\xaf\0" + config
    return tapes.described(plain() if tape is None else tape, AUDIO, lambda _: new)


def beside(sounds: Callable[[int], bytes], every_ms: int = 20) -> list[Tag]:
    """Pictures with sound tags made by hand."""
    made = [Tag(AUDIO, n * every_ms, sounds(n)) for n in range(2400 // every_ms)]
    return sorted([*mute(), *made], key=lambda tag: tag.at_ms)


def tracks(tape: Tape, form: Callable[[bytes], bytes]) -> list[Tag]:
    """Pictures of H.264 as E-RTMP multitrack tags: codec, then what `form` makes of the body."""
    out = []
    for tag in tape:
        if tag.kind == VIDEO:
            frame, packet = tag.body[0] >> 4, tag.body[1]
            body = tag.body[5:] if packet == 0 else tag.body[2:]
            parts = form(body)
            tag = replace(tag, body=bytes([0x80 | frame << 4 | 6, 0x10 | packet]) + b"avc1" + parts)
        out.append(tag)
    return out


def part(number: int, body: bytes) -> bytes:
    return bytes([number]) + len(body).to_bytes(3, "big") + body
