"""The nodes of a pipeline with their parameters, as forms want them: JSON schema and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from streamgen.config import check, written_duration
from streamgen.errors import ConfigError
from streamgen.graph.spec import NodeSpec, stage_class
from streamgen.media.port import Contract
from streamgen.pipeline import parse_pipeline
from streamgen.plugins import models

Turned = Mapping[str, Mapping[str, Any]]
"""Values that were set while a stream ran, by node and parameter."""


def knobs(pipeline: dict[str, Any], turned: Turned) -> list[dict[str, Any]]:
    """Every node in its order. Raises `ConfigError`."""
    nodes, _ = parse_pipeline(pipeline).nodes()
    return [_knobs(name, spec, turned.get(name, {})) for name, spec in nodes.items()]


def refuse_wrong(pipeline: dict[str, Any], turned: Turned, node: str, values: Any) -> None:
    """Raises `ConfigError` for a node or value that the pipeline could not run with."""
    nodes, _ = parse_pipeline(pipeline).nodes()
    if node not in nodes:
        raise ConfigError(f"unknown node '{node}' (there are: {', '.join(nodes) or 'none'})")
    spec = nodes[node]
    given = {**spec.params, **turned.get(node, {}), **values}
    check(stage_class(spec).Params, given, name=node)


def _knobs(name: str, spec: NodeSpec, turned: Mapping[str, Any]) -> dict[str, Any]:
    stage = stage_class(spec)
    params = check(stage.Params, {**spec.params, **turned}, name=name)
    schema = stage.Params.model_json_schema()
    fixed = Contract.of(stage).fixed
    for key, field in schema.get("properties", {}).items():
        field["x-live"] = key not in fixed
        if key == "model":
            field["examples"] = _networks(getattr(stage, "kinds", ()))
    return {
        "node": name,
        "stage": spec.stage,
        "schema": schema,
        "values": _written(params, schema.get("properties", {})),
    }


def _networks(kinds: tuple[str, ...]) -> list[str]:
    """Networks that suit a stage; each style once, in whatever size."""
    found = models()
    return [
        name
        for name, model in found.items()
        if (not kinds or model.kind in (*kinds, "imported"))
        and not (name.endswith("-large") and name.removesuffix("-large") in found)
    ]


def _written(params: BaseModel, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Values as a change may name them: a duration has its unit."""
    values = params.model_dump(mode="json")
    for name, field in fields.items():
        kinds = [field, *field.get("anyOf", ())]
        if isinstance(values.get(name), int) and any(one.get("x-unit") == "ns" for one in kinds):
            values[name] = written_duration(values[name])
    return values
