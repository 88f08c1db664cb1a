"""Outside text becomes values here, once: settings with units, YAML with line numbers.

A wrong or unknown setting stops the start; it is never replaced by a default.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema

from streamgen.errors import ConfigError


class Settings(BaseModel):
    """Base of everything a user may write: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


S = TypeVar("S", bound=BaseModel)

_BITRATE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kM]?)(?:bit/s|bps)?")
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|min)")
_DURATION_NS = {"ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kMGT])B?")
_SIZE_BYTES = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_bitrate(text: Any) -> Any:
    """`2500k`, `2.5M` or a plain number of bits per second."""
    if isinstance(text, str):
        match = _BITRATE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"not a bitrate: {text!r} (write 2500k, 2.5M or bits per second)")
        return round(float(match[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[match[2]])
    return text


class Nanoseconds(int):
    """A duration that was read before, on its way through a model once more."""


def parse_duration(text: Any) -> Any:
    """`2s`, `333ms` or `1min`, to nanoseconds. A number without a unit is refused."""
    if isinstance(text, Nanoseconds):
        return int(text)
    if isinstance(text, str):
        match = _DURATION.fullmatch(text.strip())
        if match is not None:
            return round(float(match[1]) * _DURATION_NS[match[2]])
    raise ValueError(f"not a duration: {text!r} (write 2s, 333ms or 1min)")


def parse_size(text: Any) -> Any:
    """`500M`, `2G` or a plain number of bytes. Powers of ten, as on disks."""
    if isinstance(text, str):
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"not a size: {text!r} (write 500M, 2G or bytes)")
        return round(float(match[1]) * _SIZE_BYTES[match[2]])
    return text


Bitrate = Annotated[int, BeforeValidator(parse_bitrate)]
"""Bits per second; written as `2500k` or `2.5M`."""
DurationNs = Annotated[
    int,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "integer", "x-unit": "ns"}),
]
"""Nanoseconds; written as `2s` or `333ms`."""
SizeBytes = Annotated[int, BeforeValidator(parse_size)]
"""Bytes; written as `500M` or `2G`."""


def written_duration(ns: int) -> str:
    """As `parse_duration` reads it."""
    return f"{ns // 1_000_000_000}s" if ns % 1_000_000_000 == 0 else f"{ns / 1_000_000:.6g}ms"


def load(model: type[S], path: Path) -> S:
    """Read a YAML file into `model`. Raises `ConfigError` with the line and the reason."""
    value, node = read_yaml(path)
    return check(model, value, name=str(path), node=node)


def read_yaml(path: Path) -> tuple[dict[str, Any], Any]:
    """The plain value of a YAML file, and its node tree, which knows the lines.

    Raises `ConfigError` when the file cannot be read, is not YAML, is not keys and values, or has
    a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8 text", path=str(path)) from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        line = None if mark is None else mark.line + 1
        raise ConfigError(problem, path=str(path), line=line) from error
    except ValueError as error:  # 2026-02-30, or a number of 5000 digits
        raise ConfigError(f"not a value: {error}", path=str(path)) from error
    except RecursionError as error:
        raise ConfigError("nested too deep, or within itself", path=str(path)) from error
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise ConfigError(f"expected keys and values, got {found}", path=str(path))
    try:
        _refuse_duplicates(node, str(path), set())
    except RecursionError as error:
        raise ConfigError("nested too deep, or within itself", path=str(path)) from error
    return value, node


def check(
    model: type[S],
    value: Any,
    *,
    name: str | None = None,
    node: Any = None,
    at: tuple[int | str, ...] = (),
) -> S:
    """Validate a plain value; the first problem becomes one line.

    `at` is where the value stands below `node`, so that the error can name the line.
    """
    if not isinstance(value, dict):
        raise ConfigError(f"expected keys and values, got {type(value).__name__}", path=name)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            _reason(first), path=name, line=line_of(node, at + first["loc"])
        ) from error


def _reason(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{where}'"
    if problem["type"] == "missing":
        return f"missing key '{where}'"
    text = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def line_of(node: Any, location: tuple[int | str, ...]) -> int | None:
    """Line of the deepest key or item on the way to `location`."""
    if node is None:
        return None
    line: int = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _refuse_duplicates(node: Any, name: str, looked: set[int]) -> None:
    """`looked` are the nodes that were looked at: an alias may name one many times."""
    if id(node) in looked:
        return
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigError(
                    f"key '{key.value}' stands twice", path=name, line=key.start_mark.line + 1
                )
            seen.add(key.value)
            _refuse_duplicates(value, name, looked)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, name, looked)
    looked.add(id(node))


def cache_dir() -> Path:
    """Where tuned choices, compiled engines and imported models lie (`STREAMGEN_CACHE`)."""
    return Path(os.environ.get("STREAMGEN_CACHE") or Path.home() / ".cache" / "streamgen")


def own_database(name: str) -> str:
    """URL of a database of this user on this machine; its folder is made."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    folder = Path(state) / "streamgen"
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / f'{name}.db'}"


def cores() -> int:
    """Processors this process may use (affinity mask, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
