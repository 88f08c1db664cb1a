"""`Berths`: what keepers of this machine keep for a cluster, found again, held and ended."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from streamgen.control.launch.fleet import check_cluster
from streamgen.errors import ConfigError, StreamGenError

ANSWERS_WITHIN_S = 10.0
ENDS_WITHIN_S = 60.0
"""Longer than a supervisor needs to end its children by force."""
POLL_S = 0.05
LONGEST_ANSWER = 65536
LARGEST_LOG = 16 << 20
_BERTH = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a keeper says of itself."""

    running: Mapping[str, int]
    """Process ids by name."""
    pid: int
    held: bool
    same: bool
    """It keeps what we asked for, not something else."""
    yours: bool = False
    """From now on we hold it."""


def runtime_folder() -> Path:
    """Where this user's berths are. Raises `ConfigError` when others could get in."""
    folder = Path(tempfile.gettempdir()) / f"streamgen-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    seen = folder.lstat()
    ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid()
    if not ours or seen.st_mode & 0o077:
        raise ConfigError(f"not a folder that only we can enter: {folder}")
    return folder


class Berths:
    """Of one cluster, as far as they are on this machine."""

    def __init__(self, cluster: str, folder: Path | None = None) -> None:
        """`folder`: of all clusters. Raises `ConfigError`."""
        check_cluster(cluster)
        self.folder = (folder or runtime_folder()) / cluster
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def all(self) -> Iterator[tuple[str, Kept | None]]:
        """Every berth that somebody has; None: it does not answer yet, or any more."""
        for path in sorted(self.folder.glob("*.lock")):
            if _BERTH.fullmatch(path.stem) and self.taken(path.stem):
                yield path.stem, self.look(path.stem)

    def taken(self, berth: str) -> bool:
        try:
            lock = os.open(self.folder / f"{berth}.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def look(self, berth: str) -> Kept | None:
        asked = self._asked(berth, "look")
        if asked is None:
            return None
        asked[0].close()
        return asked[1]

    def hold(self, berth: str, mark: str) -> tuple[socket.socket, Kept] | None:
        """Ask for it; `yours` says whether we have it for as long as we keep the socket open."""
        return self._asked(berth, f"hold {mark}")

    def restart(self, name: str) -> bool:
        """Have a process ended and started again by its keeper; False: none of that name runs."""
        for berth, kept in self.all():
            if kept is not None and name in kept.running:
                asked = self._asked(berth, f"restart {name}")
                if asked is not None:
                    asked[0].close()
                    return True
        return False

    def log(self, berth: str) -> BinaryIO:
        """What runs there writes to it."""
        path = self.folder / f"{berth}.log"
        if path.exists() and path.stat().st_size > LARGEST_LOG:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")

    def why_not(self, berth: str) -> str | None:
        """Why what was started there last cannot start at all."""
        try:
            return (self.folder / f"{berth}.failed").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def end(self, berth: str) -> None:
        """What runs there. Returns when it has ended. Raises `StreamGenError` when it does not."""
        until = time.monotonic() + ENDS_WITHIN_S
        told: Kept | None = None
        while self.taken(berth):
            asked = self._asked(berth, "stop" if told is None else "look")
            if asked is not None:  # one that has just begun has no socket yet
                asked[0].close()
                told = told or asked[1]
                if asked[1].pid != told.pid:
                    return  # who waited for the place has it already
            if time.monotonic() > until:
                raise StreamGenError(f"what runs in {self.folder / berth} does not end")
            time.sleep(POLL_S)

    def end_all(self) -> int:
        """How many there were."""
        names = [name for name, _ in self.all()]
        for name in names:
            self._tell(name)
        for name in names:
            self.end(name)
        return len(names)

    def _tell(self, berth: str) -> None:
        """All are told before one is waited for."""
        asked = self._asked(berth, "stop")
        if asked is not None:
            asked[0].close()

    def _asked(self, berth: str, question: str) -> tuple[socket.socket, Kept] | None:
        """None: nobody is there."""
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(ANSWERS_WITHIN_S)
        try:
            line.connect(str(self.folder / f"{berth}.sock"))
            line.sendall(question.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                more = line.recv(LONGEST_ANSWER)
                if not more:
                    line.close()
                    return None
                answer += more
        except OSError:
            line.close()
            return None
        line.settimeout(None)
        return line, Kept(**json.loads(answer))
