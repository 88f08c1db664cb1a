"""The files that `--report`, `--metrics` and `--trace` name: refused early, written whole."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from streamgen.control.offline import Job
from streamgen.deliver.atomic import Partial, reason
from streamgen.errors import OutputError
from streamgen.ingest.address import is_url, local_path

_OPEN_ALREADY = re.compile(r"/dev/(?:stdout|stderr|fd/\d+)|/proc/self/fd/\d+")
"""Names of what this process has open: written into, never replaced."""


def check_places(wanted: Sequence[Path | None], jobs: Sequence[Job], pipeline: str) -> None:
    """Refuse, before any work, what could not be written or would replace something of the run.

    Raises `OutputError`.
    """
    paths = [path for path in wanted if path is not None]
    for path in paths:
        _check_kind(path)
    paths = [path for path in paths if not _written_into(path)]
    for path in paths:
        _check_jobs(path, jobs)
        if _same(path, Path(pipeline)):
            raise OutputError(f"{path} is the pipeline, and is not overwritten")
    for one, other in combinations(paths, 2):
        if _same(one, other):
            raise OutputError(f"two of report, metrics and trace cannot both be {other}")


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write `pieces` and a line end under this name, whole or not at all. Raises `OutputError`."""
    try:
        if _written_into(path):
            _write(path, "ab", pieces)
            return
        partial = Partial(path, overwrite=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    try:
        _write(partial.path, "wb", pieces)
        partial.commit()
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    finally:
        partial.discard()


def _write(path: Path, mode: str, pieces: Iterable[bytes]) -> None:
    with path.open(mode) as file:
        file.writelines(pieces)
        file.write(b"\n")


def _check_kind(path: Path) -> None:
    """Better now than after an hour of work."""
    mode = _mode(path)
    if mode is None:
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {path}: no folder {path.parent}")
    elif stat.S_ISDIR(mode):
        raise OutputError(f"cannot write {path}: is a folder")
    elif not stat.S_ISREG(mode) and not _written_into(path):
        raise OutputError(f"cannot write {path}: is no regular file")
    if not _written_into(path) and not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: permission denied")


def _check_jobs(path: Path, jobs: Sequence[Job]) -> None:
    for job in jobs:
        if not is_url(job.input) and _same(path, local_path(job.input)):
            raise OutputError(f"{path} is an input, and is not overwritten")
        if _same(path, job.output) or (job.ladder and _resolved(job.output) in _above(path)):
            raise OutputError(f"{path} belongs to the output {job.output}; choose another name")


def _written_into(path: Path) -> bool:
    """A character device such as /dev/null, or something open already."""
    mode = _mode(path)
    if mode is None:
        return False
    named = _OPEN_ALREADY.fullmatch(os.path.abspath(path)) is not None
    return stat.S_ISCHR(mode) or (named and (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)))


def _mode(path: Path) -> int | None:
    """What kind of file this is; None where there is none. Raises `OutputError`."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error


def _same(one: Path, other: Path) -> bool:
    """True for one file under two names, whether or not it is there yet."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return _resolved(one) == _resolved(other)


def _above(path: Path) -> Sequence[Path]:
    return _resolved(path).parents


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))
