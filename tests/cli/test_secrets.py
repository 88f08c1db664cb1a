"""User, password and query of a URL appear nowhere but in the request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streamgen.cli.lines import without_secrets

from .conftest import Run

SECRET = "hunter2"


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Nothing into the output of the tests."""


@pytest.fixture
def served(clip: Path) -> Iterator[str]:
    """The folder of the clip, with a secret in every place that a URL has for one."""
    handler = partial(Handler, directory=str(clip.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://user:{SECRET}@127.0.0.1:{server.server_port}/{{}}?token={SECRET}#{SECRET}"
        server.shutdown()
        thread.join()


def everything(folder: Path) -> bytes:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv", "out/"])
def test_no_output_holds_a_secret_of_its_url(
    run: Run, served: str, tmp_path: Path, output: str
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    options = ("--report", made / "r.json", "--metrics", made / "m.txt")
    told = run(served.format("clip.mp4"), "-o", f"{made}/{output}", *options)
    assert told.exit_code == 0, told.output
    assert SECRET not in told.output
    assert SECRET.encode() not in everything(made)
    assert b"127.0.0.1" in everything(made)


def test_no_message_holds_a_secret_of_its_url(run: Run, served: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    inputs = [served.format("gone.mp4"), "srt://user:hunter2@host/x", str(tmp_path / "clip.mp4")]
    told = run("-v", *inputs, "-o", f"{made}/out/", "--report", made / "r.json")
    assert told.exit_code == 1, told.output
    assert "/gone.mp4: the server refused it" in told.stderr
    assert SECRET not in told.output
    assert SECRET.encode() not in everything(made)
    for alone in inputs[:2]:
        told = run("-v", alone, "-o", made / "out.mp4")
        assert told.exit_code == 1
        assert SECRET not in told.output
    told = run(inputs[0], inputs[0], "-o", f"{made}/both/")
    assert "would both become" in told.stderr and SECRET not in told.output
    told = run(tmp_path / "clip.mp4", "-o", f"rtmp://host/live/{SECRET}")
    assert "not a URL" in told.stderr and SECRET not in told.output


def test_the_text_of_a_library_loses_its_secrets() -> None:
    text = "'http://user:pass@host:80/a.mp4?key=1', and (rtmp://host/live#x) or file:///a b"
    assert without_secrets(text) == (
        "'http://host:80/a.mp4', and (rtmp://host/live) or file:///a b"
    )
