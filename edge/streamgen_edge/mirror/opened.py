"""An edge's way to the streams of the others, and theirs to its own, as it is configured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from streamgen.control.coordinator.directory import EdgeRegistered
from streamgen.control.guests import Guests
from streamgen.control.keys import public_key, read_key
from streamgen.telemetry import Metrics, Telemetry
from streamgen_edge.cluster.homes import ClusterHomes
from streamgen_edge.cluster.settings import ClusterSettings
from streamgen_edge.mirror.door import Answer, MirrorDoor
from streamgen_edge.mirror.mirrors import Mirrors, address
from streamgen_edge.publishing import Streams
from streamgen_edge.viewers import Watched


class Hosted:
    """The streams that have their home here (`door.Homes`)."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def find(self, name: str, /) -> Watched | None:
        return self._streams.find(name)

    def request_keyframe(self, name: str, reason: str, /) -> None:
        stream = self._streams.find(name)
        if stream is not None and not stream.over:
            stream.tenure.request_keyframe(reason)


@asynccontextmanager
async def mirrors(
    settings: ClusterSettings,
    registered: EdgeRegistered,
    homes: ClusterHomes,
    streams: Streams,
    answer: Answer,
    *,
    own: Telemetry,
    metrics: Metrics,
    broken: Callable[[], None],
) -> AsyncIterator[Mirrors]:
    """As long as the block runs. `answer` does what other edges ask of the API; `own` is the
    server's telemetry; `broken` is called when it cannot go on. Raises `ConfigError`."""
    key = None if settings.key is None else read_key(settings.key)

    def grace_s(name: str) -> float:
        found = streams.server.stream(name)
        return 0.0 if found is None else found.grace / 1e9

    async with AsyncExitStack() as leaving:
        if registered.mirror:
            ours, guests = None, None
            if settings.mirror is not None:
                ours, guests = key, Guests((public_key(one) for one in settings.edges), own)
            place = address(registered.mirror)
            door = MirrorDoor(place, Hosted(streams), answer, own, ours, guests)
            door.broken = broken
            await leaving.enter_async_context(door)
        copies = await leaving.enter_async_context(Mirrors(homes, grace_s, own, metrics, key))
        copies.broken = broken
        streams.viewers.edge = registered.edge
        streams.viewers.copies = streams.homing.copies = copies
        yield copies
