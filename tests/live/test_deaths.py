"""Whatever dies, the rest goes on; and when all is told to end, nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tests.edge.rtmp.client import HANDSHAKE, command, connect
from tests.edge.rtmp.client import publish as named
from tests.live.playlists import renditions
from tests.live.serving import Publisher, Server, needs_ffmpeg

pytestmark = needs_ffmpeg
NAMES = [f"one-of-{n}" for n in range(4)]


def alive(pid: int) -> bool:
    try:
        return b"streamgen.cli" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill_worker(server: Server, name: str, number: int = signal.SIGKILL) -> int:
    pid = server.pids()[name]
    os.kill(pid, number)
    return pid


def test_four_streams_move_from_a_dead_worker_at_once(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    for name in NAMES:
        publish(name, size="160x90", rate=15, gop=15)
    server.until(lambda: all(server.frames_out(n) > 10 for n in NAMES), "motion of all", 30)
    for _ in range(2):  # the second time all four are on the one that survived
        victim = server.stream(NAMES[0])["worker"]
        there = [n for n in NAMES if server.stream(n)["worker"] == victim]
        before = {n: len(server.stream(n)["took_over_s"]) for n in there}
        kill_worker(server, victim)
        server.until(
            lambda there=there, before=before: all(
                len(server.stream(n)["took_over_s"]) > before[n] for n in there
            ),
            "motion of all again",
        )
        said = f"worker {victim} is here"
        server.until(lambda said=said: server.log().count(said) >= 2, "its successor")
    assert len(there) == 4
    for name in NAMES:
        row = server.stream(name)
        assert max(row["took_over_s"]) < 4.0
        print(name, row["took_over_s"])
        assert row["state"] == "live"


def test_a_frozen_worker_is_given_up_and_what_it_says_later_is_ignored(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    publish("frozen")
    server.until(lambda: server.frames_out("frozen") > 10, "motion")
    first = server.stream("frozen")["worker"]
    pid = kill_worker(server, first, signal.SIGSTOP)
    try:
        server.until(lambda: server.stream("frozen")["took_over_s"], "takeover")
    finally:
        os.kill(pid, signal.SIGCONT)
    out = server.frames_out("frozen")
    server.until(lambda: server.frames_out("frozen") > out + 50, "motion")
    row = server.stream("frozen")
    assert row["worker"] != first and len(row["took_over_s"]) == 1
    assert alive(pid)  # it stopped the stream by itself and serves others


def test_a_gop_without_end_shows_a_still_until_the_next_key_frame(
    server: Server, publish: Callable[..., Publisher]
) -> None:
    publish("endless", size="160x90", rate=15, gop=100_000)
    server.until(lambda: server.stream("endless").get("gop_dropped"), "a GOP beyond 12 s", 25)
    out = server.frames_out("endless")
    server.until(lambda: server.frames_out("endless") > out + 10, "motion all the same")
    kill_worker(server, server.stream("endless")["worker"])
    server.until(lambda: server.stream("endless")["filled"], "stills")
    out = server.frames_out("endless")
    server.until(lambda: server.frames_out("endless") > out + 5, "stills for viewers")
    assert server.stream("endless")["state"] == "gap"


def test_the_edge_comes_back_when_it_dies(tmp_path: Path) -> None:
    server = Server(tmp_path, "--pipeline", "transcode")
    try:
        pids = server.pids()
        os.kill(pids["edge"], signal.SIGKILL)
        server.until(lambda: server.log().count("listening: ") == 2, "the edge again", 20)
        assert server.pids()["edge"] != pids["edge"]
        assert {n: p for n, p in server.pids().items() if n != "edge"} == {
            n: p for n, p in pids.items() if n != "edge"
        }
        server.until(lambda: server.log().count("worker-0 is here") == 2, "the workers at it")
    finally:
        assert server.stop() == 0


def knows_how_to_reconnect(server: Server) -> socket.socket:
    """A publisher that was let in and says so (E-RTMP v2, capsEx)."""
    line = socket.create_connection(("127.0.0.1", server.rtmp), 20)
    line.sendall(HANDSHAKE + connect(capsEx=1) + command("createStream", 4, None) + named("able"))
    heard = b""
    while b"is now published" not in heard:
        heard += (said := line.recv(65_536))
        assert said, heard[-200:]
    return line


def test_a_server_that_is_told_to_end_finishes_its_streams(tmp_path: Path) -> None:
    server = Server(tmp_path, "--pipeline", "transcode")
    publisher = Publisher(server, "last")
    try:
        server.until(lambda: renditions(server, "last"), "playlists")
        pids = server.pids()
        able = knows_how_to_reconnect(server)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 15
        with able:
            assert b"ReconnectRequest" in b"".join(iter(lambda: able.recv(65_536), b""))
        assert "the stream ended" in server.log()
        assert "internal error" not in server.log() and "Traceback" not in server.log()
        assert not any(alive(pid) for pid in pids.values())
    finally:
        publisher.close()
        server.stop()


def test_nothing_is_left_of_a_server_that_is_killed(tmp_path: Path) -> None:
    server = Server(tmp_path, "--pipeline", "transcode")
    pids = server.pids()
    assert len(pids) == 3 and all(alive(pid) for pid in pids.values())
    try:
        server.process.kill()
        server.until(lambda: not any(alive(pid) for pid in pids.values()), "end of all", 15)
    finally:
        server.stop()
