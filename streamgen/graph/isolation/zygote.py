"""`Zygote`: the process that has loaded a stage's class, as the host sees it.

One for each interpreter and stage, shared by all nodes that use it. It answers what the class
declares, validates parameters, and forks workers. See `child` for its own side.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

from streamgen.errors import ConfigError
from streamgen.graph.isolation.channel import Channel
from streamgen.media.shared import sharing_works

PROTOCOL = 1
CHILD = "streamgen.graph.isolation.child"
START_S = 60.0
"""Longest time to load a stage's class; some import gigabytes."""
ANSWER_S = 10.0
LAST_WORDS = 4096
"""Bytes kept of what a process printed."""


class LastWords:
    """The end of what a process prints; all of it is read, so that nobody ever waits to print."""

    PIPE_BYTES = 1 << 20

    def __init__(self) -> None:
        self.printed = 0
        self._end = b""

    def read(self, fd: int) -> bool:
        """Take what is there. False: nobody can print any more."""
        try:
            data = os.read(fd, self.PIPE_BYTES)
        except BlockingIOError:
            return True
        self.printed += len(data)
        self._end = (self._end + data)[-LAST_WORDS:]
        return bool(data)

    def clear(self) -> None:
        self._end = b""

    def __str__(self) -> str:
        return self._end.decode("utf-8", "replace").strip()


class Zygote:
    """Starts the process when it is needed, and again when it has died. Any thread may ask."""

    def __init__(self, stage: str, python: str) -> None:
        self.stage = stage
        self.python = python
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Channel | None = None
        self._lifeline = -1
        self._words = LastWords()
        self._greeting: Mapping[str, Any] | None = None
        self._waited = False

    def greeting(self) -> Mapping[str, Any]:
        """What the class declares. Starts the process the first time; raises `ConfigError`."""
        with self._lock:
            if self._greeting is None:
                self._start()
            assert self._greeting is not None
            return self._greeting

    def check(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters, validated: `values`, or `errors` as Pydantic lists them.

        Raises `ConfigError` when the class's own checks crash or hang.
        """
        try:
            question = json.dumps({"check": values}).encode()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"stage {self.stage}: parameters are plain values: {error}") from None
        with self._lock:
            return self._heard(self._told(question), ANSWER_S, "checks its parameters")

    def join(self) -> Channel:
        """A channel of one's own on which workers are ordered. Raises `ConfigError`."""
        with self._lock:
            mine, theirs = Channel.pair()
            try:
                self._told(b'{"join": true}', theirs.fileno())
            except ConfigError:
                mine.close()
                raise
            finally:
                theirs.close()
            return mine

    @property
    def pid(self) -> int | None:
        """Of the process; None where there is none."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def end(self) -> None:
        """End the process and its workers; it is started again when it is needed."""
        with self._lock:
            self._stop()

    def interrupt(self) -> None:
        """End the process if somebody waits for its answer now: he has waited long enough."""
        process = self._process
        if self._waited and process is not None:
            process.kill()

    def _told(self, message: bytes, *fds: int) -> Channel:
        """Send to the process, which is started where there is none, or it has just died."""
        for _ in range(2):
            if self._control is None or self.pid is None:
                self._start()
            control = self._control
            assert control is not None
            try:
                control.send(message, fds)
                return control
            except OSError:
                self._stop()
        raise ConfigError(f"stage {self.stage}: its process dies again and again")

    def _start(self) -> None:
        if not sharing_works():
            raise ConfigError("isolation: process needs Linux")
        self._stop()
        control, theirs = Channel.pair()
        lifeline, self._lifeline = os.pipe2(os.O_CLOEXEC)
        words, output = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(words, False)
        given = (theirs.fileno(), lifeline)
        command = [self.python, "-m", CHILD, self.stage, *map(str, given)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=given,
                env=environment(self.python),
                start_new_session=True,  # Ctrl-C is for the host, which ends us when it is done
            )
        except OSError as error:
            os.close(words)
            control.close()
            raise ConfigError(f"python: cannot start {self.python}: {error.strerror}") from error
        finally:
            theirs.close()
            os.close(lifeline)
            os.close(output)
        self._words = LastWords()
        watch = threading.Thread(
            target=_drain, args=(words, self._words, self._process), name=f"{self.stage} output"
        )
        watch.daemon = True
        watch.start()
        self._control = control
        self._greeting = self._met(self._heard(control, START_S, "is loaded"))

    def _met(self, greeting: Mapping[str, Any]) -> Mapping[str, Any]:
        if "error" in greeting:
            self._stop()
            raise ConfigError(greeting["error"])
        if greeting["protocol"] != PROTOCOL:
            self._stop()
            raise ConfigError(
                f"stage {self.stage}: {self.python} has streamgen {greeting['streamgen']}, "
                "which does not fit this one"
            )
        return greeting

    def _heard(self, control: Channel, limit_s: float, doing: str) -> Mapping[str, Any]:
        """Wait for an answer; a process that gives none is ended."""
        poll = select.poll()
        poll.register(control.fileno(), select.POLLIN)
        self._waited = True
        try:
            silent = not poll.poll(limit_s * 1000)
        finally:
            self._waited = False
        data = b"" if silent else control.receive()
        if data:
            answer: Mapping[str, Any] = json.loads(data)
            return answer
        process = self._process
        self._stop()
        status = None if process is None else process.returncode
        how = f"gave no answer for {limit_s:g} s" if silent else died(status)
        words = f"; last words: {self._words}" if str(self._words) else ""
        raise ConfigError(f"stage {self.stage} {how} while it {doing}{words}")

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._process is not None:
            try:
                self._process.wait(1.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def _drain(fd: int, words: LastWords, process: subprocess.Popen[bytes]) -> None:
    """Read what the process prints until nobody can print any more, then take its status."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while poll.poll() and words.read(fd):
        pass
    os.close(fd)
    process.wait()


def died(status: int | None) -> str:
    """In words: `returncode` as `subprocess` gives it."""
    if status is None or status >= 0:
        return f"ended with status {status}" if status else "ended"
    try:
        return f"died ({signal.Signals(-status).name})"
    except ValueError:
        return f"died (signal {-status})"


def environment(python: str) -> dict[str, str]:
    """Our own interpreter sees the modules that we see; another one sees its own."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if python == sys.executable:
        env["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return env


@cache
def zygote(stage: str, python: str | None) -> Zygote:
    """The one zygote of this stage in this interpreter; default our own."""
    return Zygote(stage, python or sys.executable)
