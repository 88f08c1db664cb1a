"""Whatever players and strangers ask of a real server, the stream that plays goes on playing."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import time
from collections.abc import Iterator

import pytest

from tests.live.playlists import Seen, renditions
from tests.live.serving import Publisher, Server, needs_ffmpeg, undisturbed

pytestmark = needs_ffmpeg
RATE = 15
IN_TIME = 10


@pytest.fixture(scope="module")
def playing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one stream that plays all the time, to those who have its key."""
    config = """
auth: {publish_keys: {one: s3cret, other: an0ther}}
pipeline: transcode
hls: {window: 4s}
streams: {good: {publish: [one], play: [one]}, open: {publish: [other]}}
"""
    server = Server(tmp_path_factory.mktemp("playing"), config=config)
    good = Publisher(
        server, "good", size="160x90", rate=RATE, gop=RATE, seconds=600, query="?token=s3cret"
    )
    try:
        server.until(lambda: server.frames_out("good") > 30, "the stream")
        yield server
    finally:
        good.close()
        server.stop()


@pytest.fixture(autouse=True)
def plays_on(playing: Server) -> Iterator[None]:
    """During each test the stream does, and nothing dies."""
    with undisturbed(playing, "good", RATE):
        yield


def door(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.http), IN_TIME)


def said(server: Server, head: str, *, body: bytes = b"") -> tuple[int, str]:
    """Status and text of the answer to exactly these bytes."""
    with door(server) as sock:
        sock.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
        heard = b""
        with contextlib.suppress(ConnectionError):
            while more := sock.recv(65_536):
                heard += more
    status = re.match(rb"HTTP/1.1 (\d+)", heard)
    return int(status[1]) if status else 0, heard.decode("latin-1")


def rung(server: Server) -> str:
    """Where the media playlist of the only rung is."""
    _, text = server.get("/hls/good/index.m3u8?token=s3cret")
    place = next(line for line in text.splitlines() if line and not line.startswith("#"))
    return "/hls/good/" + place.partition("?")[0]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        *(("_HLS_msn=-1", 400), ("_HLS_msn=99999999999", 400), ("_HLS_msn=x", 400)),
        *(("_HLS_part=1", 400), ("_HLS_msn=1e3", 400), ("_HLS_msn=" + "9" * 3000, 400)),
        *(("_HLS_skip=YES", 200), ("_HLS_msn=0", 200), ("x=" + "y" * 3000, 200)),
    ],
)
def test_directives_get_an_answer_at_once(playing: Server, query: str, status: int) -> None:
    assert playing.get(f"{rung(playing)}?token=s3cret&{query}")[0] == status


@pytest.mark.parametrize(
    "path",
    [
        "/hls/good/..%2f..%2fetc%2fpasswd",
        "/hls/good/../../etc/passwd",
        "/hls/%00/index.m3u8",
        "/hls/good%00/index.m3u8",
        "//hls/good/index.m3u8",
        "/hls/" + "good/" * 300,
        "/hls/%ff%fe/index.m3u8",
        "/page/..%2f..%2fapi.py",
        "/page/../api.py",
        "/page/%2e%2e/settings.py",
        "/v1/streams/..%2fgood",
    ],
)
def test_paths_lead_nowhere_else(playing: Server, path: str) -> None:
    status, text = said(playing, f"GET {path} HTTP/1.1\nhost: localhost\nconnection: close")
    assert status in (400, 404)
    assert "root:" not in text and "import" not in text


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /hls/good/index.m3u8?token=s3cret HTTP/1.1\nhost: evil.example", 421),
        ("GET /v1/streams HTTP/1.1\nhost: localhost@evil.example", 421),
        ("GET http://evil.example/v1/streams HTTP/1.1\nhost: evil.example", 421),
        ("POST /whip/good HTTP/1.1\nhost: localhost\norigin: http://evil\ncontent-length: 0", 415),
        ("DELETE /hls/good/index.m3u8 HTTP/1.1\nhost: localhost", 405),
        ("GET /hls/good/index.m3u8 HTTP/1.1\nhost: localhost", 401),
        ("GET /hls/good/index.m3u8?token=an0ther HTTP/1.1\nhost: localhost", 403),
        ("GET / HTTP/1.1\nhost: localhost\ncontent-length: -5", 400),
        ("NONSENSE", 400),
    ],
)
def test_tricks_with_names_keys_and_heads_are_refused(
    playing: Server, head: str, status: int
) -> None:
    found, text = said(playing, head + "\nconnection: close" * (" HTTP/" in head))
    assert found == status, text
    assert "location:" not in text.lower()


