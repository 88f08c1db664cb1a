"""The lease to lead, by a clock moved by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streamgen.control.coordinator.events import LeaseGained
from streamgen.control.coordinator.lead import FURTHEST, NAME, RENEWALS, Lead
from streamgen.control.store import Store
from streamgen.control.store.rows import Lease
from streamgen.errors import StoreError

TTL_MS = 400


class Clock:
    """Of the store and of the coordinators."""

    ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


class Watched:
    """A coordinator's lead, and what became of it."""

    def __init__(self, store: Store, clock: Clock, name: str) -> None:
        self.lead = Lead(store, name, TTL_MS, clock)
        self.epochs: list[int] = []
        self.losses = 0

    async def gained(self, lease: Lease, rows: LeaseGained) -> None:
        assert lease.epoch == rows.epoch
        self.epochs.append(lease.epoch)

    def lost(self, reason: str) -> None:
        self.losses += 1

    async def run(self) -> None:
        await self.lead.run(self.gained, self.lost)


async def until(holds: Any, clock: Clock, step_ms: int = 0) -> None:
    for _ in range(3_000):
        if holds():
            return
        clock.ms += step_ms
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come about")


def trial(tmp_path: Path, work: Any) -> None:
    async def opened() -> None:
        clock = Clock()
        async with Store(f"sqlite:///{tmp_path / 'state.db'}", clock) as store:
            one, other = (Watched(store, clock, name) for name in ("one", "other"))
            task = asyncio.create_task(one.run())
            try:
                await until(lambda: one.epochs == [1], clock)
                await work(store, clock, one, other)
            finally:
                task.cancel()
                await asyncio.wait([task])

    asyncio.run(opened())


def test_who_stopped_by_itself_leads_under_another_epoch_next(tmp_path: Path) -> None:
    """Also where a renewal comes in after that, and would let it go on as if nothing was."""

    async def work(store: Store, clock: Clock, one: Watched, other: Watched) -> None:
        one.lead.resign()
        await until(lambda: one.losses == 1, clock)
        await until(lambda: one.epochs == [1, 2], clock, step_ms=20)
        assert not one.lead.ended()

    trial(tmp_path, work)


def test_who_is_outdone_by_a_leader_that_its_store_does_not_know_leads_above_that(
    tmp_path: Path,
) -> None:
    async def work(store: Store, clock: Clock, one: Watched, other: Watched) -> None:
        one.lead.resign(outdone=7)
        # It gives the lease back: no time has to go by.
        await until(lambda: one.epochs == [1, 8], clock)
        one.lead.resign(outdone=1 << 30)  # nobody can have seen that
        await until(lambda: len(one.epochs) == 3, clock)
        assert one.epochs[2] == 8 + FURTHEST + 1

    trial(tmp_path, work)


def test_a_lease_is_renewed_while_very_many_rows_are_taken_up(tmp_path: Path) -> None:
    """The clock goes on for as long as four leases, a little at a time."""

    async def work(store: Store, clock: Clock, one: Watched, other: Watched) -> None:
        over = asyncio.Event()

        async def gained(lease: Lease, rows: LeaseGained) -> None:
            await over.wait()
            other.epochs.append(lease.epoch)

        await one.lead.give_back(5)
        task = asyncio.create_task(other.lead.run(gained, lambda reason: over.set()))
        expires = []
        while len(set(expires)) < 4 * RENEWALS:
            clock.ms += TTL_MS // RENEWALS // 2
            await asyncio.sleep(TTL_MS / RENEWALS / 1000)
            lease = await store.leases.holder(NAME)
            if lease is not None and lease.owner == "other":
                expires.append(lease.expires_ms)
        assert other.epochs == [] and not over.is_set() and not other.lead.ended()
        over.set()
        await until(lambda: len(other.epochs) == 1, clock)
        task.cancel()
        await asyncio.wait([task])

    trial(tmp_path, work)


def test_without_the_store_a_lease_ends_when_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(store: Store, clock: Clock, one: Watched, other: Watched) -> None:
        async def away(*_: object, **__: object) -> Lease:
            raise StoreError("away")

        with monkeypatch.context() as gone:
            gone.setattr(store.leases, "renew", away)
            gone.setattr(store.leases, "acquire", away)
            await asyncio.sleep(TTL_MS / 1000)  # some renewals that fail, and no time goes by
            assert not one.lead.ended() and one.losses == 0
            clock.ms += TTL_MS
            assert one.lead.ended()
            await until(lambda: one.losses == 1, clock)
        await until(lambda: one.epochs == [1, 2], clock)

    trial(tmp_path, work)


def test_one_leads_and_the_other_when_the_lease_is_given_back(tmp_path: Path) -> None:
    async def work(store: Store, clock: Clock, one: Watched, other: Watched) -> None:
        task = asyncio.create_task(other.run())
        await asyncio.sleep(TTL_MS / 1000)
        assert other.epochs == [] and other.lead.ended()
        await one.lead.give_back(5)
        await until(lambda: other.epochs == [2] or one.epochs == [1, 2], clock)
        task.cancel()
        await asyncio.wait([task])

    trial(tmp_path, work)
