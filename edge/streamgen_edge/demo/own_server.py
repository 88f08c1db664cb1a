"""`OwnServer`: `streamgen serve` as a child on free ports of loopback, and its API."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from streamgen.errors import StreamGenError

STARTS_WITHIN_S = 60.0
ENDS_WITHIN_S = 20.0
LOOK_S = 0.05
_RUNS = re.compile(r'"message": "(\S+) runs as (\d+)"')
Found = TypeVar("Found")


class OwnServer:
    """From its making to the end of its `with`. Raises `StreamGenError` where it does not start."""

    def __init__(
        self, log: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        """`log` is where the server's own lines go; `options` are those of `streamgen serve`."""
        self.log = log
        command = [sys.executable, "-m", "streamgen.cli", "serve", *options]
        command += ["--http", "0", "--rtmp", "0"]
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                bufsize=0,
            )
        with ExitStack() as leaving:
            leaving.callback(self.stop)
            self.rtmp, self.http = self._port("publish"), self._port("watch")
            self.until(lambda: self.get("/readyz")[0] == 200, "a worker", STARTS_WITHIN_S)
            leaving.pop_all()

    def __enter__(self) -> OwnServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _port(self, what: str) -> int:
        """The port in one line of what the server says."""
        out = self.process.stdout
        assert out is not None
        said = b""
        if select.select([out], [], [], STARTS_WITHIN_S)[0]:
            said = out.readline()
        found = re.match(rb"%s:\s+\w+://[^/]*:(\d+)/" % what.encode(), said)
        if found is None:
            raise StreamGenError(f"the server did not start: {self.last_line()}")
        return int(found[1])

    def last_line(self) -> str:
        lines = self.text().strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def pids(self) -> dict[str, int]:
        """The present process of each of its children."""
        return {name: int(pid) for name, pid in _RUNS.findall(self.text())}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http}{path}"

    def publish_url(self, stream: str) -> str:
        return f"rtmp://127.0.0.1:{self.rtmp}/live/{stream}"

    def get(self, path: str) -> tuple[int, Any]:
        """Status, and the JSON or text of the answer."""
        try:
            with urllib.request.urlopen(self.url(path), timeout=10) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read()
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            return 0, str(error)
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode(errors="replace")

    def stream(self, name: str) -> dict[str, Any]:
        """What the API says of a stream; empty where there is none."""
        status, row = self.get(f"/v1/streams/{name}")
        return dict(row) if status == 200 else {}

    def frames_out(self, name: str) -> int:
        return int(self.stream(name).get("stats", {}).get("frames_out", 0))

    def until(self, holds: Callable[[], Found], what: str, seconds: float = 15.0) -> Found:
        """Wait for something to be true; what it was. Raises `StreamGenError`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = holds()
            if found:
                return found
            if self.process.poll() is not None:
                raise StreamGenError(f"the server ended: {self.last_line()}")
            time.sleep(LOOK_S)
        raise StreamGenError(f"no {what} within {seconds:g} s: {self.last_line()}")

    def stop(self) -> None:
        """End it and all of its children."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()  # its children end with it
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
