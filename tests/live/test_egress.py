"""Viewers in processes of their own: what they see, what is counted, and what their death does."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator

import pytest

from streamgen_edge.demo.whep_viewer import WhepViewer
from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.live.watching import until

pytestmark = needs_ffmpeg
CONFIG = """
pipeline: transcode
webrtc: {processes: 1, processes_above: 0}
streams: {"*": {publish: anyone, limits: {viewers: 3}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("egress"), config=CONFIG)
    publisher = Publisher(one, "cam")
    try:
        one.until(lambda: one.frames_out("cam") > 10, "pictures", 30)
        one.until(lambda: ready(one), "a process for viewers", 30)
        yield one
    finally:
        publisher.close()
        one.stop()


def processes(server: Server) -> list[int]:
    found = re.findall(r"a process for viewers runs as (\d+)", server.log())
    return [int(pid) for pid in found]


def ready(server: Server) -> bool:
    return server.log().count("a process for viewers is ready") == len(processes(server)) > 0


def elsewhere(server: Server) -> int:
    _, text = server.get("/metrics")
    found = re.search(r"^streamgen_viewers_elsewhere\S* (\d+)", text, re.MULTILINE)
    return 0 if found is None else int(found[1])


async def watching(server: Server) -> WhepViewer:
    viewer = WhepViewer(lambda *_: None)
    await viewer.start(f"http://127.0.0.1:{server.http}/whep/cam")
    return viewer


def test_viewers_of_another_process_see_the_stream_and_are_counted(server: Server) -> None:
    async def main() -> None:
        viewers = [await watching(server) for _ in range(3)]
        try:
            await until(lambda: min(one.pictures for one in viewers) > 20, "pictures")
            await until(lambda: elsewhere(server) == 3, "three viewers elsewhere")
            assert server.stream("cam")["viewers"] == 3
            assert server.get("/whep/cam", "POST", "")[0] == 503  # three is all it may have
        finally:
            for one in viewers:
                await one.close()
        await until(lambda: elsewhere(server) == 0, "nobody elsewhere")

    asyncio.run(main())


def test_its_death_ends_its_viewers_and_nothing_else(server: Server) -> None:
    async def main() -> None:
        viewer = await watching(server)
        await until(lambda: viewer.pictures > 5, "pictures")
        former, shown = processes(server)[-1], server.frames_out("cam")
        os.kill(former, signal.SIGKILL)
        await until(lambda: processes(server)[-1] != former and ready(server), "another process")
        await viewer.close()
        again = await watching(server)
        await until(lambda: again.pictures > 5, "pictures again")
        assert server.frames_out("cam") > shown
        await until(lambda: elsewhere(server) == 1, "one viewer elsewhere")
        await again.close()

    asyncio.run(main())


def test_the_end_of_the_stream_ends_its_sessions(server: Server) -> None:
    async def main() -> None:
        publisher = Publisher(server, "short")
        try:
            server.until(lambda: server.frames_out("short") > 10, "pictures", 30)
            viewer = WhepViewer(lambda *_: None)
            await viewer.start(f"http://127.0.0.1:{server.http}/whep/short")
            await until(lambda: viewer.pictures > 5, "pictures")
        finally:
            server.get("/v1/streams/short", "DELETE")
            publisher.close()
        await until(lambda: elsewhere(server) == 0, "nobody elsewhere")
        await viewer.close()

    asyncio.run(main())
