"""What a push costs, and what its target can do to the stream: nothing.

    python benchmarks/push.py cost [--by rtmp|whip|metrics] [--pairs 5] [--seconds 6]
    python benchmarks/push.py killed|hung|slow|mute|silent [--by rtmp|whip] [--away 60]

`cost`: one stream, whose push (or `/metrics`, once a second) is turned on and off between the
halves of a pair, the order changing from pair to pair: CPU of all of the server's processes per
picture, the push's own included, and the p95 of the stream's latency before it all and over all.
What is asked: +3 % at most as the median of the pairs, and 10 ms.

The others: a stream with two pushes. The target of one is killed, stopped (SIGSTOP), or reads
1 kB/s, for a minute; one of WHIP also says nothing (`mute`: what it is asked meanwhile is never
answered), or its media side alone does (`silent`). The other target must get every picture
meanwhile, and this one a new picture within 3 s of its return. Each prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from scene import ended, program

from streamgen_edge.demo.own_server import OwnServer

NAME = "pushed"
SETTLE_S = 2.0
RATE = 30
AWAY = ("killed", "hung", "slow", "mute", "silent")
SLOW_BYTES = 1000
"""A second."""
FRESH_S = 1.0
CONFIG = "outbound: {allow: [127.0.0.1]}\npipeline: transcode\nstreams: {'*': {publish: anyone}}\n"
HERE = Path(__file__).resolve().parent


@dataclass
class Target:
    """A process that is pushed to."""

    by: str
    port: int = 0
    opened: list[float] = field(default_factory=list)
    pictures: list[tuple[float, float]] = field(default_factory=list)
    """When each came, and its own time."""

    def start(self) -> None:
        command, pipe = [*program("push_target"), self.by, str(self.port)], subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=HERE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self._reading = threading.Thread(target=self._read, args=(self.process.stdout,))
        self._reading.start()

    def _read(self, lines: Any) -> None:
        for line in lines:
            if line == "open\n":
                self.opened.append(time.monotonic())
            else:
                at, own = line.split()
                self.pictures.append((float(at), float(own)))

    def be(self, how: str) -> None:
        assert self.process.stdin is not None
        print(how, file=self.process.stdin, flush=True)

    def url(self, port: int) -> str:
        place = f"127.0.0.1:{port}"
        return f"rtmp://{place}/live/x" if self.by == "rtmp" else f"http://{place}/whip/x"

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._reading.join()
        assert self.process.stdout is not None and self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdout.close()


class Throttle:
    """A way to a target that is as wide as it is told to be."""

    def __init__(self, port: int) -> None:
        self.slow = threading.Event()
        self._port = port
        self._over = False
        self._door = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self.port = int(self._door.getsockname()[1])

    def _accept(self) -> None:
        while not self._over:
            try:
                here = self._door.accept()[0]
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._port))
            for one, other, up in ((here, there, True), (there, here, False)):
                threading.Thread(target=self._carry, args=(one, other, up), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, up: bool) -> None:
        try:
            while True:
                slow = up and self.slow.is_set()
                data = one.recv(SLOW_BYTES // 10 if slow else 65_536)
                if not data:
                    break
                other.sendall(data)
                if slow:
                    time.sleep(0.1)
        except OSError:
            pass  # one of them has closed
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._over = True
        self._door.close()


def asked(server: OwnServer, method: str, what: str, url: str = "") -> None:
    body = json.dumps({"url": url}).encode() if url else None
    request = urllib.request.Request(server.url(f"/v1/streams/{NAME}{what}"), body)
    request.add_header("content-type", "application/json")
    request.get_method = lambda: method  # type: ignore[method-assign]
    with urllib.request.urlopen(request, timeout=10):
        return


def pushed(server: OwnServer, id: str) -> dict[str, Any]:
    rows = server.stream(NAME).get("pushes", [])
    return next((row for row in rows if row["id"] == id), {})


def pushes_of(server: OwnServer) -> list[int]:
    """Processes that the edge has started."""
    tasks = Path(f"/proc/{server.pids()['edge']}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def cpu_ms(pids: Iterable[int]) -> float:
    """As the scheduler counts it: ticks of the clock miss what runs for less than one."""
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


@contextmanager
def serving(folder: Path) -> Iterator[OwnServer]:
    file = folder / "streamgen.yaml"
    file.write_text(CONFIG)
    with OwnServer(folder / "serve.log", "--config", str(file)) as server:
        yield server


@contextmanager
def published(server: OwnServer, size: str) -> Iterator[None]:
    """A session of the stream, in real time."""
    command = [*program("publishing"), server.publish_url(NAME), "--size", size]
    command += ["--rate", str(RATE), "--seconds", "600"]
    publisher = subprocess.Popen(command, cwd=HERE)
    try:
        server.until(lambda: server.stream(NAME).get("state") == "live", "a session", 30)
        server.until(lambda: server.frames_out(NAME) > 60, "pictures", 30)
        yield
    finally:
        ended(publisher)
        asked(server, "DELETE", "")
        server.until(lambda: server.stream(NAME).get("state") == "ended", "the end", 30)


def half(server: OwnServer, target: Target, seconds: float, *, on: bool) -> tuple[float, float]:
    """CPU-ms per picture of all, and of the push's process alone."""
    scraping = on and target.by == "metrics"
    if on and not scraping:
        asked(server, "PUT", "/pushes/one", target.url(target.port))
        server.until(lambda: pushed(server, "one").get("state") == "live", "the push", 30)
    time.sleep(SETTLE_S)
    own, all_ = pushes_of(server), server.pids().values()
    before, mine, pictures = cpu_ms(all_), cpu_ms(own), server.frames_out(NAME)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if scraping:
            server.get("/metrics")
        time.sleep(min(1.0, left))
    number = server.frames_out(NAME) - pictures
    alone = (cpu_ms(own) - mine) / number
    spent = (cpu_ms(all_) - before) / number + alone
    if on and not scraping:
        asked(server, "DELETE", "/pushes/one")
        server.until(lambda: not pushes_of(server), "the end of the push", 10)
    return spent, alone


