"""All tests, in lines of which three run beside each other, as `make test` does it.

Most tests wait, for clocks or for other processes, so two cores are enough for three. Those that
play in real time, of `tests/edge` and `tests/live`, are several lines, so that all end at about the
same time. A few that fail there are
run once more by themselves, and named: a fault fails again, and a test that came too late on a busy
machine not.
"""

from __future__ import annotations

import json
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

PYTEST = (sys.executable, "-m", "pytest")
REAL_TIME = [Path(__file__).with_name(name) for name in ("edge", "live")]
LIMIT_S = 3600.0
"""For all. One that hangs where no timeout of a test reaches is ended, and tells its stacks."""

SHARES = 6
"""Lines of those that play in real time."""
BESIDE = 3
LOOK_S = 0.1
FEW = 6
"""So many failed tests are run again; where more fail, it is not the machine."""


def everything(some: Sequence[Sequence[str]]) -> int:
    """Run pytest with each of these lines of arguments; the exit status of all."""
    with tempfile.TemporaryDirectory() as folder:
        caches = [Path(folder, str(number)) for number in range(len(some))]
        pairs = zip(caches, some, strict=True)
        statuses = run([[*PYTEST, "-o", f"cache_dir={cache}", *line] for cache, line in pairs])
        kept = [_failed(cache) for cache in caches]
    print("exit statuses of the lines of tests:", *statuses)
    failed = [test for tests in kept for test in tests]
    # A line that was ended in the middle of a test has no list of those that failed.
    whole = all(status == bool(tests) for status, tests in zip(statuses, kept, strict=True))
    if whole and 0 < len(failed) <= FEW:
        print("failed beside others, and run once more:", *failed, sep="\n  ", flush=True)
        statuses = run([[*PYTEST, *failed]])
    return int(any(statuses))


def _failed(cache: Path) -> list[str]:
    """The tests that failed, as pytest keeps them."""
    kept = cache / "v" / "cache" / "lastfailed"
    return list(json.loads(kept.read_text())) if kept.exists() else []


def lines() -> list[list[str]]:
    """The arguments of each line's pytest; those that take longest first."""
    files = sorted(str(path) for folder in REAL_TIME for path in folder.rglob("test_*.py"))
    shares = [files[number::SHARES] for number in range(SHARES)]
    return [shares[0], [f"--ignore={folder}" for folder in REAL_TIME], *shares[1:]]


def run(commands: Sequence[Sequence[str]], limit_s: float = LIMIT_S) -> list[int]:
    """Run commands, `BESIDE` at a time; their exit statuses.

    The first writes to the terminal at once, the others when all have ended.
    """
    until = time.monotonic() + limit_s
    with ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in commands[1:]]
        waiting = list(zip(commands, [None, *said], strict=True))
        begun: list[subprocess.Popen[bytes]] = []
        try:
            while waiting or any(one.poll() is None for one in begun):
                if waiting and sum(one.poll() is None for one in begun) < BESIDE:
                    begun.append(stack.enter_context(_started(*waiting.pop(0))))
                    continue
                if time.monotonic() > until:
                    _end(begun)
                time.sleep(LOOK_S)
        except KeyboardInterrupt:  # which they hear, too
            for one in begun:
                one.wait()
        except SystemExit:
            for one in begun:
                one.terminate()
            raise
        for out in said:
            out.seek(0)
            shutil.copyfileobj(out, sys.stdout.buffer)
            sys.stdout.flush()
    return [one.returncode for one in begun]


def _started(command: Sequence[str], out: IO[bytes] | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=out, stderr=None if out is None else subprocess.STDOUT)


def _end(begun: Sequence[subprocess.Popen[bytes]]) -> None:
    """Of those that hang."""
    for one in begun:
        if one.poll() is None:
            one.send_signal(signal.SIGABRT)
            one.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(everything(lines()))
