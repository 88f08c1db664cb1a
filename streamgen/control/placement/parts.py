"""Parts: what pipelines are made of, by name, and what nodes have: stages, models and codecs. Each
is a text, as coordinators and people are told of it: `stage 'style'`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from streamgen.encode.rungs import FORMATS
from streamgen.errors import ConfigError
from streamgen.pipeline import Pipeline

Parts = frozenset[str]
MOST_PARTS = 512
"""Of one node, or of one pipeline."""
LONGEST_PART = 100


def parts(kind: Literal["stage", "model", "codec"], names: Iterable[str]) -> Parts:
    """Of these names. One that is too long to be said, or cannot be shown, is left out: of what is
    needed as of what is there, so that nothing is refused for its sake."""
    found = (f"{kind} '{name}'" for name in names)
    return frozenset(one for one in found if _is_part(one))


def needed(pipeline: Pipeline) -> Parts:
    """By this pipeline, of the worker that runs it. A stage of another interpreter is that one's
    matter. Codecs are by libavcodec's name: `codec 'h264'`."""
    specs = pipeline.nodes()[0].values()
    models = (one.params.get("model") for one in specs)
    found = (
        parts("stage", (one.stage for one in specs if one.python is None))
        | parts("model", (one for one in models if isinstance(one, str)))
        | parts("codec", (FORMATS[rung.codec] for rung in pipeline.ladder))
    )
    return frozenset(sorted(found)[:MOST_PARTS])


def check_parts(found: Parts | None) -> None:
    """As they come over the network. Raises `ConfigError`."""
    if found is not None and not (len(found) <= MOST_PARTS and all(map(_is_part, found))):
        raise ConfigError("too many parts, or too long a name of one")


def _is_part(text: str) -> bool:
    return len(text) <= LONGEST_PART and text.isprintable()
