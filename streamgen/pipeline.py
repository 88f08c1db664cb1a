"""What a user writes: a pipeline file, checked when built. The same file runs live and offline."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from streamgen.config import DurationNs, Settings, check, line_of, parse_duration, read_yaml
from streamgen.encode.audio import AudioSettings
from streamgen.encode.ladder import Encoding, Rung, ladder_problem
from streamgen.errors import ConfigError
from streamgen.graph.plan import Plan, plan
from streamgen.graph.spec import NODE_KEYS, SOURCE, Answer, EdgeSpec, NodeSpec, stage_class
from streamgen.media.port import Contract
from streamgen.plugins import find_model, pipeline_files

_NODE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Live(Settings):
    """What a live stream does when time is short; an offline run ignores it."""

    latency_budget: DurationNs = Field(default=150_000_000, gt=0)
    """Longest time from packet in to packet out, such as `150ms`. Where the source has B-frames, a
    picture's time begins with the packet that lets it be shown."""
    when_late: tuple[Answer, ...] = (
        Answer(kind="reuse"),
        Answer(kind="skip"),
        Answer(kind="passthrough"),
    )
    """Answers to lateness, the mildest first: `reuse`, `skip` (or `{skip: [enhance]}`),
    `passthrough` or `slate`, `drop_rung`. What is still late is dropped."""
    slate: str | None = None
    """Picture shown by `slate`, as a path; default a dark picture. For streams whose raw pictures
    must never show."""
    gap: Literal["picture", "slate"] | None = None
    """What viewers see while nothing comes of the publisher: its last `picture`, painted like any,
    or the `slate`. Default: the slate if there is a path to one, else the picture."""

    @field_validator("when_late")
    @classmethod
    def _answers(cls, value: tuple[Answer, ...]) -> tuple[Answer, ...]:
        kinds = {answer.kind for answer in value}
        if {"slate", "passthrough"} <= kinds:
            raise ValueError("passthrough shows raw pictures and slate hides them: take one")
        return value

    @model_validator(mode="after")
    def _slate(self) -> Live:
        late = any(answer.kind == "slate" for answer in self.when_late)
        if self.slate is not None and not late and self.gap == "picture":
            raise ValueError("there is a slate, but neither when_late nor gap ever shows it")
        return self

    @property
    def slate_in_gaps(self) -> bool:
        return self.gap == "slate" or (self.gap is None and self.slate is not None)


class StageSpec(NodeSpec):
    """One stage of a list: it takes the picture of the one before."""

    @model_validator(mode="after")
    def _in_a_list(self) -> StageSpec:
        for key, name in (("from", "inputs"), ("every", "every")):
            if name in self.model_fields_set:
                raise ValueError(f"{key} is for a graph; in a list, each stage takes the last one")
        return self


