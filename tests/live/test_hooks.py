"""A service hears of the streams of a real server, while it runs, when it is reloaded and when it
stops."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamgen_edge.outbound.signing import signed
from tests.live.serving import Publisher, Server, needs_ffmpeg
from tests.ports import free_port

pytestmark = needs_ffmpeg
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Listener:
    """A service that takes whatever it is told."""

    def __init__(self, port: int = 0) -> None:
        self.heard: list[dict[str, Any]] = []
        self.forged = 0
        service = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                id, at = self.headers["webhook-id"], int(self.headers["webhook-timestamp"])
                seal = signed(SECRET, id, at, body)["webhook-signature"]
                service.forged += seal != self.headers["webhook-signature"]
                service.heard.append(json.loads(body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/in?key=none"

    def of(self, stream: str) -> list[dict[str, Any]]:
        return [one for one in list(self.heard) if one["stream"] == stream]

    def end(self, stream: str) -> dict[str, Any]:
        return next((one for one in self.of(stream) if one["event"] == "on_end"), {})

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def listeners() -> Iterator[tuple[Listener, Listener]]:
    both = Listener(), Listener()
    yield both
    for one in both:
        one.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hooks")


def config(folder: Path, **hooks: Listener) -> str:
    told = {name: {"url": one.url, "secret": SECRET} for name, one in hooks.items()}
    told["dead"] = {"url": "http://127.0.0.1:9/in", "secret": SECRET}
    return (
        "pipeline: transcode\noutbound: {allow: [127.0.0.1]}\n"
        f"recording: {{folder: {folder / 'kept'}, min_free: 0}}\n"
        "streams: {'*': {publish: anyone, record: true, grace: 1s}}\n"
        f"hooks: {json.dumps(told)}\n"
    )


@pytest.fixture(scope="module")
def server(folder: Path, listeners: tuple[Listener, Listener]) -> Iterator[Server]:
    one = Server(folder, config=config(folder, first=listeners[0]))
    yield one
    one.stop()


def hook(server: Server, name: str) -> dict[str, Any]:
    rows = server.get("/v1/hooks")[1]
    return next((row for row in rows if row["name"] == name), {})


def test_a_stream_is_told_of_from_its_begin_to_its_end_whatever_other_services_do(
    server: Server, folder: Path, listeners: tuple[Listener, Listener], publish: Callable[..., Any]
) -> None:
    first, _ = listeners
    publisher = publish("cam")
    server.until(lambda: first.of("cam"), "on_publish")
    server.until(lambda: server.frames_out("cam") > 25, "motion")
    session = server.stream("cam")["session"]
    publisher.close()
    server.until(lambda: len(first.of("cam")) == 3, "on_end and on_record")
    began, *rest = first.of("cam")
    end, record = sorted(rest, key=lambda one: str(one["event"]))
    assert began["event"] == "on_publish"
    facts = {"protocol": "rtmp", "codec": "h264", "width": 320, "height": 180, "sound": "aac"}
    assert {name: began[name] for name in facts} == facts
    assert end["event"] == "on_end" and end["reason"] == "publisher" and end["error"] is None
    assert end["frames_out"] > 25 and end["duration_s"] > 0
    path = folder / "kept" / record["path"]
    assert record["event"] == "on_record" and path.stat().st_size == record["bytes"]
    assert record["duration_s"] > 0
    assert {one["session"] for one in first.of("cam")} == {session[:6]}
    assert first.forged == 0
    server.until(lambda: hook(server, "first")["sent"] == 3, "count of what was told")
    assert hook(server, "first")["left"] == 0
    server.until(lambda: hook(server, "dead")["state"] == "waiting", "rest of the dead one")
    dead = hook(server, "dead")
    assert dead["left"] == 3 and dead["error"] == "127.0.0.1: connection refused"
    text = server.get("/metrics")[1]
    assert 'streamgen_hook_sent_total{reason="first",stream=""} 3.0' in text
    assert 'streamgen_hook_left{of="dead",stream=""} 3.0' in text


def test_one_that_is_lost_and_one_that_the_api_ends_say_so(
    server: Server, listeners: tuple[Listener, Listener], publish: Callable[..., Publisher]
) -> None:
    first, _ = listeners
    lost, _ = publish("lost"), publish("asked")
    server.until(lambda: first.of("lost") and first.of("asked"), "both")
    lost.kill()
    assert server.get("/v1/streams/asked", "DELETE")[0] == 204
    for name in ("lost", "asked"):
        server.until(lambda name=name: first.end(name), f"the end of {name}")
        assert first.end(name)["reason"] == name


def test_services_come_and_go_with_the_file_and_hear_the_last_when_the_server_stops(
    server: Server, folder: Path, listeners: tuple[Listener, Listener], publish: Callable[..., Any]
) -> None:
    """The last test of this server."""
    first, second = listeners
    publish("last")
    server.until(lambda: first.of("last"), "on_publish")
    (folder / "streamgen.yaml").write_text(config(folder, second=second))
    read = server.log().count("was read again")
    server.process.send_signal(1)
    server.until(lambda: server.log().count("was read again") > read, "the new file")
    assert not hook(server, "first")
    assert server.stop() == 0
    assert [one["event"] for one in first.of("last")] == ["on_publish"]
    assert {one["event"] for one in second.of("last")} == {"on_record", "on_end"}
    assert second.end("last")["reason"] == "server"
    assert "hook dead ends, events not told: " in server.log()
    assert "Traceback" not in server.log()


def waiting(database: Path) -> list[tuple[str, int]]:
    """Events that the server has still to tell of, with their tries."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        return store.execute("SELECT event, attempt FROM outbox").fetchall()


def test_what_an_edge_had_to_tell_when_it_was_killed_the_next_one_tells_by_the_store(
    tmp_path: Path,
) -> None:
    pytest.importorskip("aiosqlite")
    port, database = free_port(), tmp_path / "state.db"
    told = {"one": {"url": f"http://127.0.0.1:{port}/in", "secret": SECRET}}
    server = Server(
        tmp_path,
        config=f"pipeline: transcode\noutbound: {{allow: [127.0.0.1]}}\nworkers: 1\n"
        f"store: sqlite:///{database}\nhooks: {json.dumps(told)}\n",
        workers=1,
    )
    publisher = Publisher(server, "cam")
    try:
        server.until(lambda: hook(server, "one").get("retried"), "a try in vain")
        [(id, _)] = waiting(database)
        edge = server.pids()["edge"]
        os.kill(edge, signal.SIGKILL)
        service = Listener(port)
        try:
            server.until(lambda: server.pids()["edge"] != edge, "another edge")
            [began] = server.until(lambda: service.of("cam"), "on_publish", 60)
            assert (began["id"], began["event"]) == (id, "on_publish") and began["attempt"] > 1
            server.until(lambda: not waiting(database), "nothing left")
            assert service.of("cam") == [began] and service.forged == 0
        finally:
            service.close()
    finally:
        publisher.close()
        server.stop()