def cost(folder: Path, by: str, pairs: int, seconds: float, size: str) -> dict[str, Any]:
    target = Target(by)
    if by != "metrics":
        target.start()
    rows: list[tuple[tuple[float, float], tuple[float, float]]] = []
    try:
        with serving(folder) as server, published(server, size):
            half(server, target, seconds, on=False)
            first = server.stream(NAME)["stats"]
            for number in range(pairs):
                found: dict[bool, tuple[float, float]] = {}
                for on in (False, True) if number % 2 else (True, False):
                    found[on] = half(server, target, seconds, on=on)
                rows.append((found[False], found[True]))
            last = server.stream(NAME)["stats"]
    finally:
        if by != "metrics":
            target.kill()
    more = [on[0] / off[0] - 1 for off, on in rows]
    return {
        "what": f"cost of {by}",
        "size": size,
        "ms_per_picture": [[round(off[0], 3), round(on[0], 3)] for off, on in rows],
        "more_percent": round(100 * statistics.median(more), 2),
        "of_that_the_process": round(statistics.median(on[1] for _, on in rows), 3),
        "p95_ms": {"before": first["latency_ms"]["p95"], "of_all": last["latency_ms"]["p95"]},
        "dropped": last["dropped"],
    }


def returned(target: Target, back: float) -> float | None:
    """Seconds until the first picture that is not an old one."""
    usual = statistics.median(at - own for at, own in target.pictures[:60])
    again = [at for at in target.opened if at > back]
    for at, own in target.pictures:
        if at > back and (any(at > one for one in again) or at - own - usual < FRESH_S):
            return at - back
    return None


def bad(folder: Path, what: str, by: str, away_s: float, size: str) -> dict[str, Any]:
    good, target = Target("rtmp"), Target(by)
    good.start()
    target.start()
    throttle = Throttle(target.port)
    try:
        with serving(folder) as server, published(server, size):
            asked(server, "PUT", "/pushes/good", good.url(good.port))
            way = throttle.port if what == "slow" else target.port
            asked(server, "PUT", "/pushes/bad", target.url(way))
            server.until(lambda: len(target.pictures) > 90 < len(good.pictures), "pushes", 30)
            dropped, began = server.stream(NAME)["stats"]["dropped"], time.monotonic()
            if what == "killed":
                target.kill()
            elif what == "hung":
                target.process.send_signal(signal.SIGSTOP)
            elif what == "slow":
                throttle.slow.set()
            else:
                target.be(what)
            time.sleep(away_s)
            meanwhile = pushed(server, "bad")
            if what == "killed":
                target.start()
            elif what == "hung":
                target.process.send_signal(signal.SIGCONT)
            elif what == "slow":
                throttle.slow.clear()
            else:
                target.be("back")
            back = time.monotonic()
            server.until(lambda: returned(target, back) is not None, "new picture", 60)
            time.sleep(2)
            row, now = server.stream(NAME), pushed(server, "bad")
    finally:
        throttle.close()
        good.kill()
        target.kill()
    times = [own for at, own in good.pictures if at > began]
    lost = sum(round((b - a) * RATE) - 1 for a, b in pairwise(times))
    return {
        "what": f"{what}, by {by}, for {away_s:g} s",
        "elsewhere": {"pictures": len(times), "lost": lost},
        "stream_dropped": {k: n - dropped.get(k, 0) for k, n in row["stats"]["dropped"].items()},
        "back_after_s": round(returned(target, back) or -1, 2),
        "meanwhile": {k: meanwhile[k] for k in ("state", "reason", "dropped", "connections")},
        "then": {k: now[k] for k in ("state", "dropped", "connections", "restarts")},
        "p95_ms": row["stats"]["latency_ms"]["p95"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["cost", *AWAY])
    parser.add_argument("--by", choices=["rtmp", "whip", "metrics"], default="rtmp")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--away", type=float, default=60.0)
    parser.add_argument("--size", default="1280x720")
    given = parser.parse_args()
    if given.what in ("mute", "silent") and given.by != "whip":
        parser.error(f"{given.what} is for --by whip")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.what == "cost":
            row = cost(folder, given.by, given.pairs, given.seconds, given.size)
        else:
            row = bad(folder, given.what, given.by, given.away, given.size)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
