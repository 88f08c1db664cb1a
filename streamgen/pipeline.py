"""What a user writes: a pipeline file, checked when built. The same file runs live and offline."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from streamgen.config import DurationNs, Settings, check, line_of, parse_duration, read_yaml
from streamgen.encode.audio import AudioSettings
from streamgen.encode.ladder import Encoding, Rung, ladder_problem
from streamgen.errors import ConfigError
from streamgen.plugins import find_model, find_stage, pipeline_files


class Live(Settings):
    """What a live stream does when time is short; an offline run ignores it."""

    latency_budget: DurationNs = 150_000_000
    """Longest time from packet in to packet out, such as `150ms`."""
    when_late: tuple[Literal["reuse", "skip", "passthrough"], ...] = (
        "reuse",
        "skip",
        "passthrough",
    )
    """Answers to lateness, the mildest first."""


class StageSpec(Settings):
    """One stage by its entry-point name, with its parameters as written."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)

    def settings(self) -> Any:
        """The stage's own parameter model. Raises `ConfigError` for an unknown key or value."""
        return check(find_stage(self.name).Params, self.params, name=f"stage {self.name}")


class Pipeline(Settings):
    """Stages on the picture, then a ladder of encodes, with the sound beside them."""

    name: str
    """Short name for people and reports."""
    description: str = ""
    """One line for listings."""
    stages: tuple[StageSpec, ...] = ()
    """In order: `- style: {model: starry}`. Empty: the pictures are only transcoded."""
    ladder: tuple[Rung, ...] = (Rung(height="source", bitrate=4_000_000),)
    """Top first. A rung above the source is left out."""
    keyframe_interval: DurationNs | None = None
    """Distance of key frames, the same on all rungs. Default 2s offline, 1s live."""
    audio: AudioSettings = AudioSettings()
    encoder: Encoding = Encoding()
    fps_cap: int | None = Field(default=None, ge=1, le=240)
    """Frame rates above this are halved evenly (50 and 60 Hz become 25 and 30)."""
    live: Live = Live()

    @field_validator("stages", mode="before")
    @classmethod
    def _stages(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError("expected a list of stages, such as '- style: {model: starry}'")
        return tuple(_stage(entry) for entry in value)

    @field_validator("ladder")
    @classmethod
    def _ladder(cls, value: tuple[Rung, ...]) -> tuple[Rung, ...]:
        problem = ladder_problem(value)
        if problem is not None:
            raise ValueError(problem)
        return value

    def keyframe_interval_ns(self, *, live: bool) -> int:
        """The interval in force in this mode."""
        return self.keyframe_interval or int(parse_duration("1s" if live else "2s"))

    def digest(self) -> str:
        """Changes whenever anything that decides the output changes."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def _stage(entry: Any) -> Any:
    if isinstance(entry, StageSpec):
        return entry
    if isinstance(entry, str):
        return StageSpec(name=entry)
    if isinstance(entry, dict) and len(entry) == 1:
        name, params = next(iter(entry.items()))
        if isinstance(params, dict | None):
            return StageSpec(name=str(name), params=params or {})
    raise ValueError(f"a stage is one name with its parameters, got {entry!r}")


def load_pipeline(name_or_path: str, overrides: Sequence[str] = ()) -> Pipeline:
    """A built-in pipeline by name, or a YAML file by path, with `--set` overrides applied.

    An override is `stage.param=value`, or `key=value` and `key.key=value` for what is not a stage
    (`fps_cap=30`, `encoder.preset=fast`, `ladder.0.bitrate=1M`). Raises `ConfigError`, which names
    the line or the override; stages, models and keys are all checked here.
    """
    path = _find(name_or_path)
    value, node = read_yaml(path)
    value.setdefault("name", path.stem)
    changed = [value]
    for override in overrides:
        changed.append(_override(changed[-1], override))
    try:
        return _checked(changed[-1], str(path), node)
    except ConfigError:
        _blame(changed, overrides)
        raise


def _checked(value: dict[str, Any], name: str | None = None, node: Any = None) -> Pipeline:
    pipeline = check(Pipeline, value, name=name, node=node)
    _check_stages(pipeline, name, node)
    return pipeline


def _blame(changed: Sequence[dict[str, Any]], overrides: Sequence[str]) -> None:
    """Raise in the name of the override that brought the problem; return if it is the file's.

    `changed` holds the file's value, then what it was after each override.
    """
    problems = [_problem(value) for value in changed]
    first = problems.index(problems[-1])
    if first:
        key = overrides[first - 1].partition("=")[0]
        said = problems[-1].removeprefix(f"{key}: ").removeprefix(f"{key.rpartition('.')[2]}: ")
        raise ConfigError(f"--set {key}: {said}")


def _problem(value: dict[str, Any]) -> str:
    try:
        _checked(value)
    except ConfigError as error:
        return str(error)
    return ""


def _find(name_or_path: str) -> Path:
    known = pipeline_files()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        return path
    raise ConfigError(
        f"unknown pipeline '{name_or_path}' (there are: {', '.join(sorted(known))}; "
        "or give the path of a YAML file)"
    )


def _override(value: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of a pipeline's value with one thing changed."""
    target, equals, text = override.partition("=")
    first, *rest = keys = target.split(".")
    stages = list(value["stages"]) if isinstance(value.get("stages"), list) else []
    hits = [i for i, entry in enumerate(stages) if entry == first or _names(entry, first)]
    ours = first in Pipeline.model_fields and first != "stages"
    if not equals or not all(keys) or (not rest and (hits or not ours)):
        raise ConfigError(f"--set takes stage.param=value or key=value, got '{override}'")
    try:
        new = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {target}: not a value: '{text}'") from error
    if hits:
        for index in hits:
            entry = stages[index]
            params = {} if isinstance(entry, str) else entry[first]
            stages[index] = {first: _with(params, rest, new, target)}
        return {**value, "stages": stages}
    if not ours:
        names = [next(iter(e), "") if isinstance(e, dict) else str(e) for e in stages]
        raise ConfigError(
            f"--set {target}: no stage '{first}' in this pipeline "
            f"(there are: {', '.join(names) or 'none'})"
        )
    if first == "ladder" and rest:
        value = {"ladder": _default_ladder(), **value}
    return dict(_with(value, keys, new, target))


def _default_ladder() -> list[dict[str, Any]]:
    """As it would be written."""
    return [rung.model_dump(exclude_unset=True) for rung in Pipeline.model_fields["ladder"].default]


def _names(entry: Any, name: str) -> bool:
    return isinstance(entry, dict) and list(entry) == [name]


def _with(old: Any, keys: Sequence[str], value: Any, target: str) -> Any:
    """A copy of keys and values, or of a list, in which what `keys` lead to is `value`."""
    if not keys:
        return value
    key, *rest = keys
    if not isinstance(old, list):
        below = dict(old) if isinstance(old, dict) else {}
        return {**below, key: _with(below.get(key), rest, value, target)}
    if not key.isdecimal() or int(key) >= len(old):
        raise ConfigError(
            f"--set {target}: '{key}' is no place in a list of {len(old)}, counted from 0"
        )
    place = int(key)
    return [*old[:place], _with(old[place], rest, value, target), *old[place + 1 :]]


def _check_stages(pipeline: Pipeline, name: str | None, node: Any) -> None:
    for index, stage in enumerate(pipeline.stages):
        try:
            params = check(
                find_stage(stage.name).Params,
                stage.params,
                name=name,
                node=node,
                at=("stages", index, stage.name),
            )
            model = getattr(params, "model", None)
            if isinstance(model, str):
                find_model(model)
        except ConfigError as error:
            if error.path is not None:
                raise
            line = line_of(node, ("stages", index, stage.name))
            raise ConfigError(str(error), path=name, line=line) from error
