"""Nothing is written outside the cache unasked, and nobody is told what runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WATCHED = """
import socket, sys
called = []
sys.addaudithook(lambda name, what: called.append(name) if name in {"os.fork", "socket.connect",
    "socket.getaddrinfo"} else None)
from streamgen.cli import main
try:
    main()
except SystemExit as end:
    print(called, file=sys.stderr)
"""


@pytest.mark.parametrize("command", [["doctor"], ["models", "list"]], ids=" ".join)
def test_nothing_calls_home_or_writes_into_it(tmp_path: Path, command: list[str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "STREAMGEN_CACHE"}
    told = subprocess.run(
        [sys.executable, "-c", WATCHED, *command],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stderr == "[]\n"
    assert list(tmp_path.iterdir()) == []
