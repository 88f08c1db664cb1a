"""A server with publishers and viewers of barcodes around it, every one in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamgen_edge.demo.figures import quantile
from streamgen_edge.demo.own_server import OwnServer

HERE = Path(__file__).resolve().parent
ENDS_S = 10.0
IDENTITY = "name: identity\nladder:\n  - {height: source, bitrate: 1500k}\naudio: {codec: auto}\n"
"""One rung and no network."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture at a viewer's."""

    at_s: float
    """`time.monotonic`, the same for all processes of a machine."""
    number: int | None
    """None: neither copy of its barcode could be read."""
    age_ms: float
    time_s: float
    """In the stream's output."""


class Watch:
    """A viewer's process; `shown` grows while it runs."""

    def __init__(self, url: str, *options: str) -> None:
        self.shown: list[Shown] = []
        self.facts: dict[str, Any] = {}
        """What it says of itself at its end."""
        command = [*program("watching"), url, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HERE)
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            row = json.loads(line)
            if isinstance(row, dict):
                self.facts = row
            else:
                self.shown.append(Shown(row[0], row[1], row[2] or 0.0, row[3]))

    def finish(self) -> list[Shown]:
        """Wait until its time is over. Raises `SystemExit` where it failed."""
        if self.process.wait():
            raise SystemExit("a viewer failed")
        self._reading.join()
        return self.shown

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(ENDS_S)
        self._reading.join()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Scene:
    """All that was started ends with its `with`."""

    def __init__(self, folder: Path, pipeline: str, *options: str) -> None:
        """`pipeline` is a built-in name, or the text of a pipeline file."""
        folder.mkdir(parents=True)
        if "\n" in pipeline:
            (folder / "pipeline.yaml").write_text(pipeline)
            pipeline = str(folder / "pipeline.yaml")
        self._leaving = ExitStack()
        server = OwnServer(folder / "serve.log", "--pipeline", pipeline, *options)
        self.server = self._leaving.enter_context(server)
        self.workers_here(2)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.close()

    def workers_here(self, number: int) -> None:
        """Wait until so many have said hello, all in all."""
        found = self.server.until
        found(lambda: self.server.text().count(" is here") >= number, "workers", 30)

    def publish(
        self,
        name: str,
        *,
        whip: bool = False,
        size: str = "640x360",
        rate: int = 30,
        gop: int = 30,
        bitrate: int = 1_500_000,
        seconds: float = 600,
        first: int = 0,
    ) -> subprocess.Popen[bytes]:
        url = self.server.url(f"/whip/{name}") if whip else self.server.publish_url(name)
        command = [*program("publishing"), url, "--size", size]
        command += ["--rate", str(rate), "--gop", str(gop), "--bitrate", str(bitrate)]
        command += ["--seconds", str(seconds), "--first", str(first)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=HERE)
        self._leaving.callback(ended, process)
        return process

    def watch(self, path: str, seconds: float = 600) -> Watch:
        return self._watching(path, "--seconds", str(seconds))

    def join(self, path: str, times: int) -> list[float | None]:
        """Seconds to the first picture of a viewer that comes so often."""
        one = self._watching(path, "--joins", str(times))
        one.finish()
        joins: list[float | None] = one.facts["joins_s"]
        return joins

    def _watching(self, path: str, *options: str) -> Watch:
        one = Watch(self.server.url(path), *options)
        self._leaving.callback(one.close)
        return one

    def until_pictures(self, name: str, number: int = 10, seconds: float = 60) -> None:
        self.server.until(lambda: self.server.frames_out(name) >= number, "pictures", seconds)

    def stats(self, name: str) -> dict[str, Any]:
        stats: dict[str, Any] = self.server.stream(name)["stats"]
        return stats


def program(module: str) -> list[str]:
    """A process of its own for a module beside this one."""
    return [sys.executable, "-c", f"from {module} import main; main()"]


def ended(process: subprocess.Popen[bytes]) -> None:
    """Gone without a word to the server."""
    if process.poll() is None:
        process.kill()
    process.wait(ENDS_S)
    if process.stderr is not None:
        process.stderr.close()


def until(holds: Callable[[], Any], seconds: float) -> Any:
    """What is true at last, or False."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    return False


def ages(shown: Sequence[Shown]) -> list[float]:
    return [one.age_ms for one in shown if one.number is not None]


def spread(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Median, p95 and the worst."""
    found = {"p50": quantile(values, 0.5), "p95": quantile(values, 0.95), "max": max(values)}
    return {name: round(value, digits) for name, value in found.items()}


def cores() -> int:
    return os.cpu_count() or 1
