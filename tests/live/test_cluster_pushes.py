"""What a stream is pushed to, and recorded in, is the work of one edge: of its home."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from streamgen_edge.rtmp import RtmpServer
from tests.edge.rtmp.basket import Basket, Owner
from tests.live.clustering import Cluster
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
MORE = "outbound: {allow: [127.0.0.1]}\nrecording: {folder: recordings-of-all, min_free: 0}\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    more = MORE.replace("recordings-of-all", str(tmp_path / "kept"))
    with Cluster(tmp_path, config=more) as one:
        yield one
        print(one.logs())


@pytest.fixture
def target() -> Iterator[tuple[Owner, str]]:
    """Another server, which takes all that comes, and where that is."""
    owner, loop = Owner(), asyncio.new_event_loop()
    server = RtmpServer("127.0.0.1:0", owner)
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield owner, f"rtmp://127.0.0.1:{server.port}/live/there"
    print([(pictures(basket), basket.end) for basket in owner.baskets])
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


def pictures(basket: Basket) -> int:
    return len(basket.of("video/0"))


def recording(edge: Server) -> str:
    return str((edge.stream("cam").get("recording") or {}).get("state"))


def wished(edge: Server, owner: Owner, url: str) -> None:
    """Its stream is pushed and recorded, as the API wants it."""
    edge.until(lambda: edge.frames_out("cam") > 25, "motion")
    assert edge.get("/v1/streams/cam/pushes/there", "PUT", {"url": url})[0] == 200
    assert edge.get("/v1/streams/cam/recording", "PUT")[0] == 200
    edge.until(lambda: owner.baskets and pictures(owner.basket) > 25, "pictures at the target")
    edge.until(lambda: recording(edge) == "recording", "a recording")


def goes_on(edge: Server, owner: Owner) -> None:
    """At the stream's next home."""
    edge.until(lambda: len(owner.baskets) == 2, "another push", 40)
    edge.until(lambda: pictures(owner.basket) > 25, "pictures of it", 40)
    edge.until(lambda: recording(edge) == "recording", "a recording", 40)


def test_the_next_home_of_a_stream_pushes_and_records_it_where_the_last_one_died(
    cluster: Cluster, target: tuple[Owner, str], tmp_path: Path
) -> None:
    a, b = cluster.edges["edge-a"], cluster.edges["edge-b"]
    owner, url = target
    with closing(Publisher(a, "cam", seconds=240)) as first:
        wished(a, owner, url)
        cluster.kill_edge("edge-a")
        first.kill()
        with closing(Publisher(b, "cam", seconds=240)):
            goes_on(b, owner)
    former = owner.baskets[0].end
    assert former is not None and not former.explicit  # the target waits for the next one
    kept = sorted(path.name for path in (tmp_path / "kept" / "cam").iterdir())
    assert [name.rpartition("-")[2] for name in kept] == ["1.mp4", "2.mp4"]


def test_an_edge_that_froze_leaves_the_target_and_does_not_come_back_when_it_wakes(
    cluster: Cluster, target: tuple[Owner, str]
) -> None:
    a, b = cluster.edges["edge-a"], cluster.edges["edge-b"]
    owner, url = target
    with closing(Publisher(a, "cam", seconds=240)) as first:
        wished(a, owner, url)
        frozen = a.pids()["edge"]
        os.kill(frozen, signal.SIGSTOP)
        try:
            first.kill()
            with closing(Publisher(b, "cam", seconds=240)):
                goes_on(b, owner)
                b.until(lambda: owner.baskets[0].end, "the end of the zombie's push", 20)
                former = pictures(owner.baskets[0])
                os.kill(frozen, signal.SIGCONT)
                said = "has its home at"
                a.until(lambda: said in a.log(), said, 30)
                before = pictures(owner.basket)
                b.until(lambda: pictures(owner.basket) > before + 75, "three seconds more", 40)
                assert a.stream("cam")["home"] == "edge-b"
        finally:
            with suppress(ProcessLookupError):
                os.kill(frozen, signal.SIGCONT)
    assert len(owner.baskets) == 2 and pictures(owner.baskets[0]) == former
