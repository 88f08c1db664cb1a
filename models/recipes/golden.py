"""Write tests/models/golden.json: mean and deviation of every output on the tests' picture.

    PYTHONPATH=models:tests/models python models/recipes/golden.py tests/models/golden.json

Run after replacing weights, and look at the pictures before committing the new figures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from probes import CASES, RUNTIMES, file_of, picture, with_strength


def main(path: Path) -> None:
    found: dict[str, list[tuple[float, float]]] = {}
    for name, precision in CASES:
        run = RUNTIMES["onnxruntime"](file_of(name, precision).read_bytes())
        outputs = run(with_strength(picture(120, 160), name, 1.0))
        found[f"{name}.{precision}"] = [
            (round(float(o.mean()), 2), round(float(o.std()), 2)) for o in outputs
        ]
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
