"""Streams sent on to other servers by a real one; it is a target of its own, too."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
SECRET = "c4nary-of-push"
CONFIG = """
pipeline: transcode
outbound: {{allow: [127.0.0.1]}}
streams: {{"*": {{publish: anyone, grace: 10s, push: {push}}}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("push")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    one = Server(folder, config=CONFIG.format(push=[]))
    yield one
    one.stop()


def pushed(server: Server, name: str, id: str = "there") -> dict[str, Any]:
    rows = server.stream(name).get("pushes", [])
    return next((dict(row) for row in rows if row["id"] == id), {})


def children(server: Server) -> set[int]:
    """Processes that the edge has started and that are there still."""
    pid = server.pids()["edge"]
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def test_a_stream_is_pushed_over_the_death_of_its_worker_and_of_its_publisher(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    url = f"rtmp://127.0.0.1:{server.rtmp}/live/copy?token={SECRET}"
    assert server.get("/v1/streams/one/pushes/there", "PUT", {"url": url})[0] == 202
    first = publish("one")
    server.until(lambda: server.frames_out("copy") > 30, "pictures of the copy")
    session = server.stream("copy")["session"]
    os.kill(server.pids()[server.stream("one")["worker"]], signal.SIGKILL)
    server.until(lambda: server.stream("one")["takeovers"].get("done"), "another worker")
    first.kill()
    publish("one")
    server.until(lambda: server.stream("one")["publisher"], "the publisher again")
    before = server.frames_out("copy")
    server.until(lambda: server.frames_out("copy") > before + 30, "more of the copy")
    row, copy = pushed(server, "one"), server.stream("copy")
    assert row["state"] == "live" and row["connections"] == 1 and row["restarts"] == 0
    assert row["dropped"] == 0 <= row["behind_bytes"]
    assert copy["session"] == session and not copy["corrected"]
    status, text = server.get("/metrics")
    assert status == 200 and 'streamgen_push{of="there",stream="one"} 1.0' in text
    assert 'streamgen_push_bytes_total{reason="there",stream="one"}' in text
    assert SECRET not in server.log() + text + str(server.stream("one"))
    assert SECRET not in str(server.get("/v1/streams/one/pushes"))
    assert server.get("/v1/streams/one/pushes/there", "DELETE")[0] == 204
    assert server.get("/v1/streams/one/pushes/there", "DELETE")[0] == 404
    server.until(lambda: server.stream("copy")["state"] == "ended", "the end of the copy")
    assert server.stream("one")["state"] == "live"
    server.until(lambda: not children(server), "the end of the process")


def test_a_stream_that_would_come_back_to_itself_is_refused_and_goes_on(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    why = "the stream would come back to itself"
    places = {
        "itself": f"rtmp://127.0.0.1:{server.rtmp}/live/round",
        "whip": f"http://127.0.0.1:{server.http}/whip/round",
        "other": f"rtmp://127.0.0.1:{server.rtmp}/live/round-2",
    }
    for id, url in places.items():
        server.get(f"/v1/streams/round/pushes/{id}", "PUT", {"url": url})
    back = {"url": places["itself"]}
    assert server.get("/v1/streams/round-2/pushes/back", "PUT", back)[0] == 202
    publish("round")
    server.until(lambda: pushed(server, "round-2", "back").get("reason") == why, "the circle")
    session = server.stream("round")["session"]
    for id in ("itself", "whip"):
        server.until(lambda id=id: pushed(server, "round", id)["reason"] == why, id)
        assert pushed(server, "round", id)["state"] == "waiting"
    assert pushed(server, "round", "other")["state"] == "live"
    row = server.stream("round")
    assert row["session"] == session and "Lavf" in row["publisher"]["software"]
    before = server.frames_out("round-2")
    server.until(lambda: server.frames_out("round-2") > before + 20, "pictures, undisturbed")
    server.get("/v1/streams/round/pushes/other", "DELETE")


def test_what_the_api_is_asked_for_wrongly_is_said(server: Server) -> None:
    path = "/v1/streams/three/pushes/x"
    status, problem = server.get(path, "PUT", {"url": f"srt://127.0.0.1/{SECRET}"})
    assert status == 422 and SECRET not in str(problem) and "rtmp" in problem["detail"]
    assert server.get(path, "PUT", {"url": "rtmp://a.example/b/c", "id": "y"})[0] == 422
    assert server.get("/v1/streams/three/pushes/a%20b", "PUT", {"url": "rtmp://a/b/c"})[0] == 422
    assert server.get("/v1/streams/a.b/pushes/x", "PUT", {"url": "rtmp://a/b/c"})[0] == 404
    for number in range(16):
        body = {"url": f"rtmp://a.example/b/{number}"}
        assert server.get(f"/v1/streams/three/pushes/{number}", "PUT", body)[0] == 202
    row = {"id": "0", "target": "rtmp://a.example", "state": None}  # there is no stream yet
    assert server.get("/v1/streams/three/pushes")[1][0] == row
    assert server.get(path, "PUT", {"url": "rtmp://a.example/b/c"})[0] == 422
    assert SECRET not in server.log()


def test_sighup_adds_and_ends_pushes_and_the_end_of_the_edge_ends_their_processes(
    server: Server, folder: Path, publish: Callable[..., Publisher]
) -> None:
    publish("two")
    server.until(lambda: server.frames_out("two") > 0, "pictures")
    dead = "{url: 'rtmp://127.0.0.1:9/live/x', id: dead}"
    there = f"{{url: 'http://127.0.0.1:{server.http}/whip/by-whip', id: there}}"

    def configured(push: str) -> None:
        text = CONFIG.format(push="[]")
        text = text.replace('streams: {"*"', f'streams: {{two: {push}, "*"')
        (folder / "streamgen.yaml").write_text(text)
        server.process.send_signal(signal.SIGHUP)

    configured(f"{{publish: anyone, push: [{dead}, {there}]}}")
    server.until(lambda: server.frames_out("by-whip") > 10, "pictures by WHIP")
    row = pushed(server, "two", "dead")
    assert row["reason"] == "the target refuses connections" and row["bytes"] == 0
    configured(f"{{publish: anyone, push: [{there}]}}")
    server.until(lambda: not pushed(server, "two", "dead"), "the end of one push")
    row = pushed(server, "two")
    assert row["state"] == "live" and row["connections"] == 1
    server.until(lambda: len(children(server)) == 1, "one process")
    (process,) = children(server)
    os.kill(server.pids()["edge"], signal.SIGKILL)
    server.until(lambda: not Path(f"/proc/{process}").exists(), "the end of the process")
