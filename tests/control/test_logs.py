"""Logs are JSON lines without anybody's keys."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys

from streamgen.control.logs import JsonLines


def record(message: str, *arguments: object, **extra: str) -> logging.LogRecord:
    one = logging.LogRecord("streamgen.x", logging.INFO, "", 0, message, arguments, None)
    one.__dict__.update(extra)
    return one


def test_an_event_is_one_object_with_its_stream_and_session() -> None:
    row = json.loads(JsonLines().format(record("hello %s", "you", stream="a", session="b")))
    assert row["message"] == "hello you"
    assert (row["level"], row["from"], row["stream"], row["session"]) == (
        "info",
        "streamgen.x",
        "a",
        "b",
    )
    assert row["at"].endswith("+00:00")


def test_what_follows_a_question_mark_is_never_written() -> None:
    text = JsonLines().format(record("GET /hls/a/index.m3u8?token=s3cret from %s", "x?key=y z"))
    assert json.loads(text)["message"] == "GET /hls/a/index.m3u8?... from x?... z"


def test_a_crash_in_native_code_says_where_it_was() -> None:
    program = (
        "import os, signal; from streamgen.control.logs import log_as_json; log_as_json();"
        "os.kill(os.getpid(), signal.SIGSEGV)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == -signal.SIGSEGV
    assert b"Segmentation fault" in done.stderr
