"""What the API may name: files below `media_roots` and those that a stream has already, and no
interpreters.

The operator's own files may name any path. Who may administer over the network is not the operator
of this machine, though, and the name of a file is enough to read it, or to wait for it for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from streamgen.config import check
from streamgen.errors import ConfigError
from streamgen.graph.spec import stage_class
from streamgen.pipeline import parse_pipeline, pipeline_value
from streamgen.plugins import pipeline_files

Turned = Mapping[str, Mapping[str, Any]]


def refuse_outside(
    roots: Sequence[Path], pipeline: dict[str, Any], turned: Turned, known: frozenset[Path]
) -> None:
    """Raises `ConfigError` for a pipeline, with its parameters as they are turned, that names a
    file elsewhere: neither below `roots`, links followed, nor in `known`."""
    for path in sorted(paths(pipeline, turned) - known):
        within(roots, path)


def within(roots: Sequence[Path], path: Path) -> Path:
    """The place that `path` means, links followed. Raises `ConfigError` where that is not below
    one of `roots`, or is one."""
    real = path.resolve()
    if not any(root.resolve() in real.parents for root in roots):
        raise ConfigError(f"{path} is not below media_roots, and the API may name no others")
    return real


def usable_pipeline(value: str | dict[str, Any], name: str) -> dict[str, Any]:
    """The plain values of a pipeline of the API, called `name` where it does not say.

    Raises `ConfigError` for one that cannot be used. Its files are for `refuse_outside`.
    """
    if isinstance(value, str):
        if value not in pipeline_files():
            raise ConfigError(f"no pipeline '{value}'")
        value = pipeline_value(value)
    elif _names_interpreter(value):
        raise ConfigError("python: only files of this machine may name an interpreter")
    value.setdefault("name", name)
    parse_pipeline(value)
    return value


def _names_interpreter(value: dict[str, Any]) -> bool:
    """It would be started when the pipeline is looked at: anything on this machine could be."""
    stages, graph = value.get("stages"), value.get("graph")
    nodes = [*(stages if isinstance(stages, list) else ())]
    nodes += graph.values() if isinstance(graph, dict) else ()
    return any(isinstance(node, dict) and "python" in node for node in nodes)


def paths(pipeline: dict[str, Any], turned: Turned) -> frozenset[Path]:
    """Every file that a pipeline names. Raises `ConfigError` for one that cannot be run."""
    parsed = parse_pipeline(pipeline)
    found = [] if parsed.live.slate is None else [Path(parsed.live.slate)]
    nodes, _ = parsed.nodes()
    for name, spec in nodes.items():
        given = {**spec.params, **turned.get(name, {})}
        found += _named(check(stage_class(spec).Params, given, name=name))
    return frozenset(found)


def _named(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _named(getattr(value, name))
    elif isinstance(value, Mapping):
        yield from _named(list(value.values()))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for one in value:
            yield from _named(one)
