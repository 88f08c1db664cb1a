"""`MovieFile`: fragments of live tracks in one MP4 file that can be played while it grows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from streamgen.deliver.fragments import joint_header, length, renumbered


class MovieFile:
    """Owned by one thread, which waits where the disk is slow. Whatever happens to the process,
    the file is whole up to the last fragment. All methods raise `OSError`."""

    def __init__(self, path: Path, headers: Sequence[bytes]) -> None:
        """A new file, of the tracks that have these headers; the first one's timescale counts."""
        self.path = path
        self.size_bytes = 0
        self._sequence = 0
        header, self._length_at = joint_header(headers)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o640)
        try:
            self._write(header)
        except OSError:
            os.close(self._file)
            path.unlink(missing_ok=True)
            raise

    def append(self, track: int, fragment: bytes) -> None:
        """One `fragments.fragment` of a track; they count from 1. All of it, or none."""
        self._sequence += 1
        self._write(renumbered(fragment, self._sequence, track))

    def close(self, ticks: int) -> None:
        """So long is the movie. The file is on the disk when this returns."""
        try:
            os.pwrite(self._file, length(ticks), self._length_at)
            os.fsync(self._file)
        finally:
            os.close(self._file)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            with suppress(OSError):  # else a player finds half a fragment, and stops there
                os.ftruncate(self._file, self.size_bytes)
                os.lseek(self._file, self.size_bytes, os.SEEK_SET)
            raise
        self.size_bytes += len(data)
