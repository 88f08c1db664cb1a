"""`Holder`: has a worker run on this machine for as long as it is there itself.

It finds the worker that a holder before it left behind, or starts one. Killed, it leaves its own
to the next. What runs is never started twice: berths (`keeper.py`) see to that.
"""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from streamgen.control.keys import read_key
from streamgen.control.launch.berths import Berths
from streamgen.control.launch.fleet import Fleet
from streamgen.control.launch.keeper import mark_of
from streamgen.errors import ConfigError

MOST_BERTHS = 1024
RETRY_S = 0.2
ENDS_S = 5.0
POLL_S = 0.05
log = logging.getLogger("streamgen.holder")


def machine() -> str:
    """Its name, as far as names of workers have room for it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:24]


class Holder:
    """Runs a thread from `start` to `stop`."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        share: int,
        berth: str | None,
        environment: Mapping[str, str],
        folder: Path | None = None,
    ) -> None:
        """`share`: so many workers share this machine. `berth`: the only one that will do, since a
        device belongs to it; None: the first that is free."""
        self._fleet, self._share, self._wanted = fleet, share, berth
        self._environment = dict(environment)
        self._berths = Berths(fleet.name, folder)
        self._line: socket.socket | None = None
        self._berth: str | None = None
        self._failed: str | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="holder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End what we hold. Returns when it has ended."""
        self._over.set()
        if self._line is not None:
            self._line.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        if self._berth is not None:
            self._berths.end(self._berth)

    def state(self) -> tuple[str, str, int | None]:
        """Name of the worker, `runs` or why it does not, its process."""
        berth = self._berth
        if self._failed is not None:
            return self._name(berth or self._wanted or "0"), self._failed, None
        if berth is None:
            return "", "looks for a place", None
        kept = self._berths.look(berth)
        pid = None if kept is None else kept.running.get(self._name(berth))
        return self._name(berth), "starts" if pid is None else "runs", pid

    def _name(self, berth: str) -> str:
        return f"{self._fleet.name}-{machine()}-{berth}"

    def _command(self, berth: str) -> list[str]:
        ours = [sys.executable, "-m", "streamgen.cli", "worker", "--name", self._name(berth)]
        own = ["--own-gpu"] if self._fleet.gpus else []
        return [*ours, "--share", str(self._share), *own, *self._fleet.joining()]

    # On the thread.

    def _hold(self) -> None:
        try:
            if self._fleet.key is not None:
                read_key(self._fleet.key)
        except ConfigError as error:
            self._failed = f"cannot start: {error}"
        while not self._over.is_set() and self._failed is None:
            found = self._taken()
            if found is None:
                self._over.wait(RETRY_S)
                continue
            self._berth, self._line = found
            if not self._over.is_set():
                self._line.recv(1)  # nothing comes but the end
            self._line.close()
            self._line = None
            if not self._over.is_set():
                why_not = self._berths.why_not(self._berth)
                self._failed = None if why_not is None else f"cannot start: {why_not}"
                self._let_end(self._berth)
                self._berth = None

    def _let_end(self, berth: str) -> None:
        """A keeper that was killed takes its worker along, which has the place a moment longer."""
        until = time.monotonic() + ENDS_S
        while self._berths.taken(berth) and self._berths.look(berth) is None:
            if time.monotonic() > until or self._over.wait(POLL_S):
                return

    def _taken(self) -> tuple[str, socket.socket] | None:
        """What was left behind goes first: it has streams. Then a new one."""
        if self._wanted is not None:
            return self._held(self._wanted) or self._started(self._wanted)
        for berth, kept in self._berths.all():
            if berth.isdigit() and kept is not None and not kept.held:
                found = self._held(berth)
                if found is not None:
                    return found
        free = (one for one in map(str, range(MOST_BERTHS)) if not self._berths.taken(one))
        found_free = next(free, None)
        return None if found_free is None else self._started(found_free)

    def _held(self, berth: str) -> tuple[str, socket.socket] | None:
        answer = self._berths.hold(berth, mark_of(self._command(berth)))
        if answer is None:
            return None
        line, kept = answer
        if kept.yours:
            return berth, line
        line.close()
        if not kept.held and not kept.same:  # left behind by a fleet of other settings
            log.info("%s has other settings: it ends", self._name(berth))
            self._berths.end(berth)
        return None

    def _started(self, berth: str) -> tuple[str, socket.socket] | None:
        if self._berths.taken(berth):
            return None
        command = self._command(berth)
        name, outlive = self._name(berth), f"{self._fleet.outlive_s:g}"
        ours = [sys.executable, "-m", "streamgen.control.launch.keeper"]
        with self._berths.log(berth) as out:
            subprocess.run(
                [*ours, str(self._berths.folder), berth, outlive, name, *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment,
                check=False,  # the berth says what became of it
            )
        return self._held(berth)
