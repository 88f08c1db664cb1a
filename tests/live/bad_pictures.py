"""What broken and strange encoders send for pictures, case by case, and what becomes of it."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.live import tapes
from tests.live.damage import (
    Case,
    codec,
    flipped,
    header,
    kinds,
    legacy_hevc,
    lying,
    nals,
    offset,
    other,
    paired,
    part,
    plain,
    sized,
    start_codes,
    tracks,
    without_sets,
)
from tests.live.tapes import DATA, VIDEO, recorded

PICTURES = {
    "a picture before its sequence header": Case(
        lambda: [*tapes.pictures(plain())[:5], *plain()], plays=20, left_out="no_config"
    ),
    "another size and profile in the middle of a GOP": Case(
        lambda: tapes.joined(plain()[:40], [t for t in other() if t.kind != DATA]), plays=20
    ),
    "another sequence header without a key frame": Case(
        lambda: [*plain()[:60], *tapes.configs(other()), *plain()[60:]], plays=15
    ),
    "no SPS ever": Case(
        lambda: without_sets(header(lambda p, s, q: tapes.avcc(p, [], []))), left_out="no_config"
    ),
    "no SPS in the record": Case(
        lambda: nals(
            header(lambda p, s, q: tapes.avcc(p, [], [])),
            lambda n, found: [*tapes.parameter_sets(plain()), *found] if n % 25 == 0 else found,
        ),
        plays=20,
    ),
    "thirty-one SPS": Case(
        lambda: header(lambda p, s, q: tapes.avcc(p, [s] * 31, [q] * 255)), plays=20
    ),
    "a record that says more than it has": Case(
        lambda: header(lambda p, s, q: tapes.avcc(p, [s] * 31, [])[:60]), left_out="damaged"
    ),
    "NAL lengths of 1 byte": Case(lambda: sized(1), plays=10),
    "NAL lengths of 2 bytes": Case(lambda: sized(2), plays=20),
    "NAL lengths that lie": Case(
        lambda: tapes.changed(plain(), VIDEO, lying), plays=20, left_out="damaged"
    ),
    "Annex B inside FLV": Case(lambda: tapes.changed(plain(), VIDEO, start_codes), plays=20),
    "empty access units": Case(
        lambda: tapes.changed(plain(), VIDEO, lambda n, t: t.body if n % 2 == 0 else t.body[:5]),
        plays=10,
        left_out="empty",
    ),
    "only SEI": Case(lambda: nals(plain(), kinds(6)), left_out="empty"),
    "IDR never, recovery points only": Case(
        lambda: recorded(options={"x264-params": "intra-refresh=1:keyint=25"}), plays=20
    ),
    "IDR every frame": Case(lambda: recorded(gop=1), plays=20),
    "open GOP": Case(
        lambda: recorded(
            options={"x264-params": "open-gop=1:keyint=15:bframes=3", "preset": "veryfast"}
        ),
        plays=15,
    ),
    "negative composition times": Case(
        lambda: tapes.changed(plain(), VIDEO, offset(lambda n: -40 * (n % 3))), plays=20
    ),
    "composition times of two hours": Case(
        lambda: tapes.changed(
            plain(), VIDEO, offset(lambda n: {10: 0x7FFFFF, 20: -0x800000}.get(n % 25, 0))
        ),
        plays=20,
    ),
    "every composition time at the limit": Case(
        lambda: tapes.changed(plain(), VIDEO, offset(lambda n: 0x7FFFFF)), plays=20
    ),
    "interlaced, in field macroblocks": Case(
        lambda: recorded(options={"x264-params": "interlaced=1", "preset": "veryfast"}), plays=15
    ),
    "only said to be interlaced": Case(
        lambda: recorded(options={"x264-params": "fake-interlaced=1", "preset": "veryfast"}),
        plays=20,
    ),
    "interlaced, in pairs of fields": Case(lambda: paired(), plays=20),
    "each field as a picture of its own": Case(lambda: paired(apart=True), plays=20),
    "bit flips in every picture": Case(lambda: tapes.changed(plain(), VIDEO, flipped(3, 1))),
    "bit flips in every picture but the keys": Case(
        lambda: tapes.changed(
            plain(), VIDEO, lambda n, t: t.body if n % 25 == 0 else flipped(n, 4)(n, t)
        ),
        plays=10,
    ),
    "noise for pictures": Case(
        lambda: tapes.changed(
            plain(),
            VIDEO,
            lambda n, t: tapes.packed(t.body[:5], [b"\x65" + random.Random(n).randbytes(900)]),
        )
    ),
    "pictures before a key frame only": Case(
        lambda: tapes.changed(plain(), VIDEO, lambda n, t: None if n % 25 == 0 else t.body)
    ),
}

FORMATS = {
    "4:2:2": Case(lambda: recorded(pix_fmt="yuv422p"), plays=20),
    "4:4:4": Case(lambda: recorded(pix_fmt="yuv444p"), plays=20),
    "10 bit": Case(lambda: recorded(pix_fmt="yuv420p10le"), plays=20),
    "full range": Case(lambda: recorded(pix_fmt="yuvj420p"), plays=20),
    "2x2": Case(lambda: recorded(size=(2, 2)), plays=20),
    "1x1": Case(lambda: recorded(size=(1, 1), pix_fmt="yuv444p"), plays=20),
    "17x31": Case(lambda: recorded(size=(17, 31), pix_fmt="yuv444p"), plays=20),
    "16384x16": Case(lambda: recorded(size=(16384, 16), rate=5, gop=5), plays=4),
    "16x4096": Case(lambda: recorded(size=(16, 4096), rate=5, gop=5), plays=4),
    "cropped": Case(lambda: recorded(size=(126, 70)), plays=20),
    "pixels that are not square": Case(
        lambda: recorded(options={"x264-params": "sar=64/45"}), plays=20
    ),
    "pixels of a mad shape": Case(
        lambda: recorded(options={"x264-params": "sar=1/65535"}), plays=20
    ),
    "a colour range that changes": Case(
        lambda: tapes.joined(recorded(seconds=1.6), recorded(pix_fmt="yuvj420p", seconds=1.6)),
        plays=30,
    ),
    "240 pictures a second": Case(lambda: recorded(rate=240, gop=240), plays=60),
    "one picture a second": Case(lambda: recorded(rate=1, gop=1, seconds=5), plays=1),
    "variable frame rate": Case(
        lambda: [
            replace(t, at_ms=t.at_ms + (n % 7) * 5) if t.kind == VIDEO else t
            for n, t in enumerate(plain())
        ],
        plays=20,
    ),
    "HEVC by its old number": Case(legacy_hevc, plays=15),
    "HEVC": Case(lambda: recorded("libx265"), plays=15),
    "AV1": Case(
        lambda: recorded("libsvtav1", options={"svtav1-params": "pred-struct=1"}), plays=15
    ),
    "AV1 without a sequence header": Case(
        lambda: tapes.described(recorded("libsvtav1"), VIDEO, lambda _: None), left_out="no_config"
    ),
    "AV1 with an empty sequence header": Case(
        lambda: tapes.described(recorded("libsvtav1"), VIDEO, lambda t: t.body[:9]), plays=10
    ),
    "HEVC under the number of H.264": Case(
        lambda: [
            replace(t, body=bytes([t.body[0] & 0xF0 | 7]) + t.body[1:]) if t.kind == VIDEO else t
            for t in legacy_hevc()
        ]
    ),
    "Sorenson": Case(
        lambda: tapes.changed(plain(), VIDEO, codec(2)), closed="H.264, HEVC, AV1 or VP9"
    ),
    "an unknown FourCC": Case(
        lambda: tapes.changed(plain(), VIDEO, lambda n, t: b"\x90xyz0" + t.body[5:]),
        closed="H.264, HEVC, AV1 or VP9",
    ),
    "the same track twice in a tag": Case(
        lambda: tracks(plain(), lambda body: part(0, body) + part(0, body)), left_out="damaged"
    ),
    "two tracks, one of them nonsense": Case(
        lambda: tracks(plain(), lambda body: part(0, body) + part(1, body[:7])), plays=20
    ),
    "a ModEx that is longer than its tag": Case(
        lambda: tapes.changed(plain(), VIDEO, lambda n, t: b"\x97\xff\xff\xff" + t.body),
        left_out="damaged",
    ),
}