class Pipeline(Settings):
    """Stages on the picture, then a ladder of encodes, with the sound beside them.

    The stages are a list, or a graph of nodes with the name of the last one.
    """

    name: str
    """Short name for people and reports."""
    description: str = ""
    """One line for listings."""
    stages: tuple[StageSpec, ...] = ()
    """In order: `- style: {model: starry}`. Empty: the pictures are only transcoded."""
    graph: dict[str, NodeSpec] = Field(default_factory=dict)
    """Nodes by name, each a stage and where its inputs come from:
    `painted: {style: {model: starry}, from: source}`."""
    output: str = ""
    """The node whose picture is encoded; default: the one that no other reads."""
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
        return value

    @field_validator("graph")
    @classmethod
    def _graph(cls, value: dict[str, NodeSpec]) -> dict[str, NodeSpec]:
        for name in value:
            if name == SOURCE or name in cls.model_fields or not _NODE_NAME.fullmatch(name):
                raise ValueError(
                    f"'{name}' is no name for a node: letters, digits, - and _, "
                    f"and neither {SOURCE} nor a key of the pipeline"
                )
        return value

    @field_validator("ladder")
    @classmethod
    def _ladder(cls, value: tuple[Rung, ...]) -> tuple[Rung, ...]:
        problem = ladder_problem(value)
        if problem is not None:
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _one_form(self) -> Pipeline:
        if self.stages and self.graph:
            raise ValueError("a pipeline has stages or a graph, not both")
        if self.output and not self.graph:
            raise ValueError("output names a node of a graph, and there is none")
        nodes, _ = self.nodes()
        for answer in self.live.when_late:
            for name in answer.nodes:
                if name not in nodes:
                    known = ", ".join(nodes) or "none"
                    raise ValueError(f"live.when_late: unknown node '{name}' (there are: {known})")
        return self

    def nodes(self) -> tuple[Mapping[str, NodeSpec], str]:
        """The graph, and the node whose picture leaves it (`source` where there are no stages).

        A list is the simplest graph: its nodes are called as their stages, `style`, `style-2`.
        Raises `ValueError` where a graph leaves its output open.
        """
        if self.graph:
            return self.graph, self.output or _unread(self.graph)
        listed: dict[str, NodeSpec] = {}
        last = SOURCE
        for spec in self.stages:
            name = _free_name(spec.stage, listed)
            listed[name] = spec.model_copy(update={"inputs": {"": EdgeSpec(node=last)}})
            last = name
        return listed, last

    def plan(self) -> Plan:
        """The graph, ordered and checked, with its conversions. Raises `ConfigError`."""
        nodes, output = self.nodes()
        contracts = {}
        for name, spec in nodes.items():
            try:
                contracts[name] = Contract.of(stage_class(spec))
            except ConfigError as error:
                raise ConfigError(f"node '{name}': {error}", at=(name,)) from error
        return plan(nodes, output, contracts)

    def keyframe_interval_ns(self, *, live: bool) -> int:
        """The interval in force in this mode."""
        return self.keyframe_interval or int(parse_duration("1s" if live else "2s"))

    def digest(self) -> str:
        """Changes whenever anything that decides the output changes."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def _unread(graph: Mapping[str, NodeSpec]) -> str:
    """The one node that no other reads."""
    read = {edge.node for spec in graph.values() for edge in spec.inputs.values()}
    last = [name for name in graph if name not in read]
    if len(last) != 1:
        found = "every node is read" if not last else f"{', '.join(last)} are read by none"
        raise ValueError(f"name the node whose picture leaves the graph as 'output': {found}")
    return last[0]


def _free_name(stage: str, taken: Mapping[str, NodeSpec]) -> str:
    name, number = stage, 1
    while name in taken:
        number += 1
        name = f"{stage}-{number}"
    return name


def load_pipeline(name_or_path: str, overrides: Sequence[str] = ()) -> Pipeline:
    """A built-in pipeline by name, or a YAML file by path, with `--set` overrides applied.

    An override is `stage.param=value` (in a graph `node.param=value`), or `key=value` and
    `key.key=value` for what is not a stage (`fps_cap=30`, `encoder.preset=fast`,
    `ladder.0.bitrate=1M`). Raises `ConfigError`, which names the line or the override; stages,
    models, keys and edges are all checked here.
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


def parse_pipeline(value: dict[str, Any]) -> Pipeline:
    """A pipeline given as plain values, such as JSON from the network. Raises `ConfigError`."""
    return _checked(value)


