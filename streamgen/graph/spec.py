"""`NodeSpec` and `EdgeSpec`: a graph as it is written, one node and one edge at a time."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from streamgen.config import DurationNs, Settings, check
from streamgen.plugins import find, find_stage

SOURCE = "source"
"""Name of the decoded picture in `from`."""
NODE_KEYS = ("from", "every", "isolation", "python", "fallback", "timeout", "limits")
"""What may stand beside a node's stage."""


class EdgeKind(Enum):
    """When a node may start, as far as this input is concerned."""

    SYNC = "sync"
    """With the value of the same PTS."""
    LATEST = "latest"
    """With the last value there is, unless it is older than `max_age`. Offline: with the value
    of the last picture that was due, so that a file gives the same output every time."""
    OPTIONAL = "optional"
    """With the value of the same PTS if it is there `deadline` after the picture came in; else
    without. Offline it is waited for."""


class EdgeSpec(Settings):
    """Where one input of a node comes from: a node's name, or this mapping."""

    node: str
    """Name of a node, or `source`."""
    output: str = ""
    """Which of its outputs; default: the only one, or `picture`."""
    edge: EdgeKind = EdgeKind.SYNC
    max_age: DurationNs | None = None
    """Of `latest`: an older value counts as missing."""
    deadline: DurationNs | None = None
    """Of `optional`: how long after the picture came in this input is waited for."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """`faces` is short for the mapping, and `faces.boxes` names an output."""
        value = {"node": value} if isinstance(value, str) else value
        if isinstance(value, dict) and "." in str(value.get("node", "")):
            node, _, output = value["node"].partition(".")
            return {"output": output, **value, "node": node}
        return value

    @model_validator(mode="after")
    def _limits(self) -> EdgeSpec:
        wanted = {EdgeKind.LATEST: "max_age", EdgeKind.OPTIONAL: "deadline"}.get(self.edge)
        for name in ("max_age", "deadline"):
            given = getattr(self, name) is not None
            if given and name != wanted:
                raise ValueError(f"an edge that is {self.edge.value} has no {name}")
            if not given and name == wanted:
                raise ValueError(f"an edge that is {self.edge.value} needs {name}")
        return self

    @property
    def limit_ns(self) -> int:
        """`max_age` or `deadline`; 0 for `sync`."""
        return self.max_age or self.deadline or 0


class Limits(Settings):
    """What an isolated stage's process may use."""

    memory_mb: int = Field(default=1024, ge=64)
    """Resident memory; a process above it is ended and started anew."""
    cpus: int | None = Field(default=None, ge=1)
    """Processor cores it may run on; default all."""
    spare: bool = True
    """In a live run, keep a second process ready that takes over at once; it takes as much memory
    as the first."""


class NodeSpec(Settings):
    """One node: a stage by its entry-point name, where its inputs come from, how it is run.

    Written as `{style: {model: starry}, from: source, isolation: process}`: one stage with its
    parameters, and node keys beside it.
    """

    stage: str
    """Entry-point name."""
    params: dict[str, Any] = Field(default_factory=dict)
    """The stage's parameters, as written."""
    inputs: dict[str, EdgeSpec] = Field(default_factory=dict, alias="from")
    """By name of the input. `from: painted` is short for the stage's only or main input."""
    every: DurationNs | None = Field(default=None, gt=0)
    """Run at this distance of PTS only; its readers say `edge: latest`."""
    isolation: Literal["inline", "process"] = "inline"
    """`process`: in an interpreter of its own; a crash loses no frame."""
    python: str | None = None
    """Interpreter of another virtual environment, for `isolation: process`."""
    fallback: Literal["passthrough", "last_good", "drop"] = "passthrough"
    """What takes the place of a result that failed: the input as it is, the last result, or
    nothing (the frame is dropped, and counted)."""
    timeout: DurationNs | None = None
    """Longest time for one call of an isolated stage; default 250ms live, 10s offline."""
    limits: Limits = Limits()

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        return written_node(value)

    @field_validator("inputs", mode="before")
    @classmethod
    def _inputs(cls, value: Any) -> Any:
        if isinstance(value, str | EdgeSpec) or (isinstance(value, dict) and "node" in value):
            value = {"": value}  # the main input, whose name only the stage knows
        if not isinstance(value, dict):
            raise ValueError("expected a node's name, or names of inputs with their nodes")
        return value

    @model_validator(mode="after")
    def _isolated(self) -> NodeSpec:
        if self.isolation == "inline":
            for name in ("python", "timeout", "limits"):
                if name in self.model_fields_set:
                    raise ValueError(f"{name} is for a node with 'isolation: process'")
        return self

    def settings(self) -> Any:
        """The stage's own parameter model. Raises `ConfigError` for an unknown key or value."""
        return check(stage_class(self).Params, self.params, name=f"stage {self.stage}")


def written_node(value: Any) -> Any:
    """The fields of a node as it is written: its stage's name, or a mapping with one stage."""
    if isinstance(value, str):
        return {"stage": value}
    if not isinstance(value, dict) or "stage" in value:
        return value
    names = [name for name in value if name not in NODE_KEYS]
    if len(names) != 1:
        found = "none" if not names else " and ".join(f"'{name}'" for name in names)
        raise ValueError(
            f"a stage is one name with its parameters, got {found} "
            f"(beside it may stand {', '.join(NODE_KEYS)})"
        )
    params = value[names[0]]
    if not isinstance(params, dict | None):
        raise ValueError(f"'{names[0]}' takes parameters by name, got {params!r}")
    rest = {name: given for name, given in value.items() if name in NODE_KEYS}
    return {"stage": str(names[0]), "params": params or {}, **rest}


def stage_class(spec: NodeSpec) -> Any:
    """What builds the stage of a node, and declares what it takes and gives.

    Raises `ConfigError` for a stage that is unknown or cannot be loaded.
    """
    if spec.isolation == "process":
        return find("isolation", spec.isolation)(spec)
    return find_stage(spec.stage)


class Answer(Settings):
    """One answer to lateness: `reuse`, `skip`, `passthrough`, `slate`, `drop_rung`.

    `skip` lets every skippable stage step aside; `{skip: [enhance]}` names the nodes.
    """

    kind: Literal["reuse", "skip", "passthrough", "slate", "drop_rung"]
    """What is done."""
    nodes: tuple[str, ...] = ()
    """Of `skip`: the nodes that step aside; empty: every stage that is skippable."""

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"kind": value}
        if isinstance(value, dict) and len(value) == 1 and "kind" not in value:
            kind, nodes = next(iter(value.items()))
            if kind != "skip":
                raise ValueError(f"only skip names nodes, got {value!r}")
            return {"kind": kind, "nodes": [nodes] if isinstance(nodes, str) else nodes}
        return value

    def __str__(self) -> str:
        return f"{self.kind} {', '.join(self.nodes)}".strip()
