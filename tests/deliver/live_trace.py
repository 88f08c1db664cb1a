"""A trace checker for LL-HLS: re-derives the rules of RFC 8216bis from playlists as text.

It shares nothing with the code that writes them. `Trace.poll` takes every answer in the order it
came; what contradicts a rule, or an earlier answer, is an `AssertionError` that names both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
EXACT_S = 2e-6


def attributes(line: str) -> dict[str, str]:
    text = line.partition(":")[2]
    return {key: value.strip('"') for key, value in ATTRIBUTE.findall(text)}


@dataclass
class Seen:
    """One segment of one playlist."""

    number: int
    uri: str = ""
    duration: float = 0.0
    parts: list[dict[str, str]] = field(default_factory=list)
    date: float = 0.0
    header: str = ""
    gap: bool = False
    discontinuity: bool = False

    @property
    def complete(self) -> bool:
        return bool(self.uri)

    @property
    def length(self) -> float:
        return self.duration or sum(float(part["DURATION"]) for part in self.parts)


@dataclass
class Playlist:
    """What the text says."""

    version: int = 0
    target: int = 0
    control: dict[str, str] = field(default_factory=dict)
    part_target: float = 0.0
    sequence: int = 0
    breaks: int = 0
    skipped: int = 0
    segments: list[Seen] = field(default_factory=list)
    hints: list[dict[str, str]] = field(default_factory=list)
    reports: dict[str, tuple[int, int]] = field(default_factory=dict)
    ended: bool = False

    @property
    def newest(self) -> tuple[int, int]:
        last = [segment for segment in self.segments if segment.parts or segment.complete][-1]
        return last.number, len(last.parts) - 1


def read(text: str) -> Playlist:
    """Parse a media playlist. A tag that is not known here is an error of ours."""
    lines = text.splitlines()
    assert lines[0] == "#EXTM3U"
    found = Playlist()
    open_ = Seen(0)
    header = ""
    for line in lines[1:]:
        tag, _, value = line.partition(":")
        match tag:
            case "#EXT-X-VERSION":
                found.version = int(value)
            case "#EXT-X-TARGETDURATION":
                found.target = int(value)
            case "#EXT-X-SERVER-CONTROL":
                found.control = attributes(line)
            case "#EXT-X-PART-INF":
                found.part_target = float(attributes(line)["PART-TARGET"])
            case "#EXT-X-MEDIA-SEQUENCE":
                found.sequence = open_.number = int(value)
            case "#EXT-X-DISCONTINUITY-SEQUENCE":
                found.breaks = int(value)
            case "#EXT-X-INDEPENDENT-SEGMENTS":
                pass
            case "#EXT-X-SKIP":
                found.skipped = int(attributes(line)["SKIPPED-SEGMENTS"])
                open_.number = found.sequence + found.skipped
            case "#EXT-X-MAP":
                header = attributes(line)["URI"]
            case "#EXT-X-PROGRAM-DATE-TIME":
                open_.date = datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp()
            case "#EXT-X-DISCONTINUITY":
                open_.discontinuity = True
            case "#EXT-X-GAP":
                open_.gap = True
            case "#EXT-X-PART":
                open_.parts.append(attributes(line))
            case "#EXTINF":
                open_.duration = float(value.rstrip(","))
            case "#EXT-X-PRELOAD-HINT":
                found.hints.append(attributes(line))
            case "#EXT-X-RENDITION-REPORT":
                said = attributes(line)
                found.reports[said["URI"]] = int(said["LAST-MSN"]), int(said["LAST-PART"])
            case "#EXT-X-ENDLIST":
                found.ended = True
            case _:
                assert not line.startswith("#"), line
                open_.uri, open_.header = line, header
                found.segments.append(open_)
                open_ = Seen(open_.number + 1)
    if open_.parts:
        open_.header = header
        found.segments.append(open_)
    return found


class Trace:
    """All answers for one media playlist, in order."""

    def __init__(self, siblings: int) -> None:
        self.siblings = siblings
        self.polls = 0
        self.hints_kept = 0
        self.hints_lost = 0
        self.segments: dict[int, Seen] = {}
        self._parts: dict[str, dict[str, str]] = {}
        self._last: Playlist | None = None

    def poll(self, text: str, *, msn: int | None = None, part: int | None = None) -> Playlist:
        """Take the answer to a request with these directives. The playlist."""
        now = read(text)
        self.polls += 1
        if now.skipped:
            self._undo_skip(now)
        self._whole(now)
        self._lengths(now)
        if self._last is not None:
            self._since(self._last, now)
        for segment in now.segments:
            self._same(segment)
        if msn is not None and not now.ended:
            newest = now.newest
            assert newest >= (msn, part or 0), f"asked for {msn}.{part}, got {newest}"
            if part is None:
                assert any(s.number >= msn and s.complete for s in now.segments)
        self._last = now
        return now

    def _whole(self, now: Playlist) -> None:
        """4.4.3: what every playlist must say of itself."""
        assert now.version >= 9
        control = now.control
        assert control["CAN-BLOCK-RELOAD"] == "YES"
        assert float(control["PART-HOLD-BACK"]) >= 3 * now.part_target - EXACT_S
        assert float(control["CAN-SKIP-UNTIL"]) >= 6 * now.target
        assert float(control["HOLD-BACK"]) >= 3 * now.target
        if now.ended:
            assert not now.hints
            return
        (hint,) = now.hints
        number, index = now.newest
        last = now.segments[-1]
        following = f"{number + 1}.0" if last.complete else f"{number}.{index + 1}"
        assert hint == {"TYPE": "PART", "URI": f"{following}.m4s"}
        assert len(now.reports) == self.siblings

    def _lengths(self, now: Playlist) -> None:
        """4.4.3.1, 4.4.3.7, 4.4.4.9: durations of segments and parts, and where parts stand."""
        edge = now.segments[-1].date + now.segments[-1].length
        for segment in now.segments:
            assert int(segment.duration + 0.5) <= now.target
            assert segment.date > 0
            assert segment.header
            gaps = [part.get("GAP") == "YES" for part in segment.parts]
            assert segment.gap == (any(gaps) and segment.complete) or not segment.parts
            if segment.complete and segment.parts:
                total = sum(float(part["DURATION"]) for part in segment.parts)
                assert abs(total - segment.duration) < 1e-5 * len(segment.parts)
            if edge - segment.date - segment.length > 3 * now.target + 0.002:
                assert not segment.parts, f"{segment.number} is too old for parts"
            elif edge - segment.date - segment.length < 3 * now.target - 0.002:
                assert segment.parts, f"{segment.number} is young enough for parts"
            for at, part in enumerate(segment.parts):
                length = float(part["DURATION"])
                assert part["URI"] == f"{segment.number}.{at}.m4s"
                assert length <= now.part_target + EXACT_S
                last = at + 1 == len(segment.parts)
                if not last and part.get("INDEPENDENT") != "YES":
                    assert length >= 0.85 * now.part_target - EXACT_S, (segment.number, at, length)
        for one, other in zip(now.segments, now.segments[1:], strict=False):
            assert other.number == one.number + 1
            assert abs(other.date - one.date - one.length) < 0.05 or other.discontinuity

    def _since(self, before: Playlist, now: Playlist) -> None:
        """6.2.1 and 6.2.2: what may change from one playlist to the next."""
        assert (now.target, now.part_target) == (before.target, before.part_target)
        assert now.control == before.control
        assert now.sequence >= before.sequence
        gone = [s for s in before.segments if s.number < now.sequence]
        assert now.breaks == before.breaks + sum(s.discontinuity for s in gone)
        assert now.newest >= before.newest
        for uri, position in before.reports.items():
            assert now.ended or now.reports[uri] >= position
        if now.newest > before.newest and before.hints:
            hinted = before.hints[0]["URI"]
            said = {part["URI"] for segment in now.segments for part in segment.parts}
            if hinted in said:
                self.hints_kept += 1
            else:
                self.hints_lost += 1

    def _same(self, segment: Seen) -> None:
        """Nothing that was said of a segment or part is ever taken back."""
        for part in segment.parts:
            assert self._parts.setdefault(part["URI"], part) == part
        if not segment.complete:
            return
        known = self.segments.setdefault(segment.number, segment)
        same = ("uri", "duration", "date", "header", "gap", "discontinuity")
        assert [getattr(known, name) for name in same] == [getattr(segment, name) for name in same]

    def _undo_skip(self, now: Playlist) -> None:
        """6.3.7: a delta update and the last playlist make a whole one."""
        assert self._last is not None
        old = {segment.number: segment for segment in self._last.segments}
        numbers = range(now.sequence, now.sequence + now.skipped)
        missing = [
            number for number in numbers if number not in old and number not in self.segments
        ]
        assert not missing, f"skipped what was never told: {missing}"
        skipped = [old.get(number) or self.segments[number] for number in numbers]
        boundary = float(now.control["CAN-SKIP-UNTIL"])
        edge = now.segments[-1].date + now.segments[-1].length
        for segment in skipped:
            assert edge - segment.date - segment.length >= boundary - 0.05
            segment.parts = []
        for segment in now.segments:
            segment.header = segment.header or skipped[-1].header
        now.segments = [*skipped, *now.segments]
