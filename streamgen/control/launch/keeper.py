"""`Keeper`: keeps processes running in a berth, where others find them again.

A berth is a name in a folder of this machine: a lock that one keeper has, so nothing runs twice,
and a socket at which it is asked. Somebody may hold it: the connection is the lifeline. When it
breaks, all goes on; only when nobody comes for long does it end. So what places workers may die and
come back without a picture being lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from streamgen.control.logs import log_as_json
from streamgen.control.supervisor import Child, Supervisor
from streamgen.errors import ConfigError, StreamGenError

TICK_S = 0.5
MOST_ASKING = 64
"""Connections at once; more wait to be taken."""
LONGEST_QUESTION = 256
log = logging.getLogger("streamgen.keeper")


class Taken(StreamGenError):
    """Another keeper has this berth."""


def mark_of(command: Sequence[str]) -> str:
    """Tells commands apart without repeating them."""
    return hashlib.sha256("\0".join(command).encode()).hexdigest()[:32]


class Keeper:
    """`with` it the berth is ours; `serve` keeps the children running. Main thread only.

    Raises `Taken` when another has the berth.
    """

    def __init__(
        self,
        folder: Path,
        berth: str,
        children: Sequence[Child],
        *,
        mark: str = "",
        outlive_s: float | None = None,
    ) -> None:
        """`mark`: what runs here; who wants to hold something else is told so. `outlive_s`: ends
        when nobody has held it for so long; None: nobody need hold it."""
        self._path = folder / f"{berth}.sock"
        self._lock_path = folder / f"{berth}.lock"
        self._mark = mark
        self._outlive_s = outlive_s
        self._supervisor = Supervisor(children)
        self._holder: socket.socket | None = None
        self._alone_since = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._answer, name="keeper", daemon=True)

    def __enter__(self) -> Keeper:
        self._lock = os.open(self._lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise Taken(f"somebody else has {self._lock_path}") from error
        self._path.unlink(missing_ok=True)
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(self._path))
        self._door.listen(MOST_ASKING)
        self._door.setblocking(False)
        self._asking = selectors.DefaultSelector()
        self._asking.register(self._door, selectors.EVENT_READ)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._path.unlink(missing_ok=True)
        for key in list(self._asking.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # they are all sockets
        self._asking.close()
        os.close(self._lock)  # the last: who sees the lock free finds nothing running

    def serve(self) -> int:
        """Until SIGTERM, SIGINT or word at the socket. The signal."""
        self._thread.start()
        return self._supervisor.serve()

    # On the thread.

    def _answer(self) -> None:
        while not self._over.is_set():
            for key, _ in self._asking.select(TICK_S):
                if key.fileobj is self._door:
                    self._let_in()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._hear(key.fileobj)
            alone_s = 0.0 if self._holder else time.monotonic() - self._alone_since
            if self._outlive_s is not None and alone_s > self._outlive_s:
                log.warning("nobody has held this for %d s: it ends", alone_s)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _let_in(self) -> None:
        with suppress(OSError):
            who, _ = self._door.accept()
            who.setblocking(False)
            self._asking.register(who, selectors.EVENT_READ)

    def _hear(self, who: socket.socket) -> None:
        try:
            question = who.recv(LONGEST_QUESTION)
        except BlockingIOError:
            return
        except OSError:
            question = b""
        if not question:
            self._asking.unregister(who)
            who.close()
            if who is self._holder:
                self._holder, self._alone_since = None, time.monotonic()
                log.info("nobody holds this now")
            return
        verb, _, mark = question.decode("ascii", "replace").strip().partition(" ")
        answer: dict[str, Any] = {"running": self._supervisor.running(), "pid": os.getpid()}
        answer["held"] = self._holder is not None
        answer["same"] = mark == self._mark
        if verb == "hold" and not answer["held"] and answer["same"]:
            self._holder = who
            answer["yours"] = True
        with suppress(OSError):  # who asks and does not listen is not waited for
            who.send(json.dumps(answer).encode() + b"\n")
        if verb == "restart":
            self._supervisor.restart(mark)
        if verb == "stop":
            os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: Sequence[str]) -> int:
    """`FOLDER BERTH OUTLIVE_S NAME COMMAND...`: returns once the berth is ours, or another's; what
    runs there is nobody's child, and in a session of its own: who started it may be ended together
    with all its descendants."""
    place, berth, outlive_s, name, *command = arguments
    folder, child = Path(place), Child(name, command)
    failed = folder / f"{berth}.failed"
    log_as_json()
    try:
        keeper = Keeper(folder, berth, [child], mark=mark_of(command), outlive_s=float(outlive_s))
        with keeper:
            failed.unlink(missing_ok=True)
            if os.fork():
                os._exit(0)
            os.setsid()
            with suppress(PermissionError):  # who places us may be nice; streams are live
                os.setpriority(os.PRIO_PROCESS, 0, 0)
            try:
                keeper.serve()
            except ConfigError as error:
                failed.write_text(_last_word(folder / f"{berth}.log") or str(error), "utf-8")
    except Taken as taken:
        log.info("%s", taken)
    return 0


def _last_word(path: Path) -> str | None:
    """What a child that could not start said of that, on the line for people."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
        lines = file.read().decode(errors="replace").splitlines()
    said = [line for line in lines if line.startswith("streamgen: ")]
    return said[-1].removeprefix("streamgen: ") if said else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
