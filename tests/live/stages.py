"""A stage that is as slow as it is told to be, while the stream runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from streamgen.config import Settings
from streamgen.protocols import StageContext, Value


class SlowParams(Settings):
    ms: float = Field(default=0.0, ge=0.0, le=1000.0)
    """Time for each picture."""


class Slow:
    """Gives its picture back, later."""

    Params: ClassVar[type[Settings]] = SlowParams

    def __init__(self, params: Any, context: StageContext) -> None: ...

    def output_size(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def process(self, inputs: Mapping[str, Any], params: Any) -> Mapping[str, Value]:
        time.sleep(params.ms / 1000)
        return dict(inputs)

    def reset(self) -> None: ...

    def close(self) -> None: ...
