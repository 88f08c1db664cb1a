"""What a plain HLS player sees of a stream: its media playlists, read again and again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.live.serving import Server

_SEQUENCE = re.compile(r"#EXT-X-MEDIA-SEQUENCE:(\d+)")
_SEGMENT = re.compile(r"#EXTINF:([\d.]+),[^\n]*\n(?:#[^\n]*\n)*([^#\n]+)")


def renditions(server: Server, name: str) -> list[str]:
    """Paths of all media playlists."""
    status, text = server.get(f"/hls/{name}/index.m3u8")
    if status != 200:
        return []
    found = re.findall(r'URI="([^"]+)"', text)
    found += [line for line in text.splitlines() if line and not line.startswith("#")]
    return [f"/hls/{name}/{place}" for place in found]


@dataclass
class Seen:
    """Segments of one rendition by number, as they were listed over time."""

    segments: dict[int, tuple[str, float]] = field(default_factory=dict)
    changed: list[int] = field(default_factory=list)
    """Numbers that meant something else before."""

    def look(self, text: str) -> None:
        match = _SEQUENCE.search(text)
        first = int(match[1]) if match else 0
        for at, (length, uri) in enumerate(_SEGMENT.findall(text)):
            now = (uri, float(length))
            if self.segments.setdefault(first + at, now) != now:
                self.changed.append(first + at)

    @property
    def holes(self) -> list[int]:
        """Numbers missing between the first and the last."""
        if not self.segments:
            return []
        return sorted(set(range(min(self.segments), max(self.segments))) - set(self.segments))
