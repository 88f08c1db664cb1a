"""How many rows a second the cluster's store acknowledges, beside one commit for each row.

Both are durable in the same way (SQLite WAL with synchronous=FULL; PostgreSQL with fsync), use the
same table and the same library, and run in turn. "Theirs" is the loop people write: an async
session, one row, commit. "Ours" is `Store.write` of one row from many tasks at once.

    python benchmarks/store.py [--postgres | --url postgresql://...] [--json]

`--postgres` starts a server of its own, from Debian's packages.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median, quantiles

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from streamgen.control.store import Store, Stream  # noqa: E402
from streamgen.control.store.tables import streams  # noqa: E402
from streamgen.control.store.writer import values  # noqa: E402
from tests.control.store.private_postgres import PrivatePostgres, missing  # noqa: E402


def row(number: int) -> Stream:
    return Stream(f"stream-{number:08}", "placed", "", {"node": f"node-{number % 100}", "epoch": 7})


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def naive(store: Store, numbers: count[int], seconds: float) -> float:
    """Rows a second with a session and a commit for each."""
    done, ends, began = 0, time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < ends:
        async with AsyncSession(store.database.writing_engine) as session:
            await session.execute(insert(streams).values(values(row(next(numbers)))))
            await session.commit()
        done += 1
    return done / (time.monotonic() - began)


async def grouped(
    store: Store, numbers: count[int], seconds: float, tasks: int
) -> tuple[float, list[float]]:
    """Rows a second, and the milliseconds that each one waited."""
    waits: list[float] = []
    began = time.monotonic()
    ends = began + seconds

    async def one() -> None:
        while time.monotonic() < ends:
            asked = time.monotonic()
            await store.write(row(next(numbers)))
            waits.append((time.monotonic() - asked) * 1e3)

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(one())
    return len(waits) / (time.monotonic() - began), waits


async def measure(url: str, rounds: int, seconds: float, tasks: int) -> dict[str, float]:
    numbers: count[int] = count()
    theirs, ours, waits, calm = [], [], [], []
    async with Store(url, wall_ms) as store:
        for _ in range(rounds):
            theirs.append(await naive(store, numbers, seconds))
            rate, waited = await grouped(store, numbers, seconds, tasks)
            ours.append(rate)
            waits += waited
            calm += (await grouped(store, numbers, seconds / 2, 16))[1]
        there = len(await store.all(Stream))
    return {
        "naive_rows_s": median(theirs),
        "grouped_rows_s": median(ours),
        "ratio": median(o / t for o, t in zip(ours, theirs, strict=True)),
        "p99_ms": quantiles(waits, n=100)[98],
        "p99_ms_of_16": quantiles(calm, n=100)[98],
        "lost": next(numbers) - there,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL server of its own")
    parser.add_argument("--url", help="default: SQLite in the folder for temporary files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.postgres and missing():
        print(json.dumps({"skipped": missing()}))
        return
    with ExitStack() as leaving:
        folder = Path(leaving.enter_context(tempfile.TemporaryDirectory()))
        url = options.url or f"sqlite:///{folder / 'state.db'}"
        if options.postgres:
            url = leaving.enter_context(PrivatePostgres()).new_database()
        answer = asyncio.run(measure(url, options.rounds, options.seconds, options.tasks))
    if options.json:
        print(json.dumps({"store": url.partition(":")[0]} | answer))
        return
    for name, value in answer.items():
        print(f"{name:<16}{value:>12.1f}")


if __name__ == "__main__":
    main()
