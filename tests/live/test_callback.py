"""A server that asks another service who may come in, while that is there, away, and changed."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jwt", reason="pyjwt is not installed")

from aiortc.mediastreams import VideoStreamTrack

from tests.edge.outbound.servers import Heard, Service, answers, serving
from tests.edge.test_auth import HERE, ONE, document, public, signed
from tests.edge.webrtc.peers import Watching, publish
from tests.edge.webrtc.test_served import over_http
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
CONFIG = """
pipeline: transcode
auth: {{callback: {{url: "{url}", keep: 0s}}{jwt}}}
outbound: {{allow: [{allow}]}}
"""


async def may(heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A yes to those who show the right token."""
    yes = b'"token": "good"' in heard.body
    await answers(204 if yes else 403)(heard, reader, writer)


class Elsewhere:
    """A service on a loop of its own."""

    def __init__(self, behave: Any) -> None:
        self.service: Service
        self._behave = behave
        self._up, self._end = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._up.wait(10)

    def _run(self) -> None:
        async def main() -> None:
            async with serving(self._behave) as self.service:
                self._up.set()
                await self._end.wait()

        self._loop.run_until_complete(main())
        self._loop.close()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10)


@pytest.fixture
def service() -> Iterator[Elsewhere]:
    one = Elsewhere(may)
    yield one
    one.stop()


def written(folder: Path, url: str, *, allow: str = "127.0.0.0/8", jwt: str = "") -> str:
    text = CONFIG.format(url=url, allow=allow, jwt=jwt)
    (folder / "streamgen.yaml").write_text(text)
    return text


def read_again(server: Server) -> None:
    before = server.log().count("was read again")
    os.kill(server.process.pid, signal.SIGHUP)
    server.until(lambda: server.log().count("was read again") > before, "the new file")


def hls(server: Server, token: str) -> int:
    return server.get(f"/hls/cam/index.m3u8?token={token}")[0]


async def offered(server: Server, path: str) -> tuple[int, bool]:
    """Status, and whether it is said when to ask again."""
    if path.startswith("/whip/"):
        peer, answer = await publish(over_http(server), path, VideoStreamTrack())
    else:
        viewer = Watching()
        await viewer.start(over_http(server), path)
        peer, answer = viewer.peer, viewer.answer
    await peer.close()
    return answer.status, "retry-after" in answer.headers


def offers(server: Server, token: str) -> set[tuple[int, bool]]:
    paths = (f"/whip/other?token={token}", f"/whep/cam?token={token}")
    return {asyncio.run(offered(server, path)) for path in paths}


def test_who_is_let_in_follows_the_service_and_the_file(service: Elsewhere, tmp_path: Path) -> None:
    url = service.service.url
    text = written(tmp_path, url.replace("127.0.0.1", "localhost"), allow="localhost")
    server = Server(tmp_path, config=text)
    other = Elsewhere(answers(403))
    good = Publisher(server, "cam", size="64x36", rate=10, gop=10, query="?token=good")
    bad = Publisher(server, "cam", size="64x36", rate=10, gop=10, query="?token=bad", seconds=3)
    try:
        server.until(lambda: hls(server, "good") == 200, "a playlist")
        assert bad.process.wait(10) != 0
        assert hls(server, "bad") == 403 and offers(server, "bad") == {(403, False)}
        assert offers(server, "good") == {(201, False)}

        written(tmp_path, url, allow="")
        os.kill(server.process.pid, signal.SIGHUP)
        server.until(lambda: "is a loopback address" in server.log(), "the refusal of the file")
        assert hls(server, "good") == 200  # as before
        written(tmp_path, other.service.url)  # another service, another `outbound`
        read_again(server)
        assert hls(server, "good") == 403 and other.service.heard

        keys = tmp_path / "keys.json"
        keys.write_bytes(document(public(ONE, "one")))
        rights = [{"streams": ["cam"], "actions": ["play"]}]
        token = signed(streamgen=rights)
        assert hls(server, token) == 403
        jwt = f", jwt: {{jwks: {keys}, audience: {HERE}}}"
        written(tmp_path, url, jwt=jwt)
        read_again(server)
        assert hls(server, token) == 200 and hls(server, "bad") == 403

        service.stop()  # away
        assert hls(server, "good") == 503 and offers(server, "good") == {(503, True)}
        assert hls(server, token) == 200  # nobody need be asked
        shown = server.log()
        assert "did not say who may come in" in shown and "good" not in shown
        assert good.process.poll() is None  # who is in stays in
    finally:
        for one in (good, bad):
            one.close()
        server.stop()
        other.stop()
