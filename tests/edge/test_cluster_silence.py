"""A worker that stands still, its connections open: real coordinators, real workers, two edges."""

from __future__ import annotations

from pathlib import Path

from tests.edge.clustered import GOP, Edge, Processes, until
from tests.edge.test_cluster_deaths import SHOWN, run

MISSED = 60
"""Pictures, 25 in each second: fewer than where it is waited for until it must be dead, which are
73, and more than 1.25 s and a takeover on a busy machine."""
STALL = 12
"""Pictures: half a second."""


def test_a_worker_that_stands_still_loses_its_streams_before_it_must_be_dead_and_gets_none_back(
    tmp_path: Path,
) -> None:
    """Told by the pictures that its publisher sends while viewers get none."""

    async def test(some: Processes, a: Edge, b: Edge) -> None:
        stream = a.publish("one")
        await stream.moves(SHOWN)
        there = stream.worker
        some.freeze(there)
        sent = stream.sent
        await until(lambda: stream.stream.tenure.took_over_s, "pictures of another worker")
        unseen, other = stream.sent - sent, stream.worker
        print(f"{unseen} pictures were sent before the first one of {other}")
        assert other not in ("", there) and unseen < MISSED
        some.thaw(there)
        for one in (a, b):
            await until(lambda one=one: there in one.link.workers, "who stood still")
        await stream.moves(SHOWN)
        assert stream.worker == other and len(stream.stream.tenure.took_over_s) == 1
        stream.whole()

    run(tmp_path, test)


def test_a_worker_that_stands_still_for_half_a_second_again_and_again_keeps_its_streams(
    tmp_path: Path,
) -> None:
    async def test(some: Processes, a: Edge, b: Edge) -> None:
        stream = a.publish("one")
        await stream.moves(GOP)
        there = stream.worker
        for _ in range(5):
            some.freeze(there)
            sent = stream.sent
            await until(lambda sent=sent: stream.sent >= sent + STALL, "pictures of the publisher")
            some.thaw(there)
            await stream.moves(GOP)
        assert stream.worker == there and not stream.stream.tenure.took_over_s
        stream.whole()

    run(tmp_path, test)
