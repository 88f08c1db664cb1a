"""Tuned choices on disk: one JSON file for each question, whoever asks it.

The key holds all that an answer depends on, so nothing in here ever goes stale: another file,
size, version, processor or number of cores is another question.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streamgen.cache import CachedFiles
from streamgen.errors import ModelError
from streamgen.protocols import Mode, ModelSpec
from streamgen.runtimes.engine import EngineSettings

FORMAT = 1


@dataclass(frozen=True, slots=True)
class TuneResult:
    """One way to run a network, as measured."""

    runtime: str
    precision: str
    threads: int
    requests: int
    ms_per_frame: float
    """Wall time from submission to completion over the pictures that ran at once."""
    fps: float
    cpu_ms_per_frame: float
    """Processor time of all threads; what a picture costs the rest of the run."""
    chosen: bool = False

    @property
    def settings(self) -> EngineSettings:
        return EngineSettings(self.threads, self.requests, self.precision)


@dataclass(frozen=True, slots=True)
class Question:
    """What an answer depends on."""

    files: Mapping[str, str]
    """SHA-256 of each precision's file."""
    width: int
    height: int
    mode: Mode
    cores: int
    versions: Mapping[str, str]
    """Of each runtime that takes part."""
    processor: str

    def name(self) -> str:
        """Name of the answer's file: a hash of the question."""
        return hashlib.sha256(json.dumps(self.described(), sort_keys=True).encode()).hexdigest()

    def described(self) -> dict[str, Any]:
        return asdict(self) | {"mode": self.mode.value, "format": FORMAT}


def ask(
    model: ModelSpec, width: int, height: int, mode: Mode, cores: int, versions: Mapping[str, str]
) -> Question:
    """The question of this model on this machine. Reads and hashes the model's files."""
    files = {name: _sha256(path) for name, path in sorted(model.files.items())}
    return Question(files, width, height, mode, cores, dict(versions), processor())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def processor(path: Path = Path("/proc/cpuinfo")) -> str:
    """Name of the processor and a hash of what it can do."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return os.uname().machine
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = facts.get("flags") or facts.get("Features", "")
    digest = hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:12]
    return f"{facts.get('model name', os.uname().machine)} {digest}"


class TunedChoices:
    """The folder of answers. Safe between processes: written whole, locked while measured."""

    def __init__(self, folder: Path) -> None:
        self._files = CachedFiles(folder / "tuned", ".json")

    def read(self, question: Question) -> list[TuneResult] | None:
        """The rows of an earlier measurement, the chosen one marked; None where there is none.

        A damaged file counts as none, and the next measurement replaces it.
        """
        try:
            stored = json.loads(self._files.read(question.name()) or b"")
            rows = [TuneResult(**row) for row in stored["rows"]]
            for row in rows:
                _ = row.settings  # refuses impossible numbers
        except (ValueError, KeyError, TypeError, ModelError):
            return None
        return rows if sum(row.chosen for row in rows) == 1 else None

    def write(self, question: Question, rows: list[TuneResult]) -> None:
        """Keep an answer; readers see the old one or the new one, never half of it."""
        stored = {"question": question.described(), "rows": [asdict(row) for row in rows]}
        self._files.write(question.name(), json.dumps(stored, indent=1).encode())

    @contextmanager
    def measuring(self, question: Question) -> Iterator[None]:
        """Hold the right to measure; a second process waits, then finds the first one's answer."""
        with self._files.making(question.name()):
            yield


def chosen(rows: list[TuneResult]) -> TuneResult:
    """The row that was chosen."""
    return next(row for row in rows if row.chosen)
