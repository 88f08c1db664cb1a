"""HLS fan-out: what a part costs the origin, and how fast 300 waiting players get the next one.

    python benchmarks/hls.py [--seconds 5] [--json]

Part requests per CPU-second of the server's process, over keep-alive connections from another
process, for parts of a 0.4, 1.2 and 2.5 Mbit/s rung; ours under each server that is installed,
and nginx with the same bytes as files, where it is. The wake row: 300 blocked reloads of one
rendition, from the publication of the part to the last byte of the last answer at the client.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import uvicorn

from streamgen.deliver.live import LivePackager, LiveStart
from streamgen.deliver.rendition import LiveTrack
from streamgen.deliver.window import Part
from streamgen.telemetry import Telemetry
from streamgen_edge.hls import Viewer, hls_app
from streamgen_edge.hls.protocol import OneWrite

BITRATES_KBPS = (400, 1200, 2500)
PART_S = 1 / 3
HELD = 300
ROUNDS = 20
SERVERS = ("uvicorn+uvloop", "uvicorn", "granian", "nginx")
BASE = "/hls/cam/s/180p"


def packager() -> LivePackager:
    """One rung with a full segment, whose parts have the sizes to measure."""
    track = LiveTrack("video/180p", "h264", 1_000_000)
    made = LivePackager(LiveStart("s", 0), [track], telemetry=Telemetry())
    window = made.renditions["180p"].window
    window.begin(0, 0, "init.mp4")
    for index, rate in enumerate(BITRATES_KBPS):
        window.add(part(0, index, round(rate * 125 * PART_S)))
    window.finish()
    return made


def part(number: int, index: int, size: int) -> Part:
    return Part(f"{number}.{index}.m4s", 333_333_333, os.urandom(size), index == 0)


async def everybody(viewer: Viewer) -> int | None:
    return None


def serve(kind: str, port: int, rounds: int) -> None:
    """The server's process: answers, and publishes a part whenever all players wait."""
    made = packager()
    app = hls_app({"cam": made}, everybody)
    if kind == "granian":
        _granian(app, port)
        return
    gc.collect()
    gc.freeze()
    answered: list[None] = []

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        answered.append(None)

    config = uvicorn.Config(
        counted,
        port=port,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off",
        http=OneWrite,
        proxy_headers=False,
        loop="uvloop" if kind.endswith("uvloop") else "asyncio",
        backlog=2048,
    )

    async def run() -> None:
        publisher = asyncio.create_task(publish(app, made, rounds, answered))
        await uvicorn.Server(config).serve()
        publisher.cancel()

    factory = config.get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())


def _granian(app: Any, port: int) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(app, port=port, interface=Interfaces.ASGINL, websockets=False, backlog=2048)
    asyncio.run(server.serve())


async def publish(app: Any, made: LivePackager, rounds: int, answered: list[None]) -> None:
    """A part, once all players wait for it; its time, and what the answers cost, on stdout."""
    rendition = made.renditions["180p"]
    rendition.window.begin(1, 1_000_000_000, "init.mp4")
    for index in range(rounds):
        while app._room(made).held < HELD:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        rendition.window.add(part(1, index, 10))
        answered.clear()
        began, used = time.monotonic_ns(), time.process_time_ns()
        made._tell(rendition)
        while len(answered) < HELD:  # noqa: ASYNC110
            await asyncio.sleep(0)
        print(began, time.process_time_ns() - used, flush=True)


