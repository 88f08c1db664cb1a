"""Text of the media playlists of a live stream with low latency (RFC 8216bis)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass

from streamgen.deliver.grid import NS, Grid
from streamgen.deliver.window import Part, Piece, Window

VERSION = 9
"""EXT-X-VERSION: EXT-X-SKIP needs 9 (section 8)."""
SKIP_TARGETS = 6
"""CAN-SKIP-UNTIL in target durations: the least that is allowed (4.4.3.8)."""
PARTS_TARGETS = 3
"""Parts further from the edge than this many target durations are not listed (4.4.4.9)."""


@dataclass(frozen=True, slots=True)
class Report:
    """How far another rendition is (4.4.5.4)."""

    uri: str
    position: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What stays the same in all playlists of a rendition."""

    grid: Grid
    part_ns: int
    """PART-TARGET."""

    @property
    def target_s(self) -> int:
        """EXT-X-TARGETDURATION. Segments end with the first picture behind a grid point, so the
        longest is less than half a second longer than the grid says, which rounds down."""
        return math.ceil(self.grid.segment_ns / NS)

    @property
    def advance(self) -> int:
        """The Advance Part Limit (6.2.5.2)."""
        return 3 if self.part_ns >= NS else math.ceil(3 * NS / self.part_ns)


def media_playlist(
    window: Window, facts: Facts, reports: Iterable[Report], breaks: Set[int], *, skip: bool
) -> str:
    """The playlist of now; with `skip` a delta update (6.2.5.1) where it saves anything.

    `breaks` are the numbers of the segments that begin with a discontinuity, ever.
    """
    pieces = list(window.listed())
    first = pieces[0].number
    lines = [*_head(facts, first), *_skipped_breaks(breaks, first)]
    if all(piece.parts[0].independent or piece.gap for piece in pieces):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    skipped = _skippable(pieces, facts) if skip else 0
    if skipped:
        lines.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")
    header = pieces[skipped - 1].header if skipped else ""
    edge_ns = _edge(pieces) - PARTS_TARGETS * facts.target_s * NS
    for piece in pieces[skipped:]:
        if piece.number in breaks:
            lines.append("#EXT-X-DISCONTINUITY")
        if piece.header != header:
            header = piece.header
            lines.append(f'#EXT-X-MAP:URI="{header}"')
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{facts.grid.date(piece.start_ns)}")
        # What hls.js and others take for the live edge is the end of the newest part.
        if piece.start_ns + piece.duration_ns > edge_ns or not piece.complete:
            lines += map(_part, piece.parts)
        if piece.complete:
            lines += _segment(piece)
    lines += _tail(window, reports)
    return "\n".join(lines) + "\n"


def _head(facts: Facts, first: int) -> list[str]:
    control = (
        "CAN-BLOCK-RELOAD=YES",
        f"CAN-SKIP-UNTIL={SKIP_TARGETS * facts.target_s:.1f}",
        f"PART-HOLD-BACK={_seconds(3 * _rounded_up(facts.part_ns))}",
        f"HOLD-BACK={3 * facts.target_s:.1f}",
    )
    return [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{facts.target_s}",
        f"#EXT-X-SERVER-CONTROL:{','.join(control)}",
        f"#EXT-X-PART-INF:PART-TARGET={_seconds(_rounded_up(facts.part_ns))}",
        f"#EXT-X-MEDIA-SEQUENCE:{first}",
    ]


def _skipped_breaks(breaks: Set[int], first: int) -> Iterator[str]:
    gone = sum(number < first for number in breaks)
    if gone:
        yield f"#EXT-X-DISCONTINUITY-SEQUENCE:{gone}"


def _skippable(pieces: list[Piece], facts: Facts) -> int:
    """How many of the oldest segments end before the skip boundary (4.4.3.8)."""
    left = _edge(pieces) - SKIP_TARGETS * facts.target_s * NS
    return sum(piece.complete and piece.start_ns + piece.duration_ns <= left for piece in pieces)


def _edge(pieces: list[Piece]) -> int:
    return pieces[-1].start_ns + pieces[-1].duration_ns


def _part(part: Part) -> str:
    text = f'#EXT-X-PART:DURATION={_seconds(part.duration_ns)},URI="{part.uri}"'
    if part.independent:
        text += ",INDEPENDENT=YES"
    return text + ",GAP=YES" if part.gap else text


def _segment(piece: Piece) -> list[str]:
    lines = [f"#EXTINF:{_seconds(piece.duration_ns)},", piece.uri]
    return ["#EXT-X-GAP", *lines] if piece.gap else lines


def _tail(window: Window, reports: Iterable[Report]) -> list[str]:
    if window.ended:
        return ["#EXT-X-ENDLIST"]
    number, index = window.following()
    return [
        f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{number}.{index}.m4s"',
        *(
            f'#EXT-X-RENDITION-REPORT:URI="{report.uri}"'
            f",LAST-MSN={report.position[0]},LAST-PART={report.position[1]}"
            for report in reports
            if report.position[0] >= 0
        ),
    ]


def _rounded_up(length_ns: int) -> int:
    """To the microseconds that playlists say: no part may be longer than what they say of all."""
    return -(-length_ns // 1000) * 1000


def _seconds(length_ns: int) -> str:
    """Rounded to microseconds."""
    micros = (length_ns + 500) // 1000
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"
