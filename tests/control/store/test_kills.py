"""What was acknowledged is there, whoever is killed and whenever."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from streamgen.control.store import Segment, Store
from streamgen.errors import StoreError
from tests.control.store.private_postgres import PrivatePostgres
from tests.control.store.writing import wall_ms

WRITING = Path(__file__).with_name("writing.py")
ROUNDS = 3


def start(url: str, rung: str) -> subprocess.Popen[bytes]:
    line = [sys.executable, str(WRITING), url, rung]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def killed_after(process: subprocess.Popen[bytes], lines: int) -> set[int]:
    """Kill a writer that has said so many numbers; all it ever said. The last may be torn."""
    assert process.stdout is not None
    said = b""
    while said.count(b"\n") < lines:
        some = os.read(process.stdout.fileno(), 4096)
        assert some, process.communicate()[1].decode()
        said += some
    process.kill()
    said += process.communicate(timeout=60)[0]
    return {int(line) for line in said.split(b"\n")[:-1]}


def test_killing_writers_in_mid_commit_loses_and_doubles_nothing(url: str) -> None:
    chance = random.Random(7)

    async def stored(rung: str) -> list[int]:
        async with Store(url, wall_ms) as store:
            return [segment.number for segment in await store.segments("me", rung)]

    for turn in range(ROUNDS):
        rungs = [f"{turn}-{n}" for n in range(3)]
        writers = [start(url, rung) for rung in rungs]
        said = [killed_after(writer, chance.randrange(20, 200)) for writer in writers]
        for acked, rung in zip(said, rungs, strict=True):
            there = asyncio.run(stored(rung))
            assert acked <= set(there)
            assert len(there) == len(set(there))


def test_writes_wait_for_a_database_that_is_away(postgres: PrivatePostgres) -> None:
    url = postgres.new_database()

    async def work() -> None:
        async with Store(url, wall_ms) as store, Store(url, wall_ms, patience_s=0.2) as hasty:
            await store.write(Segment("me", "r", 0, "s", 0, 0, 0, 0))
            postgres.stop()
            waiting = [
                asyncio.create_task(store.write(Segment("me", "r", n, "s", 0, 0, 0, 0)))
                for n in range(1, 50)
            ]
            with pytest.raises(StoreError):
                await hasty.write(Segment("me", "r", 99, "s", 0, 0, 0, 0))
            assert not any(task.done() for task in waiting)
            await asyncio.to_thread(postgres.start)
            await asyncio.wait_for(asyncio.gather(*waiting), 60)
            there = [segment.number for segment in await store.segments("me", "r")]
            assert there == list(range(50))

    asyncio.run(work())
