"""What a stream is to the scheduler: its pipeline at the size and rate that its publisher says."""

from __future__ import annotations

from typing import Any

from streamgen.control.placement.parts import needed
from streamgen.control.placement.profiles import Profiles
from streamgen.control.placement.resources import Standing
from streamgen.control.placement.scheduler import Work
from streamgen.pipeline import parse_pipeline
from streamgen_edge.sink import RtmpSink
from streamgen_edge.stream import LiveStream

UNKNOWN = (1280, 720, 30.0)
"""Of a publisher that does not say."""


def work_of(stream: LiveStream, profiles: Profiles, *, paid: bool = True) -> Work:
    """Asked once there is a key frame, so that the size is known as far as it ever will be."""
    return live(stream.name, stream.pipeline, size_of(stream), profiles, paid=paid)


def size_of(stream: LiveStream) -> tuple[int, int, float]:
    """Width, height and rate, as far as its publisher has said."""
    publisher = stream.publisher
    width, height, rate = publisher.size if isinstance(publisher, RtmpSink) else (0, 0, 0.0)
    width, height = (width, height) if width and height else UNKNOWN[:2]
    return width, height, rate or UNKNOWN[2]


def live(
    name: str,
    pipeline: dict[str, Any],
    size: tuple[int, int, float],
    profiles: Profiles,
    *,
    paid: bool,
) -> Work:
    """Of pictures of this width, height and rate."""
    parsed = parse_pipeline(pipeline)
    standing = Standing.LIVE_PAID if paid else Standing.LIVE_FREE
    return Work(name, profiles.profile(parsed, *size), standing, parts=needed(parsed))
