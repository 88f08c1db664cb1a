"""`RtmpSink`: where one publisher's media goes, whichever way it comes in."""

from __future__ import annotations

import asyncio
import logging
import time
from fractions import Fraction
from typing import Any

from streamgen.ingest.link import VIDEO
from streamgen.media.packet import Packet
from streamgen_edge.allowance import Allowance
from streamgen_edge.rtmp.demux import Track
from streamgen_edge.rtmp.publisher import Ended, Publisher
from streamgen_edge.stream import LiveStream

log = logging.getLogger("streamgen.edge")


class RtmpSink:
    """Where one RTMP publisher's media goes (`rtmp.publisher.Sink`)."""

    def __init__(self, stream: LiveStream, publisher: Publisher, allowance: Allowance) -> None:
        self._stream = stream
        self._publisher = publisher
        self._allowance = allowance
        self._greedy = False
        """It sent too much for too long."""

    @property
    def _present(self) -> bool:
        return self._stream.publisher is self

    @property
    def announces_pictures(self) -> bool:
        publisher = self._publisher
        known = any(name.startswith("video/") for name in publisher.tracks)
        return known or publisher.request.app == "whip" or "videocodecid" in publisher.metadata

    @property
    def size(self) -> tuple[int, int, float]:
        pictures = (t for t in self._publisher.tracks.values() if t.name == VIDEO)
        width, height = next(((t.width, t.height) for t in pictures), (0, 0))
        return width, height, float(believable(self._publisher.metadata.get("framerate")) or 0)

    def close(self, reason: str) -> None:
        self._publisher.close(reason)

    def request_keyframe(self) -> None:
        self._publisher.request_keyframe()

    def facts(self) -> dict[str, Any]:
        """For the API; nothing secret."""
        request, stats = self._publisher.request, self._publisher.stats
        return {
            "protocol": "whip" if request.app == "whip" else "rtmp",
            "address": request.address,
            "software": request.software,
            "bytes": stats.bytes,
            "packets": dict(stats.packets),
            "keyframes": stats.keyframes,
            "left_out": dict(stats.left_out),
            "tracks": [
                {"name": t.name, "codec": t.codec, "width": t.width, "height": t.height}
                for t in self._publisher.tracks.values()
            ],
        }

    def track(self, track: Track) -> None:
        if self._present:
            rate = self._publisher.metadata.get("framerate")
            self._stream.describe(track.name, track.codec, track.extradata, believable(rate))

    def packet(self, packet: Packet) -> bool:
        if not self._present or self._stream.over or self._greedy:
            return False
        now_ns = time.monotonic_ns()
        if self._allowance.exceeded(self._publisher.stats.bytes, now_ns / 1e9):
            self._greedy = True
            self._stream.telemetry.count("refused", "bitrate")
            most = self._allowance.bitrate_bps / 1e6
            # Not from inside its own reading.
            reason = f"more than the {most:g} Mbit/s that this stream may have"
            asyncio.get_running_loop().call_soon(self.close, reason)
            return False
        return self._stream.take(packet, now_ns)

    def ended(self, end: Ended) -> None:
        stream, left_out = self._stream, self._publisher.stats.left_out
        for reason, number in left_out.items():
            stream.telemetry.count("left_out", reason, number)
        if left_out:
            log.warning(
                "of what was published, left out or mended: %s", dict(left_out), extra=stream.ids
            )
        stream.leave(self, explicit=end.explicit)


def believable(rate: object) -> Fraction | None:
    """A frame rate that a publisher says of itself, where it can be true."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 1 <= rate <= 240:
        return None
    return Fraction(rate).limit_denominator(1001)
