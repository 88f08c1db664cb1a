"""A real server of real processes on loopback, publishers beside it, and what can be seen of it."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")
STARTS_S = 40.0
NO_TIME = {"late", "overflow", "behind_still", "link_credit"}
"""Why a busy machine gives pictures up."""
_RUNS = re.compile(r'"message": "(\S+) runs as (\d+)"')


class Server:
    """`streamgen serve` on free ports; `stop` ends it and all of its children."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        config: str = "",
        workers: int = 2,
        port: int = 0,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """`workers` are waited for; `port` is for HTTP, the next one for RTMP; 0: any."""
        self.errors = folder / "serve.log"
        command = [sys.executable, "-m", "streamgen.cli", "serve", *options]
        if config:
            file = folder / "streamgen.yaml"
            file.write_text(config)
            command += ["--config", str(file)]
        command += ["--http", str(port), "--rtmp", str(port and port + 1)]
        env = {**environment, "STREAMGEN_CACHE": str(folder / "cache")}
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, env=env, bufsize=0
            )
        try:
            self.rtmp, self.http = (int(self._said(what)) for what in ("publish", "watch"))
            self.until(lambda: self.log().count(" is here") >= workers, "the workers", 30)
        except BaseException:
            self.stop()
            raise

    def _said(self, what: str) -> str:
        """The port in one line of the server's output."""
        out = self.process.stdout
        assert out is not None
        assert select.select([out], [], [], STARTS_S)[0], f"nothing was said:\n{self.log()}"
        line = out.readline()
        assert line.startswith(what.encode()), self.log()
        return line.split(b":")[3].split(b"/")[0].decode()

    def log(self) -> str:
        return self.errors.read_text(encoding="utf-8", errors="replace")

    def pids(self) -> dict[str, int]:
        """The present process of each child."""
        return {name: int(pid) for name, pid in _RUNS.findall(self.log())}

    def get(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        """Status, and the JSON or text of the answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}{path}", data, {"content-type": "application/json"}
        )
        request.get_method = lambda: method  # type: ignore[method-assign]
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read()
        except urllib.error.URLError as error:
            raise AssertionError(f"{path}: {error.reason}:\n{self.log()[-6000:]}") from error
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode(errors="replace")

    def stream(self, name: str) -> dict[str, Any]:
        status, row = self.get(f"/v1/streams/{name}")
        return dict(row) if status == 200 else {}

    def until(self, holds: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
        """Wait for something to be true; what it was."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = holds()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"no {what} within {seconds} s:\n{self.log()[-6000:]}")

    def frames_out(self, name: str) -> int:
        return int(self.stream(name).get("stats", {}).get("frames_out", 0))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(25)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
            for pid in self.pids().values():
                if _ours(pid):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def undisturbed(server: Server, name: str, rate: int) -> Iterator[None]:
    """Meanwhile nothing dies, and a stream in real time plays on: what its publisher sends is
    shown, or given up as the machine has no time for it."""

    def done() -> int:
        stats = server.stream(name)["stats"]
        return int(stats["frames_out"]) + sum(stats["dropped"].values())

    pids, before, began = server.pids(), done(), time.monotonic()
    yield
    sent, shown = rate * (time.monotonic() - began), server.frames_out(name)
    server.until(lambda: done() - before > 0.9 * sent - rate, f"end of what {name} sent")
    server.until(lambda: server.frames_out(name) > shown, f"motion of {name}")
    server.until(lambda: server.stream(name)["state"] == "live", f"{name} live")
    row = server.stream(name)
    dropped = row["stats"]["dropped"]
    assert set(dropped) <= {"starting", *NO_TIME}, dropped
    assert server.pids() == pids and not row["takeovers"]
    assert "Traceback" not in server.log() and "internal error" not in server.log()


def _ours(pid: int) -> bool:
    """Whether this is a child of a server still, and no other process that has its number now."""
    try:
        return b"streamgen.cli" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Publisher:
    """Debian's ffmpeg publishing a test picture and a tone in real time."""

    def __init__(
        self,
        server: Server,
        name: str,
        *,
        size: str = "320x180",
        rate: int = 25,
        gop: int = 25,
        seconds: float = 60,
        sound: bool = True,
        query: str = "",
        scheme: str = "rtmp",
    ) -> None:
        assert FFMPEG is not None
        command = [FFMPEG, "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi"]
        command += ["-i", f"testsrc2=size={size}:rate={rate}"]
        if sound:
            command += ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"]
            command += ["-c:a", "aac"]
        command += ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"]
        command += ["-g", str(gop), "-keyint_min", str(gop), "-sc_threshold", "0"]
        command += ["-pix_fmt", "yuv420p", "-t", str(seconds), "-f", "flv"]
        command += [f"{scheme}://127.0.0.1:{server.rtmp}/live/{name}{query}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def kill(self) -> None:
        """Gone without a word, as when a network breaks."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)
        if self.process.stderr is not None:
            self.process.stderr.close()
