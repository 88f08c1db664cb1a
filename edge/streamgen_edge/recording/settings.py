"""`RecordingSettings`: where recordings go, and how they are cut."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from streamgen.config import Settings, SizeBytes, parse_duration, parse_size
from streamgen.errors import ConfigError

_HOURS = re.compile(r"(\d{1,6})\s*h")
_HOUR_NS = 3_600_000_000_000
_LEAST_NS, _LEAST_BYTES = 1_000_000_000, 100_000


@dataclass(frozen=True, slots=True)
class Split:
    """When a file has enough; what is None does not count."""

    ns: int | None = None
    bytes: int | None = None


class RecordingSettings(Settings):
    """Files of the streams with `record: true`: `FOLDER/STREAM/START-SESSION-NUMBER.mp4`."""

    folder: Path = Path("recordings")
    """Made when it is needed."""
    split: str = "1h"
    """Length (`10min`, `1h`) or size (`500M`, `2G`) at which the next file begins."""
    min_free: SizeBytes = Field(default=1_000_000_000, ge=0)
    """Nothing is written while the disk has less space than this."""

    @field_validator("split")
    @classmethod
    def _readable(cls, value: str) -> str:
        split = _split(value)
        if split.ns is not None and split.ns < _LEAST_NS:
            raise ValueError("files of less than 1s")
        if split.bytes is not None and split.bytes < _LEAST_BYTES:
            raise ValueError("files of less than 100k")
        return value

    @property
    def limit(self) -> Split:
        return _split(self.split)


def _split(text: str) -> Split:
    hours = _HOURS.fullmatch(text.strip())
    if hours is not None:
        return Split(ns=int(hours[1]) * _HOUR_NS)
    try:
        return Split(ns=parse_duration(text))
    except ValueError:
        pass
    try:
        return Split(bytes=int(parse_size(text)))
    except ValueError:
        raise ValueError(f"neither a length nor a size: {text!r} (write 1h or 2G)") from None


def refuse_unwritable(settings: RecordingSettings) -> None:
    """Nothing is made to find out. Raises `ConfigError`."""
    folder = settings.folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise ConfigError(f"recording.folder: {folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"recording.folder: {folder} cannot be written")
