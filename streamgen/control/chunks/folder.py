"""`Workplace`: the hidden folder beside an output in which its pieces are made.

It outlives the run that made it, so that `--resume` goes on where a killed one stopped; it is
locked while somebody works in it, and goes when the output is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from streamgen.control.chunks.cuts import Chunk
from streamgen.control.chunks.packets import Made, made_already, name_of, write_json
from streamgen.control.chunks.survey import ROW, Survey
from streamgen.deliver.atomic import reason
from streamgen.errors import OutputError

MARK = ".streamgen-pieces"
OWNER = "job"
"""Holds the name of the job of a cluster that the folder belongs to."""
_PLAN, _TIMES = "plan.json", "times.npy"


@dataclass(frozen=True, slots=True)
class Planned:
    """What a workplace was made for, and its pieces."""

    identity: str
    """Of input, pipeline and settings: nobody goes on with the pieces of something else."""
    chunks: tuple[Chunk, ...]
    survey: Survey
    corrected: dict[str, int]
    """Times that were mended while the file was read."""
    uncut: str = ""
    """Why there is only one piece, in words for the user."""


class Workplace:
    """A folder of ours, locked. A `with` block ends the lock, and takes the folder away where no
    piece in it is whole; `remove` takes it away in any case."""

    def __init__(self, output: Path) -> None:
        """Raises `OutputError` when another process works on the same output."""
        self.path = place_of(output)
        self._made: list[Path] = []
        try:
            for parent in reversed([p for p in self.path.parents if not p.exists()]):
                parent.mkdir(exist_ok=True)
                self._made.append(parent)
            self.path.mkdir(exist_ok=True)
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise OutputError(f"cannot write {output}: {reason(error)}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise OutputError(f"another process is making {output}") from error
        if owner := owner_of(self.path):
            os.close(self._lock)
            raise OutputError(f"{output} is being made by {owner} (see 'streamgen jobs')")

    def __enter__(self) -> Workplace:
        return self

    def __exit__(self, *about: object) -> None:
        if not (self.path / OWNER).exists() and not any(self.path.glob(name_of("*"))):
            self.remove()
            self._remove_parents()
        os.close(self._lock)

    def clear(self) -> None:
        """Forget what another run left here."""
        for entry in self.path.iterdir():
            entry.unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _remove_parents(self) -> None:
        """Take away the folders that were made for nothing else, if they are empty."""
        for parent in reversed(self._made):
            try:
                parent.rmdir()
            except OSError:
                return

    def save(self, planned: Planned) -> None:
        """Keep the plan. Raises `OutputError`."""
        try:
            np.save(self.path / _TIMES, planned.survey.rows)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {reason(error)}") from error
        base = planned.survey.time_base
        value = {
            "identity": planned.identity,
            "time_base": [base.numerator, base.denominator],
            "chunks": [chunk.plain() for chunk in planned.chunks],
            "corrected": planned.corrected,
        }
        write_json(self.path / _PLAN, json.dumps(value))

    def give_to(self, owner: str) -> None:
        """From now on this folder belongs to a job of a cluster, if it is still there: others may
        have made all of it already. Raises `OutputError`."""
        try:
            write_json(self.path / OWNER, owner)
        except OutputError:
            if self.path.exists():
                raise

    def load(self) -> Planned | None:
        """The plan of a run before; None where there is none that can be read."""
        return read_plan(self.path)

    def made(self, planned: Planned) -> dict[int, Made]:
        """The pieces that are whole already, by number; every byte of them is checked."""
        found = {
            one.number: made_already(self.path, one.number, planned.identity, check=True)
            for one in planned.chunks
        }
        return {number: made for number, made in found.items() if made is not None}


def place_of(output: Path) -> Path:
    """Where the pieces of an output lie."""
    final = output.resolve()
    return final.parent / f".{final.name[:150]}{MARK}"


def owner_name(job: str) -> str:
    """As `owner_of` has it."""
    return f"job {job}"


def adopt(folder: Path, owner: str) -> None:
    """It belongs to this one, whose submitter died before saying so. Raises `OutputError`."""
    if not owner_of(folder):
        write_json(folder / OWNER, owner)


def disown(folder: Path) -> None:
    """It belongs to nobody now."""
    (folder / OWNER).unlink(missing_ok=True)


def owner_of(folder: Path) -> str:
    """The job of a cluster that a workplace belongs to; empty: none."""
    try:
        return (folder / OWNER).read_text(encoding="utf-8")
    except OSError:
        return ""


def read_plan(folder: Path) -> Planned | None:
    """The plan in a workplace, without its lock; None where there is none that can be read."""
    try:
        value: dict[str, Any] = json.loads((folder / _PLAN).read_bytes())
        rows = np.load(folder / _TIMES)
        if rows.dtype != ROW:
            return None
        return Planned(
            identity=value["identity"],
            chunks=tuple(Chunk(**one) for one in value["chunks"]),
            survey=Survey(rows, Fraction(*value["time_base"])),
            corrected=value["corrected"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
