"""Everything that can go wrong, as one tree.

StreamGenError
├── ConfigError        what the user wrote is wrong (exit status 2)
├── SourceError        the input cannot be opened or read
├── ModelError         a network cannot be loaded, checked or run
├── OutputError        the output cannot be written
├── StoreError         the cluster's memory cannot be reached, read or written
│   └── Fenced         somebody else has taken over the lease or claim
├── EncodeError        an encoder cannot be opened, or broke down
├── DeviceError        a GPU, its driver or its compiler does not do what is asked
├── Stuck              a codec, stage or network does not come back from a call
├── DecodeError        one packet or picture is lost, the stream goes on
└── StageError         one picture could not be processed
    └── StageUnavailable  its process is being started again
"""

from __future__ import annotations


class StreamGenError(Exception):
    """Base of every error that streamgen raises on purpose. Its text is one line for a person."""


class ConfigError(StreamGenError):
    """A pipeline, setting or argument is wrong. `line` is the line in the file, if there is one.

    `at` leads to what is wrong below the value that was checked, for whoever knows the lines.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        line: int | None = None,
        at: tuple[int | str, ...] = (),
    ) -> None:
        where = "" if path is None else f"{path}: " if line is None else f"{path} line {line}: "
        super().__init__(where + message)
        self.path = path
        self.line = line
        self.at = at


class SourceError(StreamGenError):
    """The input cannot be opened, or broke off in a way that loses the run."""


class ModelError(StreamGenError):
    """A network file is missing, damaged, of the wrong shape, or its runtime failed."""


class OutputError(StreamGenError):
    """The output cannot be written: exists, no space, no permission, wrong container."""


class StoreError(StreamGenError):
    """The store cannot be reached, or refused what was written. Nothing half is left in it."""


class Fenced(StoreError):
    """What was to be written belongs to somebody else by now: stop, and write no more."""


class EncodeError(StreamGenError):
    """An encoder cannot be opened with these settings, or failed on a frame."""

    def __init__(self, message: str, *, rung: str) -> None:
        super().__init__(message)
        self.rung = rung


class DeviceError(StreamGenError):
    """A GPU, its driver, or the compiler of its kernels is missing or refuses."""


class Stuck(StreamGenError):
    """A call does not come back. Its thread is lost, and whatever it holds: the process is to end.

    `what` was called.
    """

    def __init__(self, message: str, *, what: str) -> None:
        super().__init__(message)
        self.what = what


class DecodeError(StreamGenError):
    """One packet or picture is lost. Counted; the stream goes on."""

    def __init__(self, message: str, *, pts: int | None) -> None:
        super().__init__(message)
        self.pts = pts


class StageError(StreamGenError):
    """A stage failed on one picture."""

    def __init__(self, message: str, *, stage: str, pts: int) -> None:
        super().__init__(message)
        self.stage = stage
        self.pts = pts


class StageUnavailable(StageError):
    """The stage's process is being started again: nothing was tried."""
