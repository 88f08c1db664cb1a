"""HLS playlists as text (RFC 8216 and its second edition): what a ladder says of itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

VERSION = 7
"""EXT-X-VERSION: the first with EXT-X-MAP in playlists that are not I-frame only is 6; FFmpeg and
Apple say 7 for fragmented MP4."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One line pair of a media playlist, with the size of its file."""

    uri: str
    duration_s: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What the media of one playlist take."""

    peak_bps: int
    """Highest rate of any run of segments that lasts 0.5 to 1.5 target durations (4.1 of the second
    edition); of the whole when it is shorter than that."""
    average_bps: int

    @classmethod
    def of(cls, segments: Sequence[Segment], target_s: float) -> Rates:
        """`target_s` is the nominal length of a segment."""
        duration_s = sum(segment.duration_s for segment in segments)
        whole = 8 * sum(segment.size_bytes for segment in segments)
        average_bps = round(whole / duration_s) if duration_s else 0
        peak = 0.0
        for start in range(len(segments)):
            bits, lasted_s = 0, 0.0
            for segment in segments[start:]:
                bits += 8 * segment.size_bytes
                lasted_s += segment.duration_s
                if lasted_s > 1.5 * target_s:
                    break
                if lasted_s >= 0.5 * target_s:
                    peak = max(peak, bits / lasted_s)
        return cls(max(round(peak), average_bps), average_bps)


@dataclass(frozen=True, slots=True)
class Rendition:
    """One media playlist, as the multivariant playlist speaks of it."""

    uri: str
    codecs: str
    rates: Rates
    size: tuple[int, int] = (0, 0)
    """Display width and height; video only."""
    rate: Fraction | None = None
    """Pictures a second; video only."""
    language: str | None = None
    title: str | None = None
    default: bool = False
    channels: int = 0


def media(segments: Sequence[Segment]) -> str:
    """Text of a complete media playlist over `init.mp4` and its segments."""
    # A half second rounds up (4.4.3.1), where Python's `round` goes to the even number.
    longest_s = max(math.floor(segment.duration_s + 0.5) for segment in segments)
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{max(longest_s, 1)}",
        "#EXT-X-MEDIA-SEQUENCE:1",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="init.mp4"',
    ]
    for segment in segments:
        lines += [f"#EXTINF:{segment.duration_s:.6f},", segment.uri]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"


def multivariant(rungs: Sequence[Rendition], sounds: Sequence[Rendition]) -> str:
    """Text of the playlist on top: rungs in their order, all sounds in one group."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    names: set[str] = set()
    chosen = next((sound for sound in sounds if sound.default), sounds[0] if sounds else None)
    for number, sound in enumerate(sounds, start=1):
        name = _text(sound.title or sound.language or f"Audio {number}")
        if name in names:
            name = f"{name} {number}"
        names.add(name)
        lines.append("#EXT-X-MEDIA:" + _media(sound, name, default=sound is chosen))
    sound_codecs = [sound.codecs for sound in sounds]
    for rung in rungs:
        codecs = ",".join(dict.fromkeys([rung.codecs, *sound_codecs]))
        peak, average = rung.rates.peak_bps, rung.rates.average_bps
        peak += max((sound.rates.peak_bps for sound in sounds), default=0)
        average += max((sound.rates.average_bps for sound in sounds), default=0)
        facts = [
            f"BANDWIDTH={peak}",
            f"AVERAGE-BANDWIDTH={average}",
            f'CODECS="{codecs}"',
            f"RESOLUTION={rung.size[0]}x{rung.size[1]}",
            *([f"FRAME-RATE={float(rung.rate):.3f}"] if rung.rate else []),
            *(['AUDIO="audio"'] if sounds else []),
            "CLOSED-CAPTIONS=NONE",
        ]
        lines += ["#EXT-X-STREAM-INF:" + ",".join(facts), rung.uri]
    return "\n".join(lines) + "\n"


def _media(sound: Rendition, name: str, *, default: bool) -> str:
    facts = ["TYPE=AUDIO", 'GROUP-ID="audio"', f'NAME="{name}"']
    if sound.language and sound.language != "und":
        facts.append(f'LANGUAGE="{_text(sound.language)}"')
    facts += [f"DEFAULT={'YES' if default else 'NO'}", "AUTOSELECT=YES"]
    if sound.channels:
        facts.append(f'CHANNELS="{sound.channels}"')
    return ",".join([*facts, f'URI="{sound.uri}"'])


def _text(value: str) -> str:
    """A quoted string may hold neither quotes nor line ends (RFC 8216, 4.2)."""
    return " ".join(value.replace('"', "'").split())
