"""`PipelineProcess`: a GStreamer pipeline in a process of its own, which a crash ends alone.

The description reaches the process through a pipe, so that no list of processes shows what secrets
are in it; no shell is involved. Debian's Python runs it, because Debian's GStreamer binds to that.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from streamgen.config import cache_dir
from streamgen.gstreamer.packages import BINDING, package_of

PREFIX = "gst:"
PYTHON = "/usr/bin/python3"
REGISTRY = "GST_REGISTRY"
"""Names the file in which GStreamer keeps what plugins there are: in our cache, unless told."""
NOT_HERE = re.compile("No module named 'gi'|Namespace Gst not available")
CHILD = Path(__file__).with_name("child.py")
LAST_LINES = 3
GOODBYE_S = 2.5
"""How long an ended pipeline may take leave of its servers."""
_SOURCE = re.compile(r"(?:\A|[\s!])([a-z0-9]+src)(?=[\s!]|\Z)")
_SINK = re.compile(r"(?:\A|[\s!])([a-z0-9]+sink)(?=[\s!]|\Z)")
_USER = re.compile(r"(\w+://)[^\s/@\"']*@")
_QUERY = re.compile(r"(\w+://[^\s?\"']*)\?[^\s\"']*")
_SECRET = re.compile(
    r"[\w-]*(?:pass|pw|key|secret|token|auth|user|streamid)[\w-]*\s*=\s*(\"[^\"]*\"|'[^']*'|\S+)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Told:
    """What the pipeline has said so far."""

    error: str | None = None
    notes: list[str] = field(default_factory=list)
    warning: str | None = None
    runs: bool = False
    """It could be built and started."""


class PipelineProcess:
    """One pipeline, from `__init__` until `close`. Owned by one thread."""

    def __init__(self, role: str, description: str, *, name: str, head: str = "") -> None:
        """Start it; `role` is `source` or `sink`. `head` stands before the description of a sink,
        with `{fd}` for the media. Raises `OSError` where it cannot be started.
        """
        self.name = name
        self.told = Told()
        self._description = description
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        ours, theirs = os.pipe()
        if role == "sink":
            ours, theirs = theirs, ours
        status, said = os.pipe()
        noise, chatter = os.pipe()
        self.media = ours
        self._status = status
        self._noise = noise
        self._rest = b""
        os.set_blocking(chatter, False)  # a full pipe loses lines, never stops the pipeline
        for fd in (ours, status, noise):
            os.set_blocking(fd, False)
        try:
            self._process = subprocess.Popen(
                [PYTHON, "-I", str(CHILD), str(theirs), str(said)],
                stdin=subprocess.PIPE,
                stdout=chatter,
                stderr=chatter,
                pass_fds=(theirs, said),
                env={REGISTRY: str(cache_dir() / "gstreamer-registry.bin"), **os.environ},
                start_new_session=True,  # Ctrl-C is ours; and plugins end with their group
            )
        except OSError:
            for fd in (ours, status, noise):
                os.close(fd)
            raise
        finally:
            for fd in (theirs, said, chatter):
                os.close(fd)
        self._pidfd = os.pidfd_open(self._process.pid)
        order = json.dumps({"role": role, "description": description, "head": head})
        assert self._process.stdin is not None
        with suppress(OSError):  # ended already: what it said tells why
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, timeout_s: float) -> str | None:
        """Wait until it runs; why it does not, in words for the user."""
        poll = select.poll()
        for fd in (self._status, self._pidfd):
            poll.register(fd, select.POLLIN)
        while not self.listen().runs:
            ready = [fd for fd, _ in poll.poll(timeout_s * 1000)]
            if not ready:
                return f"does not begin within {timeout_s:g} s"
            if self._pidfd in ready:
                return self.why() or "has ended at once"
        return None

    def listen(self) -> Told:
        """Take in what was said since; never waits."""
        self._rest += _all_of(self._status)
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self._heed(json.loads(line))
        text = _all_of(self._noise).decode(errors="replace")
        self._lines += [line.strip() for line in text.splitlines() if line.strip()]
        return self.told

    def why(self, *, patience_s: float = GOODBYE_S) -> str | None:
        """Why it ended, in words for the user; None when it ended well. After the end of its data,
        and waits for its end."""
        self._await(patience_s)
        told = self.listen()
        if told.error is not None:
            return told.error
        status = self._process.poll()
        if status == 0:
            return None
        how = "hung at its end" if status is None else f"ended with status {status}"
        if status is not None and status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        said = self._safe(" / ".join(self._lines))
        if NOT_HERE.search(said):
            return f"GStreamer for Debian's Python is not installed (the package is {BINDING})"
        return f"GStreamer {how}" + (f": {said}" if said else "")

    def crashed(self) -> bool:
        """It ended without a word: killed, or by a plugin's fault."""
        return self.told.error is None and self._process.poll() not in (0, None)

    def close(self) -> None:
        """End it and all that its plugins started; waits for the end."""
        if self._pidfd < 0:
            return
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self.close_media()
        self._await(GOODBYE_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # not reaped yet: the number is its own
        self._process.wait()
        self.listen()
        for fd in (self._status, self._noise, self._pidfd):
            os.close(fd)
        self._pidfd = -1

    def close_media(self) -> None:
        """Give back the end of the media's pipe: the end of the stream, for a sink."""
        if self.media >= 0:
            os.close(self.media)
        self.media = -1

    def _await(self, patience_s: float) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(patience_s * 1000)

    def _heed(self, message: dict[str, object]) -> None:
        if "runs" in message:
            self.told.runs = True
            return
        text = str(message.get("error") or message.get("warning") or message.get("note"))
        words = self._safe(text)
        debug = self._safe(str(message.get("debug") or ""))
        by = message.get("by")
        if by:
            words = f"{by}: {words}" + (f" {debug}" if debug else "")
        missing = message.get("missing")
        if isinstance(missing, list) and missing:
            words += f" ({package_of(str(missing[0]))})"
        if "error" in message:
            self.told.error = self.told.error or words
        elif "warning" in message:
            self.told.warning = words
        else:
            self.told.notes.append(words)

    def _safe(self, text: str) -> str:
        """One line without what is secret in the description."""
        for match in _SECRET.finditer(self._description):
            value = match[1].strip("\"'")
            if value:
                text = text.replace(value, "...")
        text = _QUERY.sub(r"\1", _USER.sub(r"\1", text))
        return "".join(c if c.isprintable() else " " for c in text).strip()


def unstarted(error: OSError) -> str:
    """Why there is no process of a pipeline, in words for the user."""
    return (
        f"GStreamer cannot be started ({str(error.strerror).lower()}: {error.filename}); "
        f"Debian's package is {BINDING}"
    )


def name_of(text: str, *, sink: bool = False) -> str:
    """A pipeline for people: `gst:` and the element that media come from, or go to. The rest of
    the description may hold secrets.
    """
    description = text.removeprefix(PREFIX)
    ends = _SINK.findall(description)[-1:] if sink else _SOURCE.findall(description)[:1]
    first = ends or re.findall(r"\A\s*([\w-]+)", description, re.ASCII)
    return PREFIX + (first[0] if first else "...")


def _all_of(fd: int) -> bytes:
    """What is in a pipe now."""
    found = b""
    with suppress(BlockingIOError):
        while piece := os.read(fd, 1 << 16):
            found += piece
    return found
