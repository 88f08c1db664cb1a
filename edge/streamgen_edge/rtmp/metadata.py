"""What a publisher says of its stream (onMetaData). A hint for people: nothing is built on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MOST = 64
_TEXT = 256


@dataclass(frozen=True, slots=True)
class Metadata:
    """Plain values by name: finite numbers, booleans and short printable texts."""

    values: Mapping[str, float | bool | str]


def metadata_of(values: list[Any]) -> Metadata | None:
    """The metadata in a data message's values; None where it is about something else."""
    if values[:1] == ["@setDataFrame"]:
        values = values[1:]
    if values[:1] != ["onMetaData"] or len(values) < 2 or not isinstance(values[1], Mapping):
        return None
    plain: dict[str, float | bool | str] = {}
    for key, value in values[1].items():
        if len(plain) < _MOST and _is_plain(key, value):
            plain[key] = value
    return Metadata(plain)


def _is_plain(key: str, value: Any) -> bool:
    if not key.isprintable() or len(key) > _TEXT:
        return False
    if isinstance(value, str):
        return value.isprintable() and len(value) <= _TEXT
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
