"""`watched`: a trial of a stage in a process of its own. A crash or a hang is an answer."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

KEPT_BYTES = 4096
"""Of what a stage prints."""
END_S = 3.0
"""How long a process may take to end once all is said."""


@dataclass
class Report:
    """What a trial found out."""

    stage: str
    broken: list[str] = field(default_factory=list)
    """Everything that breaks the rules, in words; empty: fine."""
    notes: list[str] = field(default_factory=list)
    """Good to know."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What it declares, and what was measured."""

    @property
    def needs(self) -> str:
        """Why it could not be run with the parameters given; empty: it was run."""
        return str(self.figures.get("needs", ""))

    @property
    def state(self) -> str:
        return "broken" if self.broken else "not run" if self.needs else "fine"


def watched(
    stage: str,
    params: Mapping[str, Any] | None = None,
    *,
    only_load: bool = False,
    step_s: float = 60.0,
) -> Report:
    """Try an installed stage. A step that takes longer than `step_s` is a hang, and ends it.

    Leaves no process behind.
    """
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "streamgen.testing.check", stage, "--report", str(writing)]
    command += ["--params", json.dumps(dict(params or {}))]
    command += ["--only-load"] if only_load else []
    with contextlib.ExitStack() as undo:
        report = undo.enter_context(os.fdopen(reading, "rb", buffering=0))
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=[writing],
                start_new_session=True,
            )
        finally:
            os.close(writing)
        undo.enter_context(process)
        undo.callback(_end, process)
        return _Watch(stage, process, report, step_s).answer()


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and all it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class _Watch:
    """Reads everything that comes from the process until it ends, or takes too long."""

    def __init__(
        self, stage: str, process: subprocess.Popen[bytes], report: IO[bytes], step_s: float
    ) -> None:
        self._report = Report(stage)
        self._process = process
        self._step_s = step_s
        self._step = "starting"
        self._complete = False
        self._rest = b""
        self._printed: dict[str, tuple[int, bytes]] = {"stdout": (0, b""), "stderr": (0, b"")}
        self._inputs = selectors.DefaultSelector()
        assert process.stdout is not None and process.stderr is not None
        for stream, name in (
            (report, "report"),
            (process.stdout, "stdout"),
            (process.stderr, "stderr"),
        ):
            self._inputs.register(stream, selectors.EVENT_READ, name)

    def answer(self) -> Report:
        with self._inputs:
            hangs = not self._read_all()
        if hangs:
            self._report.broken.append(
                f"hangs: no answer for {self._step_s:g} s while {self._step}{self._last_words()}"
            )
        elif not self._complete:
            self._report.broken.append(
                f"{_ending(self._process.wait())} while {self._step}{self._last_words()}"
            )
        size, text = self._printed["stdout"]
        if size:
            last = text.decode(errors="replace").strip().rpartition("\n")[2][:80]
            self._report.broken.append(
                f"prints to standard output ({size} bytes), which is not its own; last '{last}'"
            )
        return self._report

    def _read_all(self) -> bool:
        """Everything, until the process ends. False when a step took too long."""
        deadline = time.monotonic() + self._step_s
        while self._inputs.get_map():
            ready = self._inputs.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                return self._complete  # what lives on after the last word was started by the stage
            for key, _ in ready:
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    self._inputs.unregister(key.fileobj)
                elif key.data == "report":
                    self._heard(chunk)
                    deadline = time.monotonic() + (END_S if self._complete else self._step_s)
                else:
                    size, text = self._printed[key.data]
                    self._printed[key.data] = (size + len(chunk), (text + chunk)[-KEPT_BYTES:])
        return True

    def _heard(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = json.loads(line)
            if "step" in event:
                self._step = event["step"]
            elif "figures" in event:
                self._report.figures = event["figures"]
                self._complete = True
            else:
                kind = self._report.broken if event["broken"] else self._report.notes
                kind.append(event["said"])

    def _last_words(self) -> str:
        lines = self._printed["stderr"][1].decode(errors="replace").strip().splitlines()
        return f"; its last words: '{lines[-1][:200]}'" if lines else ""


def _ending(status: int) -> str:
    if status < 0:
        return f"crashes ({signal.Signals(-status).name})"
    return f"ends the process (exit status {status})"
