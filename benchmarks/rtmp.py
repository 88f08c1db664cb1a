"""What one RTMP publisher costs: megabits of media per second of CPU, by chunk size.

A server process takes a publisher over loopback and counts its own CPU time, system calls
included, from the first picture to the end. The publisher sends real H.264 of 20 kB a picture with
AAC as fast as it is taken. Ours gives packets in Annex B. Beside it, in the same run: the demuxer
of libavformat with `listen=1` (C, one publisher, any key), and `pyrtmp` from PyPI when
`--pyrtmp` names a Python that has it. `--json` for one JSON line per row.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import resource
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamgen.media.packet import Packet
from streamgen_edge.rtmp import Ended, Limits, Publisher, RtmpServer, Sink, Track, amf0
from streamgen_edge.rtmp.chunk_writer import chunk_size, chunked
from streamgen_edge.rtmp.messages import COMMAND

MUST = {4096: 500, 128: 150}
"""Mbit per CPU-second."""
CHUNK_SIZES = (128, 4096, 60_000)
PICTURES, FPS = 100, 25
WIDTH, HEIGHT, BITRATE_BPS = 640, 360, 4_000_000


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Meter:
    """A sink that counts."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.packets = 0
        self.began = 0.0

    def track(self, track: Track) -> None: ...

    def packet(self, packet: Packet) -> bool:
        if not self.packets:
            self.began = cpu_s()
        self.packets += 1
        return True

    def ended(self, end: Ended) -> None:
        stats = self.publisher.stats
        row = {"bytes": stats.bytes, "messages": self.packets, "cpu_s": cpu_s() - self.began}
        print(json.dumps(row), flush=True)


async def serve_ours() -> None:
    async def welcome(publisher: Publisher) -> Sink:
        return Meter(publisher)

    limits = Limits(bytes_per_s_per_address=1 << 40)
    async with RtmpServer("127.0.0.1:0", welcome, limits=limits) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


def serve_libavformat() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    print(port, flush=True)
    while True:
        options = {"listen": "1", "timeout": "60", "probesize": "32", "analyzeduration": "0"}
        container: Any = av.open(f"rtmp://127.0.0.1:{port}/live/cam", options=options, format="flv")
        began, size, packets = cpu_s(), 0, 0
        try:
            for packet in container.demux():
                size += packet.size
                packets += 1
        except OSError:
            pass
        row = {"bytes": size, "messages": packets, "cpu_s": cpu_s() - began}
        print(json.dumps(row), flush=True)
        container.close()


