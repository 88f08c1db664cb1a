"""Streams as the API tells of them: in a few words, and all that is known."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from typing import Any

from streamgen_edge.publishing import Streams
from streamgen_edge.sink import RtmpSink
from streamgen_edge.stream import LiveStream


class Showing:
    """All streams of an edge, for its events (`events.Seen`). On the loop's thread."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    @property
    def over(self) -> bool:
        return self._streams.closing and self._streams.over.is_set()

    def states(self) -> Hashable:
        return tuple(
            (one.session, one.state, one.version, len(one.viewing.tracks), one.publisher is None)
            for one in self._streams
        ) + tuple((one.session, one.over) for one in self._streams.viewers.all())

    def rows(self) -> Iterator[dict[str, Any]]:
        for one in self._streams:
            yield brief(one, self._streams.watching(one.name))
        yield from self._streams.viewers.briefs()

    def row(self, name: str) -> dict[str, Any] | None:
        copy, one = self._streams.viewers.row(name), self._streams.find(name)
        if copy is not None or one is None:
            return copy
        return shown(one, self._streams.watching(name))


def brief(stream: LiveStream, watching: int) -> dict[str, Any]:
    """What a list of streams shows."""
    return {
        "name": stream.name,
        "session": stream.session,
        "state": stream.state.value,
        "pipeline": stream.pipeline.get("name", ""),
        "viewers": _viewers(stream, watching),
        "plays": bool(stream.viewing.tracks),
    }


def shown(stream: LiveStream, watching: int) -> dict[str, Any]:
    """A stream as the API tells of it; so many are `watching` by WebRTC."""
    publisher = stream.publisher
    counts = stream.telemetry.counts
    attachment, viewing = stream.tenure.attachment, stream.viewing
    return {
        "name": stream.name,
        "session": stream.session,
        "state": stream.state.value,
        "error": stream.error or None,
        "publisher": publisher.facts() if isinstance(publisher, RtmpSink) else None,
        "worker": None if attachment is None else attachment.worker.name,
        "waits_for": stream.tenure.seating.why or None,
        "given_up": stream.tenure.seating.given_up or None,
        "pipeline": stream.pipeline,
        "params": stream.params,
        "version": stream.version,
        "changing": stream.tenure.replacement.renewing,  # the former pipeline still runs
        "viewers": _viewers(stream, watching),
        "hls": f"/hls/{stream.name}/index.m3u8" if viewing.packager is not None else None,
        "tracks": [track.name for track in viewing.tracks],
        "notes": [] if attachment is None else attachment.notes,
        "takeovers": counts("takeovers"),
        "took_over_s": [round(s, 3) for s in stream.tenure.took_over_s[-20:]],
        "stuck": stream.tenure.stuck[-20:],
        "left_out": counts("left_out"),  # of the publishers before
        "unused": counts("unused"),
        "corrected": counts("corrected"),
        "filled": counts("filled"),
        "stalls": counts("stalls"),
        "rested": counts("rested"),
        "refused": counts("refused"),
        "sound_ahead_ms": viewing.sound_ahead_ms,
        "gop_dropped": counts("gop_dropped"),
        "pushes": [] if viewing.pushes is None else viewing.pushes.facts(),
        "recording": None if viewing.recording is None else viewing.recording.facts(),
        "recording_dropped": counts("recording_dropped"),
        "stats": stream.ledger.stats(),
    }


def _viewers(stream: LiveStream, watching: int) -> int:
    return watching + stream.viewing.audience.count(time.monotonic())