def test_a_key_of_the_query_is_neither_logged_nor_carried_elsewhere(playing: Server) -> None:
    place = rung(playing)
    text = playing.get(f"{place}?token=s3cret&secret=hidden-thing")[1]
    assert "s3cret" not in text and "hidden-thing" not in text
    said(playing, f"GET {place}?token=s3cret&hidden-thing HTTP/1.1\nhost: localhost\nx: \nNONSENSE")
    assert "s3cret" not in playing.log() and "hidden-thing" not in playing.log()


def test_a_body_without_end_is_not_kept(playing: Server) -> None:
    head = "PUT /v1/streams/good HTTP/1.1\nhost: localhost\ncontent-type: application/json"
    head += "\ntransfer-encoding: chunked\nconnection: close"
    with door(playing) as sock:
        sock.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < 64 << 20:
                sock.sendall(b"10000\r\n" + b" " * 65_536 + b"\r\n")
                sent += 65_536
        assert sent < 32 << 20


def test_ranges_of_all_kinds_give_a_piece_the_whole_or_nothing(playing: Server) -> None:
    place = rung(playing)
    text = playing.get(f"{place}?token=s3cret")[1]
    file = place.rpartition("/")[0] + "/" + re.findall(r"^(\d+\.m4s)$", text, re.M)[-1]
    many = ",".join(f"{n}-{n}" for n in range(1000))
    for asked, status in (
        *(("bytes=0-0", 206), ("bytes=-1", 206), ("bytes=99999999999-", 416)),
        *((f"bytes={many}", 200), ("bytes=0-18446744073709551616", 200), ("bytes=5-1", 200)),
    ):
        head = f"GET {file} HTTP/1.1\nhost: localhost\nconnection: close\nrange: {asked}"
        found, _ = said(playing, head)
        assert found == status, asked[:40]


def test_crowds_of_the_silent_and_of_the_slow_keep_nobody_waiting(playing: Server) -> None:
    place = rung(playing)
    newest = Seen()
    newest.look(playing.get(f"{place}?token=s3cret")[1])
    ask = f"GET {place}?token=s3cret&_HLS_msn={max(newest.segments) + 2} HTTP/1.1"
    words = [b"", b"GET / HT", f"{ask}\r\nhost: localhost\r\n\r\n".encode()]
    with contextlib.ExitStack() as leaving:
        for number in range(300):
            sock = leaving.enter_context(door(playing))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.sendall(words[number % 3])
        assert playing.get(f"{place}?token=s3cret")[0] == 200
        time.sleep(1.5)


def test_a_server_without_file_descriptors_plays_on_and_recovers(playing: Server) -> None:
    edge = playing.pids()["edge"]
    limit = resource.prlimit(edge, resource.RLIMIT_NOFILE)
    few = len(os.listdir(f"/proc/{edge}/fd")) + 20
    resource.prlimit(edge, resource.RLIMIT_NOFILE, (few, limit[1]))
    try:
        with contextlib.ExitStack() as leaving:
            for number in range(120):
                port = (playing.http, playing.rtmp)[number % 2]
                sock = socket.create_connection(("127.0.0.1", port), IN_TIME)
                leaving.enter_context(sock).sendall(b"\x03GET")
            time.sleep(1.5)
            assert len(os.listdir(f"/proc/{edge}/fd")) >= few - 2
    finally:
        resource.prlimit(edge, resource.RLIMIT_NOFILE, limit)
    playing.until(lambda: playing.get(f"{rung(playing)}?token=s3cret")[0] == 200, "an answer", 5)


def test_media_sequence_never_goes_back_when_a_publisher_begins_anew(playing: Server) -> None:
    """Another session has names of its own: no number of the former one can come again."""
    sessions: set[str] = set()
    for _ in range(2):
        one = Publisher(playing, "open", size="64x36", rate=10, gop=10, query="?token=an0ther")
        try:
            playing.until(lambda: playing.stream("open").get("state") == "live", "a live stream")
            playing.until(lambda: playing.frames_out("open") > 12, "pictures")
            places = playing.until(lambda: renditions(playing, "open"), "playlists")
            seen = Seen()
            for _ in range(8):
                seen.look(playing.get(places[-1])[1])
                time.sleep(0.1)
            assert not seen.changed and not seen.holes
            sessions.add(places[-1].split("/")[3])
            assert playing.get("/v1/streams/open", "DELETE")[0] == 204
            playing.until(lambda: playing.stream("open")["state"] == "ended", "the end")
            assert playing.get(places[-1])[1].endswith("#EXT-X-ENDLIST\n")
        finally:
            one.close()
    assert len(sessions) == 2
