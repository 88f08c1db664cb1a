"""All tests, in three lines beside each other, as `make test` runs them.

Most tests wait, for clocks or for other processes, so two cores are enough for three. Those of
`tests/live`, which play in real time, are two of the lines.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

LIVE = Path(__file__).parent / "live"
LIMIT_S = 3600.0
"""For all. One that hangs where no timeout of a test reaches is ended, and tells its stacks."""


def lines() -> list[list[str]]:
    """The arguments of each line's pytest."""
    live = sorted(str(path) for path in LIVE.rglob("test_*.py"))
    return [live[::2], live[1::2], [f"--ignore={LIVE}"]]


def run(commands: Sequence[Sequence[str]], limit_s: float = LIMIT_S) -> list[int]:
    """Run commands beside each other; their exit statuses.

    The first writes to the terminal at once, the others when they have ended.
    """
    until = time.monotonic() + limit_s
    with ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands[1:]]
        some = [
            stack.enter_context(_started(command, out))
            for command, out in zip(commands, [None, *said], strict=True)
        ]
        try:
            for one in some:
                _end(one, until)
        except KeyboardInterrupt:  # which they hear, too
            for one in some:
                one.wait()
        except SystemExit:
            for one in some:
                one.terminate()
            raise
        for out in said:
            out.seek(0)
            shutil.copyfileobj(out, sys.stdout.buffer)
            sys.stdout.flush()
    return [one.returncode for one in some]


def _started(command: Sequence[str], out: IO[bytes] | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=out, stderr=None if out is None else subprocess.STDOUT)


def _end(one: subprocess.Popen[bytes], until: float) -> None:
    try:
        one.wait(max(until - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        one.send_signal(signal.SIGABRT)
        one.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    statuses = run([[sys.executable, "-m", "pytest", *line] for line in lines()])
    print("exit statuses of the three lines of tests:", *statuses)
    sys.exit(any(statuses))
