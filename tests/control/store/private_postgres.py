"""A PostgreSQL server of the tests' own, in a folder, on a free port of the loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.ports import free_port


def _programs() -> Path | None:
    """Debian keeps them apart by version, and off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    return None if path is None else Path(path).resolve().parent


def missing() -> str:
    """Why there is none, or nothing."""
    if _programs() is None:
        return "PostgreSQL is not installed (Debian: postgresql)"
    if os.getuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user 'postgres'"
    return ""


def _lives(pid: int) -> bool:
    """And is not just dead and not yet buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class PrivatePostgres:
    """Start with `with`; `stop` and `start` in between, as a server does that goes away."""

    def __init__(self) -> None:
        programs = _programs()
        assert programs is not None
        self._programs = programs
        # Not below pytest's own folder: every pytest of this user that starts closes that one to
        # others again, and the server is another one where the tests run as root.
        self._folder = TemporaryDirectory(prefix="postgres-")
        self._home = Path(self._folder.name)
        self._user = "postgres" if os.getuid() == 0 else None
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if self._user is not None:
            shutil.chown(self._home, self._user)
        self._run("initdb", "-D", str(self._home), "-A", "trust", "-U", "tests", "-N")

    def _run(self, program: str, *arguments: str) -> None:
        line = [str(self._programs / program), *arguments]
        subprocess.run(line, check=True, capture_output=True, user=self._user, cwd="/")

    def start(self) -> None:
        line = [str(self._programs / "postgres"), "-D", str(self._home), "-p", str(self.port)]
        line += ["-h", "127.0.0.1", "-k", str(self._home), "-c", "max_connections=40"]
        self._process = subprocess.Popen(
            line, user=self._user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        ends = time.monotonic() + 60
        while True:
            ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p"]
            if subprocess.run([*ready, str(self.port)], check=False).returncode == 0:
                return
            assert self._process.poll() is None, "PostgreSQL ended at once"
            assert time.monotonic() < ends, "PostgreSQL does not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as after a power cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """All of its processes (SIGKILL): none of them has a last word."""
        assert self._process is not None
        main = self._process.pid
        pids = [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(30)
        self._process = None
        ends = time.monotonic() + 30
        while any(_lives(pid) for pid in pids):
            assert time.monotonic() < ends, "PostgreSQL does not die"
            time.sleep(0.01)

    def new_database(self) -> str:
        """The URL of one."""
        name = f"tests_{next(self._numbers)}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "tests", name)
        return f"postgresql://tests@127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> PrivatePostgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._folder.cleanup()
