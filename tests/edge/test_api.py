"""What the API is given names nothing to run."""

from __future__ import annotations

from typing import Any

import pytest

from streamgen.errors import ConfigError
from streamgen_edge.roots import usable_pipeline

NODE = {"resize": {"height": 90}, "isolation": "process", "python": "/bin/true"}


@pytest.mark.parametrize(
    "value",
    [
        {"stages": [NODE]},
        {"graph": {"a": {**NODE, "from": "source"}}},
        {"stages": [{"stage": "resize", "python": "/bin/true"}]},
    ],
)
def test_no_pipeline_of_the_api_names_an_interpreter(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="may name an interpreter"):
        usable_pipeline(value, "cam")
