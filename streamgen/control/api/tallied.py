"""`Tallied`: the jobs of a store as figures for Prometheus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from streamgen.errors import StoreError

FRESH_S = 5.0
"""A look at every chunk is worth so much."""
WITHIN_S = 2.0
"""A store that does not answer within that is away, and there are no such figures."""
log = logging.getLogger("streamgen.jobs")


class Tally(Protocol):
    """What there must be of `control.store.jobs.Tally`, which needs an extra."""

    @property
    def jobs(self) -> Mapping[str, int]: ...
    @property
    def chunks(self) -> Mapping[str, int]: ...
    @property
    def made_s(self) -> float: ...


class Tallied:
    """On one loop. `prefix` begins the names of the figures."""

    def __init__(self, prefix: str, tally: Callable[[], Awaitable[Tally]]) -> None:
        self._prefix, self._tally = prefix, tally
        self._found: Sequence[Metric] = ()
        self._until_s = 0.0
        self._looking = asyncio.Lock()

    async def look(self) -> Sequence[Metric]:
        async with self._looking:
            now_s = asyncio.get_running_loop().time()
            if now_s >= self._until_s:
                self._found = await self._asked()
                self._until_s = now_s + FRESH_S
            return self._found

    async def _asked(self) -> Sequence[Metric]:
        try:
            async with asyncio.timeout(WITHIN_S):
                tally = await self._tally()
        except (StoreError, TimeoutError) as error:
            log.warning("jobs are not counted: %s", error or "the store does not answer in time")
            return ()
        seconds = SummaryMetricFamily(
            f"{self._prefix}_job_piece_seconds",
            "Time that processes took for pieces that are done.",
            count_value=tally.chunks["done"],
            sum_value=tally.made_s,
        )
        return (
            self._by_state("jobs", "Files as jobs, by state.", tally.jobs),
            self._by_state("job_pieces", "Pieces of jobs, by state.", tally.chunks),
            seconds,
        )

    def _by_state(self, name: str, says: str, numbers: Mapping[str, int]) -> Metric:
        family = GaugeMetricFamily(f"{self._prefix}_{name}", says, labels=["state"])
        for state, number in numbers.items():
            family.add_metric([state], number)
        return family


class Found(Collector):
    """Figures as they were found."""

    def __init__(self, found: Sequence[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        yield from self._found


def written(*collectors: Collector) -> bytes:
    """Exposition format 0.0.4."""
    registry = CollectorRegistry()
    for one in collectors:
        registry.register(one)
    return generate_latest(registry)
