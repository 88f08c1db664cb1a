"""Benchmarks that judge: nothing passes that was not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CLUSTER = Path(__file__).resolve().parents[1] / "benchmarks" / "cluster.py"


def test_a_row_that_could_not_be_looked_at_is_not_met() -> None:
    line = [sys.executable, str(CLUSTER), "batch", "--json"]
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert json.loads(told.stdout) == {"row": "batch", "skipped": "needs --clip", "met": False}
