"""Real file systems that are small, full or not to be written: tmpfs, mounted by root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[Path]:
    """A disk of this size at `place`. Skips the test where this user or system may not mount."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    place.mkdir(exist_ok=True)
    if not _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "small", place):
        pytest.skip("this system lets nobody mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=10)


def read_only(disk: Path) -> None:
    """Nothing on a mounted disk may be written from now on; no file is open for writing."""
    assert _mount("-o", "remount,ro", disk)


def _mount(*arguments: str | Path) -> bool:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, timeout=10)
    return done.returncode == 0
