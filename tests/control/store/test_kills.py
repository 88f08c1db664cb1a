"""What was acknowledged is there, once and whole, whoever is killed and whenever."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamgen.control.store import Store, Stream
from streamgen.errors import StoreError
from tests.control.store.private_postgres import PrivatePostgres
from tests.control.store.test_store import numbers, stream
from tests.control.store.writing import wall_ms, written

WRITING = Path(__file__).with_name("writing.py")
ROUNDS = 3
DAY_MS = 24 * 3600 * 1000


class Writer:
    """A process that writes, and what it has said."""

    def __init__(self, url: str, job: str) -> None:
        self.job = job
        line = [sys.executable, str(WRITING), url, job]
        self._process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._said = b""

    def says(self, lines: int) -> None:
        """Wait for so many more numbers."""
        assert self._process.stdout is not None
        want = self._said.count(b"\n") + lines
        while self._said.count(b"\n") < want:
            some = os.read(self._process.stdout.fileno(), 65_536)
            assert some, self._process.communicate()[1].decode()
            self._said += some

    def killed(self) -> set[int]:
        """All that it ever said was acknowledged. The last line may be torn."""
        self._process.kill()
        self._said += self._process.communicate(timeout=60)[0]
        return {int(line) for line in self._said.split(b"\n")[:-1]}


@contextmanager
def writers(url: str, jobs: list[str]) -> Iterator[list[Writer]]:
    some = [Writer(url, job) for job in jobs]
    try:
        yield some
    finally:
        for one in some:
            one.killed()


class Reader:
    """Who works on the chunks, and looks at what is beside them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._worked_on: Counter[tuple[str, int]] = Counter()

    def finds(self, job: str, acknowledged: set[int]) -> None:
        """All of it, each write whole, and each chunk for the first time."""
        asyncio.run(self._finds(job, acknowledged))

    async def _finds(self, job: str, acknowledged: set[int]) -> None:
        async with Store(self._url, wall_ms) as store:
            found = [one for one in await store.all(Stream) if one.name.startswith(f"{job}-")]
            while claims := await store.work.claim("reader", 500, DAY_MS):
                self._worked_on.update((claim.job, claim.number) for claim in claims)
        numbers = {one.facts["number"] for one in found}
        assert acknowledged <= numbers
        assert found == [written(job, number)[0] for number in sorted(numbers)]
        assert {number for one, number in self._worked_on if one == job} == numbers
        assert set(self._worked_on.values()) == {1}


def test_killing_writers_in_mid_commit_loses_and_doubles_nothing(url: str) -> None:
    """Who comes next begins with what the ones before have written already."""
    chance = random.Random(7)
    reader = Reader(url)
    said: dict[str, set[int]] = {job: set() for job in "abc"}
    for turn in range(ROUNDS):
        with writers(url, list(said)) as some:
            for writer in some:
                writer.says(200 * turn + chance.randrange(20, 200))
            for writer in some:
                said[writer.job] |= writer.killed()
        for job, acknowledged in said.items():
            reader.finds(job, acknowledged)


def test_killing_the_database_server_in_mid_commit_loses_and_doubles_nothing(
    postgres: PrivatePostgres,
) -> None:
    """Writers do not know which of their transactions it has, and go on when it is back."""
    url = postgres.new_database()
    reader = Reader(url)
    said: dict[str, set[int]] = {job: set() for job in "ab"}
    for _ in range(2):  # then all of it is written again
        with writers(url, list(said)) as some:
            for _ in range(ROUNDS):
                for writer in some:
                    writer.says(500)
                postgres.kill()
                postgres.start()
            for writer in some:
                writer.says(100)
                said[writer.job] |= writer.killed()
        for job, acknowledged in said.items():
            reader.finds(job, acknowledged)


def test_writes_wait_for_a_database_that_is_away(postgres: PrivatePostgres) -> None:
    url = postgres.new_database()

    async def work() -> None:
        async with Store(url, wall_ms) as store, Store(url, wall_ms, patience_s=0.2) as hasty:
            await store.write(stream(0))
            postgres.stop()
            waiting = [asyncio.create_task(store.write(stream(n))) for n in range(1, 50)]
            with pytest.raises(StoreError):
                await hasty.write(stream(99))
            assert not any(task.done() for task in waiting)
            await asyncio.to_thread(postgres.start)
            await asyncio.wait_for(asyncio.gather(*waiting), 60)
            assert await numbers(store) == list(range(50))

    asyncio.run(work())
