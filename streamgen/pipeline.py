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

    An override is `stage.param=value` or `key.key=value` for what is not a stage
    (`encoder.preset=fast`). Raises `ConfigError`; stages, models and keys are all checked here.
    """
    path = _find(name_or_path)
    value, node = read_yaml(path)
    value.setdefault("name", path.stem)
    for override in overrides:
        _override(value, override)
    pipeline = check(Pipeline, value, name=str(path), node=node)
    _check_stages(pipeline, str(path), node)
    return pipeline


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


def _override(value: dict[str, Any], override: str) -> None:
    target, equals, text = override.partition("=")
    keys = target.split(".")
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigError(f"--set takes stage.param=value, got '{override}'")
    try:
        new = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {target}: not a value: '{text}'") from error
    stages = value.get("stages") or []
    hits = [i for i, entry in enumerate(stages) if entry == keys[0] or _names(entry, keys[0])]
    if hits:
        for index in hits:
            entry = stages[index]
            params = {} if isinstance(entry, str) else dict(entry[keys[0]] or {})
            _put(params, keys[1:], new)
            stages[index] = {keys[0]: params}
    elif keys[0] in Pipeline.model_fields and keys[0] != "stages":
        _put(value, keys, new)
    else:
        names = [entry if isinstance(entry, str) else next(iter(entry)) for entry in stages]
        raise ConfigError(
            f"--set {target}: no stage '{keys[0]}' in this pipeline "
            f"(there are: {', '.join(names) or 'none'})"
        )


def _names(entry: Any, name: str) -> bool:
    return isinstance(entry, dict) and list(entry) == [name]


def _put(into: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        below = into.get(key)
        into[key] = dict(below) if isinstance(below, dict) else {}
        into = into[key]
    into[keys[-1]] = value


def _check_stages(pipeline: Pipeline, name: str, node: Any) -> None:
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
