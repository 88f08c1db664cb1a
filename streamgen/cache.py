"""Files under the cache folder (`STREAMGEN_CACHE`) that cost time to make, whoever asks for them.

A name holds all that a file depends on, usually as a hash, so nothing in here ever goes stale.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CachedFiles:
    """Files of one kind. Safe between processes: written whole, locked while they are made."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self._suffix = suffix

    def read(self, name: str) -> bytes | None:
        """What was written under this name, None where nothing was; whole, unless a disk failed:
        the reader checks what is in it."""
        try:
            return self._path(name).read_bytes()
        except OSError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Keep it; readers see the old file or the new one, never half of it. Raises `OSError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".partial", delete=False) as file:
            file.write(data)
        os.replace(file.name, self._path(name))

    @contextmanager
    def making(self, name: str) -> Iterator[None]:
        """Hold the right to make it; a second process waits, then finds what the first one made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._path(name).with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{self._suffix}"