@contextmanager
def started(kind: str, port: int, folder: Path, rounds: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A server's process, ready to answer."""
    if kind == "nginx":
        command = ["nginx", "-c", str(_nginx(folder, port)), "-p", str(folder)]
    else:
        command = [sys.executable, __file__, "--serve", kind, str(port), str(rounds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None:
                    raise SystemExit(f"{kind} did not start") from None
                time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _nginx(folder: Path, port: int) -> Path:
    files = folder / "hls/cam/s/180p"
    files.mkdir(parents=True)
    for index, rate in enumerate(BITRATES_KBPS):
        (files / f"0.{index}.m4s").write_bytes(os.urandom(round(rate * 125 * PART_S)))
    config = folder / "nginx.conf"
    config.write_text(f"""daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 10000000;
  server {{ listen 127.0.0.1:{port}; root {folder};
    location / {{ add_header cache-control "public, max-age=31536000, immutable";
      add_header access-control-allow-origin *; }} }} }}
""")
    return config


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def requests(port: int, path: str, until: float, counts: list[int]) -> None:
    """Ask again and again on one connection."""
    head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
    space = bytearray(1 << 20)
    done = 0
    with socket.create_connection(("127.0.0.1", port)) as line:
        while time.monotonic() < until:
            line.sendall(head)
            got = line.recv_into(space)
            while (end := space.find(b"\r\n\r\n", 0, got)) < 0:
                got += line.recv_into(memoryview(space)[got:])
            said = bytes(space[:end]).lower()
            assert said.startswith(b"http/1.1 200"), said
            length = int(said.partition(b"content-length:")[2].partition(b"\r\n")[0])
            left = length - (got - end - 4)
            while left:
                left -= line.recv_into(space, min(left, len(space)))
            done += 1
    counts.append(done)


def parts_row(kind: str, port: int, index: int, seconds: float, pid: int) -> dict[str, Any]:
    counts: list[int] = []
    until = time.monotonic() + seconds
    path = f"{BASE}/0.{index}.m4s"
    before = cpu_s(pid)
    threads = [
        threading.Thread(target=requests, args=(port, path, until, counts)) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used = cpu_s(pid) - before
    return {
        "row": "parts",
        "server": kind,
        "part_bytes": round(BITRATES_KBPS[index] * 125 * PART_S),
        "requests": sum(counts),
        "per_cpu_s": round(sum(counts) / used) if used else None,
    }


def expected(answer: bytes) -> int:
    """Bytes of the whole answer whose beginning this is. All answers are the same."""
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    head = answer.partition(b"\r\n\r\n")[0]
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(head) + 4 + int(length)


def wake_row(kind: str, port: int, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Hold 300 reloads, again and again; the milliseconds until all have the next part."""
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(HELD)]
    poll = selectors.DefaultSelector()
    for line in lines:
        line.setblocking(False)
        poll.register(line, selectors.EVENT_READ)
    took_ms: list[float] = []
    used_ms: list[float] = []
    space = bytearray(65536)
    assert process.stdout is not None
    for index in range(ROUNDS):
        query = f"_HLS_msn=1&_HLS_part={index}&_HLS_skip=YES"
        head = f"GET {BASE}/index.m3u8?{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
        for line in lines:
            line.send(head)
        got: dict[int, int] = {}
        length, whole = 0, 0
        while whole < HELD:
            for key, _ in poll.select():
                count = key.fileobj.recv_into(space)  # type: ignore[union-attr]
                length = length or expected(bytes(space[:count]))
                got[key.fd] = count = got.get(key.fd, 0) + count
                whole += count == length
        now = time.monotonic_ns()
        began, used = map(int, process.stdout.readline().split())
        took_ms.append((now - began) / 1e6)
        used_ms.append(used / 1e6)
    for line in lines:
        line.close()
    took_ms.sort()
    return {
        "row": "wake",
        "server": kind,
        "held": HELD,
        "p50_ms": round(median(took_ms), 1),
        "p95_ms": round(took_ms[int(0.95 * len(took_ms))], 1),
        "server_cpu_ms": round(median(used_ms), 1),
    }


def present(kind: str) -> bool:
    if kind == "nginx":
        return shutil.which("nginx") is not None
    return all(importlib.util.find_spec(module) for module in kind.split("+"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]), int(options.serve[2]))
        return
    for kind in filter(present, SERVERS):
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o755)
            rows = []
            port = free_port()
            with started(kind, port, Path(place)) as process:
                for index in range(len(BITRATES_KBPS)):
                    rows.append(parts_row(kind, port, index, options.seconds, process.pid))
            if kind.startswith("uvicorn"):
                port = free_port()
                with started(kind, port, Path(place), ROUNDS) as process:
                    rows.append(wake_row(kind, port, process))
        for row in rows:
            print(
                json.dumps(row) if options.json else "  ".join(f"{k} {v}" for k, v in row.items())
            )


if __name__ == "__main__":
    main()
