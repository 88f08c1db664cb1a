"""`stage_class`: what an isolated stage declares, as a class, without importing the stage here.

It may exist in another virtual environment only. Its parameters are a model made from its JSON
schema, whose values the other side validates.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    create_model,
    model_validator,
)
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from streamgen.graph.isolation.isolated import IsolatedStage
from streamgen.graph.isolation.zygote import Zygote, zygote
from streamgen.graph.spec import NodeSpec
from streamgen.media.port import Contract, Port

_TYPES: Mapping[str, Any] = {"number": float, "integer": int, "boolean": bool, "string": str}


class RemoteParams(BaseModel):
    """Parameters of a stage that lives elsewhere, which also validates them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    zygote: ClassVar[Zygote]
    schema_there: ClassVar[Mapping[str, Any]]

    @model_validator(mode="wrap")
    @classmethod
    def _ask(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise ValueError("expected keys and values")
        answer = cls.zygote.check(value)
        if "errors" in answer:
            first = answer["errors"][0]
            where = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise ValueError(f"unknown key '{where}'")
            raise ValueError(f"{where}: {first['msg']}" if where else first["msg"])
        return handler(answer["values"])

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return dict(cls.schema_there)


def _inlined(schema: Any, named: Mapping[str, Any], depth: int = 0) -> Any:
    """The schema with every reference replaced by what it names."""
    if isinstance(schema, list):
        return [_inlined(one, named, depth) for one in schema]
    if not isinstance(schema, dict):
        return schema
    whole: dict[str, Any] = {}
    if "$ref" in schema and depth < 8:  # deeper ones contain themselves: anything goes there
        whole = _inlined(named.get(str(schema["$ref"]).rpartition("/")[2], {}), named, depth + 1)
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return whole | {key: _inlined(value, named, depth) for key, value in rest.items()}


def _field(schema: Mapping[str, Any]) -> tuple[Any, Any]:
    """Type and default of one parameter; what is not plain is taken as it is."""
    kind: Any = _TYPES.get(schema.get("type", ""), Any)
    if "enum" in schema:
        kind = Literal[tuple(schema["enum"])]
    default = schema.get("default", ...)
    least, most = schema.get("minimum"), schema.get("maximum")
    if kind not in (int, float):
        least = most = None
    return kind, Field(default, description=schema.get("description"), ge=least, le=most)


@cache
def _params(door: Zygote) -> type[RemoteParams]:
    said = door.greeting()["schema"]
    schema = _inlined({key: said[key] for key in said if key != "$defs"}, said.get("$defs", {}))
    fields: dict[str, Any] = {
        name: _field(one) for name, one in schema.get("properties", {}).items()
    }
    made: type[RemoteParams] = create_model(
        schema.get("title", "Params"),
        __base__=RemoteParams,
        __doc__=schema.get("description"),
        **fields,
    )
    made.zygote = door
    made.schema_there = schema
    return made


@cache
def _contract(door: Zygote) -> Contract:
    said = door.greeting()
    return Contract(
        inputs=_ports(said["inputs"]),
        outputs=_ports(said["outputs"]),
        state=said["state"],
        latency=said["latency"],
        fixed=frozenset(said["fixed"]),
        skippable=said["skippable"],
        api=said["api"],
    )


def _ports(said: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Port]:
    return {
        name: Port(
            kind=port["kind"],
            dtype=port["dtype"],
            range=None if port["range"] is None else tuple(port["range"]),
            shape=tuple(port["shape"]),
            planar=port["planar"],
            optional=port["optional"],
        )
        for name, port in said.items()
    }


def stage_class(spec: NodeSpec) -> Any:
    """The class of a node with `isolation: process`: declarations, `Params`, and built as
    `Class(params, context)` like any other. Starts the stage's process the first time.

    Raises `ConfigError`: no such stage or interpreter there, it cannot be loaded, or this
    platform has no shared memory files.
    """
    door = zygote(spec.stage, spec.python)
    contract = _contract(door)
    return type(
        f"Isolated {spec.stage}",
        (IsolatedStage,),
        {
            "spec": spec,
            "contract": contract,
            "zygote": door,
            "methods": frozenset(door.greeting()["methods"]),
            "Params": _params(door),
            **{name: getattr(contract, name) for name in Contract.__dataclass_fields__},
        },
    )
