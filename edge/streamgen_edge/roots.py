"""Which files the API may name: those below `media_roots`, and those that a stream has already.

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
from streamgen.pipeline import parse_pipeline

Turned = Mapping[str, Mapping[str, Any]]


def refuse_outside(
    roots: Sequence[Path], pipeline: dict[str, Any], turned: Turned, known: frozenset[Path]
) -> None:
    """Raises `ConfigError` for a pipeline, with its parameters as they are turned, that names a
    file elsewhere: neither below `roots`, links followed, nor in `known`."""
    within = [root.resolve() for root in roots]
    for path in sorted(paths(pipeline, turned) - known):
        real = path.resolve()
        if not any(real.is_relative_to(root) for root in within):
            raise ConfigError(f"{path} is not below media_roots, and the API may name no others")


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
