"""A clip, and a web server for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamgen.testing import synthetic_clip
from tests.ingest.opening import Serve


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return synthetic_clip(tmp_path / "clip.mp4", width=64, height=48, frames=10)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves the test's folder over HTTP; a handler may be given instead."""
    servers: list[ThreadingHTTPServer] = []

    def start(handler: Any = None) -> str:
        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        wanted = partial(Quiet, directory=str(tmp_path)) if handler is None else handler
        server = ThreadingHTTPServer(("127.0.0.1", 0), wanted)
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