def pipeline_value(name_or_path: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plain values of a pipeline as `load_pipeline` finds it. Raises `ConfigError`."""
    path = _find(name_or_path)
    value, _ = read_yaml(path)
    value.setdefault("name", path.stem)
    for override in overrides:
        value = _override(value, override)
    return value


def _checked(value: dict[str, Any], name: str | None = None, node: Any = None) -> Pipeline:
    pipeline = check(Pipeline, value, name=name, node=node)
    _check_nodes(pipeline, name, node)
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
    places = _places(value, first)
    ours = first in Pipeline.model_fields and first not in {"stages", "graph"}
    if not equals or not all(keys) or (not rest and (places or not ours)):
        raise ConfigError(f"--set takes stage.param=value or key=value, got '{override}'")
    try:
        new = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {target}: not a value: '{text}'") from error
    for place in places:
        value = _with(value, [*place, *rest], new, target)
    if places:
        return value
    if not ours:
        names = ", ".join(_node_names(value)) or "none"
        raise ConfigError(
            f"--set {target}: no stage '{first}' in this pipeline (there are: {names})"
        )
    if first == "ladder" and rest:
        value = {"ladder": _default_ladder(), **value}
    return dict(_with(value, keys, new, target))


def _places(value: dict[str, Any], name: str) -> list[tuple[str, ...]]:
    """Keys that lead to the parameters of a node, or of every stage of a list with this name."""
    graph = value.get("graph")
    if isinstance(graph, dict):
        stage = _stage_name(graph.get(name))
        return [("graph", name, stage)] if stage else []
    stages = value.get("stages")
    found = [_stage_name(entry) for entry in stages] if isinstance(stages, list) else []
    return [("stages", str(at), name) for at, stage in enumerate(found) if stage == name]


def _node_names(value: dict[str, Any]) -> list[str]:
    graph, stages = value.get("graph"), value.get("stages")
    if isinstance(graph, dict):
        return [str(name) for name in graph]
    return [_stage_name(entry) for entry in stages] if isinstance(stages, list) else []


def _stage_name(entry: Any) -> str:
    """The stage of a node as it is written; empty where that cannot be told."""
    if isinstance(entry, str):
        return entry
    names = (
        [str(name) for name in entry if name not in NODE_KEYS] if isinstance(entry, dict) else []
    )
    return names[0] if len(names) == 1 else ""


def _default_ladder() -> list[dict[str, Any]]:
    """As it would be written."""
    return [rung.model_dump(exclude_unset=True) for rung in Pipeline.model_fields["ladder"].default]


def _with(old: Any, keys: Sequence[str], value: Any, target: str) -> Any:
    """A copy of keys and values, or of a list, in which what `keys` lead to is `value`."""
    if not keys:
        return value
    key, *rest = keys
    if isinstance(old, str):
        old = {old: {}}  # a stage without parameters may be written as its name
    if not isinstance(old, list):
        below = dict(old) if isinstance(old, dict) else {}
        return {**below, key: _with(below.get(key), rest, value, target)}
    if not key.isdecimal() or int(key) >= len(old):
        raise ConfigError(
            f"--set {target}: '{key}' is no place in a list of {len(old)}, counted from 0"
        )
    place = int(key)
    return [*old[:place], _with(old[place], rest, value, target), *old[place + 1 :]]


def _check_nodes(pipeline: Pipeline, name: str | None, node: Any) -> None:
    """Parameters and models of every stage, then the graph as a whole."""
    nodes, _ = pipeline.nodes()
    at: dict[str, tuple[int | str, ...]] = {key: ("graph", key) for key in nodes}
    if pipeline.stages:
        at = {key: ("stages", place) for place, key in enumerate(nodes)}
    for key, spec in nodes.items():
        try:
            stage = stage_class(spec)
            params = check(
                stage.Params, spec.params, name=name, node=node, at=(*at[key], spec.stage)
            )
            model = getattr(params, "model", None)
            if isinstance(model, str):
                find_model(model)
        except ConfigError as error:
            if error.path is not None:
                raise
            line = line_of(node, (*at[key], spec.stage))
            raise ConfigError(str(error), path=name, line=line) from error
    try:
        pipeline.plan()
    except ConfigError as error:
        where, *rest = error.at or ("",)
        line = line_of(node, (*at.get(str(where), ("output",)), *rest))
        raise ConfigError(str(error), path=name, line=line) from error
