"""Benchmarks that judge: nothing passes that was not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.control.store.private_postgres import missing

CLUSTER = Path(__file__).resolve().parents[1] / "benchmarks" / "cluster.py"


def test_a_row_that_could_not_be_looked_at_is_not_met() -> None:
    line = [sys.executable, str(CLUSTER), "batch", "--json"]
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert json.loads(told.stdout) == {"row": "batch", "skipped": "needs --clip", "met": False}


def test_commits_are_looked_at_in_both_databases_or_one_is_said_to_be_missing() -> None:
    line = [sys.executable, str(CLUSTER), "commits", "--short", "--json"]
    told = subprocess.run(line, capture_output=True, text=True, check=False)
    lite, postgres = (json.loads(line) for line in told.stdout.splitlines())
    assert lite["store"] == "sqlite" and lite["met"], told.stderr
    assert postgres.get("store") == "postgresql" or postgres["skipped"] == missing() != ""
    assert postgres["met"] == ("store" in postgres) == (told.returncode == 0), told.stderr
