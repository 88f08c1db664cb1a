"""Nothing stands under its final name until it is whole.

An output is written under a hidden sibling name on the same file system, forced to disk and then
renamed. Whoever writes it holds a lock on it, so that the next run can tell what a killed process
left behind from what another process is still writing, and removes the former.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from streamgen.errors import OutputError

MARK = ".streamgen-partial-"
"""Between the final name and a random end, in the name of every unfinished output."""
FOLDER_SIGN = "streamgen.json"
"""A folder without this file is not ours: it is never overwritten."""
_NAME_MAX_BYTES = 200
_SPARE = 1.1


class Partial:
    """A file or folder on its way to `final`. Written at `path` by one thread.

    Ends with `commit` (whole and visible) or `discard` (gone); both may be called again.
    """

    def __init__(self, final: Path, *, folder: bool = False, overwrite: bool = False) -> None:
        """Create the partial output, and its parent folders.

        Raises `OutputError` when `final` exists and may not be replaced, or when the place cannot
        be written.
        """
        self.final = _resolved(final)
        self.folder = folder
        self.overwrite = overwrite
        self.made: list[Path] = []
        self.path = self.final
        self._lock: int | None = None
        check_free_name(self.final, folder=folder, overwrite=overwrite)
        with ExitStack() as undo:  # an interrupt in the middle leaves as little as an error
            undo.callback(self.discard)
            try:
                self._make_parents()
                sweep(self.final)
                self._create()
            except OSError as error:
                raise OutputError(f"cannot write {final}: {reason(error)}") from error
            undo.pop_all()

    def commit(self) -> None:
        """Force everything to disk and give it its final name. Raises `OutputError`."""
        if self._lock is None:
            return
        try:
            for part in _tree(self.path):
                _sync(part)
            self._rename()
            _sync(self.final.parent)
        except OSError as error:
            self.discard()
            raise OutputError(f"cannot finish {self.final}: {reason(error)}") from error
        self.path = self.final
        self.made.clear()
        self._unlock()

    def discard(self) -> None:
        """Remove what was written, and the parent folders made for it if nothing else uses them."""
        if self.path != self.final:
            _remove(self.path)
            self.path = self.final
        self._unlock()
        self._forget_parents()

    def _make_parents(self) -> None:
        missing = []
        parent = self.final.parent
        while not parent.exists():
            missing.append(parent)
            parent = parent.parent
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            self.made.append(one)

    def _forget_parents(self) -> None:
        for one in reversed(self.made):
            try:
                one.rmdir()
            except OSError:
                return  # somebody else uses it by now
        self.made.clear()

    def _create(self) -> None:
        self.path = self.final.parent / f"{_prefix(self.final)}{secrets.token_hex(4)}"
        if self.folder:
            self.path.mkdir()
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        else:
            self._lock = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _rename(self) -> None:
        if not self.folder:
            _rename_file(self.path, self.final, overwrite=self.overwrite)
        elif not self.overwrite or not self.final.exists():
            os.rename(self.path, self.final)  # fails on a folder that is not empty
        else:
            check_free_name(self.final, folder=True, overwrite=True)
            _exchange(self.path, self.final)
            _remove(self.path)


def check_free_name(final: Path, *, folder: bool, overwrite: bool) -> None:
    """Refuse a name that is taken: by anything without `overwrite`, by what is not ours with it.

    An empty folder counts as free. Raises `OutputError`.
    """
    try:
        mode = os.stat(final).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"cannot write {final}: {reason(error)}") from error
    if folder:
        if not stat.S_ISDIR(mode):
            raise OutputError(f"{final} exists and is not a folder")
        if not os.listdir(final):
            return
        if overwrite and not (final / FOLDER_SIGN).is_file():
            raise OutputError(f"{final} was not made by streamgen and is not overwritten")
    elif not stat.S_ISREG(mode):
        raise OutputError(f"{final} exists and is not a regular file")
    if not overwrite:
        raise OutputError(f"{final} exists already (use --overwrite to replace it)")


def refuse_input(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse an output that is one of the inputs, by any name: symbolic or hard links included.

    Raises `OutputError`.
    """
    for path in inputs:
        try:
            same = os.path.samefile(output, path)
        except OSError:
            same = False  # one of them does not exist
        inside = output.is_dir() and _resolved(path).is_relative_to(_resolved(output))
        if same or inside:
            raise OutputError(f"output {output} would overwrite the input {path}")


def check_space(path: Path, need_bytes: int) -> None:
    """Raise `OutputError` when the file system of `path` (or its nearest parent) has too little."""
    place = _resolved(path)
    while not place.exists():
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason(error)}") from error
    if free < need_bytes:
        raise OutputError(
            f"not enough space for {path}: needs about {_mb(need_bytes)}, {_mb(free)} free"
        )


def estimate_bytes(duration_s: float | None, bitrates_bps: Sequence[int]) -> int:
    """Expected size of an output with some room to spare; 0 where the length is unknown."""
    return round((duration_s or 0.0) * sum(bitrates_bps) / 8 * _SPARE)


def reason(error: Exception) -> str:
    """The operating system's reason in a few words, without paths and numbers."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number).lower()
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"


def _resolved(path: Path) -> Path:
    """Absolute, symbolic links followed: a link to a big disk stays a link to that disk."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError before 3.13
        raise OutputError(f"cannot write {path}: {reason(error)}") from error


def _prefix(final: Path) -> str:
    name = final.name.encode(errors="surrogateescape")[:_NAME_MAX_BYTES]
    return f".{name.decode(errors='ignore')}{MARK}"


def _rename_file(path: Path, final: Path, *, overwrite: bool) -> None:
    if overwrite:
        os.replace(path, final)
        return
    try:
        os.link(path, final)  # unlike a rename, refuses to replace what appeared meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        check_free_name(final, folder=False, overwrite=False)
        os.rename(path, final)
    else:
        os.unlink(path)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders: in one step where the system can (renameat2), else in three."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here = -100  # AT_FDCWD
    if swap is not None and swap(here, os.fsencode(new), here, os.fsencode(old), 2) == 0:
        return
    aside = new.with_name(f"{new.name}-old")
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(aside, old)
        raise
    os.rename(aside, new)


def sweep(final: Path) -> None:
    """Remove what killed runs left of this output: partial names that nobody holds locked."""
    final = _resolved(final)
    prefix = _prefix(final)
    for entry in os.scandir(final.parent):
        if entry.name.startswith(prefix) and not _locked(Path(entry.path)):
            _remove(Path(entry.path))


def _locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(
            OSError
        ):  # as on a disk that became read-only: the error that led here counts
            path.unlink()


def _tree(path: Path) -> Iterator[Path]:
    """Everything at and below `path`, folders after what is in them."""
    if path.is_dir():
        for child in path.iterdir():
            yield from _tree(child)
    yield path


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
