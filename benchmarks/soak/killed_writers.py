"""What the store has acknowledged is there, once and whole, whoever is killed in mid-commit.

    python benchmarks/soak/killed_writers.py --rounds 50 [--postgres]

In each round three processes write from many tasks at once and are killed (SIGKILL) at a random
moment; in the next one they write the same rows again, and more, as one does who does not know what
has arrived. With `--postgres` a PostgreSQL server has the store, and is killed as well, with all of
its processes, while they write. After each round all that was ever acknowledged must be there, both
rows of a write or none, and each piece of work must come to one worker alone; the first that is
not ends it with an error. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from tests.control.store.private_postgres import PrivatePostgres, missing  # noqa: E402
from tests.control.store.test_kills import Reader, writers  # noqa: E402

MORE = 200
"""Writes in a round beyond those of the one before, about."""


def run(url: str, rounds: int, seed: int, postgres: PrivatePostgres | None) -> dict[str, object]:
    chance, reader = random.Random(seed), Reader(url)
    said: dict[str, set[int]] = {job: set() for job in "abc"}
    kills = 0
    for turn in range(rounds):
        with writers(url, list(said)) as some:
            for writer in some:
                writer.says(chance.randrange(20, MORE))
            if postgres is not None:
                postgres.kill()
                postgres.start()
                kills += 1
            for writer in some:
                writer.says(MORE * turn + chance.randrange(20, MORE))
            for writer in some:
                said[writer.job] |= writer.killed()
                kills += 1
        for job, acknowledged in said.items():
            reader.finds(job, acknowledged)
    store, acknowledged = url.partition(":")[0], sum(map(len, said.values()))
    found = {"rounds": rounds, "kills": kills, "acknowledged": acknowledged}
    return {"store": store, **found, "met": acknowledged > 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL server has the store")
    options = parser.parse_args()
    if options.postgres and missing():
        print(json.dumps({"skipped": missing()}))
        return
    with ExitStack() as leaving:
        folder = leaving.enter_context(tempfile.TemporaryDirectory(prefix="streamgen-soak-"))
        url, postgres = f"sqlite:///{folder}/state.db", None
        if options.postgres:
            postgres = leaving.enter_context(PrivatePostgres())
            url = postgres.new_database()
        print(json.dumps(run(url, options.rounds, options.seed, postgres)))


if __name__ == "__main__":
    main()
