"""The process in which a stage is tried: `python -m streamgen.testing.check STAGE --report FD`.

Whatever the stage prints goes to this process's own output; what is found goes to the descriptor
as lines of JSON. Started and watched by `streamgen.testing.watch`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from typing import Any

from streamgen.testing.trial import Trial, tried


def main() -> None:
    parser = argparse.ArgumentParser(description="Try a stage in this process.")
    parser.add_argument("stage")
    parser.add_argument("--report", type=int, required=True, help="descriptor for what is found")
    parser.add_argument("--params", type=json.loads, default={}, help="parameters as JSON")
    parser.add_argument("--only-load", action="store_true", help="only read its declarations")
    chosen = parser.parse_args()

    def tell(event: Mapping[str, Any]) -> None:
        os.write(chosen.report, json.dumps(event, default=str).encode() + b"\n")

    tried(Trial(chosen.stage, chosen.params), tell, only_load=chosen.only_load)


if __name__ == "__main__":
    main()