def media() -> list[tuple[int, int, bytes]]:
    """FLV tags of a noisy clip: kind, milliseconds, payload."""
    file = io.BytesIO()
    rng = np.random.default_rng(1)
    with av.open(file, "w", format="flv") as sink:
        options = {"preset": "ultrafast", "tune": "zerolatency", "nal-hrd": "cbr"}
        options |= {"bufsize": str(BITRATE_BPS // 4), "maxrate": str(BITRATE_BPS)}
        video: Any = sink.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.bit_rate, video.gop_size = BITRATE_BPS, FPS
        audio: Any = sink.add_stream("aac", rate=48_000)
        for number in range(PICTURES):
            planes = rng.integers(0, 255, (HEIGHT * 3 // 2, WIDTH), np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            sink.mux(video.encode(frame))
            samples = rng.normal(0, 0.1, (1, 48_000 // FPS)).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 48_000, number * 48_000 // FPS
            sink.mux(audio.encode(sound))
        sink.mux(video.encode(None))
        sink.mux(audio.encode(None))
    return list(tags(file.getvalue()))


def tags(flv: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 13
    while at + 11 <= len(flv):
        size = int.from_bytes(flv[at + 1 : at + 4], "big")
        stamp = int.from_bytes(flv[at + 4 : at + 7], "big") | flv[at + 7] << 24
        yield flv[at], stamp, flv[at + 11 : at + 11 + size]
        at += 15 + size


def sent(found: list[tuple[int, int, bytes]], size: int, megabytes: int) -> Iterator[bytes]:
    """The clip in chunks, again and again until there is so much of it."""
    length = found[-1][1] + 1000 // FPS
    total, turn = 0, 0
    while total < megabytes * 1_000_000:
        for kind, stamp, body in found:
            if kind in (8, 9) and (turn == 0 or body[1] != 0):
                total += len(body)
                yield chunked(kind - 4, kind, 1, body, size, stamp + turn * length)
        turn += 1


def publish(port: int, data: list[bytes], size: int) -> None:
    """Say what publishers say, wait to be let in, and send."""

    def command(*values: Any, stream: int = 0) -> bytes:
        return chunked(3, COMMAND, stream, amf0.encode(values), 128)

    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.sendall(b"\x03" + bytes(1536))
        answer = b""
        while len(answer) < 1 + 2 * 1536:
            answer += line.recv(65_536)
        line.sendall(answer[1:1537])
        url = f"rtmp://127.0.0.1:{port}/live"
        line.sendall(command("connect", 1, {"app": "live", "tcUrl": url}))
        wait_for(line, b"Connect.Success")
        line.sendall(command("createStream", 2, None))
        wait_for(line, b"_result")
        line.sendall(command("publish", 3, None, "cam", "live", stream=1))
        wait_for(line, b"Publish.Start")
        line.sendall(chunk_size(size))
        for piece in data:
            line.sendall(piece)
        line.sendall(chunked(3, COMMAND, 0, amf0.encode(["deleteStream", 4, None, 1]), size))
        line.shutdown(socket.SHUT_WR)
        while line.recv(65_536):
            pass


def wait_for(line: socket.socket, word: bytes) -> None:
    heard = b""
    while word not in heard:
        more = line.recv(65_536)
        if not more:
            raise ConnectionError(f"closed before {word.decode()}")
        heard += more


def measured(command: list[str], clip: list[tuple[int, int, bytes]], args: Any) -> Iterator[Any]:
    """A row per chunk size: the median of the runs."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for size in CHUNK_SIZES:
            data = list(sent(clip, size, args.megabytes if size > 128 else args.megabytes // 4))
            data = [b"".join(data[at : at + 16]) for at in range(0, len(data), 16)]
            rates, cost = [], []
            for _ in range(args.runs):
                publish_patiently(port, data, size)
                row = json.loads(server.stdout.readline())
                rates.append(row["bytes"] * 8 / 1e6 / row["cpu_s"])
                cost.append(row["cpu_s"] / row["messages"] * 1e6)
            yield size, statistics.median(rates), min(rates), statistics.median(cost)
        server.kill()


def publish_patiently(port: int, data: list[bytes], size: int) -> None:
    """libavformat opens its port anew for each publisher."""
    for attempt in range(100):
        try:
            publish(port, data, size)
            return
        except ConnectionRefusedError:
            if attempt == 99:
                raise
            subprocess.run(["sleep", "0.1"], check=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--serve", choices=["ours", "libavformat"], help=argparse.SUPPRESS)
    options.add_argument("--pyrtmp", metavar="PYTHON", help="a Python that has pyrtmp")
    options.add_argument("--megabytes", type=int, default=100, help="per run; a quarter at 128")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--json", action="store_true")
    args = options.parse_args()
    if args.serve == "ours":
        asyncio.run(serve_ours())
    elif args.serve == "libavformat":
        serve_libavformat()
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    clip = media()
    here = str(Path(__file__).resolve())
    servers = {name: [sys.executable, here, "--serve", name] for name in ("ours", "libavformat")}
    if args.pyrtmp:
        servers["pyrtmp"] = [args.pyrtmp, str(Path(here).with_name("pyrtmp_server.py"))]
    for name, command in servers.items():
        for size, rate, least, cost in measured(command, clip, args):
            row = {"server": name, "chunk_size": size, "mbit_per_cpu_s": round(rate)}
            row |= {"least": round(least), "us_per_message": round(cost, 1)}
            if args.json:
                print(json.dumps(row), flush=True)
                continue
            must = MUST.get(size) if name == "ours" else None
            met = "" if must is None else f"  {'met' if rate >= must else 'MISSED'} >= {must}"
            print(f"{name:12} chunks of {size:6}: {rate:6.0f} Mbit per CPU-s{met}", flush=True)


if __name__ == "__main__":
    main()
