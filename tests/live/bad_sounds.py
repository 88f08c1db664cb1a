"""What broken and strange encoders send for sound, and for time, and what becomes of it."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.live import tapes
from tests.live.damage import Case, adts, beside, mute, plain, said, sound
from tests.live.tapes import AUDIO, VIDEO, Tag, recorded

SOUNDS = {
    "ADTS inside FLV": Case(lambda: tapes.changed(plain(), AUDIO, adts), 20, "adts"),
    "no AudioSpecificConfig": Case(lambda: sound(None), 20, "no_config"),
    "an AudioSpecificConfig that is none": Case(lambda: sound(b"\xff\xff"), 20, "damaged"),
    "HE-AAC told by the record": Case(
        lambda: sound(bytes.fromhex("2b920800"), recorded(rate_hz=22_050)), 20
    ),
    "HE-AAC v2 told by the record": Case(
        lambda: sound(bytes.fromhex("eb8a0800"), recorded(rate_hz=22_050, layout="mono")), 20
    ),
    "7.1": Case(lambda: recorded(layout="7.1", rate_hz=48_000), 20),
    "8 kHz mono": Case(lambda: recorded(rate_hz=8000, layout="mono"), 20),
    "96 kHz": Case(lambda: recorded(rate_hz=96_000), 20),
    "a sample rate that changes": Case(
        lambda: tapes.joined(recorded(seconds=1.5), recorded(seconds=1.5, rate_hz=22_050)), 20
    ),
    "a record that lies about the rate": Case(lambda: sound(bytes.fromhex("1590")), 20),
    "MP3": Case(lambda: recorded(audio="libmp3lame"), 20),
    "Speex": Case(lambda: beside(lambda n: b"\xb2" + bytes(38)), 20, "unsupported"),
    "G.711": Case(lambda: beside(lambda n: b"\x7e" + random.Random(n).randbytes(160)), 20),
    "Nellymoser": Case(lambda: beside(lambda n: b"\x6e" + bytes(64)), 20, "unsupported"),
    "noise for AAC": Case(
        lambda: tapes.changed(
            plain(), AUDIO, lambda n, t: t.body[:2] + random.Random(n).randbytes(300)
        ),
        20,
    ),
    "empty sound": Case(
        lambda: tapes.changed(plain(), AUDIO, lambda n, t: t.body[:2]), 20, "empty"
    ),
    "Opus": Case(lambda: recorded(audio="libopus", rate_hz=48_000), 20),
    "sound that begins late": Case(
        lambda: [t for t in plain() if t.kind != AUDIO or t.at_ms > 1400 or t.config], 20
    ),
    "sound that begins 10 s late": Case(
        lambda: [
            t for t in recorded(seconds=12) if t.kind != AUDIO or t.at_ms > 10_000 or t.config
        ],
        250,
    ),
    "sound that stops": Case(lambda: [t for t in plain() if t.kind != AUDIO or t.at_ms < 900], 20),
    "sound with gaps": Case(
        lambda: [t for t in plain() if t.kind != AUDIO or t.config or t.at_ms // 300 % 2], 20
    ),
    "sound only": Case(lambda: recorded(video=None)),
    "pictures only": Case(mute, 20),
    "metadata that lies": Case(
        lambda: said(
            {"width": 1.0, "height": -5.0, "framerate": 1000.0, "videocodecid": 2.0, "duration": -1}
        ),
        20,
    ),
    "metadata of 0 pictures a second": Case(lambda: said({"framerate": 0.0}), 20),
    "metadata of 1 picture a second": Case(lambda: said({"framerate": 1.0}), 20),
    "metadata of almost a megabyte": Case(
        lambda: said({f"key{n}": "x" * 200 for n in range(4800)}), 20
    ),
    "metadata that is too long": Case(
        lambda: said({f"key{n}": "x" * 200 for n in range(6000)}), closed="1048576 are allowed"
    ),
}


def clock(stamp: Callable[[Tag], int], mended: str) -> Case:
    return Case(lambda: tapes.stamped(plain(), stamp), 20, mended=mended)


def jumped(mended: str, by_ms: int, *kinds: int, at_ms: int = 1000) -> Case:
    """From some moment on all times, or those of one kind, are others."""
    kinds = kinds or (AUDIO, VIDEO)
    return clock(lambda t: t.at_ms + by_ms * (t.kind in kinds and t.at_ms > at_ms), mended)


CLOCKS = {
    "a jump of 2^31": jumped("jump_forward", 1 << 31),
    "a jump an hour on": jumped("jump_forward", 3_600_000),
    "a jump an hour back": clock(lambda t: t.at_ms + 3_600_000 * (t.at_ms < 1000), "jump_back"),
    "pictures jump and sound does not": jumped("jump_forward", 600_000, VIDEO),
    "a wrap at 24 bits": clock(lambda t: (t.at_ms + (1 << 24) - 1000) % (1 << 24), "wrap"),
    "a wrap at 32 bits": clock(lambda t: t.at_ms - 1000, "wrap"),
    "sound 5 s before its picture": jumped("audio_overlap", -5000, AUDIO, at_ms=-1),
    "sound 5 s behind its picture": jumped("audio_gap", 5000, AUDIO, at_ms=-1),
    "every time the same": clock(lambda t: 777, "dts_order"),
    "times that tremble": clock(
        lambda t: t.at_ms + random.Random(t.at_ms).randrange(-90, 90), "dts_order"
    ),
    "times at random": clock(lambda t: random.Random(t.at_ms).getrandbits(32), "jump_back"),
}
