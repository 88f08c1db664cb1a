"""Which stages can be loaded here, as JSON: those of plugins may do anything meanwhile."""

from __future__ import annotations

import json

from streamgen.control.outfit import loading
from streamgen.plugins import stage_names


def main() -> None:
    print(json.dumps(loading(stage_names())))


if __name__ == "__main__":
    main()
