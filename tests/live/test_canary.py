"""Secrets that are shown at every door of a server turn up nowhere behind it: not in logs, metrics,
answers, events or the list of processes."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
MARK = "c4nary"
PUBLISH, PLAY, ADMIN, PUSH, WRONG = (f"{MARK}-{number}-{'x' * 20}" for number in range(5))
ALL = (PUBLISH, PLAY, ADMIN, PUSH, WRONG)
HOOK = f"whsec_{MARK}TooTooTooTooTooTooTooToo01"
OFFER = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
CONFIG = f"""
auth:
  publish_keys: {{one: {PUBLISH}}}
  play_keys: {{two: {PLAY}}}
  admin_keys: {{three: {ADMIN}}}
  callback: http://127.0.0.1:9/may?key={PUSH}
outbound: {{allow: [127.0.0.1]}}
hooks:
  dead: {{url: "http://127.0.0.1:9/{PUSH}?key={PUSH}", secret: {HOOK}}}
pipeline: transcode
streams:
  "cam": {{publish: [one], play: [two], grace: 1s, push: ["rtmp://127.0.0.1:9/live/{PUSH}"]}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("canary"), config=CONFIG)
    yield one
    one.stop()


def ask(server: Server, method: str, path: str, token: str | None, body: str = "") -> str:
    """The whole answer, head and body. A live event stream: its first event."""
    line = http.client.HTTPConnection("127.0.0.1", server.http, timeout=15)
    headers = {"content-type": "application/sdp" if body.startswith("v=") else "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    line.request(method, path, body or None, headers)
    answer = line.getresponse()
    text = f"{answer.status} {answer.getheaders()} "
    events = "event-stream" in (answer.getheader("content-type") or "")
    text += (answer.read1(65_536) if events else answer.read()).decode(errors="replace")
    line.close()
    return text


def rude(server: Server, token: str) -> str:
    """Requests that are none."""
    said = b""
    for text in (
        f"GET /v1/streams?token={token} NONSENSE\r\n\r\n",
        f"GET /v1/{token} HTTP/1.1\r\nhost: {token}.example\r\n\r\n",
        f"{token} / HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.http), 10) as one:
            one.sendall(text.encode())
            said += one.recv(65_536)
    with socket.create_connection(("127.0.0.1", server.rtmp), 10) as one:
        one.sendall(token.encode() * 100)
        said += one.recv(65_536)
    return said.decode(errors="replace")


def processes(server: Server) -> dict[int, str]:
    """What the server and all that it has started show to others of the same machine."""
    parents, shown = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            text = (folder / "cmdline").read_text() + (folder / "environ").read_text()
        except OSError:
            continue
        parents[int(folder.name)], shown[int(folder.name)] = int(stat[1]), text
    ours = {server.process.pid}
    for _ in parents:
        ours |= {pid for pid, parent in parents.items() if parent in ours}
    return {pid: shown[pid] for pid in ours & set(shown)}


def test_no_secret_is_found_behind_any_door(server: Server) -> None:
    publisher = Publisher(server, "cam", query=f"?token={PUBLISH}", size="160x90", rate=10, gop=10)
    try:
        live = f"/hls/cam/index.m3u8?token={PLAY}"
        server.until(lambda: server.get(live)[0] == 200, "the playlist", 30)
        said = []
        for token in ALL:
            for path in ("/whip/cam", "/whep/cam", "/whip/none", "/whep/none"):
                said.append(ask(server, "POST", path, token, OFFER))
                said.append(ask(server, "POST", f"{path}?token={token}", None, OFFER))
                said.append(ask(server, "DELETE", f"{path}/nothing?token={token}", token))
            if token != PLAY:  # whose playlists carry it on, for who has it
                said.append(ask(server, "GET", f"/hls/cam/index.m3u8?token={token}", None))
            said.append(ask(server, "GET", "/hls/cam/index.m3u8", token))
            said.append(rude(server, token))
            Publisher(server, "cam", query=f"?token={WRONG}&{token}", seconds=1).close()
        there = json.dumps({"url": f"rtmp://127.0.0.1:9/live/{PUSH}"})
        for token in (*ALL, None):
            said.append(ask(server, "PUT", "/v1/streams/cam/pushes/more", token, there))
            said.append(ask(server, "PUT", "/v1/streams/cam", token, f'{{"pipeline": "{PUSH}'))
            for path in (
                *("/v1/streams", "/v1/streams/cam", "/v1/streams/cam/pushes", "/v1/events"),
                *("/v1/server", "/v1/hooks", "/metrics", "/openapi.json", "/docs", "/healthz", "/"),
            ):
                said.append(ask(server, "GET", path, token))
        admitted = ask(server, "GET", "/v1/streams/cam/pushes", ADMIN)
        assert '"more"' in admitted, admitted
        said.append(ask(server, "GET", "/v1/hooks", ADMIN))
        assert "connection refused" in said[-1], said[-1]
        for text in said:
            assert MARK not in text, text
        told = processes(server)
        assert len(told) > 3  # the edge, workers, pushes
        assert not [pid for pid, text in told.items() if MARK in text]
    finally:
        publisher.close()
    server.until(lambda: "a publisher is here" in server.log(), "the log")
    assert "auth.callback" in server.log()
    assert MARK not in server.log(), next(x for x in server.log().splitlines() if MARK in x)
