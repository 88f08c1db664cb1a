"""`MediaPlaylist`: what a low-latency player needs of a media playlist (RFC 8216bis)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')


@dataclass(frozen=True, slots=True)
class Segment:
    """One whole segment; `number` counts on over the session."""

    number: int
    uri: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Part:
    """One part; `index` counts within its segment."""

    number: int
    index: int
    uri: str
    independent: bool
    gap: bool


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """`parts` are those of the last segments, the one in the making included."""

    init: str
    segments: tuple[Segment, ...]
    parts: tuple[Part, ...]
    ended: bool

    @property
    def next_number(self) -> int:
        """Of the segment in the making."""
        return self.segments[-1].number + 1 if self.segments else 0

    @classmethod
    def parsed(cls, text: str) -> MediaPlaylist:
        number = init = None
        segments: list[Segment] = []
        parts: list[Part] = []
        index, duration_s = 0, 0.0
        for line in text.splitlines():
            tag, _, rest = line.partition(":")
            match tag:
                case "#EXT-X-MEDIA-SEQUENCE":
                    number = int(rest)
                case "#EXT-X-MAP":
                    init = attributes(rest)["URI"]
                case "#EXTINF":
                    duration_s = float(rest.partition(",")[0])
                case "#EXT-X-PART":
                    said = attributes(rest)
                    independent, gap = (said.get(k) == "YES" for k in ("INDEPENDENT", "GAP"))
                    parts.append(Part(number or 0, index, said["URI"], independent, gap))
                    index += 1
                case _ if line and not line.startswith("#"):
                    segments.append(Segment(number or 0, line, duration_s))
                    number, index = (number or 0) + 1, 0
        ended = "#EXT-X-ENDLIST" in text
        return cls(init or "", tuple(segments), tuple(parts), ended)


def attributes(text: str) -> dict[str, str]:
    """An attribute list (4.2)."""
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}
